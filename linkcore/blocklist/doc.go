// Package blocklist holds the operators' rules: which links are not followed,
// which lead elsewhere, and who is not to be tracked. BLOCKLIST.md beside this
// file is the contract: the fields of a rule, what each kind matches, which
// rule wins, and how to write rules by hand or from another language.
//
// An endpoint keeps a copy of the rules of a [Source] in memory with a [Cache],
// and asks that copy about each request:
//
//	source, err := firestore.New("my-project", "(default)", "blocklist")
//	...
//	rules := blocklist.NewCache(source, blocklist.DefaultOptions())
//	rules.Start(ctx)
//	...
//	decision, known := rules.Decide(ctx, &blocklist.Request{Link: &link, Address: address, UserAgent: agent, Now: now})
//
// A program that writes rules uses a [Store] of the same collection or file:
//
//	store := file.New("rules.jsonl")
//	rule, err := blocklist.ParseRule("host:example.com")
//	...
//	err = store.Put(ctx, rule)
//
// A package in a folder below is one [Backend], which is both; package endpoint
// opens those that a URL names. kinds.go has the table of the kinds of rule.
//
// # How it works
//
// A source yields documents of any shape. The cache keeps all of them in an [Index],
// which never changes: a refresh makes a new one and publishes it by swapping one
// pointer, so a request takes no lock.
//
// An index is a base and a delta. The base is every document in a few blocks of
// memory without pointers, which cost the garbage collector next to nothing however
// many there are (packed.go). Documents that were read since are in the delta, a
// base too but a small one: they replace those of the base that have their ids. A
// refresh makes a new delta, and once that has grown, a new base of both; a reload
// makes a new base of what it reads. All of these are pure functions. When a rule
// begins or expires is looked at when it matches, so neither needs a refresh.
//
// cache.go is the clock that calls them: when what is read, and what becomes of a
// read that fails. ask.go asks a source for the documents of single links while the
// copy is not whole. An endpoint is made for a million rules.
package blocklist

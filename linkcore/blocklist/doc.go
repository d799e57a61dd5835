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
//	index, err := rules.Index(ctx)
//	decision := index.Decide(&blocklist.Request{Link: &link, Address: address, UserAgent: agent, Now: now})
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
// A source yields documents of any shape. The cache turns those that can be
// understood into rules and keeps an [Index] of them, which never changes: a
// refresh makes a new one that shares everything that did not change with the
// old one, and publishes it by swapping one pointer. So a request takes no
// lock, and a refresh that brings one rule among a million costs 3 ms, not a copy
// of them all.
//
// The index is a hash table of "kind:value", cut into 1,024 parts so that a
// part can be copied alone, behind a small filter that answers most lookups,
// which find nothing, without leaving the processor's cache. Addresses have a
// prefix trie of their own. The rules themselves are records without pointers
// in large chunks, which cost the garbage collector next to nothing however
// many there are. What a refresh replaces stays in its chunk for requests that
// read it, until most of the chunks is such garbage: then the refresh moves the
// rules in use to new ones. When a rule begins or expires is looked at when it
// matches, so neither needs a refresh.
package blocklist

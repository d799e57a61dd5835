package blocklist

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"maps"
	"math/bits"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/linktracker/linkcore"
	"github.com/gaissmai/bart"
)

// MaxAgents is how many rules of the kind agent are looked at: each costs a
// search through the user agent. Those above are left out, the last written
// first.
const MaxAgents = 1000

// maxBoundaries is how many boundaries of a destination are looked up as
// prefixes.
const maxBoundaries = 64

// A Request is what rules are compared with.
type Request struct {
	Link      *linkcore.Link
	Address   netip.Addr // the client's; zero if it is not known
	UserAgent string
	Now       time.Time
}

// A Decision says what the rules do with a request. Its strings share memory
// with the copy of the rules: what keeps one for long should clone it.
type Decision struct {
	Action    Action // Block, Redirect, or "" for nothing
	Rule      string // "kind:value" of the rule that says so, or of the one that says Untracked; "" if none does
	Target    string // where to, for Redirect
	Untracked bool   // the person is not to be tracked, whatever Action is

	// NamesPerson says that Rule itself tells something of the person: whose
	// link it is, the address or the user agent. What records nothing of the
	// person does not record such a Rule.
	NamesPerson bool
}

// An Index finds the rules that match a request. It never changes, so any
// number of requests may ask it at once. A nil Index holds no rules.
type Index struct {
	view // of the store of the rules, as of when the index was made

	// A slot is the handle of a rule or, for the few that hold several, that of
	// the first with the bit several. Maps of them hold no pointers, so the
	// garbage collector does not look into them.
	shards *[shardCount]map[uint64]handle // by hash; every kind but ip
	nets   *bart.Table[handle]            // kind ip
	lists  map[handle][]handle            // what slots of several hold, in the order in which they win
	agents []agent                        // the longest first, at most MaxAgents
	heads  map[string]handle              // the slots of all rules of kind agent, by key

	// filter is a Bloom filter of the hashes in shards. Most lookups find
	// nothing, and a lookup in a large map that finds nothing waits for memory
	// several times; the filter of a million rules fits the processor's cache.
	filter    []uint64
	filterCut uint8 // bits of the hash that do not choose the word
	filtered  int   // hashes added since the filter was made

	rules int
	kinds [kindCount]int
}

// shardCount is how many parts the hash table has: of a million rules a part
// has a thousand, which are copied in microseconds.
const (
	shardBits  = 10
	shardCount = 1 << shardBits
)

// several is the bit of slots that hold more than one rule: documents of one
// kind and value, or values with the same hash by chance.
const several handle = 1 << 31

type agent struct {
	value []byte
	key   string
	slot  handle
}

var seed = maphash.MakeSeed()

func hashOf(kind uint8, value []byte) uint64 {
	return maphash.Bytes(seed, value) + uint64(kind)*0x9E3779B97F4A7C15
}

func (v *view) hash(r *record) uint64 {
	return maphash.String(seed, v.value(r)) + uint64(r.kind)*0x9E3779B97F4A7C15
}

// NewIndex makes an index of rules, as a source would hold them under their
// IDs, or under the id that their value makes where they have none. Rules that
// were lifted, and rules that are dead at the time now, are left out. The
// error is the [*linkcore.FieldError] of the first rule that cannot be understood.
func NewIndex(now time.Time, rules ...Rule) (*Index, error) {
	return newIndex(new(store), now, rules)
}

func newIndex(s *store, now time.Time, rules []Rule) (*Index, error) {
	micro := now.UnixMicro()
	changes := make([]change, 0, len(rules))
	for _, r := range rules {
		if r.Deleted {
			continue
		}
		normal, err := r.normalize()
		if err != nil {
			return nil, err
		}
		fields := map[string]any{"kind": string(normal.Kind), "value": normal.Value, "action": string(normal.Action), "target": normal.Target}
		for name, t := range map[string]time.Time{"updated_at": r.UpdatedAt, "starts_at": r.StartsAt, "expires_at": r.ExpiresAt} {
			if !t.IsZero() {
				fields[name] = t
			}
		}
		d := Document{ID: r.ID, Fields: fields}
		if d.ID == "" {
			d.ID = normal.DocumentID()
		}
		read := newRule(d, micro)
		changes = append(changes, change{new: s.add(&read)})
	}
	return new(Index).apply(s, changes, micro), nil
}

// Len returns how many rules the index holds.
func (x *Index) Len() int {
	if x == nil {
		return 0
	}
	return x.rules
}

// scratch is for destinations that do not fit the stack.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, maxURL+urlSlack); return &b }}

// Decide says what the rules do with a request: which rule wins is in
// BLOCKLIST.md. It takes no lock and does not allocate, and its time does not
// grow with the number of rules, those of the kind agent excepted. Measured on
// one core of an AMD EPYC, with rules of every kind and half of the requests
// matching: 0.4 µs with 100 rules and 0.8 µs with 1,000,000.
func (x *Index) Decide(req *Request) Decision {
	if x == nil || x.rules == 0 || req.Link == nil {
		return Decision{}
	}
	link := req.Link
	m := match{now: req.Now.UnixMicro()}

	var pair [2*maxID + 1]byte
	identified := func(kind uint8, id string) {
		if x.kinds[kind] > 0 && id != "" && len(link.Customer)+len(id) < len(pair) {
			value := append(append(append(pair[:0], link.Customer...), '/'), id...)
			x.find(&m, kind, value)
		}
	}
	identified(kindLink, link.Link)

	// The destination's normal form serves three kinds, of which the host
	// comes after the link's identifiers.
	var stack [1024]byte
	var normal []byte
	var hostLength int
	if link.Destination != "" && !m.blocked && x.kinds[kindURL]+x.kinds[kindPrefix]+x.kinds[kindHost] > 0 {
		if d, err := linkcore.ParseDestination(link.Destination); err == nil {
			buf := stack[:0]
			if len(link.Destination)+urlSlack > len(stack) {
				p := scratch.Get().(*[]byte)
				defer scratch.Put(p)
				if cap(*p) < len(link.Destination)+urlSlack {
					*p = make([]byte, 0, len(link.Destination)+urlSlack)
				}
				buf = (*p)[:0]
			}
			normal, hostLength = appendURL(buf, d)
			if x.kinds[kindURL] > 0 {
				x.find(&m, kindURL, normal)
			}
			if x.kinds[kindPrefix] > 0 && !m.blocked {
				x.considerPrefixes(&m, normal)
			}
		}
	}

	identified(kindRecipient, link.Recipient)
	identified(kindCampaign, link.Campaign)
	if x.kinds[kindCustomer] > 0 && len(link.Customer) <= maxID {
		x.find(&m, kindCustomer, append(pair[:0], link.Customer...))
	}
	if m.blocked {
		return m.decision(x)
	}

	if x.kinds[kindHost] > 0 {
		for host := normal[:hostLength]; len(host) > 0 && !m.blocked; {
			x.find(&m, kindHost, host)
			dot := bytes.IndexByte(host, '.')
			if dot < 0 {
				break
			}
			host = host[dot+1:]
		}
	}
	if x.kinds[kindKey] > 0 && !m.blocked && len(link.Key) < len(pair) {
		x.find(&m, kindKey, append(pair[:0], link.Key...))
	}
	if x.kinds[kindIP] > 0 && !m.blocked && req.Address.IsValid() {
		x.considerAddress(&m, req.Address)
	}
	if len(x.agents) > 0 && !m.blocked && req.UserAgent != "" {
		x.considerAgent(&m, req.UserAgent)
	}
	return m.decision(x)
}

// A match gathers the winners among the rules that match. They must be
// considered the most specific first.
type match struct {
	now       int64
	winner    *record // a block, or the first redirect
	untracked *record
	blocked   bool
}

// consider takes a rule that matches. Those of one kind and value come in the
// order in which they win.
func (m *match) consider(x *Index, r *record) {
	switch {
	case !x.live(r, m.now):
	case r.action == actionUntracked:
		if m.untracked == nil {
			m.untracked = r
		}
	case m.blocked:
	case r.action == actionBlock:
		m.winner, m.blocked = r, true
	case m.winner == nil:
		m.winner = r
	}
}

func (m *match) decision(x *Index) Decision {
	d := Decision{Untracked: m.untracked != nil}
	r := m.winner
	switch {
	case m.blocked:
		d.Action = Block
	case r != nil:
		d.Action, d.Target = Redirect, x.details(r).target
	case d.Untracked:
		r = m.untracked
	default:
		return d
	}
	d.Rule, d.NamesPerson = x.key(r), kinds[r.kind].person == yes
	return d
}

// rulesOf returns the rules of a slot in the order in which they win. one is
// where it puts a single one.
func (x *Index) rulesOf(slot handle, one *[1]handle) []handle {
	switch {
	case slot == 0:
		return nil
	case slot&several != 0:
		return x.lists[slot]
	}
	one[0] = slot
	return one[:]
}

// find considers the rules of a kind and value.
func (x *Index) find(m *match, kind uint8, value []byte) {
	h := hashOf(kind, value)
	bits := filterBits(h)
	if x.filter[h>>x.filterCut]&bits == bits {
		x.consider(m, x.shards[h%shardCount][h], kind, value)
	}
}

// consider considers the rules of a slot that have that kind and value.
func (x *Index) consider(m *match, slot handle, kind uint8, value []byte) {
	var one [1]handle
	for _, h := range x.rulesOf(slot, &one) {
		if r := x.record(h); r.kind == kind && x.value(r) == string(value) {
			m.consider(x, r)
		}
	}
}

// considerPrefixes looks up what stands before and after each boundary of a
// destination, the longest first.
func (x *Index) considerPrefixes(m *match, normal []byte) {
	var boundaries [maxBoundaries]int16
	n, whole := 0, len(normal) <= maxPrefix
	for i := 0; i < len(normal) && i <= maxPrefix; i++ {
		switch normal[i] {
		case '/', '?', '&', '=':
			if n == maxBoundaries {
				whole = false
				i = len(normal)
				break
			}
			boundaries[n] = int16(i)
			n++
		}
	}
	longest := maxPrefix + 1
	consider := func(length int) bool {
		if length < longest {
			longest = length
			x.find(m, kindPrefix, normal[:length])
		}
		return m.blocked
	}
	// The end is a boundary as well. The first one is the slash after the host,
	// and no value ends before it.
	if whole && n < maxBoundaries && consider(len(normal)) {
		return
	}
	for ; n > 0; n-- {
		i := int(boundaries[n-1])
		if consider(i+1) || normal[i] != '=' && n > 1 && consider(i) {
			return
		}
	}
}

func (x *Index) considerAddress(m *match, address netip.Addr) {
	address = address.Unmap().WithZone("")
	network := netip.PrefixFrom(address, address.BitLen())
	for !m.blocked {
		found, slot, ok := x.nets.LookupPrefixLPM(network)
		if !ok {
			return
		}
		var one [1]handle
		for _, h := range x.rulesOf(slot, &one) {
			m.consider(x, x.record(h))
		}
		if found.Bits() == 0 {
			return
		}
		network = netip.PrefixFrom(address, found.Bits()-1)
	}
}

func (x *Index) considerAgent(m *match, userAgent string) {
	var buf [maxAgent]byte
	n := copy(buf[:], userAgent)
	text := buf[:n]
	for i, c := range text {
		text[i] = lower(c)
	}
	for i := range x.agents {
		if a := &x.agents[i]; bytes.Contains(text, a.value) {
			if x.consider(m, a.slot, kindAgent, a.value); m.blocked {
				return
			}
		}
	}
}

func filterBits(h uint64) uint64 {
	// The low bits choose the shard, the high ones the word.
	return 1<<(h>>shardBits&63) | 1<<(h>>(shardBits+6)&63) | 1<<(h>>(shardBits+12)&63)
}

// A change replaces the rule of one document. Either may be 0.
type change struct{ old, new handle }

// apply returns an index with the changes made to rules of the store; x stays
// as it is, and is shared where nothing changed. now is in Unix microseconds;
// rules that are dead then are left out.
func (x *Index) apply(s *store, changes []change, now int64) *Index {
	e := editor{Index: *x}
	e.view = s.published()
	if e.shards == nil {
		e.shards, e.ownShards = new([shardCount]map[uint64]handle), true
	}
	for _, c := range changes {
		if c.old != 0 && e.record(c.old).keyLength > 0 {
			e.remove(c.old)
		}
		if c.new != 0 && e.record(c.new).indexed(now) {
			e.insert(c.new)
		}
	}
	e.finish()
	return &e.Index
}

// An editor makes a new index of an old one, copying each part when it is first
// changed.
type editor struct {
	Index
	ownShards bool
	ownShard  [shardCount / 64]uint64 // a bit each
	ownFilter bool
	ownLists  bool
	ownNets   bool
	netEdits  int
	ownHeads  bool
}

// netEditsInPlace is after how many changes of the prefix trie a copy of it all
// is cheaper than one of a few nodes for each.
const netEditsInPlace = 1000

func (e *editor) slot(r *record) handle {
	if r.kind == kindIP {
		if e.nets == nil {
			return 0
		}
		network, _ := parseNetwork(e.value(r))
		slot, _ := e.nets.Get(network)
		return slot
	}
	h := e.hash(r)
	return e.shards[h%shardCount][h]
}

func (e *editor) setSlot(r *record, slot handle) {
	if r.kind == kindIP {
		e.setNet(r, slot)
		return
	}
	h := e.hash(r)
	i := h % shardCount
	if !e.ownShards {
		shards := *e.shards
		e.shards, e.ownShards = &shards, true
	}
	if bit := uint64(1) << (i % 64); e.ownShard[i/64]&bit == 0 {
		e.ownShard[i/64] |= bit
		e.shards[i] = maps.Clone(e.shards[i])
	}
	switch {
	case slot == 0:
		delete(e.shards[i], h)
	case e.shards[i] == nil:
		e.shards[i] = map[uint64]handle{h: slot}
	default:
		e.shards[i][h] = slot
	}
	// The filter is made anew in the end if this was one too many.
	if slot != 0 && e.filtered < filterLimit(e.filter) {
		if !e.ownFilter {
			e.filter, e.ownFilter = slices.Clone(e.filter), true
		}
		e.filter[h>>e.filterCut] |= filterBits(h)
	}
	if slot != 0 {
		e.filtered++
	}
}

func (e *editor) setNet(r *record, slot handle) {
	network, _ := parseNetwork(e.value(r))
	if e.nets == nil {
		e.nets, e.ownNets = new(bart.Table[handle]), true
	}
	if e.netEdits++; e.netEdits > netEditsInPlace && !e.ownNets {
		e.nets, e.ownNets = e.nets.Clone(), true
	}
	switch {
	case e.ownNets && slot == 0:
		e.nets.Delete(network)
	case e.ownNets:
		e.nets.Insert(network, slot)
	case slot == 0:
		e.nets = e.nets.DeletePersist(network)
	default:
		e.nets = e.nets.InsertPersist(network, slot)
	}
}

// remove takes out a rule, if the index holds it.
func (e *editor) remove(h handle) {
	r := e.record(h)
	slot := e.slot(r)
	var one [1]handle
	rules := e.rulesOf(slot, &one)
	i := slices.Index(rules, h)
	if i < 0 {
		return
	}
	e.rules--
	e.kinds[r.kind]--
	e.setRules(r, slot, slices.Concat(rules[:i], rules[i+1:]))
}

func (e *editor) insert(h handle) {
	r := e.record(h)
	slot := e.slot(r)
	e.rules++
	e.kinds[r.kind]++
	if slot == 0 {
		e.setRules(r, 0, []handle{h})
		return
	}
	var one [1]handle
	rules := e.rulesOf(slot, &one)
	i, _ := slices.BinarySearchFunc(rules, h, e.compare)
	e.setRules(r, slot, slices.Concat(rules[:i], []handle{h}, rules[i:]))
}

// setRules replaces the rules in the slot of r, which was old.
func (e *editor) setRules(r *record, old handle, rules []handle) {
	var slot handle
	switch len(rules) {
	case 0:
	case 1:
		slot = rules[0]
	default:
		slot = rules[0] | several
	}
	if (old|slot)&several != 0 {
		if !e.ownLists {
			e.lists, e.ownLists = maps.Clone(e.lists), true
			if e.lists == nil {
				e.lists = map[handle][]handle{}
			}
		}
		delete(e.lists, old)
		if slot&several != 0 {
			e.lists[slot] = slices.Clone(rules) // most are never kept, and made on the stack for that
		}
	}
	e.setSlot(r, slot)

	if r.kind == kindAgent {
		e.editHeads()
		delete(e.heads, e.key(r))
	}
	for _, h := range rules {
		if r := e.record(h); r.kind == kindAgent {
			e.editHeads()
			e.heads[strings.Clone(e.key(r))] = slot // a clone keeps no chunk of the store alive
		}
	}
}

func (e *editor) editHeads() {
	if !e.ownHeads {
		e.heads, e.ownHeads = maps.Clone(e.heads), true
		if e.heads == nil {
			e.heads = map[string]handle{}
		}
	}
}

// compare orders the rules of one slot as they win.
func (v *view) compare(a, b handle) int {
	x, y := v.rule(a), v.rule(b)
	if x.key != y.key { // the same hash by chance
		return strings.Compare(x.key, y.key)
	}
	if (x.action == actionBlock) != (y.action == actionBlock) {
		return cmp.Compare(x.action, y.action)
	}
	if x.updated != y.updated {
		return cmp.Compare(y.updated, x.updated)
	}
	return strings.Compare(x.id(), y.id())
}

// filterLimit is how many hashes a filter takes: four a word, with which about
// one lookup in a hundred that finds nothing passes it.
func filterLimit(filter []uint64) int { return 4 * len(filter) }

func (e *editor) finish() {
	// A filter is never without words, so that a lookup needs no check.
	if e.filter == nil || e.filtered > filterLimit(e.filter) {
		words := 1 << bits.Len(uint(e.rules/4))
		e.filter = make([]uint64, words)
		e.filterCut = uint8(64 - bits.Len(uint(words-1)))
		e.filtered = 0
		for _, shard := range e.shards {
			for h := range shard {
				e.filter[h>>e.filterCut] |= filterBits(h)
				e.filtered++
			}
		}
	}
	if e.ownHeads {
		e.agents = e.agentsOf(e.heads)
	}
}

// agentsOf returns the agents to search for, the longest first. Where there are
// too many the last written are left out, so that a new rule never puts an old
// one out of work.
func (x *Index) agentsOf(heads map[string]handle) []agent {
	agents := make([]agent, 0, len(heads))
	for key, slot := range heads {
		agents = append(agents, agent{value: []byte(key[len(Agent)+1:]), key: key, slot: slot})
	}
	if len(agents) > MaxAgents {
		slices.SortFunc(agents, func(a, b agent) int {
			return cmp.Or(cmp.Compare(x.first(a.slot).updated, x.first(b.slot).updated), strings.Compare(a.key, b.key))
		})
		agents = agents[:MaxAgents:MaxAgents]
	}
	slices.SortFunc(agents, func(a, b agent) int {
		return cmp.Or(cmp.Compare(len(b.value), len(a.value)), strings.Compare(a.key, b.key))
	})
	return agents
}

// first returns the first rule of a slot.
func (x *Index) first(slot handle) *record { return x.record(slot &^ several) }

// agentsLeftOut returns how many values of the kind agent are not looked at.
func (x *Index) agentsLeftOut() int { return len(x.heads) - len(x.agents) }

// move returns the same index of the store that compact made of x's.
func (x *Index) move(s *store, moved []handle) *Index {
	to := func(slot handle) handle { return slot&several | moved[slot&^several] }
	y := *x
	y.view = s.published()
	y.shards = new([shardCount]map[uint64]handle)
	for i, shard := range x.shards {
		if len(shard) > 0 {
			y.shards[i] = make(map[uint64]handle, len(shard))
			for hash, slot := range shard {
				y.shards[i][hash] = to(slot)
			}
		}
		runtime.Gosched() // requests on the same core come first
	}
	if x.nets != nil {
		y.nets = new(bart.Table[handle])
		for network, slot := range x.nets.All() {
			y.nets.Insert(network, to(slot))
		}
	}
	y.lists = make(map[handle][]handle, len(x.lists))
	for slot, rules := range x.lists {
		list := make([]handle, len(rules))
		for i, h := range rules {
			list[i] = moved[h]
		}
		y.lists[to(slot)] = list
	}
	y.heads = make(map[string]handle, len(x.heads))
	for key, slot := range x.heads {
		y.heads[key] = to(slot)
	}
	y.agents = slices.Clone(x.agents)
	for i := range y.agents {
		y.agents[i].slot = to(y.agents[i].slot)
	}
	return &y
}

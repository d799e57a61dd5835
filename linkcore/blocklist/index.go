package blocklist

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"

	"example.com/linktracker/linkcore"
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
	base  *packed
	delta *packed // documents that were read since base was made: they replace those of base

	kinds    [kindCount]bool // those that there are rules of
	networks [2][]uint8      // the lengths of the networks of IPv4 and IPv6, the longest first
	agents   [][]byte        // values to search for, the longest first, at most MaxAgents
	leftOut  int             // how many values of the kind agent are above that
}

var (
	nothing    = pack(nil, "")
	emptyIndex = newIndex(nothing, nothing, 0)
)

// newIndex joins documents with those that replace some of them. Agents that are
// dead at now, in Unix microseconds, take no place among the others.
func newIndex(base, delta *packed, now int64) *Index {
	x := &Index{base: base, delta: delta}
	for kind := range x.kinds {
		x.kinds[kind] = base.kinds[kind]+delta.kinds[kind] > 0
	}
	for family := range x.networks {
		lengths := slices.Concat(base.networks[family], delta.networks[family])
		slices.SortFunc(lengths, func(a, b uint8) int { return cmp.Compare(b, a) })
		x.networks[family] = slices.Compact(lengths)
	}
	x.agents, x.leftOut = x.agentsAt(now)
	return x
}

// agentsAt returns the agents to search for, and how many are left out: the last
// written, so that a new rule never puts an old one out of work.
func (x *Index) agentsAt(now int64) (values [][]byte, leftOut int) {
	if !x.kinds[kindAgent] {
		return nil, 0
	}
	written := map[string]int64{}
	for _, p := range [...]*packed{x.delta, x.base} {
		for _, i := range p.agents {
			r := &p.records[i]
			if r.expires <= now || p == x.base && x.delta.find(r.document) != nil {
				continue
			}
			if at, ok := written[p.value(r)]; !ok || r.updated < at {
				written[p.value(r)] = r.updated
			}
		}
	}
	for value := range written {
		values = append(values, []byte(value))
	}
	slices.SortFunc(values, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(written[string(a)], written[string(b)]), bytes.Compare(a, b))
	})
	if leftOut = len(values) - MaxAgents; leftOut > 0 {
		values = values[:MaxAgents:MaxAgents]
	}
	slices.SortFunc(values, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	return values, max(leftOut, 0)
}

// records goes over all documents.
func (x *Index) records(yield func(*record) bool) {
	for r := range x.delta.records {
		if !yield(&x.delta.records[r]) {
			return
		}
	}
	replaced := x.delta.records
	for i := range x.base.records {
		r := &x.base.records[i]
		for len(replaced) > 0 && replaced[0].document.compare(r.document) < 0 {
			replaced = replaced[1:]
		}
		if (len(replaced) == 0 || replaced[0].document != r.document) && !yield(r) {
			return
		}
	}
}

// NewIndex makes an index of rules, as a source would hold them under their
// IDs, or under the id that their value makes where they have none. Rules that
// were lifted, and rules that are dead at the time now, are left out. The
// error is the [*linkcore.FieldError] of the first rule that cannot be understood.
func NewIndex(now time.Time, all ...Rule) (*Index, error) {
	micro := now.UnixMicro()
	taken := new(rules)
	for _, r := range all {
		if r.Deleted {
			continue
		}
		d := Document{rule: r}
		if _, err := d.Rule(); err != nil {
			return nil, err
		}
		d.ID = cmp.Or(r.ID, d.own)
		if stored := newRule(&d, micro); micro < stored.expires {
			taken.add(keyOf(d.ID), &stored)
		}
	}
	return newIndex(pack(taken.records, taken.text.String()), nothing, micro), nil
}

// document returns the document of that key; nil if there is none.
func (x *Index) document(key documentKey) (*packed, *record) {
	if r := x.delta.find(key); r != nil {
		return x.delta, r
	}
	return x.base, x.base.find(key)
}

// scratch is for destinations that do not fit the stack.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, maxURL+urlSlack); return &b }}

// Decide says what the rules do with a request: which rule wins is in
// BLOCKLIST.md. It takes no lock and does not allocate (but to compare the ids of
// two redirects of one value that were written in the same microsecond), and its
// time does not grow with the number of rules, those of the kind agent excepted.
func (x *Index) Decide(req *Request) Decision {
	if x == nil || req.Link == nil {
		return Decision{}
	}
	m := match{now: req.Now.UnixMicro()}
	x.match(&m, req)
	return m.decision()
}

// match considers the rules that match a request, the most specific first.
func (x *Index) match(m *match, req *Request) {
	link := req.Link
	var pair [2*maxID + 1]byte
	identified := func(kind uint8, id string) {
		if x.kinds[kind] && id != "" && len(link.Customer)+len(id) < len(pair) {
			value := append(append(append(pair[:0], link.Customer...), '/'), id...)
			x.consider(m, kind, value)
		}
	}
	identified(kindLink, link.Link)

	// The destination's normal form serves three kinds, of which the host
	// comes after the link's identifiers.
	var stack [1024]byte
	var normal []byte
	var hostLength int
	if link.Destination != "" && !m.blocked && (x.kinds[kindURL] || x.kinds[kindPrefix] || x.kinds[kindHost]) {
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
			if x.kinds[kindURL] {
				x.consider(m, kindURL, normal)
			}
			if x.kinds[kindPrefix] && !m.blocked {
				x.considerPrefixes(m, normal)
			}
		}
	}

	identified(kindRecipient, link.Recipient)
	identified(kindCampaign, link.Campaign)
	if x.kinds[kindCustomer] && link.Customer != "" && len(link.Customer) <= maxID {
		x.consider(m, kindCustomer, append(pair[:0], link.Customer...))
	}
	if m.blocked {
		return
	}

	if x.kinds[kindHost] {
		for host := normal[:hostLength]; len(host) > 0 && !m.blocked; {
			x.consider(m, kindHost, host)
			dot := bytes.IndexByte(host, '.')
			if dot < 0 {
				break
			}
			host = host[dot+1:]
		}
	}
	if x.kinds[kindKey] && link.Key != "" && !m.blocked && len(link.Key) < len(pair) {
		x.consider(m, kindKey, append(pair[:0], link.Key...))
	}
	if x.kinds[kindIP] && !m.blocked && req.Address.IsValid() {
		x.considerAddress(m, req.Address)
	}
	if len(x.agents) > 0 && !m.blocked && req.UserAgent != "" {
		x.considerAgent(m, req.UserAgent)
	}
}

// A match gathers the winners among the rules that match.
type match struct {
	now       int64
	winner    *record // a block, or the first redirect
	in        *packed // that holds the winner
	untracked *record
	beside    *packed // that holds untracked
	blocked   bool
	open      bool // no redirect of a more specific value won

	asks *[]Rule // if not nil: take the names of the rules that could match, instead of looking them up
}

// consider takes a rule that matches.
func (m *match) consider(p *packed, r *record) {
	switch {
	case !p.live(r, m.now):
	case r.action == actionUntracked:
		if m.untracked == nil {
			m.untracked, m.beside = r, p
		}
	case m.blocked:
	case r.action == actionBlock:
		m.winner, m.in, m.blocked = r, p, true
	case m.winner == nil || m.open && p.before(r, m.in, m.winner):
		m.winner, m.in = r, p
	}
}

// before reports whether a redirect wins over another of the same value.
func (p *packed) before(r *record, q *packed, s *record) bool {
	if r.updated != s.updated {
		return r.updated > s.updated
	}
	a, b := p.rule(r), q.rule(s)
	return a.id() < b.id()
}

func (m *match) decision() Decision {
	d := Decision{Untracked: m.untracked != nil}
	r, p := m.winner, m.in
	switch {
	case m.blocked:
		d.Action = Block
	case r != nil:
		d.Action, d.Target = Redirect, p.details(r).target
	case d.Untracked:
		r, p = m.untracked, m.beside
	default:
		return d
	}
	d.Rule, d.NamesPerson = p.key(r), !kinds[r.kind].impersonal
	return d
}

// consider considers the rules of a kind and value.
func (x *Index) consider(m *match, kind uint8, value []byte) {
	if m.asks != nil {
		*m.asks = append(*m.asks, Rule{Kind: kinds[kind].name, Value: string(value)})
		return
	}
	h := maphash.Bytes(seed, value)
	m.open = m.winner == nil
	for r := x.delta.lookup(kind, h, value); r != nil; r = x.delta.next(r) {
		m.consider(x.delta, r)
	}
	for r := x.base.lookup(kind, h, value); r != nil; r = x.base.next(r) {
		if x.delta.find(r.document) == nil {
			m.consider(x.base, r)
		}
	}
}

// considerPrefixes looks up what stands before and after each boundary of a
// destination, the longest first.
func (x *Index) considerPrefixes(m *match, normal []byte) {
	var boundaries [maxBoundaries]int16
	n, whole := 0, len(normal) <= maxPrefix
	for i := 0; i < len(normal) && i <= maxPrefix; i++ {
		if isBoundary[normal[i]] {
			if n == maxBoundaries {
				whole = false
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
			x.consider(m, kindPrefix, normal[:length])
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
	lengths := x.networks[0]
	if address.Is6() {
		lengths = x.networks[1]
	}
	var buf [64]byte
	for _, bits := range lengths {
		network, _ := address.Prefix(int(bits))
		x.consider(m, kindIP, appendNetwork(buf[:0], network))
		if m.blocked {
			return
		}
	}
}

func (x *Index) considerAgent(m *match, userAgent string) {
	var buf [maxAgent]byte
	n := copy(buf[:], userAgent)
	text := buf[:n]
	for i, c := range text {
		text[i] = lower(c)
	}
	for _, value := range x.agents {
		if bytes.Contains(text, value) {
			if x.consider(m, kindAgent, value); m.blocked {
				return
			}
		}
	}
}

// census counts the documents of an index at a time.
func (x *Index) census(now int64) (c census) {
	if x == nil {
		return c
	}
	for r := range x.records {
		c.documents++
		if r.expires > now {
			c.living++
		}
		if r.indexed(now) {
			c.rules++
		}
		if r.keyLength == 0 && !r.deleted {
			c.skipped++
		}
	}
	c.skipped += x.leftOut
	return c
}

// A census is what an index holds at a time.
type census struct {
	documents int
	living    int // documents that have not expired
	rules     int // that do anything, or will
	skipped   int // documents that cannot be understood, and agents over their limit
}

// isBoundary tells after and before which bytes a prefix may end.
var isBoundary = [256]bool{'/': true, '?': true, '&': true, '=': true}

// appendNetwork appends the normal form of a network.
func appendNetwork(dst []byte, network netip.Prefix) []byte {
	if network.IsSingleIP() {
		return network.Addr().AppendTo(dst)
	}
	return network.AppendTo(dst)
}

// boundaries counts the boundaries of a destination up to the one where a prefix
// with that normal form ends.
func boundaries(prefix string) (n int) {
	for i := range len(prefix) {
		if isBoundary[prefix[i]] || i == len(prefix)-1 {
			n++
		}
	}
	return n
}

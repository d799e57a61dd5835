package blocklist

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// rule makes a rule of "KIND:VALUE" and words: redirect, untracked, lifted,
// starts=, expires= and updated= with a duration from noon, id=.
func ruleOf(t testing.TB, s string) Rule {
	t.Helper()
	words := strings.Fields(s)
	r, err := ParseRule(words[0])
	if err != nil {
		t.Fatalf("rule %q: %v", s, err)
	}
	r.UpdatedAt = noon.Add(-time.Hour)
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		at := func() time.Time {
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatalf("rule %q: %v", s, err)
			}
			return noon.Add(d)
		}
		switch name {
		case "redirect":
			r.Action, r.Target = Redirect, cmp.Or(value, "https://elsewhere.example/")
		case "untracked":
			r.Action = Untracked
		case "lifted":
			r.Deleted = true
		case "starts":
			r.StartsAt = at()
		case "expires":
			r.ExpiresAt = at()
		case "updated":
			r.UpdatedAt = at()
		case "id":
			r.ID = value
		default:
			t.Fatalf("rule %q: word %q", s, word)
		}
	}
	return r
}

func indexOf(t testing.TB, rules ...string) *Index {
	t.Helper()
	all := make([]Rule, len(rules))
	for i, s := range rules {
		all[i] = ruleOf(t, s)
	}
	x, err := NewIndex(noon, all...)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// request is a click that every kind of rule can match.
func request() *Request {
	return &Request{
		Link: &linkcore.Link{
			Kind: linkcore.Click,
			Key:  "3",
			Host: "links.example.com",
			Fields: linkcore.Fields{
				Customer:  "acme",
				Campaign:  "spring",
				Recipient: "r1",
				Link:      "l1",
			},
			Destination: "https://shop.example.com/a/b?c=d&e=f#g",
		},
		Address:   netip.MustParseAddr("192.0.2.77"),
		UserAgent: "Mozilla/5.0 BadBot/1.0",
		Now:       noon,
	}
}

func TestDecide(t *testing.T) {
	tests := []struct {
		rules string // separated by ;
		want  string // "action rule", and "untracked"
	}{
		{"", ""},
		// One of each kind.
		{"link:acme/l1", "block link:acme/l1"},
		{"url:http://shop.example.com/a/b?c=d&e=f", "block url:shop.example.com/a/b?c=d&e=f"},
		{"prefix:https://shop.example.com/a", "block prefix:shop.example.com/a"},
		{"recipient:acme/r1", "block recipient:acme/r1"},
		{"campaign:acme/spring", "block campaign:acme/spring"},
		{"customer:acme", "block customer:acme"},
		{"host:shop.example.com", "block host:shop.example.com"},
		{"host:example.com", "block host:example.com"},
		{"host:com", "block host:com"},
		{"key:3", "block key:3"},
		{"ip:192.0.2.77", "block ip:192.0.2.77"},
		{"ip:192.0.2.0/24", "block ip:192.0.2.0/24"},
		{"ip:0.0.0.0/0", "block ip:0.0.0.0/0"},
		{"agent:badbot", "block agent:badbot"},
		// What does not match.
		{"link:acme/l2; recipient:acme/r2; campaign:acme/autumn; customer:other; key:2; agent:goodbot", ""},
		{"link:other/l1; recipient:other/r1; campaign:other/spring; link:/l1", ""},
		{"customer:ACME; link:acme/L1", ""},
		{"host:le.com; host:xample.com; host:a.shop.example.com; host:links.example.com", ""},
		{"ip:192.0.3.0/24; ip:::/0", ""},
		{"url:https://shop.example.com/a/b; url:https://shop.example.com/a/b?c=d", ""},
		{"recipient:acme/spring; campaign:acme/r1; link:acme/r1; customer:r1", ""},
		// Prefixes end at boundaries.
		{"prefix:shop.example.com", "block prefix:shop.example.com/"},
		{"prefix:shop.example.com/a/", "block prefix:shop.example.com/a/"},
		{"prefix:shop.example.com/a/b", "block prefix:shop.example.com/a/b"},
		{"prefix:shop.example.com/a/b?", "block prefix:shop.example.com/a/b?"},
		{"prefix:shop.example.com/a/b?c=", "block prefix:shop.example.com/a/b?c="},
		{"prefix:shop.example.com/a/b?c=d", "block prefix:shop.example.com/a/b?c=d"},
		{"prefix:shop.example.com/a/b?c=d&", "block prefix:shop.example.com/a/b?c=d&"},
		{"prefix:shop.example.com/a/b?c=d&e=f", "block prefix:shop.example.com/a/b?c=d&e=f"},
		{"prefix:shop.example.com/a/b?c", ""},
		{"prefix:shop.example.com/a/b?c=d&e", ""},
		{"prefix:shop.example.com/a/bc; prefix:example.com/; prefix:shop.example.co", ""},
		// The most specific wins.
		{"link:acme/l1; url:shop.example.com/a/b?c=d&e=f", "block link:acme/l1"},
		{"url:shop.example.com/a/b?c=d&e=f; prefix:shop.example.com/a/b?c=d&e=f", "block url:shop.example.com/a/b?c=d&e=f"},
		{"prefix:shop.example.com/; prefix:shop.example.com/a/b; prefix:shop.example.com/a/; prefix:shop.example.com/a", "block prefix:shop.example.com/a/b"},
		{"prefix:shop.example.com/; recipient:acme/r1", "block prefix:shop.example.com/"},
		{"recipient:acme/r1; campaign:acme/spring", "block recipient:acme/r1"},
		{"campaign:acme/spring; customer:acme", "block campaign:acme/spring"},
		{"customer:acme; host:shop.example.com", "block customer:acme"},
		{"host:com; host:shop.example.com; host:example.com", "block host:shop.example.com"},
		{"host:com; key:3", "block host:com"},
		{"key:3; ip:192.0.2.77", "block key:3"},
		{"ip:192.0.2.0/24; ip:192.0.2.77; ip:192.0.0.0/16", "block ip:192.0.2.77"},
		{"ip:0.0.0.0/0; agent:badbot", "block ip:0.0.0.0/0"},
		{"agent:bot; agent:badbot; agent:bad", "block agent:badbot"},
		// A block wins over any redirect.
		{"link:acme/l1 redirect; agent:badbot", "block agent:badbot"},
		{"host:shop.example.com redirect; host:com", "block host:com"},
		{"prefix:shop.example.com/a/b redirect; prefix:shop.example.com/", "block prefix:shop.example.com/"},
		{"ip:192.0.2.77 redirect; ip:192.0.2.0/24 redirect; ip:0.0.0.0/0", "block ip:0.0.0.0/0"},
		{"agent:badbot redirect; agent:bot", "block agent:bot"},
		{"link:acme/l1 redirect; host:com redirect", "redirect link:acme/l1"},
		{"ip:192.0.2.0/24 redirect; ip:192.0.0.0/16 redirect", "redirect ip:192.0.2.0/24"},
		{"agent:badbot redirect; key:3 redirect", "redirect key:3"},
		// Untracked stands beside.
		{"recipient:acme/r1 untracked", " recipient:acme/r1 untracked"},
		{"link:acme/l1 untracked; customer:acme untracked", " link:acme/l1 untracked"},
		{"campaign:acme/spring untracked; customer:acme untracked", " campaign:acme/spring untracked"},
		{"link:acme/l1 untracked; agent:badbot", "block agent:badbot untracked"},
		{"customer:acme untracked; link:acme/l1", "block link:acme/l1 untracked"},
		{"customer:acme untracked; url:shop.example.com/a/b?c=d&e=f", "block url:shop.example.com/a/b?c=d&e=f untracked"},
		{"link:acme/l1 untracked; host:com redirect", "redirect host:com untracked"},
		// Times.
		{"host:com starts=1us", ""},
		{"host:com starts=0s", "block host:com"},
		{"host:com expires=0s", ""},
		{"host:com expires=1us", "block host:com"},
		{"host:com starts=-1h expires=1h", "block host:com"},
		{"host:com lifted", ""},
		{"host:shop.example.com starts=1h; host:com", "block host:com"},
		{"ip:192.0.2.77 starts=1h; ip:192.0.2.0/24", "block ip:192.0.2.0/24"},
		{"agent:badbot starts=1h; agent:bot", "block agent:bot"},
		{"recipient:acme/r1 untracked starts=1h", ""},
		// Several documents for one kind and value.
		{"host:com redirect updated=0s id=a; host:com updated=-1h id=b", "block host:com"},
		{"host:com redirect=https://a.example/ updated=-1h id=a; host:com redirect=https://b.example/ updated=0s id=b", "redirect host:com https://b.example/"},
		{"host:com redirect=https://b.example/ id=b; host:com redirect=https://a.example/ id=a", "redirect host:com https://a.example/"},
		{"host:com starts=1h id=a; host:com redirect id=b", "redirect host:com"},
		{"host:com expires=0s id=a; host:com redirect id=b", "redirect host:com"},
		{"host:com redirect=https://a.example/ updated=0s starts=1h id=a; host:com redirect=https://b.example/ updated=-1h id=b", "redirect host:com https://b.example/"},
		{"host:com lifted id=a; host:com redirect id=b", "redirect host:com"},
		{"ip:192.0.2.77 redirect updated=0s id=a; ip:192.0.2.77/32 id=b", "block ip:192.0.2.77"},
		{"agent:BOT redirect updated=0s id=a; agent:bot id=b", "block agent:bot"},
		{"customer:acme untracked id=a; customer:acme redirect updated=-2h id=b", "redirect customer:acme untracked"},
		{"customer:acme untracked id=a; customer:acme updated=-2h id=b", "block customer:acme untracked"},
	}
	for _, tt := range tests {
		var rules []string
		for s := range strings.SplitSeq(tt.rules, ";") {
			if strings.TrimSpace(s) != "" {
				rules = append(rules, s)
			}
		}
		for range 2 { // the order of the rules does not count
			d := indexOf(t, rules...).Decide(request())
			got := ""
			if d.Rule != "" {
				got = string(d.Action) + " " + d.Rule
			}
			if d.Action == Redirect && d.Target != "https://elsewhere.example/" {
				got += " " + d.Target
			}
			if d.Action != Redirect && d.Target != "" {
				t.Errorf("rules %s: target %q without a redirect", tt.rules, d.Target)
			}
			if d.Untracked {
				got += " untracked"
			}
			if got != tt.want {
				t.Errorf("rules %s: %q, want %q", tt.rules, got, tt.want)
			}
			slices.Reverse(rules)
		}
	}
}

func TestDecideWithout(t *testing.T) {
	all := []string{"link:acme/l1", "link:/l1", "recipient:acme/r1", "campaign:acme/spring", "customer:acme", "host:com",
		"prefix:shop.example.com", "url:shop.example.com/a/b?c=d&e=f", "key:3", "ip:0.0.0.0/0", "ip:::/0", "agent:bad"}
	x := indexOf(t, all...)
	tests := []struct {
		name   string
		change func(*Request)
		want   string
	}{
		{"no link", func(r *Request) { r.Link = nil }, ""},
		{"an open", func(r *Request) {
			*r.Link = linkcore.Link{Kind: linkcore.Open, Fields: linkcore.Fields{Customer: "acme", Link: "x"}}
		}, "customer:acme"},
		{"no customer", func(r *Request) { r.Link.Customer = "" }, "link:/l1"},
		{"no destination", func(r *Request) {
			*r.Link = linkcore.Link{Kind: linkcore.Open, Key: "3", Fields: linkcore.Fields{Link: "x"}}
		}, "key:3"},
		{"nothing but an address", func(r *Request) { r.Link = &linkcore.Link{} }, "ip:0.0.0.0/0"},
		{"a mapped address", func(r *Request) { r.Link = &linkcore.Link{}; r.Address = netip.MustParseAddr("::ffff:192.0.2.77") }, "ip:0.0.0.0/0"},
		{"an address with a zone", func(r *Request) { r.Link = &linkcore.Link{}; r.Address = netip.MustParseAddr("fe80::1%eth0") }, "ip:::/0"},
		{"nothing but an agent", func(r *Request) { r.Link = &linkcore.Link{}; r.Address = netip.Addr{} }, "agent:bad"},
		{"nothing", func(r *Request) { *r = Request{Link: &linkcore.Link{}, Now: noon} }, ""},
		{"long identifiers", func(r *Request) {
			long := strings.Repeat("x", 1000)
			*r = Request{Link: &linkcore.Link{Key: long, Fields: linkcore.Fields{Customer: long, Campaign: long, Recipient: long, Link: long}}, Now: noon}
		}, ""},
		{"a destination that is none", func(r *Request) {
			*r = Request{Link: &linkcore.Link{Destination: "mailto:shop@example.com"}, Now: noon}
		}, ""},
	}
	for _, tt := range tests {
		r := request()
		tt.change(r)
		if got := x.Decide(r).Rule; got != tt.want {
			t.Errorf("%s: rule %q, want %q", tt.name, got, tt.want)
		}
	}
	var none *Index
	if got := none.Decide(request()); got != (Decision{}) {
		t.Errorf("a nil index decides %+v", got)
	}
	if got := none.census(0).documents; got != 0 {
		t.Errorf("a nil index has %d rules", got)
	}
}

// TestDecideNormalises checks that a destination is compared in its normal
// form.
func TestDecideNormalises(t *testing.T) {
	x := indexOf(t, "url:https://bücher.example/a/%7Eb?c", "host:[2001:db8::1]", "prefix:shop.example/in/", "url:bait.example/%7Ba%22?%27", "host:192.0.2.1")
	for destination, want := range map[string]string{
		"https://xn--bcher-kva.example/a/~b?c":            "url:xn--bcher-kva.example/a/~b?c",
		"HTTP://XN--BCHER-KVA.EXAMPLE.:80/x/../a/%7eb?c#": "url:xn--bcher-kva.example/a/~b?c",
		"https://xn--bcher-kva.example/a/~b?C":            "",
		"https://[2001:DB8:0::0:1]/":                      "host:[2001:db8::1]",
		"https://shop.example/out/%2e%2E/in/":             "prefix:shop.example/in/",
		"https://shop.example/in/../out":                  "",
		"https://bait.example/{a\"?'":                     "url:bait.example/%7Ba%22?%27",
		"https://[0:0:0:0:0:FFFF:C000:201]/":              "host:192.0.2.1",
		"https://shop.example?/in/":                       "",
	} {
		r := &Request{Link: &linkcore.Link{Destination: destination}, Now: noon}
		if got := x.Decide(r).Rule; got != want {
			t.Errorf("%s: rule %q, want %q", destination, got, want)
		}
	}
}

func TestPrefixBounds(t *testing.T) {
	at := func(n int) string { return "shop.example" + strings.Repeat("/a", n) }
	longValue := "shop.example/" + strings.Repeat("x", maxPrefix-len("shop.example/"))
	tests := []struct {
		name, rule, destination string
		want                    bool
	}{
		{"63 boundaries and the end", "prefix:" + at(63), "https://" + at(63), true},
		{"before the 64th boundary", "prefix:" + at(63), "https://" + at(64), true},
		{"at the 64th boundary", "prefix:" + at(63) + "/", "https://" + at(64), true},
		{"in a query", "prefix:" + at(59) + "/?a=b&c=", "https://" + at(59) + "/?a=b&c=d", true},
		{"the host is found however long the rest", "prefix:shop.example", "https://" + at(1000), true},
		{"2048 bytes", "prefix:" + longValue, "https://" + longValue, true},
		{"2048 bytes and more", "prefix:" + longValue, "https://" + longValue + "/b", true},
		{"2048 bytes and no boundary", "prefix:" + longValue, "https://" + longValue + "b", false},
		{"a boundary within 2048 bytes", "prefix:shop.example/a", "https://shop.example/a/" + strings.Repeat("x", 9000), true},
	}
	for _, tt := range tests {
		r := &Request{Link: &linkcore.Link{Destination: tt.destination}, Now: noon}
		if got := indexOf(t, tt.rule).Decide(r).Action == Block; got != tt.want {
			t.Errorf("%s: blocked %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAgents(t *testing.T) {
	x := indexOf(t, "agent:BadBot", "agent:ünïcode")
	for agent, want := range map[string]bool{
		"badbot":                                true,
		"xBADBOTx":                              true,
		"bad bot":                               false,
		"badbo":                                 false,
		"":                                      false,
		"a ünïcode b":                           true,
		"ÜNÏCODE":                               false,
		strings.Repeat("x", 2042) + "badbot":    true,
		strings.Repeat("x", 2043) + "badbot":    false,
		strings.Repeat("x", 9000):               false,
		"\xff\x00badbot" + string([]byte{0x80}): true,
	} {
		r := &Request{Link: &linkcore.Link{}, UserAgent: agent, Now: noon}
		if got := x.Decide(r).Action == Block; got != want {
			t.Errorf("agent %.40q: blocked %v, want %v", agent, got, want)
		}
	}
}

func TestAgentLimit(t *testing.T) {
	var rules []Rule
	for i := range MaxAgents + 10 {
		r := ruleOf(t, fmt.Sprintf("agent:bot-%05d-end", i))
		r.UpdatedAt = noon.Add(-time.Duration(i) * time.Minute) // the later ones are the older
		rules = append(rules, r)
	}
	x, err := NewIndex(noon, rules...)
	if err != nil {
		t.Fatal(err)
	}
	if got := x.leftOut; got != 10 {
		t.Errorf("%d agents left out, want 10", got)
	}
	for i := range rules {
		r := &Request{Link: &linkcore.Link{}, UserAgent: fmt.Sprintf("bot-%05d-end", i), Now: noon}
		if got, want := x.Decide(r).Action == Block, i >= 10; got != want {
			t.Errorf("agent %d: blocked %v, want %v", i, got, want)
		}
	}
}

func TestNewIndexRefuses(t *testing.T) {
	if _, err := NewIndex(noon, Rule{Kind: Host, Value: "*"}); err == nil {
		t.Error("a host that is none was taken")
	}
	x, err := NewIndex(noon, Rule{Kind: Host, Value: "*", Deleted: true}, Rule{Kind: Host, Value: "Example.com"})
	if err != nil || x.census(0).documents != 1 {
		t.Errorf("%d rules, %v, want 1", x.census(0).documents, err)
	}
}

// live reports whether the rule does anything at a time in Unix microseconds.
func (r *rule) live(now int64) bool { return r.starts <= now && now < r.expires }

// indexed reports whether the rule does anything at that time or later.
func (r *rule) indexed(now int64) bool { return r.key != "" && !r.deleted && now < r.expires }

// TestEdits compares an index that was edited again and again with a plain search
// through all documents.
func TestEdits(t *testing.T) {
	testsize.Large(t)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	values := []string{"host:example.com", "host:com", "host:shop.example.com", "link:acme/l1", "recipient:acme/r1", "customer:acme",
		"campaign:acme/spring", "prefix:shop.example.com/a", "prefix:shop.example.com/a/", "url:shop.example.com/a/b?c=d&e=f",
		"key:3", "ip:192.0.2.77", "ip:192.0.2.0/24", "ip:192.0.0.0/16", "ip:2001:db8::/32", "agent:badbot", "agent:bot", "agent:other", "host:other"}
	for range 3 {
		x := emptyIndex
		documents := map[string]rule{}
		several, rebased := 0, 0
		for step := range 3000 {
			now := noon.UnixMicro() + int64(step)
			var changes rules
			for range 1 + random.IntN(4) {
				id := fmt.Sprint(random.IntN(40))
				r := ruleOf(t, values[random.IntN(len(values))]+pick("", "", " redirect")+pick("", " lifted")+
					pick("", " starts=1ms", " expires=1ms", " expires=2ms")+pick("", " updated=-1s", " updated=-2h"))
				if (r.Kind == Link || r.Kind == Customer) && random.IntN(2) == 0 {
					r.Action = Untracked
				}
				document := newRule(&Document{ID: id, rule: r}, now)
				documents[id] = document
				changes.add(keyOf(id), &document)
			}
			before := x.Decide(request())
			previous := x
			x = with(x, pack(changes.records, changes.text.String()), now)
			switch random.IntN(20) {
			case 0:
				x = x.rebased(now)
				rebased++
			case 1: // a reload, which finds that some have gone
				var all rules
				for id, r := range documents {
					if random.IntN(4) == 0 {
						delete(documents, id)
					} else {
						all.add(keyOf(id), &r)
					}
				}
				x = newIndex(pack(all.records, all.text.String()), nothing, now)
			}
			if got := previous.Decide(request()); got != before {
				t.Fatalf("step %d: the old index changed: %+v, before %+v", step, got, before)
			}
			req := request()
			req.Now = time.UnixMicro(now)
			got, want := x.Decide(req), search(documents, now)
			if got != want {
				t.Fatalf("step %d: %+v, want %+v", step, got, want)
			}
			census := census{documents: len(documents)}
			keys := map[string]int{}
			for _, r := range documents {
				keys[r.key]++
				if r.expires > now {
					census.living++
				}
				if r.indexed(now) {
					census.rules++
				}
			}
			if got := x.census(now); got != census || x.census(0).documents != len(documents) {
				t.Fatalf("step %d: %+v of %d documents, want %+v", step, got, x.census(0).documents, census)
			}
			for _, n := range keys {
				several = max(several, n)
			}
		}
		if several < 3 || rebased < 50 {
			t.Errorf("at most %d documents of one value, %d new bases: the test shows little", several, rebased)
		}
	}
}

// TestLookup finds each of many rules by kind and value, and no others.
func TestLookup(t *testing.T) {
	const n = 20_000
	x, err := NewIndex(noon, many(n)...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range many(2 * n) {
		kind, _ := r.Kind.number()
		found := x.base.lookup(kind, maphash.String(seed, r.Value), []byte(r.Value))
		if (found != nil) != (i < n) || found != nil && x.base.key(found) != r.String() {
			t.Fatalf("rule %d, %s: found %+v", i, r, found)
		}
	}
}

// search decides request() by trying every document.
func search(documents map[string]rule, now int64) Decision {
	matching := map[string]bool{"host:example.com": true, "host:com": true, "host:shop.example.com": true, "link:acme/l1": true,
		"recipient:acme/r1": true, "customer:acme": true, "campaign:acme/spring": true, "prefix:shop.example.com/a": true,
		"prefix:shop.example.com/a/": true, "url:shop.example.com/a/b?c=d&e=f": true, "key:3": true, "ip:192.0.2.77": true,
		"ip:192.0.2.0/24": true, "ip:192.0.0.0/16": true, "agent:badbot": true, "agent:bot": true}
	length := func(r rule) int {
		_, value, _ := strings.Cut(r.key, ":")
		if r.kind == kindIP {
			network, _ := parseNetwork(value)
			return network.Bits()
		}
		return len(value)
	}
	var live []rule
	for _, r := range documents {
		if matching[r.key] && !r.deleted && r.live(now) {
			live = append(live, r)
		}
	}
	slices.SortFunc(live, func(a, b rule) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(length(b), length(a)), cmp.Compare(b.updated, a.updated), strings.Compare(a.id(), b.id()))
	})
	var d Decision
	says := func(r rule) {
		d.Rule = r.key
		d.NamesPerson = r.kind == kindLink || r.kind == kindRecipient || r.kind == kindIP || r.kind == kindAgent
	}
	for _, r := range live {
		if r.action == actionUntracked && !d.Untracked {
			d.Untracked = true
			says(r)
		}
	}
	for _, r := range live {
		if r.action == actionBlock {
			d.Action = Block
			says(r)
			return d
		}
	}
	for _, r := range live {
		if r.action == actionRedirect {
			d.Action, d.Target = Redirect, r.target
			says(r)
			return d
		}
	}
	return d
}

// many makes n rules of every kind.
func many(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		var kind Kind
		var value string
		switch i % 20 {
		case 0:
			kind, value = Link, fmt.Sprintf("customer%d/link%d", i%997, i)
		case 1:
			kind, value = Campaign, fmt.Sprintf("customer%d/campaign%d", i%997, i)
		case 2:
			kind, value = Customer, fmt.Sprintf("customer%d", i)
		case 3:
			kind, value = IP, fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)
		case 4, 5:
			kind, value = Host, fmt.Sprintf("host%d.example", i)
		case 6, 7, 8:
			kind, value = Prefix, fmt.Sprintf("www.site%d.example/folder/%d/", i%5003, i)
		case 9, 10, 11, 12:
			kind, value = URL, fmt.Sprintf("www.site%d.example/folder/page-%d?id=%d", i%5003, i, i)
		default:
			kind, value = Recipient, fmt.Sprintf("customer%d/recipient%d", i%997, i)
		}
		rules[i] = Rule{Kind: kind, Value: value, UpdatedAt: noon}
		if i%7 == 0 {
			rules[i].Action, rules[i].Target = Redirect, "https://elsewhere.example/"
		}
	}
	return rules
}

// requests makes requests to n rules, of which every second one matches.
func requests(n int) []*Request {
	var all []*Request
	for i := range 4096 {
		k := i * (n/4096 + 1) % n
		r := &Request{
			Link: &linkcore.Link{
				Kind: linkcore.Click, Key: "3", Host: "links.example.com",
				Fields:      linkcore.Fields{Customer: fmt.Sprintf("customer%d", k%997), Campaign: "campaign", Recipient: fmt.Sprintf("recipient%d", k+i%2*n), Link: fmt.Sprintf("link%d", k+i%2*n)},
				Destination: fmt.Sprintf("https://www.site%d.example/folder/page-%d?id=%d&utm_source=mail&utm_medium=email", k%5003, k, k),
			},
			Address:   netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}),
			UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
			Now:       noon,
		}
		if i%2 == 1 {
			r.Address = netip.AddrFrom4([4]byte{192, 0, 2, byte(k)})
		}
		all = append(all, r)
	}
	return all
}

func TestDecideDoesNotAllocate(t *testing.T) {
	rules := append(many(2000), ruleOf(t, "agent:badbot"), ruleOf(t, "key:99"), ruleOf(t, "ip:198.51.100.0/24"), ruleOf(t, "customer:acme untracked"))
	x, err := NewIndex(noon, rules...)
	if err != nil {
		t.Fatal(err)
	}
	long := request()
	long.Link.Destination = "https://shop.example.com/" + strings.Repeat("a/%41", 2000)
	long.UserAgent = strings.Repeat("x", 5000)
	all := append(requests(2000)[:100], request(), long)
	for i, r := range all {
		// What goroutines allocate that other tests left, such as those of
		// gRPC, counts as well, but not three times in a row.
		n := 1.0
		for tries := 0; n > 0 && tries < 3; tries++ {
			n = testing.AllocsPerRun(100, func() { x.Decide(r) })
		}
		if n > 0 {
			t.Errorf("request %d: %v allocations", i, n)
		}
	}
}

// heap returns the bytes in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func benchmarkDecide(b *testing.B, n int) {
	x, err := NewIndex(noon, many(n)...)
	if err != nil {
		b.Fatal(err)
	}
	all := requests(n)
	runtime.GC()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x.Decide(all[i%len(all)])
		i++
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{100, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) { benchmarkDecide(b, n) })
	}
}

func BenchmarkDecideAgents(b *testing.B) {
	var rules []Rule
	for i := range MaxAgents {
		rules = append(rules, ruleOf(b, fmt.Sprintf("agent:scanner-%d/", i)))
	}
	x, err := NewIndex(noon, rules...)
	if err != nil {
		b.Fatal(err)
	}
	r := requests(100)[1]
	b.ReportAllocs()
	for b.Loop() {
		x.Decide(r)
	}
}

// BenchmarkRefresh brings one rule to a million, beside as many changes as a delta
// may hold.
func BenchmarkRefresh(b *testing.B) {
	x, err := NewIndex(noon, many(1_000_000)...)
	if err != nil {
		b.Fatal(err)
	}
	host := func(i int) *packed {
		var s rules
		id := fmt.Sprintf("new %d", i)
		r := newRule(&Document{ID: id, rule: Rule{Kind: Host, Value: fmt.Sprintf("new%d.example", i)}}, 0)
		s.add(keyOf(id), &r)
		return pack(s.records, s.text.String())
	}
	for i := 0; !x.large(); i++ {
		x.delta = merge(x.delta, host(i))
		if i > 1000 { // those of one at a time would take long
			var all rules
			for ; i < 1000+len(x.base.records)/100; i++ {
				all.copy(host(i), &host(i).records[0])
			}
			x.delta = merge(x.delta, pack(all.records, all.text.String()))
		}
	}
	one := host(-1)
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		with(x, one, noon.UnixMicro())
	}
}

// BenchmarkRebase makes a new base of a million rules.
func BenchmarkRebase(b *testing.B) {
	x, err := NewIndex(noon, many(1_000_000)...)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		x.rebased(noon.UnixMicro())
	}
}

// with returns an index in which documents replace those that had their ids.
func with(x *Index, read *packed, now int64) *Index {
	return newIndex(x.base, merge(x.delta, read), now)
}

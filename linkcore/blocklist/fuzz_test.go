package blocklist

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
)

// FuzzNormalizeValue: what is normal stays as it is, and has the same id.
func FuzzNormalizeValue(f *testing.F) {
	for _, value := range []string{
		"https://Example.com:443/a/%2e%2E/b%7e?c#d", "example.com/%%34%31", "%4%31/..", "http://[::1]:80", "https://bücher.example./",
		"acme/r1", "/x", "192.0.2.77/24", "::ffff:192.0.2.1/96", "BadBot", "3", "http/x", "https:81//x", "a://b/c",
		"example.com//../..//%2e?%2e%2e/", "0x7f.1", "例え。テスト",
	} {
		for i := range kinds {
			f.Add(uint8(i), value)
		}
	}
	f.Fuzz(func(t *testing.T, number uint8, value string) {
		kind := kinds[int(number)%len(kinds)].name
		normal, err := NormalizeValue(kind, value)
		if err != nil {
			return
		}
		again, err := NormalizeValue(kind, normal)
		if err != nil || again != normal {
			t.Fatalf("%s:%q is normal as %q, and that as %q, %v", kind, value, normal, again, err)
		}
		r, err := ParseRule(string(kind) + ":" + normal)
		if err != nil || r.String() != string(kind)+":"+normal {
			t.Fatalf("ParseRule(%s:%q) = %q, %v", kind, normal, r, err)
		}
		// A rule matches what it was made of.
		x, err := NewIndex(time.Now(), r)
		if err != nil {
			t.Fatal(err)
		}
		req := Request{Link: &linkcore.Link{}, Now: time.Now()}
		switch kind {
		case URL, Prefix:
			if !hasScheme(value) {
				value = "https://" + strings.TrimSpace(value)
			}
			req.Link.Destination, err = linkcore.NormalizeDestination(strings.TrimSpace(value))
		case Host:
			req.Link.Destination = "https://sub." + normal + "/"
			if _, err := linkcore.ParseDestination(req.Link.Destination); err != nil {
				req.Link.Destination = "https://" + normal + "/"
			}
		case Customer:
			req.Link.Customer = normal
		case Link:
			req.Link.Customer, req.Link.Link, _ = strings.Cut(normal, "/")
		case Recipient:
			req.Link.Customer, req.Link.Recipient, _ = strings.Cut(normal, "/")
		case Campaign:
			req.Link.Customer, req.Link.Campaign, _ = strings.Cut(normal, "/")
		case Key:
			req.Link.Key = normal
		case IP:
			network, _ := parseNetwork(normal)
			req.Address = network.Addr()
		case Agent:
			req.UserAgent = strings.ToUpper(value)
			if bytes.ContainsFunc([]byte(value), func(r rune) bool { return r > 0x7E }) {
				req.UserAgent = value // only ASCII letters have no case
			}
		}
		if d := x.Decide(&req); err != nil || d.Action != Block || d.Rule != r.String() {
			t.Fatalf("rule %s made of %q decides %+v on %+v", r, value, d, req)
		}
	})
}

// FuzzDocument: no shape of a document makes an endpoint panic.
func FuzzDocument(f *testing.F) {
	f.Add("host", "a.example", "block", "", uint8(0), int64(0))
	f.Add("url", "https://a.example/%2e%2e", "redirect", "https://b.example/", uint8(3), int64(1777636800))
	f.Fuzz(func(t *testing.T, kind, value, action, target string, shape uint8, seconds int64) {
		var odd any
		switch shape % 6 {
		case 0:
			odd = time.Unix(seconds, 0)
		case 1:
			odd = seconds
		case 2:
			odd = value
		case 3:
			odd = []any{value}
		case 4:
			odd = shape > 100
		}
		names := []string{"starts_at", "expires_at", "updated_at", "deleted", "kind", "value", "action", "target", "reason", "created_at"}
		fields := map[string]any{"kind": kind, "value": value, "action": action, "target": target}
		fields[names[int(shape/6)%len(names)]] = odd
		d := newDocument(value, fields)
		parsed, err := d.Rule()
		r := newRule(&d, 0)
		if (err == nil) != (r.problem == "") {
			t.Fatalf("error %v, problem %q", err, r.problem)
		}
		if again := newRule(&d, 0); !r.unchanged(again, 0) || r.action == actionRedirect && r.id() != d.ID {
			t.Fatalf("document %+v is %+v and then %+v", d, r, again)
		}
		if err == nil && !parsed.Deleted {
			again, err := parsed.normalize()
			if err != nil || again.Value != parsed.Value || again.Target != parsed.Target {
				t.Fatalf("rule %+v is not normal: %+v, %v", parsed, again, err)
			}
		}
		var s rules
		s.add(keyOf(d.ID), &r)
		x := with(emptyIndex, pack(s.records, s.text.String()), 0)
		p, found := x.document(keyOf(d.ID))
		if found == nil || p.rule(found) != r {
			t.Fatalf("rule %+v comes back as %+v", r, found)
		}
		want := census{documents: 1}
		if r.expires > 0 {
			want.living = 1
		}
		if r.indexed(0) {
			want.rules = 1
		}
		if err != nil {
			want.skipped = 1
		}
		if got := x.census(0); got != want {
			t.Fatalf("census %+v, want %+v", got, want)
		}
		x.Decide(request())
	})
}

// FuzzDecide: no request panics, and what is looked at has its bounds.
func FuzzDecide(f *testing.F) {
	f.Add("https://shop.example.com/a/b?c=d&e=f", "acme", "spring", "r1", "l1", "3", "Mozilla/5.0", "192.0.2.77")
	f.Add("http://[::]:0/%2e%2e//..?%", "", "", "", "x", "", "", "::ffff:0:0")
	x := indexOf(f, "host:com", "prefix:shop.example.com/", "url:a.example", "customer:acme", "campaign:acme/spring", "recipient:acme/r1",
		"link:acme/l1", "key:3", "ip:192.0.2.0/24", "ip:2001:db8::/32", "agent:bot", "recipient:/r untracked")
	f.Fuzz(func(t *testing.T, destination, customer, campaign, recipient, link, key, agent, address string) {
		a, _ := netip.ParseAddr(address)
		d := x.Decide(&Request{
			Link: &linkcore.Link{Key: key, Destination: destination,
				Fields: linkcore.Fields{Customer: customer, Campaign: campaign, Recipient: recipient, Link: link}},
			Address: a, UserAgent: agent, Now: noon,
		})
		if (d.Rule == "") != (d.Action == "" && !d.Untracked) {
			t.Fatalf("decision %+v", d)
		}
	})
}

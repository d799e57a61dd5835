package redirect

import (
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
)

// TestRulesAndEventsSeeTheRequest: rules are asked with all that they can be
// about besides the link, and the event has the address and the rule of every
// kind of link.
func TestRulesAndEventsSeeTheRequest(t *testing.T) {
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
		o.Rules = rulesOf(t,
			`{"kind":"agent","value":"badbot"}`,
			`{"kind":"ip","value":"192.0.2.0/24"}`,
			`{"kind":"customer","value":"begun","starts_at":"2020-01-01T00:00:00Z"}`,
			`{"kind":"customer","value":"later","starts_at":"2999-01-01T00:00:00Z"}`,
		)
	})
	const (
		barred  = "192.0.2.77"
		address = "198.51.100.9"
		agent   = "Mozilla/5.0"
	)
	for _, test := range []struct {
		name                     string
		kind                     linkcore.Kind
		customer, address, agent string
		status                   int
		rule                     string
	}{
		{"agent", linkcore.Click, "acme", address, "BadBot/1.0", 410, "agent:badbot"},
		{"address", linkcore.Click, "acme", barred, agent, 410, "ip:192.0.2.0/24"},
		{"begun", linkcore.Click, "begun", address, agent, 410, "customer:begun"},
		{"later", linkcore.Click, "later", address, agent, 302, ""},
		{"open", linkcore.Open, "acme", barred, agent, 200, "ip:192.0.2.0/24"},
		{"open, agent", linkcore.Open, "acme", address, "BadBot/1.0", 200, "agent:badbot"},
		{"unsubscribe", linkcore.Unsubscribe, "acme", barred, agent, 200, "ip:192.0.2.0/24"},
		{"unsubscribe, begun", linkcore.Unsubscribe, "begun", address, agent, 200, "customer:begun"},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := p.target(t, test.kind, linkcore.Fields{Customer: test.customer})
			r := request("GET", target)
			if test.kind == linkcore.Unsubscribe {
				r = httptest.NewRequest("POST", "http://"+host+"/", strings.NewReader(oneClickBody))
				r.RequestURI = target
			}
			r.Header.Set("X-Forwarded-For", test.address)
			r.Header.Set("User-Agent", test.agent)
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("status %d, want %d", w.Code, test.status)
			}
			events := p.sink.take()
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			if e := events[0]; e.Rule != test.rule || e.IP != test.address {
				t.Errorf("the event has the rule %q and the address %q, want %q and %q", e.Rule, e.IP, test.rule, test.address)
			}
		})
	}
}

// TestUntrackedUnsubscribe: whoever is not to be tracked can still unsubscribe,
// and a click or open under the same rule names nobody.
func TestUntrackedUnsubscribe(t *testing.T) {
	for _, rule := range []string{"customer:acme", "campaign:acme/spring26", "recipient:acme/r1", "link:acme/l1"} {
		kind, value, _ := strings.Cut(rule, ":")
		p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
			o.Rules = rulesOf(t, `{"kind":"`+kind+`","value":"`+value+`","action":"untracked"}`)
		})
		for _, sealed := range []bool{false, true} {
			for _, link := range []linkcore.Kind{linkcore.Click, linkcore.Open, linkcore.Unsubscribe} {
				fields := linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1", Link: "l1"}
				sign, to, metadata := p.signer.Sign, "", ""
				if link == linkcore.Click {
					to = destination
				}
				if sealed {
					sign, metadata = p.signer.Seal, `{"a":1}`
				}
				tracked, err := sign(fields, to, linkcore.Options{Kind: link, Metadata: metadata, ExactLink: true})
				check(t, err)
				method, body := "GET", ""
				if link == linkcore.Unsubscribe {
					method, body = "POST", oneClickBody
				}
				r := httptest.NewRequest(method, "http://"+host+"/", strings.NewReader(body))
				r.RequestURI = strings.TrimPrefix(tracked.URL, "https://"+host) + "?q=1"
				r.Header.Set("X-Forwarded-For", "192.0.2.77")
				for _, name := range []string{"User-Agent", "Referer", "Accept-Language"} {
					r.Header.Set(name, "device")
				}
				p.ServeHTTP(httptest.NewRecorder(), r)
				events := p.sink.take()
				if len(events) != 1 {
					t.Fatalf("%s: %d events of %s", rule, len(events), link)
				}
				e := events[0]
				if device := e.IP + e.UserAgent + e.Referer + e.AcceptLanguage + e.Query; !e.Untracked || device != "" {
					t.Errorf("%s: the event of %s is untracked %v and holds %q of the device", rule, link, e.Untracked, device)
				}
				want := linkcore.Fields{Customer: "acme", Campaign: "spring26"}
				wantRule := rule
				if kind == "recipient" || kind == "link" {
					wantRule = ""
				}
				if link == linkcore.Unsubscribe {
					want = fields
				} else {
					metadata = ""
				}
				got := linkcore.Fields{Customer: e.Customer, Campaign: e.Campaign, Recipient: e.Recipient, Link: e.Link}
				if got != want || e.Metadata != metadata || e.Rule != wantRule {
					t.Errorf("%s: the event of %s has %+v, metadata %q and rule %q, want %+v, %q and %q", rule, link, got, e.Metadata, e.Rule, want, metadata, wantRule)
				}
			}
		}
	}
}

package redirect

import (
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// TestRulesAndEventsSeeTheRequest: rules are asked with all that they can be
// about besides the link, and the event has the address and the rule of every
// kind of link.
func TestRulesAndEventsSeeTheRequest(t *testing.T) {
	p := newParts(t, event.Hold, func(_ *parts, o *Options) {
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

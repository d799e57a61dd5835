package watch

import (
	"bytes"
	"testing"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/event"
)

// Whatever is on the topic: no panic, no verdict about what was not said, and no
// rule suggested that names nothing.
func FuzzAdd(f *testing.F) {
	var lines []byte
	for _, e := range clicks(25, 0, func(int, *event.Event) {}) {
		lines = append(e.AppendJSON(lines), '\n')
	}
	f.Add(lines)
	lines = nil
	for _, e := range visitsOf(f, "a@0 b@1 c@2 hp_x@3 d@60") {
		lines = append(e.AppendJSON(lines), '\n')
	}
	f.Add(lines)
	f.Add([]byte(`{"event_id":"x","event_type":"click","occurred_at":"0001-01-01T00:00:00Z","customer":"a","destination":"http://[::1]./"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := watcher(t, with(func(c *Config) {
			c.Learning, c.LinkNetworks, c.LinkAddresses, c.RecipientNetworks, c.HostCustomers, c.BlockedRecipients = 0, 2, 2, 2, 2, 1
		}), sizes{seen: 16, judge: 4096, links: 64, recipients: 64})
		ids := map[string]bool{}
		for line := range bytes.Lines(data) {
			var e event.Event
			if e.UnmarshalJSON(line) != nil {
				continue
			}
			ids[e.ID] = true
			alerts, verdicts := w.Add(&e)
			for _, a := range alerts {
				_ = a.Summary()
				if a.Rule != "" && a.Rule != a.Subject {
					t.Errorf("the subject %s, the rule %s", a.Subject, a.Rule)
				}
				// Identifiers are any text here. What can be a rule is one that
				// matches something.
				if r, err := blocklist.ParseRule(a.Rule); err == nil && r.Value == "" {
					t.Errorf("an empty rule: %+v", a)
				}
			}
			for _, v := range verdicts {
				if !ids[v.About] {
					t.Errorf("a verdict about %q", v.About)
				}
			}
		}
	})
}

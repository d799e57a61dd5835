package pubsub

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

func numbered(i int) *event.Event {
	return &event.Event{ID: fmt.Sprint(i), Type: event.Click, OccurredAt: time.Unix(1_790_000_000, 123456000), Host: "links.example.com", Customer: "acme", UserAgent: "agent"}
}

// fullEvent is one with most fields.
func fullEvent(t event.Type) *event.Event {
	e := numbered(1)
	e.Type, e.KeyID, e.Campaign, e.Recipient, e.Link = t, "3", "spring26", "r83jf", "a1b2c3d4e5f"
	e.Destination, e.UserAgent, e.Automation, e.Signals = "https://example.com/?a=1&b=%22", `a "b" \c`, event.Automated, event.SignalHead
	return e
}

func messages(events ...*event.Event) (all []event.Message) {
	for _, e := range events {
		all = append(all, e.Message())
	}
	return all
}

func attributesOf(e *event.Event) map[string]string {
	all := map[string]string{}
	for _, a := range e.AppendAttributes(nil) {
		all[a.Name] = a.Value
	}
	return all
}

// output is a writer that notes each write.
type output struct {
	mu     sync.Mutex
	writes []string
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, string(b))
	return len(b), nil
}

func (o *output) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.writes)
}

// ids returns the ids of the events that were spilled.
func (o *output) ids(t *testing.T) map[string]int {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := map[string]int{}
	for _, w := range o.writes {
		var line struct {
			Event struct {
				ID string `json:"event_id"`
			}
		}
		if err := json.Unmarshal([]byte(w), &line); err != nil {
			t.Fatalf("%v: %s", err, w)
		}
		ids[line.Event.ID]++
	}
	return ids
}

func wantStats(t *testing.T, d *delivery.Delivery, delivered, spilled uint64, held int) {
	t.Helper()
	if got, want := d.Stats(), (delivery.Stats{Delivered: delivered, Spilled: spilled, Held: held}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

package pubsub

import (
	"fmt"
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

func wantStats(t *testing.T, d *delivery.Delivery, delivered, spilled uint64, held int) {
	t.Helper()
	if got, want := d.Stats(), (delivery.Stats{Delivered: delivered, Spilled: spilled, Held: held}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

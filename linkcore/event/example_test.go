package event_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// A queue of one's own as a sink: what it does not take in time is spilled.
type queue chan *event.Event

func (q queue) Publish(ctx context.Context, events ...*event.Event) error {
	for _, e := range events {
		select {
		case q <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (q queue) Close(context.Context) error {
	close(q)
	return nil
}

func ExampleSink() {
	q := make(queue, 10)
	delivery := event.NewDelivery(q, event.DeliveryOptions{Mode: event.Background, Timeout: time.Second})
	delivery.Deliver(&event.Event{ID: "1", Type: event.Click, OccurredAt: time.Now(), Customer: "acme"})
	if err := delivery.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	for e := range q {
		fmt.Println(e.Type, "of", e.Customer)
	}
	// Output: click of acme
}

func ExampleRecorder() {
	recorder, err := event.NewRecorder(event.Options{TrustedProxies: 1, ClientIP: event.TruncatedIP})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7") // the first is the client's own claim
	link := &linkcore.Link{Kind: linkcore.Click, Fields: linkcore.Fields{Customer: "acme", Link: "a1"}}
	e := recorder.Record(r, time.Now(), link, event.Outcome{Type: event.Click, Address: recorder.ClientAddress(r)})
	fmt.Println(e.Customer, e.IP)
	// Output: acme 203.0.113.0
}

func ExampleOpenSink() {
	sink, err := event.OpenSink(context.Background(), "stdout", event.SinkOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	delivery := event.NewDelivery(sink, event.DeliveryOptions{Spill: os.Stderr})
	delivery.Deliver(&event.Event{ID: "1", Type: event.Open, OccurredAt: time.UnixMilli(1_790_000_000_000)})
	delivery.Close(context.Background())
	// Output: {"event_id":"1","event_type":"open","occurred_at":"2026-09-21T14:13:20.000000Z"}
}

func ExampleSignals() {
	s := event.SignalInstant | event.SignalNoBrowserHeaders
	for name := range s.All() {
		fmt.Println(name)
	}
	fmt.Println(s.Automation(), event.SignalInstant.Automation())
	// Output:
	// instant
	// no_browser_headers
	// automated suspect
}

package delivery_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/event/file"
)

func Example() {
	d := delivery.New(file.New(os.Stdout), delivery.Options{Spill: os.Stderr})
	d.Deliver(&event.Event{ID: "1", Type: event.Open, OccurredAt: time.UnixMilli(1_790_000_000_000)})
	d.Close(context.Background())
	// Output: {"event_id":"1","event_type":"open","occurred_at":"2026-09-21T14:13:20.000000Z"}
}

// A queue of one's own as a sink: what it does not take in time is spilled.
type queue chan string

func (q queue) Publish(ctx context.Context, messages []event.Message) error {
	for _, m := range messages {
		select {
		case q <- string(m.Data): // a copy: the memory of m is not ours
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (q queue) Batching() event.Batching { return event.Batching{} }

func (q queue) Close(context.Context) error {
	close(q)
	return nil
}

func Example_sink() {
	q := make(queue, 10)
	d := delivery.New(q, delivery.Options{Mode: delivery.Background, Timeout: time.Second})
	d.Deliver(&event.Event{ID: "1", Type: event.Click, OccurredAt: time.UnixMilli(1_790_000_000_000), Customer: "acme"})
	if err := d.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	for message := range q {
		fmt.Println(message)
	}
	// Output: {"event_id":"1","event_type":"click","occurred_at":"2026-09-21T14:13:20.000000Z","customer":"acme"}
}

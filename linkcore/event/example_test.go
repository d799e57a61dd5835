package event_test

import (
	"fmt"

	"example.com/linktracker/linkcore/event"
)

// A subscriber reads the data of a message.
func ExampleReceived_Event() {
	m := event.Received{Data: []byte(`{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01Z","customer":"acme","later":"field"}`)}
	e, err := m.Event()
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Ack()
	fmt.Println(e.Type, "of", e.Customer, "at", e.OccurredAt)
	// Output: click of acme at 2026-05-04 09:32:01 +0000 UTC
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

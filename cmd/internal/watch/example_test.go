package watch_test

import (
	"fmt"
	"slices"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore/event"
)

// A link that went to one recipient is clicked from everywhere.
func ExampleWatcher() {
	w, err := watch.New(watch.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	sent := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for i := range 100 {
		alerts, _ := w.Add(&event.Event{
			ID: fmt.Sprint(i), Type: event.Click, OccurredAt: sent.Add(time.Duration(i) * time.Second), Automation: event.Human,
			Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f", IP: fmt.Sprintf("198.51.%d.7", i),
		})
		for _, a := range alerts {
			fmt.Println(a.Subject, a.At.Format(time.TimeOnly))
			fmt.Println(a.Summary())
		}
	}
	// Output:
	// link:acme/a1b2c3d4e5f 08:00:19
	// a link that went to one recipient was clicked from 20 addresses in 20 networks within 19s
}

// A gateway that looks like a browser fetches every link of a mail at once.
func ExampleVerdicts() {
	sent := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	var clicks []*event.Event
	for i, link := range []string{"shop", "imprint", "privacy"} {
		clicks = append(clicks, &event.Event{
			ID: link, Type: event.Click, OccurredAt: sent.Add(time.Duration(i) * 400 * time.Millisecond),
			Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: link, Automation: event.Human,
		})
	}
	for v := range watch.Verdicts(slices.Values(clicks)) {
		fmt.Println(v.About, v.Automation, v.Signals)
	}
	// Output:
	// shop automated burst
	// imprint automated burst
	// privacy automated burst
}

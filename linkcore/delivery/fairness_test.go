package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
)

// recorded makes an event of a click by a recipient from an address.
func recorded(t testing.TB, typ event.Type, recipient, address string) *event.Event {
	t.Helper()
	rc, err := record.NewRecorder(record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &linkcore.Link{Host: "links.example.com", Fields: linkcore.Fields{Customer: "acme", Recipient: recipient, Link: "a1"}}
	return rc.Record(&http.Request{Method: "GET"}, occurred, l, record.Outcome{Type: typ, Address: netip.MustParseAddr(address)})
}

// What comes of one link and address while the places are nearly all taken is
// spilled where it is more than its share, and nothing else is.
func TestFairness(t *testing.T) {
	loud := func(i int) (event.Type, string, string) { return event.Click, "loud", "192.0.2.1" }
	tests := []struct {
		name string
		most int // places that the offered events get
		of   func(i int) (typ event.Type, recipient, address string)
	}{
		{"one link and address", 30, loud},
		{"one link from many addresses", 40, func(i int) (event.Type, string, string) {
			return event.Click, "an_1", fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		}},
		{"many links from one address", 40, func(i int) (event.Type, string, string) {
			return event.Click, fmt.Sprint("r", i), "192.0.2.1"
		}},
		{"one network of IPv6", 30, func(i int) (event.Type, string, string) {
			return event.Click, "loud", fmt.Sprintf("2001:db8::%x", i+1)
		}},
		{"many networks of IPv6", 40, func(i int) (event.Type, string, string) {
			return event.Click, "an_1", fmt.Sprintf("2001:db8:0:%x::1", i)
		}},
		{"IPv4 written as IPv6", 30, func(i int) (event.Type, string, string) {
			return event.Click, "loud", [...]string{"192.0.2.1", "::ffff:192.0.2.1"}[i%2]
		}},
		{"opens", 30, func(i int) (event.Type, string, string) { return event.Open, "loud", "192.0.2.1" }},
		{"unsubscribes", 40, func(i int) (event.Type, string, string) { return event.Unsubscribe, "loud", "192.0.2.1" }},
		{"objections", 40, func(i int) (event.Type, string, string) {
			return [...]event.Type{event.Objection, event.ObjectionWithdrawn}[i%2], "loud", "192.0.2.1"
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var spill, log output
				release := make(chan struct{})
				d := New(sinkFunc(func(_ context.Context, e *event.Event) error {
					<-release
					return nil
				}), Options{Timeout: time.Hour, HoldMax: 40, Spill: &spill, Log: slog.New(slog.NewJSONHandler(&log, nil))})
				for range 2 { // what was given back can be had again
					before := spill.count()
					var wg sync.WaitGroup
					for i := range 80 {
						typ, recipient, address := test.of(i)
						e := recorded(t, typ, recipient, address)
						wg.Go(func() { d.Deliver(e) })
						synctest.Wait()
					}
					if held := d.Stats().Held; held != test.most {
						t.Errorf("%d places are taken, want %d", held, test.most)
					}
					if test.most < 40 {
						for i := range 40 - test.most {
							typ, recipient := event.Click, fmt.Sprint("other", i)
							if i%2 == 0 {
								typ, recipient = event.Unsubscribe, "loud"
							}
							e := recorded(t, typ, recipient, "192.0.2.1")
							wg.Go(func() { d.Deliver(e) })
							synctest.Wait()
						}
						if held := d.Stats().Held; held != 40 {
							t.Errorf("others get %d of 10 places", held-test.most)
						}
					}
					for range 40 {
						release <- struct{}{}
					}
					wg.Wait()
					if got := spill.count() - before; got != 80-test.most {
						t.Errorf("%d were spilled, want %d", got, 80-test.most)
					}
				}
				fair := strings.Count(strings.Join(spill.writes, ""), inExcess)
				if want := 2 * (80 - test.most); test.most < 40 && fair != want || test.most == 40 && fair != 0 {
					t.Errorf("%d were in excess, want %d", fair, want)
				}
				if told := strings.Count(strings.Join(log.writes, ""), "more than its share"); told != min(1, fair) {
					t.Errorf("it was logged %d times", told)
				}
				d.Close(t.Context())
				for i := range d.taken {
					if n := d.taken[i].Load(); n != 0 {
						t.Errorf("%d bytes were not given back", n)
					}
				}
			})
		})
	}
}

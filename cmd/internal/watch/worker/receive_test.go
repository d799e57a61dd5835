package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

var at = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// file writes events into a file, and returns its source.
func file(t *testing.T, events ...*event.Event) string {
	t.Helper()
	var b []byte
	for _, e := range events {
		b = append(e.AppendJSON(b), '\n')
	}
	path := filepath.Join(t.TempDir(), "clicks.jsonl")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

func click(id string, change func(*event.Event)) *event.Event {
	e := &event.Event{
		ID: id, Type: event.Click, OccurredAt: at, Customer: "acme", Campaign: "spring26", Recipient: "r1", Link: "a1",
		Destination: "https://example.com/", Automation: event.Human, IP: "192.0.2.1",
	}
	if change != nil {
		change(e)
	}
	return e
}

// posted are clicks that raise an alert about a link.
func posted() (events []*event.Event) {
	for i := range 30 {
		events = append(events, click(fmt.Sprint("posted", i), func(e *event.Event) { e.IP = fmt.Sprintf("203.%d.113.1", i) }))
	}
	return events
}

// burst are clicks of which n get a verdict.
func burst(n int) (events []*event.Event) {
	for i := range n {
		events = append(events, click(fmt.Sprint("burst", i), func(e *event.Event) {
			e.Recipient, e.Link = fmt.Sprint("s", i/6), fmt.Sprint("l", i%6)
		}))
	}
	return events
}

// A sink fails as often as it is told.
type sink struct {
	mu       sync.Mutex
	fail     func(call int, events []*event.Event) error
	calls    int
	verdicts []*event.Event
}

func (s *sink) Publish(ctx context.Context, messages []event.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []*event.Event
	for _, m := range messages {
		e, err := (&event.Received{Data: m.Data}).Event()
		if err != nil {
			return err
		}
		events = append(events, e)
	}
	s.calls++
	var err error
	if s.fail != nil {
		err = s.fail(s.calls, events)
	}
	var failures event.Failures
	for i, e := range events {
		if errors.As(err, &failures) && failures[i] != nil || err != nil && failures == nil {
			continue
		}
		s.verdicts = append(s.verdicts, e)
	}
	return err
}

func (s *sink) Batching() event.Batching    { return event.Batching{} }
func (s *sink) Close(context.Context) error { return nil }

type told struct {
	alerts   []watch.Alert
	warnings []string
}

func newWorker(t *testing.T, o Options) (*Worker, *told) {
	t.Helper()
	var got told
	o.Alert = func(a watch.Alert) { got.alerts = append(got.alerts, a) }
	o.Warn = func(message string, err error) { got.warnings = append(got.warnings, message+": "+err.Error()) }
	o.Watch = watch.DefaultConfig()
	o.Watch.Learning = 0
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w, &got
}

func TestVerdicts(t *testing.T) {
	testsize.Medium(t)
	refuses := func(call int, events []*event.Event) error {
		failures := make(event.Failures, len(events))
		for i, e := range events {
			if e.About == "burst1" {
				failures[i] = fmt.Errorf("%w: too odd", event.ErrRefused)
			}
		}
		return failures
	}
	for _, test := range []struct {
		name               string
		fail               func(int, []*event.Event) error
		published, dropped uint64
		warnings           int
	}{
		{"works", nil, 6000, 0, 0},
		{"works again", func(call int, _ []*event.Event) error {
			if call <= 8 {
				return errors.New("away")
			}
			return nil
		}, 6000, 0, 0},
		{"fails", func(int, []*event.Event) error { return errors.New("away") }, 0, 6000, 1},
		{"refuses one", func(call int, events []*event.Event) error {
			for _, e := range events {
				if e.About == "burst1" {
					return refuses(call, events)
				}
			}
			return nil
		}, 5999, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{fail: test.fail}
				w, got := newWorker(t, Options{Verdicts: s})
				if err := w.Run(t.Context(), file(t, burst(6000)...), event.ReceiveOptions{}); err != nil {
					t.Fatal(err)
				}
				stats := w.Stats()
				if stats.Verdicts != 6000 || stats.Published != test.published || stats.Dropped != test.dropped || len(got.warnings) != test.warnings || len(s.verdicts) != int(test.published) {
					t.Errorf("%+v, %d verdicts, %q", stats, len(s.verdicts), got.warnings)
				}
			})
		})
	}
}

// What is no event, and what is not to be.
func TestStats(t *testing.T) {
	source := file(t, append(posted(), posted()...)...)
	path := strings.TrimPrefix(source, "file:")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(content, "nonsense\n{}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	w, got := newWorker(t, Options{})
	if err := w.Run(t.Context(), source, event.ReceiveOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Events != 60 || s.Repeated != 30 || s.Unreadable != 2 || s.Alerts != 1 || !s.Newest.Equal(at) || len(got.warnings) != 1 {
		t.Errorf("%+v %q", s, got.warnings)
	}
	w, _ = newWorker(t, Options{})
	if err := w.Run(t.Context(), "nowhere", event.ReceiveOptions{}); err == nil || !errors.Is(err, event.ErrSource) {
		t.Errorf("%v", err)
	}
}

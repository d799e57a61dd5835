package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore/blocklist"
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

// kit are clicks that raise an alert about a host.
func kit(host string) (events []*event.Event) {
	for i := range 5 {
		events = append(events, click(fmt.Sprint("kit", host, i), func(e *event.Event) {
			e.Customer, e.Destination = fmt.Sprint("c", i), "https://"+host+"/"
		}))
	}
	return events
}

// blockedOf are clicks that raise an alert about a customer.
func blockedOf(customer string) (events []*event.Event) {
	for i := range 60 {
		events = append(events, click(fmt.Sprint("blocked", i), func(e *event.Event) {
			e.Type, e.Rule, e.Customer, e.Campaign, e.Recipient, e.Link = event.Blocked, "host:x.example", customer, "", fmt.Sprint(i), fmt.Sprint(i)
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

// A store fails as often as it is told, or has a rule already.
type store struct {
	blocklist.Store
	fail     func(call int) error
	standing *blocklist.Rule

	mu    sync.Mutex
	calls int
	added []blocklist.Rule
}

func (s *store) Add(_ context.Context, r blocklist.Rule) (*blocklist.Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return nil, err
		}
	}
	if s.standing == nil {
		s.added = append(s.added, r)
	}
	return s.standing, nil
}

type told struct {
	alerts   []watch.Alert
	outcomes []Outcome
	warnings []string
}

func newGuard(t *testing.T, o Options) (*Guard, *told) {
	t.Helper()
	var got told
	o.Alert = func(a watch.Alert, o Outcome) {
		got.alerts = append(got.alerts, a)
		got.outcomes = append(got.outcomes, o)
	}
	o.Warn = func(message string, err error) { got.warnings = append(got.warnings, message+": "+err.Error()) }
	o.Watch = watch.DefaultConfig()
	o.Watch.Learning = 0
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g, &got
}

func runOn(t *testing.T, g *Guard, events ...*event.Event) {
	t.Helper()
	if err := g.Run(t.Context(), file(t, events...), event.ReceiveOptions{}); err != nil {
		t.Fatal(err)
	}
}

// What becomes of an alert.
func TestBlock(t *testing.T) {
	fails := errors.New("Firestore is away")
	for _, test := range []struct {
		name    string
		events  []*event.Event
		options Options
		store   *store
		rule    string // that is written
		spared  string // why not
		calls   int
	}{
		{name: "no rules", events: posted()},
		{name: "a link", events: posted(), store: &store{}, rule: "link:acme/a1", calls: 1},
		{name: "a host", events: kit("evil.example"), store: &store{}, rule: "host:evil.example", calls: 1},
		{name: "fails at first", events: posted(), store: &store{fail: func(call int) error {
			if call < 3 {
				return fails
			}
			return nil
		}}, rule: "link:acme/a1", calls: 3},
		{name: "fails", events: posted(), store: &store{fail: func(int) error {
			time.Sleep(100 * time.Millisecond)
			return fails
		}}, spared: "the rule could not be written yet", calls: 5},
		{name: "stands", events: posted(), store: &store{standing: &blocklist.Rule{}}, spared: "there is such a rule", calls: 1},
		{name: "was lifted", events: posted(), store: &store{standing: &blocklist.Rule{Deleted: true}}, spared: "such a rule was lifted within the last day", calls: 1},
		{name: "whole customer", events: blockedOf("acme"), store: &store{}, spared: "whole customers are not blocked"},
		{name: "whole customer, asked for", events: blockedOf("acme"), store: &store{}, options: Options{BlockCustomers: true}, rule: "customer:acme", calls: 1},
		{name: "protected link", events: posted(), store: &store{}, options: Options{Protect: []string{"link:acme/a1"}}, spared: "link:acme/a1 is protected"},
		{name: "other link", events: posted(), store: &store{}, options: Options{Protect: []string{"link:acme/a2", "recipient:acme/a1", "host:example.com"}}, rule: "link:acme/a1", calls: 1},
		{name: "protected campaign", events: posted(), store: &store{}, options: Options{Protect: []string{"campaign:acme/spring26"}}, spared: "campaign:acme/spring26 is protected"},
		{name: "protected customer", events: posted(), store: &store{}, options: Options{Protect: []string{"customer:acme"}}, spared: "customer:acme is protected"},
		{name: "customer of a protected campaign", events: blockedOf("acme"), store: &store{}, options: Options{BlockCustomers: true, Protect: []string{"campaign:acme/a"}}, spared: "campaign:acme/a is protected"},
		{name: "customer of a protected recipient", events: blockedOf("acme"), store: &store{}, options: Options{BlockCustomers: true, Protect: []string{"recipient:acme/a"}}, spared: "recipient:acme/a is protected"},
		{name: "protected host", events: kit("evil.example"), store: &store{}, options: Options{Protect: []string{"host:EVIL.example."}}, spared: "host:evil.example is protected"},
		{name: "part of a protected host", events: kit("www.evil.example"), store: &store{}, options: Options{Protect: []string{"host:evil.example"}}, spared: "host:evil.example is protected"},
		{name: "a part of it is protected", events: kit("evil.example"), store: &store{}, options: Options{Protect: []string{"host:www.evil.example"}}, spared: "host:www.evil.example is protected"},
		{name: "a public suffix", events: kit("github.io"), store: &store{}, spared: "there is no rule to suggest"},
		{name: "what is not an identifier", events: func() (events []*event.Event) {
			for _, e := range posted() {
				e.Link = "a b/c"
				events = append(events, e)
			}
			return events
		}(), store: &store{}, spared: "no rule can be made of it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := test.options
				if test.store != nil {
					o.Rules = test.store
				}
				o.CreatedBy = "tester"
				g, got := newGuard(t, o)
				runOn(t, g, test.events...)
				if len(got.alerts) != 1 {
					t.Fatalf("%+v", got)
				}
				outcome := got.outcomes[0]
				if outcome.NotBlocked != test.spared {
					t.Errorf("%+v", outcome)
				}
				if test.store == nil {
					if outcome != (Outcome{}) {
						t.Errorf("%+v", outcome)
					}
					return
				}
				if test.store.calls != test.calls {
					t.Errorf("%d calls", test.store.calls)
				}
				if test.rule == "" {
					if len(test.store.added) > 0 || !outcome.BlockedUntil.IsZero() {
						t.Errorf("%+v %+v", test.store.added, outcome)
					}
					return
				}
				if len(test.store.added) != 1 {
					t.Fatalf("%+v", test.store.added)
				}
				r := test.store.added[0]
				if r.String() != test.rule || r.Action != blocklist.Block || r.CreatedBy != "tester" || r.Reason != string(got.alerts[0].Kind)+": "+got.alerts[0].Summary() ||
					!r.ExpiresAt.Equal(outcome.BlockedUntil) || time.Until(r.ExpiresAt).Round(time.Minute) != 24*time.Hour {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// A mute store writes the first rule and does not say so.
type mute struct{ store }

func (s *mute) Add(ctx context.Context, r blocklist.Rule) (*blocklist.Rule, error) {
	standing, err := s.store.Add(ctx, r)
	if s.standing == nil {
		s.standing = &r
		return nil, errors.New("the answer was lost")
	}
	return standing, err
}

// A rule that was written, but for whose answer it did not look so, is told as one.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &mute{}
		g, got := newGuard(t, Options{Rules: s})
		runOn(t, g, posted()...)
		if len(s.added) != 1 || len(got.outcomes) != 1 || got.outcomes[0] != (Outcome{BlockedUntil: s.added[0].ExpiresAt}) {
			t.Errorf("%+v %+v", s.added, got.outcomes)
		}
	})
}

// A stalled store does not answer until it is told to.
type stalled struct {
	store
	answers chan struct{} // closed: it does
}

func (s *stalled) Add(ctx context.Context, r blocklist.Rule) (*blocklist.Rule, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.answers:
		return s.store.Add(ctx, r)
	}
}

// While rules cannot be written, each alert is told within seconds, once and in
// order; and its rule is written soon after that is possible again.
func TestStalledRules(t *testing.T) {
	testsize.Medium(t)
	for _, test := range []struct {
		alerts int
		within time.Duration
		rules  int
	}{
		{100, tellWithin, 100},
		{2500, 3 * tellWithin, maxRules}, // as many wait in three turns
	} {
		synctest.Test(t, func(t *testing.T) {
			var events []*event.Event
			var want, got []string
			for i := range test.alerts {
				link := fmt.Sprintf("l%04d", i)
				want = append(want, "link:acme/"+link)
				for n := range 2 {
					events = append(events, click(fmt.Sprint(link, n), func(e *event.Event) {
						e.Recipient, e.Link, e.IP = link, link, fmt.Sprintf("203.%d.113.1", n)
					}))
				}
			}
			s := &stalled{answers: make(chan struct{})}
			begin := time.Now()
			config := watch.DefaultConfig()
			config.LinkNetworks = 2
			g, err := New(Options{Rules: s, Watch: config, Alert: func(a watch.Alert, o Outcome) {
				got = append(got, a.Rule)
				if o.NotBlocked == "" || o.Err == nil || !o.BlockedUntil.IsZero() {
					t.Errorf("%s: %+v", a.Rule, o)
				}
				if late := time.Since(begin); late > test.within {
					t.Errorf("%s was told after %v", a.Rule, late)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- g.Run(ctx, file(t, events...), event.ReceiveOptions{Follow: true}) }()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if !slices.Equal(got, want) {
				t.Errorf("%d alerts were told, want %d in their order", len(got), len(want))
			}
			close(s.answers)
			time.Sleep(longestWait)
			synctest.Wait()
			if len(s.added) != test.rules {
				t.Errorf("%d rules were written, want %d", len(s.added), test.rules)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if len(got) != test.alerts {
				t.Errorf("%d alerts were told after all", len(got))
			}
		})
	}
}

// What waits to be written does not keep it from ending.
func TestStalledRulesEnd(t *testing.T) {
	for name, follow := range map[string]bool{"the context ends": true, "the source ends": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, got := newGuard(t, Options{Rules: &stalled{answers: make(chan struct{})}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := time.Now()
				if follow {
					time.AfterFunc(time.Minute, cancel)
					began = began.Add(time.Minute)
				}
				if err := g.Run(ctx, file(t, posted()...), event.ReceiveOptions{Follow: follow}); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > endTimeout+time.Second || len(got.alerts) != 1 {
					t.Errorf("it took %v to end, %d alerts were told", took, len(got.alerts))
				}
			})
		})
	}
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
				g, got := newGuard(t, Options{Verdicts: s})
				runOn(t, g, burst(6000)...)
				stats := g.Stats()
				if stats.Verdicts != 6000 || stats.Published != test.published || stats.Dropped != test.dropped || len(got.warnings) != test.warnings || len(s.verdicts) != int(test.published) {
					t.Errorf("%+v, %d verdicts, %q", stats, len(s.verdicts), got.warnings)
				}
			})
		})
	}
}

// What is not an event, and what is not to be.
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
	g, got := newGuard(t, Options{})
	if err := g.Run(t.Context(), source, event.ReceiveOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := g.Stats(); s.Events != 60 || s.Repeated != 30 || s.Unreadable != 2 || s.Alerts != 1 || !s.Newest.Equal(at) || len(got.warnings) != 1 {
		t.Errorf("%+v %q", s, got.warnings)
	}
	g, _ = newGuard(t, Options{})
	if err := g.Run(t.Context(), "nowhere", event.ReceiveOptions{}); err == nil || !errors.Is(err, event.ErrSource) {
		t.Errorf("%v", err)
	}
}

func TestLogAlert(t *testing.T) {
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	g, got := newGuard(t, Options{Rules: &store{fail: func(int) error { return nil }}})
	runOn(t, g, append(posted(), kit("evil.example")...)...)
	for i, a := range got.alerts {
		LogAlert(log, a, got.outcomes[i])
	}
	LogAlert(log, got.alerts[0], Outcome{NotBlocked: "it", Err: errors.New("away")})
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", lines)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"msg": "abuse alert", "level": "WARN", "kind": "shared_link", "subject": "link:acme/a1", "rule": "link:acme/a1",
		"customer": "acme", "campaign": "spring26", "since": "2026-03-02T08:00:00Z"} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	if strings.Contains(b.String(), "203.") {
		t.Error("an address is in the log")
	}
	if _, err := time.Parse(time.RFC3339, line["blocked_until"].(string)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(lines[1], `"customers":["c0","c1","c2","c3","c4"]`) || !strings.Contains(lines[1], `"level":"ERROR"`) ||
		!strings.Contains(lines[2], `"not_blocked":"it","error":"away"`) {
		t.Errorf("%s", b.String())
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{BlockFor: time.Second}, "rules that stand for 1s do nothing: a minute is the least"},
		{Options{Protect: []string{"nothing"}}, `Protect "nothing": kind is missing: `},
		{Options{Protect: []string{"key:1"}}, `Protect "key:1": no alert is about such a thing: `},
		{Options{}, "Window is 0s, and has to be from "},
	} {
		if _, err := New(test.o); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.o, err)
		}
	}
}

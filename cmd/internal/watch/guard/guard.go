// Package guard acts on what package watch finds: it receives click events,
// hands them to a Watcher, publishes its verdicts, writes rules against what its
// alerts are about, and tells whoever runs it.
//
//	g, err := guard.New(guard.Options{Watch: watch.DefaultConfig(), Alert: print, Rules: store})
//	...
//	err = g.Run(ctx, "pubsub://my-project/subscriptions/linktracker-watch", event.ReceiveOptions{})
//
// A message is acknowledged once it is counted, not once its window is over: all
// that is known is in memory, and a program that is started again has forgotten it.
// That is what was seen in the last minutes and of which subjects an alert
// stands, which may then be raised again; what share of clicks was blocked before;
// and since when each host is known, which is learnt anew
// (watch.Config.Learning).
//
// Alerts and verdicts do not wait for one another, and events wait for neither:
// when rules or verdicts cannot be written, alerts go on to be raised. Each is
// told within some five seconds; a rule that is not written by then is tried for an
// hour more.
package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

const (
	// What may wait to be published and to be told.
	maxVerdicts = 20_000
	maxAlerts   = 1_000

	// One call publishes so many verdicts, and so many calls are under way.
	verdictBatch = 500
	publishers   = 4

	// How often publishing is tried where it fails, and for how long each attempt
	// to publish or to write a rule may take.
	attempts       = 3
	attemptTimeout = 5 * time.Second

	// How long an alert waits for its rule; for how long a rule is tried after
	// that, how often at least, and how many of them at once.
	tellWithin  = 5 * time.Second
	retryFor    = time.Hour
	longestWait = 30 * time.Second
	maxRules    = 1_000

	// What remains when the program ends: Cloud Run gives it ten seconds.
	endTimeout = 8 * time.Second

	// A clock may be so far ahead of Pub/Sub's. An event that is further ahead
	// would move every window on to where nothing is yet.
	maxSkew = time.Minute
)

// Options configure a [Guard].
type Options struct {
	Watch watch.Config

	// Alert is called for each alert, in their order, once it was acted upon or
	// that has failed for five seconds. It and Warn are not called at the same
	// time.
	Alert func(watch.Alert, Outcome)

	// Warn is told what does not work, each cause once. nil: nobody.
	Warn func(message string, err error)

	// Verdicts takes the verdicts; nil: they are only counted.
	Verdicts event.Sink

	// Rules is where alerts become rules, for BlockFor (default 24 hours); nil:
	// they don't. A rule about a whole customer is only written if BlockCustomers
	// is set, and none that would stop something protected: rules as KIND:VALUE of
	// the kinds link, recipient, campaign, customer and host. What people wrote is
	// left as it is, also that they lifted a rule within the last day.
	Rules          blocklist.Store
	BlockFor       time.Duration
	BlockCustomers bool
	Protect        []string
	CreatedBy      string // in the rules
}

// An Outcome is what was done about an alert. It is zero where nothing was to be
// done, since no rules are written.
type Outcome struct {
	BlockedUntil time.Time // a rule was written
	NotBlocked   string    // why none was, or not yet
	Err          error     // why it could not be
}

// Stats count what a Guard has seen and done.
type Stats struct {
	watch.Stats
	Unreadable uint64 // messages that are not events
	Skewed     uint64 // events of the future
	Published  uint64 // verdicts
	Dropped    uint64 // verdicts that could not be published
	Newest     time.Time
}

// A Guard receives events and acts on what is found in them.
type Guard struct {
	o         Options
	protected []blocklist.Rule

	mu      sync.Mutex
	watcher *watch.Watcher
	stats   Stats

	alerts   chan raised
	rules    chan struct{} // one for each rule that is being written
	verdicts chan *event.Event

	telling sync.Mutex // held while Alert and Warn are called
}

// New checks the options. An error about a field of Options.Watch or
// about Protect is a [*linkcore.FieldError].
func New(o Options) (*Guard, error) {
	if o.BlockFor == 0 {
		o.BlockFor = 24 * time.Hour
	}
	if o.BlockFor < time.Minute {
		return nil, fmt.Errorf("rules that stand for %v do nothing: a minute is the least", o.BlockFor)
	}
	if o.Alert == nil {
		o.Alert = func(watch.Alert, Outcome) {}
	}
	if o.Warn == nil {
		o.Warn = func(string, error) {}
	}
	g := &Guard{o: o, alerts: make(chan raised, maxAlerts), rules: make(chan struct{}, maxRules), verdicts: make(chan *event.Event, maxVerdicts)}
	for _, s := range o.Protect {
		r, err := blocklist.ParseRule(s)
		if err != nil {
			return nil, unprotectable(s, err)
		}
		switch r.Kind {
		case blocklist.Link, blocklist.Recipient, blocklist.Campaign, blocklist.Customer, blocklist.Host:
			g.protected = append(g.protected, r)
		default:
			return nil, unprotectable(s, errors.New("no alert is about such a thing: give a link, recipient, campaign, customer or host"))
		}
	}
	var err error
	g.watcher, err = watch.New(o.Watch)
	return g, err
}

func unprotectable(rule string, err error) error {
	return &linkcore.FieldError{Field: "Protect", Problem: fmt.Sprintf("%q: %v", rule, err), Err: err}
}

// Stats returns the counts so far. It may be called at any time.
func (g *Guard) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Stats = g.watcher.Stats()
	return s
}

// Run receives from a source as [endpoint.Receive] takes it, until the context or
// the source ends, and then finishes what is under way: rules for eight seconds at
// most, and everything if the context has ended. It is called once. The options'
// Outage is not called at the same time as Alert and Warn.
func (g *Guard) Run(ctx context.Context, source string, o event.ReceiveOptions) error {
	if o.MaxOutstanding == 0 {
		o.MaxOutstanding = 10_000
	}
	if outage := o.Outage; outage != nil {
		o.Outage = func(cause error) {
			g.telling.Lock()
			defer g.telling.Unlock()
			outage(cause)
		}
	}
	// A file waits for whatever is slow; what happens now cannot.
	patient := strings.HasPrefix(source, "file:")
	act, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(endTimeout, stop)
	})()
	writing, stopWriting := context.WithCancel(act)
	defer stopWriting()
	var acting sync.WaitGroup
	acting.Go(g.tell)
	for range publishers {
		acting.Go(func() { g.publish(act) })
	}

	err := endpoint.Receive(ctx, source, o, func(m *event.Received) {
		alerts, verdicts := g.count(m)
		m.Ack()
		for _, a := range alerts {
			outcome := make(chan Outcome, 1)
			acting.Go(func() { g.block(writing, a, outcome) })
			g.alerts <- raised{a, outcome}
		}
		if g.o.Verdicts == nil {
			return
		}
		for _, v := range verdicts {
			if patient {
				g.verdicts <- v
				continue
			}
			select {
			case g.verdicts <- v:
			default:
				g.tally(&g.stats.Dropped, 1, droppedWarning, errors.New("more come than the topic takes"))
			}
		}
	})
	close(g.alerts)
	close(g.verdicts)
	defer time.AfterFunc(endTimeout, stopWriting).Stop()
	acting.Wait()
	return err
}

// count hands a message to the watcher.
func (g *Guard) count(m *event.Received) ([]watch.Alert, []*event.Event) {
	e, err := m.Event()
	if err != nil {
		g.tally(&g.stats.Unreadable, 1, "a message is not an event and is passed over", err)
		return nil, nil
	}
	if !m.PublishedAt.IsZero() && e.OccurredAt.Sub(m.PublishedAt) > maxSkew {
		g.tally(&g.stats.Skewed, 1, "an event is of the future and is passed over", fmt.Errorf("%s of %s was published at %s",
			e.ID, e.OccurredAt.UTC().Format(time.RFC3339), m.PublishedAt.UTC().Format(time.RFC3339)))
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.OccurredAt.After(g.stats.Newest) {
		g.stats.Newest = e.OccurredAt
	}
	return g.watcher.Add(e)
}

// tally counts what should not be, and warns of the first.
func (g *Guard) tally(counter *uint64, n int, message string, err error) {
	g.mu.Lock()
	first := *counter == 0
	*counter += uint64(n)
	g.mu.Unlock()
	if first && n > 0 {
		g.telling.Lock()
		defer g.telling.Unlock()
		g.o.Warn(message+", which is told once", err)
	}
}

// raised is an alert, and what is done about it.
type raised struct {
	watch.Alert
	outcome <-chan Outcome
}

// tell tells of alerts in the order in which they were raised.
func (g *Guard) tell() {
	for a := range g.alerts {
		outcome := <-a.outcome
		g.telling.Lock()
		g.o.Alert(a.Alert, outcome)
		g.telling.Unlock()
	}
}

// block writes the rule that an alert suggests. What became of it within tellWithin
// is the outcome; after that it goes on.
func (g *Guard) block(ctx context.Context, a watch.Alert, outcome chan<- Outcome) {
	rule, why := g.suggested(a)
	if rule == nil {
		outcome <- why
		return
	}
	first, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	select {
	case g.rules <- struct{}{}:
		defer func() { <-g.rules }()
	case <-first.Done():
		outcome <- Outcome{NotBlocked: "the rule could not be written", Err: errTooMany}
		return
	}
	o := g.write(first, *rule)
	outcome <- o
	if o.Err == nil {
		return
	}
	more, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	g.write(more, *rule)
}

var errTooMany = fmt.Errorf("%d others cannot be written either", maxRules)

// suggested returns the rule that is to be written for an alert, or why none is.
func (g *Guard) suggested(a watch.Alert) (*blocklist.Rule, Outcome) {
	if g.o.Rules == nil {
		return nil, Outcome{}
	}
	if a.Rule == "" {
		return nil, Outcome{NotBlocked: "there is no rule to suggest"}
	}
	rule, err := blocklist.ParseRule(a.Rule)
	if err != nil {
		// An event's identifiers are the topic's word for it, not a link's.
		return nil, Outcome{NotBlocked: "no rule can be made of it", Err: err}
	}
	if why := g.spared(rule, a); why != "" {
		return nil, Outcome{NotBlocked: why}
	}
	rule.Reason = string(a.Kind) + ": " + a.Summary()
	rule.CreatedBy = g.o.CreatedBy
	return &rule, Outcome{}
}

// write writes a rule, and tries until the context ends.
func (g *Guard) write(ctx context.Context, rule blocklist.Rule) Outcome {
	failed := false
	for pause := time.Second; ; pause = min(2*pause, longestWait) {
		rule.ExpiresAt = time.Now().Add(g.o.BlockFor).UTC().Truncate(time.Second)
		call, cancel := context.WithTimeout(ctx, attemptTimeout)
		standing, err := g.o.Rules.Add(call, rule)
		cancel()
		switch {
		case err == nil && standing == nil:
			return Outcome{BlockedUntil: rule.ExpiresAt}
		case err == nil && standing.Deleted:
			return Outcome{NotBlocked: "such a rule was lifted within the last day"}
		case err == nil && failed && standing.CreatedBy == rule.CreatedBy && standing.Reason == rule.Reason:
			// An attempt that had no answer has written it.
			return Outcome{BlockedUntil: standing.ExpiresAt}
		case err == nil:
			return Outcome{NotBlocked: "there is such a rule"}
		}
		failed = true
		if wait(ctx, pause); ctx.Err() != nil {
			return Outcome{NotBlocked: "the rule could not be written yet", Err: err}
		}
	}
}

// spared says why a rule is not to be written.
func (g *Guard) spared(rule blocklist.Rule, a watch.Alert) string {
	if rule.Kind == blocklist.Customer && !g.o.BlockCustomers {
		return "whole customers are not blocked"
	}
	for _, p := range g.protected {
		same := false
		switch p.Kind {
		case rule.Kind:
			same = p.Value == rule.Value
			if p.Kind == blocklist.Host {
				// Neither the host nor one that it is a part of, or has a part of.
				same = same || strings.HasSuffix(rule.Value, "."+p.Value) || strings.HasSuffix(p.Value, "."+rule.Value)
			}
		case blocklist.Customer:
			same = p.Value == a.Customer && rule.Kind != blocklist.Host
		case blocklist.Campaign:
			// Of the campaign's links and recipients, and of the customer that has
			// it.
			same = p.Value == a.Customer+"/"+a.Campaign && rule.Kind != blocklist.Host ||
				rule.Kind == blocklist.Customer && strings.HasPrefix(p.Value, rule.Value+"/")
		default: // a link or recipient
			same = rule.Kind == blocklist.Customer && strings.HasPrefix(p.Value, rule.Value+"/")
		}
		if same {
			return p.String() + " is protected"
		}
	}
	return ""
}

// publish publishes verdicts.
func (g *Guard) publish(ctx context.Context) {
	for v := range g.verdicts {
		batch := []event.Message{v.Message()}
	fill:
		for len(batch) < verdictBatch {
			select {
			case v, ok := <-g.verdicts:
				if !ok {
					break fill
				}
				batch = append(batch, v.Message())
			default:
				break fill
			}
		}
		rest, err := g.publishBatch(ctx, batch)
		g.tally(&g.stats.Dropped, len(rest), droppedWarning, err)
		g.mu.Lock()
		g.stats.Published += uint64(len(batch) - len(rest))
		g.mu.Unlock()
	}
}

const droppedWarning = "verdicts cannot be published and are dropped"

// publishBatch returns what could not be published, and why.
func (g *Guard) publishBatch(ctx context.Context, batch []event.Message) ([]event.Message, error) {
	for attempt := 1; ; attempt++ {
		call, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := g.o.Verdicts.Publish(call, batch)
		cancel()
		if err == nil {
			return nil, nil
		}
		var failures event.Failures
		if errors.As(err, &failures) && len(failures) == len(batch) {
			var rest []event.Message
			for i, failure := range failures {
				if failure != nil {
					rest = append(rest, batch[i])
				}
			}
			batch = rest
		}
		if attempt == attempts || ctx.Err() != nil || errors.Is(err, event.ErrRefused) {
			return batch, err
		}
		wait(ctx, time.Duration(attempt)*time.Second)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

const (
	// What may wait to be published.
	maxVerdicts = 20_000

	// One call publishes so many verdicts, and so many calls are under way.
	verdictBatch = 500
	publishers   = 4

	// How often publishing is tried where it fails, and for how long each attempt
	// may take.
	attempts       = 3
	attemptTimeout = 5 * time.Second

	// What remains when the program ends: Cloud Run gives it ten seconds.
	endTimeout = 8 * time.Second

	// A clock may be so far ahead of Pub/Sub's. An event that is further ahead
	// would move every window on to where nothing is yet.
	maxSkew = time.Minute
)

// Options configure a [Worker].
type Options struct {
	Watch watch.Config

	// Alert is called for each alert, in their order, and Warn for what does not
	// work, each cause once. They are not called at the same time.
	Alert func(watch.Alert)
	Warn  func(message string, err error)

	// Verdicts takes the verdicts; nil: they are only counted.
	Verdicts event.Sink
}

// Stats count what a Worker has seen and done.
type Stats struct {
	watch.Stats
	Unreadable uint64 // messages that are no events
	Skewed     uint64 // events of the future
	Published  uint64 // verdicts
	Dropped    uint64 // verdicts that could not be published
	Newest     time.Time
}

// A Worker receives click events, hands them to a [watch.Watcher], passes its alerts
// on and publishes its verdicts. It writes no rule: what stops links is decided by
// people.
//
// A message is acknowledged once it is counted, not once its window is over: all
// that is known is in memory, and CONFIG.md says what a restart forgets. Events wait
// for no verdict.
type Worker struct {
	o Options

	mu      sync.Mutex
	watcher *watch.Watcher
	stats   Stats

	verdicts chan *event.Event

	telling sync.Mutex // held while Alert and Warn are called
}

// New returns a worker. An error about a field of Options.Watch is a
// [*linkcore.FieldError].
func New(o Options) (*Worker, error) {
	watcher, err := watch.New(o.Watch)
	if err != nil {
		return nil, err
	}
	return &Worker{o: o, watcher: watcher, verdicts: make(chan *event.Event, maxVerdicts)}, nil
}

// Stats returns the counts so far. It may be called at any time.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Stats = w.watcher.Stats()
	return s
}

// Run receives from a source as [endpoint.Receive] takes it, until the context or
// the source ends, and then publishes what waits, for eight seconds at most if the
// context has ended. It is called once. The options' Outage is not called at the same
// time as Alert and Warn.
func (w *Worker) Run(ctx context.Context, source string, o event.ReceiveOptions) error {
	if o.MaxOutstanding == 0 {
		o.MaxOutstanding = 10_000
	}
	if outage := o.Outage; outage != nil {
		o.Outage = func(cause error) {
			w.telling.Lock()
			defer w.telling.Unlock()
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
	var acting sync.WaitGroup
	for range publishers {
		acting.Go(func() { w.publish(act) })
	}

	err := endpoint.Receive(ctx, source, o, func(m *event.Received) {
		alerts, verdicts := w.count(m)
		m.Ack()
		w.tell(alerts)
		if w.o.Verdicts == nil {
			return
		}
		for _, v := range verdicts {
			if patient {
				w.verdicts <- v
				continue
			}
			select {
			case w.verdicts <- v:
			default:
				w.tally(&w.stats.Dropped, 1, droppedWarning, errors.New("more come than the topic takes"))
			}
		}
	})
	close(w.verdicts)
	acting.Wait()
	return err
}

// tell passes alerts on.
func (w *Worker) tell(alerts []watch.Alert) {
	w.telling.Lock()
	defer w.telling.Unlock()
	for _, a := range alerts {
		w.o.Alert(a)
	}
}

// count hands a message to the watcher.
func (w *Worker) count(m *event.Received) ([]watch.Alert, []*event.Event) {
	e, err := m.Event()
	if err != nil {
		w.tally(&w.stats.Unreadable, 1, "a message is no event and is passed over", err)
		return nil, nil
	}
	if !m.PublishedAt.IsZero() && e.OccurredAt.Sub(m.PublishedAt) > maxSkew {
		w.tally(&w.stats.Skewed, 1, "an event is of the future and is passed over", fmt.Errorf("%s of %s was published at %s",
			e.ID, e.OccurredAt.UTC().Format(time.RFC3339), m.PublishedAt.UTC().Format(time.RFC3339)))
		return nil, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.OccurredAt.After(w.stats.Newest) {
		w.stats.Newest = e.OccurredAt
	}
	return w.watcher.Add(e)
}

// tally counts what should not be, and warns of the first.
func (w *Worker) tally(counter *uint64, n int, message string, err error) {
	w.mu.Lock()
	first := *counter == 0
	*counter += uint64(n)
	w.mu.Unlock()
	if first && n > 0 {
		w.telling.Lock()
		defer w.telling.Unlock()
		w.o.Warn(message+", which is told once", err)
	}
}

// publish publishes verdicts.
func (w *Worker) publish(ctx context.Context) {
	for v := range w.verdicts {
		batch := []event.Message{v.Message()}
	fill:
		for len(batch) < verdictBatch {
			select {
			case v, ok := <-w.verdicts:
				if !ok {
					break fill
				}
				batch = append(batch, v.Message())
			default:
				break fill
			}
		}
		rest, err := w.publishBatch(ctx, batch)
		w.tally(&w.stats.Dropped, len(rest), droppedWarning, err)
		w.mu.Lock()
		w.stats.Published += uint64(len(batch) - len(rest))
		w.mu.Unlock()
	}
}

const droppedWarning = "verdicts cannot be published and are dropped"

// publishBatch returns what could not be published, and why.
func (w *Worker) publishBatch(ctx context.Context, batch []event.Message) ([]event.Message, error) {
	for attempt := 1; ; attempt++ {
		call, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := w.o.Verdicts.Publish(call, batch)
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

package event

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Mode says when a response ends: see [Delivery].
type Mode string

// The modes of delivery.
const (
	// Hold keeps the response open until its event is acknowledged, for
	// platforms that take the CPU away once a response has ended.
	Hold Mode = "hold"

	// Background ends the response at once, for instances whose CPU is always
	// allocated.
	Background Mode = "background"
)

const (
	// So many deliveries must fail in a row before events are spilled without
	// an attempt: one that failed alone says little of the next.
	failuresToOpen = 3
	probeInterval  = time.Second

	// What may be under way in the background at once.
	maxBackground = 10_000

	// How often at most it is logged that deliveries fail or work again, and that
	// single events are refused or lost: not once a click.
	logInterval     = 10 * time.Second
	problemInterval = time.Minute

	// How long writing the line of a spilled event may take: a log whose reader
	// is that slow is as good as none.
	spillTimeout = time.Second

	// How long a stop waits for sinks that do not heed their context.
	abortTimeout = time.Second
)

// DeliveryOptions configure a [Delivery].
type DeliveryOptions struct {
	Mode    Mode          // default Hold
	Timeout time.Duration // of one event; default 5 s
	HoldMax int           // responses held at once; default 40
	Spill   io.Writer     // gets each spilled event as one line in one write; default os.Stdout
	Log     *slog.Logger  // nil: nothing is logged
}

// A Delivery takes events to a sink, and spills what the sink does not take in
// time: it writes the whole event as one structured log line, from which it is
// replayed later. So each event is delivered or spilled; one whose
// acknowledgement comes too late is both, and is counted as spilled.
//
// While the last deliveries failed or timed out, events are spilled without an
// attempt, except for one a second that tries the sink. In mode [Hold] they are
// also spilled while as many responses are held as there may be, in mode
// [Background] while 10,000 events are under way.
//
// Its methods may be called from any number of goroutines.
type Delivery struct {
	sink  Sink
	o     DeliveryOptions
	lines *lineWriter

	delivered atomic.Uint64
	spilled   atomic.Uint64
	lost      atomic.Uint64
	underWay  atomic.Int64

	start    time.Time
	failures atomic.Int64 // deliveries that failed since the last that did not
	probeAt  atomic.Int64 // nanoseconds since start
	loggedAt atomic.Int64 // nanoseconds since start; 0: that it works is known
	refusals notice
	losses   notice

	ctx    context.Context // ends when what is under way is to be spilled
	abort  context.CancelFunc
	mu     sync.RWMutex // guards closed and, for Add, pending
	closed bool
	// What Close waits for.
	pending sync.WaitGroup
}

// DeliveryStats are a delivery's counters since it was made, and its state.
type DeliveryStats struct {
	Delivered uint64 // events acknowledged
	Spilled   uint64 // events written to Spill
	Lost      uint64 // events that could not even be spilled
	Held      int    // responses held open now
}

// NewDelivery returns a delivery to a sink.
func NewDelivery(sink Sink, o DeliveryOptions) *Delivery {
	if o.Mode == "" {
		o.Mode = Hold
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.HoldMax == 0 {
		o.HoldMax = 40
	}
	if o.Spill == nil {
		o.Spill = os.Stdout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Delivery{sink: sink, o: o, lines: newLineWriter(o.Spill), start: time.Now()}
	d.ctx, d.abort = context.WithCancel(context.Background())
	return d
}

// Hold tells whether [Delivery.Deliver] returns only when the event is safe, so
// that the response is to be flushed before and ended after it.
func (d *Delivery) Hold() bool { return d.o.Mode == Hold }

// Timeout returns how long Deliver takes at most in mode Hold.
func (d *Delivery) Timeout() time.Duration { return d.o.Timeout }

// Deliver delivers an event or spills it. In mode Hold it returns when that is
// done, within the timeout; in mode Background at once.
func (d *Delivery) Deliver(e *Event) {
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		d.spill(e, "stopping")
		return
	}
	d.pending.Add(1)
	d.mu.RUnlock()
	most := int64(maxBackground)
	if d.o.Mode == Hold {
		most = int64(d.o.HoldMax)
	}
	reason := ""
	if d.underWay.Add(1) > most {
		reason = "too many under way"
	} else if !d.admits() {
		reason = "deliveries fail"
	}
	switch {
	case reason != "":
		// Not while it takes a place: events that are being spilled must not
		// keep out the one that tries the sink.
		d.underWay.Add(-1)
		d.spill(e, reason)
		d.pending.Done()
	case d.o.Mode == Hold:
		d.publish(e)
	default:
		go d.publish(e)
	}
}

// admits tells whether the sink is to be tried: always while it works, once a
// second while it does not.
func (d *Delivery) admits() bool {
	if d.failures.Load() < failuresToOpen {
		return true
	}
	at, now := d.probeAt.Load(), d.now()
	return now >= at && d.probeAt.CompareAndSwap(at, now+int64(probeInterval))
}

func (d *Delivery) publish(e *Event) {
	defer d.pending.Done()
	err := d.tryPublish(e)
	d.underWay.Add(-1)
	switch {
	case err == nil:
		d.delivered.Add(1)
		d.worked()
	case errors.Is(err, ErrRefused):
		// The sink works; it is the event that is wrong.
		d.spill(e, "refused")
		if d.refusals.due(d.now(), problemInterval) {
			d.o.Log.Error("event refused and spilled; further ones are logged once a minute", "event_id", e.ID, "error", err.Error())
		}
	case errors.Is(err, ErrBusy):
		d.spill(e, "too many under way")
	case errors.Is(err, context.DeadlineExceeded):
		d.spill(e, "timed out")
		d.failed(fmt.Errorf("not acknowledged within %v", d.o.Timeout))
	case d.ctx.Err() != nil:
		d.spill(e, "stopping")
	default:
		d.spill(e, "failed")
		d.failed(err)
	}
}

// tryPublish takes a sink that panics for one that fails.
func (d *Delivery) tryPublish(e *Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the sink panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(d.ctx, d.o.Timeout)
	defer cancel()
	return d.sink.Publish(ctx, e)
}

// A notice is what is told once in a while.
type notice struct{ next atomic.Int64 } // nanoseconds since the delivery's start

func (n *notice) due(now int64, interval time.Duration) bool {
	next := n.next.Load()
	return now >= next && n.next.CompareAndSwap(next, now+int64(interval))
}

// now returns the time since the delivery was made, in nanoseconds.
func (d *Delivery) now() int64 { return int64(time.Since(d.start)) }

func (d *Delivery) worked() {
	if d.failures.Load() != 0 {
		d.failures.Store(0)
	}
	at := d.loggedAt.Load()
	if at != 0 && d.now()-at >= int64(logInterval) && d.loggedAt.CompareAndSwap(at, 0) {
		d.o.Log.Info("events are delivered again")
	}
}

func (d *Delivery) failed(err error) {
	now := d.now()
	if d.failures.Add(1) == failuresToOpen {
		d.probeAt.Store(now + int64(probeInterval))
	}
	if d.loggedAt.CompareAndSwap(0, max(now, 1)) {
		d.o.Log.Error("events are not delivered but spilled, which is logged once", "error", err.Error())
	}
}

// spill writes one structured log line. That can fail, too, and on a pipe that
// nobody reads it would never end; the event is lost then.
func (d *Delivery) spill(e *Event, reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), spillTimeout)
	defer cancel()
	err := d.lines.write(ctx, appendSpilled(make([]byte, 0, 2048), e, time.Now(), reason))
	if err == nil {
		d.spilled.Add(1)
		return
	}
	d.lost.Add(1)
	// The log probably goes where the line did not.
	if ctx.Err() == nil && d.losses.due(d.now(), problemInterval) {
		d.o.Log.Error("event lost: it could not even be spilled; further ones are logged once a minute", "event_id", e.ID, "error", err.Error())
	}
}

// appendSpilled appends the line of an event that was not delivered. It is far
// shorter than the 256 KiB that Cloud Logging takes: what a stranger writes into
// an event is cut, and the rest is bounded by the link's own length.
func appendSpilled(dst []byte, e *Event, now time.Time, reason string) []byte {
	dst = append(dst, `{"severity":"WARNING","time":"`...)
	dst = now.UTC().AppendFormat(dst, timeFormat)
	dst = append(dst, `","message":"event spilled","reason":`...)
	dst = appendString(dst, reason)
	dst = append(dst, `,"event":`...)
	dst = e.AppendJSON(dst)
	dst = append(dst, `,"attributes":{`...)
	o := object{buffer: dst, start: len(dst)}
	for name, value := range e.attributes {
		o.string(name, value)
	}
	return append(o.buffer, "}}\n"...)
}

// Stats returns the counters and the state.
func (d *Delivery) Stats() DeliveryStats {
	s := DeliveryStats{Delivered: d.delivered.Load(), Spilled: d.spilled.Load(), Lost: d.lost.Load()}
	if d.o.Mode == Hold {
		// Those that are about to be spilled, being too many, are counted too.
		s.Held = min(int(d.underWay.Load()), d.o.HoldMax)
	}
	return s
}

// Close waits until every event is delivered or spilled; what is still under
// way when the context ends is spilled. It closes the sink. Events that come
// later are spilled at once. It returns an error if events were lost. Only the
// first call does anything.
func (d *Delivery) Close(ctx context.Context) error {
	d.mu.Lock()
	again := d.closed
	d.closed = true
	d.mu.Unlock()
	if again {
		return nil
	}
	done := make(chan struct{})
	go func() {
		d.pending.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		d.abort()
		select {
		case <-done:
		case <-time.After(abortTimeout):
			return fmt.Errorf("%d events are neither delivered nor spilled: the sink does not heed its context", d.underWay.Load())
		}
	}
	d.abort()
	err := d.sink.Close(ctx)
	if lost := d.lost.Load(); lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d events were lost: they could not be spilled", lost))
	}
	return err
}

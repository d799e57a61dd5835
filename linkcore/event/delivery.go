package event

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
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

	// How often it is logged at most that deliveries fail, or work again.
	logInterval = 10 * time.Second

	// How long a stop waits for sinks that do not heed their context.
	abortTimeout = time.Second
)

// DeliveryOptions configure a [Delivery].
type DeliveryOptions struct {
	Mode    Mode          // default Hold
	Timeout time.Duration // of one event; default 5 s
	HoldMax int           // responses held at once; default 40
	Spill   io.Writer     // gets each spilled event as one line in one write
	Log     *slog.Logger  // nil: nothing is logged
}

// A Delivery takes events to a sink, and spills what the sink does not take in
// time: it writes the whole event as one structured log line, from which it is
// replayed later. So each event is delivered or spilled; one whose
// acknowledgement comes too late is both, and is counted as spilled.
type Delivery struct {
	sink Sink
	o    DeliveryOptions

	delivered atomic.Uint64
	spilled   atomic.Uint64
	lost      atomic.Uint64
	underWay  atomic.Int64

	start    time.Time
	failures atomic.Int64 // deliveries that failed since the last that did not
	probeAt  atomic.Int64 // nanoseconds since start
	loggedAt atomic.Int64 // nanoseconds since start; 0: that it works is known

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
		o.Spill = io.Discard
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Delivery{sink: sink, o: o, start: time.Now()}
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
		d.spill(e, reason)
		d.leave()
	case d.o.Mode == Hold:
		d.publish(e)
		d.leave()
	default:
		go func() {
			d.publish(e)
			d.leave()
		}()
	}
}

func (d *Delivery) leave() {
	d.underWay.Add(-1)
	d.pending.Done()
}

// admits tells whether the sink is to be tried: always while it works, once a
// second while it does not.
func (d *Delivery) admits() bool {
	if d.failures.Load() < failuresToOpen {
		return true
	}
	at, now := d.probeAt.Load(), int64(time.Since(d.start))
	return now >= at && d.probeAt.CompareAndSwap(at, now+int64(probeInterval))
}

func (d *Delivery) publish(e *Event) {
	ctx, cancel := context.WithTimeout(d.ctx, d.o.Timeout)
	err := d.sink.Publish(ctx, e)
	cancel()
	switch {
	case err == nil:
		d.delivered.Add(1)
		d.worked()
	case errors.Is(err, ErrRefused):
		// The sink works; it is the event that is wrong.
		d.spill(e, "refused")
		d.o.Log.Error("event refused", "event_id", e.ID, "error", err.Error())
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

func (d *Delivery) worked() {
	if d.failures.Load() != 0 {
		d.failures.Store(0)
	}
	at := d.loggedAt.Load()
	if at != 0 && int64(time.Since(d.start))-at >= int64(logInterval) && d.loggedAt.CompareAndSwap(at, 0) {
		d.o.Log.Info("events are delivered again")
	}
}

func (d *Delivery) failed(err error) {
	now := int64(time.Since(d.start))
	if d.failures.Add(1) == failuresToOpen {
		d.probeAt.Store(now + int64(probeInterval))
	}
	if d.loggedAt.CompareAndSwap(0, max(now, 1)) {
		d.o.Log.Error("events are not delivered but spilled, which is logged once", "error", err.Error())
	}
}

// spill writes one structured log line.
func (d *Delivery) spill(e *Event, reason string) {
	line := append(make([]byte, 0, 2048), `{"severity":"WARNING","time":"`...)
	line = time.Now().UTC().AppendFormat(line, timeFormat)
	line = append(line, `","message":"event spilled","reason":"`...)
	line = append(line, reason...)
	line = append(line, `","event":`...)
	line = e.AppendJSON(line)
	line = append(line, `,"attributes":`...)
	attributes := e.Attributes()
	o := object{buffer: append(line, '{'), start: len(line) + 1}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		o.string(name, attributes[name])
	}
	line = append(o.buffer, "}}\n"...)
	if _, err := d.o.Spill.Write(line); err != nil {
		d.lost.Add(1)
		d.o.Log.Error("event lost: it could not even be spilled", "event_id", e.ID, "error", err.Error())
		return
	}
	d.spilled.Add(1)
}

// Stats returns the counters and the state.
func (d *Delivery) Stats() DeliveryStats {
	s := DeliveryStats{Delivered: d.delivered.Load(), Spilled: d.spilled.Load(), Lost: d.lost.Load()}
	if d.o.Mode == Hold {
		s.Held = int(d.underWay.Load())
	}
	return s
}

// Close waits until every event is delivered or spilled; what is still under
// way when the context ends is spilled. It closes the sink. Events that come
// later are spilled at once.
func (d *Delivery) Close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
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

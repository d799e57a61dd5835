// Package delivery takes events to a sink after the answer has left, or spills
// them: writes them to the log, from which they are replayed.
//
//	d := delivery.New(sink, delivery.Options{})
//	defer d.Close(ctx)
//	…
//	d.Deliver(e)
//
// Every event that is offered is delivered or spilled when its Deliver has returned
// ([Hold]) or at the end of [Delivery.Close] at the latest ([Background]);
// [Delivery.Stats] counts both. The only exception are events that could not even
// be spilled, which are counted as lost.
package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
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

	// What may be under way at once: in the background, and in bytes. Beyond
	// that events are spilled, since memory that grows ends in a process that is
	// killed.
	maxBackground = 10_000
	maxBytes      = 32 << 20

	// How often at most it is logged that deliveries fail or work again, and that
	// single events are refused or lost: not once a click.
	logInterval     = 10 * time.Second
	problemInterval = time.Minute

	// How long a response is kept open, or a request from ending, by an event
	// that is being spilled. It is spilled all the same.
	spillTimeout = time.Second

	// How long a stop waits for sinks that do not heed their context, and for a
	// log that takes nothing; and for one that takes lines, if slowly.
	abortTimeout = time.Second
	spillLimit   = 20 * time.Second
)

// Options configure a [Delivery].
type Options struct {
	Mode    Mode          // default Hold
	Timeout time.Duration // of one event; default 5 s
	HoldMax int           // responses held at once; default 40
	Spill   io.Writer     // gets each spilled event as one line in one write; default os.Stdout; see [lines.Writer]
	Log     *slog.Logger  // nil: nothing is logged
}

// A Delivery takes events to a [event.Sink], and spills what the sink does not take in
// time: it writes the event as one structured log line of at most 8,192 bytes,
// from which it is replayed later; EVENTS.md says what is cut in it. So each event
// is delivered or spilled; one whose acknowledgement comes too late is both, and
// is counted as spilled.
//
// While the last deliveries failed or timed out, events are spilled without an
// attempt, except for one a second that tries the sink. In mode [Hold] they are
// also spilled while as many responses are held as there may be, in mode
// [Background] while 10,000 events are under way, and in both while events of 32
// MiB are. An event counts with the memory that it takes while it is under way,
// what a sink makes of it to send it included.
//
// Once three quarters of the places are taken, each link from one address may
// have an eighth of all: what comes in excess is spilled, unsubscribes excepted.
// So one holder of one link leaves places to others. Only events that a
// [Recorder] made are told apart.
//
// Events that come at about the same time share a call of the sink, where the
// sink gains by it. Its methods may be called from any number of goroutines.
type Delivery struct {
	sink  event.Sink
	batch event.Batching
	o     Options
	lines *lines.Writer

	delivered atomic.Uint64
	spilled   atomic.Uint64
	lost      atomic.Uint64
	untold    atomic.Uint64 // of these, what the log does not report yet
	spilling  atomic.Int64  // bytes of the events that are being spilled
	unsafe    atomic.Int64  // events that Close waits for

	start    time.Time
	failures atomic.Int64 // deliveries that failed since the last that did not
	probeAt  atomic.Int64 // nanoseconds since start
	loggedAt atomic.Int64 // nanoseconds since start; 0: that it works is known
	refusals notice
	losses   notice
	excesses notice
	taken    fairness

	ctx   context.Context // ends when what is under way is to be spilled
	abort context.CancelFunc

	mu       sync.Mutex // guards what follows and, for Add, pending
	closed   bool
	underWay int       // events that are queued or in a call
	bytes    int       // and their size
	queue    []waiting // for a call, the oldest first
	calls    int       // goroutines that take from the queue
	timer    bool      // one of them starts when the oldest has waited long enough

	// What Close waits for: every event from Deliver until it is safe.
	pending sync.WaitGroup
}

// waiting is an event that is under way.
type waiting struct {
	event *event.Event
	size  int           // what it takes of the shared places in bytes: at least one of them
	since int64         // nanoseconds since the delivery's start
	done  chan struct{} // gets one when the event is safe; nil in the background
}

// release lets the response end. Only the first call does anything.
func (w waiting) release() {
	if w.done != nil {
		select {
		case w.done <- struct{}{}:
		default:
		}
	}
}

// Stats are a delivery's counters since it was made, and its state.
type Stats struct {
	Delivered uint64 // events acknowledged
	Spilled   uint64 // events written to Spill
	Lost      uint64 // events that could not even be spilled
	Held      int    // responses held open now
}

// New returns a delivery to a sink.
func New(sink event.Sink, o Options) *Delivery {
	o.Mode = cmp.Or(o.Mode, Hold)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.HoldMax = cmp.Or(o.HoldMax, 40)
	o.Spill = cmp.Or(o.Spill, io.Writer(os.Stdout))
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	d := &Delivery{
		sink:  sink,
		batch: sink.Batching(),
		o:     o,
		lines: lines.NewWriter(o.Spill),
		start: time.Now(),
	}
	d.batch.Count = cmp.Or(d.batch.Count, 1)
	d.batch.Bytes = cmp.Or(d.batch.Bytes, maxBytes)
	d.batch.Calls = cmp.Or(d.batch.Calls, maxBackground)
	d.ctx, d.abort = context.WithCancel(context.Background())
	return d
}

// Hold reports whether [Delivery.Deliver] returns only when the event is safe, so
// that the response is to be flushed before and ended after it.
func (d *Delivery) Hold() bool { return d.o.Mode == Hold }

// Timeout returns how long Deliver takes at most in mode Hold, but for the second
// that it may wait for an event to be spilled.
func (d *Delivery) Timeout() time.Duration { return d.o.Timeout }

// Deliver delivers an event or spills it. In mode Hold it returns when that is
// done, within the timeout and a second; in mode Background at once, or within a
// second where the event is spilled. Spilling goes on after that.
func (d *Delivery) Deliver(e *event.Event) {
	size := max(e.Size(), maxBytes/d.places())
	w := waiting{event: e, size: size, since: d.now()}
	if d.Hold() {
		w.done = make(chan struct{}, 1)
	}
	taken := d.taken.add(e, size)
	d.mu.Lock()
	reason := ""
	switch {
	case d.closed:
		reason = "stopping"
	case d.underWay >= d.places() || d.bytes+size > maxBytes:
		reason = "too many under way"
	case taken > max(size, fairShare) && d.bytes+size > nearlyFull:
		reason = inExcess
	case !d.admits(w.since):
		reason = "deliveries fail"
	}
	if reason != "" {
		closed := d.closed // Close waits for nothing that came after it
		if !closed {
			d.begin()
		}
		d.mu.Unlock()
		d.taken.add(e, -size)
		if reason == inExcess && d.excesses.due(d.now(), problemInterval) {
			d.o.Log.Warn("one link from one address takes more than its share of the places: its events are spilled; logged once a minute", "event_id", e.ID)
		}
		d.spillBeside(e, reason, closed)
		return
	}
	d.begin()
	d.underWay++
	d.bytes += size
	d.queue = append(d.queue, w)
	d.schedule()
	d.mu.Unlock()
	if w.done != nil {
		<-w.done
	}
}

// inExcess is the reason of an event whose link and address have more than their
// share.
const inExcess = "too many of one link and address"

// places returns how many events may be under way.
func (d *Delivery) places() int {
	if d.Hold() {
		return d.o.HoldMax
	}
	return maxBackground
}

// spillBeside spills an event, and returns when it is safe or has had its time.
func (d *Delivery) spillBeside(e *event.Event, reason string, closed bool) {
	safe := make(chan struct{})
	go func() {
		if d.reserve(e) {
			d.spill(e, reason)
		}
		if !closed {
			d.end(1)
		}
		close(safe)
	}()
	timer := time.NewTimer(spillTimeout)
	defer timer.Stop()
	select {
	case <-safe:
	case <-timer.C:
	}
}

// begin notes an event that Close waits for until end. The lock is held.
func (d *Delivery) begin() {
	d.pending.Add(1)
	d.unsafe.Add(1)
}

func (d *Delivery) end(n int) {
	d.unsafe.Add(int64(-n))
	d.pending.Add(-n)
}

// schedule sees to it that the queue is taken from in time. The lock is held.
func (d *Delivery) schedule() {
	switch {
	case len(d.queue) == 0 || d.calls == d.batch.Calls:
		// The run that takes from it looks again when it is done.
	case d.due():
		d.calls++
		go d.run()
	case !d.timer:
		d.timer = true
		time.AfterFunc(d.batch.Delay-time.Duration(d.now()-d.queue[0].since), func() {
			d.mu.Lock()
			d.timer = false
			d.schedule()
			d.mu.Unlock()
		})
	}
}

// due reports whether the oldest events are to be delivered now. The lock is held.
func (d *Delivery) due() bool {
	return d.batch.Delay == 0 || d.closed || len(d.queue) >= d.batch.Count || d.now()-d.queue[0].since >= int64(d.batch.Delay)
}

// run delivers what is due, batch by batch.
func (d *Delivery) run() {
	if d.batch.Delay == 0 && d.batch.Count > 1 {
		// What is runnable now may bring more events for the first batch.
		runtime.Gosched()
	}
	var batch []waiting
	for {
		d.mu.Lock()
		if len(d.queue) == 0 || !d.due() {
			d.calls--
			d.schedule()
			d.mu.Unlock()
			return
		}
		n, size := 0, 0
		for n < len(d.queue) && n < d.batch.Count && size < d.batch.Bytes {
			size += d.queue[n].event.MessageSize()
			n++
		}
		batch = append(batch[:0], d.queue[:n]...)
		d.queue = slices.Delete(d.queue, 0, n)
		// Others may take the rest at the same time.
		d.schedule()
		d.mu.Unlock()
		d.deliver(batch)
		clear(batch)
	}
}

// deliver delivers a batch, or spills what of it is not taken.
func (d *Delivery) deliver(batch []waiting) {
	err := d.publish(batch)
	size := 0
	for _, w := range batch {
		d.taken.add(w.event, -w.size)
		size += w.size
	}
	d.mu.Lock()
	// Before anything is spilled: events that are being spilled must not keep
	// out the one that tries the sink.
	d.underWay -= len(batch)
	d.bytes -= size
	d.mu.Unlock()

	delivered := 0
	var failed int64
	var cause error
	for i := range batch {
		err := event.FailureOf(err, i)
		if err == nil {
			delivered++
		} else if _, fails := d.reason(err); fails {
			failed++
			cause = err
		}
	}
	d.delivered.Add(uint64(delivered))
	if delivered > 0 {
		d.worked()
	}
	if failed > 0 {
		d.failed(failed, cause)
	}
	var rest []unsaved
	for i, w := range batch {
		if err := event.FailureOf(err, i); err == nil {
			w.release()
		} else if d.reserve(w.event) {
			rest = append(rest, unsaved{w, err})
		} else {
			w.release()
			d.end(1)
		}
	}
	d.end(delivered)
	if len(rest) > 0 {
		go d.spillAll(rest) // a log that is slow keeps no other batch waiting
	}
}

// unsaved is an event that was not delivered, and why.
type unsaved struct {
	waiting
	err error
}

func (d *Delivery) spillAll(rest []unsaved) {
	// Nor does it keep a response open.
	defer time.AfterFunc(spillTimeout, func() {
		for _, w := range rest {
			w.release()
		}
	}).Stop()
	for _, w := range rest {
		reason, _ := d.reason(w.err)
		d.spill(w.event, reason)
		if errors.Is(w.err, event.ErrRefused) && d.refusals.due(d.now(), problemInterval) {
			d.o.Log.Error("event refused and spilled; further ones are logged once a minute", "event_id", w.event.ID, "error", w.err.Error())
		}
		w.release()
		d.end(1)
	}
}

// reason says why an event with this error is spilled, and whether it means
// that the sink does not work.
func (d *Delivery) reason(err error) (reason string, fails bool) {
	switch {
	case errors.Is(err, event.ErrRefused):
		// The sink works; it is the event that is wrong.
		return "refused", false
	case errors.Is(err, context.DeadlineExceeded):
		return "timed out", true
	case d.ctx.Err() != nil:
		return "stopping", false
	}
	return "failed", true
}

// admits reports whether the sink is to be tried: always while it works, once a
// second while it does not.
func (d *Delivery) admits(now int64) bool {
	if d.failures.Load() < failuresToOpen {
		return true
	}
	at := d.probeAt.Load()
	return now >= at && d.probeAt.CompareAndSwap(at, now+int64(probeInterval))
}

// publish gives a batch to the sink until its oldest event has had its time. It
// takes a sink that panics for one that fails.
func (d *Delivery) publish(batch []waiting) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the sink panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithDeadline(d.ctx, d.start.Add(time.Duration(batch[0].since)+d.o.Timeout))
	defer cancel()
	e := encoders.Get().(*encoder)
	err = d.sink.Publish(ctx, e.encode(batch))
	if ctx.Err() == nil && cap(e.data) <= maxBuffer {
		encoders.Put(e)
	} // else it is large, or may still be in a call that was given up
	return err
}

// An encoder makes the messages of a batch in memory that is used again: they would
// be most of the garbage of a click.
type encoder struct {
	messages []event.Message
	data     []byte
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// maxBuffer is the largest encoder that is kept, in bytes of data.
const maxBuffer = 1 << 20

func (e *encoder) encode(batch []waiting) []event.Message {
	e.messages, e.data = e.messages[:0], e.data[:0]
	for _, w := range batch {
		start := len(e.data)
		e.data = w.event.AppendJSON(e.data)
		// Where it grows it moves, and what was cut out of it before stays as it was.
		e.messages = append(e.messages, event.Message{Data: e.data[start:len(e.data):len(e.data)], Event: w.event})
	}
	return e.messages
}

// A notice is logged once in a while.
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

// failed notes that so many deliveries failed.
func (d *Delivery) failed(n int64, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not acknowledged within %v", d.o.Timeout)
	}
	now := d.now()
	if all := d.failures.Add(n); all >= failuresToOpen && all-n < failuresToOpen {
		d.probeAt.Store(now + int64(probeInterval))
	}
	if d.loggedAt.CompareAndSwap(0, max(now, 1)) {
		d.o.Log.Error("events are not delivered but spilled, which is logged once", "error", err.Error())
	}
}

// reserve makes room for an event that is to be spilled. Where too many are being
// spilled the event is lost.
func (d *Delivery) reserve(e *event.Event) bool {
	size := int64(e.Size())
	if d.spilling.Add(size) <= maxBytes {
		return true
	}
	d.spilling.Add(-size)
	d.lost.Add(1)
	d.untold.Add(1)
	return false
}

// spill writes one structured log line, for which there is room. That can fail,
// too, and the event is lost then.
func (d *Delivery) spill(e *event.Event, reason string) {
	err := d.lines.WritePatiently(event.AppendSpilled(make([]byte, 0, 2048), e, time.Now(), reason))
	d.spilling.Add(-int64(e.Size()))
	if err == nil {
		d.spilled.Add(1)
		if n := d.untold.Swap(0); n > 0 {
			d.o.Log.Error("events lost: the log took nothing for too long; it does again", "events", n)
		}
		return
	}
	d.lost.Add(1)
	if err == lines.ErrStuck {
		d.untold.Add(1) // the log would not take that either
	} else if d.losses.due(d.now(), problemInterval) {
		d.o.Log.Error("event lost: it could not even be spilled; further ones are logged once a minute", "event_id", e.ID, "error", err.Error())
	}
}

// Stats returns the counters and the state.
func (d *Delivery) Stats() Stats {
	s := Stats{Delivered: d.delivered.Load(), Spilled: d.spilled.Load(), Lost: d.lost.Load()}
	if d.o.Mode == Hold {
		d.mu.Lock()
		s.Held = d.underWay
		d.mu.Unlock()
	}
	return s
}

// Close waits until every event is delivered or spilled; what is still under
// way when the context ends is spilled. It closes the sink. Events that come
// later are spilled at once. It returns an error if events were lost. After the
// context's end it takes a second at most if the log takes nothing, and 20 if it
// takes lines slowly. Only the first call does anything.
func (d *Delivery) Close(ctx context.Context) error {
	d.mu.Lock()
	again := d.closed
	d.closed = true
	d.schedule()
	d.mu.Unlock()
	if again {
		return nil
	}
	if d.failures.Load() >= failuresToOpen {
		d.abort() // nothing is to be hoped for, and the time is better spent on spilling
	}
	done := make(chan struct{})
	go func() {
		d.pending.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	d.abort()
	aborted := time.Now()
	for safe := false; !safe; {
		ended := d.lines.Ended()
		select {
		case <-done:
			safe = true
		case <-time.After(abortTimeout):
			if d.lines.Ended() == ended || time.Since(aborted) > spillLimit {
				return fmt.Errorf("%d events are neither delivered nor spilled: the sink does not heed its context, or the log is too slow", d.unsafe.Load())
			}
		}
	}
	err := d.sink.Close(ctx)
	if lost := d.lost.Load(); lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d events were lost: they could not be spilled", lost))
	}
	return err
}

package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/event/file"
	"example.com/linktracker/linkcore/lines"
	"example.com/linktracker/linkcore/testsize"
)

// sinkFunc is a sink whose behaviour in time a test decides; faults of real
// sinks are in pubsub_test.go.
type sinkFunc func(context.Context, *event.Event) error

func (f sinkFunc) Publish(ctx context.Context, messages []event.Message) error {
	return f(ctx, eventOf(messages[0]))
}
func (sinkFunc) Batching() event.Batching    { return event.Batching{} }
func (sinkFunc) Close(context.Context) error { return nil }

func eventOf(m event.Message) *event.Event {
	e, err := (&event.Received{Data: m.Data}).Event()
	if err != nil {
		panic(err)
	}
	return e
}

var occurred = time.Date(2026, 11, 21, 9, 30, 15, 123456000, time.UTC)

func numbered(i int) *event.Event {
	return &event.Event{ID: fmt.Sprint(i), Type: event.Click, OccurredAt: occurred, Host: "links.example.com", Customer: "acme", UserAgent: "agent"}
}

func decode(t testing.TB, data []byte) (members map[string]any) {
	t.Helper()
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return members
}

func hang(ctx context.Context, _ *event.Event) error {
	<-ctx.Done()
	return ctx.Err()
}

var errDown = errors.New("down")

func down(context.Context, *event.Event) error { return errDown }

// output is a writer that notes each write.
type output struct {
	mu     sync.Mutex
	writes []string
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, string(b))
	return len(b), nil
}

func (o *output) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.writes)
}

// ids returns the ids of the spilled events; every write must be one line.
func (o *output) ids(t *testing.T) map[string]int {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := map[string]int{}
	for _, w := range o.writes {
		if strings.Index(w, "\n") != len(w)-1 {
			t.Fatalf("%q is not one line", w)
		}
		ids[decode(t, []byte(w))["event"].(map[string]any)["event_id"].(string)]++
	}
	return ids
}

func wantStats(t *testing.T, d *Delivery, delivered, spilled uint64, held int) {
	t.Helper()
	if got, want := d.Stats(), (Stats{Delivered: delivered, Spilled: spilled, Held: held}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acknowledge := make(chan struct{})
		var spill output
		d := New(sinkFunc(func(ctx context.Context, _ *event.Event) error {
			select {
			case <-acknowledge:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}), Options{Spill: &spill})
		if !d.Hold() || d.Timeout() != 5*time.Second {
			t.Errorf("hold %v, timeout %v", d.Hold(), d.Timeout())
		}
		returned := make(chan struct{})
		go func() {
			d.Deliver(numbered(1))
			close(returned)
		}()
		synctest.Wait()
		select {
		case <-returned:
			t.Error("returned before the acknowledgement")
		default:
		}
		wantStats(t, d, 0, 0, 1)
		close(acknowledge)
		<-returned
		wantStats(t, d, 1, 0, 0)
		if err := d.Close(t.Context()); err != nil || spill.count() != 0 {
			t.Errorf("%v, %d spilled", err, spill.count())
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var spill output
		d := New(sinkFunc(hang), Options{Timeout: 3 * time.Second, Spill: &spill})
		start := time.Now()
		d.Deliver(numbered(1))
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
		wantStats(t, d, 0, 1, 0)
		d.Close(t.Context())
	})
}

func TestHoldMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var spill output
		d := New(sinkFunc(hang), Options{Spill: &spill})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { d.Deliver(numbered(i)) })
		}
		synctest.Wait()
		wantStats(t, d, 0, 0, 40)
		start := time.Now()
		d.Deliver(numbered(40))
		if took := time.Since(start); took != 0 {
			t.Errorf("the one too many took %v", took)
		}
		wantStats(t, d, 0, 1, 40)
		wg.Wait()
		wantStats(t, d, 0, 41, 0)
		d.Close(t.Context())
	})
}

func TestSpilledLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var spill output
		d := New(sinkFunc(down), Options{Spill: &spill})
		e := numbered(1)
		d.Deliver(e)
		d.Close(t.Context())
		line := decode(t, []byte(spill.writes[0]))
		attributes := map[string]any{}
		for _, a := range e.AppendAttributes(nil) {
			attributes[a.Name] = a.Value
		}
		want := map[string]any{
			"severity": "WARNING", "time": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00"), "message": "event spilled", "reason": "failed",
			"event": decode(t, e.AppendJSON(nil)), "attributes": attributes,
		}
		if !reflect.DeepEqual(line, want) {
			t.Errorf("got  %v\nwant %v", line, want)
		}
	})
}

// While deliveries fail the sink is tried once a second, and used again as soon
// as it works.
func TestBreaker(t *testing.T) {
	for _, mode := range []Mode{Hold, Background} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var works atomic.Bool
				var attempts atomic.Int64
				var spill output
				d := New(sinkFunc(func(context.Context, *event.Event) error {
					attempts.Add(1)
					if works.Load() {
						return nil
					}
					return errDown
				}), Options{Mode: mode, Spill: &spill})
				offer := func(n int) {
					for i := range n {
						d.Deliver(numbered(i))
						synctest.Wait()
						time.Sleep(10 * time.Millisecond)
					}
				}
				offer(failuresToOpen)
				if n := attempts.Swap(0); n != failuresToOpen {
					t.Fatalf("%d attempts until it opens, want %d", n, failuresToOpen)
				}
				offer(1000) // 10 s
				if n := attempts.Swap(0); n < 9 || n > 10 {
					t.Errorf("%d attempts in 10 s, want one a second", n)
				}
				wantStats(t, d, 0, 1000+failuresToOpen, 0)
				works.Store(true)
				time.Sleep(time.Second)
				offer(100)
				wantStats(t, d, 100, 1000+failuresToOpen, 0)
				if n := attempts.Load(); n != 100 {
					t.Errorf("%d attempts of 100 once it works", n)
				}
				if err := d.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A sink that hangs costs the responses that are held for it, and no others
// more than one a second.
func TestBreakerHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		d := New(sinkFunc(func(ctx context.Context, e *event.Event) error {
			attempts.Add(1)
			return hang(ctx, e)
		}), Options{Spill: io.Discard})
		var wg sync.WaitGroup
		for i := range 3000 { // 30 s
			wg.Go(func() { d.Deliver(numbered(i)) })
			time.Sleep(10 * time.Millisecond)
		}
		wg.Wait()
		if n := attempts.Load(); n < 40+20 || n > 40+30 {
			t.Errorf("%d attempts in 30 s, want 40 and then one a second", n)
		}
		wantStats(t, d, 0, 3000, 0)
		d.Close(t.Context())
	})
}

// What says nothing of the sink's health does not open the breaker.
func TestSingleEvents(t *testing.T) {
	for _, test := range []struct {
		err  error
		logs int
	}{
		{fmt.Errorf("%w: schema", event.ErrRefused), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log, spill output
			var attempts int
			d := New(sinkFunc(func(context.Context, *event.Event) error {
				attempts++
				return test.err
			}), Options{Spill: &spill, Log: slog.New(slog.NewJSONHandler(&log, nil))})
			for i := range 20 {
				d.Deliver(numbered(i))
			}
			if attempts != 20 {
				t.Errorf("%v: %d attempts of 20", test.err, attempts)
			}
			wantStats(t, d, 0, 20, 0)
			if log.count() != test.logs {
				t.Errorf("%v: %d log lines, want %d: %v", test.err, log.count(), test.logs, log.writes)
			}
			d.Close(t.Context())
		})
	}
}

// One error when it begins to fail, one line when it works again, however many
// clicks come.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log output
		var works bool
		d := New(sinkFunc(func(context.Context, *event.Event) error {
			if works {
				return nil
			}
			return errDown
		}), Options{Spill: io.Discard, Log: slog.New(slog.NewJSONHandler(&log, nil))})
		levels := func() (levels []string) {
			for _, line := range log.writes {
				var l struct{ Level string }
				json.Unmarshal([]byte(line), &l)
				levels = append(levels, l.Level)
			}
			return levels
		}
		for i, state := range []bool{false, true, false, true} {
			works = state
			for range 2000 { // 20 s
				d.Deliver(numbered(i))
				time.Sleep(10 * time.Millisecond)
			}
		}
		if got, want := levels(), []string{"ERROR", "INFO", "ERROR", "INFO"}; !reflect.DeepEqual(got, want) {
			t.Errorf("logged %v, want %v\n%v", got, want, log.writes)
		}
		if !strings.Contains(log.writes[0], errDown.Error()) {
			t.Errorf("%s does not say why", log.writes[0])
		}
		// One that flaps is not one that is reported each time.
		log.writes = nil
		for i := range 200 {
			works = i%2 == 0
			d.Deliver(numbered(i))
			time.Sleep(20 * time.Millisecond)
		}
		if log.count() > 2 {
			t.Errorf("flapping for 4 s logged %v", log.writes)
		}
		d.Close(t.Context())
	})
}

func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var spill output
		d := New(sinkFunc(func(ctx context.Context, _ *event.Event) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}), Options{Mode: Background, Spill: &spill})
		start := time.Now()
		for i := range maxBackground + 5 {
			d.Deliver(numbered(i))
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		wantStats(t, d, 0, 5, 0) // what is too much is spilled
		close(release)
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantStats(t, d, maxBackground, 5, 0)
	})
}

// A standard output that nobody reads, as sink and as log at once: responses end
// when their time is over, and not one after the other.
func TestStuckStandardOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := lines.NewWriter(writerFunc(func([]byte) (int, error) { <-release; return 0, io.ErrClosedPipe }))
		d := New(file.New(w), Options{Timeout: 5 * time.Second, Spill: w})
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 20 {
			wg.Go(func() { d.Deliver(numbered(i)) })
		}
		wg.Wait()
		if took := time.Since(start); took > 5*time.Second+spillTimeout {
			t.Errorf("the last response ended after %v", took)
		}
		close(release)
		d.Close(t.Context())
	})
}

// What was delivered makes room for what comes.
func TestBytesAreGivenBack(t *testing.T) {
	testsize.Large(t)
	d := New(sinkFunc(func(context.Context, *event.Event) error { return nil }), Options{Spill: io.Discard})
	e := numbered(1)
	e.Destination = "https://example.com/" + strings.Repeat("x", 16000)
	n := 2 * maxBytes / e.Size()
	for range n {
		d.Deliver(e)
	}
	wantStats(t, d, uint64(n), 0, 0)
	d.Close(t.Context())
}

// More than so much does not wait for a log that is slow.
func TestSpillingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := New(sinkFunc(down), Options{Mode: Background, Spill: writerFunc(func(b []byte) (int, error) {
			<-release
			return len(b), nil
		})})
		e := numbered(1)
		e.Destination = "https://example.com/" + strings.Repeat("x", 16000)
		fits := maxBytes / e.Size()
		for range fits + 10 {
			go d.Deliver(e)
		}
		synctest.Wait()
		if got := d.Stats(); got.Lost != 10 {
			t.Errorf("%d events were lost at once, want 10", got.Lost)
		}
		close(release)
		synctest.Wait()
		if got := d.Stats(); got.Spilled != uint64(fits) {
			t.Errorf("%d events were spilled, want %d", got.Spilled, fits)
		}
		d.Close(t.Context())
	})
}

// Close flushes what is acknowledged in time, and spills the rest.
func TestClose(t *testing.T) {
	for _, mode := range []Mode{Hold, Background} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var spill, log output
				d := New(sinkFunc(func(ctx context.Context, e *event.Event) error {
					if len(e.ID) == 1 { // 0 to 9 take a second
						time.Sleep(time.Second)
						return nil
					}
					return hang(ctx, e)
				}), Options{Mode: mode, Timeout: time.Minute, Spill: &spill, Log: slog.New(slog.NewJSONHandler(&log, nil))})
				var wg sync.WaitGroup
				for i := range 30 {
					wg.Go(func() { d.Deliver(numbered(i)) })
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				start := time.Now()
				if err := d.Close(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("took %v, want the 5 s of its context", took)
				}
				wantStats(t, d, 10, 20, 0)
				wg.Wait()
				d.Deliver(numbered(99))
				wantStats(t, d, 10, 21, 0)
				ids := spill.ids(t)
				for i := 10; i < 30; i++ {
					if ids[fmt.Sprint(i)] != 1 {
						t.Errorf("event %d was spilled %d times", i, ids[fmt.Sprint(i)])
					}
				}
				if ids["99"] != 1 || len(ids) != 21 {
					t.Errorf("spilled: %v", ids)
				}
				if log.count() != 0 {
					t.Errorf("stopping is not a failure: %v", log.writes)
				}
				if err := d.Close(t.Context()); err != nil {
					t.Errorf("closed again: %v", err)
				}
			})
		})
	}
}

// A sink that does not heed its context does not keep the process from ending.
func TestCloseStubbornSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := New(sinkFunc(func(context.Context, *event.Event) error {
			<-release
			return nil
		}), Options{Mode: Background, Spill: io.Discard})
		d.Deliver(numbered(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := d.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 events") {
			t.Errorf("error %v, want one that counts the event", err)
		}
		if took := time.Since(start); took != time.Second+abortTimeout {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}

func TestSinkPanics(t *testing.T) {
	for _, mode := range []Mode{Hold, Background} {
		var spill output
		d := New(sinkFunc(func(context.Context, *event.Event) error { panic("defect") }), Options{Mode: mode, Spill: &spill})
		d.Deliver(numbered(1))
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantStats(t, d, 0, 1, 0)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Events that cannot even be spilled are counted, and keep nobody.
func TestSpillFails(t *testing.T) {
	release := make(chan struct{})
	for _, test := range []struct {
		name  string
		write func([]byte) (int, error)
		took  time.Duration
		logs  int
	}{
		{"closed", func([]byte) (int, error) { return 0, io.ErrClosedPipe }, 0, 1},
		{"panics", func([]byte) (int, error) { panic("defect") }, 0, 1},
		{"stuck", func([]byte) (int, error) { <-release; return 0, io.ErrClosedPipe }, 3 * spillTimeout, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release = make(chan struct{})
				var log output
				d := New(sinkFunc(func(context.Context, *event.Event) error { return event.ErrRefused }),
					Options{Spill: writerFunc(test.write), Log: slog.New(slog.NewJSONHandler(&log, nil))})
				start := time.Now()
				for i := range 3 {
					d.Deliver(numbered(i))
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				synctest.Wait()
				if got := d.Stats(); got != (Stats{Lost: 3}) {
					t.Errorf("stats %+v, want 3 lost", got)
				}
				lost := 0
				for _, line := range log.writes {
					if strings.Contains(line, "event lost") {
						lost++
					}
				}
				if lost != test.logs {
					t.Errorf("%d lines of losses, want %d: %v", lost, test.logs, log.writes)
				}
				if err := d.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "3 events were lost") {
					t.Errorf("close says %v", err)
				}
				close(release)
			})
		})
	}
}

// batched is how Pub/Sub's sink has it.
var batched = event.Batching{Delay: 3 * time.Millisecond, Count: 500, Bytes: 1 << 20, Calls: 64}

// slowLog takes two thousand lines a second.
type slowLog struct{ output }

func (l *slowLog) Write(b []byte) (int, error) {
	time.Sleep(time.Second / 2000)
	return l.output.Write(b)
}

// A log that is slow delays no response by more than a second, and no event is
// lost to it.
func TestSpillSlowly(t *testing.T) {
	testsize.Large(t)
	for _, mode := range []Mode{Hold, Background} {
		for name, batch := range map[string]event.Batching{
			"one by one": {Count: 1, Bytes: maxBytes, Calls: maxBackground},
			"in batches": batched,
		} {
			t.Run(string(mode)+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log output
					var spill slowLog
					d := New(sinkFunc(hang), Options{Mode: mode, HoldMax: maxBackground, Spill: &spill, Log: slog.New(slog.NewJSONHandler(&log, nil))})
					d.batch = batch
					const events = 3000
					var longest atomic.Int64
					var wg sync.WaitGroup
					start := time.Now()
					for i := range events {
						wg.Go(func() {
							d.Deliver(numbered(i))
							longest.Store(max(longest.Load(), int64(time.Since(start))))
						})
					}
					wg.Wait()
					if most := time.Duration(longest.Load()); most > 5*time.Second+batched.Delay+spillTimeout {
						t.Errorf("a response ended after %v", most)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
					defer cancel()
					if err := d.Close(ctx); err != nil {
						t.Error(err)
					}
					wantStats(t, d, 0, events, 0)
					if len(spill.ids(t)) != events {
						t.Errorf("%d events are in the log", len(spill.ids(t)))
					}
				})
			})
		}
	}
}

// A stop has its end, however much is left to be spilled.
func TestCloseSlowLog(t *testing.T) {
	testsize.Large(t)
	synctest.Test(t, func(t *testing.T) {
		d := New(sinkFunc(hang), Options{Mode: Background, Spill: writerFunc(func(b []byte) (int, error) {
			time.Sleep(time.Second / 2)
			return len(b), nil
		})})
		for i := range 1000 {
			d.Deliver(numbered(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := d.Close(ctx)
		if err == nil || !strings.Contains(err.Error(), "events are neither delivered nor spilled") || strings.HasPrefix(err.Error(), "0 ") {
			t.Errorf("close says %v", err)
		}
		if took := time.Since(start); took < 3*time.Second+spillLimit || took > 3*time.Second+spillLimit+2*abortTimeout {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Hour) // the bubble waits for what is left
	})
}

// While deliveries fail a stop spends none of its time on another try.
func TestCloseWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(sinkFunc(hang), Options{Mode: Background, Timeout: time.Second, Spill: io.Discard})
		for i := range 2 * failuresToOpen {
			d.Deliver(numbered(i))
			time.Sleep(time.Second)
		}
		d.Deliver(numbered(99)) // the one a second that tries
		start := time.Now()
		if err := d.Close(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("closed after %v: %v", time.Since(start), err)
		}
	})
}

// What a log did not take it tells once it takes lines again.
func TestLossesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		var stuck atomic.Bool
		stuck.Store(true)
		release := make(chan struct{})
		w := lines.NewWriter(writerFunc(func(b []byte) (int, error) {
			if stuck.Load() {
				<-release
			}
			return out.Write(b)
		}))
		d := New(sinkFunc(func(context.Context, *event.Event) error { return event.ErrRefused }),
			Options{Mode: Background, Spill: w, Log: slog.New(slog.NewJSONHandler(w, nil))})
		for i := range 3 {
			d.Deliver(numbered(i))
		}
		time.Sleep(time.Minute)
		stuck.Store(false)
		close(release)
		d.Deliver(numbered(3))
		synctest.Wait()
		if got := d.Stats(); got != (Stats{Spilled: 1, Lost: 3}) {
			t.Errorf("stats %+v", got)
		}
		if all := strings.Join(out.writes, ""); strings.Count(all, `"msg":"events lost: the log took nothing for too long; it does again","events":3`) != 1 {
			t.Errorf("the log says %s", all)
		}
		d.Close(t.Context())
	})
}

// Whatever the sink does, each event that was offered is delivered or spilled,
// once, and what is spilled is whole.
func TestEveryEventIsAccountedFor(t *testing.T) {
	for _, mode := range []Mode{Hold, Background} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var acknowledged atomic.Uint64
				var spill output
				d := New(sinkFunc(func(ctx context.Context, e *event.Event) error {
					// Three failures before the first success and all are spilled.
					fault := rand.N(10)
					if acknowledged.Load() < 10 {
						fault = 9
					}
					switch fault {
					case 0:
						return errDown
					case 1:
						return event.ErrRefused
					case 3:
						panic("defect")
					}
					select {
					case <-time.After(rand.N(200 * time.Millisecond)):
						acknowledged.Add(1)
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}), Options{Mode: mode, Timeout: 150 * time.Millisecond, HoldMax: 20, Spill: &spill})
				const clients, each = 50, 40
				var wg sync.WaitGroup
				for c := range clients {
					wg.Go(func() {
						for i := range each {
							d.Deliver(numbered(c*each + i))
							time.Sleep(rand.N(20 * time.Millisecond))
						}
					})
				}
				// While they are at it, so that some come afterwards.
				time.Sleep(500 * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if err := d.Close(ctx); err != nil {
					t.Error(err)
				}
				wg.Wait()
				s := d.Stats()
				if s.Delivered+s.Spilled != clients*each || s.Lost != 0 || s.Held != 0 {
					t.Errorf("%+v of %d", s, clients*each)
				}
				if s.Delivered != acknowledged.Load() || s.Delivered == 0 || s.Spilled == 0 {
					t.Errorf("%d acknowledged, %+v", acknowledged.Load(), s)
				}
				ids := spill.ids(t)
				if uint64(len(ids)) != s.Spilled || spill.count() != len(ids) {
					t.Errorf("%d lines of %d events, %d counted", spill.count(), len(ids), s.Spilled)
				}
			})
		})
	}
}

// The sink that is closed is the one that was given.
func TestCloseClosesSink(t *testing.T) {
	var buffer bytes.Buffer
	closed := 0
	d := New(closeCounter{file.New(&buffer), &closed}, Options{})
	d.Deliver(numbered(1))
	d.Close(t.Context())
	d.Close(t.Context())
	if closed != 1 || strings.Count(buffer.String(), "\n") != 1 {
		t.Errorf("closed %d times, wrote %q", closed, buffer.String())
	}
}

type closeCounter struct {
	event.Sink
	n *int
}

func (c closeCounter) Close(ctx context.Context) error {
	*c.n++
	return c.Sink.Close(ctx)
}

// Events that are large are fewer: memory is bounded by bytes, too.
func TestBytesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var spill output
		d := New(sinkFunc(hang), Options{Mode: Background, Spill: &spill})
		destination := strings.Repeat("x", 16<<10)
		const offered = 1000
		fits := 0
		for i := range offered {
			e := numbered(i)
			e.Destination = destination
			fits = maxBytes / e.Size()
			d.Deliver(e)
		}
		if n := offered - spill.count(); n != fits {
			t.Errorf("%d of %d events of 16 KiB are under way, want %d", n, offered, fits)
		}
		d.Close(t.Context())
		wantStats(t, d, 0, offered, 0)
	})
}

// batchSink takes several events at once.
type batchSink struct {
	sinkFunc
	batch   event.Batching
	mu      sync.Mutex
	batches []int
}

func (s *batchSink) Batching() event.Batching { return s.batch }

func (s *batchSink) Publish(ctx context.Context, messages []event.Message) error {
	s.mu.Lock()
	s.batches = append(s.batches, len(messages))
	s.mu.Unlock()
	failures := make(event.Failures, len(messages))
	for i, m := range messages {
		failures[i] = s.sinkFunc(ctx, eventOf(m))
	}
	return failures
}

// Events share calls, and each has its own fate.
func TestBatches(t *testing.T) {
	for _, test := range []struct {
		name  string
		batch event.Batching
		want  []int
	}{
		{"one by one", event.Batching{Count: 1, Bytes: maxBytes, Calls: 100}, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"as many as come in time", event.Batching{Delay: 3 * time.Millisecond, Count: 100, Bytes: maxBytes, Calls: 100}, []int{10}},
		{"full", event.Batching{Delay: time.Hour, Count: 5, Bytes: maxBytes, Calls: 100}, []int{5, 5}},
		{"large", event.Batching{Delay: 3 * time.Millisecond, Count: 100, Bytes: 2500, Calls: 100}, []int{3, 3, 3, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var spill output
				s := &batchSink{batch: test.batch, sinkFunc: func(_ context.Context, e *event.Event) error {
					if e.ID == "7" {
						return event.ErrRefused
					}
					return nil
				}}
				d := New(s, Options{Mode: Background, Spill: &spill})
				for i := range 10 {
					d.Deliver(numbered(i))
				}
				if err := d.Close(t.Context()); err != nil {
					t.Error(err)
				}
				// Calls are made side by side, in any order.
				slices.SortFunc(s.batches, func(a, b int) int { return b - a })
				if !reflect.DeepEqual(s.batches, test.want) {
					t.Errorf("batches of %v, want %v", s.batches, test.want)
				}
				wantStats(t, d, 9, 1, 0)
				if ids := spill.ids(t); ids["7"] != 1 {
					t.Errorf("spilled %v, want 7", ids)
				}
			})
		})
	}
}

// What waits for others to fill a batch is delivered when the process ends,
// however long it would have waited.
func TestCloseDoesNotWaitForBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &batchSink{batch: event.Batching{Delay: time.Hour, Count: 100, Bytes: maxBytes, Calls: 1}, sinkFunc: func(context.Context, *event.Event) error { return nil }}
		d := New(s, Options{Mode: Background, Timeout: 2 * time.Hour, Spill: io.Discard})
		d.Deliver(numbered(1))
		start := time.Now()
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantStats(t, d, 1, 0, 0)
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// All that share a file see that a line of another was cut.
func TestLinesAfterACutOne(t *testing.T) {
	var out strings.Builder
	full := true
	w := lines.NewWriter(writerFunc(func(b []byte) (int, error) {
		if full {
			full = false
			n, _ := out.Write(b[:len(b)/2])
			return n, io.ErrShortWrite
		}
		return out.Write(b)
	}))
	log := slog.New(slog.NewJSONHandler(w, nil))
	d := New(sinkFunc(down), Options{Mode: Background, Spill: w})
	log.Info("cut")
	d.Deliver(numbered(1))
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.Info("whole")
	all := strings.Split(out.String(), "\n")
	if len(all) != 4 || strings.Contains(all[0], "cut\"}") {
		t.Fatalf("%q", all)
	}
	if spilled, err := event.ParseSpilled([]byte(all[1])); err != nil || spilled.Event.ID != "1" {
		t.Errorf("%q: %v", all[1], err)
	}
	if lines.NewWriter(w) != w {
		t.Error("a writer of lines is made anew")
	}
}

// Package replay publishes spilled events again: from a log file, which it
// remembers its place in, from a stream, or from the spill subscription.
package replay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"example.com/linktracker/cmd/internal/recent"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/event/pubsub"
	"example.com/linktracker/linkcore/lines"
)

const (
	// Window is how many events are published and not yet behind the cursor at
	// most; those are what a killed replay may publish again.
	Window = 500

	// Timeout is how long publishing one event may take.
	Timeout = 30 * time.Second

	// MaxRefused is how many events may be refused or, in a subscription, not be
	// understood before the rest is not tried.
	MaxRefused = 1000

	// How often the cursor is written, if there is no reason to do it sooner.
	cursorInterval = 250 * time.Millisecond

	// How much of Timeout is left when the program is to end.
	endTimeout = 10 * time.Second
)

// Options say where events go and who is informed.
type Options struct {
	Sink    event.Sink        // nil: nothing is published
	Clicks  string            // what Sink was opened from, as a cursor remembers it
	Explain func(error) error // says what to do about an error of Sink

	// Warn is called for each event that was not replayed, and Progress now and then
	// how many events were and how much of the file that was, in percent: -1 if
	// that is not known. They are called one at a time, from any goroutine.
	Warn     func(format string, args ...any)
	Progress func(events, percent int)
}

// A Replay is one run. It is made by [New], and one of its methods File, Input and
// Subscription is called once.
type Replay struct {
	Options

	// mu guards what follows, and Warn and Progress.
	mu        sync.Mutex
	published *recent.IDs
	result    Result
}

// A Result is what a replay did.
type Result struct {
	Reasons          map[string]*Span // what was replayed, by the reason for which it was spilled
	Before           int              // events that earlier runs replayed
	Doubles          int              // events that were met again, and not published
	Refused          int              // events
	Unreadable       int              // entries or messages
	UnreadableBefore int              // by earlier runs
	Others           int              // lines that tell of something else
}

// A Span is how many events there were, and of which time.
type Span struct {
	Events      int
	First, Last time.Time
}

func (s *Span) add(at time.Time) {
	if s.Events == 0 || at.Before(s.First) {
		s.First = at
	}
	if s.Events == 0 || at.After(s.Last) {
		s.Last = at
	}
	s.Events++
}

// Replayed returns all that was replayed.
func (r *Result) Replayed() (all Span) {
	for _, s := range r.Reasons {
		events := all.Events + s.Events
		all.add(s.First)
		all.add(s.Last)
		all.Events = events
	}
	return all
}

// New returns a replay.
func New(o Options) *Replay {
	return &Replay{Options: o, published: recent.NewIDs(), result: Result{Reasons: map[string]*Span{}}}
}

// Result returns what was done, once all is.
func (r *Replay) Result() *Result { return &r.result }

// File replays a log file or an export from where its cursor is, and keeps the
// cursor.
func (r *Replay) File(ctx context.Context, path, cursorPath string) error {
	c, err := readCursor(cursorPath)
	if err != nil {
		return err
	}
	if c.Clicks != "" && r.Clicks != "" && c.Clicks != r.Clicks {
		return fmt.Errorf("%s is the cursor of a replay to %s: give another --cursor, or remove it to replay to %s too", cursorPath, c.Clicks, r.Clicks)
	}
	check, _, err := openInput(path)
	if err != nil {
		return err
	}
	unpacked, compressed, err := lines.Unpack(check)
	if err == nil {
		if err = c.check(unpacked); err != nil {
			err = fmt.Errorf("%s %w: remove %s to replay it from the beginning", path, err, cursorPath)
		}
	} else {
		err = fmt.Errorf("read %s: %w", path, err)
	}
	check.Close()
	if err != nil {
		return err
	}
	f, size, err := openInput(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if compressed {
		size = 0 // says nothing of how far it is read
	}
	return r.entries(ctx, f, cursorPath, c, size)
}

// Input replays the same from a reader, without a cursor.
func (r *Replay) Input(ctx context.Context, input io.Reader) error {
	return r.entries(ctx, input, "", cursor{}, 0)
}

// openInput opens a file, and returns its size.
func openInput(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory: give a file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// A pending event is one that is behind the cursor.
type pending struct {
	lines.Line
	before [sha256.Size]byte // SHA-256 of all that is before it

	event *event.Spilled // nil: the input ends in it, and it may yet become one
	done  bool
	err   error
}

// A fileReplay replays what a file or standard input holds. All happens in one
// goroutine but the calls that publish.
type fileReplay struct {
	*Replay
	reader *lines.Reader
	hash   hash.Hash // of all that was read
	size   int64     // of the input, 0 if not known

	path    string // of the cursor; empty: none is kept
	cursor  cursor // as it was read, and then written
	refused map[int64]bool

	queue    []*pending // in the input's order; the first is not done
	finished chan *pending
	underWay map[string]bool // ids
	unsaved  int             // finished since the cursor was written
	saved    time.Time
	ended    bool // there is nothing more to read
	err      error
}

// entries replays what an input holds from where a cursor is, and keeps the
// cursor if it has a path.
func (r *Replay) entries(ctx context.Context, input io.Reader, path string, c cursor, size int64) error {
	f := &fileReplay{
		Replay: r, reader: lines.NewReader(input), hash: sha256.New(), size: size,
		path: path, cursor: c, refused: map[int64]bool{},
		finished: make(chan *pending, Window), underWay: map[string]bool{}, saved: time.Now(),
	}
	f.reader.Tee = f.hash
	if f.cursor.Clicks == "" {
		f.cursor.Clicks = r.Clicks
	}
	for _, id := range c.Done {
		r.published.Add(id)
	}
	for _, offset := range c.Refused {
		f.refused[offset] = true
	}
	r.result.Before, r.result.UnreadableBefore = c.Replayed, c.Unreadable

	publishing, stop := publishingContext(ctx)
	defer stop()
	for {
		reading := !f.ended && f.err == nil && ctx.Err() == nil
		switch {
		case reading && len(f.finished) == 0 && len(f.underWay)+f.unsaved < Window:
			f.read(publishing)
		case len(f.underWay) > 0:
			f.settle(<-f.finished)
		case !reading:
			if err := f.save(); err != nil && f.err == nil {
				f.err = err
			}
			if f.err == nil {
				f.err = ctx.Err()
			}
			return f.err
		}
		if f.unsaved >= Window/2 || time.Since(f.saved) >= cursorInterval {
			if err := f.save(); err != nil && f.err == nil {
				f.err = err
			}
			r.progress(f.reader.Offset(), size)
		}
	}
}

// read reads one chunk, and begins to publish the event in it.
func (f *fileReplay) read(ctx context.Context) {
	before := f.sum()
	k, err := f.reader.Next()
	if err != nil {
		f.ended = true
		if err != io.EOF {
			f.err = fmt.Errorf("read the input: %w", err)
		}
		return
	}
	if k.Start < f.cursor.Offset && !f.refused[k.Start] {
		return // done by an earlier run
	}
	if len(k.Text) == 0 {
		return
	}
	var spilled *event.Spilled
	if err = lines.ErrTooLong; !k.TooLong {
		spilled, err = event.ParseSpilled(k.Text)
	}
	p := &pending{Line: k, before: before, event: spilled}
	p.Text = nil // the reader's
	if k.Last && err != nil {
		f.queue = append(f.queue, p)
	}
	switch {
	case errors.Is(err, event.ErrNotSpilled):
		f.result.Others++
		return
	case err != nil:
		f.result.Unreadable++
		f.warn("%s: %v", k.Where(), err)
		return
	}
	id := spilled.Event.ID
	for f.underWay[id] {
		f.settle(<-f.finished)
	}
	if f.met(id) {
		return
	}
	if k.Start >= f.cursor.Offset {
		f.queue = append(f.queue, p)
	}
	f.underWay[id] = true
	go func() {
		p.err = f.publish(ctx, spilled)
		f.finished <- p
	}()
}

// settle takes what became of an event.
func (f *fileReplay) settle(p *pending) {
	delete(f.underWay, p.event.Event.ID)
	f.unsaved++
	switch {
	case p.err == nil:
		p.done = true
		delete(f.refused, p.Start)
		f.took(p.event)
	case errors.Is(p.err, event.ErrRefused):
		p.done = true
		f.refused[p.Start] = true
		if err := f.refuse(p.Where(), p.event, p.err); err != nil && f.err == nil {
			f.err = err
		}
	case f.err == nil:
		f.err = f.Explain(fmt.Errorf("publish the event of %s: %w", p.Where(), p.err))
	}
	for len(f.queue) > 0 && f.queue[0].done {
		f.queue = f.queue[1:]
	}
}

// save writes the cursor.
func (f *fileReplay) save() error {
	f.unsaved, f.saved = 0, time.Now()
	if f.path == "" || f.Sink == nil {
		return nil
	}
	offset, sum := f.reader.Offset(), f.sum()
	f.cursor.Done = nil
	for i, p := range f.queue {
		if i == 0 {
			offset, sum = p.Start, p.before
		}
		if p.done && !f.refused[p.Start] {
			f.cursor.Done = append(f.cursor.Done, p.event.Event.ID)
		}
	}
	if offset >= f.cursor.Offset {
		f.cursor.Offset, f.cursor.SHA256 = offset, hex.EncodeToString(sum[:])
	}
	f.cursor.Refused = nil
	for _, start := range slices.Sorted(maps.Keys(f.refused)) {
		if start < f.cursor.Offset {
			f.cursor.Refused = append(f.cursor.Refused, start)
		}
	}
	f.cursor.Replayed = f.result.Before + f.result.Replayed().Events
	f.cursor.Unreadable = f.result.UnreadableBefore + f.result.Unreadable
	return f.cursor.write(f.path)
}

// sum returns the SHA-256 of all that was read.
func (f *fileReplay) sum() (sum [sha256.Size]byte) {
	f.hash.Sum(sum[:0])
	return sum
}

// publishingContext returns a context that ends some time after another, so that
// what is under way can be awaited.
func publishingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	publishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-publishing.Done():
		case <-time.After(endTimeout):
			cancel()
		}
	})
	return publishing, func() { stop(); cancel() }
}

// Subscription replays the messages of a subscription until none has come for so
// long. The outage is reported as [event.ReceiveOptions] has it.
func (r *Replay) Subscription(ctx context.Context, source string, wait time.Duration, outage func(error)) error {
	receive, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	publishing, stopPublishing := publishingContext(ctx)
	defer stopPublishing()
	var (
		slots    = make(chan struct{}, Window)
		underWay = map[string]chan struct{}{} // by id; guarded by r.mu
		came     int
	)
	err := pubsub.Drain(receive, source, wait, outage, func(m *event.Received) {
		came++
		name := fmt.Sprintf("message %d, of %s", came, m.PublishedAt.UTC().Format(time.RFC3339))
		spilled, err := event.ParseSpilled(m.Data)
		if err != nil {
			m.Nack()
			r.mu.Lock()
			r.result.Unreadable++
			bad := r.result.Unreadable
			r.mu.Unlock()
			r.warn("%s: %v; it stays in the subscription", name, err)
			if bad >= MaxRefused {
				stop(fmt.Errorf("%d messages could not be read, so the rest was not tried: is this the spill subscription?", bad))
			}
			return
		}
		id := spilled.Event.ID
		// The same event in two messages: what becomes of the first decides.
		r.mu.Lock()
		first := underWay[id]
		r.mu.Unlock()
		if first != nil {
			<-first
		}
		if r.met(id) {
			m.Ack()
			return
		}
		finished := make(chan struct{})
		r.mu.Lock()
		underWay[id] = finished
		r.mu.Unlock()
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			switch err := r.publish(publishing, spilled); {
			case err == nil:
				r.took(spilled)
				m.Ack()
			case errors.Is(err, event.ErrRefused):
				m.Nack()
				if err := r.refuse(name, spilled, err); err != nil {
					stop(err)
				}
			default:
				m.Nack()
				stop(r.Explain(fmt.Errorf("publish the event of %s: %w", name, err)))
			}
			r.mu.Lock()
			delete(underWay, id)
			r.mu.Unlock()
			close(finished)
			r.progress(0, 0)
		}()
	})
	switch cause := context.Cause(receive); {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return cause // nil unless stopped
	}
}

// publish publishes an event, unless nothing is to be published.
func (r *Replay) publish(ctx context.Context, s *event.Spilled) error {
	if r.Sink == nil {
		return nil
	}
	return r.Sink.Publish(ctx, []event.Message{s.Message})
}

// met reports whether an event was published already, and counts it then.
func (r *Replay) met(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.published.Has(id) {
		return false
	}
	r.result.Doubles++
	return true
}

// took counts an event that was published.
func (r *Replay) took(s *event.Spilled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published.Add(s.Event.ID)
	of := r.result.Reasons[s.Reason]
	if of == nil {
		of = &Span{}
		r.result.Reasons[s.Reason] = of
	}
	of.add(s.Event.OccurredAt)
}

// refuse reports an event that was refused. It returns an error if there is no
// sense in going on.
func (r *Replay) refuse(where string, s *event.Spilled, err error) error {
	r.mu.Lock()
	r.result.Refused++
	refused := r.result.Refused
	r.mu.Unlock()
	spilledAs := ""
	if s.Reason == event.Refused {
		spilledAs = ", as it was when it was spilled"
	}
	r.warn("%s: event %s was refused%s: %v", where, s.Event.ID, spilledAs, r.Explain(err))
	if refused >= MaxRefused {
		return fmt.Errorf("%d events were refused, so the rest was not tried: mend the topic's schema first", refused)
	}
	return nil
}

func (r *Replay) warn(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Warn(format, args...)
}

// progress reports how far the replay is, of so many bytes where that is known.
func (r *Replay) progress(offset, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	percent := -1
	if size > 0 {
		percent = int(min(100*offset/size, 100))
	}
	r.Progress(r.result.Replayed().Events, percent)
}

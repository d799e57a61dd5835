package blocklist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// overlap is how long before the start of the last successful refresh a
	// refresh begins to read: for clocks that differ and writes under way.
	overlap = 30 * time.Second

	// maxGap is the age from which a copy is read whole: the document of a
	// lifted rule may be gone a day after it was written.
	maxGap = 12 * time.Hour

	// countEvery is how often the documents are counted, to find out that some
	// were written or deleted without updated_at.
	countEvery = 10 * time.Minute

	// readsPerSecond is what reloads cost on average at most, in documents.
	readsPerSecond = 2

	// patience is how many seconds a refresh may hear nothing before it is given
	// up. While documents arrive it may take as long as it needs. It doubles each
	// time that it was not enough, morePatience times at most.
	patience     = 10
	morePatience = 4

	// lastWord is how long a call of the source may still take to return once
	// the refresh was given up: it may say what it waited for.
	lastWord = 100 * time.Millisecond

	// closeWait bounds Close.
	closeWait = 500 * time.Millisecond

	// Between failed refreshes the pause doubles from the first to the last.
	firstPause = time.Second
	lastPause  = time.Minute

	// progressEvery is after how many seconds each the log says how far a load is,
	// and complainEvery how often that there is no whole copy yet.
	progressEvery = 10
	complainEvery = time.Minute

	// adoptEvery is how often a request may be held for a refresh that it did
	// not start.
	adoptEvery = 5 * time.Second
)

// Options configure a [Cache]. Each field means what it says, zero too:
// [DefaultOptions] has the defaults.
type Options struct {
	Refresh time.Duration // how often changes are read; 0: as soon as the last refresh has ended
	Reload  time.Duration // how often all is read; stretched so that it costs at most 2 documents a second
	MaxAge  time.Duration // from which age of the copy a request waits for a refresh
	Wait    time.Duration // how long it waits at most; 0: not at all
	Log     *slog.Logger  // nil: nothing is logged
}

// DefaultOptions returns the defaults, those of the endpoint's environment:
// changes are read every 15 seconds and all every 10 minutes; a request waits
// 250 ms at most for a copy that is older than 5 minutes. Nothing is logged.
func DefaultOptions() Options {
	return Options{
		Refresh: 15 * time.Second,
		Reload:  10 * time.Minute,
		MaxAge:  5 * time.Minute,
		Wait:    250 * time.Millisecond,
	}
}

// A Cache keeps a copy of a source's rules in memory and refreshes it. All
// methods may be called at once from any number of goroutines. A nil Cache has
// no rules and never fails.
type Cache struct {
	source Source
	o      Options
	now    func() instant

	current atomic.Pointer[snapshot] // nil until all was read once
	partial atomic.Pointer[Index]    // the blocks that have arrived until then
	arrived atomic.Int64             // documents that have
	heard   atomic.Bool              // anything has
	flight  atomic.Pointer[flight]   // the refresh in flight
	due     atomic.Int64             // when the next refresh is due, as instant.mono
	failing atomic.Bool              // the last refresh failed
	failed  atomic.Uint64
	ready   chan struct{} // closed when all was read once

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // guards what follows, and that one refresh starts at a time
	closed bool
	asks   asks
	wg     sync.WaitGroup

	// What follows belongs to the refresh in flight.
	broken     *load // a load that broke off, to go on with
	leftOut    bool  // agents were left out, and the log says so
	lastStart  instant
	lastCount  instant
	nextWhole  time.Duration // when all is read again, as instant.mono
	failures   int           // in a row
	quiet      int           // how many of them heard nothing for too long
	complained instant       // when the log last said that there is no whole copy
	countFails bool
	left       *call // outlived the refresh that made it, and may be at work still
	missed     bool  // such a call ended well: the source takes for read what the copy does not hold
}

// An instant is a time by both clocks: the wall clock, which may jump, and the
// time since the cache was made, which does not but may stand still while the
// machine sleeps.
type instant struct {
	wall time.Time
	mono time.Duration
}

// since returns how long ago t was by the clock that says more.
func (i instant) since(t instant) time.Duration {
	return max(i.mono-t.mono, i.wall.Sub(t.wall))
}

// A snapshot is what requests see.
type snapshot struct {
	index     *Index
	refreshed instant // when the refresh that it is as good as started
}

// A flight is a refresh under way.
type flight struct {
	done     chan struct{}
	start    instant
	progress atomic.Uint64
	adopted  atomic.Int64         // when a request was last held for it, as instant.mono
	load     atomic.Pointer[load] // of all; nil: none
}

// A load is a reading under way.
type load struct {
	start instant // when the first Read began

	mu        sync.Mutex    // guards what follows
	over      bool          // what a call still yields is not wanted
	arrived   bool          // all has: the records are the copy's now
	place     string        // where the next Read goes on
	published int           // how many documents were there when the blocks among them were last published
	publish   time.Duration // when that may be done again, as instant.mono
	reading
}

// A call is a call of the source. A refresh that is given up leaves it behind,
// because a context does not end every call: open(2) on a file system that
// hangs, say.
type call struct {
	returned chan struct{}

	// To be read once it has returned.
	whole bool // what Read said
	n     int  // what Count said
	err   error
}

// errHangs says why a refresh failed whose call of the source did not return.
var errHangs = errors.New("the source does not return, as when a file system hangs")

// NewCache makes a cache of a source, which it closes in the end. Nothing is
// read before Start or the first request. A nil source makes a nil Cache.
func NewCache(source Source, o Options) *Cache {
	if source == nil {
		return nil
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	epoch := time.Now()
	c := &Cache{
		source: source,
		o:      o,
		now: func() instant {
			t := time.Now()
			return instant{wall: t.Round(0), mono: t.Sub(epoch)}
		},
		ready: make(chan struct{}),
		asks:  asks{answers: map[string]reply{}, tokens: mostReads},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Start begins the first load, and refreshes from then on until ctx ends or
// the cache is closed. It returns at once.
func (c *Cache) Start(ctx context.Context) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wg.Go(func() { c.tick(ctx) })
}

// tick refreshes whenever it is due and no request has come to start it.
func (c *Cache) tick(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(c.ctx, cancel)()
	defer cancel()
	for ctx.Err() == nil {
		if f := c.begin(false); f != nil {
			select {
			case <-f.done:
			case <-ctx.Done():
			}
		}
		select {
		case <-time.After(max(time.Duration(c.due.Load())-c.now().mono, time.Millisecond)):
		case <-ctx.Done():
		}
	}
}

// Ready is closed once the copy is whole.
func (c *Cache) Ready() <-chan struct{} {
	if c == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return c.ready
}

// Decide says what the rules do with a request, as [Index.Decide] does. If the
// copy is older than Options.MaxAge it is refreshed first, for which requests wait
// until Options.Wait after that began or until ctx ends, and not at all while
// refreshes fail. A copy that is whole is used however old it is.
//
// Until it is whole the source is asked for the rules of this request, within
// Options.Wait; BLOCKLIST.md says what that cannot see, and how many documents it
// may cost. Known is false if there was no answer. Then the decision holds no more
// than a block that has arrived already.
func (c *Cache) Decide(ctx context.Context, req *Request) (d Decision, known bool) {
	if c == nil {
		return Decision{}, true
	}
	s := c.current.Load()
	if s == nil || c.now().since(s.refreshed) > c.o.MaxAge {
		f := c.begin(!c.failing.Load())
		if s == nil {
			return c.decidePartly(ctx, req, f)
		}
		c.wait(ctx, f)
		s = c.current.Load()
	}
	return s.index.Decide(req), true
}

// decidePartly decides while the copy is not whole.
func (c *Cache) decidePartly(ctx context.Context, req *Request, f *flight) (d Decision, known bool) {
	var done <-chan struct{}
	if f != nil {
		done = f.done
	}
	answers, known := c.answers(ctx, candidates(req), done)
	if !known {
		c.wait(ctx, f)
	}
	if s := c.current.Load(); s != nil {
		return s.index.Decide(req), true
	}
	x := *emptyIndex
	if blocks := c.partial.Load(); blocks != nil {
		x = *blocks
	}
	x.delta = answers // of kinds that are looked up by value alone
	for kind, n := range answers.kinds {
		x.kinds[kind] = x.kinds[kind] || n > 0
	}
	return x.Decide(req), known
}

// wait waits for a refresh, within the bounds of all requests.
func (c *Cache) wait(ctx context.Context, f *flight) {
	if f == nil || c.failing.Load() {
		return
	}
	left := c.o.Wait - (c.now().mono - f.start.mono)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// RefreshIfDue starts a refresh if one is due, and returns a channel that is
// closed when the refresh in flight ends: a request is held for it, since an
// instance may have no processor between requests. The channel is nil if there
// is nothing to be held for: no refresh is in flight, or another request was
// told to wait for it within the last 5 seconds.
func (c *Cache) RefreshIfDue() <-chan struct{} {
	if c == nil {
		return nil
	}
	f := c.begin(false)
	if f == nil {
		return nil
	}
	now := c.now().mono
	adopted := f.adopted.Load()
	if int64(now)-adopted < int64(adoptEvery) || !f.adopted.CompareAndSwap(adopted, int64(now)) {
		return nil
	}
	return f.done
}

// begin starts a refresh if one is due, or if it must, and returns the one in
// flight.
func (c *Cache) begin(must bool) *flight {
	idle := func() bool { return c.flight.Load() == nil && (must || int64(c.now().mono) >= c.due.Load()) }
	if !idle() {
		return c.flight.Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !idle() {
		return c.flight.Load()
	}
	f := &flight{done: make(chan struct{}), start: c.now()}
	f.adopted.Store(math.MinInt64 / 2)
	c.flight.Store(f)
	c.wg.Go(func() { c.run(f) })
	return f
}

// errQuiet is the cause of a refresh that was given up.
var errQuiet = errors.New("nothing was heard for too long")

// run refreshes once.
func (c *Cache) run(f *flight) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	var watch sync.WaitGroup
	patience := patience << min(c.quiet, morePatience)
	watch.Go(func() { c.watch(ctx, f, patience, cancel) })
	err := c.refresh(ctx, f)
	if err != nil && context.Cause(ctx) == errQuiet {
		c.quiet++
		err = fmt.Errorf("nothing was heard for %d seconds: %w", patience, err)
	}
	cancel(nil)
	watch.Wait()

	now := c.now()
	s := c.current.Load()
	if s != nil {
		c.partial.Store(nil)
	}
	if err == nil {
		c.due.Store(int64(c.lastStart.mono + c.o.Refresh))
		if c.failing.Swap(false) {
			c.o.Log.Info("blocklist refreshed again", "failures", c.failures, "rules", s.index.census(now.wall.UnixMicro()).rules)
		}
		c.failures, c.quiet = 0, 0
	} else if c.ctx.Err() == nil {
		c.failed.Add(1)
		pause := lastPause
		if c.failures < 6 {
			pause = firstPause << c.failures
		}
		c.failures++
		c.due.Store(int64(now.mono + pause))
		if again := c.failing.Swap(true); !again || s == nil && now.since(c.complained) >= complainEvery {
			c.complained = now
			c.logFailure(err, now)
		}
	}
	c.mu.Lock()
	c.flight.Store(nil)
	if s != nil {
		c.asks.answers = nil
	}
	c.mu.Unlock()
	close(f.done)
	if s != nil {
		select {
		case <-c.ready:
		default:
			close(c.ready)
		}
	}
}

// watch gives the refresh up when it makes no progress, and says how far a load
// is. It counts seconds one by one instead of looking at a clock, so that a
// process that was stopped for a while does not give up what it had no time for.
func (c *Cache) watch(ctx context.Context, f *flight, patience int, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	seen, quiet := uint64(0), 0
	for seconds := 1; ; seconds++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if l := f.load.Load(); l != nil {
			c.publishPart(l, seconds%progressEvery == 0)
			c.probe(seconds)
		}
		if p := f.progress.Load(); p != seen {
			seen, quiet = p, 0
		} else if quiet++; quiet >= patience {
			cancel(errQuiet)
			return
		}
	}
}

// publishPart publishes what has arrived of a load: the blocks, while nothing else
// is there, as no other rule can undo them.
func (c *Cache) publishPart(l *load, report bool) {
	l.mu.Lock()
	n, start := len(l.rules.records), c.now().mono
	first := c.current.Load() == nil
	publish := first && !l.arrived && n > l.published && start >= l.publish
	var blocks []record
	var text string
	if publish {
		l.published = n
		blocks, text = l.blocks()
	}
	l.mu.Unlock()
	if publish {
		c.partial.Store(newIndex(pack(blocks, text), nothing, l.now))
		end := c.now().mono
		l.mu.Lock()
		l.publish = end + 19*(end-start) // a twentieth of the time at most
		l.mu.Unlock()
	}
	if first {
		c.arrived.Store(int64(n))
	}
	if report {
		c.o.Log.Info("blocklist is loading", "documents", n)
	}
}

func (c *Cache) logFailure(err error, now instant) {
	if s := c.current.Load(); s != nil {
		c.o.Log.Error("blocklist cannot be refreshed; the last copy stays in use",
			"error", err, "rules", s.index.census(now.wall.UnixMicro()).rules, "age_seconds", int64(now.since(s.refreshed).Seconds()))
		return
	}
	c.o.Log.Error("blocklist cannot be read whole; links are checked against the rules that can be asked for and the blocks that have arrived",
		"error", err, "documents", c.arrived.Load())
}

// ask calls the source, and leaves the call behind if it has not returned soon
// after ctx ended.
func (c *Cache) ask(ctx context.Context, method func(*call)) (*call, error) {
	k := &call{returned: make(chan struct{})}
	go func() {
		defer close(k.returned)
		method(k)
	}()
	select {
	case <-k.returned:
		return k, k.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(lastWord)
	defer timer.Stop()
	select {
	case <-k.returned:
		return k, k.err
	case <-timer.C:
	}
	c.left = k
	return nil, errHangs
}

// settle fails while the call that was left behind is at work: there may be one
// at a time, and no request is to be held for it.
func (c *Cache) settle() error {
	if c.left == nil {
		return nil
	}
	select {
	case <-c.left.returned:
	default:
		return errHangs
	}
	c.missed = c.missed || c.left.whole && c.left.err == nil
	c.left = nil
	return nil
}

// refresh reads what changed, or everything if that is due.
func (c *Cache) refresh(ctx context.Context, f *flight) error {
	if err := c.settle(); err != nil {
		return err
	}
	start := f.start
	must := c.current.Load() == nil || c.missed || start.since(c.lastStart) >= maxGap
	if must || start.mono >= c.nextWhole {
		return c.readAll(ctx, f, must)
	}
	if err := c.readChanges(ctx, f, start); err != nil {
		return err
	}
	if start.mono-c.lastCount.mono < countEvery {
		return nil
	}
	differs, err := c.differs(ctx, f, start)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		// The rules are as fresh as ever, so this is not a failed refresh.
		if !c.countFails {
			c.countFails = true
			c.o.Log.Warn("blocklist documents cannot be counted; what is written or deleted by hand without updated_at waits for the next reload", "error", err)
		}
		c.lastCount = start
		return nil
	}
	c.countFails = false
	c.lastCount = start
	if differs {
		c.o.Log.Info("blocklist documents were written or deleted without updated_at; all are read again")
		return c.readAll(ctx, f, false)
	}
	return nil
}

// reloadInterval is how long to wait with the next reload after one that read n
// documents.
func (c *Cache) reloadInterval(n int) time.Duration {
	return max(c.o.Reload, time.Duration(n)*time.Second/readsPerSecond)
}

// watermark returns from which updated_at on a refresh reads. It is counted
// back from the earlier of what the clock said at the last refresh and of what
// it would have said if it had been right as it is now, so that a clock that is
// set in between hides nothing.
func (c *Cache) watermark(now instant) time.Time {
	last := c.lastStart.wall
	if t := now.wall.Add(c.lastStart.mono - now.mono); t.Before(last) {
		last = t
	}
	return last.Add(-overlap)
}

// differs reports whether the source holds another number of documents than the
// copy. Documents that are written while it counts are not held against the
// copy: a difference counts if it is still the same after a second look.
func (c *Cache) differs(ctx context.Context, f *flight, start instant) (bool, error) {
	last := 0
	for range 2 {
		now := c.now().wall.Truncate(time.Microsecond)
		k, err := c.ask(ctx, func(k *call) { k.n, k.err = c.source.Count(ctx, now) })
		if errors.Is(err, errors.ErrUnsupported) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		f.progress.Add(1)
		difference := k.n - c.index().census(now.UnixMicro()).living
		if difference == 0 || last != 0 && difference != last {
			return false, nil
		}
		if last == difference {
			return true, nil
		}
		last = difference
		if err := c.readChanges(ctx, f, start); err != nil {
			return false, err
		}
	}
	return false, nil
}

// newLoad begins to read.
func (c *Cache) newLoad() *load {
	start := c.now()
	return &load{start: start, reading: reading{now: start.wall.UnixMicro(), problems: map[documentKey]*DocumentError{}}}
}

// readAll reads every document and publishes a copy of them. Where it must, it
// goes on where the last time broke off.
func (c *Cache) readAll(ctx context.Context, f *flight, must bool) error {
	l := c.broken
	if l == nil || l.place == "" || f.start.since(l.start) >= maxGap {
		l = c.newLoad()
	}
	c.broken = nil
	before := len(l.rules.records)
	f.load.Store(l)
	_, err := c.read(ctx, f, l, time.Time{})
	if err == nil {
		c.missed = false
		c.publish(ctx, l, true)
		return nil
	}
	c.publishPart(l, false)
	if l.place != "" && len(l.rules.records) > before {
		c.failures = 0 // it gets on
	}
	if must {
		c.broken = l
	} else {
		// Until the next try changes alone are read, so that what keeps everything
		// from being read does not keep new rules out as well.
		c.nextWhole = c.now().mono + c.reloadInterval(len(l.rules.records))
	}
	return err
}

// readChanges reads the documents that changed, and publishes a copy with them.
func (c *Cache) readChanges(ctx context.Context, f *flight, start instant) error {
	l := c.newLoad()
	whole, err := c.read(ctx, f, l, c.watermark(start))
	if err == nil {
		c.publish(ctx, l, whole)
	}
	return err
}

// read reads the documents of since and later, or all.
func (c *Cache) read(ctx context.Context, f *flight, l *load, since time.Time) (whole bool, err error) {
	x := c.index()
	l.over = false
	place := l.place
	k, err := c.ask(ctx, func(k *call) {
		k.whole, k.err = c.source.Read(ctx, since, place, func(d Document) {
			f.progress.Add(1)
			c.heard.Store(true)
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.over {
				return
			}
			l.place = cmp.Or(d.Place, l.place)
			l.take(&d, x)
		})
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.arrived = true, err == nil
	return err == nil && k.whole, err
}

// index returns the copy; an empty one until all was read once.
func (c *Cache) index() *Index {
	if s := c.current.Load(); s != nil {
		return s.index
	}
	return emptyIndex
}

// publish publishes a copy with what was read.
func (c *Cache) publish(ctx context.Context, l *load, whole bool) {
	first := c.current.Load() == nil
	x := l.merge(c.index(), whole)
	c.current.Store(&snapshot{x, l.start})
	for _, problem := range l.problems {
		c.o.Log.Warn("blocklist document skipped: it cannot be understood", "document", problem.Where, "problem", problem.Err.Error())
	}
	if x.leftOut > 0 && !c.leftOut {
		c.o.Log.Error("blocklist has too many rules of the kind agent; those written last are left out", "limit", MaxAgents, "left_out", x.leftOut)
	}
	c.leftOut = x.leftOut > 0
	c.lastStart = l.start
	if whole {
		now := c.now()
		c.lastCount = l.start
		c.nextWhole = l.start.mono + c.reloadInterval(len(l.rules.records))
		level := slog.LevelDebug
		if first {
			level = slog.LevelInfo
		}
		loaded := x.census(now.wall.UnixMicro())
		c.o.Log.Log(ctx, level, "blocklist loaded", "documents", loaded.documents, "rules", loaded.rules,
			"skipped", loaded.skipped, "seconds", (now.mono - l.start.mono).Seconds())
	}
	if x.large() {
		c.current.Store(&snapshot{x.rebased(l.now), l.start})
	}
}

// Stats are the state of a [Cache].
type Stats struct {
	Rules           int           // in use, those that begin later included
	Documents       int           // in the copy: rules, lifted and expired ones, and what was skipped
	Skipped         int           // documents that could not be understood, and agents over their limit
	Loading         bool          // the copy is not whole: Documents have arrived, and the others count for nothing
	Heard           bool          // while Loading: the source has sent something
	InTime          bool          // while Loading: it answers what is asked for single links long before Options.Wait
	Age             time.Duration // since the start of the last successful refresh; 0 if there was none
	RefreshFailures uint64        // since the cache was made
}

// Stats returns the state of the cache. It goes over all documents, which takes
// some 10 ms with a million.
func (c *Cache) Stats() Stats {
	if c == nil {
		return Stats{}
	}
	s := Stats{RefreshFailures: c.failed.Load()}
	now := c.now()
	current := c.current.Load()
	if current == nil {
		s.Loading, s.Documents, s.Heard, s.InTime = true, int(c.arrived.Load()), c.heard.Load(), c.inTime()
		return s
	}
	held := current.index.census(now.wall.UnixMicro())
	s.Rules, s.Documents, s.Skipped = held.rules, held.documents, held.skipped
	s.Age = max(now.since(current.refreshed), 0)
	return s
}

// Close ends the refresh in flight, waits for it, and closes the source, all
// within half a second. If the source does not return by then, that is an error,
// and the source is closed once it does. Index goes on to return the last copy.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	ended := make(chan error, 1)
	go func() {
		c.wg.Wait()
		if c.left != nil {
			<-c.left.returned
		}
		ended <- c.source.Close()
	}()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return errors.New("closing the blocklist: its refresh has not ended")
	}
}

package blocklist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnavailable means that the rules were never read.
var ErrUnavailable = errors.New("the blocklist has not been read")

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
	// up. While documents arrive it may take as long as it needs.
	patience = 10

	// lastWord is how long a call of the source may still take to return once
	// the refresh was given up: it may say what it waited for.
	lastWord = 100 * time.Millisecond

	// closeWait bounds Close.
	closeWait = 500 * time.Millisecond

	// Between failed refreshes the pause doubles from the first to the last.
	firstPause = time.Second
	lastPause  = time.Minute

	// progressEvery is after how many documents a load reports in the log.
	progressEvery = 20000

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
	quiet  int // seconds; see patience

	current atomic.Pointer[snapshot] // nil until all was read once
	flight  atomic.Pointer[flight]   // the refresh in flight
	due     atomic.Int64             // when the next refresh is due, as instant.mono
	failing atomic.Bool              // the last refresh failed
	failed  atomic.Uint64
	ready   chan struct{} // closed when the first refresh has ended

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // guards what follows, and that one refresh starts at a time
	closed bool
	wg     sync.WaitGroup

	// What follows belongs to the refresh in flight.
	store      *store
	documents  map[documentKey]handle
	index      *Index
	skipped    int
	leftOut    bool // agents were left out, and the log says so
	lastStart  instant
	lastCount  instant
	nextWhole  time.Duration // when all is read again, as instant.mono
	latest     int64         // the latest time, in Unix microseconds, by which rules were left out as expired
	failures   int           // in a row
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
	documents int
	skipped   int
}

// A flight is a refresh under way.
type flight struct {
	done     chan struct{}
	progress atomic.Uint64
	adopted  atomic.Int64 // when a request was last held for it, as instant.mono
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

	mu     sync.Mutex // guards what follows, and all that yield does
	behind bool       // left behind: what it still yields is not wanted
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
		quiet:     patience,
		ready:     make(chan struct{}),
		store:     new(store),
		documents: map[documentKey]handle{},
	}
	c.index = new(Index).apply(c.store, nil, 0)
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		case <-c.ctx.Done():
			return
		}
		if f := c.begin(false); f != nil {
			select {
			case <-f.done:
			case <-ctx.Done():
				return
			case <-c.ctx.Done():
				return
			}
		}
		timer.Reset(max(time.Duration(c.due.Load())-c.now().mono, time.Millisecond))
	}
}

// Ready is closed once the first load has ended, well or not.
func (c *Cache) Ready() <-chan struct{} {
	if c == nil {
		return closedChannel
	}
	return c.ready
}

var closedChannel = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// Index returns the rules for one request. If the copy is older than
// Options.MaxAge it is refreshed first, for which the request waits at most
// Options.Wait or until ctx ends, and not at all while refreshes fail. A copy
// that was read once is returned however old it is; if there is none the error
// is [ErrUnavailable].
func (c *Cache) Index(ctx context.Context) (*Index, error) {
	if c == nil {
		return nil, nil
	}
	s := c.current.Load()
	if s == nil || c.now().since(s.refreshed) > c.o.MaxAge {
		c.wait(ctx)
		s = c.current.Load()
	}
	if s == nil {
		return nil, ErrUnavailable
	}
	return s.index, nil
}

// wait refreshes the copy, within bounds.
func (c *Cache) wait(ctx context.Context) {
	if c.failing.Load() {
		c.begin(false)
		return
	}
	f := c.begin(true)
	if f == nil || c.o.Wait <= 0 {
		return
	}
	timer := time.NewTimer(c.o.Wait)
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
	now := c.now().mono
	f := c.flight.Load()
	if f == nil && int64(now) < c.due.Load() {
		return nil
	}
	if f == nil {
		if f = c.begin(false); f == nil {
			return nil
		}
	}
	adopted := f.adopted.Load()
	if int64(now)-adopted < int64(adoptEvery) || !f.adopted.CompareAndSwap(adopted, int64(now)) {
		return nil
	}
	return f.done
}

// begin starts a refresh if one is due, or if it must, and returns the one in
// flight.
func (c *Cache) begin(must bool) *flight {
	if f := c.flight.Load(); f != nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flight.Load(); f != nil || c.closed {
		return f
	}
	if !must && int64(c.now().mono) < c.due.Load() {
		return nil
	}
	f := &flight{done: make(chan struct{})}
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
	watch.Go(func() { f.watch(ctx, c.quiet, cancel) })
	start := c.now()
	err := c.refresh(ctx, f, start)
	if err != nil && context.Cause(ctx) == errQuiet {
		err = fmt.Errorf("nothing was heard for %d seconds: %w", c.quiet, err)
	}
	cancel(nil)
	watch.Wait()
	c.compact()

	now := c.now()
	if err == nil {
		c.due.Store(int64(start.mono + c.o.Refresh))
		if c.failing.Swap(false) {
			c.o.Log.Info("blocklist refreshed again", "failures", c.failures, "rules", c.index.Len())
		}
		c.failures = 0
	} else if c.ctx.Err() == nil {
		c.failed.Add(1)
		pause := lastPause
		if c.failures < 6 {
			pause = firstPause << c.failures
		}
		c.failures++
		c.due.Store(int64(now.mono + pause))
		if !c.failing.Swap(true) {
			c.logFailure(err, now)
		}
	}
	c.mu.Lock()
	c.flight.Store(nil)
	c.mu.Unlock()
	close(f.done)
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

// watch gives the refresh up when it makes no progress. It counts seconds one
// by one instead of looking at a clock, so that a process that was stopped for
// a while does not give up what it had no time for.
func (f *flight) watch(ctx context.Context, patience int, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	seen, quiet := uint64(0), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if p := f.progress.Load(); p != seen {
			seen, quiet = p, 0
		} else if quiet++; quiet >= patience {
			cancel(errQuiet)
			return
		}
	}
}

func (c *Cache) logFailure(err error, now instant) {
	if s := c.current.Load(); s != nil {
		c.o.Log.Error("blocklist cannot be refreshed; the last copy stays in use",
			"error", err, "rules", s.index.Len(), "age_seconds", int64(now.since(s.refreshed).Seconds()))
		return
	}
	c.o.Log.Error("blocklist cannot be read; no link is checked against it", "error", err)
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
	k.mu.Lock()
	k.behind = true
	k.mu.Unlock()
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
func (c *Cache) refresh(ctx context.Context, f *flight, start instant) error {
	if err := c.settle(); err != nil {
		return err
	}
	loaded := c.current.Load() != nil
	if !loaded || c.missed || start.since(c.lastStart) >= maxGap || start.mono >= c.nextWhole {
		return c.read(ctx, f, start, time.Time{})
	}
	if err := c.read(ctx, f, start, c.watermark(start)); err != nil {
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
		return c.read(ctx, f, c.now(), time.Time{})
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
		difference := k.n - c.sweep(now.UnixMicro())
		if difference == 0 || last != 0 && difference != last {
			return false, nil
		}
		if last == difference {
			return true, nil
		}
		last = difference
		if err := c.read(ctx, f, c.now(), c.watermark(start)); err != nil {
			return false, err
		}
	}
	return false, nil
}

// sweep takes expired rules out of the index and returns how many documents
// have not expired.
func (c *Cache) sweep(now int64) (living int) {
	var dead []change
	for _, h := range c.documents {
		if r := c.store.record(h); r.expires > now {
			living++
		} else if r.keyLength > 0 && !r.deleted {
			dead = append(dead, change{old: h})
		}
	}
	c.latest = max(c.latest, now)
	if len(dead) > 0 {
		c.index = c.index.apply(c.store, dead, now)
	}
	return living
}

// revive puts the rules back into the index that were left out as expired by a
// clock that was ahead and has been set back since.
func (c *Cache) revive(now int64) {
	if now < c.latest {
		var living []change
		for _, h := range c.documents {
			if r := c.store.record(h); r.indexed(now) && !r.indexed(c.latest) {
				living = append(living, change{h, h})
			}
		}
		c.index = c.index.apply(c.store, living, now)
	}
	c.latest = now
}

// read reads the documents of since and later, or all, and publishes a copy
// that holds them. If it fails the copy stays as it is.
func (c *Cache) read(ctx context.Context, f *flight, start instant, since time.Time) error {
	now := start.wall.UnixMicro()
	type staged struct {
		key documentKey
		new handle
	}
	var changes []staged
	var seen []uint64       // a bit for each rule that was there before, whose document did not change
	before := c.store.rules // those with higher handles are new
	n := 0
	take := func(d Document) {
		f.progress.Add(1)
		if n++; n%progressEvery == 0 && since.IsZero() {
			c.o.Log.Info("blocklist is loading", "documents", n)
		}
		key := keyOf(d.ID)
		r := newRule(d, now)
		old := c.documents[key]
		if old != 0 && c.store.rule(old).unchanged(r, now) {
			if seen == nil {
				seen = make([]uint64, before/64+1)
			}
			seen[old/64] |= 1 << (old % 64)
			return
		}
		if r.problem != "" {
			c.o.Log.Warn("blocklist document skipped: it cannot be understood", "document", d.where(), "problem", r.problem)
		}
		changes = append(changes, staged{key, c.store.add(&r)})
	}
	k, err := c.ask(ctx, func(k *call) {
		k.whole, k.err = c.source.Read(ctx, since, func(d Document) {
			k.mu.Lock()
			defer k.mu.Unlock()
			if !k.behind {
				take(d)
			}
		})
	})
	if err != nil {
		for _, s := range changes {
			c.store.drop(s.new)
		}
		if since.IsZero() {
			// Until the next try changes alone are read, so that what keeps
			// everything from being read does not keep new rules out as well.
			c.nextWhole = c.now().mono + c.reloadInterval(n)
		}
		return err
	}

	whole := k.whole
	c.revive(now)
	edits := make([]change, 0, len(changes))
	for _, s := range changes {
		// A source may yield a document twice; the last counts.
		old := c.documents[s.key]
		edits = append(edits, change{old, s.new})
		c.documents[s.key] = s.new
		c.skipped += c.problems(s.new) - c.problems(old)
	}
	if whole {
		for key, h := range c.documents {
			if int(h) <= before && (seen == nil || seen[h/64]&(1<<(h%64)) == 0) {
				edits = append(edits, change{old: h})
				delete(c.documents, key)
				c.skipped -= c.problems(h)
			}
		}
	}
	if len(edits) > 0 {
		c.index = c.index.apply(c.store, edits, now)
	}
	for _, edit := range edits {
		if edit.old != 0 {
			c.store.drop(edit.old)
		}
	}
	if whole {
		c.sweep(now)
	}
	leftOut := c.index.agentsLeftOut()
	if leftOut > 0 && !c.leftOut {
		c.o.Log.Error("blocklist has too many rules of the kind agent; those written last are left out", "limit", MaxAgents, "left_out", leftOut)
	}
	c.leftOut = leftOut > 0

	first := c.current.Swap(&snapshot{
		index:     c.index,
		refreshed: start,
		documents: len(c.documents),
		skipped:   c.skipped + leftOut,
	}) == nil
	c.lastStart = start
	if whole {
		c.missed = false
		c.lastCount = start
		c.nextWhole = start.mono + c.reloadInterval(n)
	}
	level := slog.LevelDebug
	if first {
		level = slog.LevelInfo
	}
	if whole {
		c.o.Log.Log(ctx, level, "blocklist loaded", "documents", len(c.documents), "rules", c.index.Len(),
			"skipped", c.skipped+leftOut, "seconds", (c.now().mono - start.mono).Seconds())
	}
	return nil
}

func (c *Cache) problems(h handle) int {
	if h == 0 || c.store.rule(h).problem == "" {
		return 0
	}
	return 1
}

// compact moves the copy into a store without garbage once most of it is that.
// Nothing else changes. The old store goes with its last reader.
func (c *Cache) compact() {
	if !c.store.wasteful() {
		return
	}
	start := c.now()
	old := c.index
	store, moved := c.store.compact(maps.Values(c.documents))
	for key, h := range c.documents {
		c.documents[key] = moved[h]
	}
	c.store, c.index = store, old.move(store, moved)
	if current := c.current.Load(); current != nil {
		s := *current
		if s.index == old {
			s.index = c.index
		} else { // the refresh failed after it had swept
			s.index = s.index.move(store, moved)
		}
		c.current.Store(&s)
	}
	c.o.Log.Debug("blocklist compacted", "documents", len(c.documents), "seconds", (c.now().mono - start.mono).Seconds())
}

// Stats are the state of a [Cache].
type Stats struct {
	Rules           int           // in use, those that begin later included
	Documents       int           // in the copy: rules, lifted and expired ones, and what was skipped
	Skipped         int           // documents that could not be understood, and agents over their limit
	Age             time.Duration // since the start of the last successful refresh; 0 if there was none
	RefreshFailures uint64        // since the cache was made
}

// Stats returns the state of the cache.
func (c *Cache) Stats() Stats {
	if c == nil {
		return Stats{}
	}
	s := Stats{RefreshFailures: c.failed.Load()}
	if current := c.current.Load(); current != nil {
		s.Rules = current.index.Len()
		s.Documents = current.documents
		s.Skipped = current.skipped
		s.Age = max(c.now().since(current.refreshed), 0)
	}
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

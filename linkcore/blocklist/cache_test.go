package blocklist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// A collection is a source in memory that counts what is read. It does what
// Firestore does, by the same rules, on the test's clock.
type collection struct {
	mu        sync.Mutex
	documents map[string]map[string]any
	reads     []string // "all N", "since DURATION-AGO N", "count N"
	err       error    // of every call
	fail      func(since time.Time) error
	hang      bool
	slow      time.Duration // a document
	cut       int           // after so many documents a Read of all breaks off; 0: it does not
	late      time.Duration // an answer to Get
	denied    bool          // Get is
	byID      bool          // it can be asked for documents
	gets      []int         // for how many it was asked
	closed    bool
}

func newCollection(t testing.TB, rules ...string) *collection {
	c := &collection{documents: map[string]map[string]any{}}
	for _, s := range rules {
		c.put(t, s)
	}
	return c
}

// put writes a rule now.
func (c *collection) put(t testing.TB, s string) {
	r := ruleOf(t, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	fields := map[string]any{"kind": string(r.Kind), "value": r.Value, "action": string(r.Action), "deleted": r.Deleted, "updated_at": time.Now().Round(0)}
	if r.Action == Redirect {
		fields["target"] = r.Target
	}
	if !r.ExpiresAt.IsZero() {
		fields["expires_at"] = r.ExpiresAt
	}
	if !r.StartsAt.IsZero() {
		fields["starts_at"] = r.StartsAt
	}
	id := r.ID
	if id == "" {
		id = r.DocumentID()
	}
	c.documents[id] = fields
}

// set writes any document.
func (c *collection) set(id string, fields map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.documents[id] = fields
}

func (c *collection) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.documents, id)
}

func (c *collection) setErr(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// log returns what was read since it was last called.
func (c *collection) log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.reads, ", ")
	c.reads = nil
	return s
}

func (c *collection) begin(ctx context.Context) error {
	c.mu.Lock()
	hang, err := c.hang, c.err
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (c *collection) Read(ctx context.Context, since time.Time, place string, yield func(Document)) (bool, error) {
	if err := c.begin(ctx); err != nil {
		return false, err
	}
	c.mu.Lock()
	ids := slices.Sorted(maps.Keys(c.documents))
	var documents []Document
	for _, id := range ids {
		at, _ := c.documents[id]["updated_at"].(time.Time)
		if since.IsZero() && id > place || !since.IsZero() && !at.IsZero() && !at.Before(since) {
			d := newDocument(id, c.documents[id])
			if since.IsZero() && c.byID {
				d.Place = id
			}
			documents = append(documents, d)
		}
	}
	if since.IsZero() {
		c.reads = append(c.reads, fmt.Sprintf("all %d", len(documents)))
	} else {
		c.reads = append(c.reads, fmt.Sprintf("%v %d", time.Since(since), len(documents)))
	}
	slow, fail, cut := c.slow, c.fail, c.cut
	c.mu.Unlock()
	for i, d := range documents {
		if cut > 0 && i == cut && since.IsZero() {
			return false, errors.New("broken off")
		}
		if slow > 0 {
			select {
			case <-time.After(slow):
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		yield(d)
	}
	if fail != nil {
		if err := fail(since); err != nil {
			return false, err
		}
	}
	return since.IsZero(), nil
}

func (c *collection) Get(ctx context.Context, ids []string) (documents []Document, err error) {
	if !c.byID {
		return nil, errors.ErrUnsupported
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	late := c.late
	c.mu.Unlock()
	select {
	case <-time.After(late):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied {
		return nil, errors.New("permission denied")
	}
	c.gets = append(c.gets, len(ids))
	for _, id := range ids {
		if fields, ok := c.documents[id]; ok {
			documents = append(documents, newDocument(id, fields))
		}
	}
	return documents, nil
}

func (c *collection) Count(ctx context.Context, now time.Time) (int, error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, fields := range c.documents {
		if at, ok := fields["expires_at"].(time.Time); !ok || at.After(now) {
			n++
		}
	}
	c.reads = append(c.reads, fmt.Sprintf("count %d", n))
	return n, nil
}

func (c *collection) Close() error {
	c.closed = true
	return nil
}

// A logBook is where a cache under test logs to.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// lines returns what was logged at that level since it was last asked.
func (l *logBook) lines(level slog.Level) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines, rest []string
	for line := range strings.Lines(l.b.String()) {
		var entry struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			panic(err)
		}
		if entry.Level == level.String() {
			lines = append(lines, entry.Msg)
		} else {
			rest = append(rest, line)
		}
	}
	l.b.Reset()
	l.b.WriteString(strings.Join(rest, ""))
	return lines
}

// atNoon sleeps until a time that rules of tests can name: they count from it.
func atNoon() {
	time.Sleep(time.Until(noon))
}

// optionsWith returns the default options, changed.
func optionsWith(change func(*Options)) Options {
	o := DefaultOptions()
	change(&o)
	return o
}

func startCache(t testing.TB, source Source, o Options) (*Cache, *logBook) {
	book := &logBook{}
	o.Log = book.logger()
	c := NewCache(source, o)
	t.Cleanup(func() { c.Close() })
	c.Start(t.Context())
	synctest.Wait()
	return c, book
}

func decide(t testing.TB, c *Cache, destination string) (Decision, bool) {
	return c.Decide(t.Context(), &Request{Link: &linkcore.Link{Destination: destination}, Now: time.Now()})
}

// blocked reports whether the cache blocks the destination.
func blocked(t testing.TB, c *Cache, destination string) bool {
	t.Helper()
	d, known := decide(t, c, destination)
	if !known {
		t.Fatal("the rules are not known")
	}
	return d.Action == Block
}

func wantBlocked(t testing.TB, c *Cache, host string, want bool) {
	t.Helper()
	if got := blocked(t, c, "https://"+host+"/"); got != want {
		t.Errorf("%s blocked: %v, want %v", host, got, want)
	}
}

func wantLog(t testing.TB, source *collection, want string) {
	t.Helper()
	if got := source.log(); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestCacheFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t, "host:a.example", "host:b.example")
		c, book := startCache(t, source, DefaultOptions())
		<-c.Ready()
		wantBlocked(t, c, "a.example", true)
		wantBlocked(t, c, "c.example", false)
		wantLog(t, source, "all 2")
		if got := book.lines(slog.LevelInfo); len(got) != 1 || got[0] != "blocklist loaded" {
			t.Errorf("logged %q", got)
		}

		// What was just read is read again until it is 45 s old: 30 s and a
		// refresh.
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantLog(t, source, "45s 2")
		time.Sleep(45 * time.Second)
		synctest.Wait()
		wantLog(t, source, "45s 2, 45s 2, 45s 0")

		source.put(t, "host:c.example")
		time.Sleep(14 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "c.example", false)
		time.Sleep(time.Second)
		synctest.Wait()
		wantBlocked(t, c, "c.example", true)
		wantBlocked(t, c, "a.example", true)

		// Lifted.
		source.put(t, "host:c.example lifted expires=24h")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "c.example", false)
		if s := c.Stats(); s.Rules != 2 || s.Documents != 3 || s.Age != 0 || s.Skipped != 0 || s.RefreshFailures != 0 {
			t.Errorf("stats %+v", s)
		}

		// A document that changes its value leaves its old place.
		source.put(t, "host:d.example id=hand")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		source.put(t, "host:e.example id=hand")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "d.example", false)
		wantBlocked(t, c, "e.example", true)
	})
}

// TestCacheReadsNothing is the promise that a large import is not read over and
// over.
func TestCacheReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t)
		c, _ := startCache(t, source, DefaultOptions())
		<-c.Ready()
		time.Sleep(20 * time.Second)
		for i := range 1000 {
			source.put(t, fmt.Sprintf("host:h%d.example", i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		wantBlocked(t, c, "h999.example", true)
		source.log()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantLog(t, source, strings.TrimSuffix(strings.Repeat("45s 0, ", 8), ", "))
	})
}

func TestCacheTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t, "host:a.example starts=1m expires=2m", "host:b.example expires=90s")
		c, _ := startCache(t, source, optionsWith(func(o *Options) { o.Refresh, o.MaxAge = time.Hour, 10*time.Hour }))
		<-c.Ready()
		for _, step := range []struct {
			at   time.Duration
			a, b bool
		}{
			{0, false, true}, {59 * time.Second, false, true}, {60 * time.Second, true, true},
			{89 * time.Second, true, true}, {90 * time.Second, true, false}, {119 * time.Second, true, false}, {120 * time.Second, false, false},
		} {
			time.Sleep(time.Until(noon.Add(step.at)))
			wantBlocked(t, c, "a.example", step.a)
			wantBlocked(t, c, "b.example", step.b)
		}
		wantLog(t, source, "all 2") // no refresh was needed for it

		if got := c.Stats().Rules; got != 0 {
			t.Errorf("%d rules, want 0", got)
		}
	})
}

func TestCacheReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t, "host:a.example", "host:b.example")
		c, _ := startCache(t, source, DefaultOptions())
		<-c.Ready()
		// Deleted and written by hand, without updated_at.
		source.remove(ruleOf(t, "host:a.example").DocumentID())
		source.set("hand", map[string]any{"kind": "host", "value": "C.example"})
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		wantBlocked(t, c, "a.example", true)
		wantBlocked(t, c, "c.example", false)
		source.log()
		time.Sleep(time.Second)
		synctest.Wait()
		wantLog(t, source, "all 2")
		wantBlocked(t, c, "a.example", false)
		wantBlocked(t, c, "b.example", true)
		wantBlocked(t, c, "c.example", true)
	})
}

// TestCacheReloadStretched checks that reloads cost two documents a second on
// average, and that a count finds out what a reload would have.
func TestCacheReloadStretched(t *testing.T) {
	testsize.Medium(t)
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t)
		for i := range 2400 { // 20 minutes
			source.put(t, fmt.Sprintf("host:h%d.example", i))
		}
		c, book := startCache(t, source, DefaultOptions())
		<-c.Ready()
		book.lines(slog.LevelInfo)
		whole := func() (n int) {
			for s := range strings.SplitSeq(source.log(), ", ") {
				if strings.HasPrefix(s, "all") {
					n++
				}
			}
			return n
		}
		whole()
		time.Sleep(20*time.Minute - time.Second)
		synctest.Wait()
		if n := whole(); n != 0 {
			t.Errorf("%d reloads in 20 minutes, want 0", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := whole(); n != 1 {
			t.Errorf("%d reloads after 20 minutes, want 1", n)
		}

		// A count each 10 minutes; one that differs reloads.
		source.remove(ruleOf(t, "host:h7.example").DocumentID())
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		wantBlocked(t, c, "h7.example", true)
		source.log()
		time.Sleep(time.Second)
		synctest.Wait()
		wantLog(t, source, "45s 0, count 2399, 30s 0, count 2399, all 2399")
		wantBlocked(t, c, "h7.example", false)
		if got := book.lines(slog.LevelInfo); len(got) != 1 || !strings.Contains(got[0], "without updated_at") {
			t.Errorf("logged %q", got)
		}

		// Documents that expired may go at any time, and cost no reload.
		for i := range 100 {
			source.put(t, fmt.Sprintf("host:t%d.example expires=45m", i))
		}
		time.Sleep(5 * time.Minute)
		for i := range 100 {
			source.put(t, fmt.Sprintf("host:t%d.example expires=35m", i))
		}
		time.Sleep(5 * time.Minute) // they have expired
		for i := range 50 {
			source.remove(ruleOf(t, fmt.Sprintf("host:t%d.example", i)).DocumentID())
		}
		source.log()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := source.log(); strings.Contains(got, "all") {
			t.Errorf("read %q", got)
		}
	})
}

// TestCacheCountsAll checks that lifted documents and those that nobody
// understands are counted, so that they start no reload.
func TestCacheCountsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t, "host:a.example", "host:b.example lifted expires=24h", "host:c.example starts=24h", "host:d.example expires=-1h")
		source.set("odd", map[string]any{"color": "red"})
		source.set("odd too", map[string]any{"kind": "host", "value": 7, "expires_at": noon.Add(-time.Hour)})
		source.set("odd as well", map[string]any{"kind": "host", "value": "x.example", "expires_at": "tomorrow"})
		source.set("lifted and odd", map[string]any{"deleted": true})
		c, book := startCache(t, source, optionsWith(func(o *Options) { o.Reload = 20 * time.Minute }))
		<-c.Ready()
		source.log()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := source.log(); strings.Contains(got, "all") || !strings.Contains(got, "count") {
			t.Errorf("read %q", got)
		}
		if s := c.Stats(); s.Skipped != 3 || s.Documents != 8 || s.Rules != 2 {
			t.Errorf("stats %+v", s)
		}
		if got := book.lines(slog.LevelWarn); len(got) != 3 {
			t.Errorf("logged %q", got)
		}
	})
}

// TestCacheCountsWhileWriting checks that documents written between the refresh
// and the count are not taken for a difference.
func TestCacheCountsWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t)
		n := 0
		busy := &busyCollection{collection: source, before: func() {
			for range 3 + n%5 {
				source.put(t, fmt.Sprintf("host:n%d.example", n))
				n++
			}
		}}
		c, _ := startCache(t, busy, optionsWith(func(o *Options) { o.Reload = 20 * time.Minute }))
		<-c.Ready()
		source.log()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := source.log(); strings.Contains(got, "all") || strings.Count(got, "count") != 2 {
			t.Errorf("read %q", got)
		}
	})
}

type busyCollection struct {
	*collection
	before func()
}

func (b *busyCollection) Count(ctx context.Context, now time.Time) (int, error) {
	b.before()
	return b.collection.Count(ctx, now)
}

func TestCacheCountFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		c, book := startCache(t, &uncountable{source}, optionsWith(func(o *Options) { o.Refresh, o.Reload = time.Minute, 2*time.Hour }))
		<-c.Ready()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := book.lines(slog.LevelWarn); len(got) != 1 {
			t.Errorf("logged %q", got)
		}
		if s := c.Stats(); s.RefreshFailures != 0 || s.Age > time.Minute {
			t.Errorf("stats %+v", s)
		}
	})
}

type uncountable struct{ *collection }

func (*uncountable) Count(context.Context, time.Time) (int, error) {
	return 0, errors.New("no index")
}

func TestCacheSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t, "host:a.example")
		source.set("odd", map[string]any{"kind": "host", "value": "", "updated_at": noon})
		c, book := startCache(t, source, DefaultOptions())
		<-c.Ready()
		wantBlocked(t, c, "a.example", true)
		time.Sleep(30 * time.Minute) // refreshes and reloads
		synctest.Wait()
		if got := book.lines(slog.LevelWarn); len(got) != 1 || c.Stats().Skipped != 1 {
			t.Errorf("logged %q, %d skipped; want one each", got, c.Stats().Skipped)
		}
		// It is put right, and broken again.
		source.set("odd", map[string]any{"kind": "host", "value": "b.example", "updated_at": time.Now()})
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "b.example", true)
		if got := book.lines(slog.LevelWarn); len(got) != 0 || c.Stats().Skipped != 0 {
			t.Errorf("logged %q, %d skipped; want none", got, c.Stats().Skipped)
		}
		source.set("odd", map[string]any{"kind": "hosts", "value": "b.example", "updated_at": time.Now()})
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "b.example", false)
		if got := book.lines(slog.LevelWarn); len(got) != 1 || c.Stats().Skipped != 1 {
			t.Errorf("logged %q, %d skipped; want one each", got, c.Stats().Skipped)
		}
		source.remove("odd")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := c.Stats().Skipped; got != 0 {
			t.Errorf("%d skipped, want none", got)
		}
	})
}

// TestCacheFuture checks that a date ahead wins nothing.
func TestCacheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t)
		source.set("a", map[string]any{"kind": "host", "value": "x.example", "action": "redirect", "target": "https://a.example/", "updated_at": noon.Add(100 * time.Hour)})
		c, _ := startCache(t, source, DefaultOptions())
		<-c.Ready()
		target := func() string {
			d, _ := decide(t, c, "https://x.example/")
			return d.Target
		}
		if got := target(); got != "https://a.example/" {
			t.Errorf("target %q", got)
		}
		before := c.current.Load().index.delta
		time.Sleep(time.Minute)
		source.set("b", map[string]any{"kind": "host", "value": "x.example", "action": "redirect", "target": "https://b.example/", "updated_at": time.Now()})
		if c.current.Load().index.delta != before {
			t.Error("a document that lies ahead changes the index at every refresh")
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := target(); got != "https://b.example/" {
			t.Errorf("target %q, want that of the later write", got)
		}
	})
}

func TestCacheFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		c, book := startCache(t, source, DefaultOptions())
		<-c.Ready()
		book.lines(slog.LevelInfo)
		source.setErr(errors.New("down"))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := c.Stats().RefreshFailures; got != 1 {
			t.Errorf("%d failures, want 1", got)
		}
		// 1, 2, 4, 8, 16, 32 s, then each minute.
		time.Sleep(63 * time.Second)
		synctest.Wait()
		if got := c.Stats().RefreshFailures; got != 7 {
			t.Errorf("%d failures, want 7", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := c.Stats().RefreshFailures; got != 17 {
			t.Errorf("%d failures, want 17", got)
		}
		// The copy is older than MaxAge now, and stays in use without waiting.
		start := time.Now()
		wantBlocked(t, c, "a.example", true)
		if d := time.Since(start); d != 0 {
			t.Errorf("a request waited %v while refreshes fail", d)
		}
		if got := c.Stats().Age; got < 11*time.Minute {
			t.Errorf("age %v", got)
		}
		if got := book.lines(slog.LevelError); len(got) != 1 || !strings.Contains(got[0], "stays in use") {
			t.Errorf("logged %q, want one line", got)
		}
		source.put(t, "host:b.example")
		source.setErr(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantBlocked(t, c, "b.example", true)
		if got := book.lines(slog.LevelInfo); len(got) != 1 || got[0] != "blocklist refreshed again" {
			t.Errorf("logged %q, want one line", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := slices.Concat(book.lines(slog.LevelInfo), book.lines(slog.LevelError)); len(got) != 0 || c.Stats().RefreshFailures != 17 {
			t.Errorf("logged %q, %d failures", got, c.Stats().RefreshFailures)
		}
		// The next outage begins with short pauses again, and is told.
		source.setErr(errors.New("down again"))
		time.Sleep(DefaultOptions().Refresh + 3*time.Second)
		synctest.Wait()
		if got := c.Stats().RefreshFailures; got != 20 {
			t.Errorf("%d failures, want 20: one, after 1 s another, after 2 s a third", got)
		}
		if got := book.lines(slog.LevelError); len(got) != 1 {
			t.Errorf("logged %q, want one line", got)
		}
	})
}

// TestCacheReloadFails checks that what keeps everything from being read does
// not keep changes out.
func TestCacheReloadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		c, _ := startCache(t, source, DefaultOptions())
		<-c.Ready()
		source.mu.Lock()
		source.fail = func(since time.Time) error {
			if since.IsZero() {
				return errors.New("quota")
			}
			return nil
		}
		source.mu.Unlock()
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		source.put(t, "host:b.example")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "a.example", true)
		wantBlocked(t, c, "b.example", true)
		if got := c.Stats().RefreshFailures; got != 1 {
			t.Errorf("%d failures, want 1", got)
		}
		source.mu.Lock()
		source.fail = nil
		source.mu.Unlock()
		source.log()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := source.log(); strings.Count(got, "all") != 1 {
			t.Errorf("read %q, want one reload", got)
		}
	})
}

func TestCacheNeverRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		source.setErr(errors.New("down"))
		c, book := startCache(t, source, DefaultOptions())
		if _, known := decide(t, c, "https://a.example/"); known {
			t.Error("what was never read is known")
		}
		if got := book.lines(slog.LevelError); len(got) != 1 || !strings.Contains(got[0], "cannot be read") {
			t.Errorf("logged %q, want one line", got)
		}
		source.setErr(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		wantBlocked(t, c, "a.example", true)
	})
}

func TestCacheHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		source.hang = true
		c, book := startCache(t, source, DefaultOptions())

		// While the first load is under way a request waits, but not longer
		// than it should.
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		for _, want := range []struct {
			ctx  context.Context
			wait time.Duration
		}{{ctx, time.Millisecond}, {t.Context(), DefaultOptions().Wait}, {t.Context(), DefaultOptions().Wait}} {
			// All wait for the same load, and nobody once that has taken too long.
			if _, known := c.Decide(want.ctx, request()); known || time.Since(start) != want.wait {
				t.Errorf("known %v after %v, want %v", known, time.Since(start), want.wait)
			}
		}
		// It is given up, and nobody waits any more.
		time.Sleep(patience * time.Second)
		synctest.Wait()
		if got := book.lines(slog.LevelError); len(got) != 1 {
			t.Errorf("logged %q, want one line", got)
		}
		time.Sleep(2 * time.Second) // the next try hangs
		start = time.Now()
		if _, known := c.Decide(t.Context(), request()); known || time.Since(start) != 0 {
			t.Errorf("known %v after %v", known, time.Since(start))
		}
		source.mu.Lock()
		source.hang = false
		source.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		wantBlocked(t, c, "a.example", true)
	})
}

// TestCacheSlow checks that a load may take as long as it needs while
// documents arrive.
func TestCacheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t)
		for i := range 100 {
			source.put(t, fmt.Sprintf("host:h%d.example", i))
		}
		source.slow = 9 * time.Second
		c, _ := startCache(t, source, DefaultOptions())
		start := time.Now()
		<-c.Ready()
		if d := time.Since(start); d != 900*time.Second {
			t.Errorf("loaded in %v", d)
		}
		wantBlocked(t, c, "h99.example", true)
		if got := c.Stats().RefreshFailures; got != 0 {
			t.Errorf("%d failures", got)
		}
	})
}

func TestCacheProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example", "host:b.example", "host:c.example")
		source.slow = 7 * time.Second
		c, book := startCache(t, source, DefaultOptions())
		time.Sleep(3 * time.Second)
		for _, want := range []int{0, 1, 2} {
			if s := c.Stats(); !s.Loading || s.Documents != want || s.Rules != 0 || s.Age != 0 {
				t.Errorf("stats %+v, want %d documents", s, want)
			}
			time.Sleep(7 * time.Second)
		}
		<-c.Ready()
		want := []string{"blocklist is loading", "blocklist is loading", "blocklist loaded"}
		if got := book.lines(slog.LevelInfo); !slices.Equal(got, want) {
			t.Errorf("logged %q", got)
		}
		if s := c.Stats(); s.Loading || s.Documents != 3 || s.Rules != 3 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestCacheIdle is an instance that was not running between requests: no ticker
// refreshes the copy.
func TestCacheIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		book := &logBook{}
		c := NewCache(source, optionsWith(func(o *Options) { o.Log = book.logger() }))
		defer c.Close()
		wantBlocked(t, c, "a.example", true) // the first request reads
		wantLog(t, source, "all 1")

		time.Sleep(DefaultOptions().MaxAge)
		source.put(t, "host:b.example")
		wantBlocked(t, c, "b.example", false) // not too old
		if ch := c.RefreshIfDue(); ch == nil {
			t.Error("no refresh though one was due")
		} else {
			<-ch
		}
		wantBlocked(t, c, "b.example", true)
		source.log()

		time.Sleep(DefaultOptions().MaxAge + 1)
		source.put(t, "host:c.example")
		wantBlocked(t, c, "c.example", true) // too old: the request waits
		source.mu.Lock()
		source.hang = true
		source.mu.Unlock()
		time.Sleep(DefaultOptions().MaxAge + 1)
		start := time.Now()
		wantBlocked(t, c, "c.example", true)
		if d := time.Since(start); d != DefaultOptions().Wait {
			t.Errorf("a request waited %v, want %v", d, DefaultOptions().Wait)
		}
		source.mu.Lock()
		source.hang = false
		source.mu.Unlock()
		time.Sleep(time.Minute)
		source.log()

		// Lifted rules vanish after a day, so after 12 hours all is read.
		c.RefreshIfDue()
		synctest.Wait()
		c.nextWhole += 1000 * time.Hour
		time.Sleep(11 * time.Hour)
		source.log()
		<-c.RefreshIfDue()
		if got := source.log(); strings.Contains(got, "all") {
			t.Errorf("read %q after 11 hours", got)
		}
		time.Sleep(12 * time.Hour)
		<-c.RefreshIfDue()
		wantLog(t, source, "all 3")
	})
}

// TestOptions: each option means what it says, and so does its zero.
func TestOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t)
		source.hang = true
		for _, wait := range []time.Duration{0, DefaultOptions().Wait, time.Second} {
			c := NewCache(source, optionsWith(func(o *Options) { o.Wait = wait }))
			start := time.Now()
			c.Decide(t.Context(), request())
			if d := time.Since(start); d != wait {
				t.Errorf("wait %v: waited %v", wait, d)
			}
			c.Close()
		}
		source.hang = false
		for _, tt := range []struct {
			name string
			zero func(*Options)
			want string // what is read a second after the first load
		}{
			{"defaults", func(*Options) {}, ""},
			{"refresh", func(o *Options) { o.Refresh = 0 }, "31s 0"},
			{"refresh and reload", func(o *Options) { o.Refresh, o.Reload = 0, 0 }, "all 0"},
			{"max age", func(o *Options) { o.MaxAge = 0 }, "31s 0"},
		} {
			c := NewCache(source, optionsWith(tt.zero))
			<-c.RefreshIfDue()
			source.log()
			time.Sleep(time.Second)
			if refreshed := c.RefreshIfDue(); refreshed != nil {
				<-refreshed
			} else if _, known := c.Decide(t.Context(), request()); !known {
				t.Error("the rules are not known")
			}
			if got := source.log(); got != tt.want {
				t.Errorf("%s: read %q, want %q", tt.name, got, tt.want)
			}
			c.Close()
		}
	})
}

func TestRefreshIfDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t)
		source.put(t, "host:a.example")
		source.slow = 8 * time.Second
		c := NewCache(source, DefaultOptions())
		first := c.RefreshIfDue()
		if first == nil {
			t.Fatal("no refresh")
		}
		if c.RefreshIfDue() != nil {
			t.Error("a second request is held for the same refresh at once")
		}
		time.Sleep(5 * time.Second)
		if got := c.RefreshIfDue(); got != first {
			t.Error("nobody is held for a refresh that takes long")
		}
		<-first
		if c.RefreshIfDue() != nil {
			t.Error("a refresh before one is due")
		}
		time.Sleep(15*time.Second - 8*time.Second)
		if ch := c.RefreshIfDue(); ch == nil {
			t.Error("no refresh though one is due")
		} else {
			<-ch
		}
		wantLog(t, source, "all 1, 45s 1")
		c.Close()
		if !source.closed {
			t.Error("the source is open")
		}
		time.Sleep(DefaultOptions().MaxAge + 1) // one would be due, and a request would wait for it
		if c.RefreshIfDue() != nil {
			t.Error("a refresh after Close")
		}
		wantBlocked(t, c, "a.example", true)
		wantLog(t, source, "")
	})
}

func TestOneRefreshInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t, "host:a.example")
		source.slow = 100 * time.Millisecond
		c, _ := startCache(t, source, DefaultOptions())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				wantBlocked(t, c, "a.example", true)
				c.RefreshIfDue()
			})
		}
		wg.Wait()
		wantLog(t, source, "all 1")
	})
}

// shiftedCache returns a cache whose wall clock is off by what it returns as
// well, while the other clock is right.
func shiftedCache(t testing.TB, source Source) (*Cache, *atomic.Int64) {
	c := NewCache(source, DefaultOptions())
	t.Cleanup(func() { c.Close() })
	right, shift := c.now, new(atomic.Int64)
	c.now = func() instant {
		i := right()
		i.wall = i.wall.Add(time.Duration(shift.Load()))
		return i
	}
	return c, shift
}

// TestClockJumps sets the wall clock while the other goes on.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-48 * time.Hour, -10 * time.Minute, 10 * time.Minute, 48 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			atNoon()
			source := newCollection(t, "host:a.example")
			c, shift := shiftedCache(t, source)
			for _, by := range []time.Duration{0, jump, 0} {
				shift.Store(int64(by))
				for i := range 4 {
					host := fmt.Sprintf("h%d-%d.example", int64(by), i)
					source.put(t, "host:"+host)
					time.Sleep(15 * time.Second)
					if ch := c.RefreshIfDue(); ch != nil {
						<-ch
					}
					if c.now().since(c.lastStart) > 0 {
						t.Errorf("jump %v: no refresh", jump)
					}
					if by == 0 || i == 0 {
						// While the clock is wrong for long, changes may wait for
						// a reload.
						wantBlocked(t, c, host, true)
					}
				}
			}
		})
	}
}

// A rule that expires while the clock is ahead holds again once it is set back,
// with the next refresh and although its document is not read again.
func TestClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t)
		r := ruleOf(t, "host:ends.example")
		source.set(r.DocumentID(), map[string]any{"kind": "host", "value": "ends.example", "updated_at": time.Now().Round(0), "expires_at": time.Now().Round(0).Add(24 * time.Hour)})
		c, shift := shiftedCache(t, source)
		for _, s := range []struct {
			shift   time.Duration
			blocked bool
		}{{0, true}, {48 * time.Hour, false}, {0, true}, {72 * time.Hour, false}, {72 * time.Hour, false}, {-72 * time.Hour, true}, {0, true}} {
			shift.Store(int64(s.shift))
			for range 50 { // long enough for reloads
				time.Sleep(15 * time.Second)
				if ch := c.RefreshIfDue(); ch != nil {
					<-ch
				}
			}
			want := 0
			if s.blocked {
				want = 1
			}
			if got := c.Stats().Rules; got != want {
				t.Errorf("the clock %v ahead: %d rules, want %d", s.shift, got, want)
			}
		}
	})
}

// What is written after a clock that was ahead has been set right is seen with
// the next refresh, though the last one started later by that clock.
func TestClockIsCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t)
		c, shift := shiftedCache(t, source)
		shift.Store(int64(time.Hour))
		wantBlocked(t, c, "new.example", false)
		shift.Store(int64(0))
		source.put(t, "host:new.example")
		time.Sleep(DefaultOptions().Refresh)
		<-c.RefreshIfDue()
		if got := c.Stats().Rules; got != 1 {
			t.Errorf("%d rules, want 1", got)
		}
	})
}

// A gap in which lifted rules may have vanished is seen by either clock alone.
func TestGapByOneClock(t *testing.T) {
	for _, tt := range []struct {
		name         string
		shift, sleep time.Duration
	}{
		{"the machine slept, and the clock that does not jump stood still", maxGap, DefaultOptions().Refresh},
		{"the wall clock was set back meanwhile", -maxGap, maxGap},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				atNoon()
				source := newCollection(t, "host:a.example")
				c, shift := shiftedCache(t, source)
				wantBlocked(t, c, "a.example", true)
				c.nextWhole = 1000 * time.Hour // so that no reload is due anyway
				source.log()
				shift.Store(int64(tt.shift))
				time.Sleep(tt.sleep)
				<-c.RefreshIfDue()
				wantLog(t, source, "all 1")
			})
		})
	}
}

func TestNilCache(t *testing.T) {
	c := NewCache(nil, DefaultOptions())
	c.Start(t.Context())
	<-c.Ready()
	if d, known := c.Decide(t.Context(), request()); d != (Decision{}) || !known {
		t.Errorf("decided %+v, known %v", d, known)
	}
	if c.RefreshIfDue() != nil || c.Stats() != (Stats{}) || c.Close() != nil {
		t.Error("a nil cache does something")
	}
}

func TestCloseWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t)
		source.hang = true
		c, book := startCache(t, source, DefaultOptions())
		start := time.Now()
		if err := c.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		if got := book.lines(slog.LevelError); len(got) != 0 || c.Stats().RefreshFailures != 0 {
			t.Errorf("logged %q", got)
		}
	})
}

// A stuckSource is a collection whose calls of one method return once they are
// let, whatever becomes of their context. It counts how many are at work at
// once.
type stuckSource struct {
	*collection
	method string
	file   bool // it yields all, and only if that is more than at the last Read

	mu     sync.Mutex
	let    chan struct{} // nil: they return
	calls  int           // of that method
	atWork int           // of any
	most   int
	seen   int // documents at the last Read
}

// stick keeps calls from returning, until what it returns is called.
func (s *stuckSource) stick() (release func()) {
	let := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.let, s.calls = let, 0
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.let = nil
		s.mu.Unlock()
		close(let)
	})
}

func (s *stuckSource) begin(method string) (end func()) {
	s.mu.Lock()
	s.atWork++
	s.most = max(s.most, s.atWork)
	var let chan struct{}
	if method == s.method {
		s.calls++
		let = s.let
	}
	s.mu.Unlock()
	if let != nil {
		<-let
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.atWork--
	}
}

func (s *stuckSource) Read(ctx context.Context, since time.Time, place string, yield func(Document)) (bool, error) {
	defer s.begin("Read")()
	ctx = context.WithoutCancel(ctx)
	if !s.file {
		return s.collection.Read(ctx, since, place, yield)
	}
	s.collection.mu.Lock()
	n := len(s.documents)
	s.collection.mu.Unlock()
	if !since.IsZero() && n == s.seen {
		return false, nil
	}
	s.seen = n
	return s.collection.Read(ctx, time.Time{}, "", yield)
}

func (s *stuckSource) Count(ctx context.Context, now time.Time) (int, error) {
	if s.method != "Count" {
		return 0, errors.ErrUnsupported // as of a file
	}
	defer s.begin("Count")()
	return s.collection.Count(context.WithoutCancel(ctx), now)
}

// TestCacheDoesNotReturn has calls that their context does not end.
func TestCacheDoesNotReturn(t *testing.T) {
	for _, method := range []string{"Read", "Count"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &stuckSource{collection: newCollection(t, "host:a.example"), method: method, file: true}
				c, book := startCache(t, source, optionsWith(func(o *Options) { o.Reload = 24 * time.Hour }))
				<-c.Ready()
				book.lines(slog.LevelInfo)
				release := source.stick()
				defer release()
				for stuck := false; !stuck; { // of counts there is one in 10 minutes
					time.Sleep(time.Second)
					synctest.Wait()
					source.mu.Lock()
					stuck = source.calls > 0
					source.mu.Unlock()
				}
				time.Sleep(patience*time.Second + lastWord)
				synctest.Wait()
				if got := c.Stats().RefreshFailures; got != 1 {
					t.Errorf("%d failures after %d seconds, want 1", got, patience)
				}
				if text := book.b.String(); !strings.Contains(text, "nothing was heard for 10 seconds: the source does not return") {
					t.Errorf("logged %s", text)
				}
				if got := book.lines(slog.LevelError); len(got) != 1 || !strings.Contains(got[0], "stays in use") {
					t.Errorf("logged %q, want one line", got)
				}

				// Written while nobody can see it.
				source.put(t, "host:b.example")
				time.Sleep(10 * time.Minute)
				start := time.Now()
				wantBlocked(t, c, "a.example", true)
				wantBlocked(t, c, "b.example", false)
				if d := time.Since(start); d != 0 || c.Stats().Age < DefaultOptions().MaxAge {
					t.Errorf("with a copy %v old requests waited %v", c.Stats().Age, d)
				}
				// After 1, 2, 4, 8, 16, 32 and then each 60 s.
				if got := c.Stats().RefreshFailures; got != 15 {
					t.Errorf("%d failures, want 15", got)
				}
				start = time.Now()
				<-c.begin(true).done
				if d := time.Since(start); d != 0 {
					t.Errorf("a request was held for %v", d)
				}
				if got := book.lines(slog.LevelError); len(got) != 0 || source.calls != 1 {
					t.Errorf("logged %q, %d calls; want no line and one call", got, source.calls)
				}

				// Whatever the call does now, the next refresh finds out all.
				before := c.current.Load()
				release()
				synctest.Wait()
				if c.current.Load() != before {
					t.Error("a call that was left behind changes the copy")
				}
				time.Sleep(lastPause)
				synctest.Wait()
				wantBlocked(t, c, "a.example", true)
				wantBlocked(t, c, "b.example", true)
				if got := book.lines(slog.LevelInfo); !slices.Contains(got, "blocklist refreshed again") || c.failing.Load() {
					t.Errorf("logged %q", got)
				}
				source.log()
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := source.log(); strings.Contains(got, "all") {
					t.Errorf("read %q though nothing changed", got)
				}
				if source.most != 1 {
					t.Errorf("%d calls at once", source.most)
				}
			})
		})
	}
}

// TestLeftCallCostsNoReload checks that a source that is asked for changes, such
// as Firestore, is not read whole after such a call.
func TestLeftCallCostsNoReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &stuckSource{collection: newCollection(t, "host:a.example"), method: "Read"}
		c, _ := startCache(t, source, optionsWith(func(o *Options) { o.Reload = 24 * time.Hour }))
		<-c.Ready()
		release := source.stick()
		defer release()
		time.Sleep(time.Minute)
		source.put(t, "host:b.example")
		release()
		time.Sleep(2 * lastPause)
		synctest.Wait()
		wantBlocked(t, c, "b.example", true)
		if got := source.log(); strings.Count(got, "all") != 1 {
			t.Errorf("read %q, want all of it only at the start", got)
		}
	})
}

func TestCloseWhileStuck(t *testing.T) {
	for _, given := range []struct {
		name string
		up   bool
	}{{"in flight", false}, {"given up", true}} {
		t.Run(given.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &stuckSource{collection: newCollection(t), method: "Read"}
				release := source.stick()
				defer release()
				c, book := startCache(t, source, DefaultOptions())
				if given.up {
					time.Sleep(patience*time.Second + lastWord)
					synctest.Wait()
					book.lines(slog.LevelError)
				}
				start := time.Now()
				if err := c.Close(); err == nil || time.Since(start) != closeWait {
					t.Errorf("Close: %v after %v, want an error after %v", err, time.Since(start), closeWait)
				}
				if source.closed {
					t.Error("the source was closed while it is read")
				}
				if got := book.lines(slog.LevelError); len(got) != 0 {
					t.Errorf("logged %q", got)
				}
				release()
				synctest.Wait()
				if !source.closed {
					t.Error("the source is open")
				}
			})
		})
	}
}

// endless yields n documents without holding them.
type endless struct{ n int }

func (e endless) Read(ctx context.Context, since time.Time, place string, yield func(Document)) (bool, error) {
	for i, r := range many(e.n) {
		fields := map[string]any{"kind": string(r.Kind), "value": r.Value, "action": string(r.Action), "updated_at": noon}
		if r.Action == Redirect {
			fields["target"] = r.Target
		}
		if i%100 == 0 {
			fields["expires_at"] = noon.Add(100 * 365 * 24 * time.Hour)
		}
		yield(newDocument(r.DocumentID(), fields))
	}
	return true, nil
}
func (endless) Get(context.Context, []string) ([]Document, error) { return nil, errors.ErrUnsupported }
func (endless) Count(context.Context, time.Time) (int, error)     { return 0, errors.ErrUnsupported }
func (endless) Close() error                                      { return nil }

// loaded returns a cache of n rules, the bytes that it takes, and those of them that
// its rules' kinds, values and targets are.
func loaded(t testing.TB, n int) (c *Cache, used, own int) {
	before := heap()
	c = NewCache(endless{n}, DefaultOptions())
	t.Cleanup(func() { c.Close() })
	<-c.RefreshIfDue()
	if got := c.Stats().Rules; got != n {
		t.Fatalf("%d rules", got)
	}
	used = int(heap() - before)
	x := c.index()
	for r := range x.records {
		own += int(r.keyLength) + len(x.base.details(r).target)
	}
	return c, used, own
}

// TestMemory holds the copy, with all that a refresh needs, below 100 bytes a rule
// besides its kind, value and target.
func TestMemory(t *testing.T) {
	testsize.Large(t)
	const n = 100_000
	_, used, own := loaded(t, n)
	t.Logf("%d rules take %.1f MiB, %d bytes each, of which %d are their own", n, float64(used)/(1<<20), used/n, own/n)
	if used-own > 100*n {
		t.Errorf("a rule takes %d bytes besides its own", (used-own)/n)
	}
}

// TestCollector: what the garbage collector has to look at does not grow with the
// rules.
func TestCollector(t *testing.T) {
	scanned := func() int {
		runtime.GC()
		sample := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	grown := func(n int) int {
		before := scanned()
		loaded(t, n)
		return scanned() - before
	}
	const n = 50_000
	if few, more := grown(100), grown(n); more-few > n {
		t.Errorf("%d more rules give the collector %d more bytes to look at", n, more-few)
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			var used, own int
			for b.Loop() {
				_, used, own = loaded(b, n)
			}
			b.ReportMetric(float64(used)/float64(n), "heap-B/rule")
			b.ReportMetric(float64(own)/float64(n), "own-B/rule")
		})
	}
}

// BenchmarkCollect measures a cycle of the garbage collector beside n rules.
func BenchmarkCollect(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			c, _, _ := loaded(b, n)
			for b.Loop() {
				runtime.GC()
			}
			runtime.KeepAlive(c)
		})
	}
}

func BenchmarkCacheDecide(b *testing.B) {
	c := NewCache(endless{1000}, DefaultOptions())
	defer c.Close()
	<-c.RefreshIfDue()
	b.ReportAllocs()
	r := request()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			c.Decide(b.Context(), r)
		}
	})
}

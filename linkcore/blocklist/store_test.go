package blocklist

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// TestRecord checks what makes the rules invisible to the garbage collector.
func TestRecord(t *testing.T) {
	r := reflect.TypeFor[record]()
	if r.Size() != recordSize {
		t.Errorf("a record has %d bytes, want %d", r.Size(), recordSize)
	}
	for i := range r.NumField() {
		switch f := r.Field(i); f.Type.Kind() {
		case reflect.Int64, reflect.Uint32, reflect.Uint8, reflect.Bool:
		default:
			t.Errorf("field %s is of type %s, which may hold a pointer", f.Name, f.Type)
		}
	}
}

func TestStore(t *testing.T) {
	rules := []rule{
		{details: noDetails},
		{key: "host:a.example", details: noDetails, expires: math.MaxInt64, updated: math.MinInt64, kind: kindHost},
		{key: "agent:b", details: details{starts: 7, target: "https://b.example/", id: "b", problem: "none"}, expires: -1, updated: 1, kind: kindAgent, action: actionUntracked, deleted: true},
		{key: "link:a/b", details: details{}},
		{details: details{starts: math.MinInt64, problem: "odd"}},
		{key: "url:" + strings.Repeat("u", maxURL), details: details{target: strings.Repeat("t", maxURL)}, kind: kindURL, action: actionRedirect},
		// A lifted document may hold a value of any length.
		{key: "url:" + strings.Repeat("long", leastTextChunk/4+1), details: noDetails, deleted: true},
	}
	s := new(store)
	var handles []handle
	var views []view
	for i := range recordsPerChunk + 1500 {
		handles = append(handles, s.add(&rules[i%len(rules)]))
		views = append(views, s.published())
	}
	check := func(v *view, handles []handle) {
		t.Helper()
		for i, h := range handles {
			if got := v.rule(h); got != rules[i%len(rules)] {
				t.Fatalf("rule %d is %.200v", i, got)
			}
		}
	}
	for i := 0; i < len(views); i += 500 { // as of then, though the store went on
		check(&views[i], handles[:i+1])
	}
	for _, h := range handles[1000:] {
		s.drop(h)
	}
	c, moved := s.compact(slices.Values(handles[:1000]))
	for i, h := range handles[:1000] {
		if got := c.rule(moved[h]); got != rules[i%len(rules)] {
			t.Fatalf("rule %d is %.200v after compaction", i, got)
		}
	}
	if c.rules != 1000 || c.used != s.used-s.garbage {
		t.Errorf("%d rules of %d bytes, want 1000 of %d", c.rules, c.used, s.used-s.garbage)
	}
	check(&s.view, handles)
	if n := testing.AllocsPerRun(100, func() { s.rule(handles[2]); s.drop(handles[2]) }); n != 0 {
		t.Errorf("to read a rule takes %v allocations", n)
	}
}

// A churn is a source of n rules that all read as changed, each time a part of
// them.
type churn struct {
	n, part int
	padding string // what makes the rules longer
	mu      sync.Mutex
	next    int
	round   int // of changes to all
	err     error
}

func (c *churn) Read(_ context.Context, since time.Time, yield func(Document)) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.n {
		if since.IsZero() || (i-c.next+c.n)%c.n < c.part {
			yield(Document{ID: fmt.Sprint(i), Fields: map[string]any{"kind": "host", "value": fmt.Sprintf("h%d.example", i), "action": "redirect",
				"target": fmt.Sprintf("https://h%d.example/%d/%s", i, c.round, c.padding), "updated_at": time.Now()}})
		}
	}
	if c.next += c.part; c.next >= c.n {
		c.next = 0
		c.round++
	}
	return since.IsZero(), c.err
}
func (c *churn) Count(context.Context, time.Time) (int, error) { return 0, errors.ErrUnsupported }
func (c *churn) Close() error                                  { return nil }

// refresh waits for one refresh of a cache whose clock it has.
func refresh(t testing.TB, c *Cache) {
	t.Helper()
	c.due.Store(math.MinInt64)
	f := c.begin(true)
	<-f.done
}

// TestChurn changes every rule again and again: memory stays what it is.
func TestChurn(t *testing.T) {
	testsize.Medium(t)
	const n, changes = 5000, 50_000
	source := &churn{n: n, part: n / 10, padding: strings.Repeat("x", 200)}
	before := heap()
	c := NewCache(source, DefaultOptions())
	defer c.Close()
	refresh(t, c)
	loaded := heap() - before
	stores := map[*store]bool{c.store: true}
	for range changes / source.part {
		refresh(t, c)
		stores[c.store] = true
		if limit := 2*(c.store.used-c.store.garbage) + leastGarbage; c.store.used > limit {
			t.Fatalf("the store has %d bytes, more than %d", c.store.used, limit)
		}
	}
	compactions := len(stores) - 1
	clear(stores)
	if got := c.Stats(); got.Rules != n || got.Documents != n {
		t.Errorf("stats %+v, want %d rules", got, n)
	}
	if compactions < 5 || compactions > 20 {
		t.Errorf("%d compactions, want about one each %d changes", compactions, n)
	}
	if used := heap() - before; used > 2*loaded+leastGarbage {
		t.Errorf("%d bytes after %d changes, %d before", used, changes, loaded)
	} else {
		t.Logf("%d bytes after %d changes and %d compactions, %d before", used, changes, compactions, loaded)
	}
	runtime.KeepAlive(c)
}

// TestFailedReadsAreGarbage checks that reads that fail do not gather in memory,
// whether or not there is a copy, and that the copy stays as it is.
func TestFailedReadsAreGarbage(t *testing.T) {
	testsize.Medium(t)
	const failures = 8
	for _, loaded := range []bool{true, false} {
		source := &churn{n: 500, part: 500, padding: strings.Repeat("x", 10_000)}
		c := NewCache(source, DefaultOptions())
		defer c.Close()
		documents := 0
		if loaded {
			refresh(t, c)
			documents = source.n
		}
		source.err = errors.New("failed on purpose")
		first := c.store
		for range failures {
			refresh(t, c)
			if limit := 2 * source.n * 11_000; c.store.used > limit {
				t.Fatalf("the store has %d bytes, more than %d", c.store.used, limit)
			}
		}
		if c.store == first {
			t.Error("the garbage was never left behind")
		}
		if got := c.Stats(); got.Documents != documents || got.RefreshFailures != failures {
			t.Errorf("stats %+v, want %d documents and %d failures", got, documents, failures)
		}
		x, err := c.Index(t.Context())
		if !loaded {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		// Requests no longer hold the store that the failed reads filled.
		if len(x.records) != len(c.store.records) || x.records[0] != c.store.records[0] {
			t.Error("the index is one of an older store")
		}
		for i := range source.n {
			d := x.Decide(&Request{Link: &linkcore.Link{Destination: fmt.Sprintf("https://h%d.example/", i)}, Now: noon})
			if want := fmt.Sprintf("https://h%d.example/0/%s", i, source.padding); d.Target != want {
				t.Fatalf("rule %d: target %.40s, want %.40s", i, d.Target, want)
			}
		}
	}
}

// TestFailedReadAfterSweep checks that a copy that is compacted after a read
// failed holds what it held, rules included that were swept but not published.
func TestFailedReadAfterSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atNoon()
		source := newCollection(t, "host:stays.example", "host:ends.example expires=1m")
		c := NewCache(source, DefaultOptions())
		defer c.Close()
		refresh(t, c)
		c.sweep(noon.Add(time.Hour).UnixMicro())
		padded := newRule(Document{ID: "x", Fields: map[string]any{"kind": "host", "value": "x.example", "action": "redirect", "target": "https://x.example/" + strings.Repeat("x", 10_000)}}, 0)
		for !c.store.wasteful() {
			c.store.drop(c.store.add(&padded))
		}
		source.setErr(errors.New("failed on purpose"))
		store := c.store
		refresh(t, c)
		if c.store == store {
			t.Fatal("the store was not compacted")
		}
		wantBlocked(t, c, "stays.example", true)
		wantBlocked(t, c, "ends.example", true)
		source.setErr(nil)
		refresh(t, c)
		wantBlocked(t, c, "ends.example", true)
		if got := c.Stats().Rules; got != 2 {
			t.Errorf("%d rules, want 2", got)
		}
	})
}

// TestReadersWhileCompacting asks for decisions, of old copies as well, while
// rules change and move.
func TestReadersWhileCompacting(t *testing.T) {
	testsize.Medium(t)
	source := &churn{n: 100, part: 100, padding: strings.Repeat("x", 10_000)}
	c := NewCache(source, DefaultOptions())
	defer c.Close()
	refresh(t, c)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for k := range 2 {
		readers.Go(func() {
			old := c.current.Load().index
			for i := k; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				n := i % source.n
				r := &Request{Link: &linkcore.Link{Destination: fmt.Sprintf("https://h%d.example/", n)}, Now: noon}
				for _, x := range []*Index{old, c.current.Load().index} {
					d := x.Decide(r)
					if d.Rule != fmt.Sprintf("host:h%d.example", n) || !strings.HasPrefix(d.Target, fmt.Sprintf("https://h%d.example/", n)) || !strings.HasSuffix(d.Target, "/"+source.padding) {
						t.Errorf("rule %d: %s to %.40s", n, d.Rule, d.Target)
						return
					}
				}
				if i%1000 == 0 {
					old = c.current.Load().index
				}
			}
		})
	}
	stores := map[*store]bool{}
	for range 25 {
		refresh(t, c)
		stores[c.store] = true
	}
	close(done)
	readers.Wait()
	if len(stores) < 10 {
		t.Errorf("%d stores, want that the rules moved often", len(stores))
	}
}

// BenchmarkCollect measures what a cycle of the garbage collector takes beside
// a copy of the rules.
func BenchmarkCollect(b *testing.B) {
	for _, n := range []int{0, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			c := NewCache(endless{n}, DefaultOptions())
			defer c.Close()
			<-c.RefreshIfDue()
			runtime.GC()
			for b.Loop() {
				runtime.GC()
			}
			runtime.KeepAlive(c)
		})
	}
}

// BenchmarkCompact measures how long the copy takes to leave its garbage
// behind.
func BenchmarkCompact(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			c := NewCache(endless{n}, DefaultOptions())
			defer c.Close()
			<-c.RefreshIfDue()
			for b.Loop() {
				c.store.garbage = math.MaxInt / 2
				c.compact()
			}
		})
	}
}

// BenchmarkChurn changes a tenth of 100,000 rules: a hundred times are a
// million changes.
func BenchmarkChurn(b *testing.B) {
	const n = 100_000
	before := heap()
	c := NewCache(&churn{n: n, part: n / 10}, DefaultOptions())
	defer c.Close()
	refresh(b, c)
	loaded := heap() - before
	for b.Loop() {
		refresh(b, c)
	}
	b.ReportMetric(float64(loaded)/n, "loaded-B/rule")
	b.ReportMetric(float64(heap()-before)/n, "heap-B/rule")
	runtime.KeepAlive(c)
}

package blocklist

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"example.com/linktracker/linkcore/emulatortest"
	"google.golang.org/genproto/googleapis/type/latlng"
)

func emulated(t testing.TB, database string) *Firestore {
	t.Helper()
	emulatortest.Firestore(t)
	store, err := OpenStore("firestore://" + emulatortest.Project(t) + "/" + database + "/blocklist")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store.(*Firestore)
}

// client returns the client of a store, to write by hand.
func client(t testing.TB, f *Firestore) *firestore.CollectionRef {
	t.Helper()
	_, collection, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	return collection
}

func write(t testing.TB, f *Firestore, id string, fields map[string]any) {
	t.Helper()
	if _, err := client(t, f).Doc(id).Set(t.Context(), fields); err != nil {
		t.Fatal(err)
	}
}

func TestFirestoreStore(t *testing.T) {
	t.Parallel()
	for _, database := range []string{"(default)", "rules"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			store := emulated(t, database)
			testStore(t, store)
			if got := client(t, store).Doc("x").Path; !strings.Contains(got, "/databases/"+database+"/documents/blocklist/") {
				t.Errorf("documents are at %s", got)
			}
		})
	}
}

// TestFirestoreShapes reads documents of every shape that a hand can give them.
func TestFirestoreShapes(t *testing.T) {
	t.Parallel()
	store := emulated(t, "(default)")
	collection := client(t, store)
	values := map[string]any{
		"null": nil, "number": 7, "float": 1.5, "boolean": true, "bytes": []byte("host"), "list": []any{"host", 1, nil},
		"map": map[string]any{"host": "a"}, "place": &latlng.LatLng{Latitude: 1, Longitude: 2}, "reference": collection.Doc("other"),
		"vector": firestore.Vector32{1, 2}, "time": time.Now(), "string": "\u2028 nonsense",
	}
	fields := []string{"kind", "value", "action", "target", "reason", "created_by", "created_at", "updated_at", "starts_at", "expires_at", "deleted"}
	n := 0
	for _, field := range fields {
		for name, value := range values {
			write(t, store, field+"-"+name, map[string]any{"kind": "host", "value": fmt.Sprintf("%s-%s.example", field, name), field: value})
			n++
		}
	}
	write(t, store, "empty", map[string]any{})
	write(t, store, "odd names `of` *fields*", map[string]any{"a.b": 1, "~": 2, "kind": "host", "value": "names.example"})
	n += 2

	var book logBook
	c := NewCache(nopCloser{store}, Options{Log: book.logger()})
	defer c.Close()
	<-c.RefreshIfDue()
	if s := c.Stats(); s.Documents != n || s.RefreshFailures != 0 || s.Skipped == 0 || s.Skipped != len(book.lines(slog.LevelWarn)) {
		t.Errorf("stats %+v, want %d documents", s, n)
	}
	wantBlocked(t, c, "names.example", true)
	for _, name := range []string{"reason-vector", "created_at-string", "updated_at-map", "target-number", "action-null", "deleted-null", "expires_at-null"} {
		want := name != "target-number"
		wantBlocked(t, c, name+".example", want)
	}
	wantBlocked(t, c, "deleted-boolean.example", false)
	wantBlocked(t, c, "deleted-string.example", false)
	wantBlocked(t, c, "starts_at-time.example", true)
	rules, skipped, err := store.List(t.Context())
	if err != nil || len(rules)+len(skipped) != n {
		t.Errorf("%d rules, %d skipped, %v, want %d", len(rules), len(skipped), err, n)
	}
	if got, err := store.Count(t.Context(), time.Now()); err != nil || got != n-1 {
		t.Errorf("Count = %d, %v, want %d: all but one that has expired", got, err, n-1)
	}
}

func TestFirestoreLiftsByHand(t *testing.T) {
	t.Parallel()
	store := emulated(t, "(default)")
	for id, fields := range map[string]map[string]any{
		"normal":      {"kind": "host", "value": "a.example"},
		"again":       {"kind": "host", "value": "a.example", "action": "redirect", "target": "https://x.example/"},
		"other kind":  {"kind": "key", "value": "a"},
		"odd writing": {"kind": "url", "value": "HTTPS://B.example:443/%7Eb#c", "reason": "kept"},
		"broken":      {"kind": "url", "value": 7},
		"long":        {"kind": "url", "value": "https://c.example/" + strings.Repeat("c", 3000)},
		"lifted":      {"kind": "host", "value": "d.example", "deleted": true},
	} {
		write(t, store, id, fields)
	}
	if err := store.Put(t.Context(), ruleOf(t, "host:a.example"), ruleOf(t, "customer:a.example"[:10])); err != nil {
		t.Fatal(err)
	}
	missing, err := store.Lift(t.Context(), ruleOf(t, "host:a.example"), ruleOf(t, "url:b.example/~b"), ruleOf(t, "host:d.example"),
		ruleOf(t, "url:c.example/"+strings.Repeat("c", 3000)), ruleOf(t, "ip:192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 2 || missing[0].String() != "host:d.example" || missing[1].String() != "ip:192.0.2.1" {
		t.Errorf("missing %v", missing)
	}
	rules, _, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		want := r.ID != "other kind" && r.Kind != Customer
		if r.Deleted != want || want && r.ID != "lifted" && (r.ExpiresAt.Before(time.Now().Add(23*time.Hour)) || time.Since(r.UpdatedAt) > time.Minute) {
			t.Errorf("%s: lifted %v, want %v: %+v", r.ID, r.Deleted, want, r)
		}
		if r.ID == "odd writing" && r.Reason != "kept" {
			t.Errorf("%s: %+v", r.ID, r)
		}
	}
	// Of a rule under its own id whose other document is in another form, the
	// second lift finds that.
	if err := store.Put(t.Context(), ruleOf(t, "host:e.example")); err != nil {
		t.Fatal(err)
	}
	write(t, store, "hand", map[string]any{"kind": "host", "value": "E.example"})
	for i, want := range []int{0, 0, 1} {
		if missing, err := store.Lift(t.Context(), ruleOf(t, "host:e.example")); err != nil || len(missing) != want {
			t.Errorf("lift %d: missing %v, %v, want %d", i, missing, err, want)
		}
	}
}

// A counter counts what a source yields.
type counter struct {
	Source
	queries, documents atomic.Int64
}

func (c *counter) Read(ctx context.Context, since time.Time, yield func(Document)) (bool, error) {
	c.queries.Add(1)
	return c.Source.Read(ctx, since, func(d Document) {
		c.documents.Add(1)
		yield(d)
	})
}

func (c *counter) Close() error { return nil }

// TestFirestoreImport writes more rules than a query yields at once, and checks
// that a refresh a minute later reads none of them.
func TestFirestoreImport(t *testing.T) {
	t.Parallel()
	const n = 1050
	store := emulated(t, "(default)")
	store.pageSize = 500
	source := &counter{Source: store}
	c := NewCache(source, Options{Refresh: time.Microsecond})
	defer c.Close()
	var later atomic.Int64
	now := c.now
	c.now = func() instant {
		i := now()
		return instant{i.wall.Add(time.Duration(later.Load())), i.mono + time.Duration(later.Load())}
	}
	refresh := func() (queries, documents int64) {
		t.Helper()
		source.queries.Store(0)
		source.documents.Store(0)
		for {
			if ch := c.RefreshIfDue(); ch != nil {
				<-ch
				break
			}
		}
		if got := c.Stats().RefreshFailures; got != 0 {
			t.Fatalf("%d failures", got)
		}
		return source.queries.Load(), source.documents.Load()
	}
	refresh()
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = Rule{Kind: Host, Value: fmt.Sprintf("h%d.example", i)}
	}
	start := time.Now()
	if err := store.Put(t.Context(), rules...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rules were written in %v", n, time.Since(start).Round(time.Millisecond))
	if queries, documents := refresh(); queries != 1 || documents != n {
		t.Errorf("the refresh after the import read %d documents in %d queries, want %d", documents, queries, n)
	}
	wantBlocked(t, c, "h1049.example", true)

	later.Add(int64(time.Minute))
	refresh()
	later.Add(int64(15 * time.Second))
	if queries, documents := refresh(); queries != 1 || documents != 0 {
		t.Errorf("a refresh read %d documents in %d queries, want none in one", documents, queries)
	}

	documents := map[string]bool{}
	whole, err := store.Read(t.Context(), time.Time{}, func(d Document) { documents[d.ID] = true })
	if err != nil || !whole || len(documents) != n {
		t.Errorf("read %d documents, whole %v, %v", len(documents), whole, err)
	}
	if got, err := store.Count(t.Context(), time.Now()); err != nil || got != n {
		t.Errorf("Count = %d, %v, want %d", got, err, n)
	}
}

// TestFirestoreFollows blocks and unblocks while a cache runs.
func TestFirestoreFollows(t *testing.T) {
	t.Parallel()
	store := emulated(t, "(default)")
	if err := store.Put(t.Context(), ruleOf(t, "host:a.example")); err != nil {
		t.Fatal(err)
	}
	c := NewCache(nopCloser{store}, Options{Refresh: time.Microsecond})
	defer c.Close()
	refresh := func() {
		t.Helper()
		for {
			if ch := c.RefreshIfDue(); ch != nil {
				<-ch
				return
			}
		}
	}
	refresh()
	wantBlocked(t, c, "a.example", true)
	if _, err := store.Lift(t.Context(), ruleOf(t, "host:a.example")); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), ruleOf(t, "host:b.example")); err != nil {
		t.Fatal(err)
	}
	refresh()
	wantBlocked(t, c, "a.example", false)
	wantBlocked(t, c, "b.example", true)
}

// TestFirestoreRefuses and TestFirestoreHangs have a Firestore made of sockets.

func TestFirestoreRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	t.Setenv("FIRESTORE_EMULATOR_HOST", address)
	store, err := NewFirestore("project", "(default)", "blocklist")
	if err != nil {
		t.Fatal(err)
	}
	var book logBook
	const wait = 10 * time.Minute
	c := NewCache(store, Options{Wait: wait, Log: book.logger()})
	defer c.Close()
	<-c.RefreshIfDue()
	if c.Stats().RefreshFailures != 1 {
		t.Errorf("stats %+v", c.Stats())
	}
	book.mu.Lock()
	if !strings.Contains(book.b.String(), "connection refused") {
		t.Errorf("logged %s", book.b.String())
	}
	book.mu.Unlock()
	start := time.Now()
	if _, err := c.Index(t.Context()); err != ErrUnavailable || time.Since(start) >= wait {
		t.Errorf("Index: %v after %v", err, time.Since(start))
	}
	if err := store.Put(t.Context(), ruleOf(t, "host:a.example")); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Put: %v", err)
	}
}

func TestFirestoreHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mu sync.Mutex
	var connections []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			connections = append(connections, c)
			mu.Unlock()
		}
	}()
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range connections {
			c.Close()
		}
	}()
	t.Setenv("FIRESTORE_EMULATOR_HOST", l.Addr().String())

	source, err := OpenSource("firestore://project/(default)/blocklist")
	if err != nil {
		t.Fatal(err)
	}
	var book logBook
	c := NewCache(source, Options{Log: book.logger()})
	c.quiet = 1
	c.Start(t.Context())
	start := time.Now()
	if _, err := c.Index(t.Context()); err != ErrUnavailable || time.Since(start) < DefaultWait {
		t.Errorf("Index: %v after %v", err, time.Since(start))
	}
	<-c.Ready() // it is given up
	if got := c.Stats().RefreshFailures; got != 1 {
		t.Errorf("%d failures", got)
	}
	book.mu.Lock()
	if !strings.Contains(book.b.String(), "nothing was heard for 1 seconds") {
		t.Errorf("logged %s", book.b.String())
	}
	book.mu.Unlock()
	if _, err := c.Index(t.Context()); err != ErrUnavailable {
		t.Errorf("Index: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestFirestoreClosed(t *testing.T) {
	store, err := NewFirestore("project", "(default)", "blocklist")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if err := store.Put(t.Context(), ruleOf(t, "host:a.example")); err == nil {
		t.Error("Put into a closed store succeeded")
	}
}

// BenchmarkFirestoreLoad loads 100,000 rules from the emulator. To write them
// takes a minute.
func BenchmarkFirestoreLoad(b *testing.B) {
	const n = 100_000
	store := emulated(b, "(default)")
	rules := many(n)
	start := time.Now()
	for batch := range slices.Chunk(rules, 10_000) {
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d rules were written in %v", n, time.Since(start).Round(time.Second))
	for b.Loop() {
		var book logBook
		c := NewCache(nopCloser{store}, Options{Log: book.logger()})
		<-c.RefreshIfDue()
		if got := c.Stats().Rules; got != n {
			b.Fatalf("%d rules\n%s", got, book.b.String())
		}
		b.Log(book.b.String())
		c.Close()
	}
}

package firestore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cloud "cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/blocklisttest"
	"example.com/linktracker/linkcore/emulatortest"
)

func emulated(t testing.TB, database string) *Collection {
	t.Helper()
	emulatortest.Firestore(t)
	store, err := New(emulatortest.Project(t), database, "blocklist")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// client returns a client of the same collection, to write by hand.
func client(t testing.TB, f *Collection) *cloud.CollectionRef {
	t.Helper()
	client, err := cloud.NewClientWithDatabase(t.Context(), f.project, f.database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client.Collection(f.collection)
}

func write(t testing.TB, f *Collection, id string, fields map[string]any) {
	t.Helper()
	if _, err := client(t, f).Doc(id).Set(t.Context(), fields); err != nil {
		t.Fatal(err)
	}
}

// ruleOf makes a rule of "KIND:VALUE".
func ruleOf(t testing.TB, s string) blocklist.Rule {
	t.Helper()
	r, err := blocklist.ParseRule(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSuite is what every backend passes.
func TestSuite(t *testing.T) {
	for _, database := range []string{"(default)", "rules"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			blocklisttest.Run(t, func(t *testing.T) blocklisttest.Fixture {
				store := emulated(t, database)
				if got := client(t, store).Doc("x").Path; !strings.Contains(got, "/databases/"+database+"/documents/blocklist/") {
					t.Errorf("documents are at %s", got)
				}
				return blocklisttest.Fixture{
					Backend: store,
					Write:   func(id string, fields map[string]any) { t.Helper(); write(t, store, id, fields) },
					Remove: func(r blocklist.Rule) {
						t.Helper()
						if _, err := client(t, store).Doc(r.DocumentID()).Delete(t.Context()); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

// TestNames refuses what is not a name before anything is sent.
func TestNames(t *testing.T) {
	for _, name := range []string{"", "a/b", "a b", ".", "..", "a\n"} {
		for i := range 3 {
			names := [...]string{"project", "(default)", "blocklist"}
			names[i] = name
			if _, err := New(names[0], names[1], names[2]); err == nil {
				t.Errorf("New(%q) succeeded", names)
			}
		}
	}
}

// TestShapes reads documents of every shape that a hand can give them.
func TestShapes(t *testing.T) {
	t.Parallel()
	store := emulated(t, "(default)")
	collection := client(t, store)
	values := map[string]any{
		"null": nil, "number": 7, "float": 1.5, "boolean": true, "bytes": []byte("host"), "list": []any{"host", 1, nil},
		"map": map[string]any{"host": "a"}, "place": &latlng.LatLng{Latitude: 1, Longitude: 2}, "reference": collection.Doc("other"),
		"vector": cloud.Vector32{1, 2}, "time": time.Now(), "string": "\u2028 nonsense",
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

	c := blocklist.NewCache(unclosed{store}, blocklist.DefaultOptions())
	defer c.Close()
	<-c.RefreshIfDue()
	rules, skipped, err := store.List(t.Context())
	if err != nil || len(rules)+len(skipped) != n {
		t.Errorf("%d rules, %d skipped, %v, want %d", len(rules), len(skipped), err, n)
	}
	if s := c.Stats(); s.Documents != n || s.RefreshFailures != 0 || s.Skipped == 0 || s.Skipped != len(skipped) {
		t.Errorf("stats %+v, want %d documents of which %d were skipped", s, n, len(skipped))
	}
	wantBlocked := func(host string, want bool) {
		t.Helper()
		if d, known := c.Decide(t.Context(), &blocklist.Request{Link: &linkcore.Link{Destination: "https://" + host + "/"}, Now: time.Now()}); !known || (d.Action == blocklist.Block) != want {
			t.Errorf("%s blocked: %v, want %v", host, !want, want)
		}
	}
	wantBlocked("names.example", true)
	for _, name := range []string{"reason-vector", "created_at-string", "updated_at-map", "target-number", "action-null", "deleted-null", "expires_at-null"} {
		want := name != "target-number"
		wantBlocked(name+".example", want)
	}
	wantBlocked("deleted-boolean.example", false)
	wantBlocked("deleted-string.example", false)
	wantBlocked("starts_at-time.example", true)
	if got, err := store.Count(t.Context(), time.Now()); err != nil || got != n-1 {
		t.Errorf("Count = %d, %v, want %d: all but one that has expired", got, err, n-1)
	}
}

func TestLiftsByHand(t *testing.T) {
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
		want := r.ID != "other kind" && r.Kind != blocklist.Customer
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

type unclosed struct{ blocklist.Source }

func (unclosed) Close() error { return nil }

// PutNewer keeps the newest of what one program writes, in whatever order and
// however often it comes, and leaves alone what another wrote.
func TestPutNewer(t *testing.T) {
	t.Parallel()
	store := emulated(t, "(default)")
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	put := func(by string, after time.Duration, lifted bool) error {
		r := ruleOf(t, "recipient:acme/r1")
		r.Action, r.CreatedBy, r.CreatedAt, r.Deleted = blocklist.Untracked, by, noon.Add(after), lifted
		return store.PutNewer(t.Context(), r.ObjectionID(), r)
	}
	for _, test := range []struct {
		after  time.Duration
		lifted bool
		want   time.Duration
		stands bool
	}{
		{2, false, 2, true},
		{2, true, 2, true}, // the first of two counts
		{1, true, 2, true},
		{3, true, 3, false},
		{2, false, 3, false},
		{3, true, 3, false},
		{4, false, 4, true},
	} {
		if err := put("program", test.after*time.Microsecond, test.lifted); err != nil {
			t.Fatal(err)
		}
		rules, _, err := store.List(t.Context())
		if err != nil || len(rules) != 1 {
			t.Fatalf("%v, %v", rules, err)
		}
		if r := rules[0]; !r.CreatedAt.Equal(noon.Add(test.want*time.Microsecond)) || r.Stands(time.Now()) != test.stands || r.Action != blocklist.Untracked || r.UpdatedAt.Before(noon) {
			t.Errorf("after %+v: %+v", test, r)
		}
	}
	if missing, err := store.Lift(t.Context(), ruleOf(t, "recipient:acme/r1")); err != nil || len(missing) != 1 {
		t.Errorf("operators lifted an objection: missing %v, %v", missing, err)
	}
	if err := put("somebody", time.Hour, true); err == nil || !strings.Contains(err.Error(), "is not by somebody") {
		t.Errorf("another's rule was replaced: %v", err)
	}
	var wrong *linkcore.FieldError
	if err := store.PutNewer(t.Context(), "id", blocklist.Rule{Kind: blocklist.Host, Value: "*"}); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
}

// Of several who write at once the newest wins.
func TestPutNewerAtOnce(t *testing.T) {
	t.Parallel()
	store := emulated(t, "(default)")
	now := time.Now().UTC().Truncate(time.Microsecond)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			r := ruleOf(t, "recipient:acme/r1")
			r.Action, r.CreatedBy, r.CreatedAt, r.Deleted = blocklist.Untracked, "program", now.Add(time.Duration(i*5%8)*time.Second), i%2 == 0
			if err := store.PutNewer(t.Context(), r.ObjectionID(), r); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	rules, _, err := store.List(t.Context())
	if err != nil || len(rules) != 1 || !rules[0].CreatedAt.Equal(now.Add(7*time.Second)) || rules[0].Deleted {
		t.Errorf("%+v, %v", rules, err)
	}
}

// TestImport writes more rules than a query yields at once. They are read as
// changes once, and no longer when they are old.
func TestImport(t *testing.T) {
	t.Parallel()
	const n = 1050
	store := emulated(t, "(default)")
	store.pageSize = 500
	rules := make([]blocklist.Rule, n)
	for i := range rules {
		rules[i] = blocklist.Rule{Kind: blocklist.Host, Value: fmt.Sprintf("h%d.example", i)}
	}
	start := time.Now()
	if err := store.Put(t.Context(), rules...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rules were written in %v", n, time.Since(start).Round(time.Millisecond))
	for _, test := range []struct {
		name  string
		since time.Time
		want  int
	}{
		{"all", time.Time{}, n},
		{"changes", start.Add(-time.Second), n},
		{"changes since", time.Now().Add(time.Second), 0},
	} {
		documents := map[string]bool{}
		yielded := 0
		whole, err := store.Read(t.Context(), test.since, "", func(d blocklist.Document) { documents[d.ID] = true; yielded++ })
		if err != nil || whole != test.since.IsZero() || len(documents) != test.want || yielded != test.want {
			t.Errorf("%s: %d documents, %d of them different, whole %v, %v; want %d", test.name, yielded, len(documents), whole, err, test.want)
		}
	}
	if got, err := store.Count(t.Context(), time.Now()); err != nil || got != n {
		t.Errorf("Count = %d, %v, want %d", got, err, n)
	}
}

// TestRefuses and TestHangs have a Firestore made of sockets.

func TestRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	t.Setenv("FIRESTORE_EMULATOR_HOST", address)
	store, err := New("project", "(default)", "blocklist")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	// The errors say why, and come without the context's end.
	if _, err := store.Read(t.Context(), time.Time{}, "", func(blocklist.Document) {}); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Read: %v", err)
	}
	if err := store.Put(t.Context(), ruleOf(t, "host:a.example")); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Put: %v", err)
	}
}

// TestHangs: a server that takes connections and says nothing keeps nobody
// longer than the context.
func TestHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 100)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Setenv("FIRESTORE_EMULATOR_HOST", l.Addr().String())
	store, err := New("project", "(default)", "blocklist")
	if err != nil {
		t.Fatal(err)
	}
	if len(accepted) > 0 {
		t.Error("New connects already")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := make(chan error, 1)
	go func() {
		_, err := store.Read(ctx, time.Time{}, "", func(blocklist.Document) {})
		read <- err
	}()
	conn := <-accepted
	defer conn.Close()
	select {
	case err := <-read:
		t.Fatalf("Read: %v before its context ended", err)
	default:
	}
	cancel()
	if err := <-read; err == nil {
		t.Error("Read did not fail")
	}
	if err := store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestClosed(t *testing.T) {
	store, err := New("project", "(default)", "blocklist")
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

// BenchmarkLoad loads 100,000 rules from the emulator. To write them takes a
// minute.
func BenchmarkLoad(b *testing.B) {
	const n = 100_000
	store := emulated(b, "(default)")
	start := time.Now()
	rules := make([]blocklist.Rule, n)
	for i := range rules {
		rules[i] = blocklist.Rule{Kind: blocklist.Host, Value: fmt.Sprintf("h%d.example", i)}
	}
	for batch := range slices.Chunk(rules, 10_000) {
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d rules were written in %v", n, time.Since(start).Round(time.Second))
	for b.Loop() {
		c := blocklist.NewCache(unclosed{store}, blocklist.DefaultOptions())
		<-c.RefreshIfDue()
		if got := c.Stats(); got.Rules != n {
			b.Fatalf("stats %+v", got)
		}
		c.Close()
	}
}

// quiet is a Firestore that begins to answer each query and says no more.
type quiet struct {
	firestorepb.UnimplementedFirestoreServer
}

func (quiet) RunQuery(_ *firestorepb.RunQueryRequest, stream firestorepb.Firestore_RunQueryServer) error {
	stream.Send(&firestorepb.RunQueryResponse{Document: &firestorepb.Document{Name: "a"}})
	<-stream.Context().Done()
	return stream.Context().Err()
}

// TestKeepalive has a server that breaks off connections which are asked more often
// than Google's allow whether they live (GOAWAY, too_many_pings), for two hours with a
// query under way.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Minute}))
		firestorepb.RegisterFirestoreServer(server, quiet{})
		go server.Serve(listener)
		defer server.Stop()
		dials := 0
		conn, err := grpc.NewClient("passthrough:///firestore", append(dialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { dials++; return listener.DialContext(ctx) }))...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		stream, err := firestorepb.NewFirestoreClient(conn).RunQuery(ctx, &firestorepb.RunQueryRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded || dials != 1 {
			t.Errorf("%v after %d connections", err, dials)
		}
	})
}

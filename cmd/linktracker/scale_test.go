package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/testsize"
)

const (
	fleetSize    = 8
	fleetRefresh = 500 * time.Millisecond // BLOCKLIST_REFRESH

	// As linkcore/blocklist/BLOCKLIST.md and linkcore/endpoint/CONFIG.md have them.
	refreshOverlap = 30 * time.Second
	wholeEvery     = 10 * time.Minute
	keysListed     = time.Minute
)

// TestEightInstances runs eight endpoints behind one address, as a platform
// does, and shows that what one of them promises holds for all: a rule is
// followed by each after one refresh, each pays for what BLOCKLIST.md says and
// for nothing more, and while instances come and go no click fails or is lost.
//
// It is short with no more than LARGE=1. A longer run waits until a new key has reached every
// instance, which takes a minute, and then writes rules and replaces instances
// for as long as it is told:
//
//	make scale SCALE=1m RATE=1000
func TestEightInstances(t *testing.T) {
	testsize.Large(t)
	duration, rate := time.Duration(0), 100
	if s := os.Getenv("SCALE"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil || duration <= 0 {
			t.Fatalf("SCALE=%s: give a duration such as 60s", s)
		}
	}
	if s := os.Getenv("SCALE_RATE"); s != "" {
		var err error
		if rate, err = strconv.Atoi(s); err != nil || rate < 1 {
			t.Fatalf("SCALE_RATE=%s: give clicks a second", s)
		}
	}
	l, topic := newLedgerTopic(t)
	rules := newRuleCollection(t, 100)
	f := newFleet(t, rules, "CLICKS="+topic, "BLOCKLIST_REFRESH="+fleetRefresh.String(), "BLOCKLIST_START_WAIT=30s")
	begin := time.Now()
	for range fleetSize {
		f.running = append(f.running, f.launch(t))
	}
	for _, i := range f.running {
		f.admit(t, i)
	}
	t.Logf("%d instances were ready %v after the first was started", fleetSize, time.Since(begin).Round(time.Millisecond))

	signer := f.signer(t, "1")
	to := func(host string) string { return target(t, signer, "https://"+host+"/") }
	// Every fourth click is one that a rule blocks from the beginning.
	targets := []string{to("blocked-0.example"), to("a.example"), to("b.example"), to("c.example")}
	ctx, cancel := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.load(ctx, rate, func() string { return f.balancer.address }, targets...)
	}()
	defer func() { cancel(); <-loaded }()
	begin = time.Now()

	f.readQuietly(t)
	// The clicks go on with links that the old key has signed.
	added := f.addKey(t, "2")
	newKey := target(t, f.signer(t, "2"), "https://example.com/")
	if duration > 0 {
		took := f.follow(t, newKey, http.StatusFound, math.MaxInt, func() time.Time { return added })
		t.Logf("a new key was accepted without a restart after %v", took)
	}
	changing := to("changing-0.example")
	replacing := time.Now()
	for generation := 0; generation == 0 || time.Since(replacing) < duration; generation++ {
		blocked := f.follow(t, changing, http.StatusGone, 1, func() time.Time { return rules.write(t, rules.store.Put) })
		lifted := f.follow(t, changing, http.StatusFound, 1, func() time.Time { return rules.write(t, rules.lift) })
		t.Logf("a link was blocked by each instance after %v, and let through again after %v", blocked, lifted)
		for i := range f.running {
			// As in a deployment, the new one before the old one goes, and as when
			// a platform takes one away, the new one meanwhile.
			f.replace(t, i, i%2 == 0)
			if status, _ := f.running[i].headers(t, newKey); status != http.StatusFound {
				t.Errorf("an instance that was started with the new key answers its link with %d", status)
			}
		}
	}
	cancel()
	<-loaded
	lasted := time.Since(begin)
	for _, i := range f.running {
		f.stop(t, i)
	}

	a := l.wantAll(t, 100, f.servers()...)
	l.mu.Lock()
	statuses := map[int]int{}
	for _, status := range l.answered {
		statuses[status]++
	}
	twice := 0
	for n, published := range l.published {
		if n >= 0 && published > 1 {
			twice++
		}
	}
	blocked := (l.next + len(targets) - 1) / len(targets)
	l.mu.Unlock()
	if statuses[http.StatusGone] != blocked || statuses[http.StatusFound]+blocked != a.answered {
		t.Errorf("the answers are %v, want %d of 410 and else 302 only", statuses, blocked)
	}
	f.balancer.check(t)
	t.Logf("%d instances were started and stopped within %v, the slowest stop took %v; the balancer saw %v; %d clicks have more than one event",
		len(f.all), lasted.Round(time.Millisecond), f.slowestStop.Round(time.Millisecond), f.balancer, twice)
	f.checkReads(t, lasted)
}

// target returns the target of a click link.
func target(t testing.TB, signer *linkcore.Signer, destination string) string {
	t.Helper()
	tracked, err := signer.Sign(linkcore.Fields{}, destination, linkcore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(tracked.URL, "http://127.0.0.1")
}

// A fleet is endpoints behind a balancer. Each has a key folder of its own and
// its own meter before Firestore, as instances in a cloud have.
type fleet struct {
	balancer    *balancer
	firestore   firestorepb.FirestoreClient
	rules       *ruleCollection
	environment []string
	keys        map[string]string // the content of the key files, by name
	running     []*instance
	all         []*instance // those that were stopped too
	slowestStop time.Duration
}

type instance struct {
	*server
	keys      string // its key folder
	meter     *meter
	documents int // in the collection when it started
}

func newFleet(t *testing.T, rules *ruleCollection, environment ...string) *fleet {
	t.Helper()
	return &fleet{
		balancer:    newBalancer(t),
		firestore:   dialFirestore(t),
		rules:       rules,
		environment: append(environment, "BLOCKLIST="+rules.url, "BLOCKLIST_UNAVAILABLE=allow"),
		keys:        map[string]string{"1": "RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc=\n"},
	}
}

// launch starts an instance, which gets no clicks before it is admitted.
func (f *fleet) launch(t *testing.T) *instance {
	t.Helper()
	i := &instance{keys: t.TempDir(), meter: newMeter(t, f.firestore), documents: f.rules.documents}
	for id, content := range f.keys {
		if err := os.WriteFile(filepath.Join(i.keys, id), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i.server = start(t, nil, append(slices.Clone(f.environment), "LINK_KEYS="+i.keys, "FIRESTORE_EMULATOR_HOST="+i.meter.address)...)
	f.all = append(f.all, i)
	return i
}

// admit waits for an instance as a startup probe does, and gives it its share
// of the clicks.
func (f *fleet) admit(t *testing.T, i *instance) {
	t.Helper()
	waitFor(t, "an instance to be ready", func() bool { status, _ := i.get(t, "/-/ready"); return status == http.StatusOK })
	f.balancer.add(i.address)
}

// replace has another instance take the place of one, either before it stops or
// while it does.
func (f *fleet) replace(t *testing.T, place int, before bool) {
	t.Helper()
	old := f.running[place]
	if !before {
		if err := old.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	f.running[place] = f.launch(t)
	f.admit(t, f.running[place])
	if before {
		f.stop(t, old)
		return
	}
	<-old.logged
	if err := old.Wait(); err != nil {
		t.Errorf("an instance ended with %v", err)
	}
}

func (f *fleet) stop(t *testing.T, i *instance) {
	t.Helper()
	code, took := i.stop(t)
	if code != 0 || took > 9*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	f.slowestStop = max(f.slowestStop, took)
}

func (f *fleet) servers() (all []*server) {
	for _, i := range f.all {
		all = append(all, i.server)
	}
	return all
}

// addKey puts a key file into every key folder, those of instances to come
// included, and returns when.
func (f *fleet) addKey(t *testing.T, id string) time.Time {
	t.Helper()
	added := time.Now()
	f.keys[id] = "c2Vjb25kIGtleSBvZiBhIHRlc3QsIG9mIDQwIGJ5dGVzLi4uLg==\n"
	for _, i := range f.running {
		hidden := filepath.Join(i.keys, "."+id)
		if err := os.WriteFile(hidden, []byte(f.keys[id]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(hidden, filepath.Join(i.keys, id)); err != nil {
			t.Fatal(err)
		}
	}
	return added
}

func (f *fleet) signer(t *testing.T, id string) *linkcore.Signer {
	t.Helper()
	ring, err := linkcore.OpenKeyRing(f.running[0].keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("http://127.0.0.1", id)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// follow is followed for the status with which a link is answered.
func (f *fleet) follow(t *testing.T, target string, status, most int, change func() time.Time) []time.Duration {
	t.Helper()
	return f.followed(t, most, change, func(i *instance) (bool, error) {
		response, err := httpClient.Get("http://" + i.address + target)
		if err != nil {
			return false, err
		}
		response.Body.Close()
		return response.StatusCode == status, nil
	})
}

// followed changes something and returns how long after the change, which says
// when it was, each instance had the new answer. What a refresh has read after the
// change is in force before the next refresh begins: a request has the new answer if
// it is sent when more than most refreshes are over.
func (f *fleet) followed(t *testing.T, most int, change func() time.Time, asked func(*instance) (bool, error)) []time.Duration {
	t.Helper()
	answered := make([]time.Time, len(f.running))
	var wait sync.WaitGroup
	var done atomic.Pointer[time.Time] // when the change was made
	for n, i := range f.running {
		wait.Go(func() {
			for begin := time.Now(); ; {
				refreshes := 0
				if at := done.Load(); at != nil {
					refreshes = i.meter.since(*at)
				}
				is, err := asked(i)
				if err != nil {
					t.Error(err)
					return
				}
				if answered[n] = time.Now(); is {
					return
				}
				if refreshes > most || time.Since(begin) > 3*keysListed {
					t.Errorf("an instance has the old answer %d refreshes after the change", refreshes)
					return
				}
				time.Sleep(50 * time.Millisecond) // between looks at another process
			}
		})
	}
	changed := change()
	now := time.Now()
	done.Store(&now)
	wait.Wait()
	took := make([]time.Duration, len(answered))
	for n, at := range answered {
		took[n] = at.Sub(changed).Round(time.Millisecond)
	}
	return took
}

// readQuietly waits for a few refreshes without changes, while clicks come, and
// checks what the start and they have cost.
func (f *fleet) readQuietly(t *testing.T) {
	t.Helper()
	const refreshes = 4
	starts, quiet := 0, 0
	for _, i := range f.running {
		waitFor(t, "refreshes", func() bool { return len(i.meter.noted()) > refreshes })
		for n, q := range i.meter.noted()[:1+refreshes] {
			if n == 0 {
				starts += q.reads()
			} else {
				quiet += q.reads()
			}
		}
	}
	if starts != fleetSize*f.rules.documents || quiet != fleetSize*refreshes {
		t.Errorf("%d instances read %d documents at the start, want %d, and %d in %d refreshes without changes, want %d",
			fleetSize, starts, fleetSize*f.rules.documents, quiet, refreshes, fleetSize*refreshes)
	}
	t.Logf("%d starts with %d rules cost %d reads, %d refreshes without changes %d", fleetSize, f.rules.documents, starts, fleetSize*refreshes, quiet)
}

// checkReads compares every query of every instance with what BLOCKLIST.md says
// that it reads.
func (f *fleet) checkReads(t *testing.T, lasted time.Duration) {
	t.Helper()
	var starts, startReads, quiet, quietReads, changed, changedReads, compared int
	for _, i := range f.all {
		if counts := i.meter.aggregations(); lasted < wholeEvery && len(counts) > 0 {
			t.Errorf("documents were counted %d times, want that every %v", len(counts), wholeEvery)
		}
		var whole, previous time.Time
		for n, q := range i.meter.noted() {
			switch {
			case !q.complete:
				// It was broken off by the instance's end.
			case q.since.IsZero():
				if n > 0 && q.began.Sub(whole) < wholeEvery {
					t.Errorf("all documents were read again after %v", q.began.Sub(whole))
				}
				if q.documents != i.documents {
					t.Errorf("a start read %d documents of %d", q.documents, i.documents)
				}
				whole = q.began
				starts++
				startReads += q.reads()
			default:
				// The overlap is counted from when the refresh before began, which
				// is a little before its query arrives.
				if overlap := previous.Sub(q.since); overlap < refreshOverlap || overlap > refreshOverlap+time.Minute {
					t.Errorf("a refresh read what changed from %v before the last refresh on, want %v", overlap, refreshOverlap)
				}
				if want, known := f.rules.changedSince(q); known {
					compared++
					if q.documents != want {
						t.Errorf("a refresh read %d documents, want the %d that changed", q.documents, want)
					}
				}
				if q.documents == 0 {
					quiet++
					quietReads += q.reads()
				} else {
					changed++
					changedReads += q.reads()
				}
			}
			previous = q.began
		}
		// One is the first load, and one may have arrived late.
		if all := i.meter.noted(); len(all) > 2+int(all[len(all)-1].began.Sub(all[0].began)/fleetRefresh) {
			t.Errorf("an instance made %d queries within %v, want one every %v", len(all), all[len(all)-1].began.Sub(all[0].began), fleetRefresh)
		}
	}
	if starts != len(f.all) || quietReads != quiet || compared == 0 || changed == 0 {
		t.Errorf("%d starts of %d instances, %d reads of %d refreshes without changes, %d refreshes with changes, %d compared",
			starts, len(f.all), quietReads, quiet, changed, compared)
	}
	t.Logf("reads: %d starts %d; %d refreshes without changes %d; %d with %d rules changed within the overlap %d",
		starts, startReads, quiet, quietReads, changed, len(f.rules.changing), changedReads)
}

// A balancer stands before instances. It gives requests to one after the other,
// takes out those that do not accept any more, and tries a request that got no
// answer on another one.
type balancer struct {
	address   string
	transport *http.Transport

	mu        sync.Mutex
	instances []string
	next      int
	requests  int
	refused   int // tries that found that an instance had stopped accepting
	broken    int // tries whose connection ended without an answer
	unserved  int // requests that no instance answered
	cut       int // answers that ended early
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{
		address:   listener.Addr().String(),
		transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	server := &http.Server{Handler: b}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close(); b.transport.CloseIdleConnections() })
	return b
}

func (b *balancer) add(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.instances = append(b.instances, address)
}

// pick returns the instance whose turn it is of those that were not tried yet.
func (b *balancer) pick(tried []string) (address string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.instances {
		b.next++
		if address := b.instances[b.next%len(b.instances)]; !slices.Contains(tried, address) {
			return address, true
		}
	}
	return "", false
}

// failed notes why a try had no answer.
func (b *balancer) failed(address string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(err, syscall.ECONNREFUSED) {
		b.broken++
		return
	}
	b.refused++
	b.instances = slices.DeleteFunc(b.instances, func(a string) bool { return a == address })
}

func (b *balancer) count(n *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*n++
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.count(&b.requests)
	var tried []string
	for {
		address, ok := b.pick(tried)
		if !ok {
			b.count(&b.unserved)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		tried = append(tried, address)
		request := r.Clone(r.Context())
		// The target as it came: what is signed is its very bytes.
		request.URL = &url.URL{Scheme: "http", Host: address, Opaque: r.RequestURI}
		request.RequestURI, request.Body = "", nil
		response, err := b.transport.RoundTrip(request)
		if err != nil {
			b.failed(address, err)
			continue
		}
		defer response.Body.Close()
		w.Header().Set("Location", response.Header.Get("Location"))
		w.WriteHeader(response.StatusCode)
		http.NewResponseController(w).Flush()
		if _, err := io.Copy(w, response.Body); err != nil && r.Context().Err() == nil {
			b.count(&b.cut)
		}
		return
	}
}

func (b *balancer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d requests, %d tries refused by instances that had stopped accepting and %d broken off, %d requests unserved, %d answers cut",
		b.requests, b.refused, b.broken, b.unserved, b.cut)
}

// check fails the test if a client saw that instances come and go.
func (b *balancer) check(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unserved > 0 || b.cut > 0 {
		t.Errorf("%d requests were not served, %d answers were cut", b.unserved, b.cut)
	}
	if b.refused == 0 {
		t.Error("no instance was seen to stop: the test shows nothing")
	}
}

// A meter stands between an instance and Firestore and notes what is read. It
// forwards what an endpoint may call: anything else fails.
type meter struct {
	firestorepb.UnimplementedFirestoreServer
	firestore firestorepb.FirestoreClient
	address   string

	// Faults, which do not change while it serves.
	late   time.Duration // the first answer to a query
	cut    int           // after so many documents a query breaks off; 0: it does not
	denied bool          // single documents are

	mu      sync.Mutex
	queries []query
	counts  []int64 // what was counted
}

// A query is one that was answered with documents.
type query struct {
	began, ended time.Time
	since        time.Time // of updated_at; zero: all documents
	documents    int
	complete     bool
}

// reads is what a query costs: one read each document, and one if there is none.
func (q query) reads() int { return max(1, q.documents) }

// countReads is what it costs to count n documents: one read each 1,000 index
// entries, one at least.
func countReads(n int64) int { return max(1, int((n+999)/1000)) }

// dialFirestore connects to the emulator.
func dialFirestore(t testing.TB) firestorepb.FirestoreClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+emulatortest.Firestore(t), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return firestorepb.NewFirestoreClient(conn)
}

func newMeter(t testing.TB, firestore firestorepb.FirestoreClient, faults ...func(*meter)) *meter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{firestore: firestore, address: listener.Addr().String()}
	for _, fault := range faults {
		fault(m)
	}
	server := grpc.NewServer()
	firestorepb.RegisterFirestoreServer(server, m)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return m
}

// forwarded returns a call's context for the emulator.
func forwarded(ctx context.Context) context.Context {
	incoming, _ := metadata.FromIncomingContext(ctx)
	outgoing := metadata.MD{}
	for _, name := range []string{"authorization", "google-cloud-resource-prefix", "x-goog-request-params"} {
		outgoing.Set(name, incoming.Get(name)...)
	}
	return metadata.NewOutgoingContext(ctx, outgoing)
}

func (m *meter) RunQuery(request *firestorepb.RunQueryRequest, stream firestorepb.Firestore_RunQueryServer) error {
	q := query{began: time.Now()}
	filter := request.GetStructuredQuery().GetWhere().GetFieldFilter()
	if filter.GetField().GetFieldPath() == "updated_at" {
		q.since = filter.GetValue().GetTimestampValue().AsTime()
	}
	defer func() {
		q.ended = time.Now()
		m.mu.Lock()
		defer m.mu.Unlock()
		if filter.GetField().GetFieldPath() != "kind" { // the beginning of a first load, which costs one
			m.queries = append(m.queries, q)
		}
	}()
	if request.GetStructuredQuery().GetWhere() == nil {
		select {
		case <-time.After(m.late):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	answers, err := m.firestore.RunQuery(forwarded(stream.Context()), request)
	if err != nil {
		return err
	}
	for {
		if m.cut > 0 && q.documents == m.cut {
			return status.Error(codes.Unavailable, "broken off")
		}
		answer, err := answers.Recv()
		if err == io.EOF {
			q.complete = true
			return nil
		}
		if err != nil {
			return err
		}
		if answer.GetDocument() != nil {
			q.documents++
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (m *meter) BatchGetDocuments(request *firestorepb.BatchGetDocumentsRequest, stream firestorepb.Firestore_BatchGetDocumentsServer) error {
	if m.denied {
		return status.Error(codes.PermissionDenied, "no right to get documents")
	}
	answers, err := m.firestore.BatchGetDocuments(forwarded(stream.Context()), request)
	if err != nil {
		return err
	}
	for {
		answer, err := answers.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (m *meter) RunAggregationQuery(request *firestorepb.RunAggregationQueryRequest, stream firestorepb.Firestore_RunAggregationQueryServer) error {
	answers, err := m.firestore.RunAggregationQuery(forwarded(stream.Context()), request)
	if err != nil {
		return err
	}
	for {
		answer, err := answers.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range answer.GetResult().GetAggregateFields() {
			m.mu.Lock()
			m.counts = append(m.counts, n.GetIntegerValue())
			m.mu.Unlock()
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// since returns how many refreshes began after a time and are over.
func (m *meter) since(at time.Time) (n int) {
	for _, q := range m.noted() {
		if q.complete && q.began.After(at) {
			n++
		}
	}
	return n
}

func (m *meter) noted() []query {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.queries)
}

func (m *meter) aggregations() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.counts)
}

// A ruleCollection is a collection of rules that were written long ago, and a
// few that the test changes.
type ruleCollection struct {
	url       string
	store     blocklist.Store
	changing  []blocklist.Rule
	documents int
	revisions []revision
}

// A revision is what a change of the collection left behind.
type revision struct {
	began, ended time.Time
	updated      []time.Time // updated_at of each of the rules that change
}

// newRuleCollection writes so many rules, for the hosts blocked-0.example and
// so on, as of an hour ago: those of the last 30 seconds would be read again at
// every refresh.
func newRuleCollection(t *testing.T, n int) *ruleCollection {
	t.Helper()
	emulatortest.Firestore(t)
	project := emulatortest.Project(t)
	c := &ruleCollection{url: "firestore://" + project + "/(default)/blocklist", documents: n}
	client, err := firestore.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	writer := client.BulkWriter(t.Context())
	var jobs []*firestore.BulkWriterJob
	for i := range n {
		job, err := writer.Set(client.Collection("blocklist").NewDoc(), map[string]any{
			"kind": "host", "value": fmt.Sprintf("blocked-%d.example", i), "updated_at": time.Now().Add(-time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job)
	}
	writer.End()
	for _, job := range jobs {
		if _, err := job.Results(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		rule, err := blocklist.ParseRule(fmt.Sprintf("host:changing-%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		c.changing = append(c.changing, rule)
	}
	if c.store, err = endpoint.OpenStore(c.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.store.Close() })
	return c
}

// lift lifts rules all of which are there.
func (c *ruleCollection) lift(ctx context.Context, rules ...blocklist.Rule) error {
	missing, err := c.store.Lift(ctx, rules...)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%v is missing", missing)
	}
	return err
}

// write changes the rules, notes what that leaves behind, and returns when it
// took effect, by the server's clock.
func (c *ruleCollection) write(t *testing.T, change func(context.Context, ...blocklist.Rule) error) time.Time {
	t.Helper()
	r := revision{began: time.Now()}
	if err := change(t.Context(), c.changing...); err != nil {
		t.Fatal(err)
	}
	r.ended = time.Now()
	all, _, err := c.store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range all {
		if strings.HasPrefix(rule.Value, "changing-") {
			r.updated = append(r.updated, rule.UpdatedAt)
		}
	}
	c.documents = len(all)
	c.revisions = append(c.revisions, r)

	return slices.MaxFunc(r.updated, time.Time.Compare)
}

// changedSince returns how many documents a query had to read. It is not known
// of one that ran while they were written.
func (c *ruleCollection) changedSince(q query) (n int, known bool) {
	var updated []time.Time
	for _, r := range c.revisions {
		if r.ended.Before(q.began) {
			updated = r.updated
		} else if r.began.Before(q.ended) {
			return 0, false
		}
	}
	for _, at := range updated {
		if !at.Before(q.since) {
			n++
		}
	}
	return n, true
}

// What an instance reads in a day is what the price lists of the documentation
// are made of.
func TestReadsOfADay(t *testing.T) {
	testsize.Large(t)
	const refreshes = 24 * 60 * 60 / 15
	for _, test := range []struct {
		rules, changed                    int
		wholes, counts, changeReads, want int
	}{
		// Where all is read every 10 minutes there is nothing left to count.
		{rules: 100, wholes: 144, want: 144*100 + refreshes - 144},
		{rules: 1000, wholes: 144, want: 144*1000 + refreshes - 144},
		// A changed rule is read by three refreshes: the one that finds it, and
		// two that begin to read 30 seconds before the one before them.
		{rules: 100, changed: 10, wholes: 144, changeReads: 3 * 10, want: 144*100 + refreshes - 144 + 3*(10-1)},
		// One change alone costs what a refresh without one does.
		{rules: 100, changed: 1, wholes: 144, changeReads: 3, want: 144*100 + refreshes - 144},
		// All is read by the first refresh after 5,000 s, and counted every 10
		// minutes between: one read each thousand, and one for no expired ones.
		{rules: 10_000, wholes: 18, counts: 138, want: 18*10_000 + refreshes - 18 + 138*(10+1)},
	} {
		t.Run(fmt.Sprintf("%d rules, %d changed", test.rules, test.changed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &meteredSource{updated: make([]time.Time, test.rules)}
				for i := range s.updated {
					s.updated[i] = time.Now().Add(-time.Hour)
				}
				c := blocklist.NewCache(s, blocklist.DefaultOptions())
				c.Start(t.Context())
				// In the middle between two refreshes, and between two reloads.
				time.Sleep(5*time.Minute + 7*time.Second)
				s.change(test.changed)
				time.Sleep(24*time.Hour - 5*time.Minute - 7*time.Second - time.Millisecond)
				c.Close()
				if s.reads != test.want || s.wholes != test.wholes || s.counted != test.counts || s.changed != test.changeReads {
					t.Errorf("%d reads, want %d: all %d times, want %d; counted %d times, want %d; %d changed documents, want %d",
						s.reads, test.want, s.wholes, test.wholes, s.counted, test.counts, s.changed, test.changeReads)
				}
				t.Logf("%d reads a day: all %d times, %d counts, the rest refreshes", s.reads, s.wholes, s.counted)
			})
		})
	}
}

// A meteredSource is documents in memory whose reads cost what Firestore takes
// for them.
type meteredSource struct {
	mu      sync.Mutex
	updated []time.Time // of each document
	recent  int         // so many of them, the first, were changed since the start

	reads, wholes, counted int
	changed                int // documents read by refreshes
}

// change gives the first n documents a new updated_at.
func (s *meteredSource) change(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		s.updated[i] = time.Now()
	}
	s.recent = n
}

func (s *meteredSource) Read(_ context.Context, since time.Time, _ string, yield func(blocklist.Document)) (whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, updated := query{}, s.updated
	if !since.IsZero() {
		updated = updated[:s.recent]
	}
	for i, at := range updated {
		if !at.Before(since) {
			d := blocklist.Document{ID: strconv.Itoa(i)}
			d.Set("kind", "host")
			d.Set("value", fmt.Sprintf("blocked-%d.example", i))
			d.Set("updated_at", at)
			yield(d)
			q.documents++
		}
	}
	s.reads += q.reads()
	if since.IsZero() {
		s.wholes++
	} else {
		s.changed += q.documents
	}
	return since.IsZero(), nil
}

func (s *meteredSource) Get(context.Context, []string) ([]blocklist.Document, error) {
	return nil, errors.ErrUnsupported
}

// Count counts with two queries, of which that of expired documents finds none.
func (s *meteredSource) Count(context.Context, time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted++
	s.reads += countReads(int64(len(s.updated))) + countReads(0)
	return len(s.updated), nil
}

func (s *meteredSource) Close() error { return nil }

// To count documents costs two aggregations and reads no document.
func TestCountReads(t *testing.T) {
	testsize.Large(t)
	const documents = 1001
	rules := newRuleCollection(t, documents)
	m := newMeter(t, dialFirestore(t))
	t.Setenv("FIRESTORE_EMULATOR_HOST", m.address)
	source, err := endpoint.OpenSource(rules.url)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if n, err := source.Count(t.Context(), time.Now()); n != documents || err != nil {
		t.Errorf("%d documents, %v", n, err)
	}
	counts := m.aggregations()
	reads := 0
	for _, n := range counts {
		reads += countReads(n)
	}
	if !slices.Equal(counts, []int64{documents, 0}) || len(m.noted()) > 0 || reads != 3 {
		t.Errorf("the counts are %v and %d queries: %d reads, want 3", counts, len(m.noted()), reads)
	}
}

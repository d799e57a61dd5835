package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"example.com/linktracker/linkcore/emulatortest"
)

// A ledger accounts for clicks one by one. Each carries a number in its query,
// which its event repeats: so it is known of each click that was answered
// whether its event was published, spilled, both or neither.
type ledger struct {
	client *http.Client

	mu        sync.Mutex
	next      int
	answered  map[int]int // by number: the status
	published map[int]int // how often
	ids       map[string]int
	failed    int  // requests without an answer while the server did not stop
	cut       int  // answers that ended early
	stopping  bool // from here on a request may find nobody
	took      []time.Duration
}

// patience is how long a click waits for its answer. No machine is busy for as
// long: where nobody may wait for something, the test has it take longer.
const patience = time.Minute

func newLedger() *ledger {
	return &ledger{
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// A response may be held for as long as a test likes.
			Transport: &http.Transport{MaxIdleConnsPerHost: 1024, ResponseHeaderTimeout: patience},
		},
		answered: map[int]int{}, published: map[int]int{}, ids: map[string]int{},
	}
}

// newLedgerTopic makes a topic whose events the ledger notes as published.
func newLedgerTopic(t testing.TB) (*ledger, string) {
	t.Helper()
	emulatortest.PubSub(t)
	project := emulatortest.Project(t)
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	topic, name := "projects/"+project+"/topics/clicks", "projects/"+project+"/subscriptions/ledger"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		// What a stream was given and lost comes again while settle still waits.
		Name: name, Topic: topic, AckDeadlineSeconds: 10,
	}); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	subscriber := client.Subscriber(name)
	subscriber.ReceiveSettings.MaxDurationPerAckExtension = 10 * time.Second
	go func() {
		defer close(done)
		subscriber.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			l.note(t, m.Data)
			m.Ack()
		})
	}()
	t.Cleanup(func() { cancel(); <-done; client.Close() })
	return l, "pubsub://" + project + "/clicks"
}

// note notes an event that has arrived. It knows clicks by their query, which the
// event of an untracked person does not hold: an endpoint that may not know its rules
// needs BLOCKLIST_UNAVAILABLE=allow.
func (l *ledger) note(t testing.TB, data []byte) {
	var event struct {
		ID    string `json:"event_id"`
		Query string `json:"query"`
	}
	if err := json.Unmarshal(data, &event); err != nil {
		t.Errorf("an event that is not JSON: %q", data)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids[event.ID]++
	l.published[clickNumber(event.Query)]++
}

func clickNumber(query string) int {
	values, _ := url.ParseQuery(query)
	n, err := strconv.Atoi(values.Get("n"))
	if err != nil {
		return -1
	}
	return n
}

// click clicks once, and notes the answer when its headers are there. It returns
// its status when it has ended, 0 if there is none.
func (l *ledger) click(address, target string) (status int) {
	return l.clickThen(address, target, func() {})
}

// clickThen is click, and calls answered when the headers are there or there is
// no answer: the recipient is on the way, however long the response is held.
func (l *ledger) clickThen(address, target string, answered func()) (status int) {
	l.mu.Lock()
	n := l.next
	l.next++
	l.mu.Unlock()
	begin := time.Now()
	response, err := l.client.Get("http://" + address + target + "?n=" + strconv.Itoa(n))
	took := time.Since(begin)
	l.mu.Lock()
	if err != nil {
		defer answered()
		defer l.mu.Unlock()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			l.cut++ // in its headers
		} else if !l.stopping {
			l.failed++
		}
		return 0
	}
	l.answered[n] = response.StatusCode
	l.took = append(l.took, took)
	l.mu.Unlock()
	answered()
	_, err = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cut++
	}
	return response.StatusCode
}

// timed clicks once and returns how long the redirect took.
func (l *ledger) timed(t *testing.T, address, target string) time.Duration {
	t.Helper()
	begin := time.Now()
	if status := l.click(address, target); status != http.StatusFound {
		t.Fatalf("status %d", status)
	}
	return time.Since(begin)
}

// clicks makes n clicks, ten at a time, and returns when each has its answer, or
// one has failed. The responses may be held for longer: ended waits for their
// ends.
func (l *ledger) clicks(n int, address, target string) (ended func()) {
	var answers, ends sync.WaitGroup
	free := make(chan struct{}, 10)
	for range n {
		free <- struct{}{}
		if l.account().failed > 0 {
			break
		}
		answers.Add(1)
		ends.Go(func() {
			l.clickThen(address, target, func() { <-free; answers.Done() })
		})
	}
	answers.Wait()
	return ends.Wait
}

// load clicks at a constant rate, however long the answers take, until the
// context ends, and returns when every click has its answer or has failed.
func (l *ledger) load(ctx context.Context, perSecond int, address func() string, targets ...string) {
	var clicks sync.WaitGroup
	defer clicks.Wait()
	const interval = 5 * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	start, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due := int(time.Since(start).Seconds() * float64(perSecond)); sent < due; sent++ {
			target := targets[sent%len(targets)]
			clicks.Go(func() { l.click(address(), target) })
		}
	}
}

// loadThenStop clicks from many clients at once, sends SIGTERM in the middle and
// returns when every click has its answer or has found that nobody accepts it.
func (l *ledger) loadThenStop(t testing.TB, s *server, target string) {
	t.Helper()
	var clients sync.WaitGroup
	for range 60 {
		clients.Go(func() {
			for l.click(s.address, target) != 0 {
			}
		})
	}
	waitFor(t, "the load", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stopping = len(l.answered) >= 200
		return l.stopping
	})
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	clients.Wait()
}

// account is what became of the clicks that were answered.
type account struct {
	answered, published, spilled, both, neither, failed, cut int
	p50, p99, slowest                                        time.Duration // to the headers
}

func (a account) String() string {
	return fmt.Sprintf("%d answered (p50 %v, p99 %v, slowest %v), %d published, %d spilled, %d of them both, %d neither; %d requests without an answer, %d answers cut",
		a.answered, a.p50.Round(10*time.Microsecond), a.p99.Round(10*time.Microsecond), a.slowest.Round(10*time.Microsecond),
		a.published, a.spilled, a.both, a.neither, a.failed, a.cut)
}

// account compares the clicks with what has arrived and what the servers have
// spilled.
func (l *ledger) account(servers ...*server) (a account) {
	spilled := map[int]bool{}
	for _, s := range servers {
		for _, line := range s.log("event spilled") {
			event, _ := line["event"].(map[string]any)
			query, _ := event["query"].(string)
			spilled[clickNumber(query)] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a.failed, a.cut = l.failed, l.cut
	for n := range l.answered {
		a.answered++
		published := l.published[n] > 0
		switch {
		case published && spilled[n]:
			a.both++
		case !published && !spilled[n]:
			a.neither++
		}
		if published {
			a.published++
		}
		if spilled[n] {
			a.spilled++
		}
	}
	if took := slices.Sorted(slices.Values(l.took)); len(took) > 0 {
		a.p50, a.p99, a.slowest = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	return a
}

// settle waits until all answered clicks but so many are accounted for, or until
// nothing has arrived any more for a while.
func (l *ledger) settle(but int, servers ...*server) account {
	a := l.account(servers...)
	for quiet := time.Now(); a.neither > but && time.Since(quiet) < patience; {
		time.Sleep(20 * time.Millisecond) // between looks at what comes from elsewhere
		if now := l.account(servers...); now != a {
			a, quiet = now, time.Now()
		}
	}
	return a
}

// wantAll fails the test if an answered click is neither published nor spilled,
// or if a click had no answer or half of one.
func (l *ledger) wantAll(t testing.TB, atLeast int, servers ...*server) account {
	t.Helper()
	a := l.settle(0, servers...)
	t.Log(a)
	if a.failed > 0 || a.cut > 0 {
		t.Errorf("%d requests had no answer, %d answers were cut", a.failed, a.cut)
	}
	if a.neither > 0 {
		t.Errorf("%d answered clicks are neither published nor spilled", a.neither)
		for _, s := range servers {
			t.Log(s.log("stopping with requests in flight"), s.log("not everything ended"), s.log("stats"))
		}
	}
	if a.answered < atLeast {
		t.Errorf("only %d clicks were answered, want %d for the test to mean something", a.answered, atLeast)
	}
	return a
}

// readFile notes the events of a clicks file.
func (l *ledger) readFile(t testing.TB, lines string) {
	for line := range strings.Lines(lines) {
		if strings.TrimSpace(line) != "" {
			l.note(t, []byte(line))
		}
	}
}

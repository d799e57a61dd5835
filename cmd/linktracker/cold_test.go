package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/testsize"
)

// blockedLinks writes n rules of the kinds that a store can be asked for, and
// returns the URL of the blocklist and the targets of clicks links that they block.
func blockedLinks(t *testing.T, ring *linkcore.KeyRing, n, clicks int) (rulesURL string, targets []string) {
	t.Helper()
	emulatortest.Firestore(t)
	rulesURL = "firestore://" + emulatortest.Project(t) + "/(default)/blocklist"
	store, err := endpoint.OpenStore(rulesURL)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var rules []blocklist.Rule
	for i := range n {
		rule := blocklist.Rule{Kind: blocklist.Host, Value: fmt.Sprintf("blocked-%d.example", i)}
		switch i % 5 {
		case 1:
			rule = blocklist.Rule{Kind: blocklist.URL, Value: fmt.Sprintf("shop.example/page?id=%d", i)}
		case 2:
			rule = blocklist.Rule{Kind: blocklist.Customer, Value: fmt.Sprintf("customer-%d", i)}
		case 3:
			rule = blocklist.Rule{Kind: blocklist.Campaign, Value: fmt.Sprintf("acme/campaign-%d", i)}
		case 4:
			rule = blocklist.Rule{Kind: blocklist.Link, Value: fmt.Sprintf("acme/link-%d", i)}
		}
		rules = append(rules, rule)
	}
	var writers sync.WaitGroup
	for part := range slices.Chunk(rules, max(n/8, 1)) {
		writers.Go(func() {
			if err := store.Put(t.Context(), part...); err != nil {
				t.Error(err)
			}
		})
	}
	begin := time.Now()
	writers.Wait()
	t.Logf("%d rules written in %v", n, time.Since(begin))
	for i := range clicks {
		k := i * 7919 % n
		f, destination := linkcore.Fields{Customer: "acme", Campaign: "spring", Recipient: fmt.Sprintf("r%d", i), Link: fmt.Sprintf("l%d", i)}, "https://free.example/a/b?c=d"
		switch k % 5 {
		case 0:
			destination = fmt.Sprintf("https://www.blocked-%d.example/a?b=c", k)
		case 1:
			destination = fmt.Sprintf("https://shop.example/page?id=%d", k)
		case 2:
			f.Customer = fmt.Sprintf("customer-%d", k)
		case 3:
			f.Campaign = fmt.Sprintf("campaign-%d", k)
		case 4:
			f.Link = fmt.Sprintf("link-%d", k)
		}
		targets = append(targets, link(t, ring, f, destination, linkcore.Options{ExactLink: true}))
	}
	return rulesURL, targets
}

// clickEach clicks on each target, so many at a time, and returns how long the
// first bytes of each status took.
func clickEach(t *testing.T, address string, targets []string, connections int) (took map[int][]time.Duration) {
	t.Helper()
	took = map[int][]time.Duration{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	next := make(chan string, len(targets))
	for _, target := range targets {
		next <- target
	}
	close(next)
	for range connections {
		clients.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for target := range next {
				begin := time.Now()
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target)
				response, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Error(err)
					return
				}
				elapsed := time.Since(begin)
				response.Write(discard{})
				mu.Lock()
				took[response.StatusCode] = append(took[response.StatusCode], elapsed)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	for _, status := range took {
		slices.Sort(status)
	}
	return took
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// ready waits until the endpoint says that it is.
func (s *server) ready(t *testing.T) {
	t.Helper()
	waitFor(t, "the endpoint to be ready", func() bool {
		response, err := http.Get("http://" + s.address + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// Clicks on blocked links of instances that have just started, alone or among eight.
// None passes once an instance with a whole copy says that it is ready. Before, those
// alone do of which the store did not answer within the wait: how many these are is
// this machine's speed. COLD=1 does it with 100,000 rules too, which takes the emulator
// many minutes.
func TestColdInstances(t *testing.T) {
	testsize.Large(t)
	const clicks = 1000
	keys, ring := keyFolder(t)
	sizes := []int{100, 10_000}
	if os.Getenv("COLD") != "" {
		sizes = append(sizes, 100_000)
	}
	for _, n := range sizes {
		rulesURL, targets := blockedLinks(t, ring, n, clicks)
		for _, instances := range []int{1, 8} {
			for name, startWait := range map[string]string{"ready when whole": "10m", "ready by default": "3s", "not asked": "3s"} {
				if n > 100 && instances > 1 && name != "ready when whole" && os.Getenv("COLD") == "" {
					continue // takes a minute, and what passes depends on the emulator
				}
				t.Run(fmt.Sprintf("%d rules, %d instances, %s", n, instances, name), func(t *testing.T) {
					var all sync.WaitGroup
					for range instances {
						all.Go(func() {
							events := filepath.Join(t.TempDir(), "clicks.jsonl")
							s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:"+events, "DELIVERY=background", "BLOCKLIST="+rulesURL, "BLOCKLIST_START_WAIT="+startWait)
							begin := time.Now()
							if name != "not asked" {
								s.ready(t)
							}
							took := time.Since(begin)
							times := clickEach(t, s.address, targets, 4)
							blocked, passed := times[http.StatusGone], times[http.StatusFound]
							if len(blocked)+len(passed) != len(targets) || name == "ready when whole" && len(passed) > 0 {
								t.Errorf("%d of %d blocked links are blocked, and %d pass", len(blocked), len(targets), len(passed))
							}
							each := slices.Sorted(slices.Values(slices.Concat(blocked, passed)))
							if p99 := each[len(each)*99/100]; p99 > 4*blocklist.DefaultOptions().Wait { // twice would do where nothing else runs
								t.Errorf("p99 of the first byte is %v: clicks wait more than once", p99)
							}
							t.Logf("ready after %v, %d passed; first byte: median %v, p99 %v", took, len(passed), each[len(each)/2], each[len(each)*99/100])
							waitFor(t, "the load", func() bool { return len(s.log("blocklist loaded")) == 1 })
							if took := clickEach(t, s.address, targets, 4); len(took[http.StatusGone]) != len(targets) {
								t.Errorf("%d of %d are blocked once all is loaded", len(took[http.StatusGone]), len(targets))
							}
							s.stop(t)
							wantUnknown(t, events, len(passed))
						})
					}
					all.Wait()
				})
			}
		}
	}
}

// wantUnknown checks that the store had not answered for those clicks that passed.
func wantUnknown(t *testing.T, events string, passed int) {
	t.Helper()
	text, err := os.ReadFile(events)
	if err != nil {
		t.Error(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(`"event_type":"click"`)) {
			continue
		}
		passed--
		if !bytes.Contains(line, []byte(`"rules_unknown":true`)) {
			t.Errorf("a blocked link passed though its rules were known: %s", line)
		}
	}
	if passed != 0 {
		t.Errorf("%d more links passed than there are events", passed)
	}
}

// What goes wrong while the first load lasts: a click asks for the rules of its link
// all the same, and the load comes to its end.
func TestColdFaults(t *testing.T) {
	testsize.Large(t)
	const n = 900
	keys, ring := keyFolder(t)
	rulesURL, targets := blockedLinks(t, ring, n, 50)
	for _, test := range []struct {
		name  string
		fault func(*meter)
		asks  bool // clicks are blocked before the load has ended
	}{
		{"the first document comes after 20 s", func(m *meter) { m.late = 20 * time.Second }, true},
		{"cut in the middle", func(m *meter) { m.cut = 300 }, true},
		{"documents may be listed and not got", func(m *meter) { m.denied, m.late = true, 3*time.Second }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMeter(t, dialFirestore(t), test.fault)
			s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:/dev/null", "DELIVERY=background", "BLOCKLIST="+rulesURL, "FIRESTORE_EMULATOR_HOST="+m.address)
			took := clickEach(t, s.address, targets, 1)
			if len(s.log("blocklist loaded")) > 0 {
				t.Error("the load has ended already: the test shows nothing")
			}
			// Where the store may be asked, a click passes only if the answer was late.
			passed := len(took[http.StatusFound])
			early := len(slices.DeleteFunc(slices.Clone(took[http.StatusFound]), func(d time.Duration) bool { return d >= 200*time.Millisecond }))
			if test.asks && early > len(targets)/10 || !test.asks && passed < len(targets) {
				t.Errorf("%d clicks on blocked links passed, and %d did not: %v", passed, len(took[http.StatusGone]), s.lines)
			}
			waitFor(t, "the load", func() bool { return len(s.log("blocklist loaded")) == 1 })
			if took := clickEach(t, s.address, targets, 1); len(took[http.StatusGone]) != len(targets) {
				t.Errorf("%d of %d are blocked once all is loaded", len(took[http.StatusGone]), len(targets))
			}
			// Nothing was read twice but what was not heard.
			read := 0
			for _, q := range m.noted() {
				if q.since.IsZero() {
					read += q.documents
				}
			}
			if read < n || read > n+n/10 {
				t.Errorf("%d documents were read for %d", read, n)
			}
			if code, _ := s.stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
	t.Run("refuses at first", func(t *testing.T) {
		t.Parallel()
		f := newFront(t, emulatortest.Firestore(t))
		f.refuse()
		s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:/dev/null", "DELIVERY=background", "BLOCKLIST="+rulesURL, "FIRESTORE_EMULATOR_HOST="+f.Addr().String())
		if took := clickEach(t, s.address, targets[:10], 1); len(took[http.StatusFound]) != 10 {
			t.Errorf("%d of 10 passed: the fault was none", len(took[http.StatusFound]))
		}
		f.again()
		s.ready(t)
		waitFor(t, "the rules to be known", func() bool { status, _ := s.headers(t, targets[0]); return status == http.StatusGone })
	})
}

// Many rules are imported while eight instances run: clicks go on, and all follow.
// IMPORT says how many, 1,000,000 in make cold; Firestore's emulator gets a tenth.
func TestImportWhileEightRun(t *testing.T) {
	testsize.Large(t)
	n, err := strconv.Atoi(cmp.Or(os.Getenv("IMPORT"), "50000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules.jsonl")
		importWhileEightRun(t, "file:"+path, n, func(n int) error {
			var b bytes.Buffer
			for i := range n {
				fmt.Fprintf(&b, `{"kind":"host","value":"blocked-%d.example","reason":"imported","updated_at":"2026-05-01T12:00:00Z"}`+"\n", i)
			}
			return errors.Join(os.WriteFile(path+".new", b.Bytes(), 0o600), os.Rename(path+".new", path))
		})
	})
	t.Run("Firestore", func(t *testing.T) {
		emulatortest.Firestore(t)
		url := "firestore://" + emulatortest.Project(t) + "/(default)/blocklist"
		store, err := endpoint.OpenStore(url)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		importWhileEightRun(t, url, n/10, func(n int) error {
			rules := make([]blocklist.Rule, n)
			for i := range rules {
				rules[i] = blocklist.Rule{Kind: blocklist.Host, Value: fmt.Sprintf("blocked-%d.example", i)}
			}
			return store.Put(t.Context(), rules...)
		})
	})
}

// importWhileEightRun has write write n rules.
func importWhileEightRun(t *testing.T, rulesURL string, n int, write func(n int) error) {
	keys, ring := keyFolder(t)
	if err := write(1); err != nil {
		t.Fatal(err)
	}
	var servers []*server
	for range 8 {
		s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:/dev/null", "DELIVERY=background", "BLOCKLIST="+rulesURL, "BLOCKLIST_REFRESH=1s")
		waitFor(t, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
		servers = append(servers, s)
	}
	to := func(host string) string {
		return link(t, ring, linkcore.Fields{}, "https://"+host+"/", linkcore.Options{})
	}
	free, first, last := to("free.example"), to("blocked-0.example"), to(fmt.Sprintf("blocked-%d.example", n-1))
	begin := time.Now()
	written := make(chan error, 1)
	go func() { written <- write(n) }()
	var clicks, slowest int64
	for i, s := range servers {
		waitFor(t, "the last rule to be followed", func() bool {
			for target, want := range map[string]int{first: http.StatusGone, free: http.StatusFound} {
				clicked := time.Now()
				if status, _ := s.headers(t, target); status != want {
					t.Fatalf("status %d, want %d", status, want)
				}
				clicks, slowest = clicks+1, max(slowest, time.Since(clicked).Milliseconds())
			}
			status, _ := s.headers(t, last)
			return status == http.StatusGone
		})
		t.Logf("instance %d follows %d rules after %v", i, n, time.Since(begin).Round(time.Millisecond))
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	t.Logf("%d clicks meanwhile, the slowest in %d ms", clicks, slowest)
	for _, s := range servers {
		if failed := s.log("blocklist cannot be refreshed; the last copy stays in use"); len(failed) > 0 {
			t.Logf("a refresh failed: %v", failed)
		}
		if code, _ := s.stop(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

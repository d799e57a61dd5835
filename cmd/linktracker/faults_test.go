package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/testsize"
)

// Pub/Sub refuses, is slow, hangs, dies and comes back: every answered click is
// published or spilled. That no recipient waits for it is
// TestPlacesWhilePubSubHangs.
func TestPubSubFaults(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"hold", "background"} {
		for _, fault := range []struct {
			name    string
			inject  func(*front)
			spills  bool // at least some
			returns bool // Pub/Sub works again at the end
		}{
			{"refuses", (*front).refuse, true, false},
			{"slow", func(f *front) { f.slow(2 * time.Second) }, false, false},
			{"hangs", (*front).hang, true, false},
			{"dies and comes back", func(f *front) { f.refuse(); f.again() }, false, true},
		} {
			t.Run(mode+", "+fault.name, func(t *testing.T) {
				t.Parallel()
				l, topic := newLedgerTopic(t)
				f := newFront(t, emulatortest.PubSub(t))
				keys, ring := keyFolder(t)
				s := start(t, nil, "LINK_KEYS="+keys, "CLICKS="+topic, "BLOCKLIST=none", "DELIVERY="+mode, "DELIVERY_TIMEOUT=1s", "PUBSUB_EMULATOR_HOST="+f.Addr().String())
				target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
				l.clicks(50, s.address, target)()
				ended := l.clicks(20, s.address, target)
				fault.inject(f)
				l.clicks(100, s.address, target)()
				ended()
				if fault.returns {
					waitFor(t, "Pub/Sub to be used again", func() bool {
						before := l.account(s).published
						l.click(s.address, target)
						time.Sleep(50 * time.Millisecond) // between clicks
						return l.account(s).published > before
					})
				}
				if code, _ := s.stop(t); code != 0 {
					t.Errorf("exit code %d", code)
				}
				if a := l.wantAll(t, 170, s); fault.spills && a.spilled == 0 {
					t.Error("nothing was spilled: the fault was none")
				}
			})
		}
	}
}

// Firestore refuses, is slow, hangs, dies and comes back: clicks go on with the
// rules that are known, and once it is back new rules are followed.
func TestFirestoreFaults(t *testing.T) {
	t.Parallel()
	const slow = 2 * time.Second
	for _, fault := range []struct {
		name   string
		inject func(*front)
		fails  bool // refreshes
	}{
		{"refuses", (*front).refuse, true},
		{"slow", func(f *front) { f.slow(slow) }, false},
		{"hangs", (*front).hang, false}, // the read is made again once the connection ends
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, emulatortest.Firestore(t))
			rulesURL := "firestore://" + emulatortest.Project(t) + "/(default)/blocklist"
			store, err := endpoint.OpenStore(rulesURL)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			put := func(text string) {
				rule, err := blocklist.ParseRule(text)
				if err == nil {
					err = store.Put(t.Context(), rule)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			put("host:before.example")
			keys, ring := keyFolder(t)
			clicks := filepath.Join(t.TempDir(), "clicks")
			s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:"+clicks, "BLOCKLIST="+rulesURL, "BLOCKLIST_UNAVAILABLE=allow", "BLOCKLIST_REFRESH=200ms", "FIRESTORE_EMULATOR_HOST="+f.Addr().String())
			waitFor(t, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
			before := link(t, ring, linkcore.Fields{}, "https://before.example/", linkcore.Options{})
			after := link(t, ring, linkcore.Fields{}, "https://after.example/", linkcore.Options{})
			free := link(t, ring, linkcore.Fields{}, "https://free.example/", linkcore.Options{})

			l := newLedger()
			l.clicks(50, s.address, free)()
			fault.inject(f)
			// Ten at a time: if each waited for one answer of Firestore, they would
			// take ten times as long as one.
			const n = 200
			begin := time.Now()
			l.clicks(n, s.address, free)()
			if took := time.Since(begin); took > n/10*slow {
				t.Errorf("%d clicks took %v: they waited for Firestore", n, took)
			}
			if status, _ := s.headers(t, before); status != http.StatusGone {
				t.Errorf("the rule that was known does not hold: %d", status)
			}
			written := time.Now()
			put("host:after.example")
			// No answer of Firestore arrives in less than that, if any does.
			for time.Since(written) < slow/2 {
				if status, _ := s.headers(t, after); status != http.StatusFound && time.Since(written) < slow {
					t.Fatalf("status %d for what a rule blocks that cannot be known: the fault was none", status)
				}
				time.Sleep(20 * time.Millisecond) // between looks at another process
			}
			f.again()
			waitFor(t, "the rule that was written meanwhile", func() bool { status, _ := s.headers(t, after); return status == http.StatusGone })
			if code, _ := s.stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if n := s.stat("refresh_failures"); n == 0 && fault.fails {
				t.Error("no refresh failed: the fault was none")
			}
			content, err := os.ReadFile(clicks)
			if err != nil {
				t.Fatal(err)
			}
			l.readFile(t, string(content))
			l.wantAll(t, 250, s)
		})
	}
}

// A front end admits so many requests at a time, as Cloud Run does by its
// concurrency, and counts a held response as one. While Pub/Sub hangs, and
// nothing ends a delivery before the test does, no redirect waits for it, and
// half of the places are free for those that are under way.
func TestPlacesWhilePubSubHangs(t *testing.T) {
	testsize.Large(t)
	const places, most, links, clicks = 80, 40, 20, 1000
	for _, test := range []struct {
		mode string
		held int
	}{
		{"hold", most},
		{"background", 0},
	} {
		t.Run(test.mode, func(t *testing.T) {
			t.Parallel()
			keys, ring := keyFolder(t)
			s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=pubsub://p/t", "BLOCKLIST=none", "DELIVERY="+test.mode,
				fmt.Sprint("HOLD_MAX=", most), "DELIVERY_TIMEOUT=10m", "PUBSUB_EMULATOR_HOST="+hanging(t))
			front, taken := newAdmission(t, s.address, places)
			l := newLedger()
			var ended []func()
			for range links { // one alone is not given every place
				target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
				ended = append(ended, l.clicks(clicks/links, front, target))
			}
			waitFor(t, "the places of what is not held", func() bool { return taken() <= test.held })
			if n := taken(); n != test.held {
				t.Errorf("%d of %d places are taken by held responses, want %d", n, places, test.held)
			}
			if code, _ := s.stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, wait := range ended {
				wait()
			}
			l.wantAll(t, clicks, s)
		})
	}
}

// newAdmission forwards HTTP to a server, so many requests at a time, and says how
// many places are taken.
func newAdmission(t *testing.T, server string, places int) (address string, taken func() int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admitted := make(chan struct{}, places)
	transport := &http.Transport{MaxIdleConnsPerHost: places, DisableCompression: true}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admitted <- struct{}{}
		defer func() { <-admitted }()
		forwarded, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+server, nil)
		if err != nil {
			t.Error(err)
			return
		}
		forwarded.URL.Opaque, forwarded.Host = r.RequestURI, r.Host
		response, err := transport.RoundTrip(forwarded)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.Header().Set("Location", response.Header.Get("Location"))
		w.WriteHeader(response.StatusCode)
		http.NewResponseController(w).Flush()
		// The place is taken until the response has ended.
		if _, err := io.Copy(w, response.Body); err != nil {
			panic(http.ErrAbortHandler) // it was cut, which the client is to see
		}
	})
	admission := &http.Server{Handler: handler}
	go admission.Serve(listener)
	t.Cleanup(func() { admission.Close(); transport.CloseIdleConnections() })
	return listener.Addr().String(), func() int { return len(admitted) }
}

// SIGKILL loses what was answered and not yet acknowledged, and no more: with
// hold an event at most of each response that had not ended, and in the
// background nothing that Pub/Sub has had the time to take. What bounds that, if
// it takes none, is tested with the delivery.
func TestKill(t *testing.T) {
	for _, mode := range []string{"hold", "background"} {
		t.Run(mode, func(t *testing.T) {
			const clients = 30 // fewer than may be held
			l, topic := newLedgerTopic(t)
			keys, ring := keyFolder(t)
			s := start(t, nil, "LINK_KEYS="+keys, "CLICKS="+topic, "BLOCKLIST=none", "DELIVERY="+mode)
			target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
			l.clicks(100, s.address, target)()
			before := l.settle(0, s)
			if before.neither > 0 {
				t.Errorf("while Pub/Sub works: %v", before)
			}
			var load sync.WaitGroup
			for range clients {
				load.Go(func() {
					for l.click(s.address, target) != 0 {
					}
				})
			}
			waitFor(t, "the load", func() bool { return l.account(s).answered >= 200 })
			s.Process.Kill()
			load.Wait()
			<-s.logged
			most := clients
			if mode == "background" {
				most = l.account(s).answered - before.answered
			}
			a := l.settle(most, s)
			t.Log(a)
			if a.failed+a.cut == 0 {
				t.Errorf("the load did not see the end: %v", a)
			}
			if a.neither > most {
				t.Errorf("%d clicks were lost, the bound is %d", a.neither, most)
			}
		})
	}
}

// A disk that fills up: what does not fit any more is spilled, whole, and once
// there is room again, events are written again, none into half a line.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("a small file system needs root to be mounted")
	}
	folder := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", folder).Run() })
	keys, ring := keyFolder(t)
	clicks := filepath.Join(folder, "clicks")
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:"+clicks, "BLOCKLIST=none", "DELIVERY=background")
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	l := newLedger()
	click := func(n int) {
		for range n {
			if status := l.click(s.address, target); status != http.StatusFound {
				t.Fatalf("status %d", status)
			}
		}
	}
	click(400) // of about 400 bytes
	if err := exec.Command("mount", "-o", "remount,size=1m", folder).Run(); err != nil {
		t.Fatal(err)
	}
	// While deliveries fail the file is tried once a second.
	waitFor(t, "the file to be used again", func() bool {
		click(1)
		content, err := os.ReadFile(clicks)
		return err == nil && len(content) > 66<<10
	})
	click(10)
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile(clicks)
	if err != nil {
		t.Fatal(err)
	}
	torn := 0
	for line := range strings.Lines(string(content)) {
		if json.Valid([]byte(line)) {
			l.note(t, []byte(line))
		} else {
			torn++
		}
	}
	if torn > 1 {
		t.Errorf("%d lines are cut, want the one at which the disk was full", torn)
	}
	if a := l.wantAll(t, 400, s); a.spilled == 0 || a.published < 50 {
		t.Errorf("%v: want some of both", a)
	}
}

// Ten thousand connections that say nothing cost memory and nothing else.
func TestIdleConnections(t *testing.T) {
	testsize.Large(t)
	idle := 10_000
	if raceDetector {
		idle = 1_000 // each of them takes the detector's memory, too
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// This process and the server have one end each.
	if limit.Cur < uint64(idle)+200 {
		limit.Cur = min(limit.Max, uint64(idle)+200)
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		idle = min(idle, int(limit.Cur)-200)
	}
	keys, ring := keyFolder(t)
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	l := newLedger()
	startOne := func() (s *server, clicks, vitals string) {
		clicks, vitals = filepath.Join(t.TempDir(), "clicks"), filepath.Join(t.TempDir(), "vitals")
		return start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:"+clicks, "BLOCKLIST=none", "LINKTRACKER_TEST_VITALS="+vitals), clicks, vitals
	}
	// The same server without them does what this machine does now.
	quiet, quietClicks, _ := startOne()
	s, clicks, vitals := startOne()
	for i := range idle {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		if i%2 == 0 {
			// Half of them have had an answer and keep the connection.
			fmt.Fprintf(conn, "GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	var with, without []time.Duration
	for range 200 {
		with = append(with, l.timed(t, s.address, target))
		without = append(without, l.timed(t, quiet.address, target))
	}
	slices.Sort(with)
	slices.Sort(without)
	if median, usual := with[len(with)/2], without[len(without)/2]; median > 10*usual {
		t.Errorf("half of the clicks take %v or more, and %v without the connections", median, usual)
	}
	for _, s := range []*server{s, quiet} {
		if code, _ := s.stop(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	for _, path := range []string{clicks, quietClicks} {
		content, _ := os.ReadFile(path)
		l.readFile(t, string(content))
	}
	data, _ := os.ReadFile(vitals)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	t.Logf("with %d idle connections: goroutines, heap KiB, resident KiB, files: %s", idle, lines[len(lines)-1])
	l.wantAll(t, 400, s, quiet)
}

// Whoever opens more connections than the process may have, and keeps them, keeps
// nobody else out; and the log says what to do.
func TestMoreConnectionsThanDescriptors(t *testing.T) {
	keys, ring := keyFolder(t)
	s := startCommand(t, func(s *server) {
		s.Args = append([]string{"sh", "-c", `ulimit -n 100 && exec "$@"`, "sh", s.Path}, s.Args[1:]...)
		s.Path = "/bin/sh"
	}, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST=none")
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for i := range 130 {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		// Where none was closed for it, nobody answers the 101st.
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusNotFound {
			t.Fatalf("connection %d: %v, %v", i, response, err)
		}
	}
	if status, _ := s.get(t, target); status != http.StatusFound {
		t.Errorf("a click gets %d", status)
	}
	found := 0
	s.mu.Lock()
	for _, line := range s.lines {
		if message, _ := line["message"].(string); line["severity"] == "ERROR" && strings.Contains(message, "LimitNOFILE") {
			found++
		}
	}
	s.mu.Unlock()
	if found == 0 {
		t.Error("the log does not say what to do")
	}
}

// Clients that write their request or read their answer a byte at a time keep
// nobody else: each click is answered while all of them are in the middle, and
// after each of them they go on by one byte.
func TestSlowClients(t *testing.T) {
	keys, ring := keyFolder(t)
	clicks := filepath.Join(t.TempDir(), "clicks")
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:"+clicks, "BLOCKLIST=none", "ADMIN_ADDRESS=127.0.0.1:0")
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	// The readers request redirects, which are written out by the handler itself, of a
	// link that is not in the ledger. A window this small takes a few of them.
	unread := link(t, ring, linkcore.Fields{Customer: "unread"}, "https://example.com/"+strings.Repeat("x", 2000), linkcore.Options{})
	window := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1<<10) })
	}}
	const slow, readers = 40, 4
	conns := make([]net.Conn, slow)
	dial := func(i int) {
		conn, err := window.DialContext(t.Context(), "tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
		if i >= readers {
			io.WriteString(conn, "GET / HTTP/1.1\r\nX: ") // a header that never ends
			return
		}
		// Answers of 5 MB in all are more than the system holds on the way, at most
		// 4 MB on Linux, so that the server waits in the middle of one.
		conn.SetDeadline(time.Now().Add(patience))
		go io.WriteString(conn, strings.Repeat("GET "+unread+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 2500))
	}
	for i := range conns {
		dial(i)
	}
	l := newLedger()
	clicked := func(n int) {
		for range n {
			if status := l.click(s.address, target); status != http.StatusFound {
				t.Fatalf("status %d", status)
			}
		}
	}
	metrics := s.log("serving metrics")[0]["address"].(string)
	answered := func() (n int) {
		response, err := httpClient.Get("http://" + metrics + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		page, _ := io.ReadAll(response.Body)
		_, count, _ := strings.Cut(string(page), "\nredirects ")
		fmt.Sscan(count, &n)
		return n
	}
	waitFor(t, "an answer that is held up in the middle to each reader", func() bool {
		before := answered()
		clicked(20)
		return answered() == before+20
	})
	for range 20 {
		clicked(1)
		for i, conn := range conns {
			var err error
			if i >= readers {
				_, err = conn.Write([]byte("y"))
			} else {
				_, err = conn.Read(make([]byte, 1))
			}
			if err != nil {
				conn.Close() // the server let it go, and another one comes
				dial(i)
			}
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	content, _ := os.ReadFile(clicks)
	l.readFile(t, string(content))
	// Whoever waits behind a reader does so until the server lets it go.
	if a := l.wantAll(t, l.next, s); a.slowest >= 30*time.Second {
		t.Errorf("a click waited %v, as long as a slow reader may take", a.slowest)
	}
}

// A client whose header does not end is let go.
func TestHeaderThatDoesNotEnd(t *testing.T) {
	testsize.Large(t)
	t.Parallel()
	keys, _ := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST=none")
	begin := time.Now()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: 127.")
	conn.SetReadDeadline(begin.Add(2 * time.Minute))
	answer, err := io.ReadAll(conn)
	if took := time.Since(begin); err != nil || len(answer) > 0 || took < 10*time.Second {
		t.Errorf("%q, %v after %v, want the end after 10 s", answer, err, took)
	}
}

// What the other timeouts are measured against; what they do is TestDeadlines.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	const (
		delivery     = 7 * time.Second
		loadBalancer = 600 * time.Second // keeps its connections for that long
	)
	s := (&endpoint.Endpoint{Log: slog.New(slog.DiscardHandler)}).Server(endpoint.Config{DeliveryTimeout: delivery})
	if s.ReadHeaderTimeout != 10*time.Second {
		t.Errorf("a header may take %v", s.ReadHeaderTimeout)
	}
	// A request may be held for the delivery, and its client is slow besides.
	if want := delivery + 30*time.Second; s.ReadTimeout != want || s.WriteTimeout != want {
		t.Errorf("a body may take %v and an answer %v, want %v", s.ReadTimeout, s.WriteTimeout, want)
	}
	if s.IdleTimeout < loadBalancer+10*time.Second || s.IdleTimeout > loadBalancer+time.Minute {
		t.Errorf("a connection may be idle for %v, want a little more than the %v of the load balancer", s.IdleTimeout, loadBalancer)
	}
}

// A request to unsubscribe whose body does not come is told so, not only let go.
func TestBodyThatDoesNotCome(t *testing.T) {
	testsize.Large(t)
	t.Parallel()
	keys, ring := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST=none")
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\nList",
		link(t, ring, linkcore.Fields{}, "", linkcore.Options{Kind: linkcore.Unsubscribe}))
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "<button") {
		t.Errorf("%q, %v", answer, err)
	}
}

// The clock of an instance may jump, as it does when a machine wakes or is
// corrected: links work all the while, rules begin and end by the new time, and
// ids stay unique. The process runs in an emulator of its processor, since Go
// reads the clock where no library can bend it; there, libfaketime does.
func TestClockJumps(t *testing.T) {
	testsize.Large(t)
	t.Parallel()
	libraries, _ := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	emulator, err := exec.LookPath(map[string]string{"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}[runtime.GOARCH])
	if err != nil || len(libraries) == 0 {
		if os.Getenv("REQUIRE_CLOCK") == "1" {
			t.Fatal("qemu-user or faketime is missing (Debian: apt-get install qemu-user faketime)")
		}
		t.Skip("qemu-user or faketime is missing (Debian: apt-get install qemu-user faketime)")
	}
	program := filepath.Join(t.TempDir(), "linktracker")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	keys, ring := keyFolder(t)
	folder := t.TempDir()
	clicks, rules, clock := filepath.Join(folder, "clicks"), filepath.Join(folder, "rules"), filepath.Join(folder, "clock")
	day := func(n int) string {
		return time.Now().Add(time.Duration(n) * 24 * time.Hour).UTC().Format(time.RFC3339)
	}
	if err := os.WriteFile(rules, fmt.Appendf(nil, "%s\n%s\n",
		`{"kind":"host","value":"ends.example","expires_at":"`+day(1)+`"}`,
		`{"kind":"host","value":"begins.example","starts_at":"`+day(1)+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	set := func(shift string) {
		if err := os.WriteFile(clock+"~", []byte(shift+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(clock+"~", clock); err != nil {
			t.Fatal(err)
		}
	}
	set("+0")
	s := startCommand(t, func(s *server) {
		s.Path, s.Args = emulator, []string{emulator, program}
	}, "LINK_KEYS="+keys, "CLICKS=file:"+clicks, "BLOCKLIST=file:"+rules, "BLOCKLIST_UNAVAILABLE=allow", "BLOCKLIST_REFRESH=200ms", "BLOCKLIST_RELOAD=1s",
		"LD_PRELOAD="+libraries[0], "FAKETIME_TIMESTAMP_FILE="+clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
	to := func(host string) string {
		return link(t, ring, linkcore.Fields{}, "https://"+host+"/", linkcore.Options{})
	}
	free, ends, begins := to("free.example"), to("ends.example"), to("begins.example")
	l := newLedger()
	for _, jump := range []struct {
		shift        string
		ends, begins int
	}{
		{"+0", http.StatusGone, http.StatusFound},
		{"+2d", http.StatusFound, http.StatusGone},
		{"-2d", http.StatusGone, http.StatusFound},
		{"+3650d", http.StatusFound, http.StatusGone},
		{"+0", http.StatusGone, http.StatusFound},
	} {
		set(jump.shift)
		waitFor(t, "the rules of the time "+jump.shift, func() bool {
			a, _ := s.headers(t, ends)
			b, _ := s.headers(t, begins)
			return a == jump.ends && b == jump.begins
		})
		for range 20 {
			if status := l.click(s.address, free); status != http.StatusFound {
				t.Errorf("%s: status %d", jump.shift, status)
			}
		}
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile(clicks)
	if err != nil {
		t.Fatal(err)
	}
	l.readFile(t, string(content))
	l.wantAll(t, 100, s)
	for id, n := range l.ids {
		if n > 1 {
			t.Errorf("%d events have the id %s", n, id)
		}
	}
}

// A collection that grows by many rules in one refresh: all of them are followed
// at once, and the clicks of that time are answered. Firestore is away while they
// are written, so they come in one.
func TestRulesGrow(t *testing.T) {
	testsize.Large(t)
	n := 1_000
	if os.Getenv("SOAK") != "" {
		n = 100_000
	}
	host := emulatortest.Firestore(t)
	f := newFront(t, host)
	project := emulatortest.Project(t)
	rulesURL := "firestore://" + project + "/(default)/blocklist"
	keys, ring := keyFolder(t)
	clicks := filepath.Join(t.TempDir(), "clicks")
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:"+clicks, "BLOCKLIST="+rulesURL, "BLOCKLIST_UNAVAILABLE=allow", "BLOCKLIST_REFRESH=200ms", "FIRESTORE_EMULATOR_HOST="+f.Addr().String())
	waitFor(t, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
	f.refuse()

	client, err := firestore.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	writer := client.BulkWriter(t.Context())
	for i := range n {
		if _, err := writer.Set(client.Collection("blocklist").NewDoc(), map[string]any{
			"kind": "host", "value": fmt.Sprintf("blocked-%d.example", i), "updated_at": time.Now(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	writer.End()
	to := func(host string) string {
		return link(t, ring, linkcore.Fields{}, "https://"+host+"/", linkcore.Options{})
	}
	free, first, last := to("free.example"), to("blocked-0.example"), to(fmt.Sprintf("blocked-%d.example", n-1))
	if status, _ := s.headers(t, first); status != http.StatusFound {
		t.Fatalf("the first rule is followed before the refresh: status %d", status)
	}
	l := newLedger()
	l.clicks(50, s.address, free)()
	f.again()
	waitFor(t, "the rules to be followed", func() bool {
		l.click(s.address, free)
		status, _ := s.headers(t, last)
		return status == http.StatusGone
	})
	if status, _ := s.headers(t, first); status != http.StatusGone {
		t.Errorf("the last rule is followed and the first is not: status %d", status)
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	content, _ := os.ReadFile(clicks)
	l.readFile(t, string(content))
	l.wantAll(t, 50, s)
}

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
)

// hanging returns the address of a server that accepts and never answers.
func hanging(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return listener.Addr().String()
}

// refusing returns an address that nobody listens at.
func refusing(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// deployed builds the program as it is deployed.
func deployed(b *testing.B) string {
	program := filepath.Join(b.TempDir(), "linktracker")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return program
}

// BenchmarkStart is the time from exec to the first redirect, of the program as
// it is deployed.
func BenchmarkStart(b *testing.B) {
	program := deployed(b)
	keys, ring := keyFolder(b)
	target := link(b, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	rules := filepath.Join(b.TempDir(), "rules")
	if err := os.WriteFile(rules, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		environment []string
	}{
		{"files", []string{"CLICKS=file:" + filepath.Join(b.TempDir(), "clicks"), "BLOCKLIST=file:" + rules}},
		{"emulators", nil},
		{"refusing", []string{"PUBSUB_EMULATOR_HOST=" + refusing(b), "FIRESTORE_EMULATOR_HOST=" + refusing(b)}},
		{"hanging", []string{"PUBSUB_EMULATOR_HOST=" + hanging(b), "FIRESTORE_EMULATOR_HOST=" + hanging(b)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			environment := append([]string{"CLICKS=pubsub://p/clicks", "BLOCKLIST=firestore://p/(default)/blocklist"}, c.environment...)
			if c.name == "emulators" {
				topic, _ := newTopic(b)
				environment = append(environment, "CLICKS="+topic, "FIRESTORE_EMULATOR_HOST="+emulatortest.Firestore(b))
				// Firestore's emulator takes a second over its first query.
				s := start(b, nil, append(environment, "LINK_KEYS="+keys)...)
				waitFor(b, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
				s.stop(b)
			}
			var took []time.Duration
			for b.Loop() {
				took = append(took, startToRedirect(b, program, target, append(environment, "LINK_KEYS="+keys)))
			}
			report(b, took, time.Millisecond, "ms")
		})
	}
}

func startToRedirect(b *testing.B, program, target string, environment []string) time.Duration {
	address := refusing(b)
	_, port, _ := net.SplitHostPort(address)
	cmd := command(b, nil, append(environment, "PORT="+port)...).Cmd
	cmd.Path, cmd.Args = program, []string{program}
	cmd.Stdout, cmd.Stderr = nil, nil
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			if time.Since(begin) > 10*time.Second {
				b.Fatal(err)
			}
			time.Sleep(200 * time.Microsecond)
			continue
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		took := time.Since(begin)
		conn.Close()
		if err != nil {
			continue // nobody listens yet, and the port was connected to itself
		}
		if response.StatusCode != http.StatusFound {
			b.Fatal(response.Status)
		}
		return took
	}
}

// A front stands before an emulator, and breaks as a test wants it to.
type front struct {
	emulator string
	addr     net.Addr
	hangs    atomic.Bool
	refuses  atomic.Bool
	delay    atomic.Int64 // nanoseconds that each piece is late

	mu    sync.Mutex
	conns []net.Conn
}

func newFront(t testing.TB, emulator string) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{emulator: emulator, addr: listener.Addr()}
	t.Cleanup(func() { listener.Close(); f.refuse() })
	go f.serve(listener)
	return f
}

func (f *front) Addr() net.Addr { return f.addr }

func (f *front) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", f.emulator)
		if err != nil || f.refuses.Load() {
			// A reset: a port that was let go might be taken by another process.
			client.(*net.TCPConn).SetLinger(0)
			client.Close()
			if server != nil {
				server.Close()
			}
			continue
		}
		f.mu.Lock()
		f.conns = append(f.conns, client, server)
		f.mu.Unlock()
		go f.copy(server, client)
		go f.copy(client, server)
	}
}

func (f *front) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			to.Close()
			return
		}
		if delay := f.delay.Load(); delay > 0 {
			time.Sleep(time.Duration(delay))
		}
		if !f.hangs.Load() {
			to.Write(buffer[:n])
		}
	}
}

// hang lets what is sent vanish, and keeps the connections.
func (f *front) hang() { f.hangs.Store(true) }

// slow delays whatever is sent, in both directions.
func (f *front) slow(delay time.Duration) { f.delay.Store(int64(delay)) }

// refuse breaks the connections, and each that comes.
func (f *front) refuse() {
	f.refuses.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		conn.Close()
	}
	f.conns = nil
}

// again ends the fault; what was hanging is broken off.
func (f *front) again() {
	f.refuse()
	f.hangs.Store(false)
	f.delay.Store(0)
	f.refuses.Store(false)
}

// BenchmarkFirstByte is the time from a request to its headers, one click after
// the other on new connections, of a server that runs while what is behind it
// works, refuses or hangs.
func BenchmarkFirstByte(b *testing.B) {
	keys, ring := keyFolder(b)
	target := link(b, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for _, c := range []struct {
		name  string
		fault func(pubsub, firestore *front)
	}{
		{"normal", func(_, _ *front) {}},
		{"pubsub-refuses", func(pubsub, _ *front) { pubsub.refuse() }},
		{"pubsub-hangs", func(pubsub, _ *front) { pubsub.hang() }},
		{"firestore-refuses", func(_, firestore *front) { firestore.refuse() }},
		{"firestore-hangs", func(_, firestore *front) { firestore.hang() }},
		{"both-hang", func(pubsub, firestore *front) { pubsub.hang(); firestore.hang() }},
	} {
		b.Run(c.name, func(b *testing.B) {
			topic, received := newTopic(b)
			pubsub, firestore := newFront(b, emulatortest.PubSub(b)), newFront(b, emulatortest.Firestore(b))
			s := start(b, nil, "LINK_KEYS="+keys, "CLICKS="+topic, "BLOCKLIST=firestore://"+emulatortest.Project(b)+"/(default)/blocklist", "BLOCKLIST_REFRESH=100ms",
				"PUBSUB_EMULATOR_HOST="+pubsub.Addr().String(), "FIRESTORE_EMULATOR_HOST="+firestore.Addr().String())
			waitFor(b, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
			s.headers(b, target)
			waitFor(b, "the first event", func() bool { return received.len() == 1 })
			c.fault(pubsub, firestore)
			var took []time.Duration
			for b.Loop() {
				took = append(took, s.firstByte(b, target))
			}
			report(b, took, time.Microsecond, "µs")
		})
	}
}

// BenchmarkClickToLocation is what a recipient waits for: the time from a click to
// its Location, by the number of rules in Firestore. A warm instance has loaded
// them; a cold one is started by the click.
func BenchmarkClickToLocation(b *testing.B) {
	program := deployed(b)
	keys, ring := keyFolder(b)
	target := link(b, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for _, n := range []int{100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			topic, _ := newTopic(b)
			environment := []string{"LINK_KEYS=" + keys, "CLICKS=" + topic, "PUBSUB_EMULATOR_HOST=" + emulatortest.PubSub(b),
				"BLOCKLIST=firestore://" + emulatortest.Project(b) + "/(default)/blocklist", "FIRESTORE_EMULATOR_HOST=" + emulatortest.Firestore(b)}
			writeHosts(b, "firestore://"+emulatortest.Project(b)+"/(default)/blocklist", n)
			s := start(b, nil, environment...)
			waitFor(b, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
			s.headers(b, target)
			b.Run("warm", func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					took = append(took, s.firstByte(b, target))
				}
				report(b, took, time.Millisecond, "ms")
			})
			s.stop(b)
			b.Run("cold", func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					took = append(took, startToRedirect(b, program, target, environment))
				}
				report(b, took, time.Millisecond, "ms")
			})
		})
	}
}

// writeHosts writes n rules.
func writeHosts(b *testing.B, url string, n int) {
	store, err := endpoint.OpenStore(url)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	rules := make([]blocklist.Rule, n)
	for i := range rules {
		rules[i] = blocklist.Rule{Kind: blocklist.Host, Value: fmt.Sprintf("blocked-%d.example", i)}
	}
	for batch := range slices.Chunk(rules, 10_000) {
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
}

func (s *server) firstByte(b *testing.B, target string) time.Duration {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target)
	var first [12]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil || string(first[9:]) != "302" {
		b.Fatalf("%q, %v", first, err)
	}
	return time.Since(begin)
}

func report(b *testing.B, took []time.Duration, unit time.Duration, name string) {
	slices.Sort(took)
	at := func(quantile float64) float64 {
		return float64(took[int(quantile*float64(len(took)-1))]) / float64(unit)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.5), name+"-p50")
	b.ReportMetric(at(0.99), name+"-p99")
}

package redirect

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/file"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
)

const (
	host        = "links.example.com"
	destination = "https://example.com/pricing?a=1&b=%C3%BC#top"
)

// sink is a team's own sink: it keeps events in memory, and while gate is not
// nil each event waits for it to be closed.
type sink struct {
	gate    chan struct{}
	arrived chan *event.Event // not nil: told of each event before it waits
	do      func()            // not nil: called for each event

	mu     sync.Mutex
	events []*event.Event
}

func (s *sink) Publish(ctx context.Context, messages []event.Message) error {
	e, err := (&event.Received{Data: messages[0].Data}).Event()
	if err != nil {
		return err
	}
	if s.arrived != nil {
		s.arrived <- e
	}
	if s.do != nil {
		s.do()
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return nil
}

func (s *sink) Batching() event.Batching { return event.Batching{} }

func (s *sink) Close(context.Context) error { return nil }

func (s *sink) take() []*event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

var secret = bytes.Repeat([]byte{7}, 32)

// parts are a handler and what it stands on.
type parts struct {
	*Handler
	keys   *linkcore.KeyRing
	signer *linkcore.Signer
	sink   *sink
	spill  bytes.Buffer
	causes chan error
}

// newParts makes a handler with a key ring of one key. Change may be nil.
func newParts(t testing.TB, mode delivery.Mode, change func(*parts, *Options)) *parts {
	t.Helper()
	p := &parts{sink: &sink{}, causes: make(chan error, 10_000)}
	keys, err := linkcore.NewKeyRing(map[string][]byte{"1": secret})
	check(t, err)
	p.keys = keys
	p.signer, err = keys.Signer("https://"+host, "1")
	check(t, err)
	recorder, err := record.NewRecorder(record.Options{TrustedProxies: 1})
	check(t, err)
	o := Options{
		Keys:     keys,
		Recorder: recorder,
		Invalid:  func(_ *http.Request, cause error) { p.causes <- cause },
	}
	if change != nil {
		change(p, &o)
	}
	if o.Delivery == nil {
		o.Delivery = delivery.New(p.sink, delivery.Options{Mode: mode, Spill: &p.spill})
	}
	p.Handler, err = New(o)
	check(t, err)
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// target returns the request target of a link of its own, as it stands in the
// mail.
func (p *parts) target(t testing.TB, kind linkcore.Kind, f linkcore.Fields) string {
	t.Helper()
	to := ""
	if kind == linkcore.Click {
		to = destination
	}
	link, err := p.signer.Sign(f, to, linkcore.Options{Kind: kind})
	check(t, err)
	return strings.TrimPrefix(link.URL, "https://"+host)
}

// rulesOf loads a rules file of the given lines.
func rulesOf(t testing.TB, lines ...string) *blocklist.Cache {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	check(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	source, err := file.Open(path)
	check(t, err)
	cache := blocklist.NewCache(source, blocklist.DefaultOptions())
	t.Cleanup(func() { cache.Close() })
	if _, known := cache.Decide(t.Context(), &blocklist.Request{}); !known {
		t.Fatal("the rules are not known")
	}
	return cache
}

// unreadable is a blocklist whose file went away before it was read.
func unreadable(t testing.TB) *blocklist.Cache {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	check(t, os.WriteFile(path, nil, 0o600))
	source, err := file.Open(path)
	check(t, err)
	check(t, os.Remove(path))
	cache := blocklist.NewCache(source, blocklist.DefaultOptions())
	t.Cleanup(func() { cache.Close() })
	if _, known := cache.Decide(t.Context(), &blocklist.Request{}); known {
		t.Fatal("the rules of a file that is gone are known")
	}
	return cache
}

// serve starts a server on loopback and returns its address.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// client is a connection that sends exactly what it is told to.
type client struct {
	net.Conn
	reader *bufio.Reader
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) send(t testing.TB, format string, arguments ...any) {
	t.Helper()
	_, err := fmt.Fprintf(c, format, arguments...)
	check(t, err)
}

// receive reads a response; its body may still be on its way.
func (c *client) receive(t testing.TB, method string) *http.Response {
	t.Helper()
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	check(t, err)
	return response
}

// exchange sends one request and reads the whole response.
func (c *client) exchange(t testing.TB, method, target, host string) (*http.Response, string) {
	t.Helper()
	c.send(t, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, target, host)
	response := c.receive(t, method)
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return response, string(body)
}

// raw sends bytes on a connection of their own and returns all that comes back.
func raw(t testing.TB, address, request string) string {
	t.Helper()
	c := dial(t, address)
	c.send(t, "%s", request)
	answer, err := io.ReadAll(c.reader)
	check(t, err)
	return string(answer)
}

package redirect

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

// ended reports whether the rest of a response, until its end, can be read.
func ended(response *http.Response) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, response.Body)
		done <- err
	}()
	return done
}

// TestAnswerBeforeEvent: with hold the whole answer is at the client while its
// event waits, and the response ends when the event is acknowledged.
func TestAnswerBeforeEvent(t *testing.T) {
	tests := []struct {
		name, method string
		kind         linkcore.Kind
		customer     string
		status       int
		body         []byte
	}{
		{"click", "GET", linkcore.Click, "acme", 302, nil},
		{"blocked", "GET", linkcore.Click, "bad", 410, english(blockedPage)},
		{"open", "GET", linkcore.Open, "acme", 200, pixel},
		{"unsubscribe", "POST", linkcore.Unsubscribe, "acme", 200, english(unsubscribedPage)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newParts(t, delivery.Hold, func(p *parts, o *Options) {
				p.sink.gate = make(chan struct{})
				p.sink.arrived = make(chan *event.Event, 1)
				o.Rules = rulesOf(t, `{"kind":"customer","value":"bad"}`)
			})
			conn := dial(t, serve(t, p))
			conn.send(t, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\n%s",
				test.method, p.target(t, test.kind, linkcore.Fields{Customer: test.customer}), host, oneClickBody)
			response := conn.receive(t, test.method)
			if response.StatusCode != test.status {
				t.Errorf("status %d", response.StatusCode)
			}
			body := make([]byte, len(test.body))
			if _, err := io.ReadFull(response.Body, body); err != nil || string(body) != string(test.body) {
				t.Errorf("body %.60q, %v", body, err)
			}
			<-p.sink.arrived // so the sink is waiting
			done := ended(response)
			select {
			case err := <-done:
				t.Fatalf("the response ended before its event was safe: %v", err)
			default:
			}
			if held := p.o.Delivery.Stats().Held; held != 1 {
				t.Errorf("%d held", held)
			}
			close(p.sink.gate)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := p.o.Delivery.Stats().Delivered; n != 1 {
				t.Errorf("%d delivered when the response had ended", n)
			}
		})
	}
}

// TestHeadWaits: a response to HEAD is complete with its headers, so with hold
// they come after the acknowledgement.
func TestHeadWaits(t *testing.T) {
	acknowledged := make(chan struct{})
	p := newParts(t, delivery.Hold, func(p *parts, o *Options) {
		p.sink.arrived = make(chan *event.Event, 1)
		p.sink.gate = make(chan struct{})
	})
	conn := dial(t, serve(t, p))
	conn.send(t, "HEAD %s HTTP/1.1\r\nHost: %s\r\n\r\n", p.target(t, linkcore.Click, linkcore.Fields{}), host)
	go func() {
		<-p.sink.arrived
		close(acknowledged)
		close(p.sink.gate)
	}()
	response := conn.receive(t, "HEAD")
	select {
	case <-acknowledged:
	default:
		t.Error("answered before the event was safe")
	}
	if response.StatusCode != 302 || response.Header.Get("Location") != destination {
		t.Errorf("%d to %q", response.StatusCode, response.Header.Get("Location"))
	}
	if n := p.Stats().FirstByte.Count(); n != 0 {
		t.Errorf("a HEAD that waited was observed as first byte, %d times", n)
	}
	if n := p.Stats().Redirects; n != 1 {
		t.Errorf("%d redirects", n)
	}
}

func TestBackgroundEndsAtOnce(t *testing.T) {
	p := newParts(t, delivery.Background, func(p *parts, o *Options) {
		p.sink.arrived = make(chan *event.Event, 2)
		p.sink.gate = make(chan struct{})
	})
	address := serve(t, p)
	for _, method := range []string{"GET", "HEAD"} {
		response, body := dial(t, address).exchange(t, method, p.target(t, linkcore.Click, linkcore.Fields{}), host)
		if response.StatusCode != 302 || body != "" || response.Header.Get("Content-Length") != "0" {
			t.Errorf("%s: %d, %q", method, response.StatusCode, body)
		}
	}
	<-p.sink.arrived
	<-p.sink.arrived
	if len(p.sink.take()) != 0 {
		t.Error("the events did not wait")
	}
	close(p.sink.gate)
	check(t, p.o.Delivery.Close(t.Context()))
	if n := len(p.sink.take()); n != 2 {
		t.Errorf("%d events", n)
	}
}

// hanging is a blocklist whose every reading but the first waits.
type hanging struct {
	reads   int
	waiting chan struct{}
	release chan struct{}
}

func (s *hanging) Read(ctx context.Context, _ time.Time, _ string, _ func(blocklist.Document)) (bool, error) {
	if s.reads++; s.reads == 1 {
		return true, nil
	}
	s.waiting <- struct{}{}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return true, ctx.Err()
}

func (s *hanging) Get(context.Context, []string) ([]blocklist.Document, error) {
	return nil, errors.ErrUnsupported
}
func (s *hanging) Count(context.Context, time.Time) (int, error) { return 0, nil }
func (s *hanging) Close() error                                  { return nil }

// TestHeldForRefresh: the refresh that a request starts ends within its hold,
// bounded by the delivery's timeout; no other request waits for it, and in the
// background none does.
func TestHeldForRefresh(t *testing.T) {
	for _, mode := range []delivery.Mode{delivery.Hold, delivery.Background} {
		for _, release := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				source := &hanging{waiting: make(chan struct{}, 10), release: make(chan struct{})}
				p := newParts(t, mode, func(_ *parts, o *Options) {
					o.Rules = blocklist.NewCache(source, blocklist.DefaultOptions())
					o.Rules.Decide(t.Context(), &blocklist.Request{})
				})
				defer p.o.Rules.Close()
				time.Sleep(time.Minute) // a refresh is due
				answer := func() <-chan time.Duration {
					took := make(chan time.Duration, 1)
					r := request("GET", p.target(t, linkcore.Click, linkcore.Fields{}))
					start := time.Now()
					go func() {
						p.ServeHTTP(httptest.NewRecorder(), r)
						took <- time.Since(start)
					}()
					return took
				}
				first := answer()
				<-source.waiting
				if mode == delivery.Hold {
					synctest.Wait()
					select {
					case <-first:
						t.Fatal("the response ended before the refresh that it started")
					default:
					}
				}
				if took := <-answer(); took != 0 {
					t.Errorf("%s: another request waited %v", mode, took)
				}
				want := 5 * time.Second
				if release {
					time.Sleep(time.Second)
					close(source.release)
					want = time.Second
				}
				if mode == delivery.Background {
					want = 0
				}
				if took := <-first; took != want {
					t.Errorf("%s, released %v: the request took %v, want %v", mode, release, took, want)
				}
				check(t, p.o.Delivery.Close(t.Context()))
			})
		}
	}
}

// TestHeldOnce: the wait for a refresh is within the delivery's timeout together
// with the delivery itself.
func TestHeldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &hanging{waiting: make(chan struct{}, 10)}
		p := newParts(t, delivery.Hold, func(p *parts, o *Options) {
			p.sink.do = func() { time.Sleep(2 * time.Second) }
			o.Rules = blocklist.NewCache(source, blocklist.DefaultOptions())
			o.Rules.Decide(t.Context(), &blocklist.Request{})
		})
		defer p.o.Rules.Close()
		time.Sleep(time.Minute) // a refresh is due
		start := time.Now()
		p.ServeHTTP(httptest.NewRecorder(), request("GET", p.target(t, linkcore.Click, linkcore.Fields{})))
		if took := time.Since(start); took != 5*time.Second || len(source.waiting) == 0 {
			t.Errorf("the request took %v, of which its delivery took 2 s, want 5 s", took)
		}
		check(t, p.o.Delivery.Close(t.Context()))
	})
}

// TestNewKey: an instance that was idle finds a new key when its first link
// comes.
func TestNewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		write := func(id string, secret []byte) {
			check(t, os.WriteFile(filepath.Join(directory, id), []byte(base64.StdEncoding.EncodeToString(secret)), 0o600))
		}
		write("1", secret)
		p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
			var err error
			o.Keys, err = linkcore.OpenKeyRing(directory, nil)
			check(t, err)
		})
		newSecret := []byte(strings.Repeat("n", 32))
		write("2", newSecret)
		ring, err := linkcore.NewKeyRing(map[string][]byte{"2": newSecret})
		check(t, err)
		signer, err := ring.Signer("https://"+host, "")
		check(t, err)
		link, err := signer.Sign(linkcore.Fields{}, destination, linkcore.Options{})
		check(t, err)
		status := func() int {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, request("GET", strings.TrimPrefix(link.URL, "https://"+host)))
			return w.Code
		}
		if got := status(); got != 404 {
			t.Errorf("%d before the key ring is due: strangers could have it listed at will", got)
		}
		time.Sleep(time.Minute)
		if got := status(); got != 302 {
			t.Errorf("%d once it is due", got)
		}
	})
}

// TestHeldForKeys: with hold a key ring that was due is listed when the response
// ends, every time.
func TestHeldForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		write := func(id string) {
			check(t, os.WriteFile(filepath.Join(directory, id), []byte(base64.StdEncoding.EncodeToString(secret)), 0o600))
		}
		write("1")
		p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
			var err error
			o.Keys, err = linkcore.OpenKeyRing(directory, nil)
			check(t, err)
		})
		for i, want := range []int{1, 3, 4, 5} {
			write(strconv.Itoa(i + 2))
			w := httptest.NewRecorder()
			p.ServeHTTP(w, request("GET", p.target(t, linkcore.Click, linkcore.Fields{})))
			// One that was not awaited may be listed by chance.
			waits := p.awaitingKeys.Load()
			if n := len(p.o.Keys.IDs()); w.Code != 302 || n != want || waits {
				t.Errorf("%d, and %d keys when the response ended, want %d; still waiting: %v", w.Code, n, want, waits)
			}
			time.Sleep(time.Minute)
		}
	})
}

// plainWriter cannot flush.
type plainWriter struct {
	header http.Header
	status int
}

func (w *plainWriter) Header() http.Header         { return w.header }
func (w *plainWriter) WriteHeader(status int)      { w.status = status }
func (w *plainWriter) Write(b []byte) (int, error) { return len(b), nil }

func TestWriterWithoutFlush(t *testing.T) {
	log := &logBuffer{}
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.Log = log.logger(0) })
	for range 2 {
		w := &plainWriter{header: http.Header{}}
		p.ServeHTTP(w, request("GET", p.target(t, linkcore.Click, linkcore.Fields{})))
		if w.status != 302 || w.header.Get("Location") != destination {
			t.Errorf("%d to %q", w.status, w.header.Get("Location"))
		}
	}
	if n := len(p.sink.take()); n != 2 {
		t.Errorf("%d events", n)
	}
	if n := strings.Count(log.String(), "cannot flush"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if n := p.Stats().FirstByte.Count(); n != 0 {
		t.Errorf("%d first bytes observed, though none can be", n)
	}
}

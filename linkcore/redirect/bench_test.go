package redirect

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

// dropping is a sink that drops.
type dropping struct{}

func (dropping) Publish(context.Context, []event.Message) error { return nil }
func (dropping) Batching() event.Batching                       { return event.Batching{} }
func (dropping) Close(context.Context) error                    { return nil }

// writer does what net/http's ResponseWriter makes a handler pay for: a header
// map that is filled anew for each response.
type writer struct {
	header http.Header
	status int
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) WriteHeader(status int)      { w.status = status }
func (w *writer) Write(b []byte) (int, error) { return len(b), nil }
func (w *writer) FlushError() error           { return nil }

func benchParts(b testing.TB, mode delivery.Mode) (p *parts, r *http.Request) {
	p = newParts(b, mode, func(_ *parts, o *Options) {
		o.Delivery = delivery.New(dropping{}, delivery.Options{Mode: mode})
		o.Rules = rulesOf(b, `{"kind":"customer","value":"bad"}`, `{"kind":"host","value":"bad.example"}`, `{"kind":"ip","value":"192.0.2.0/24"}`)
	})
	r = request("GET", p.target(b, linkcore.Click, linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"}))
	r.Header = http.Header{
		"User-Agent":      {"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"},
		"X-Forwarded-For": {"203.0.113.7"},
		"Accept-Language": {"en-GB,en;q=0.9"},
	}
	return p, r
}

// A click's allocations are counted one by one: what is passed to a closure, even
// where it is never called, may move to the heap.
func TestClickAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools")
	}
	for mode, most := range map[delivery.Mode]float64{delivery.Hold: 13, delivery.Background: 12} {
		p, r := benchParts(t, mode)
		w := &writer{header: http.Header{}}
		least := most + 1
		for range 5 { // the garbage collector empties pools, too
			least = min(least, testing.AllocsPerRun(1000, func() {
				clear(w.header)
				p.ServeHTTP(w, r)
			}))
		}
		if least > most {
			t.Errorf("%s: %.0f allocations, want %.0f", mode, least, most)
		}
	}
}

func BenchmarkClick(b *testing.B) {
	for _, mode := range []delivery.Mode{delivery.Hold, delivery.Background} {
		b.Run(string(mode), func(b *testing.B) {
			p, r := benchParts(b, mode)
			w := &writer{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				p.ServeHTTP(w, r)
			}
			if w.status != 302 {
				b.Fatal(w.status)
			}
		})
	}
}

// BenchmarkLoopback is a click through net/http and a socket, beside a handler
// that does nothing but redirect and flush: the difference is what a click
// costs on top of net/http.
func BenchmarkLoopback(b *testing.B) {
	p, r := benchParts(b, delivery.Hold)
	least := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{destination}
		w.WriteHeader(http.StatusFound)
		http.NewResponseController(w).Flush()
	})
	for _, test := range []struct {
		name    string
		handler http.Handler
	}{{"net-http", least}, {"click", p}} {
		b.Run(test.name, func(b *testing.B) {
			conn, err := net.Dial("tcp", serve(b, test.handler))
			check(b, err)
			defer conn.Close()
			sent := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nX-Forwarded-For: 203.0.113.7\r\nAccept-Language: en\r\n\r\n",
				r.RequestURI, host, r.UserAgent())
			reader := bufio.NewReader(conn)
			b.ReportAllocs()
			for b.Loop() {
				conn.Write(sent)
				// Read to the end of the chunked body without parsing, which
				// would be counted as well.
				for {
					line, err := reader.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if string(line) == "0\r\n" {
						break
					}
				}
				if _, err := io.ReadFull(reader, make([]byte, 2)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInvalid(b *testing.B) {
	for name, accept := range map[string]string{
		"browser": "de-CH,de;q=0.9,en;q=0.8", "none": "",
		"hostile": strings.Repeat("zz,", 1000), "long": strings.Repeat("aa-", 1000), "far": strings.Repeat("ja-Latn,", 1000),
	} {
		b.Run(name, func(b *testing.B) {
			p, r := benchParts(b, delivery.Hold)
			p.o.Invalid = nil
			r.RequestURI += "x"
			r.Header["Accept-Language"] = []string{accept}
			w := &writer{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				p.ServeHTTP(w, r)
			}
			if w.status != 404 {
				b.Fatal(w.status)
			}
		})
	}
}

package redirect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
)

// logBuffer is a log that can be read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
}

func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, "http://"+host+"/", nil)
	r.RequestURI = target
	return r
}

// panickyContext panics where the rules wait for it.
type panickyContext struct{ context.Context }

func (panickyContext) Done() <-chan struct{} { panic("secret destination") }

// TestPanics: a defect in a part must not become a broken link.
func TestPanics(t *testing.T) {
	log := &logBuffer{}
	breakRules := func(p *parts, r *http.Request) *http.Request {
		p.o.Rules = blocklist.NewCache(&hanging{reads: 1, waiting: make(chan struct{}, 1)}, blocklist.DefaultOptions())
		return r.WithContext(panickyContext{r.Context()})
	}
	tests := []struct {
		name        string
		mode        delivery.Mode
		spoil       func(*parts, *http.Request) *http.Request
		target      string // "": a click
		status      int
		events      int
		unavailable uint64
	}{
		{"rules, allow", delivery.Background, breakRules, "", 302, 1, 0},
		{"rules, deny", delivery.Background, func(p *parts, r *http.Request) *http.Request {
			p.o.Unavailable = Deny
			return breakRules(p, r)
		}, "", 503, 0, 1},
		{"keys", delivery.Hold, func(p *parts, r *http.Request) *http.Request {
			p.o.Keys = &linkcore.KeyRing{}
			return r
		}, "", 503, 0, 1},
		{"delivery", delivery.Hold, func(p *parts, r *http.Request) *http.Request {
			p.o.Delivery = nil
			return r
		}, "", 302, 0, 0},
		{"ready", delivery.Hold, func(p *parts, r *http.Request) *http.Request {
			p.o.Ready = func() bool { panic("secret destination") }
			return r
		}, "/-/ready", 503, 0, 1},
		{"hook", delivery.Hold, func(p *parts, r *http.Request) *http.Request {
			p.o.Invalid = func(*http.Request, error) { panic("secret destination") }
			return r
		}, "/x", 404, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newParts(t, test.mode, func(_ *parts, o *Options) { o.Log = log.logger(slog.LevelInfo) })
			target := test.target
			if target == "" {
				target = p.target(t, linkcore.Click, linkcore.Fields{})
			}
			r := test.spoil(p, request("GET", target))
			before := len(log.String())
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if test.mode == delivery.Background {
				check(t, p.o.Delivery.Close(t.Context()))
				check(t, p.o.Rules.Close())
			}
			if n := len(p.sink.take()); w.Code != test.status || n != test.events || p.Stats().Unavailable != test.unavailable {
				t.Errorf("%d with %d events, want %d with %d", w.Code, n, test.status, test.events)
			}
			line := log.String()[before:]
			if !strings.Contains(line, `"level":"ERROR"`) || !strings.Contains(line, "goroutine") {
				t.Errorf("log %q", line)
			}
			if strings.Contains(line, "secret destination") {
				t.Error("the log repeats what a part said")
			}
			if test.status == 503 {
				checkHeaders(t, w.Header(), pageHeaders("Retry-After", "5"))
			}
		})
	}
}

// TestAbort: the way to cut a connection stays.
func TestAbort(t *testing.T) {
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
		o.Invalid = func(*http.Request, error) { panic(http.ErrAbortHandler) }
	})
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("recovered %v", got)
		}
	}()
	p.ServeHTTP(httptest.NewRecorder(), request("GET", "/x"))
}

// TestLogHoldsNoSecrets: the cause is there at debug level, the token and the
// address never are.
func TestLogHoldsNoSecrets(t *testing.T) {
	log := &logBuffer{}
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
		o.Log = log.logger(slog.LevelDebug)
		o.Project = "my-project"
	})
	valid := p.target(t, linkcore.Click, linkcore.Fields{})
	r := request("GET", valid+"x")
	r.RemoteAddr = "203.0.113.7:1234"
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	p.ServeHTTP(httptest.NewRecorder(), r)
	for _, want := range []string{
		`"level":"DEBUG"`, linkcore.ErrTag.Error(), `"httpRequest":{"requestMethod":"GET","status":404}`,
		`"logging.googleapis.com/trace":"projects/my-project/traces/0af7651916cd43dd8448eb211c80319c"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	token, _, _ := strings.Cut(valid[1:], "/")
	for _, secret := range []string{token, token[len(token)-22:], "203.0.113", "example.com/pricing"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s is in %s", secret, log)
		}
	}

	quiet := &logBuffer{}
	p = newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.Log = quiet.logger(slog.LevelInfo) })
	p.ServeHTTP(httptest.NewRecorder(), r)
	p.ServeHTTP(httptest.NewRecorder(), request("PUT", valid))
	if quiet.String() != "" {
		t.Errorf("strangers fill the log: %s", quiet)
	}
}

func TestTraceID(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	for _, test := range []struct{ name, value, want string }{
		{"Traceparent", "00-" + id + "-b7ad6b7169203331-01", id},
		{"Traceparent", "00-" + strings.ToUpper(id) + "-b7ad6b7169203331-01", ""},
		{"Traceparent", "00", ""},
		{"X-Cloud-Trace-Context", id + "/123;o=1", id},
		{"X-Cloud-Trace-Context", id, id},
		{"X-Cloud-Trace-Context", id + "0/1", ""},
		{"X-Cloud-Trace-Context", `","severity":"EMERGENCY","x":"aaa/`, ""},
		{"X-Other", id, ""},
	} {
		if got := traceID(http.Header{test.name: {test.value}}); got != test.want {
			t.Errorf("%s: %s: %q", test.name, test.value, got)
		}
	}
}

// TestInvalidHook: the hook knows the reason of every refusal, after the answer.
func TestInvalidHook(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	for _, test := range []struct {
		method, target string
		want           error
	}{
		{"GET", "/x", linkcore.ErrNotLink},
		{"POST", p.target(t, linkcore.Click, linkcore.Fields{}), ErrMethod},
		{"POST", "/robots.txt", ErrMethod},
		{"POST", p.target(t, linkcore.Unsubscribe, linkcore.Fields{}), ErrOneClick},
	} {
		p.ServeHTTP(httptest.NewRecorder(), request(test.method, test.target))
		if err := <-p.causes; !errors.Is(err, test.want) {
			t.Errorf("%s %s: %v", test.method, test.target, err)
		}
	}
	p.ServeHTTP(httptest.NewRecorder(), request("GET", p.target(t, linkcore.Click, linkcore.Fields{})))
	if len(p.causes) != 0 {
		t.Errorf("a valid link: %v", <-p.causes)
	}
}

func TestStats(t *testing.T) {
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
		o.Rules = rulesOf(t, `{"kind":"customer","value":"bad"}`)
	})
	get := func(method, target string) {
		r := request(method, target)
		if method == "POST" {
			r = httptest.NewRequest("POST", "http://"+host+"/", strings.NewReader(oneClickBody))
			r.RequestURI = target
		}
		p.ServeHTTP(httptest.NewRecorder(), r)
	}
	click := p.target(t, linkcore.Click, linkcore.Fields{})
	get("GET", click)
	get("HEAD", click)
	get("GET", click+".") // trailing: repaired
	get("GET", p.target(t, linkcore.Click, linkcore.Fields{Link: "an_1"}))
	get("GET", p.target(t, linkcore.Click, linkcore.Fields{Customer: "bad"}))
	open := p.target(t, linkcore.Open, linkcore.Fields{})
	get("GET", open)
	get("GET", open)
	get("HEAD", open)
	unsubscribe := p.target(t, linkcore.Unsubscribe, linkcore.Fields{})
	get("GET", unsubscribe)
	get("POST", unsubscribe)
	get("GET", "/x")
	s := p.Stats()
	got := fmt.Sprint(s.Redirects, s.Opens, s.Unsubscribes, s.Blocked, s.Invalid, s.Untracked, s.Recovered, s.Unavailable)
	if got != "4 2 1 1 1 1 1 0" {
		t.Errorf("counted %s", got)
	}
	if n := s.FirstByte.Count(); n != 7 { // all with an event but HEAD
		t.Errorf("%d first bytes", n)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-time.Hour, 0, 50 * time.Microsecond} { // a clock that was set back
		h.observe(d)
	}
	h.observe(2 * time.Second)
	h.observe(600 * time.Millisecond)
	before := h.snapshot()
	h.observe(20 * time.Millisecond)
	s := h.snapshot()
	if s.Count() != 6 || s.Buckets[0] != 3 || s.Buckets[8] != 1 || s.Buckets[12] != 1 || s.Buckets[13] != 1 {
		t.Errorf("%+v", s)
	}
	if s.Sum != 2_620_050 {
		t.Errorf("sum %d µs", s.Sum)
	}
	since := s.Since(before)
	if since.Count() != 1 || since.Buckets[8] != 1 || since.Sum != 20_000 {
		t.Errorf("since: %+v", since)
	}
	if list := HistogramBounds(); len(list) != 13 || list[0] != 50*time.Microsecond || list[12] != time.Second || !slices.IsSorted(list) {
		t.Errorf("bounds %v", list)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("stats", "first_byte_us", Histogram{Buckets: [14]uint64{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4}, Sum: 5})
	const want = `"first_byte_us":{"le_50":1,"le_100":3,"le_250":3,"le_500":3,"le_1000":3,"le_2500":3,"le_5000":3,"le_10000":3,"le_25000":3,"le_50000":3,"le_100000":3,"le_250000":3,"le_1000000":6,"count":10,"sum":5}`
	if !strings.Contains(log.String(), want) {
		t.Errorf("%s", &log)
	}
}

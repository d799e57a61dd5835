package redirect

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

// common is on every answer.
var common = map[string]string{
	"Cache-Control":          "private, no-store",
	"X-Robots-Tag":           "noindex, nofollow",
	"X-Content-Type-Options": "nosniff",
	"Referrer-Policy":        "no-referrer",
}

const (
	policy   = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	htmlType = "text/html; charset=utf-8"
)

func headers(more ...string) map[string]string {
	all := maps.Clone(common)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func pageHeaders(more ...string) map[string]string {
	return headers(append([]string{"Content-Security-Policy", policy, "Content-Type", htmlType, "Content-Language", "en", "Vary", "Accept-Language"}, more...)...)
}

// checkHeaders compares all headers but those of the transfer.
func checkHeaders(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(got))
	for _, name := range names {
		switch name {
		case "Date", "Content-Length", "Connection":
		default:
			if got.Get(name) != want[name] || len(got[name]) != 1 {
				t.Errorf("%s: %q, want %q", name, got[name], want[name])
			}
		}
	}
	for name := range want {
		if got.Get(name) == "" {
			t.Errorf("no %s: %q", name, want[name])
		}
	}
}

const oneClickBody = "List-Unsubscribe=One-Click"

// TestAnswers has a row for each row of HTTP.md and each method, in both modes
// of delivery.
func TestAnswers(t *testing.T) {
	const elsewhere = "https://elsewhere.example/?a=%20"
	configure := func(p *parts, o *Options) {
		o.HomeURL = "https://www.example.com/home"
		o.Rules = rulesOf(t,
			`{"kind":"customer","value":"bad"}`,
			`{"kind":"customer","value":"moved","action":"redirect","target":"`+elsewhere+`"}`,
			`{"kind":"recipient","value":"acme/objected","action":"untracked"}`,
		)
	}
	plain := linkcore.Fields{Customer: "acme", Recipient: "r1"}
	bad := linkcore.Fields{Customer: "bad", Recipient: "r1"}
	moved := linkcore.Fields{Customer: "moved", Recipient: "r1"}
	objected := linkcore.Fields{Customer: "acme", Recipient: "objected"}

	const c, o, u = linkcore.Click, linkcore.Open, linkcore.Unsubscribe
	location := func(to string) map[string]string { return headers("Location", to) }
	gif := headers("Content-Type", "image/gif")
	html := pageHeaders()
	text := headers("Content-Type", "text/plain; charset=utf-8")
	tests := []struct {
		name    string
		method  string
		kind    linkcore.Kind
		fields  linkcore.Fields
		target  string // instead of kind and fields
		status  int
		headers map[string]string
		body    []byte
		event   event.Type // "": none
		rule    string
		to      string // redirected_to

		untracked bool // the event says so
	}{
		{"click", "GET", c, plain, "", 302, location(destination), nil, event.Click, "", "", false},
		{"click", "HEAD", c, plain, "", 302, location(destination), nil, event.Click, "", "", false},
		{"click", "POST", c, plain, "", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"click", "OPTIONS", c, plain, "", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"click", "get", c, plain, "", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"privacy", "GET", linkcore.Privacy, plain, "", 200, html, english(trackedPage), "", "", "", false},
		{"privacy", "HEAD", linkcore.Privacy, plain, "", 200, html, nil, "", "", "", false},
		{"privacy", "PUT", linkcore.Privacy, plain, "", 405, pageHeaders("Allow", "GET, HEAD, POST"), english(methodPage), "", "", "", false},
		{"privacy of a blocked sender", "GET", linkcore.Privacy, bad, "", 200, html, english(trackedPage), "", "", "", false},
		{"privacy of somebody not tracked", "GET", linkcore.Privacy, objected, "", 200, html, english(untrackedPage), "", "", "", false},
		{"privacy of nobody", "GET", linkcore.Privacy, linkcore.Fields{Customer: "acme"}, "", 200, html, english(namelessPage), "", "", "", false},
		{"blocked click", "GET", c, bad, "", 410, html, english(blockedPage), event.Blocked, "customer:bad", "", false},
		{"blocked click", "HEAD", c, bad, "", 410, html, nil, event.Blocked, "customer:bad", "", false},
		{"blocked click", "PUT", c, bad, "", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"redirected click", "GET", c, moved, "", 302, location(elsewhere), nil, event.Click, "customer:moved", elsewhere, false},
		{"redirected click", "HEAD", c, moved, "", 302, location(elsewhere), nil, event.Click, "customer:moved", elsewhere, false},
		{"untracked click", "GET", c, objected, "", 302, location(destination), nil, event.Click, "", "", true},

		{"open", "GET", o, plain, "", 200, gif, pixel, event.Open, "", "", false},
		{"open", "HEAD", o, plain, "", 200, gif, nil, "", "", "", false},
		{"open", "POST", o, plain, "", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"blocked open", "GET", o, bad, "", 200, gif, pixel, event.Open, "customer:bad", "", false},
		{"redirected open", "GET", o, moved, "", 200, gif, pixel, event.Open, "customer:moved", "", false},
		{"untracked open", "GET", o, objected, "", 200, gif, pixel, event.Open, "", "", true},

		{"unsubscribe", "GET", u, plain, "", 200, html, english(unsubscribePage), "", "", "", false},
		{"unsubscribe", "HEAD", u, plain, "", 200, html, nil, "", "", "", false},
		{"unsubscribe", "POST", u, plain, "", 200, html, english(unsubscribedPage), event.Unsubscribe, "", "", false},
		{"unsubscribe", "DELETE", u, plain, "", 405, pageHeaders("Allow", "GET, HEAD, POST"), english(methodPage), "", "", "", false},
		{"blocked unsubscribe", "GET", u, bad, "", 200, html, english(unsubscribePage), "", "", "", false},
		{"blocked unsubscribe", "POST", u, bad, "", 200, html, english(unsubscribedPage), event.Unsubscribe, "customer:bad", "", false},
		{"redirected unsubscribe", "POST", u, moved, "", 200, html, english(unsubscribedPage), event.Unsubscribe, "customer:moved", "", false},
		{"untracked unsubscribe", "POST", u, objected, "", 200, html, english(unsubscribedPage), event.Unsubscribe, "", "", true},

		{"nothing", "GET", 0, plain, "/nothing", 404, html, english(invalidPage), "", "", "", false},
		{"nothing", "HEAD", 0, plain, "/nothing", 404, html, nil, "", "", "", false},
		{"nothing", "POST", 0, plain, "/nothing", 404, html, english(invalidPage), "", "", "", false},
		{"below /-/", "GET", 0, plain, "/-/nothing", 404, html, english(invalidPage), "", "", "", false},

		{"home", "GET", 0, plain, "/", 302, location("https://www.example.com/home"), nil, "", "", "", false},
		{"home", "HEAD", 0, plain, "/", 302, location("https://www.example.com/home"), nil, "", "", "", false},
		{"home", "POST", 0, plain, "/", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"home with a query", "GET", 0, plain, "/?utm_source=x&id=5", 302, location("https://www.example.com/home"), nil, "", "", "", false},
		{"home with a broken link", "GET", 0, plain, "/?id=c1.a.b.c.d..AAAAAAAAAAAAAAAAAAAAAA&url=https%3A%2F%2Fexample.com", 404, html, english(invalidPage), "", "", "", false},
		{"icon", "GET", 0, plain, "/favicon.ico", 200, headers("Content-Type", "image/x-icon"), icon, "", "", "", false},
		{"icon", "HEAD", 0, plain, "/favicon.ico", 200, headers("Content-Type", "image/x-icon"), nil, "", "", "", false},
		{"icon with a query", "GET", 0, plain, "/favicon.ico?v=2", 200, headers("Content-Type", "image/x-icon"), icon, "", "", "", false},
		{"icon, encoded", "GET", 0, plain, "/%66avicon.ico", 404, html, english(invalidPage), "", "", "", false},
		{"robots", "GET", 0, plain, "/robots.txt", 200, text, robots, "", "", "", false},
		{"robots", "POST", 0, plain, "/robots.txt", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
		{"live", "GET", 0, plain, "/-/live", 200, text, []byte("ok\n"), "", "", "", false},
		{"live with a query", "GET", 0, plain, "/-/live?x", 200, text, []byte("ok\n"), "", "", "", false},
		{"ready", "GET", 0, plain, "/-/ready", 200, text, []byte("ok\n"), "", "", "", false},
		{"ready", "HEAD", 0, plain, "/-/ready", 200, text, nil, "", "", "", false},
		{"ready", "PATCH", 0, plain, "/-/ready", 405, pageHeaders("Allow", "GET, HEAD"), english(methodPage), "", "", "", false},
	}
	for _, mode := range []delivery.Mode{delivery.Hold, delivery.Background} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s/%s/%s", mode, test.name, test.method), func(t *testing.T) {
				p := newParts(t, mode, configure)
				server := httptest.NewServer(p)
				defer server.Close()
				target := test.target
				if test.kind != 0 {
					target = p.target(t, test.kind, test.fields)
				}
				conn := dial(t, server.Listener.Addr().String())
				body := ""
				if test.method == "POST" {
					body = oneClickBody
				}
				conn.send(t, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
					test.method, target, host, len(body), body)
				response := conn.receive(t, test.method)
				got, err := io.ReadAll(response.Body)
				check(t, err)
				if response.StatusCode != test.status {
					t.Errorf("status %d, want %d", response.StatusCode, test.status)
				}
				checkHeaders(t, response.Header, test.headers)
				if string(got) != string(test.body) {
					t.Errorf("body of %d bytes %.100q, want %d bytes", len(got), got, len(test.body))
				}
				if test.status == 410 && strings.Contains(fmt.Sprint(response.Header)+string(got), "example.com") {
					t.Error("the blocked destination is in the answer")
				}

				server.Close() // waits for the handler, which in the background ends after its answer
				check(t, p.o.Delivery.Close(t.Context()))
				events := p.sink.take()
				if test.event == "" {
					if len(events) != 0 {
						t.Errorf("event %+v, want none", events[0])
					}
					return
				}
				if len(events) != 1 {
					t.Fatalf("%d events, want one", len(events))
				}
				e := events[0]
				if e.Type != test.event || e.Rule != test.rule || e.RedirectedTo != test.to || e.Method != test.method {
					t.Errorf("event %s of %s with rule %q to %q, want %s, %q, %q", e.Type, e.Method, e.Rule, e.RedirectedTo, test.event, test.rule, test.to)
				}
				if e.Untracked != test.untracked {
					t.Errorf("untracked is %v", e.Untracked)
				}
				if named := e.Recipient + e.Link; (named != "") == (test.untracked && e.Type != event.Unsubscribe) {
					t.Errorf("the event names %q", named)
				}
				if device := e.IP + e.UserAgent; (device != "") == test.untracked {
					t.Errorf("the event holds %q of the device", device)
				}
				if e.RulesUnknown {
					t.Error("the event says that the rules are unknown")
				}
			})
		}
	}
}

// TestLength: an answer whose event is held has no length that would complete
// it; every other has one, for HEAD that of GET.
func TestLength(t *testing.T) {
	for _, mode := range []delivery.Mode{delivery.Hold, delivery.Background} {
		p := newParts(t, mode, nil)
		address := serve(t, p)
		for _, test := range []struct {
			method, target string
			length         int
			held           bool
		}{
			{"GET", p.target(t, linkcore.Click, linkcore.Fields{}), 0, true},
			{"HEAD", p.target(t, linkcore.Click, linkcore.Fields{}), 0, true},
			{"GET", p.target(t, linkcore.Open, linkcore.Fields{}), 43, true},
			{"HEAD", p.target(t, linkcore.Open, linkcore.Fields{}), 43, false},
			{"GET", p.target(t, linkcore.Unsubscribe, linkcore.Fields{}), len(english(unsubscribePage)), false},
			{"HEAD", p.target(t, linkcore.Unsubscribe, linkcore.Fields{}), len(english(unsubscribePage)), false},
			{"GET", "/nothing", len(english(invalidPage)), false},
			{"HEAD", "/nothing", len(english(invalidPage)), false},
			{"HEAD", "/favicon.ico", len(icon), false},
		} {
			response, _ := dial(t, address).exchange(t, test.method, test.target, host)
			got := response.Header.Get("Content-Length")
			want := fmt.Sprint(test.length)
			if test.held && mode == delivery.Hold {
				want = ""
			}
			if got != want {
				t.Errorf("%s %s %.20s: Content-Length %q, want %q", mode, test.method, test.target, got, want)
			}
		}
	}
}

func TestHomeUnset(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	address := serve(t, p)
	for _, method := range []string{"GET", "POST"} {
		response, body := dial(t, address).exchange(t, method, "/", host)
		if response.StatusCode != 404 || body != string(english(invalidPage)) {
			t.Errorf("%s /: %d", method, response.StatusCode)
		}
	}
}

// TestInvalidLooksTheSame compares whole answers: a stranger must not learn what
// is wrong with a link.
func TestInvalidLooksTheSame(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	address := serve(t, p)
	valid := p.target(t, linkcore.Click, linkcore.Fields{Customer: "acme"})
	sealed, err := p.signer.Seal(linkcore.Fields{}, destination, linkcore.Options{})
	check(t, err)
	box := strings.TrimPrefix(sealed.URL, "https://"+host)
	last := map[byte]byte{'A': 'B'}[box[10]]
	causes := []struct {
		name, host, target string
		err                error
	}{
		{"no link", host, "/", linkcore.ErrNotLink},
		{"words", host, "/wp-login.php", linkcore.ErrNotLink},
		{"other key", host, strings.Replace(valid, "/c1.", "/c2.", 1), linkcore.ErrUnknownKey},
		{"other customer", host, strings.Replace(valid, "acme", "acmf", 1), linkcore.ErrTag},
		{"other destination", host, valid + "x", linkcore.ErrTag},
		{"other host", "other.example.com", valid, linkcore.ErrTag},
		{"no host name", "[::1]", valid, linkcore.ErrHost},
		{"other box", host, box[:10] + string(cmp.Or(last, 'A')) + box[11:], linkcore.ErrBox},
		{"too long", host, valid + strings.Repeat("x", linkcore.MaxTarget), linkcore.ErrTooLong},
		{"kind changed", host, "/o" + valid[2:], linkcore.ErrTag},
	}
	strip := func(answer string) string {
		head, body, _ := strings.Cut(answer, "\r\n\r\n")
		lines := slices.DeleteFunc(strings.Split(head, "\r\n"), func(line string) bool { return strings.HasPrefix(line, "Date:") })
		return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
	}
	var want string
	for _, cause := range causes {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"} {
			answer := strip(raw(t, address, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method, cause.target, cause.host)))
			if want == "" {
				want = answer
				if !strings.HasPrefix(want, "HTTP/1.1 404 Not Found\r\n") || !strings.HasSuffix(want, string(english(invalidPage))) {
					t.Fatalf("%q", want)
				}
			}
			expect := want
			if method == "HEAD" {
				expect = strings.TrimSuffix(want, string(english(invalidPage)))
			}
			if answer != expect {
				t.Errorf("%s %s: %q, want %q", method, cause.name, answer, expect)
			}
			if err := <-p.causes; err != cause.err {
				t.Errorf("%s %s: cause %v, want %v", method, cause.name, err, cause.err)
			}
		}
	}
	stats := p.Stats()
	wantCauses := map[string]uint64{"not_link": 18, "unknown_key": 9, "tag": 36, "host": 9, "box": 9, "too_long": 9, "sealed_parts": 0, "other": 0}
	if stats.Invalid != 90 || !maps.Equal(stats.InvalidCauses, wantCauses) {
		t.Errorf("counted %d: %v, want %v", stats.Invalid, stats.InvalidCauses, wantCauses)
	}
	if events := p.sink.take(); len(events) != 0 {
		t.Errorf("%d events", len(events))
	}
}

func TestUnavailableRules(t *testing.T) {
	const c, o, u, p = linkcore.Click, linkcore.Open, linkcore.Unsubscribe, linkcore.Privacy
	for _, test := range []struct {
		policy Unavailable
		method string
		kind   linkcore.Kind
		body   string
		status int
		left   string // of the person in the event; "-": there is none
	}{
		{"", "GET", c, "", 302, ""},
		{Untracked, "GET", c, "", 302, ""},
		{Untracked, "HEAD", c, "", 302, ""},
		{Untracked, "GET", o, "", 200, ""},
		{Untracked, "POST", u, oneClickBody, 200, "r1"},
		{Untracked, "GET", p, "", 200, "-"},
		{Untracked, "POST", p, "Tracking=Stop", 200, "r1"},
		{Allow, "GET", c, "", 302, "r1 test"},
		{Allow, "GET", o, "", 200, "r1 test"},
		{Allow, "POST", u, oneClickBody, 200, "r1 test"},
		{Deny, "GET", c, "", 503, "-"},
		{Deny, "HEAD", c, "", 503, "-"},
		{Deny, "PUT", c, "", 405, "-"},
		{Deny, "GET", o, "", 503, "-"},
		{Deny, "HEAD", o, "", 200, "-"},
		{Deny, "GET", u, "", 200, "-"},
		{Deny, "POST", u, oneClickBody, 200, "r1 test"},
		{Deny, "POST", p, "Tracking=Stop", 200, "r1"},
	} {
		t.Run(fmt.Sprint(test.policy, " ", test.method, " ", test.kind), func(t *testing.T) {
			p := newParts(t, delivery.Hold, func(p *parts, o *Options) {
				o.Rules = unreadable(t)
				o.Unavailable = test.policy
			})
			r := httptest.NewRequest(test.method, "http://"+host+"/", strings.NewReader(test.body))
			r.RequestURI = p.target(t, test.kind, linkcore.Fields{Recipient: "r1"})
			r.Header.Set("User-Agent", "test")
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			left := "-"
			for _, e := range p.sink.take() {
				left = strings.TrimSpace(e.Recipient + " " + e.UserAgent)
				if !e.RulesUnknown || e.Rule != "" {
					t.Errorf("the event is %+v", e)
				}
			}
			if w.Code != test.status || left != test.left {
				t.Errorf("%d, and the event holds %q, want %d and %q", w.Code, left, test.status, test.left)
			}
			if test.status == 503 {
				checkHeaders(t, w.Header(), pageHeaders("Retry-After", "5"))
				if test.method != "HEAD" && w.Body.String() != string(english(unavailablePage)) {
					t.Errorf("%q", w.Body)
				}
				if p.Stats().Unavailable != 1 {
					t.Errorf("not counted: %+v", p.Stats())
				}
			}
			if test.kind == linkcore.Privacy && test.method == "GET" && w.Body.String() != string(english(trackedPage)) {
				t.Error("the page says that the person is not tracked, which nobody knows")
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	ready := false
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.Ready = func() bool { return ready } })
	address := serve(t, p)
	response, _ := dial(t, address).exchange(t, "GET", "/-/ready", host)
	if response.StatusCode != 503 {
		t.Errorf("%d before it is ready", response.StatusCode)
	}
	checkHeaders(t, response.Header, headers("Content-Type", "text/plain; charset=utf-8", "Retry-After", "1"))
	if response, _ := dial(t, address).exchange(t, "GET", "/-/live", host); response.StatusCode != 200 {
		t.Errorf("live: %d", response.StatusCode)
	}
	ready = true
	if response, _ := dial(t, address).exchange(t, "GET", "/-/ready", host); response.StatusCode != 200 {
		t.Errorf("%d once it is ready", response.StatusCode)
	}
}

func TestTransportSecurity(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	trusting := newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.TrustForwardedProto = true })
	for _, test := range []struct {
		trust  bool
		tls    bool
		proto  string
		secure bool
	}{
		{false, false, "", false},
		{false, true, "", true},
		{false, false, "https", false},
		{true, false, "https", true},
		{true, false, "HTTPS, http", true},
		{true, false, "http", false},
		{true, false, "http, https", false},
		{true, false, "", false},
		{true, true, "http", true},
	} {
		h := p
		if test.trust {
			h = trusting
		}
		for _, target := range []string{h.target(t, linkcore.Click, linkcore.Fields{}), "/nothing", "/robots.txt"} {
			r := httptest.NewRequest("GET", "http://"+host+target, nil)
			r.RequestURI = target
			if test.tls {
				r = httptest.NewRequest("GET", "https://"+host+target, nil)
				r.RequestURI = target
			}
			if test.proto != "" {
				r.Header.Set("X-Forwarded-Proto", test.proto)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			want := ""
			if test.secure {
				want = "max-age=2592000"
			}
			if got := w.Result().Header.Get("Strict-Transport-Security"); got != want {
				t.Errorf("%+v %.20s: %q", test, target, got)
			}
		}
	}
}

func TestNew(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	full := p.o
	for _, test := range []struct {
		change func(*Options)
		want   string // in the error; "": none
	}{
		{func(*Options) {}, ""},
		{func(o *Options) { o.Keys = nil }, "Options.Keys"},
		{func(o *Options) { o.Recorder = nil }, "Options.Recorder"},
		{func(o *Options) { o.Delivery = nil }, "Options.Delivery"},
		{func(o *Options) { o.HomeURL = "www.example.com" }, "Options.HomeURL"},
		{func(o *Options) { o.HomeURL = "javascript:alert(1)" }, "Options.HomeURL"},
		{func(o *Options) { o.Unavailable = "maybe" }, "Options.Unavailable"},
		{func(o *Options) { o.Prefix = "t" }, "Options.Prefix"},
		{func(o *Options) { o.Prefix = "/t?x" }, "Options.Prefix"},
		{func(o *Options) { o.Prefix = "/t u" }, "Options.Prefix"},
		{func(o *Options) { o.Prefix = "/t/" }, ""},
		{func(o *Options) { o.Rules = &blocklist.Cache{} }, ""},
	} {
		o := full
		test.change(&o)
		_, err := New(o)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with %q", err, test.want)
		}
	}
}

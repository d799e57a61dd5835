package redirect

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// FuzzHandler: whatever is asked, the handler answers with one of its answers
// and never leads anywhere but to what was signed.
func FuzzHandler(f *testing.F) {
	const home = "https://www.example.com/"
	p := newParts(f, event.Hold, func(p *parts, o *Options) {
		o.HomeURL = home
		o.TrustForwardedProto = true
		o.Invalid = nil
		o.Rules = rulesOf(f, `{"kind":"agent","value":"blocked"}`)
	})
	click := p.target(f, linkcore.Click, linkcore.Fields{Customer: "acme"})
	sealed, err := p.signer.Seal(linkcore.Fields{}, destination, linkcore.Options{})
	check(f, err)
	query, err := p.signer.Sign(linkcore.Fields{}, destination, linkcore.Options{Form: linkcore.QueryForm})
	check(f, err)
	for _, target := range []string{
		click, click + "?utm=1", strings.ToLower(click), "//" + click, "http://" + host + click,
		strings.TrimPrefix(sealed.URL, "https://"+host), strings.TrimPrefix(query.URL, "https://"+host),
		p.target(f, linkcore.Open, linkcore.Fields{}), p.target(f, linkcore.Unsubscribe, linkcore.Fields{}),
		"/", "/?id=", "/favicon.ico", "/-/ready", "*", "", "://", "http://?", "/%", "\xff",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", ""} {
			f.Add(method, target, host, "X-Forwarded-Proto", "https", urlencoded, oneClickBody)
		}
	}
	f.Add("POST", p.target(f, linkcore.Unsubscribe, linkcore.Fields{}), host, "User-Agent", "blocked", formData, multipartBody("List-Unsubscribe", "One-Click"))
	f.Add("GET", click, host, "User-Agent", "blocked", "", "")
	statuses := []int{200, 302, 400, 404, 405, 410}

	f.Fuzz(func(t *testing.T, method, target, authority, name, value, contentType, body string) {
		r := httptest.NewRequest("GET", "http://"+host+"/", strings.NewReader(body))
		r.Method, r.RequestURI, r.Host = method, target, authority
		r.Header = http.Header{"Content-Type": {contentType}}
		r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if p.Stats().Unavailable != 0 {
			t.Fatal("a panic")
		}
		if !slices.Contains(statuses, w.Code) {
			t.Fatalf("status %d", w.Code)
		}
		location, redirected := w.Header()["Location"]
		if redirected != (w.Code == 302) || redirected && location[0] != destination && location[0] != home {
			t.Fatalf("%d to %q", w.Code, location)
		}
		if strings.Contains(w.Body.String(), "example.com") {
			t.Fatal("the answer tells something of the request")
		}
		for header, want := range common {
			if w.Header().Get(header) != want {
				t.Fatalf("%s: %q", header, w.Header().Get(header))
			}
		}
		events := p.sink.take()
		if len(events) > 1 {
			t.Fatalf("%d events", len(events))
		}
		for _, e := range events {
			link, err := p.keys.Verify(authority, target)
			if err != nil || e.Host != link.Host || e.Link != link.Link && !e.Untracked {
				t.Fatalf("event %+v of no valid link: %v", e, err)
			}
			if e.Type == event.Unsubscribe && (method != "POST" || len(body) > maxBody) {
				t.Fatal("unsubscribed by mistake")
			}
		}
	})
}

// FuzzOneClick: a body is accepted only if it holds both words, in whatever
// encoding, and never panics.
func FuzzOneClick(f *testing.F) {
	f.Add(urlencoded, oneClickBody)
	f.Add(formData, multipartBody("List-Unsubscribe", "One-Click"))
	f.Add(`multipart/form-data; boundary="b`, "--b\r\n\r\n--b--")
	f.Add("application/x-www-form-urlencoded;;=", "List-Unsubscribe=One%2DClick")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		if err := oneClick(contentType, []byte(body)); err == nil && len(body) < len("List-Unsubscribe=One-Click") {
			t.Fatalf("accepted %q as %q", body, contentType)
		}
	})
}

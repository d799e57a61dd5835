package redirect

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

// FuzzHandler: whatever is asked, the handler answers with one of its answers
// and never leads anywhere but to what was signed.
func FuzzHandler(f *testing.F) {
	const home = "https://www.example.com/"
	p := newParts(f, delivery.Hold, func(p *parts, o *Options) {
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

// targetsOf returns valid targets of a click in every form in which a request
// may name it, each with the Host beside it.
func targetsOf(t testing.TB, p *parts) (targets []struct{ host, target string }) {
	t.Helper()
	fields := linkcore.Fields{Customer: "acme", Recipient: "r1", Link: "l1"}
	add := func(host, target string) {
		targets = append(targets, struct{ host, target string }{host, target})
	}
	for _, form := range []linkcore.Form{linkcore.PathForm, linkcore.QueryForm} {
		for _, sign := range []func(linkcore.Fields, string, linkcore.Options) (linkcore.Tracked, error){p.signer.Sign, p.signer.Seal} {
			link, err := sign(fields, destination, linkcore.Options{Form: form})
			check(t, err)
			target := strings.TrimPrefix(link.URL, "https://"+host)
			add(host, target)
			add("other.example", "http://"+host+target)
			add("", "HTTPS://"+strings.ToUpper(host)+".:8443"+target)
			if form == linkcore.QueryForm {
				add(host, "http://"+host+strings.TrimPrefix(target, "/"))
			}
		}
	}
	return targets
}

// agree checks that the handler does with a target what KeyRing.Verify says of
// it, and returns whether it is a link.
func agree(t *testing.T, p *parts, authority, target string) bool {
	t.Helper()
	link, err := p.keys.Verify(authority, target)
	r := httptest.NewRequest("GET", "/", nil)
	r.RequestURI, r.Host = target, authority
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	events := p.sink.take()
	location := w.Header().Get("Location")
	switch {
	case err != nil && w.Code != 302 && len(events) == 0:
	case err == nil && link.Kind == linkcore.Click && w.Code == 302 && location == link.Destination && len(events) == 1 && events[0].Host == link.Host && events[0].Customer == link.Customer:
	case err == nil && link.Kind == linkcore.Open && w.Code == 200 && len(events) == 1 && events[0].Type == event.Open:
	case err == nil && link.Kind == linkcore.Unsubscribe && w.Code == 200 && len(events) == 0:
	default:
		t.Errorf("%q, %q: Verify says %+v, %v; the handler %d to %q with %d events", authority, target, link, err, w.Code, location, len(events))
	}
	return err == nil
}

// TestVerifyAgrees: KeyRing.Verify and the handler find the same link in a target.
func TestVerifyAgrees(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	for _, c := range targetsOf(t, p) {
		if !agree(t, p, c.host, c.target) {
			t.Errorf("%q, %q is not a link", c.host, c.target)
		}
	}
	click := p.target(t, linkcore.Click, linkcore.Fields{})
	for _, c := range []struct {
		host, target string
		link         bool
	}{
		{"other.example", click, false},
		{host, "http://other.example" + click, false},
		{host, "http://" + click, false},
		{host, "http://user@" + host + click, false},
		{host, "http\u017f://" + host + click, false},
		{host, "ftp://" + host + click, false},
		{host, "http://" + host, false},
		{host, "http://" + host + "?id=", false},
		{host, "http://" + host + "#" + click, false},
		{host, "/" + click, true},
		{host, "/." + click, true},
		{host, "/.." + click, false},
		{host, "*", false},
		{host, "", false},
		{host, host + ":443", false},
		{host, p.target(t, linkcore.Open, linkcore.Fields{}), true},
		{"", "http://" + host + p.target(t, linkcore.Unsubscribe, linkcore.Fields{}), true},
	} {
		if got := agree(t, p, c.host, c.target); got != c.link {
			t.Errorf("%q, %q: a link: %v, want %v", c.host, c.target, got, c.link)
		}
	}
}

// FuzzVerifyAgrees: so they do after any two bytes of a valid target changed.
func FuzzVerifyAgrees(f *testing.F) {
	p := newParts(f, delivery.Hold, func(_ *parts, o *Options) { o.Invalid = nil })
	targets := targetsOf(f, p)
	for i := range targets {
		f.Add(uint8(i), uint16(0), byte('/'), uint16(25), byte('/'))
		f.Add(uint8(i), uint16(4), byte('?'), uint16(24), byte('#'))
		f.Add(uint8(i), uint16(7), byte('@'), uint16(8), byte(':'))
	}
	f.Fuzz(func(t *testing.T, which uint8, one uint16, a byte, two uint16, b byte) {
		c := targets[int(which)%len(targets)]
		target := []byte(c.target)
		target[int(one)%len(target)] = a
		target[int(two)%len(target)] = b
		agree(t, p, c.host, string(target))
	})
}

// FuzzOneClick: a body is accepted only if it is a form or the pair itself, never
// as JSON, and nothing panics.
func FuzzOneClick(f *testing.F) {
	f.Add(urlencoded, oneClickBody)
	f.Add(formData, multipartBody("List-Unsubscribe", "One-Click"))
	f.Add(`multipart/form-data; boundary="b`, "--b\r\n\r\n--b--")
	f.Add("text/plain;charset=UTF-8", oneClickBody+"\r\n")
	f.Add("application/json", oneClickBody)
	f.Add("application/x-www-form-urlencoded;;=", "List-Unsubscribe=One%2DClick")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		if oneClick(contentType, []byte(body)) != nil {
			return
		}
		lower := strings.ToLower(contentType)
		form := lower == "" || strings.HasPrefix(strings.TrimSpace(lower), urlencoded) || strings.Contains(lower, "multipart/")
		if len(body) < len(oneClickBody) || !form && strings.TrimSpace(strings.ToLower(body)) != strings.ToLower(oneClickBody) || strings.HasPrefix(lower, "application/json") {
			t.Fatalf("accepted %q as %q", body, contentType)
		}
	})
}

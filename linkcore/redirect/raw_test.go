package redirect

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
)

// TestRawRequests sends what no client library would.
func TestRawRequests(t *testing.T) {
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.HomeURL = "https://www.example.com/" })
	address := serve(t, p)
	click := p.target(t, linkcore.Click, linkcore.Fields{Customer: "acme"})
	link, err := p.signer.Sign(linkcore.Fields{}, destination, linkcore.Options{Form: linkcore.QueryForm})
	check(t, err)
	query := strings.TrimPrefix(link.URL, "https://"+host)
	_, parameters, _ := strings.Cut(query, "?")
	get := func(target string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
	}
	// To the byte as long as a target may be, by what a gateway added.
	longest := click + "?utm=" + strings.Repeat("x", linkcore.MaxTarget-len(click)-len("?utm="))

	const found, home = "302 Found " + destination, "302 Found https://www.example.com/"
	const missing, refused = "404 Not Found", "400 Bad Request"
	tests := []struct{ name, request, want string }{
		{"origin form", get(click), found},
		{"query form", get(query), found},
		{"query form without label", get("/?" + parameters), found},
		{"query form with a fixed path as label", get("/robots.txt?" + parameters), found},
		{"query form below /-/", get("/-/live?" + parameters), "200 OK"},
		{"absolute form", "GET http://" + host + click + " HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n", found},
		{"absolute form, upper case", "GET HTTP://LINKS.example.COM.:8080" + click + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", found},
		{"absolute form, query form, no path", "GET http://" + host + "?" + parameters + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", found},
		{"absolute form, no path", "GET http://" + host + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", home},
		{"absolute form, other host", "GET http://other.example" + click + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", missing},
		{"absolute form, other scheme", "GET ftp://" + host + click + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", missing},
		{"opaque", "GET http:" + click[1:] + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", missing},
		{"X-Forwarded-Host", "GET " + click + " HTTP/1.1\r\nHost: other.example\r\nX-Forwarded-Host: " + host + "\r\nForwarded: host=" + host + "\r\nConnection: close\r\n\r\n", missing},
		{"slashes", get("//"), home},
		{"slashes before the link", get("/" + click), found},
		{"a dot segment before the link", get("/." + click), found},
		{"slashes before a fixed path", get("///robots.txt"), "200 OK"},
		{"slashes before a reserved path", get("//-" + click), missing},
		{"an authority as path", get("//evil.example/"), missing},
		{"dot segments", get("/../.." + click), missing},
		{"asterisk", "GET * HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", missing},
		{"CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nConnection: close\r\n\r\n", missing},
		{"CONNECT with a path", "CONNECT " + click + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", "405 Method Not Allowed"},
		{"no target", "GET  HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", refused},
		{"no slash", get(click[1:]), refused},
		{"percent-encoding cut short in the path", get("/c1%2"), refused},
		{"percent-encoding cut short in the query", get("/x?id=%2&url=%"), missing},
		{"percent-encoding cut short behind a link", get(click + "?utm_source=50%"), found},
		{"a NUL, encoded", get("/%00"), missing},
		{"not UTF-8", get("/\xff\xfe"), missing},
		{"not UTF-8 behind a link", get(click + "?x=\xff"), found},
		{"a control byte", get("/\x01"), refused},
		{"no Host", "GET " + click + " HTTP/1.1\r\nConnection: close\r\n\r\n", refused},
		{"two Hosts", "GET " + click + " HTTP/1.1\r\nHost: " + host + "\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", refused},
		{"Host of rubbish", "GET " + click + " HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", refused},
		{"Host of two names", "GET " + click + " HTTP/1.1\r\nHost: " + host + ",evil.example\r\nConnection: close\r\n\r\n", missing},
		{"Host in capitals with port and dot", "GET " + click + " HTTP/1.1\r\nHost: LINKS.EXAMPLE.COM.:8443\r\nConnection: close\r\n\r\n", found},
		{"HTTP/1.0", "GET " + click + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n", found},
		{"HTTP/1.0 without Host", "GET " + click + " HTTP/1.0\r\n\r\n", missing},
		{"HTTP/1.0 home without Host", "GET / HTTP/1.0\r\n\r\n", home},
		{"HTTP/0.9", "GET " + click + "\r\n\r\n", refused},
		{"a body with GET", "GET " + click + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", found},
		{"the longest target", get(longest), found},
		{"one byte more", get(longest + "x"), missing},
		{"the longest of a fixed path", get("/robots.txt?" + strings.Repeat("x", linkcore.MaxTarget)), missing},
		{"a token of 10 KB", get("/c1." + strings.Repeat("A", 10_000) + "/"), missing},
		{"a box of 10 KB", get("/s1." + strings.Repeat("A", 10_000) + "/"), missing},
		{"more headers than the server takes", "GET " + click + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Repeat("X-Flood: "+strings.Repeat("x", 1000)+"\r\n", 1100) + "\r\n", "431 Request Header Fields Too Large"},
		{"many headers", "GET " + click + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Repeat("X: y\r\n", 10_000) + "\r\n", found},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn := dial(t, address)
			go io.WriteString(conn, test.request) // the server may answer before it has read all
			response, err := http.ReadResponse(conn.reader, nil)
			check(t, err)
			got, _, _ := strings.Cut(response.Status, ":") // net/http's own refusals say more
			if location := response.Header.Get("Location"); location != "" {
				got += " " + location
			}
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if cookies := response.Cookies(); len(cookies) != 0 {
				t.Errorf("cookies %v", cookies)
			}
		})
	}
}

// TestAsterisk: net/http answers OPTIONS * by itself unless it is told not to.
func TestAsterisk(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	server := httptest.NewUnstartedServer(p)
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	defer server.Close()
	answer := raw(t, server.Listener.Addr().String(), "OPTIONS * HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 404 ") || !strings.HasSuffix(answer, string(english(invalidPage))) {
		t.Errorf("%.100q", answer)
	}
}

func TestPrefix(t *testing.T) {
	for _, prefix := range []string{"/t", "/t/", "/t/a.b"} {
		p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
			o.Prefix = prefix
			o.HomeURL = "https://www.example.com/"
		})
		base := strings.TrimSuffix(prefix, "/")
		signer, err := p.keys.Signer("https://"+host+prefix, "1")
		check(t, err)
		link, err := signer.Sign(linkcore.Fields{}, destination, linkcore.Options{})
		check(t, err)
		link2, err := signer.Sign(linkcore.Fields{}, destination, linkcore.Options{Form: linkcore.QueryForm})
		check(t, err)
		target := strings.TrimPrefix(link.URL, "https://"+host)
		query := strings.TrimPrefix(link2.URL, "https://"+host)
		_, parameters, _ := strings.Cut(query, "?")
		for _, test := range []struct {
			target   string
			status   int
			location string
		}{
			{target, 302, destination},
			{"http://" + host + target, 302, destination},
			{query, 302, destination},
			{base + "?" + parameters, 302, destination},
			{base + "/?" + parameters, 302, destination},
			{base, 302, "https://www.example.com/"},
			{base + "/", 302, "https://www.example.com/"},
			{base + "?x", 302, "https://www.example.com/"},
			{base + "/robots.txt", 200, ""},
			{base + "/-/live", 200, ""},
			{strings.TrimPrefix(target, base), 404, ""},
			{base + "x" + strings.TrimPrefix(target, base), 404, ""},
			{"/", 404, ""},
			{"/robots.txt", 404, ""},
			{"/-/live", 404, ""},
			{"/%74" + strings.TrimPrefix(target, "/t"), 404, ""},
		} {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, request("GET", test.target))
			if w.Code != test.status || w.Header().Get("Location") != test.location {
				t.Errorf("%s: %.60s: %d to %q, want %d to %q", prefix, test.target, w.Code, w.Header().Get("Location"), test.status, test.location)
			}
		}
	}
}

// TestHTTP2 shows that nothing depends on the first version.
func TestHTTP2(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	server := httptest.NewUnstartedServer(p)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	do := func(method, target, body string) *http.Response {
		r, err := http.NewRequest(method, server.URL+target, strings.NewReader(body))
		check(t, err)
		r.Host = host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := client.Do(r)
		check(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		check(t, err)
		response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Fatal(response.Proto)
		}
		if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=2592000" {
			t.Errorf("%s: Strict-Transport-Security: %q", target, got)
		}
		return response
	}
	if r := do("GET", p.target(t, linkcore.Click, linkcore.Fields{}), ""); r.StatusCode != 302 || r.Header.Get("Location") != destination {
		t.Errorf("%d to %q", r.StatusCode, r.Header.Get("Location"))
	}
	unsubscribe := p.target(t, linkcore.Unsubscribe, linkcore.Fields{})
	if r := do("POST", unsubscribe, oneClickBody); r.StatusCode != 200 {
		t.Error(r.Status)
	}
	if r := do("POST", unsubscribe, strings.Repeat("x", maxBody+1)); r.StatusCode != 400 {
		t.Error(r.Status)
	}
	if n := len(p.sink.take()); n != 2 {
		t.Errorf("%d events", n)
	}
}

// TestVectors sends every link of the format's test vectors through a server.
func TestVectors(t *testing.T) {
	content, err := os.ReadFile("../testdata/link-vectors.json")
	check(t, err)
	type vector struct {
		Kind, Host, Target, Destination, Repair string
		Fields                                  struct{ Recipient string }
	}
	var vectors struct {
		Keys                     map[string]string
		Valid, Invalid, Repaired []vector
	}
	check(t, json.Unmarshal(content, &vectors))
	secrets := map[string][]byte{}
	for id, s := range vectors.Keys {
		secrets[id], err = base64.StdEncoding.DecodeString(s)
		check(t, err)
	}
	p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
		o.Keys, err = linkcore.NewKeyRing(secrets)
		check(t, err)
	})
	conn := dial(t, serve(t, p))
	answer := func(v vector) (*http.Response, string) {
		t.Helper()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", v.Target, v.Host)
		response, err := http.ReadResponse(conn.reader, nil)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		if response.Close {
			conn = dial(t, conn.RemoteAddr().String())
		}
		return response, string(body)
	}
	recorded := func(v vector) {
		t.Helper()
		events := p.sink.take()
		if len(events) != 1 || events[0].Destination != v.Destination {
			t.Fatalf("%.80s: events %+v", v.Target, events)
		}
		want := strings.TrimPrefix(v.Repair, "none")
		if events[0].Recovered != want {
			t.Errorf("%.80s: recovered by %q, want %q", v.Target, events[0].Recovered, want)
		}
	}
	for _, v := range vectors.Valid {
		response, body := answer(v)
		switch v.Kind {
		case "c":
			if response.StatusCode != 302 || response.Header.Get("Location") != v.Destination || body != "" {
				t.Errorf("%.80s: %d to %q", v.Target, response.StatusCode, response.Header.Get("Location"))
			}
			recorded(v)
		case "o":
			if response.StatusCode != 200 || body != string(pixel) {
				t.Errorf("%.80s: %d", v.Target, response.StatusCode)
			}
			recorded(v)
		case "u":
			if response.StatusCode != 200 || body != string(english(unsubscribePage)) {
				t.Errorf("%.80s: %d", v.Target, response.StatusCode)
			}
		case "p":
			want := english(trackedPage)
			if v.Fields.Recipient == "" {
				want = english(namelessPage)
			}
			if response.StatusCode != 200 || body != string(want) {
				t.Errorf("%.80s: %d", v.Target, response.StatusCode)
			}
		default:
			t.Errorf("kind %q", v.Kind)
		}
	}
	for _, v := range vectors.Invalid {
		if response, body := answer(v); response.StatusCode == 400 && v.Host == "" {
			// HTTP/1.1 asks for a Host, which may be empty: then it is ours to refuse.
			t.Errorf("refused by net/http: %.80s", v.Target)
		} else if response.StatusCode != 404 || body != string(english(invalidPage)) {
			t.Errorf("%.80s: %d to %q", v.Target, response.StatusCode, response.Header.Get("Location"))
		}
	}
	malformed := 0
	for _, v := range vectors.Repaired {
		response, _ := answer(v)
		if response.StatusCode == 400 {
			// A path with a % that no hex digits follow is net/http's to refuse;
			// the handler itself would have sent it on.
			malformed++
			w := httptest.NewRecorder()
			r := request("GET", v.Target)
			r.Host = v.Host
			p.ServeHTTP(w, r)
			response = w.Result()
		}
		if response.StatusCode != 302 || response.Header.Get("Location") != v.Destination {
			t.Errorf("%.80s: %d to %q, want %q", v.Target, response.StatusCode, response.Header.Get("Location"), v.Destination)
			continue
		}
		recorded(v)
	}
	if len(vectors.Valid) < 500 || len(vectors.Invalid) < 700 || len(vectors.Repaired) < 700 || malformed != 2 {
		t.Errorf("%d valid, %d invalid, %d repaired, %d of them malformed", len(vectors.Valid), len(vectors.Invalid), len(vectors.Repaired), malformed)
	}
}

// TestPipelined: an answer without a body leaves nothing behind that would be
// taken for the next one's.
func TestPipelined(t *testing.T) {
	for _, mode := range []delivery.Mode{delivery.Hold, delivery.Background} {
		p := newParts(t, mode, nil)
		conn := dial(t, serve(t, p))
		methods := []string{"GET", "HEAD", "GET", "HEAD"}
		for _, method := range methods {
			conn.send(t, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, p.target(t, linkcore.Click, linkcore.Fields{}), host)
		}
		reader := bufio.NewReader(conn)
		for _, method := range methods {
			response, err := http.ReadResponse(reader, &http.Request{Method: method})
			check(t, err)
			if n, err := io.Copy(io.Discard, response.Body); n != 0 || err != nil || response.StatusCode != 302 {
				t.Errorf("%s %s: %d with %d bytes, %v", mode, method, response.StatusCode, n, err)
			}
		}
	}
}

package redirect

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
)

const (
	urlencoded = "application/x-www-form-urlencoded"
	formData   = "multipart/form-data; boundary=b"
)

func multipartBody(name, value string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n--b--\r\n"
}

func TestOneClickBody(t *testing.T) {
	for _, test := range []struct {
		contentType, body string
		ok                bool
	}{
		{urlencoded, "List-Unsubscribe=One-Click", true},
		{"Application/X-WWW-Form-URLencoded; charset=UTF-8", "List-Unsubscribe=One-Click", true},
		{urlencoded, "a=b&List-Unsubscribe=One-Click&c", true},
		{urlencoded, "List%2DUnsubscribe=One%2DClick", true},
		{urlencoded, "%zz=1&List-Unsubscribe=One-Click", true},
		{urlencoded, "List-Unsubscribe=No&List-Unsubscribe=One-Click", true},
		{"", "List-Unsubscribe=One-Click", true},
		{urlencoded, "", false},
		{urlencoded, "List-Unsubscribe", false},
		{urlencoded, "List-Unsubscribe=", false},
		{urlencoded, "List-Unsubscribe=One-Click\r\n", true},
		{urlencoded, "\r\n List-Unsubscribe=One-Click \t\n", true},
		{urlencoded, "List-Unsubscribe=One-Click%0D%0A", true},
		{urlencoded, "a=b&List-Unsubscribe=One-Click\r\n", true},
		{urlencoded, "list-unsubscribe=ONE-CLICK", true},
		{urlencoded, "a=b&list-unsubscribe=one%2Dclick", true},
		{"", "List-Unsubscribe=One-Click\r\n", true},
		{"text/plain;charset=UTF-8", "List-Unsubscribe=One-Click", true}, // of fetch with a string
		{"text/plain", "List-Unsubscribe=One-Click\r\n", true},           // of a form with enctype text/plain
		{"text/plain", " list-unsubscribe=one-click", true},
		{"application/octet-stream", "List-Unsubscribe=One-Click", true},
		{"text/html; charset=", "List-Unsubscribe=One-Click\n", true},
		{"/", "List-Unsubscribe=One-Click", true},
		{formData, "List-Unsubscribe=One-Click", true},
		{"multipart/form-data", "List-Unsubscribe=One-Click", true},

		{"text/plain", "", false},
		{"text/plain", "\r\n", false},
		{"text/plain", "List-Unsubscribe=One-Click&a=b", false},
		{"text/plain", "List-Unsubscribe=One%2DClick", false},
		{"text/plain", "List-Unsubscribe: One-Click", false},
		{"text/plain", "List-Unsubscribe=One-Click List-Unsubscribe=One-Click", false},
		{"text/plain", "List-Unsubscribe=One-Clic\u212a", false}, // the sign of kelvin, which folds to k
		{urlencoded, "Li\u017ft-Unsubscribe=One-Click", false},   // a long s
		{urlencoded, "List-Unsubscribe=One-Click\x00", false},
		{urlencoded, "List-Unsubscribe=One\r\n-Click", false},
		{"application/json", "List-Unsubscribe=One-Click", false},
		{"Application/JSON; charset=utf-8", "List-Unsubscribe=One-Click", false},
		{"application/json;;=", "List-Unsubscribe=One-Click", false},
		{"application/vnd.api+json", "List-Unsubscribe=One-Click", false},
		{"text/json", "List-Unsubscribe=One-Click", false},
		{urlencoded, "List-Unsubscribe=One-Click2", false},
		{urlencoded, "x=List-Unsubscribe=One-Click", false},
		{"application/json", `{"List-Unsubscribe":"One-Click"}`, false},

		{formData, multipartBody("List-Unsubscribe", "One-Click"), true},
		{formData, "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n" + multipartBody("List-Unsubscribe", "One-Click"), true},
		{`multipart/form-data; boundary="b"`, multipartBody("List-Unsubscribe", "One-Click"), true},
		{formData, multipartBody("List-Unsubscribe", "No"), false},
		{formData, multipartBody("x", "One-Click"), false},
		{formData, "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click", false},
		{formData, "", false},
		{"multipart/form-data", multipartBody("List-Unsubscribe", "One-Click"), false},
		{"multipart/form-data; boundary=c", multipartBody("List-Unsubscribe", "One-Click"), false},
		{"multipart/mixed; boundary=b", multipartBody("List-Unsubscribe", "One-Click"), true},
		{formData, multipartBody("list-unsubscribe", "one-click\r\n"), true},
		{formData, multipartBody("List-Unsubscribe", "One-Click and more"), false},
		{urlencoded, multipartBody("List-Unsubscribe", "One-Click"), false},
	} {
		if err := oneClick.in(test.contentType, []byte(test.body)); (err == nil) != test.ok {
			t.Errorf("%s: %q: %v", test.contentType, test.body, err)
		}
	}
}

// TestOneClickRequests sends bodies of every size and transfer.
func TestOneClickRequests(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	address := serve(t, p)
	target := p.target(t, linkcore.Unsubscribe, linkcore.Fields{Recipient: "r1"})
	pad := func(n int) string { return oneClickBody + "&" + strings.Repeat("x", n-len(oneClickBody)-1) }
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }
	chunked := func(body string) string {
		return fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	for _, test := range []struct {
		name, rest string
		status     int
	}{
		{"with its length", length(oneClickBody), 200},
		{"chunked", chunked(oneClickBody), 200},
		{"expecting 100", "Expect: 100-continue\r\n" + length(oneClickBody), 200},
		{"4096 bytes", length(pad(4096)), 200},
		{"4096 bytes chunked", chunked(pad(4096)), 200},
		{"4097 bytes", length(pad(4097)), 400},
		{"4097 bytes chunked", chunked(pad(4097)), 400},
		{"a million bytes", length(pad(1_000_000)), 400},
		{"a million bytes chunked", chunked(pad(1_000_000)), 400},
		{"none", "Content-Length: 0\r\n\r\n", 400},
		{"no length", "\r\n", 400},
		{"broken chunks", "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"a blank line", length("\r\n"), 400},
		{"behind line ends", length("\r\n" + oneClickBody + "\r\n"), 200},
		{"4097 bytes of blanks", length(oneClickBody + strings.Repeat(" ", 4097-len(oneClickBody))), 400},
		{"compressed", "Content-Encoding: gzip\r\n" + length("\x1f\x8b\x08\x00"), 400},
	} {
		conn := dial(t, address)
		go fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%s", target, host, urlencoded, test.rest)
		response := conn.receive(t, "POST")
		if response.StatusCode == http.StatusContinue {
			response = conn.receive(t, "POST")
		}
		body, err := io.ReadAll(response.Body)
		check(t, err)
		want, events := english(unsubscribedPage), 1
		if test.status == 400 {
			want, events = english(notUnsubscribedPage), 0
		}
		if response.StatusCode != test.status || string(body) != string(want) {
			t.Errorf("%s: %d", test.name, response.StatusCode)
		}
		checkHeaders(t, response.Header, pageHeaders())
		if got := p.sink.take(); len(got) != events {
			t.Errorf("%s: %d events, want %d", test.name, len(got), events)
		}
		if events == 0 {
			if err := <-p.causes; !errors.Is(err, ErrOneClick) {
				t.Errorf("%s: cause %v", test.name, err)
			}
		}
		conn.Close()
	}
}

// TestPostNeverUnsubscribesElsewhere: only a valid unsubscribe link does.
func TestPostNeverUnsubscribesElsewhere(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	valid := p.target(t, linkcore.Unsubscribe, linkcore.Fields{Recipient: "r1"})
	for target, want := range map[string]int{
		strings.Replace(valid, "r1", "r2", 1):               404,
		p.target(t, linkcore.Click, linkcore.Fields{}):      405,
		p.target(t, linkcore.Open, linkcore.Fields{}):       405,
		"/c" + strings.TrimPrefix(valid, "/u"):              404,
		strings.TrimRight(valid, "/") + "/some/label?utm=x": 200,
	} {
		r := httptest.NewRequest("POST", "http://"+host+"/", strings.NewReader(oneClickBody))
		r.Header.Set("Content-Type", urlencoded)
		r.RequestURI = target
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
	}
	if n := len(p.sink.take()); n != 1 {
		t.Errorf("%d events, want that of the valid link", n)
	}
}

// pipeListener accepts connections that live within a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestSlowBody drips a body; time is the bubble's.
func TestSlowBody(t *testing.T) {
	for _, test := range []struct {
		name   string
		pause  time.Duration // before each of the body's 26 bytes
		status int
		after  time.Duration
	}{
		{"just in time", 190 * time.Millisecond, 200, 4940 * time.Millisecond},
		{"too slow", 200 * time.Millisecond, 400, 5 * time.Second},
		{"nothing comes", time.Hour, 400, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParts(t, delivery.Hold, func(p *parts, _ *Options) {
					// Held beyond the time that the body had.
					p.sink.do = func() { time.Sleep(2 * time.Second) }
				})
				ended := make(chan struct{})
				disconnected := false
				listener := &pipeListener{make(chan net.Conn), make(chan struct{})}
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					p.ServeHTTP(w, r)
					disconnected = r.Context().Err() != nil
					close(ended)
				})}
				go server.Serve(listener)
				ours, theirs := net.Pipe()
				listener.conns <- theirs
				start := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					fmt.Fprintf(ours, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
						p.target(t, linkcore.Unsubscribe, linkcore.Fields{}), host, urlencoded, len(oneClickBody))
					for i := range oneClickBody {
						time.Sleep(test.pause)
						if _, err := io.WriteString(ours, oneClickBody[i:i+1]); err != nil {
							return // refused meanwhile
						}
					}
				}()
				c := &client{Conn: ours}
				buffer := make([]byte, 16<<10)
				n, err := c.Read(buffer)
				check(t, err)
				if took := time.Since(start); took != test.after {
					t.Errorf("answered after %v, want %v", took, test.after)
				}
				if !strings.HasPrefix(string(buffer[:n]), fmt.Sprintf("HTTP/1.1 %d ", test.status)) {
					t.Errorf("%.40q", buffer[:n])
				}
				go io.Copy(io.Discard, ours)
				<-ended
				if test.status == 200 && disconnected {
					t.Error("the deadline of the body cut the hold short")
				}
				if got := len(p.sink.take()); got != map[int]int{200: 1, 400: 0}[test.status] {
					t.Errorf("%d events", got)
				}
				if first := p.Stats().FirstByte; test.status == 200 && first.Buckets[0] != 1 {
					t.Errorf("first byte %+v: the time that the client took counts", first)
				}
				ours.Close()
				<-sent
				server.Close()
				synctest.Wait()
			})
		})
	}
}

package endpoint

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// unused is an address where nobody listens: what is said to be there is opened
// but never read.
const unused = "127.0.0.1:1"

// A site is an endpoint as its environment makes it, with a key of its own.
type site struct {
	*Endpoint
	directory string // of its keys
	signer    *linkcore.Signer
}

func startSite(t *testing.T, stdout io.Writer, variables ...string) *site {
	t.Helper()
	s := &site{directory: t.TempDir()}
	s.addKey(t, "1")
	e, err := FromEnvironment(t.Context(), getenv(append([]string{"LINK_KEYS", s.directory}, variables...)...), stdout)
	if err != nil {
		t.Fatal(err)
	}
	s.Endpoint = e
	t.Cleanup(func() { e.Close(t.Context()) })
	if s.signer, err = e.keys.Signer("https://links.example.com", "1"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) addKey(t *testing.T, id string) {
	t.Helper()
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	if err := os.WriteFile(filepath.Join(s.directory, id), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

// request makes the request of a link. httptest's would come over TLS.
func (s *site) request(t *testing.T, kind linkcore.Kind, customer string) *http.Request {
	t.Helper()
	method, destination, body := http.MethodGet, "", ""
	switch kind {
	case linkcore.Click:
		destination = "https://example.com/"
	case linkcore.Unsubscribe:
		method, body = http.MethodPost, "List-Unsubscribe=One-Click"
	}
	link, err := s.signer.Sign(linkcore.Fields{Customer: customer}, destination, linkcore.Options{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, "http://links.example.com/", strings.NewReader(body))
	r.RequestURI = strings.TrimPrefix(link.URL, "https://links.example.com")
	return r
}

func (s *site) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What the environment says of requests, from the variables to the answers and
// the events.
func TestEnvironmentOfRequests(t *testing.T) {
	type recorded struct {
		Type        string `json:"event_type"`
		IP, Country string
		Signal      string `json:"privacy_signal"`
		Untracked   bool
	}
	for _, test := range []struct {
		name      string
		variables []string
		secure    string // Strict-Transport-Security
		click     recorded
		open      recorded
	}{
		{
			"a proxy",
			[]string{"TRUSTED_PROXIES", "1", "COUNTRY_HEADER", "X-Country", "CLIENT_IP", "truncated", "PRIVACY_SIGNALS", "anonymise"},
			"max-age=2592000",
			recorded{Type: "click", IP: "198.51.100.0", Country: "DE", Signal: "dnt"},
			recorded{Type: "open", Signal: "dnt", Untracked: true},
		},
		{
			"none",
			[]string{"TRUSTED_PROXIES", "0"},
			"",
			recorded{Type: "click", IP: "192.0.2.1", Signal: "dnt"},
			recorded{Type: "open", IP: "192.0.2.1", Signal: "dnt"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			clicks := filepath.Join(t.TempDir(), "clicks")
			s := startSite(t, io.Discard, append(test.variables, "CLICKS", "file:"+clicks, "HOME_URL", "https://www.example.com/")...)
			for _, kind := range []linkcore.Kind{linkcore.Click, linkcore.Open} {
				r := s.request(t, kind, "acme")
				r.Header.Set("X-Forwarded-Proto", "https")
				r.Header.Set("X-Forwarded-For", "198.51.100.9")
				r.Header.Set("X-Country", "DE")
				r.Header.Set("Dnt", "1")
				if got := s.serve(r).Header().Get("Strict-Transport-Security"); got != test.secure {
					t.Errorf("%c: Strict-Transport-Security is %q, want %q", kind, got, test.secure)
				}
			}
			w := s.serve(httptest.NewRequest(http.MethodGet, "/", nil))
			if got := w.Header().Get("Location"); w.Code != http.StatusFound || got != "https://www.example.com/" {
				t.Errorf("/ is %d to %q", w.Code, got)
			}
			f, err := os.Open(clicks)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			lines := json.NewDecoder(f)
			for _, want := range []recorded{test.click, test.open} {
				var got recorded
				if err := lines.Decode(&got); err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("recorded %+v, want %+v", got, want)
				}
			}
		})
	}
}

// The project is the one of the topic or of the blocklist.
func TestEnvironmentOfTraces(t *testing.T) {
	t.Setenv("PUBSUB_EMULATOR_HOST", unused)
	t.Setenv("FIRESTORE_EMULATOR_HOST", unused)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	for variable, value := range map[string]string{
		"CLICKS":    "pubsub://my-project/clicks",
		"BLOCKLIST": "firestore://my-project/(default)/rules",
	} {
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		s := startSite(t, log, variable, value, "LOG_LEVEL", "debug")
		r := httptest.NewRequest(http.MethodGet, "/nothing", nil)
		r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
		s.serve(r)
		lines, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		if want := `"logging.googleapis.com/trace":"projects/my-project/traces/` + trace + `"`; !strings.Contains(string(lines), want) {
			t.Errorf("%s: no %s in %s", variable, want, lines)
		}
	}
}

// fullDisk is a log that takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// What goes wrong is counted for those who watch: an event that neither the sink
// nor the log takes, and a link that is not answered as no rules can be asked.
func TestLossesAreCounted(t *testing.T) {
	t.Setenv("FIRESTORE_EMULATOR_HOST", unused)
	s := startSite(t, fullDisk{}, "CLICKS", "stdout",
		"BLOCKLIST", "firestore://my-project/(default)/rules", "BLOCKLIST_WAIT", "0s", "BLOCKLIST_UNAVAILABLE", "deny", "DELIVERY_TIMEOUT", "100ms")
	if w := s.serve(s.request(t, linkcore.Click, "acme")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a click without rules: %d", w.Code)
	}
	if w := s.serve(s.request(t, linkcore.Unsubscribe, "acme")); w.Code != http.StatusOK {
		t.Errorf("an unsubscribe: %d", w.Code)
	}
	page := getMetrics(t, s.Endpoint)
	for _, want := range []string{"lost 1", "unavailable 1", "spilled 0", "delivered 0"} {
		if !strings.Contains(page, "\n"+want+"\n") {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

// A rule that was written without the copy's knowledge, and when it is followed.
// The clock stands still while a file is read.
func TestEnvironmentOfTheBlocklist(t *testing.T) {
	testsize.Medium(t)
	rule := func(customer string) string { return fmt.Sprintf(`{"kind":"customer","value":%q}`+"\n", customer) }
	// Reading this takes far longer than a request that does not wait for it.
	long := strings.Repeat("\n", 1<<20)
	start := func(t *testing.T, rules string, variables ...string) (s *site, path string) {
		path = filepath.Join(t.TempDir(), "rules.jsonl")
		writeFile(t, path, rules)
		// Long ago, also by the clock of the test: the file has settled.
		if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		s = startSite(t, io.Discard, append(variables, "BLOCKLIST", "file:"+path, "CLICKS", "file:"+os.DevNull)...)
		<-s.rules.Ready()
		return s, path
	}
	for _, test := range []struct {
		name      string
		variables []string
		status    int
	}{
		{"waits", []string{"BLOCKLIST_MAX_AGE", "1s", "BLOCKLIST_WAIT", "1m"}, http.StatusGone},
		{"does not wait", []string{"BLOCKLIST_MAX_AGE", "1s", "BLOCKLIST_WAIT", "0s"}, http.StatusFound},
		{"is not too old", []string{"BLOCKLIST_MAX_AGE", "1h", "BLOCKLIST_WAIT", "1m"}, http.StatusFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, path := start(t, rule("other"), append(test.variables, "BLOCKLIST_REFRESH", "1h")...)
				writeFile(t, path, long+rule("bad"))
				time.Sleep(2 * time.Second)
				if w := s.serve(s.request(t, linkcore.Click, "bad")); w.Code != test.status {
					t.Errorf("status %d, want %d", w.Code, test.status)
				}
			})
		})
	}
	t.Run("reload", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, path := start(t, rule("abc"), "BLOCKLIST_REFRESH", "1s", "BLOCKLIST_RELOAD", "20s")
			// Neither its length nor its time tells that it changed.
			writeFile(t, path, rule("bad"))
			if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{http.StatusFound, http.StatusGone} {
				time.Sleep(15 * time.Second)
				if w := s.serve(s.request(t, linkcore.Click, "bad")); w.Code != want {
					t.Errorf("status %d, want %d", w.Code, want)
				}
			}
		})
	})
}

// A new key is found within a minute and the interval of the check, though no
// request comes.
func TestNewKeyWithoutRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSite(t, io.Discard)
		s.addKey(t, "2")
		for _, want := range []int{1, 2} {
			if n := len(s.keys.IDs()); n != want {
				t.Errorf("%d keys, want %d", n, want)
			}
			time.Sleep(time.Minute + keyCheck)
			synctest.Wait()
		}
	})
}

// hangingPipe is standard output that nobody reads until it is closed.
type hangingPipe chan struct{}

func (p hangingPipe) Write(b []byte) (int, error) {
	<-p
	return len(b), nil
}

// How many responses are held for a sink that hangs, and for how long.
func TestEnvironmentOfTheDelivery(t *testing.T) {
	const timeout = 30 * time.Second
	for _, test := range []struct {
		mode, most string
		held       int // of three
	}{
		{"hold", "40", 3},
		{"hold", "2", 2},
		{"background", "40", 0},
	} {
		t.Run(test.mode+" "+test.most, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipe := make(hangingPipe)
				s := startSite(t, pipe, "CLICKS", "stdout", "DELIVERY", test.mode, "HOLD_MAX", test.most, "DELIVERY_TIMEOUT", timeout.String())
				defer close(pipe)
				start := time.Now()
				took := make(chan time.Duration, 3)
				for range cap(took) {
					r := s.request(t, linkcore.Click, "acme")
					go func() {
						s.serve(r)
						took <- time.Since(start)
					}()
				}
				time.Sleep(timeout - time.Second)
				if want := fmt.Sprintf("\nheld %d\n", test.held); !strings.Contains(getMetrics(t, s.Endpoint), want) {
					t.Errorf("no %q in\n%s", want, getMetrics(t, s.Endpoint))
				}
				late := 0
				for range cap(took) {
					if <-took >= timeout {
						late++
					}
				}
				if late != test.held {
					t.Errorf("%d responses ended after the timeout, want %d", late, test.held)
				}
			})
		})
	}
}

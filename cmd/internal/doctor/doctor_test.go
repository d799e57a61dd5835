package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"
)

// longToken is a tag or a box.
var longToken = regexp.MustCompile(`[coups][a-z0-9]{1,16}\.[A-Za-z0-9_.-]{20,}`)

// order is in which findings come.
var order = []string{"key-ring", "blocklist", "clicks", "dns", "connection", "http", "ready", "keys",
	"link-path", "link-query", "link-sealed", "forged", "headers", "first-byte", "held", "event", "clock", "rule"}

func toHTTPS(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "https://"+r.Host+r.URL.Path, http.StatusMovedPermanently)
}

// Where nothing is wrong nothing is found, in a fixed order.
func TestHealthy(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	d := newDeployment(t)
	d.plain = http.HandlerFunc(toHTTPS)
	d.options.WriteRule = true
	d.start()
	all := d.run()
	var checks []string
	for _, f := range all {
		checks = append(checks, f.Check)
		if f.Level != OK {
			t.Errorf("%s: %s: %s", f.Check, f.Level, f.Seen)
		}
		if f.Advice != "" {
			t.Errorf("%s: advice without a reason: %s", f.Check, f.Advice)
		}
	}
	if !slices.Equal(checks, order) {
		t.Errorf("checks %v\n%s", checks, all)
	}
	for check, want := range map[string]string{
		"key-ring":    "1 key: 1; 1 signs",
		"blocklist":   "0 rules, counted in",
		"dns":         "A 203.0.113.10",
		"connection":  "TLS 1.3, certificate by Test Authority, valid for 60 days more",
		"http":        "plain http is sent on to https (301)",
		"keys":        "the endpoint knows the key 1",
		"link-path":   "302 to the destination, byte for byte",
		"link-query":  "302 to the destination, byte for byte",
		"link-sealed": "302 to the destination, byte for byte",
		"forged":      "404 for a changed tag and for a changed destination",
		"first-byte":  "of 3 clicks",
		"event":       "3 events came",
		"clock":       "its Date is right, its events' occurred_at is right",
		"rule":        "a new rule was followed after",
	} {
		if f := all[slices.Index(order, check)]; !strings.Contains(f.Seen, want) {
			t.Errorf("%s: %q, want %q", check, f.Seen, want)
		}
	}
	// The rule was lifted.
	if rules, err := os.ReadFile(d.rules); err != nil || !strings.Contains(string(rules), `"deleted":true`) || !strings.Contains(string(rules), "link") {
		t.Errorf("rules %s, %v", rules, err)
	}
}

// Every fault is found, with what to do about it, and nothing else is.
func TestFaults(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(d *deployment)
		want map[string]string // check → level, seen, advice: parts, in order
	}{
		{"wrong key", func(d *deployment) {
			d.options.Keys = d.keys + "-other"
			d.write(d.options.Keys+"/1", "b"+testSecret[1:])
		}, map[string]string{
			"keys": "problem|key 1: 404, as for a link that nobody signed|linkctl keys list shows fingerprints", "link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped",
			"forged": "skipped", "headers": "skipped", "first-byte": "skipped", "held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"a key that the endpoint has not got", func(d *deployment) {
			d.options.Keys, d.options.SigningKey = d.keys+"-more", "1"
			d.write(d.options.Keys+"/1", testSecret)
			d.write(d.options.Keys+"/2", "b"+testSecret[1:])
		}, map[string]string{"keys": "warning|key 2: 404|the links that it signed are dead"}},
		{"a new key signs too early", func(d *deployment) {
			d.options.Keys, d.options.SigningKey = d.keys+"-more", "2"
			d.write(d.options.Keys+"/1", testSecret)
			d.write(d.options.Keys+"/2", "b"+testSecret[1:])
		}, map[string]string{
			"keys": "problem|key 2: 404|give it to every endpoint before anything is signed", "link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped",
			"forged": "skipped", "headers": "skipped", "first-byte": "skipped", "held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"which key signs is not said", func(d *deployment) {
			d.writeKey("2", "b"+testSecret[1:])
		}, map[string]string{
			"key-ring": "problem|the keys 1, 2|--signing-key", "link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped",
			"forged": "skipped", "headers": "skipped", "first-byte": "skipped", "held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"a key file that is broken", func(d *deployment) {
			d.writeKey("2", "short")
		}, map[string]string{"key-ring": "problem|the key file 2 is not used|repair or remove"}},
		{"a key ring that is not there", func(d *deployment) {
			d.options.Keys = d.keys + "-none"
		}, map[string]string{
			"key-ring": "problem|no such file|--keys", "keys": "skipped", "link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped",
			"forged": "skipped", "headers": "skipped", "first-byte": "skipped", "held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"a front that asks for another host", func(d *deployment) {
			d.request = func(r *http.Request) { r.Host = "backend.internal" }
		}, map[string]string{
			"keys": "problem|key 1: 404|let the front pass the Host header on", "link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped",
			"forged": "skipped", "headers": "skipped", "first-byte": "skipped", "held": "skipped", "event": "skipped", "clock": "skipped",
		}},

		{"a front that decodes the path", func(d *deployment) {
			d.rewrite = decode
		}, map[string]string{"event": "warning|the path link arrived changed and was repaired (decoded)|it decodes paths"}},
		{"a front that merges slashes", func(d *deployment) {
			d.rewrite = func(target string) string { return mergeSlashes(decode(target)) }
		}, map[string]string{"link-path": "problem|links whose destination has // arrive changed|merge_slashes off; Envoy", "event": "ok|2 events came"}},
		{"a front that cleans the path", func(d *deployment) {
			d.rewrite = func(target string) string { return cleanPath(decode(target)) }
		}, map[string]string{"link-path": "problem|links whose destination has // or /../|proxy_pass without a path|normalize_path", "event": "ok|2 events came"}},
		{"a front that drops the query", func(d *deployment) {
			d.rewrite = func(target string) string { path, _, _ := strings.Cut(target, "?"); return path }
		}, map[string]string{"link-query": "problem|every link of this form|drops or changes query strings", "event": "ok|2 events came"}},
		{"a front that changes every path", func(d *deployment) {
			d.rewrite = func(target string) string {
				if strings.HasPrefix(target, "/c") {
					return strings.ToLower(target)
				}
				return target
			}
		}, map[string]string{"link-path": "problem|every link of this form|something in front changes paths", "event": "ok|2 events came"}},
		{"a front that rewrites Location", func(d *deployment) {
			d.answer = func(h http.Header) {
				if h.Get("Location") == destination {
					h.Set("Location", path.Dir(destination))
				}
			}
		}, map[string]string{
			"link-path": "problem|differs from byte|rewrites Location", "link-query": "problem|differs from byte|rewrites Location", "link-sealed": "problem|differs from byte|rewrites Location",
			"headers": "skipped", "first-byte": "skipped", "held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"a front that takes headers away and sets a cookie", func(d *deployment) {
			d.answer = func(h http.Header) {
				h.Del("Cache-Control")
				h.Del("Strict-Transport-Security")
				h.Set("Set-Cookie", "affinity=1")
			}
		}, map[string]string{"headers": `warning|Cache-Control is ""|have the endpoint's passed on|X-Forwarded-Proto|session affinity`}},
		{"an endpoint that believes X-Forwarded-For", func(d *deployment) {
			d.environ["TRUSTED_PROXIES"] = "2"
		}, map[string]string{"event": "warning|takes the client's word|TRUSTED_PROXIES is more"}},

		{"an endpoint that redirects what nobody signed", func(d *deployment) {
			d.options.Timeout = 2 * time.Second // for the event that does not come
			d.own = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				target, _ := url.PathUnescape(r.RequestURI[strings.LastIndexByte(r.RequestURI, '/')+1:])
				if !strings.HasPrefix(target, "https://") {
					target = plainDestination
				}
				w.Header()["Location"] = []string{target}
				w.WriteHeader(http.StatusFound)
			})
		}, map[string]string{
			"ready": "problem|", "link-path": "ok|", "link-query": "problem|", "link-sealed": "problem|",
			"forged":  "problem|CRITICAL: a link with a changed tag is redirected|take it out of service now",
			"headers": "warning|", "event": "problem|no event of 1 link (path)",
		}},
		{"something else answers", func(d *deployment) {
			d.own = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "Welcome!") })
		}, map[string]string{
			"ready": "problem|/-/ready answers 200, and not from the endpoint|route this host", "keys": "problem|key 1: 200|something else answers",
			"link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped", "forged": "skipped", "headers": "skipped", "first-byte": "skipped",
			"held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"a firewall", func(d *deployment) {
			d.own = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
		}, map[string]string{
			"ready": "problem|403", "keys": "problem|key 1: 403|Cloud Armor",
			"link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped", "forged": "skipped", "headers": "skipped", "first-byte": "skipped",
			"held": "skipped", "event": "skipped", "clock": "skipped",
		}},
		{"a rule that blocks the probes", func(d *deployment) {
			d.write(d.rules, `{"kind":"customer","value":"_probe"}`+"\n")
		}, map[string]string{
			"blocklist": "ok|1 rule,", "keys": "problem|key 1: 410: a rule blocks it|linkctl rules",
			"link-path": "skipped", "link-query": "skipped", "link-sealed": "skipped", "forged": "skipped", "headers": "skipped", "first-byte": "skipped",
			"held": "skipped", "event": "skipped", "clock": "skipped",
		}},

		{"an expired certificate", func(d *deployment) {
			d.certificate.NotAfter = time.Now().Add(-time.Hour)
		}, noConnection("problem|the certificate expired at|renew it")},
		{"a certificate of another host", func(d *deployment) {
			d.certificate.DNSNames = []string{"www.example.com"}
		}, noConnection("problem|the certificate is for www.example.com, not for links.example.com|add the host")},
		{"a certificate that nobody trusts", func(d *deployment) {
			d.options.roots = x509.NewCertPool()
		}, noConnection("problem|without its issuer's, Test Authority|whole chain")},
		{"a certificate that was not renewed", func(d *deployment) {
			d.certificate.NotAfter = time.Now().Add(9*day + time.Hour)
		}, map[string]string{"connection": "warning|valid for 9 days more|should have been renewed"}},
		{"a port where nothing listens", func(d *deployment) {
			d.networks[publicAddress+":443"] = refusing(d.t)
		}, noConnection("problem|203.0.113.10:443 refuses connections|listens at this port")},
		{"a port that speaks plain http", func(d *deployment) {
			listener := listen(d.t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Close() })
			d.networks[publicAddress+":443"] = listener
		}, noConnection("problem|does not speak TLS|serve TLS at this port")},
		{"a port that says nothing", func(d *deployment) {
			d.options.Timeout = time.Second
			d.networks[publicAddress+":443"] = listen(d.t, func(c net.Conn) { io.Copy(io.Discard, c) })
		}, noConnection("problem|takes connections and does not answer|what listens there")},
		{"plain http that is answered", func(d *deployment) {
			d.plain = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
		}, map[string]string{"http": "warning|plain http is answered with 200|send it on to https"}},

		{"a name that does not exist", func(d *deployment) {
			delete(d.names, testHost)
		}, noAddress("problem|no address: links.example.com does not exist|make A and AAAA records")},
		{"a CNAME to nowhere", func(d *deployment) {
			d.names[testHost] = "gone.example.net."
			d.names["gone.example.net"] = ""
		}, noAddress("problem|no address, by CNAME gone.example.net.|point the CNAME")},
		{"a name server that is silent", func(d *deployment) {
			d.options.Timeout = time.Second
			d.names[testHost] = "silent"
		}, noAddress("problem|the name servers did not answer|delegated")},
		{"a private address", func(d *deployment) {
			d.names[testHost] = "10.0.0.7"
		}, map[string]string{"dns": "warning|A 10.0.0.7|private network"}},

		{"a clock that is 5 minutes ahead", func(d *deployment) {
			d.answer = func(h http.Header) {
				h.Set("Date", time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat))
			}
		}, map[string]string{"clock": "problem|its Date is |ahead, its events' occurred_at is right|one of the two clocks"}},
		{"this machine's clock is 5 minutes ahead", func(d *deployment) {
			d.options.now = func() time.Time { return time.Now().Add(5 * time.Minute) }
		}, map[string]string{"clock": "problem|behind, its events' occurred_at is |behind|compare"}},

		{"an endpoint that holds for long", func(d *deployment) {
			d.slowEndpoint(1500 * time.Millisecond)
			d.options.Target = time.Second
			d.options.Probes = 2
		}, map[string]string{"first-byte": "ok|of 2 clicks", "held": "warning|the response ends after p50 1.|acknowledged slowly"}},
		{"a front that buffers", func(d *deployment) {
			d.slowEndpoint(600 * time.Millisecond)
			d.buffers = true
			d.options.Target = 300 * time.Millisecond
			d.options.Probes = 2
		}, map[string]string{"first-byte": "warning|of 2 clicks|a proxy in front buffers it, so"}},
		{"a front that buffers, which costs little yet", func(d *deployment) {
			d.slowEndpoint(400 * time.Millisecond)
			d.buffers = true
			d.options.Target = 1200 * time.Millisecond
			d.options.Probes = 2
		}, map[string]string{"first-byte": "warning|of 2 clicks|a proxy in front buffers it, so"}},
		{"a front that buffers and sends the length", func(d *deployment) {
			d.slowEndpoint(600 * time.Millisecond)
			d.buffers, d.measures = true, true
			d.options.Target = 300 * time.Millisecond
			d.options.Probes = 2
		}, map[string]string{"first-byte": "warning|of 2 clicks|either a proxy in front buffers it|DELIVERY=background"}},
		{"an endpoint that is slow", func(d *deployment) {
			d.slowEndpoint(200 * time.Millisecond)
			d.request = func(*http.Request) { time.Sleep(200 * time.Millisecond) } // a start, a stall
			d.options.Target = 150 * time.Millisecond
			d.options.Probes = 2
		}, map[string]string{"first-byte": "warning|of 2 clicks|min-instances"}},

		{"events that never arrive", func(d *deployment) {
			d.environ["CLICKS"] = "file:" + d.clicks + "-other"
			d.options.Timeout = 2 * time.Second
		}, map[string]string{"event": "problem|no event of 3 links (path, query, sealed) came within 2s|event spilled|CLICKS is file:"}},
		{"no --clicks", func(d *deployment) {
			d.options.Clicks = ""
		}, map[string]string{"clicks": "skipped|not checked: give --clicks", "event": "skipped|not checked: give --clicks", "clock": "ok|its Date is right"}},
		{"a subscription for --clicks", func(d *deployment) {
			d.options.Clicks = "pubsub://project/subscriptions/crm"
		}, map[string]string{"clicks": "problem|readers would miss|give the topic", "event": "skipped"}},
		{"a file for --clicks that is not there", func(d *deployment) {
			d.options.Clicks = "file:" + d.clicks + "-none"
		}, map[string]string{"clicks": "problem|no such file|give --clicks", "event": "skipped"}},

		{"a blocklist that is not there", func(d *deployment) {
			d.options.Blocklist = "file:" + d.rules + "-none"
		}, map[string]string{"blocklist": "problem|no such file|give --blocklist"}},
		{"a rule that cannot be understood", func(d *deployment) {
			d.write(d.rules, "nonsense\n")
		}, map[string]string{"blocklist": "warning|1 entry cannot be understood|linkctl rules"}},
		{"an endpoint that reads another blocklist", func(d *deployment) {
			d.environ["BLOCKLIST"] = "none"
			d.options.WriteRule, d.options.ruleWait = true, time.Second
		}, map[string]string{"rule": "problem|did not follow a new rule within 1s|whether its BLOCKLIST is file:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			test.set(d)
			d.start()
			all := d.run()
			worst := map[string]Finding{}
			text := map[string]string{}
			for _, f := range all {
				text[f.Check] += string(f.Level) + " " + f.Seen + " " + f.Advice + "\n"
				if w, ok := worst[f.Check]; !ok || rank(f.Level) > rank(w.Level) {
					worst[f.Check] = f
				}
				if (f.Level == Problem || f.Level == Warning) && f.Advice == "" {
					t.Errorf("%s: %s: no advice for %s", f.Check, f.Level, f.Seen)
				}
			}
			for _, check := range order {
				f, ok := worst[check]
				want, wanted := test.want[check]
				if !ok {
					t.Errorf("%s: nothing", check)
					continue
				}
				if !wanted {
					if f.Level == Problem || f.Level == Warning {
						t.Errorf("%s: %s: %s", check, f.Level, f.Seen)
					}
					if f.Level == Skipped && check != "http" && check != "rule" {
						t.Errorf("%s: %s", check, f.Seen)
					}
					continue
				}
				parts := strings.Split(want, "|")
				if string(f.Level) != parts[0] {
					t.Errorf("%s is %s, want %s: %s", check, f.Level, parts[0], text[check])
				}
				rest := text[check]
				for _, part := range parts[1:] {
					_, after, ok := strings.Cut(rest, part)
					if !ok {
						t.Errorf("%s: no %q in %s", check, part, text[check])
						break
					}
					rest = after
				}
			}
			if t.Failed() {
				t.Logf("\n%s", all)
			}
		})
	}
}

// What follows from there being no connection.
func noConnection(want string) map[string]string {
	m := map[string]string{"connection": want, "http": "skipped"}
	for _, check := range order[slices.Index(order, "ready"):slices.Index(order, "rule")] {
		m[check] = "skipped"
	}
	return m
}

func noAddress(want string) map[string]string {
	m := noConnection("skipped")
	m["dns"] = want
	return m
}

func rank(l Level) int { return slices.Index([]Level{OK, Skipped, Warning, Problem}, l) }

// listen serves each connection with a function, and returns where.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

// What fronts make of a request target.

// decode decodes the path once, and passes on what cannot stand in a request
// line as it must.
func decode(target string) string {
	path, query, has := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return target
	}
	if has {
		decoded += "?" + query
	}
	return decoded
}

func mergeSlashes(target string) string {
	path, query, has := strings.Cut(target, "?")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if has {
		path += "?" + query
	}
	return path
}

func cleanPath(target string) string {
	p, query, has := strings.Cut(target, "?")
	cleaned := path.Clean(p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	if has {
		cleaned += "?" + query
	}
	return cleaned
}

// An interrupted run ends at once.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.networks[publicAddress+":443"] = listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	d.start()
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, d.options, func(f Finding) {
		if f.Check == "dns" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A rule of the doctor's expires soon, and is lifted also when he is interrupted.
func TestRuleGoes(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.environ["BLOCKLIST"] = "none" // so it is waited for in vain
	d.options.WriteRule = true
	d.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, d.options, func(Finding) {}) }()
	var rule struct {
		Kind, Value, Action, Reason string
		CreatedBy                   string    `json:"created_by"`
		ExpiresAt                   time.Time `json:"expires_at"`
	}
	for rule.Kind == "" {
		content, err := os.ReadFile(d.rules)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 0 {
			if err := json.Unmarshal(content, &rule); err != nil {
				t.Fatal(err)
			}
			break
		}
		select {
		case err := <-done:
			t.Fatalf("ended without a rule: %v", err)
		case <-time.After(5 * time.Millisecond): // between looks at a file
		}
	}
	if left := time.Until(rule.ExpiresAt); left <= 0 || left > 6*time.Minute {
		t.Errorf("it expires at %v", rule.ExpiresAt)
	}
	if rule.Kind != "link" || !strings.HasPrefix(rule.Value, "_probe/") || rule.Action != "block" || rule.Reason == "" || rule.CreatedBy != "tester" {
		t.Errorf("%+v", rule)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if content, err := os.ReadFile(d.rules); err != nil || !strings.Contains(string(content), `"deleted":true`) {
		t.Errorf("after the interruption: %s, %v", content, err)
	}
}

// Several hosts are checked each for itself, and one that is given twice once.
func TestHosts(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	d := newDeployment(t)
	d.names["links.example.net"] = publicAddress
	d.certificate.DNSNames = append(d.certificate.DNSNames, "links.example.net")
	d.options.BaseURLs = []string{"https://" + testHost, "https://links.example.net/", "https://links.example.net", "https://gone.example.org"}
	d.start()
	all := d.run()
	checks := map[string][]string{}
	var bases []string
	for _, f := range all {
		if !slices.Contains(bases, f.BaseURL) {
			bases = append(bases, f.BaseURL)
		}
		checks[f.BaseURL] = append(checks[f.BaseURL], f.Check)
		if (f.Level == Problem) != (f.BaseURL == "https://gone.example.org" && f.Check == "dns") {
			t.Errorf("%s %s: %s: %s", f.BaseURL, f.Check, f.Level, f.Seen)
		}
	}
	if want := []string{"", "https://links.example.com", "https://links.example.net", "https://gone.example.org"}; !slices.Equal(bases, want) {
		t.Errorf("%q, want %q", bases, want)
	}
	for base, got := range checks {
		want := order[:3]
		if base != "" {
			want = order[3:]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", base, got)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, base := range []string{"", "links.example.com", "https://", "ftp://links.example.com", "https://links.example.com/?a=1"} {
		if err := Run(t.Context(), Options{BaseURLs: []string{base}}, func(Finding) { t.Error("something is checked") }); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
	if err := Run(t.Context(), Options{}, func(Finding) {}); err == nil {
		t.Error("no base URL is taken")
	}
}

func TestRedact(t *testing.T) {
	const tag = "9fQx0yVb3mT1nK7sW2pLdA"
	for in, want := range map[string]string{
		"https://links.example.com/c3.acme.spring26.r83jf.a1b2c3d4e5f.t4x8k1." + tag + "/https%3A": "https://links.example.com/c3.…/https%3A",
		"/?id=c3....x.." + tag + "&url=x":                          "/?id=c3.…&url=x",
		"/C3.ACME....X." + strings.ToUpper(tag) + "/":              "/C3.…/",
		"/s1." + strings.Repeat("Ab-_", 20) + "/":                  "/s1.…/",
		"https://probe.example.com/a%25b%2Fc%3Fd":                  "https://probe.example.com/a%25b%2Fc%3Fd",
		"projects/p/subscriptions/linkctl-doctor-20260731t090000z": "projects/p/subscriptions/linkctl-doctor-20260731t090000z",
	} {
		if got := redact(in); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

func TestSkew(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1_800_000_000+int64(seconds), 0) }
	for _, test := range []struct {
		earliest, latest int
		want             time.Duration
	}{{0, 1, 0}, {-1, 0, 0}, {2, 3, 0}, {3, 4, time.Second}, {-10, -9, -9 * time.Second}} {
		if got := skew(at(test.earliest), at(test.latest), at(0), at(2)); got != test.want {
			t.Errorf("from %d to %d: %v, want %v", test.earliest, test.latest, got, test.want)
		}
	}
}

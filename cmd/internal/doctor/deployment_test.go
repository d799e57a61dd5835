package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
	"example.com/linktracker/linkcore/redirect"
)

const (
	testHost   = "links.example.com"
	testSecret = "RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc="
	weakTarget = 5 * time.Second // the machine of a test may be busy
)

// publicAddress is what the test's DNS says; the network of these tests takes
// it for whatever stands in for the load balancer.
const publicAddress = "203.0.113.10"

// A deployment is an endpoint behind a front that speaks TLS, and a network and
// a name server in which it is links.example.com. A test changes what is to be
// wrong before start.
type deployment struct {
	t       *testing.T
	options Options

	endpoint http.Handler // nil: a real endpoint of environment
	environ  map[string]string
	plain    http.Handler // at port 80; nil: refused

	// The front: what it makes of a request target, of the request as it passes
	// it on, of the answer, and whether it waits for the answer's end, and then
	// sends its length.
	rewrite           func(target string) string
	request           func(*http.Request)
	answer            func(http.Header)
	buffers, measures bool
	own               http.Handler // answers instead of the endpoint; nil: never

	certificate *x509.Certificate // template
	names       map[string]string // DNS: name → A, or CNAME if it ends in a dot

	keys, rules, clicks string
	networks            map[string]string // host:port → where it really is
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	folder := t.TempDir()
	d := &deployment{
		t:        t,
		keys:     filepath.Join(folder, "keys"),
		rules:    filepath.Join(folder, "rules.jsonl"),
		clicks:   filepath.Join(folder, "clicks.jsonl"),
		networks: map[string]string{},
		names:    map[string]string{testHost: publicAddress},
	}
	d.writeKey("1", testSecret)
	d.write(d.rules, "")
	d.write(d.clicks, "")
	d.environ = map[string]string{
		"LINK_KEYS": d.keys, "BLOCKLIST": "file:" + d.rules, "CLICKS": "file:" + d.clicks,
		"BLOCKLIST_REFRESH": "100ms", "TRUSTED_PROXIES": "1",
	}
	d.certificate = &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: testHost},
		DNSNames:     []string{testHost},
		NotBefore:    time.Now().Add(-30 * day),
		NotAfter:     time.Now().Add(60*day + time.Hour),
	}
	d.options = Options{
		BaseURLs:  []string{"https://" + testHost},
		Keys:      d.keys,
		Blocklist: "file:" + d.rules,
		Clicks:    "file:" + d.clicks,
		By:        "tester",
		Probes:    3,
		Target:    weakTarget,
		Timeout:   10 * time.Second,
	}
	return d
}

func (d *deployment) write(path, content string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployment) writeKey(id, secret string) { d.write(filepath.Join(d.keys, id), secret) }

// start starts what is to be checked.
func (d *deployment) start() {
	t := d.t
	t.Helper()
	if d.endpoint == nil {
		c, err := endpoint.ParseConfig(func(name string) string { return d.environ[name] })
		if err != nil {
			t.Fatal(err)
		}
		e, err := endpoint.New(t.Context(), c, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close(context.Background()) })
		d.endpoint = e
	}
	backend := httptest.NewServer(d.endpoint)
	t.Cleanup(backend.Close)

	front := httptest.NewUnstartedServer(d.front(backend.URL))
	authority, authorityKey := newCertificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-100 * day), NotAfter: time.Now().Add(100 * day),
	}, nil, nil)
	leaf, key := newCertificate(t, d.certificate, authority, authorityKey)
	front.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}
	front.EnableHTTP2 = true
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	if d.options.roots == nil {
		d.options.roots = x509.NewCertPool()
		d.options.roots.AddCert(authority)
	}
	for _, address := range []string{publicAddress + ":443", "10.0.0.7:443"} {
		if d.networks[address] == "" {
			d.networks[address] = front.Listener.Addr().String()
		}
	}
	if d.plain != nil {
		plain := httptest.NewServer(d.plain)
		t.Cleanup(plain.Close)
		d.networks[publicAddress+":80"] = plain.Listener.Addr().String()
	}
	d.options.resolver = nameServer(t, d.names)
	d.options.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if real, ok := d.networks[address]; ok {
			address = real
		} else if !strings.HasPrefix(address, "127.0.0.1:") {
			address = refusing(t)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

// refusing returns an address where nothing listens.
func refusing(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return ""
	}
	defer listener.Close()
	return listener.Addr().String()
}

// front is a reverse proxy as they stand in front of endpoints.
func (d *deployment) front(backend string) http.Handler {
	target, err := url.Parse(backend)
	if err != nil {
		d.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			raw := r.In.RequestURI
			if d.rewrite != nil {
				raw = d.rewrite(raw)
			}
			r.Out.URL = &url.URL{Scheme: "http", Host: target.Host, Opaque: raw}
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			if d.request != nil {
				d.request(r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if d.answer != nil {
				d.answer(r.Header)
			}
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.own != nil {
			d.own.ServeHTTP(w, r)
			return
		}
		if !d.buffers {
			proxy.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		proxy.ServeHTTP(whole, r)
		maps.Copy(w.Header(), whole.Header())
		w.WriteHeader(whole.Code)
		w.Write(whole.Body.Bytes())
		if !d.measures {
			w.(http.Flusher).Flush() // so that there is no Content-Length
		}
	})
}

func newCertificate(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// nameServer is a name server that knows these names only, and a resolver that
// asks it. A value is an IPv4 address, a name that ends in a dot for a CNAME, or
// "silent".
func nameServer(t *testing.T, names map[string]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := answerName(buffer[:n], names); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func answerName(query []byte, names map[string]string) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	name := strings.TrimSuffix(q.Name.String(), ".")
	value, known := names[name]
	if value == "silent" {
		return nil
	}
	if strings.HasSuffix(value, ".") {
		alias := dnsmessage.MustNewName(value)
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeCNAME, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.CNAMEResource{CNAME: alias},
		})
		q.Name = alias
		value, known = names[strings.TrimSuffix(value, ".")]
	}
	if address := net.ParseIP(value).To4(); address != nil && q.Type == dnsmessage.TypeA {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeA, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte(address)},
		})
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// slowSink is a sink that takes its time.
type slowSink struct {
	event.Sink
	delay time.Duration
}

func (s slowSink) Publish(ctx context.Context, messages []event.Message) error {
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Sink.Publish(ctx, messages)
}

// slowEndpoint holds each response for so long.
func (d *deployment) slowEndpoint(delay time.Duration) {
	t := d.t
	t.Helper()
	keys, err := linkcore.OpenKeyRing(d.keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	recorder, err := record.NewRecorder(record.Options{TrustedProxies: 1})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := endpoint.OpenSink(t.Context(), "file:"+d.clicks, endpoint.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delivery := delivery.New(slowSink{sink, delay}, delivery.Options{Spill: io.Discard})
	t.Cleanup(func() { delivery.Close(context.Background()) })
	d.endpoint, err = redirect.New(redirect.Options{Keys: keys, Recorder: recorder, Delivery: delivery, TrustForwardedProto: true})
	if err != nil {
		t.Fatal(err)
	}
}

// findings are those of a run, in order.
type findings []Finding

func (d *deployment) run() findings {
	d.t.Helper()
	var mu sync.Mutex
	var all findings
	err := Run(d.t.Context(), d.options, func(f Finding) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, f)
	})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range all {
		for _, text := range []string{f.Seen, f.Advice} {
			if longToken.MatchString(text) {
				d.t.Errorf("%s: a token is shown: %s", f.Check, text)
			}
			if strings.Contains(text, testSecret[:20]) {
				d.t.Errorf("%s: the secret is shown: %s", f.Check, text)
			}
		}
	}
	return all
}

func (all findings) String() string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%-8s %-12s %s", f.Level, f.Check, f.Seen)
		if f.Advice != "" {
			b.WriteString(" -> " + f.Advice)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Package doctor checks a deployment from outside in: what a recipient's browser
// meets (names, certificates, fronts, the endpoint's answers), whether the click
// arrives on the topic, and whether a rule arrives at the endpoint.
//
//	err := doctor.Run(ctx, doctor.Options{
//		BaseURLs:  []string{"https://links.example.com"},
//		Keys:      "keys",
//		Blocklist: "firestore://PROJECT/(default)/blocklist",
//		Clicks:    "pubsub://PROJECT/clicks",
//	}, func(f doctor.Finding) { fmt.Println(f.Level, f.Check, f.Seen, f.Advice) })
//
// It makes links of the customer [linkcore.ProbeCustomer], which is reserved for
// monitoring, and clicks them: their events are on the topic, and subscriptions
// leave them out. Nothing else changes, unless [Options.WriteRule] asks for a rule that
// expires by itself.
//
// Checks that do not depend on each other run at the same time; each has its
// time, so a part that hangs is a finding and not the end. What cannot be checked
// is said, too, with what is missing.
package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"example.com/linktracker/linkcore"
)

// The defaults of [Options].
const (
	DefaultProbes  = 20
	DefaultTarget  = 20 * time.Millisecond
	DefaultTimeout = 15 * time.Second
)

// Options say what is checked and how. What is empty is not checked.
type Options struct {
	BaseURLs   []string // where links begin, as signers have them; at least one
	Keys       string   // directory of the key ring
	SigningKey string   // id of the key that signs; may be empty while there is one
	Blocklist  string   // as endpoint.OpenStore takes it
	Clicks     string   // as endpoint.Receive takes it

	// WriteRule writes a rule that blocks one link of the doctor's own, and
	// measures when the endpoint follows. It expires after a few minutes, also
	// if the program is killed.
	WriteRule bool

	By      string            // who does all this, for the rule's created_by
	Labels  map[string]string // of the subscription
	Probes  int               // clicks whose times are taken; default [DefaultProbes]
	Target  time.Duration     // for the first byte, without the network; default [DefaultTarget]
	Timeout time.Duration     // of each check; default [DefaultTimeout]

	// For tests.
	resolver *net.Resolver
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	roots    *x509.CertPool
	now      func() time.Time
	ruleWait time.Duration
}

// A Level says how good or bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // works, and should be looked at
	Problem Level = "problem" // clicks are lost, or will be
	Skipped Level = "skipped" // not checked
)

// A Finding is what one check found. It holds no token.
type Finding struct {
	BaseURL string `json:"base_url,omitempty"` // of the host that it speaks of; empty: of the deployment
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	Seen    string `json:"seen"`
	Advice  string `json:"advice,omitempty"` // what to do about it

	// Measured are the figures in Seen, in milliseconds or what the name says.
	Measured map[string]float64 `json:"measured,omitempty"`
}

// Run checks the deployment and hands each finding to report, one at a time and
// in a fixed order, as soon as it and those before it are there. The error is of
// options that cannot be understood, or the context's if that ends.
func Run(ctx context.Context, o Options, report func(Finding)) error {
	d := &doctor{Options: o}
	d.Probes = cmp.Or(d.Probes, DefaultProbes)
	d.Target = cmp.Or(d.Target, DefaultTarget)
	d.Timeout = cmp.Or(d.Timeout, DefaultTimeout)
	d.resolver = cmp.Or(d.resolver, net.DefaultResolver)
	if d.dial == nil {
		d.dial = (&net.Dialer{}).DialContext
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.ruleWait = cmp.Or(d.ruleWait, ruleWait)
	if len(o.BaseURLs) == 0 {
		return fmt.Errorf("there is no base URL to check")
	}
	seen := map[string]bool{}
	for _, base := range o.BaseURLs {
		h, err := d.newHost(base)
		if err != nil {
			return err
		}
		if !seen[h.base] {
			seen[h.base] = true
			d.hosts = append(d.hosts, h)
		}
	}

	// The subscription must be there before the first probe is.
	d.ring = start(func() *ring { return d.openRing(ctx) })
	d.topic = start(func() *topic { return d.openTopic(ctx) })
	sections := []future[[]Finding]{
		start(func() []Finding { return d.ring.get().findings }),
		start(func() []Finding { return d.checkBlocklist(ctx) }),
		start(func() []Finding { return d.topic.get().findings }),
	}
	for _, h := range d.hosts {
		defer h.client.CloseIdleConnections()
		sections = append(sections, h.start(ctx)...)
	}
	show := func(findings []Finding) {
		for _, f := range findings {
			f.Seen, f.Advice = redact(f.Seen), redact(f.Advice)
			report(f)
		}
	}
	for _, s := range sections {
		show(s.get())
		if ctx.Err() != nil {
			break
		}
	}
	// Also when interrupted: the rules and the subscription are to go.
	for _, h := range d.hosts {
		h.rule.get()
	}
	show(d.topic.get().close(d.Timeout))
	return ctx.Err()
}

type doctor struct {
	Options
	hosts []*host
	ring  future[*ring]
	topic future[*topic]
}

// A future is what a goroutine will have found out. Whatever it does is bounded
// in time.
type future[T any] func() T

func start[T any](work func() T) future[T] {
	f := sync.OnceValue(work)
	go f()
	return f
}

func (f future[T]) get() T { return f() }

// A host is one base URL and what is found out of it.
type host struct {
	*doctor
	base   string // scheme, authority and maybe a path, without a slash at its end
	name   string // the host as links are signed for it
	port   string
	https  bool
	client *http.Client

	addresses  future[*addresses]
	connection future[*connection]
	links      future[*links]
	events     future[map[string]*arrival]
	times      future[[]Finding]
	rule       future[[]Finding]
}

// newHost checks a base URL as a signer does, which needs a key, any key.
func (d *doctor) newHost(base string) (*host, error) {
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": make([]byte, 32)})
	if err != nil {
		return nil, err
	}
	signer, err := ring.Signer(base, "1")
	if err != nil {
		return nil, fmt.Errorf("%q: %w", base, err)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	h := &host{doctor: d, base: strings.TrimSuffix(base, "/"), name: signer.Host(), port: u.Port(), https: u.Scheme == "https"}
	if h.port == "" {
		h.port = map[bool]string{true: "443", false: "80"}[h.https]
	}
	h.client = h.newClient()
	return h, nil
}

// start starts the checks of a host and returns their findings in order.
func (h *host) start(ctx context.Context) []future[[]Finding] {
	h.addresses = start(func() *addresses { return h.lookUp(ctx) })
	h.connection = start(func() *connection { return h.connect(ctx) })
	h.links = start(func() *links { return h.click(ctx) })
	h.events = start(func() map[string]*arrival { return h.awaitEvents(ctx) })
	var all []future[[]Finding]
	add := func(check func() []Finding) { all = append(all, start(check)) }
	// What needs a connection says so once, not in every line.
	connected := func(name string, check func(context.Context) Finding) {
		add(func() []Finding {
			if !h.connection.get().usable {
				return []Finding{h.skipped(name, "there is no connection")}
			}
			return []Finding{check(ctx)}
		})
	}
	add(func() []Finding { return h.addresses.get().findings })
	add(func() []Finding { return h.connection.get().findings })
	connected("http", h.checkPlainHTTP)
	connected("ready", h.checkReady)
	add(func() []Finding { return h.links.get().findings })
	h.times = start(func() []Finding { return h.checkTimes(ctx) })
	add(h.times.get)
	add(func() []Finding { return h.checkEvents() })
	add(func() []Finding { return h.checkClock() })
	h.rule = start(func() []Finding { return h.checkRule(ctx) })
	add(h.rule.get)
	return all
}

func (h *host) finding(check string, level Level, seen, advice string) Finding {
	return Finding{BaseURL: h.base, Check: check, Level: level, Seen: seen, Advice: advice}
}

func (h *host) skipped(check, why string) Finding {
	return h.finding(check, Skipped, "not checked: "+why, "")
}

// tokens are those of link-format, in any case, as fronts may change that.
var tokens = regexp.MustCompile(`(?i)\b([cou][a-z0-9]{1,16}\.)(?:[a-z0-9_-]*\.){5}[a-z0-9_-]{22}|\b(s[a-z0-9]{1,16}\.)[a-z0-9_-]{40,}`)

// redact cuts what could be clicked out of a text.
func redact(s string) string { return tokens.ReplaceAllString(s, "$1$2…") }

// milliseconds is how times are shown.
func milliseconds(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f ms", ms)
	}
}

func inMilliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// plural returns "1 rule" or "2 rules".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/linktracker/linkcore"
)

const (
	// destination holds what gateways are known to break, within the grammar of
	// destinations.
	destination = "https://probe.example.com/a%25b%2Fc%3Fd%23e+f//g/../h?x=1&y=%26#i"

	plainDestination = "https://probe.example.com/"

	userAgent = "linkctl-doctor"

	// poser is the address that a link of one form says to come from, in the
	// header that only proxies may write: one that nobody has (RFC 5737).
	poser        = "192.0.2.1"
	poserNetwork = "192.0.2.0" // with CLIENT_IP=truncated
	poserForm    = "sealed"

	// A browser follows redirects on the host itself, to a cleaned path; so many
	// are followed.
	maxHops = 5
)

// An answer is what came of one request.
type answer struct {
	err    error
	status int
	header http.Header

	// When the request was made and its answer's headers came, by this machine's
	// clock; and how long it took from having a connection to the first byte and
	// to the answer's end.
	sent, received time.Time
	firstByte, end time.Duration

	hops int // redirects on the host itself that were followed before
}

func (a *answer) location() string { return a.header.Get("Location") }

// isEndpoints reports whether the endpoint itself answered: fronts do not send
// its headers.
func (a *answer) isEndpoints() bool {
	return a.header.Get("X-Robots-Tag") == "noindex, nofollow" && a.header.Get("Referrer-Policy") == "no-referrer"
}

// get makes one request. The URL goes out byte for byte.
func (h *host) get(ctx context.Context, rawURL string, header http.Header) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	var mu sync.Mutex // a trace's functions may be called late
	var connected, first time.Time
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { mu.Lock(); connected = time.Now(); mu.Unlock() },
		GotFirstResponseByte: func() { mu.Lock(); first = time.Now(); mu.Unlock() },
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		a.err = withoutURL(err)
		return a
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("User-Agent", userAgent)
	a.sent = h.now()
	response, err := h.client.Do(r)
	if err != nil {
		a.err = withoutURL(err)
		if ctx.Err() != nil {
			a.err = fmt.Errorf("no answer within %v", h.Timeout)
		}
		return a
	}
	defer response.Body.Close()
	a.received = h.now()
	a.status, a.header = response.StatusCode, response.Header
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	end := time.Now()
	if err != nil {
		a.err = fmt.Errorf("the answer (%d) does not end: %w", a.status, withoutURL(err))
	}
	mu.Lock()
	defer mu.Unlock()
	a.firstByte, a.end = first.Sub(connected), end.Sub(connected)
	return a
}

// withoutURL takes the link out of an error: it holds a token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// follow makes a request and follows redirects on the host itself, as browsers
// do.
func (h *host) follow(ctx context.Context, rawURL string, header http.Header) answer {
	for hops := 0; ; hops++ {
		a := h.get(ctx, rawURL, header)
		a.hops = hops
		if a.err != nil || a.status/100 != 3 || hops == maxHops {
			return a
		}
		base, err := url.Parse(rawURL)
		if err != nil {
			return a
		}
		next := a.location()
		switch origin := base.Scheme + "://" + base.Host; {
		case strings.HasPrefix(next, "/") && !strings.HasPrefix(next, "//"):
			rawURL = origin + next
		case strings.HasPrefix(next, origin+"/"):
			rawURL = next
		default:
			return a
		}
	}
}

// A probe is a link of the doctor's own, and what it was answered with.
type probe struct {
	form   string // "path", "query" or "sealed"
	link   string // its id
	url    string
	answer answer
}

// probeOf makes a link.
func (h *host) probeOf(key, form, destination string) (probe, error) {
	signer, err := h.ring.get().Signer(h.base, key)
	if err != nil {
		return probe{}, err
	}
	fields := linkcore.Fields{Customer: linkcore.ProbeCustomer, Campaign: "doctor"}
	var tracked linkcore.Tracked
	switch form {
	case "path":
		tracked, err = signer.Sign(fields, destination, linkcore.Options{})
	case "query":
		tracked, err = signer.Sign(fields, destination, linkcore.Options{Form: linkcore.QueryForm})
	default:
		tracked, err = signer.Seal(fields, destination, linkcore.Options{})
	}
	return probe{form: form, link: tracked.Fields.Link, url: tracked.URL}, err
}

// try makes a link and clicks it.
func (h *host) try(ctx context.Context, key, form, destination string) probe {
	p, err := h.probeOf(key, form, destination)
	if err != nil {
		p.answer.err = err
		return p
	}
	var header http.Header
	if form == poserForm {
		header = http.Header{"X-Forwarded-For": {poser}}
	}
	p.answer = h.follow(ctx, p.url, header)
	return p
}

// links are the probes of one host.
type links struct {
	known    bool    // the endpoint knows the signing key
	clicked  []probe // of the three forms, those that led to their destination
	why      string  // there are none
	findings []Finding
}

const (
	checkKeys   = "keys"
	checkForged = "forged"
	checkHeader = "headers"
)

func checkForm(form string) string { return "link-" + form }

var forms = []string{"path", "query", "sealed"}

// click clicks links of every key and form, and forged ones.
func (h *host) click(ctx context.Context) *links {
	l := &links{}
	ring := h.ring.get()
	h.topic.get()
	connected := h.connection.get().usable
	skip := func(why string, checks ...string) {
		l.why = why
		for _, check := range checks {
			l.findings = append(l.findings, h.skipped(check, why))
		}
	}
	rest := []string{checkForm("path"), checkForm("query"), checkForm("sealed"), checkForged, checkHeader}
	switch {
	case !connected:
		skip("there is no connection", append([]string{checkKeys}, rest...)...)
		return l
	case ring.KeyRing == nil:
		skip("there is no key ring", append([]string{checkKeys}, rest...)...)
		return l
	}
	l.findings = h.checkKeys(ctx, ring, l)
	switch {
	case ring.signing == "":
		skip("it is not known which key signs", rest...)
		return l
	case !l.known:
		skip("the endpoint does not accept links of the signing key", rest...)
		return l
	}
	var tries []future[probe]
	for _, form := range forms {
		tries = append(tries, start(func() probe { return h.try(ctx, ring.signing, form, destination) }))
	}
	forged := start(func() Finding { return h.checkForged(ctx, ring.signing) })
	for _, try := range tries {
		p := try.get()
		f, ok := h.judgeForm(ctx, p)
		if ok {
			l.clicked = append(l.clicked, p)
		}
		l.findings = append(l.findings, f)
	}
	l.findings = append(l.findings, forged.get())
	if len(l.clicked) == 0 {
		skip("no link led anywhere", checkHeader)
		return l
	}
	l.findings = append(l.findings, h.checkHeaders(l.clicked[0].answer))
	return l
}

// checkKeys clicks a sealed link of each key, as that is what fronts change
// least: what is refused then is the key or the host, not the way.
func (h *host) checkKeys(ctx context.Context, ring *ring, l *links) []Finding {
	ids := ring.IDs()
	tries := make([]future[probe], len(ids))
	for i, id := range ids {
		tries[i] = start(func() probe { return h.try(ctx, id, "sealed", plainDestination) })
	}
	var findings []Finding
	var known []string
	for i, id := range ids {
		a := tries[i].get().answer
		problem, advice := h.judge(a, plainDestination)
		if problem == "" {
			known = append(known, id)
			l.known = l.known || id == ring.signing
			continue
		}
		level := Problem
		if a.status == http.StatusNotFound && a.isEndpoints() {
			switch {
			case id == ring.signing || ring.signing == "":
				advice = "either the endpoint does not have this key with this secret: give it to every endpoint before anything is signed with it (linkctl keys list shows fingerprints to compare), and wait a minute; or it is asked for another host than " + h.name + ": let the front pass the Host header on"
			default:
				level = Warning
				advice = "the links that it signed are dead: give the endpoint the key again, or, if it leaked, take it out of this ring, too"
			}
		}
		findings = append(findings, h.finding(checkKeys, level, "key "+id+": "+problem, advice))
	}
	if len(known) > 0 {
		what := "keys"
		if len(known) == 1 {
			what = "key"
		}
		findings = append([]Finding{h.finding(checkKeys, OK, "the endpoint knows the "+what+" "+strings.Join(known, ", "), "")}, findings...)
	}
	return findings
}

// judge says what is wrong with the answer to a link; nothing, if it leads to
// its destination.
func (h *host) judge(a answer, destination string) (problem, advice string) {
	location := a.location()
	switch {
	case a.err != nil:
		return a.err.Error(), "see the endpoint's log and its front's"
	case a.status == http.StatusFound && len(a.header["Location"]) == 1 && location == destination:
		return "", ""
	case a.status == http.StatusFound && a.isEndpoints() && len(a.header["Location"]) == 1:
		return fmt.Sprintf("leads to %s, which differs from byte %d on", shorten(location), difference(location, destination)),
			"a front rewrites Location, which must be left as it is; or a rule redirects the link (linkctl rules)"
	case a.status/100 == 3 && a.hops == maxHops:
		return fmt.Sprintf("goes round in circles on the host (%d)", a.status), "a front redirects to what it redirects from: have links passed on as received"
	case a.status/100 == 3 && !h.https && strings.HasPrefix(location, "https://"+h.name):
		return fmt.Sprintf("is sent on to https (%d)", a.status), "sign links with an https base URL"
	case a.status/100 == 3:
		return fmt.Sprintf("is sent to %s (%d) by something in front of the endpoint", shorten(location), a.status), "route this host's paths to the endpoint, and nothing else"
	case a.status == http.StatusNotFound && a.isEndpoints():
		return "404, as for a link that nobody signed", "the endpoint got another link than the one that was sent"
	case a.status == http.StatusNotFound:
		return "404, and not from the endpoint", "route this host to the endpoint: something else answers, a load balancer's default backend or another service"
	case a.status == http.StatusGone && a.isEndpoints():
		return "410: a rule blocks it", "see linkctl rules for one that matches customer " + linkcore.ProbeCustomer + ", the host probe.example.com, the key or this machine, and lift it"
	case a.status == http.StatusForbidden || a.status == http.StatusTooManyRequests:
		return fmt.Sprintf("%d: something in front refuses it", a.status), "see the firewall's log (Cloud Armor: rules on encoded URLs or rates) and let links pass; on Cloud Run, let everybody invoke the service"
	case a.status/100 == 5:
		return fmt.Sprintf("%d", a.status), "see the log of the endpoint and its front: the endpoint does not run, or is not reached"
	case a.status/100 == 2:
		return fmt.Sprintf("%d, which no click is answered with", a.status), "route this host to the endpoint: something else answers"
	}
	return fmt.Sprintf("%d", a.status), "see the log of the endpoint and its front"
}

// shorten shows an unexpected Location.
func shorten(s string) string {
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// difference returns the first byte, from 1, in which two texts differ.
func difference(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i + 1
}

// Features are what fronts change, each alone in a destination.
var features = []struct{ what, destination, advice string }{
	{"//", "https://probe.example.com/a//b", "merging slashes (nginx: proxy_pass without a path, or merge_slashes off; Envoy: merge_slashes; a CDN's URL normalisation)"},
	{"/../", "https://probe.example.com/a/../b", "resolving dot segments (nginx: proxy_pass without a path; Envoy: normalize_path; a CDN's URL normalisation)"},
	{"%2F", "https://probe.example.com/a%2Fb", "decoding the path (nginx: proxy_pass without a path; Envoy: path_with_escaped_slashes_action; Apache: AllowEncodedSlashes NoDecode, nocanon)"},
	{"%25", "https://probe.example.com/a%25b", "decoding the path (nginx: proxy_pass without a path; Apache: nocanon)"},
	{"+", "https://probe.example.com/a+b", "turning + into a space"},
	{"?", "https://probe.example.com/a?x=1&y=%26", "decoding the path or splitting its query"},
	{"#", "https://probe.example.com/a#i", "decoding the path and cutting it at #"},
}

// judgeForm says whether a form arrives and, if not, which part of a destination
// does not.
func (h *host) judgeForm(ctx context.Context, p probe) (f Finding, ok bool) {
	check := checkForm(p.form)
	problem, advice := h.judge(p.answer, destination)
	if problem == "" {
		if p.answer.hops > 0 {
			return h.finding(check, Warning, fmt.Sprintf("302 to the destination, byte for byte, after %s on the host itself", plural(p.answer.hops, "redirect")), "something in front cleans paths, which costs recipients time: have links passed on as received"), true
		}
		return h.finding(check, OK, "302 to the destination, byte for byte", ""), true
	}
	if p.answer.status != http.StatusNotFound || !p.answer.isEndpoints() {
		return h.finding(check, Problem, problem, advice), false
	}
	// The key is known: so the link was changed on its way. Which part?
	signing := h.ring.get().signing
	plain := start(func() probe { return h.try(ctx, signing, p.form, plainDestination) })
	tries := make([]future[probe], len(features))
	for i, feature := range features {
		tries[i] = start(func() probe { return h.try(ctx, signing, p.form, feature.destination) })
	}
	var broken, stop []string
	for i, feature := range features {
		if problem, _ := h.judge(tries[i].get().answer, feature.destination); problem != "" {
			broken = append(broken, feature.what)
			if !slices.Contains(stop, feature.advice) {
				stop = append(stop, feature.advice)
			}
		}
	}
	if problem, _ := h.judge(plain.get().answer, plainDestination); problem != "" {
		seen := "every link of this form arrives changed (404), though the endpoint knows the key"
		if p.form == "query" {
			return h.finding(check, Problem, seen, "something in front drops or changes query strings: have them passed on as received (of a CDN: all of them, in the cache key or not); until then sign links of the path form"), false
		}
		return h.finding(check, Problem, seen, "something in front changes paths: have them passed on as received; until then sign links of another form"), false
	}
	if len(broken) == 0 {
		return h.finding(check, Problem, "a destination with all of %25 %2F %3F %23 + // /../ arrives changed (404); each alone does not", "something in front changes URLs: have them passed on as received"), false
	}
	return h.finding(check, Problem, "links whose destination has "+strings.Join(broken, " or ")+" arrive changed (404)",
		"something in front changes URLs on their way: stop it from "+strings.Join(stop, "; ")+"; until then sign sealed links"), false
}

// checkForged clicks links that nobody signed.
func (h *host) checkForged(ctx context.Context, key string) Finding {
	p, err := h.probeOf(key, "path", plainDestination)
	if err != nil {
		return h.finding(checkForged, Problem, err.Error(), "")
	}
	begin := len(h.base) + 1
	token, rest, _ := strings.Cut(p.url[begin:], "/")
	tag := strings.LastIndexByte(token, '.') + 1
	other := byte('A')
	if token[tag] == other {
		other = 'B'
	}
	for _, forged := range []struct{ what, url string }{
		{"tag", p.url[:begin] + token[:tag] + string(other) + token[tag+1:] + "/" + rest},
		{"destination", strings.Replace(p.url, "probe.example", "brobe.example", 1)},
	} {
		a := h.get(ctx, forged.url, nil)
		switch {
		case a.err != nil:
			return h.finding(checkForged, Warning, "a link with a changed "+forged.what+": "+a.err.Error(), "see the endpoint's log and its front's")
		case a.status == http.StatusNotFound:
		case a.status/100 == 3:
			return h.finding(checkForged, Problem, fmt.Sprintf("CRITICAL: a link with a changed %s is redirected (%d, to %s)", forged.what, a.status, shorten(a.location())),
				"what answers there redirects anybody anywhere: take it out of service now, and serve the endpoint of this project, unchanged")
		case a.status/100 == 2:
			return h.finding(checkForged, Problem, fmt.Sprintf("a link with a changed %s is answered with %d instead of 404", forged.what, a.status), "something else than the endpoint answers: route this host to the endpoint")
		default:
			return h.finding(checkForged, Warning, fmt.Sprintf("a link with a changed %s is answered with %d instead of 404", forged.what, a.status), "something in front answers instead of the endpoint, and tells strangers which links are valid: have its answers passed on")
		}
	}
	return h.finding(checkForged, OK, "404 for a changed tag and for a changed destination", "")
}

// readyWait is how long an endpoint mostly takes to read its blocklist: a little more
// than BLOCKLIST_START_WAIT, 3 s by default.
const readyWait = 5 * time.Second

// checkReady asks the endpoint itself. It may just have been started.
func (h *host) checkReady(ctx context.Context) Finding {
	const check = "ready"
	begin := time.Now()
	a := h.get(ctx, h.base+"/-/ready", nil)
	for a.err == nil && a.status == http.StatusServiceUnavailable && time.Since(begin) < min(readyWait, h.Timeout) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		a = h.get(ctx, h.base+"/-/ready", nil)
	}
	switch {
	case a.err != nil:
		return h.finding(check, Problem, a.err.Error(), "see whether the endpoint runs")
	case a.status == http.StatusOK && a.isEndpoints():
		return h.finding(check, OK, "/-/ready answers 200", "")
	case a.status == http.StatusServiceUnavailable && a.isEndpoints():
		return h.finding(check, Problem, fmt.Sprintf("/-/ready answers 503 for %v", min(readyWait, h.Timeout)), "the endpoint has not read its blocklist yet: if that lasts, see its log for why")
	}
	return h.finding(check, Problem, fmt.Sprintf("/-/ready answers %d, and not from the endpoint", a.status), "route this host to the endpoint: something else answers")
}

// checkHeaders compares a click's headers with HTTP.md.
func (h *host) checkHeaders(a answer) Finding {
	var wrong []string
	var advice []string
	for _, header := range []struct{ name, value string }{
		{"Cache-Control", "private, no-store"},
		{"X-Robots-Tag", "noindex, nofollow"},
		{"X-Content-Type-Options", "nosniff"},
		{"Referrer-Policy", "no-referrer"},
	} {
		if got := strings.Join(a.header[http.CanonicalHeaderKey(header.name)], ", "); got != header.value {
			wrong = append(wrong, fmt.Sprintf("%s is %q", header.name, got))
		}
	}
	if len(wrong) > 0 {
		advice = append(advice, "a front changes headers: have the endpoint's passed on (caches and referrers leak links otherwise)")
	}
	if h.https {
		switch got := a.header.Get("Strict-Transport-Security"); {
		case got == "":
			wrong = append(wrong, "Strict-Transport-Security is missing")
			advice = append(advice, "the endpoint does not know that recipients speak https: have the front send X-Forwarded-Proto, and TRUSTED_PROXIES be 1 or more")
		case strings.Contains(strings.ToLower(got), "includesubdomains"), strings.Contains(strings.ToLower(got), "preload"):
			wrong = append(wrong, fmt.Sprintf("Strict-Transport-Security is %q", got))
			advice = append(advice, "a front promises https for the customer's whole domain: have it leave that header alone")
		}
	}
	if len(a.header["Set-Cookie"]) > 0 {
		wrong = append(wrong, "Set-Cookie is there")
		advice = append(advice, "a front sets cookies, which recipients were promised not to get: turn its session affinity off")
	}
	if len(wrong) > 0 {
		return h.finding(checkHeader, Warning, strings.Join(wrong, ", "), strings.Join(advice, "; "))
	}
	return h.finding(checkHeader, OK, "as they should be", "")
}

package redirect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
)

// newKeyWait is how long a link that names an unknown key waits for the key
// ring to be listed, if that is due: an instance that was idle has not heard of
// a new key. A client can use it up once a minute.
const newKeyWait = 250 * time.Millisecond

// Options are the parts that a [Handler] is made of. Keys, Recorder and Delivery
// are required.
type Options struct {
	Keys     *linkcore.KeyRing
	Rules    *blocklist.Cache // nil: no rules
	Recorder *record.Recorder
	Delivery *delivery.Delivery

	// Unavailable says what happens to clicks and opens whose rules are not known,
	// as the copy is not whole and the source does not say. Unsubscribing and
	// objecting always work. Default Untracked.
	Unavailable Unavailable

	// HomeURL is where / leads: a URL in the grammar of destinations. Empty: /
	// is not found.
	HomeURL string

	// Prefix is the path that the handler is mounted under, such as "/t": the
	// raw request target must begin with it. Empty: the handler has all paths.
	Prefix string

	// TrustForwardedProto says that a proxy in front sets X-Forwarded-Proto,
	// which then reports whether the request came over HTTPS.
	TrustForwardedProto bool

	// Ready is what /-/ready asks. Nil: always ready.
	Ready func() bool

	// Invalid is called for every request that was refused, after its answer was
	// written, with the reason: one of linkcore's Err values (404), or an
	// error that wraps ErrMethod (405), ErrOneClick or ErrTracking (400). It is called from
	// many goroutines at once.
	Invalid func(*http.Request, error)

	// Project is the Google Cloud project that the traces in log lines belong
	// to. Empty: log lines name no trace.
	Project string

	Log *slog.Logger // nil: nothing is logged
}

// Unavailable says what happens while rules are not known.
type Unavailable string

// What happens while rules are not known.
const (
	Untracked Unavailable = "untracked" // as without rules, but the event leaves the person out, who may have objected
	Allow     Unavailable = "allow"     // as without rules
	Deny      Unavailable = "deny"      // 503
)

// Why a request with a valid link was refused.
var (
	ErrMethod   = errors.New("the method is not one that this link or path answers")
	ErrOneClick = errors.New("the body is not List-Unsubscribe=One-Click")
	ErrTracking = errors.New("the body is neither Tracking=Stop nor Tracking=Allow")
)

// A Handler answers the requests of tracked links as HTTP.md says. It may be
// used from any number of goroutines.
type Handler struct {
	o      Options
	prefix string     // without a slash at its end
	home   []string   // value of Location; nil: there is none
	pages  [][]answer // by language and page
	hold   bool

	counters
	objections
	refreshed    atomic.Int64 // Unix milliseconds of the last look at what is due, in the background
	awaitingKeys atomic.Bool
	cannotFlush  sync.Once
}

// New makes a handler. The error says which option is wrong.
func New(o Options) (*Handler, error) {
	switch {
	case o.Keys == nil:
		return nil, errors.New("redirect: Options.Keys is missing: open a key ring with linkcore.OpenKeyRing")
	case o.Recorder == nil:
		return nil, errors.New("redirect: Options.Recorder is missing: make one with record.NewRecorder")
	case o.Delivery == nil:
		return nil, errors.New("redirect: Options.Delivery is missing: make one with delivery.New")
	case o.Unavailable != "" && o.Unavailable != Untracked && o.Unavailable != Allow && o.Unavailable != Deny:
		return nil, fmt.Errorf("redirect: Options.Unavailable %q is none of untracked, allow, deny", o.Unavailable)
	case o.Prefix != "" && (o.Prefix[0] != '/' || strings.ContainsFunc(o.Prefix, notInPath)):
		return nil, fmt.Errorf("redirect: Options.Prefix %q is not a path as it stands in a URL, such as /t", o.Prefix)
	}
	h := &Handler{
		prefix: strings.TrimRight(o.Prefix, "/"),
		hold:   o.Delivery.Hold(),
	}
	if o.HomeURL != "" {
		if _, err := linkcore.ParseDestination(o.HomeURL); err != nil {
			return nil, fmt.Errorf("redirect: Options.HomeURL: %w", err)
		}
		h.home = []string{o.HomeURL}
	}
	for i := range translations {
		h.pages = append(h.pages, translations[i].makePages(o.Recorder.Options()))
	}
	o.Unavailable = cmp.Or(o.Unavailable, Untracked)
	if o.Ready == nil {
		o.Ready = func() bool { return true }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h.o = o
	return h, nil
}

func notInPath(c rune) bool { return c <= ' ' || c > '~' || c == '?' || c == '#' || c == '\\' }

// ServeHTTP answers one request. A panic is logged; where the answer was not
// written yet it becomes a 503, as a link that works again a minute later is
// better than a connection that breaks.
//
// Measured on one core of an AMD EPYC, with all parts and a sink that drops: a
// click takes 5.8 µs and 13 allocations with hold, 3 to 4 µs and 12 in the
// background, on top of net/http (BenchmarkClick).
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange{Handler: h, w: w, r: r, received: time.Now()}
	x.began = x.received
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
		}
	}()
	x.serve()
}

// exchange is one request on its way to its answer.
type exchange struct {
	*Handler
	w        http.ResponseWriter
	r        *http.Request
	received time.Time
	began    time.Time // since when the client waits for us, not we for it
	answered time.Time // when the answer had left; zero: it was not flushed
	status   int       // of the answer; 0: not answered yet
	beside   string    // where the page beside this one is; empty: not known
}

func (x *exchange) serve() {
	target, err := linkcore.ParseTarget(x.r.Host, x.r.RequestURI)
	if err != nil {
		x.invalid(err)
		return
	}
	target, ok := target.Below(x.prefix)
	if !ok {
		x.invalid(linkcore.ErrNotLink)
		return
	}
	path := target.Path
	fixed := isFixed(path)
	if fixed && (!target.HasQuery || strings.HasPrefix(path, "/-/")) {
		x.fixed(path)
		return
	}
	link, err := x.verify(target)
	switch {
	case err == nil:
		x.link(target, &link)
	case fixed && errors.Is(err, linkcore.ErrNotLink):
		x.fixed(path)
	default:
		x.invalid(err)
	}
}

// verify checks the link.
func (x *exchange) verify(target linkcore.Target) (linkcore.Link, error) {
	link, err := x.o.Keys.VerifyTarget(target)
	if errors.Is(err, linkcore.ErrUnknownKey) {
		if done := x.o.Keys.RefreshIfDue(); done != nil {
			wait(done, newKeyWait)
			return x.o.Keys.VerifyTarget(target)
		}
	}
	return link, err
}

func (x *exchange) link(target linkcore.Target, link *linkcore.Link) {
	switch link.Kind {
	case linkcore.Click:
		x.click(link)
	case linkcore.Open:
		x.open(link)
	case linkcore.Unsubscribe:
		x.findBeside(target, link)
		x.unsubscribe(link)
	default:
		x.findBeside(target, link)
		x.privacy(link)
	}
}

func (x *exchange) click(link *linkcore.Link) {
	if !x.mayRead() {
		x.refuseMethod(allowRead)
		return
	}
	address := x.o.Recorder.ClientAddress(x.r)
	d, known := x.decide(link, address)
	if !known && x.o.Unavailable == Deny && d.Action != blocklist.Block {
		x.unavailable()
		return
	}
	o := x.outcome(event.Click, d, known, address)
	location := link.Destination
	switch d.Action {
	case blocklist.Block:
		o.Type = event.Blocked
		x.blocked.Add(1)
		x.page(blockedPage, true)
		x.record(link, o)
		return
	case blocklist.Redirect:
		o.RedirectedTo = d.Target
		location = d.Target
	}
	x.redirects.Add(1)
	x.redirect([]string{location}, true)
	x.record(link, o)
}

func (x *exchange) open(link *linkcore.Link) {
	if !x.mayRead() {
		x.refuseMethod(allowRead)
		return
	}
	if x.r.Method == http.MethodHead {
		x.answer(&pixelAnswer, false)
		return
	}
	address := x.o.Recorder.ClientAddress(x.r)
	d, known := x.decide(link, address)
	if !known && x.o.Unavailable == Deny {
		x.unavailable() // readers do not notice a missing pixel
		return
	}
	x.opens.Add(1)
	x.answer(&pixelAnswer, true)
	x.record(link, x.outcome(event.Open, d, known, address))
}

func (x *exchange) unsubscribe(link *linkcore.Link) {
	if x.mayRead() {
		x.page(unsubscribePage, false)
		return
	}
	if x.r.Method != http.MethodPost {
		x.refuseMethod(allowReadPost)
		return
	}
	if _, err := x.readForm(ErrOneClick, oneClick); err != nil {
		x.page(notUnsubscribedPage, false)
		x.refused(http.StatusBadRequest, err)
		return
	}
	x.began = time.Now()
	address := x.o.Recorder.ClientAddress(x.r)
	// No rule stands in the way of unsubscribing, so neither does their absence.
	d, known := x.decide(link, address)
	x.unsubscribes.Add(1)
	x.page(unsubscribedPage, true)
	x.record(link, x.outcome(event.Unsubscribe, d, known, address))
}

// privacy shows what is recorded, and takes an objection to it or its withdrawal.
func (x *exchange) privacy(link *linkcore.Link) {
	if !x.mayRead() && x.r.Method != http.MethodPost {
		x.refuseMethod(allowReadPost)
		return
	}
	if link.Recipient == "" {
		x.page(namelessPage, false)
		return
	}
	address := x.o.Recorder.ClientAddress(x.r)
	if x.mayRead() {
		page := trackedPage
		if d, _ := x.decide(link, address); d.Untracked {
			page = untrackedPage
		}
		x.page(page, false)
		return
	}
	said, err := x.readForm(ErrTracking, stop, allow)
	if err != nil {
		x.page(notStoppedPage, false)
		x.refused(http.StatusBadRequest, err)
		return
	}
	x.began = time.Now()
	// The event says what the rules said before.
	d, known := x.decide(link, address)
	o := x.outcome(event.Objection, d, known, address)
	page := stoppedPage
	if said == allow {
		o.Type, page = event.ObjectionWithdrawn, allowedPage
		x.forget(link)
	} else {
		x.remember(link, x.received)
	}
	x.page(page, true)
	x.record(link, o)
}

// decide asks the rules, and the objections that they may not hold yet. If known is
// false, the rules could not be asked in time, and d holds no more than a block.
func (x *exchange) decide(link *linkcore.Link, address netip.Addr) (d blocklist.Decision, known bool) {
	d, known = x.ask(link, address)
	if x.objected(link, x.received) {
		d.Untracked = true
	}
	return d, known
}

// outcome is what becomes of a request of which the rules, known or not, say d.
func (x *exchange) outcome(t event.Type, d blocklist.Decision, known bool, address netip.Addr) record.Outcome {
	return record.Outcome{
		Type:         t,
		Rule:         d.Rule,
		NamesNobody:  !d.NamesPerson,
		Untracked:    d.Untracked || !known && x.o.Unavailable == Untracked,
		RulesUnknown: !known,
		Address:      address,
	}
}

// ask asks the rules.
func (x *exchange) ask(link *linkcore.Link, address netip.Addr) (d blocklist.Decision, known bool) {
	if x.o.Rules == nil {
		return d, true
	}
	defer func() {
		// Links must always work: a defect in a part that only says no is
		// treated as its absence.
		if p := recover(); p != nil {
			x.logPanic("panic in the blocklist", p)
			d, known = blocklist.Decision{}, false
		}
	}()
	return x.o.Rules.Decide(x.r.Context(), &blocklist.Request{
		Link:      link,
		Address:   address,
		UserAgent: first(x.r, "User-Agent"),
		Now:       x.received,
	})
}

// record makes the event and delivers it; the answer has left. With hold it
// returns when the event and the refreshes that are due are done, which takes
// the delivery's timeout at most.
func (x *exchange) record(link *linkcore.Link, o record.Outcome) {
	answered := x.answered
	if answered.IsZero() {
		answered = time.Now()
	}
	o.Secure = x.secure()
	e := x.o.Recorder.Record(x.r, x.received, link, o)
	if e.Untracked {
		x.untracked.Add(1)
	}
	if link.Repair != linkcore.RepairNone {
		x.recovered.Add(1)
	}
	if x.o.Log.Enabled(x.r.Context(), slog.LevelDebug) {
		x.logEvent(e, answered)
	}
	x.o.Delivery.Deliver(e)

	if !x.hold {
		// Each looks at the clock, for which once a millisecond is often enough.
		if ms := answered.UnixMilli(); x.refreshed.Load() != ms {
			x.refreshed.Store(ms)
			x.o.Rules.RefreshIfDue()
			x.o.Keys.RefreshIfDue()
		}
		return
	}
	rules, keys := x.o.Rules.RefreshIfDue(), x.o.Keys.RefreshIfDue()
	// An instance may have no processor between requests, so what this request
	// started ends within it. One request at a time is enough for that: the
	// cache sees to it by itself.
	if rules != nil {
		wait(rules, x.o.Delivery.Timeout()-time.Since(answered))
	}
	if keys != nil && x.awaitingKeys.CompareAndSwap(false, true) {
		wait(keys, x.o.Delivery.Timeout()-time.Since(answered))
		x.awaitingKeys.Store(false)
	}
}

func wait(done <-chan struct{}, limit time.Duration) {
	if limit <= 0 {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func isFixed(path string) bool {
	switch path {
	case "/", "/favicon.ico", "/robots.txt", "/-/live", "/-/ready":
		return true
	}
	return false
}

func (x *exchange) fixed(path string) {
	if path == "/" && x.home == nil {
		x.invalid(linkcore.ErrNotLink)
		return
	}
	if !x.mayRead() {
		x.refuseMethod(allowRead)
		return
	}
	switch path {
	case "/":
		x.redirect(x.home, false)
	case "/favicon.ico":
		x.answer(&iconAnswer, false)
	case "/robots.txt":
		x.answer(&robotsAnswer, false)
	case "/-/live":
		x.answer(&okAnswer, false)
	case "/-/ready":
		if x.o.Ready() {
			x.answer(&okAnswer, false)
		} else {
			x.answer(&notReadyAnswer, false)
		}
	}
}

// first returns the first value of a header given in canonical form.
func first(r *http.Request, header string) string {
	if values := r.Header[header]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (x *exchange) mayRead() bool {
	return x.r.Method == http.MethodGet || x.r.Method == http.MethodHead
}

func (x *exchange) refuseMethod(allow []string) {
	x.w.Header()["Allow"] = allow
	x.page(methodPage, false)
	x.refused(http.StatusMethodNotAllowed, ErrMethod)
}

func (x *exchange) unavailable() {
	x.counters.unavailable.Add(1)
	x.page(unavailablePage, false)
}

func (x *exchange) invalid(cause error) {
	x.countInvalid(cause)
	x.page(invalidPage, false)
	x.refused(http.StatusNotFound, cause)
}

// refused reports to operators why a request was refused.
func (x *exchange) refused(status int, cause error) {
	if x.o.Log.Enabled(x.r.Context(), slog.LevelDebug) {
		x.log(slog.LevelDebug, "request refused", status, nil,
			slog.String("cause", cause.Error()),
			slog.String("host", cut(x.r.Host, 253)),
			// Too short to hold a whole token.
			slog.String("target_start", cut(x.r.RequestURI, 24)),
		)
	}
	if x.o.Invalid != nil {
		x.o.Invalid(x.r, cause)
	}
}

// logEvent writes the line of an event. It says no more of the person than the
// event does, and what is needed to find that by.
func (x *exchange) logEvent(e *event.Event, answered time.Time) {
	var attributes []slog.Attr
	add := func(name, value string) {
		if value != "" {
			attributes = append(attributes, slog.String(name, value))
		}
	}
	add("event_id", e.ID)
	add("host", e.Host)
	add("key_id", e.KeyID)
	add("customer", e.Customer)
	add("campaign", e.Campaign)
	add("automation", string(e.Automation))
	if e.Signals != 0 {
		attributes = append(attributes, slog.Any("signals", slices.Collect(e.Signals.All())))
	}
	add("rule", e.Rule)
	add("recovered", e.Recovered)
	request := []any{slog.String("latency", strconv.FormatFloat(answered.Sub(x.received).Seconds(), 'f', 6, 64)+"s")}
	if e.IP != "" {
		request = append(request, slog.String("remoteIp", e.IP))
	}
	if e.UserAgent != "" {
		request = append(request, slog.String("userAgent", e.UserAgent))
	}
	x.log(slog.LevelDebug, string(e.Type), x.status, request, attributes...)
}

// panicked ends an exchange whose goroutine panicked.
func (x *exchange) panicked(p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	x.logPanic("panic while a request was answered", p)
	if x.status != 0 {
		return
	}
	x.counters.unavailable.Add(1)
	// In one language, as finding another may be what panicked.
	x.answer(&x.pages[0][unavailablePage], false)
}

// log writes a line with the fields by which Cloud Logging finds its request,
// and more of them.
func (x *exchange) log(level slog.Level, message string, status int, request []any, attributes ...slog.Attr) {
	request = append(request, slog.String("requestMethod", cut(x.r.Method, 32)))
	if status != 0 {
		request = append(request, slog.Int("status", status))
	}
	attributes = append(attributes, slog.Group("httpRequest", request...))
	if trace := traceID(x.r.Header); trace != "" && x.o.Project != "" {
		attributes = append(attributes, slog.String("logging.googleapis.com/trace", "projects/"+x.o.Project+"/traces/"+trace))
	}
	x.o.Log.LogAttrs(context.WithoutCancel(x.r.Context()), level, message, attributes...)
}

// traceID returns the request's trace, by W3C Trace Context or by the header
// that Google's front ends used before it: 32 hex digits, or nothing.
func traceID(header http.Header) string {
	id := header.Get("Traceparent")
	if len(id) >= 3+32 && id[2] == '-' {
		id = id[3 : 3+32]
	} else {
		id, _, _ = strings.Cut(header.Get("X-Cloud-Trace-Context"), "/")
	}
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return ""
	}
	return id
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// heldLong is when holding a response is worth a word: an acknowledgement of
	// Pub/Sub takes tens of milliseconds.
	heldLong = time.Second

	// First byte and end came as one if they are that close: a share of the
	// first byte's time, or this. It matters from a share of the target on.
	together      = time.Millisecond
	togetherShare = 20
	waitShare     = 4
)

// checkTimes clicks a link again and again, and looks at how long recipients
// wait (first byte) and how long the endpoint holds the response (end).
func (h *host) checkTimes(ctx context.Context) []Finding {
	const checkFirst, checkHeld = "first-byte", "held"
	l := h.links.get()
	clicked := l.clicked
	if len(clicked) == 0 {
		return []Finding{h.skipped(checkFirst, l.why), h.skipped(checkHeld, l.why)}
	}
	// A link of its own: events come in any order, and those of these clicks must
	// not be taken for that of clicked[0].
	again, err := h.probeOf(h.ring.get().signing, clicked[0].form, destination)
	if err != nil {
		return []Finding{h.finding(checkFirst, Problem, err.Error(), ""), h.skipped(checkHeld, "a click failed")}
	}
	var first, end []time.Duration
	complete := false // a Content-Length: not held by the endpoint, or buffered
	deadline := time.Now().Add(h.Timeout)
	for len(first) < h.Probes && (len(first) == 0 || time.Now().Before(deadline)) && ctx.Err() == nil {
		a := h.get(ctx, again.url, nil)
		if a.err != nil || a.status != http.StatusFound {
			problem, advice := h.judge(a, a.location())
			if problem == "" {
				problem = fmt.Sprintf("%d", a.status)
			}
			return []Finding{
				h.finding(checkFirst, Problem, fmt.Sprintf("click %d of the same link: %s", len(first)+1, problem), advice),
				h.skipped(checkHeld, "a click failed"),
			}
		}
		first = append(first, a.firstByte)
		end = append(end, a.end)
		complete = complete || a.header.Get("Content-Length") != ""
	}
	if len(first) == 0 {
		return nil // interrupted
	}
	held := make([]time.Duration, len(end))
	for i := range end {
		held[i] = end[i] - first[i]
	}
	network := h.connection.get().roundTrip
	p50, p95 := quantile(first, 0.5), quantile(first, 0.95)
	f := h.finding(checkFirst, OK, fmt.Sprintf("p50 %s, p95 %s of %s, of which %s are the network; target %s",
		milliseconds(p50), milliseconds(p95), plural(len(first), "click"), milliseconds(network), milliseconds(h.Target)), "")
	f.Measured = map[string]float64{"p50": inMilliseconds(p50), "p95": inMilliseconds(p95), "network": inMilliseconds(network), "clicks": float64(len(first))}
	late := p95-network > h.Target
	// The endpoint sends a response that it holds without a Content-Length.
	asOne := quantile(held, 0.5) < max(together, p50/togetherShare) && p50-network > h.Target/waitShare
	switch {
	case asOne && !complete:
		f.Level = Warning
		f.Advice = "the answer comes all at once: a proxy in front buffers it, so recipients wait until their event is acknowledged; have it pass on what it gets at once (nginx: proxy_buffering off; Apache: flushpackets=on)"
	case asOne && late:
		f.Level = Warning
		f.Advice = "the answer comes late and all at once: either a proxy in front buffers it until its event is acknowledged (nginx: proxy_buffering off; Apache: flushpackets=on) or, with DELIVERY=background, it is late already: see first_byte_us in the endpoint's stats line"
	case late:
		f.Level = Warning
		f.Advice = "compare with first_byte_us in the endpoint's stats line: if that is fast, it is the way to it; if not, the endpoint starts (keep an instance: min-instances), lacks CPU, or waits for its blocklist (BLOCKLIST_WAIT)"
	}

	e50, e95 := quantile(end, 0.5), quantile(end, 0.95)
	g := h.finding(checkHeld, OK, fmt.Sprintf("the response ends after p50 %s, p95 %s", milliseconds(e50), milliseconds(e95)), "")
	g.Measured = map[string]float64{"p50": inMilliseconds(e50), "p95": inMilliseconds(e95), "clicks": float64(len(end))}
	if e95-network > heldLong {
		g.Level = Warning
		g.Advice = "events are acknowledged slowly, and each response that is held takes one of HOLD_MAX places: see delivered and spilled in the endpoint's stats line, and whether the topic is in the endpoint's region"
	}
	return []Finding{f, g}
}

// quantile returns the value that a share of all does not exceed.
func quantile(all []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(float64(len(sorted))*share), len(sorted)-1)]
}

// awaitEvents waits for the events of the links that led to their destination.
func (h *host) awaitEvents(ctx context.Context) map[string]*arrival {
	clicked := h.links.get().clicked
	t := h.topic.get()
	arrivals := map[string]*arrival{}
	if !t.usable {
		return arrivals
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	for _, p := range clicked {
		if a := t.await(ctx, p.link); a != nil {
			arrivals[p.form] = a
		}
	}
	return arrivals
}

const checkEvent = "event"

// checkEvents compares the events with what was clicked.
func (h *host) checkEvents() []Finding {
	l := h.links.get()
	clicked := l.clicked
	t := h.topic.get()
	switch {
	case len(clicked) == 0:
		return []Finding{h.skipped(checkEvent, l.why)}
	case h.Clicks == "":
		return []Finding{h.skipped(checkEvent, "give --clicks")}
	case !t.usable:
		return []Finding{h.skipped(checkEvent, "events cannot be read")}
	}
	arrivals := h.events.get()
	var missing, took []string
	var longest time.Duration
	var findings []Finding
	for _, p := range clicked {
		a := arrivals[p.form]
		if a == nil {
			missing = append(missing, p.form)
			continue
		}
		after := max(a.at.Sub(p.answer.sent), 0)
		longest = max(longest, after)
		took = append(took, milliseconds(after))
		if a.Destination != destination || a.Host != h.name || a.KeyID != h.ring.get().signing {
			findings = append(findings, h.finding(checkEvent, Problem, fmt.Sprintf("the event of the %s link has destination %s, host %q, key %q", p.form, shorten(a.Destination), a.Host, a.KeyID), "the topic has events of something else than this endpoint: see what publishes to it"))
		}
		if p.form == poserForm && (a.IP == poser || a.IP == poserNetwork) {
			findings = append(findings, h.finding(checkEvent, Warning, "the endpoint takes the client's word for its address (X-Forwarded-For)", "TRUSTED_PROXIES is more than there are proxies in front: 0 without any, 1 on Cloud Run, 2 behind the load balancer"))
		}
		if a.Recovered != "" {
			findings = append(findings, h.finding(checkEvent, Warning, fmt.Sprintf("the %s link arrived changed and was repaired (%s)", p.form, a.Recovered),
				"something in front changes URLs ("+changes[a.Recovered]+"), and not every link survives that: have them passed on as received"))
		}
	}
	var f Finding
	switch {
	case len(missing) > 0:
		f = h.finding(checkEvent, Problem, fmt.Sprintf("no event of %s (%s) came within %v", plural(len(missing), "link"), strings.Join(missing, ", "), h.Timeout),
			"see \"event spilled\" in the endpoint's log (linkctl replay brings those back) and whether its CLICKS is "+h.Clicks)
	default:
		f = h.finding(checkEvent, OK, fmt.Sprintf("%s came, %s after the click", plural(len(took), "event"), strings.Join(took, ", ")), "")
	}
	if len(took) > 0 {
		f.Measured = map[string]float64{"longest": inMilliseconds(longest)}
	}
	return append([]Finding{f}, findings...)
}

// changes says what a repair undoes.
var changes = map[string]string{
	"decoded-query":    "it decodes paths in part",
	"decoded":          "it decodes paths",
	"double-encoding":  "it encodes paths twice",
	"quoted-printable": "it treats URLs as a mail's text",
	"whitespace":       "it breaks URLs into lines",
	"html-entity":      "it writes & as an entity",
	"trailing":         "it adds to URLs",
	"slash":            "it merges slashes",
	"dot":              "it doubles or drops dots that begin a line",
	"delimiters":       "it encodes a query's delimiters",
}

const (
	// What a clock may be off before it is worth a word, and before it does
	// harm: endpoints look for changed rules 30 s back.
	clockWarning = 2 * time.Second
	clockProblem = 30 * time.Second
)

// checkClock compares this machine's clock with the endpoint's, by the Date
// header and by the event.
func (h *host) checkClock() []Finding {
	const check = "clock"
	l := h.links.get()
	if len(l.clicked) == 0 {
		return []Finding{h.skipped(check, l.why)}
	}
	p := l.clicked[0]
	var parts []string
	var worst time.Duration
	measured := map[string]float64{}
	add := func(what, name string, skew time.Duration) {
		parts = append(parts, what+" "+aheadBehind(skew))
		measured[name] = inMilliseconds(skew)
		if skew.Abs() > worst.Abs() {
			worst = skew
		}
	}
	if date, err := http.ParseTime(p.answer.header.Get("Date")); err == nil {
		// It has no fractions of a second.
		add("its Date is", "date", skew(date, date.Add(time.Second), p.answer.sent, p.answer.received))
	}
	a := h.events.get()[p.form]
	if a != nil {
		add("its events' occurred_at is", "occurred_at", skew(a.OccurredAt, a.OccurredAt, p.answer.sent, p.answer.received))
	}
	if len(parts) == 0 {
		return []Finding{h.skipped(check, "the answer has no Date, and there is no event")}
	}
	f := h.finding(check, OK, strings.Join(parts, ", "), "")
	f.Measured = measured
	switch {
	case worst.Abs() <= clockWarning:
		return []Finding{f}
	case worst.Abs() <= clockProblem:
		f.Level = Warning
	default:
		f.Level = Problem
	}
	f.Advice = "one of the two clocks is wrong, which hides changed rules from the endpoint and makes people look like machines: compare with `curl -sI https://www.google.com | grep -i ^date` and set the wrong one (chrony, systemd-timesyncd)"
	if a != nil && !a.published.IsZero() {
		// Pub/Sub's clock is the third, and it is right.
		switch here, there := a.published.Sub(a.at), a.OccurredAt.Sub(a.published); {
		case here.Abs() > worst.Abs()/2 && there.Abs() < worst.Abs()/2:
			f.Advice = "Pub/Sub's clock agrees with the endpoint's: set this machine's (chrony, systemd-timesyncd)"
		case there.Abs() > worst.Abs()/2 && here.Abs() < worst.Abs()/2:
			f.Advice = "Pub/Sub's clock agrees with this machine's: set the endpoint's (chrony, systemd-timesyncd), which misses changed rules and takes people for machines"
		}
	}
	return []Finding{f}
}

// skew returns how far a time that lies somewhere from earliest to latest is
// outside of when it should have been: positive if it is ahead.
func skew(earliest, latest, from, to time.Time) time.Duration {
	switch {
	case earliest.After(to):
		return earliest.Sub(to)
	case latest.Before(from):
		return latest.Sub(from)
	}
	return 0
}

func aheadBehind(skew time.Duration) string {
	switch {
	case skew == 0:
		return "right"
	case skew > 0:
		return milliseconds(skew) + " ahead"
	}
	return milliseconds(-skew) + " behind"
}

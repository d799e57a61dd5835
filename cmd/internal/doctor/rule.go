package doctor

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/endpoint"
)

const (
	// ruleLife is when the rule expires by itself: more than it is waited for,
	// and soon.
	ruleLife = 5 * time.Minute

	// ruleWait is how long a rule is waited for. An endpoint looks for rules
	// every BLOCKLIST_REFRESH, 15 s by default.
	ruleWait     = time.Minute
	ruleInterval = 500 * time.Millisecond
	ruleLate     = 30 * time.Second
	liftTimeout  = 10 * time.Second
)

// checkRule writes a rule that blocks a link which nobody else has, and waits
// until the endpoint blocks it.
func (h *host) checkRule(ctx context.Context) []Finding {
	const check = "rule"
	ring, l := h.ring.get(), h.links.get()
	switch {
	case !h.WriteRule:
		return []Finding{h.skipped(check, "how old the endpoint's copy of the rules is; --write-rule measures it, and the endpoint's stats line has it as blocklist_age_seconds")}
	case h.Blocklist == "" || h.Blocklist == "none":
		return []Finding{h.skipped(check, "there is no blocklist")}
	case !l.known:
		return []Finding{h.skipped(check, l.why)}
	}
	say := func(level Level, seen, advice string) []Finding {
		return []Finding{h.finding(check, level, seen, advice)}
	}
	h.times.get() // which this would disturb
	store, err := endpoint.OpenStore(h.Blocklist)
	if err != nil {
		return say(Problem, err.Error(), "give --blocklist or BLOCKLIST what the endpoint has")
	}
	defer store.Close()
	p, err := h.probeOf(ring.signing, "sealed", plainDestination)
	if err != nil {
		return say(Problem, err.Error(), "")
	}
	rule := blocklist.Rule{
		Kind:      blocklist.Link,
		Value:     linkcore.ProbeCustomer + "/" + p.link,
		Action:    blocklist.Block,
		Reason:    "linkctl doctor measures how fast rules arrive; expires by itself",
		CreatedBy: h.By,
		ExpiresAt: h.now().Add(ruleLife),
	}
	write, cancel := context.WithTimeout(ctx, h.Timeout)
	err = store.Put(write, rule)
	cancel()
	if err != nil {
		return say(Problem, "no rule can be written: "+err.Error(), storeAdvice(err))
	}
	findings := h.awaitRule(ctx, p, time.Now())
	// Also when interrupted.
	lift, cancel := context.WithTimeout(context.WithoutCancel(ctx), liftTimeout)
	defer cancel()
	if _, err := store.Lift(lift, rule); err != nil {
		findings = append(findings, say(Warning, "the rule "+rule.String()+" could not be lifted: "+err.Error(), "nothing: it blocks a link that nobody has, and expires at "+rule.ExpiresAt.UTC().Format(time.RFC3339))...)
	}
	return findings
}

func (h *host) awaitRule(ctx context.Context, p probe, written time.Time) []Finding {
	const check = "rule"
	ctx, cancel := context.WithTimeout(ctx, h.ruleWait)
	defer cancel()
	ticker := time.NewTicker(ruleInterval)
	defer ticker.Stop()
	for {
		a := h.get(ctx, p.url, nil)
		took := time.Since(written)
		switch {
		case ctx.Err() != nil:
		case a.status == http.StatusGone && a.isEndpoints():
			f := h.finding(check, OK, "a new rule was followed after "+milliseconds(took), "")
			f.Measured = map[string]float64{"followed": inMilliseconds(took)}
			if took > ruleLate {
				f.Level = Warning
				f.Advice = "see refresh_failures in the endpoint's stats line, and its BLOCKLIST_REFRESH"
			}
			return []Finding{f}
		case a.err != nil || a.status != http.StatusFound:
			problem, advice := h.judge(a, plainDestination)
			return []Finding{h.finding(check, Problem, "while the rule was awaited: "+problem, advice)}
		}
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		return []Finding{h.finding(check, Problem, fmt.Sprintf("the endpoint did not follow a new rule within %v", h.ruleWait),
			"see whether its BLOCKLIST is "+h.Blocklist+", and refresh_failures and blocklist_age_seconds in its stats line: rules that are written now do not stop anything")}
	}
}

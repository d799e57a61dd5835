package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
)

const (
	// How long one request may take: an endpoint answers a HEAD when its event is
	// acknowledged, which may take five seconds.
	lookTimeout = 10 * time.Second

	// How often a link is requested at most. Each request leaves an event.
	lookInterval = 3 * time.Second
)

// A blockedLink is a tracked link that a rule is to stop, and what its endpoint
// answers. The link itself is not printed: it holds a person's token.
type blockedLink struct {
	t      *tool
	url    string
	host   string
	client *http.Client

	before bool   // it was blocked before the rule was written
	last   string // what the last request met
}

// linkToWaitFor checks that a link shows when the rule is in force.
func (t *tool) linkToWaitFor(c *cobra.Command, rawURL string, rules []blocklist.Rule) (*blockedLink, error) {
	if len(rules) != 1 {
		return nil, usagef("--wait is for one rule: of %d, the link would not show which is in force", len(rules))
	}
	rule, now := rules[0], t.now()
	switch {
	case rule.Action != blocklist.Block:
		return nil, usagef("--wait is for rules that block: whether a link is redirected or not tracked cannot be seen from outside")
	case rule.Kind == blocklist.IP || rule.Kind == blocklist.Agent:
		return nil, usagef("--wait cannot follow a rule of the kind %s: whether it stops a click depends on who clicks", rule.Kind)
	case !rule.Live(now):
		return nil, usagef("--wait is for rules that begin now, and this one begins at %s", stamp(rule.StartsAt))
	}
	k, err := t.checker(c)
	if err != nil {
		return nil, err
	}
	i := k.inspectURL(rawURL)
	u, err := url.Parse(rawURL)
	switch {
	case i.Form == "" || err != nil || u.Host == "":
		return nil, usagef("--wait: this is not a tracked link; give one that the rule stops, as linkctl sign makes them")
	case i.Verified != nil && !*i.Verified:
		return nil, usagef("--wait: the link does not verify: %s", i.Reason)
	case i.Kind != "" && i.Kind != linkcore.Click.String():
		return nil, usagef("--wait: the link is of the kind %s, which rules do not stop; give a click link", i.Kind)
	case i.Kind == "":
		// Sealed, and there are no keys: what it holds is the endpoint's to know.
	default:
		link := linkcore.Link{Kind: linkcore.Click, Key: i.Key, Destination: i.Destination}
		link.Customer, link.Campaign, link.Recipient, link.Fields.Link = i.Customer, i.Campaign, i.Recipient, i.Link
		index, err := blocklist.NewIndex(now, rule)
		if err != nil {
			return nil, err
		}
		if index.Decide(&blocklist.Request{Link: &link, Now: now}).Action != blocklist.Block {
			return nil, usagef("--wait: %s does not stop this link, so it would never be blocked by it", rule)
		}
	}
	return &blockedLink{t: t, url: rawURL, host: u.Host, client: &http.Client{
		Timeout:       lookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// look requests the link before the rule is written.
func (w *blockedLink) look(ctx context.Context) {
	w.before, _ = w.blocked(ctx)
}

// wait requests the link until it is blocked.
func (w *blockedLink) wait(ctx context.Context, timeout time.Duration) error {
	if w.before {
		w.t.note("%s blocked the link already before, so it does not show when this rule is in force", w.host)
		return nil
	}
	w.t.note("waiting until %s blocks the link, for %v at most", w.host, timeout)
	begin := time.Now()
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		blocked, hopeless := w.blocked(waiting)
		switch {
		case blocked:
			w.t.note("in force: %s answers 410 for the link, %v after the rule was written; that is one instance, and others follow at their own times",
				w.host, time.Since(begin).Round(100*time.Millisecond))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case hopeless:
			return fmt.Errorf("the rule is written, and not seen in force: %s %s", w.host, w.last)
		}
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the rule is written, and was not seen in force within %v: %s %s; see whether its BLOCKLIST is this one, and its log", timeout, w.host, w.last)
		case <-time.After(min(lookInterval, timeout/20)):
		}
	}
}

// blocked requests the link once. It is hopeless if it will not be blocked.
func (w *blockedLink) blocked(ctx context.Context) (blocked, hopeless bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, w.url, nil)
	if err != nil {
		w.last = "cannot be asked: the link is not a URL"
		return false, true
	}
	r.Header.Set("User-Agent", "linkctl")
	response, err := w.client.Do(r)
	if err != nil {
		if ctx.Err() == nil || w.last == "" {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err
			}
			w.last = "cannot be reached: " + err.Error()
		}
		return false, false
	}
	response.Body.Close()
	// A front that answers for an endpoint does not send its headers.
	if response.Header.Get("X-Robots-Tag") != "noindex, nofollow" {
		w.last = fmt.Sprintf("answers %d, which is not an endpoint's answer", response.StatusCode)
		return false, false
	}
	w.last = fmt.Sprintf("answers %d for the link", response.StatusCode)
	if response.StatusCode == http.StatusNotFound {
		w.last += ": it is not one of its links"
	}
	return response.StatusCode == http.StatusGone, response.StatusCode == http.StatusNotFound
}

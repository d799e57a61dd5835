package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"example.com/linktracker/linkcore/advice"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/endpoint"
	"github.com/spf13/cobra"
)

// What the verbs of the blocklist have in common.

var rulesHelp = `
A rule is written KIND:VALUE. The kinds, the most specific first:

` + kindsHelp(func(k blocklist.Kind) (left, right string) { return string(k) + ":" + k.Syntax(), k.Meaning() }) + `
An empty customer is left out before the slash, as in campaign:/CAMPAIGN. Values
are brought to a normal form before they are written, and that is what is printed.

--blocklist says where the rules are: firestore://PROJECT/DATABASE/COLLECTION, with
(default) for the default database, or file:PATH.`

// kindsHelp makes a list of two columns of the kinds that have a right one.
func kindsHelp(columns func(blocklist.Kind) (left, right string)) string {
	width := 0
	for _, k := range blocklist.Kinds() {
		if left, right := columns(k); right != "" {
			width = max(width, len(left))
		}
	}
	var b strings.Builder
	for _, k := range blocklist.Kinds() {
		if left, right := columns(k); right != "" {
			fmt.Fprintf(&b, "  %-*s  %s\n", width, left, right)
		}
	}
	return b.String()
}

// storeTimeout bounds one call of a store: one list, or one batch of writes.
const storeTimeout = 2 * time.Minute

// storePatience is after how long such a call says what it waits for.
const storePatience = 2 * time.Second

func blocklistFlag(c *cobra.Command) {
	c.Flags().String("blocklist", "", "`URL` of the blocklist (BLOCKLIST)")
}

// withStore opens the blocklist that the flag or the environment names. service
// is what it is used for.
func (t *tool) withStore(c *cobra.Command, service advice.Service, use func(blocklist.Store) error) error {
	url, err := t.required(c, "blocklist", "BLOCKLIST", "the blocklist")
	if err != nil {
		return err
	}
	store, err := endpoint.OpenStore(url)
	if err != nil {
		return usagef("the blocklist (--blocklist, BLOCKLIST): %w", err)
	}
	err = use(store)
	if closeErr := store.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	return service.Explain(err)
}

// storeContext bounds one call of a store, and says what is waited for where it
// takes long. The call must have ended when the function that it returns is
// called.
func (t *tool) storeContext(c *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(c.Context(), storeTimeout)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
		case <-time.After(storePatience):
			t.note("waiting for the blocklist, %s", t.blocklistPlace(c))
		}
	}()
	return ctx, func() { cancel(); <-ended }
}

// blocklistPlace says where the rules are, so that a slip is seen.
func (t *tool) blocklistPlace(c *cobra.Command) string {
	place := t.setting(c, "blocklist", "BLOCKLIST")
	if path, ok := strings.CutPrefix(place, "file:"); ok {
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		return path
	}
	if host := os.Getenv(readingRules.Emulator); host != "" {
		place += " on the emulator at " + host
	}
	return place
}

// parseRules reads the rules that the arguments or standard input give. Every
// rule that is malformed is told on standard error before it fails, and check
// may refuse more of them.
func (t *tool) parseRules(c *cobra.Command, args []string, check func(*blocklist.Rule) error) ([]blocklist.Rule, error) {
	var rules []blocklist.Rule
	seen := map[string]bool{}
	count, refused := 0, 0
	var last error
	for it, err := range t.items(c.Context(), args, "rules", true) {
		if err != nil && !errors.Is(err, errLineTooLong) {
			return nil, err
		}
		count++
		var rule blocklist.Rule
		if err == nil {
			rule, err = blocklist.ParseRule(it.text)
			if err != nil {
				err = fmt.Errorf("%q: %w", it.text, err)
			} else if check != nil {
				err = check(&rule)
			}
		}
		if err != nil {
			if refused++; refused > 1 {
				t.complain("%v", last)
			}
			last = it.errorf("%w", err)
			continue
		}
		if !seen[rule.String()] {
			seen[rule.String()] = true
			rules = append(rules, rule)
		}
	}
	switch {
	case refused == 0:
		return rules, nil
	case count == 1:
		return nil, usageError{last}
	}
	t.complain("%v", last)
	return nil, usagef("%d of %d rules were refused, so nothing was written", refused, count)
}

// parseWhen reads a time, or how long from now it is: 72h, 30d.
func parseWhen(flag, value string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return at.UTC(), nil
	}
	var after time.Duration
	var err error
	if days, ok := strings.CutSuffix(value, "d"); ok {
		var n uint64
		// 100 years: more is a slip, and would not fit.
		if n, err = strconv.ParseUint(days, 10, 16); err == nil && n > 36500 {
			err = strconv.ErrRange
		}
		after = time.Duration(n) * 24 * time.Hour
	} else {
		after, err = time.ParseDuration(value)
	}
	if err != nil || after <= 0 {
		return time.Time{}, usagef("--%s %q: give a time such as 2026-07-31T09:00:00Z, or how long from now, such as 72h or 30d", flag, value)
	}
	return now.Add(after).UTC().Truncate(time.Second), nil
}

// effect says what a rule does and when.
func effect(r blocklist.Rule) string {
	var s string
	switch r.Action {
	case blocklist.Redirect:
		s = "redirected to " + r.Target
	case blocklist.Untracked:
		s = "not tracked"
	default:
		s = "blocked"
	}
	if !r.StartsAt.IsZero() {
		s += " from " + stamp(r.StartsAt)
	}
	if !r.ExpiresAt.IsZero() {
		s += " until " + stamp(r.ExpiresAt)
	}
	return s
}

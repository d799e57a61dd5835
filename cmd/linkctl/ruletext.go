package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/lines"
)

// untrackedKinds are the kinds whose rules may stop tracking.
func untrackedKinds() (kinds []string) {
	for _, k := range blocklist.Kinds() {
		if k.AllowsUntracked() {
			kinds = append(kinds, string(k))
		}
	}
	return kinds
}

var ruleHelp = `
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

// parseRules reads the rules that the arguments or standard input give. Every
// rule that is malformed is reported on standard error before it fails, and check
// may refuse more of them.
func (t *tool) parseRules(c *cobra.Command, args []string, check func(*blocklist.Rule) error) ([]blocklist.Rule, error) {
	var rules []blocklist.Rule
	seen := map[string]bool{}
	count, refused := 0, 0
	var last error
	for it, err := range t.items(c.Context(), args, "rules", true) {
		if err != nil && !errors.Is(err, lines.ErrTooLong) {
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

// The states of a rule.
const (
	live    = "live"
	waiting = "waiting" // for its beginning
	expired = "expired"
	lifted  = "lifted"
)

func stateOf(r blocklist.Rule, now time.Time) string {
	switch {
	case r.Deleted:
		return lifted
	case r.Expired(now):
		return expired
	case !r.Live(now):
		return waiting
	}
	return live
}

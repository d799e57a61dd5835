package main

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
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
			rule, err = t.parseRule(c, it)
			if err == nil && check != nil {
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

// parseRule reads a rule. Where a link was pasted instead, a person at a terminal is
// asked which of the rules about it is meant.
func (t *tool) parseRule(c *cobra.Command, it item) (rule blocklist.Rule, err error) {
	if !scheme.MatchString(it.text) || strings.IndexByte(it.text, ':') < scheme.FindStringIndex(it.text)[0] {
		if rule, err = blocklist.ParseRule(it.text); err != nil {
			return rule, fmt.Errorf("%q: %w", it.text, err)
		}
		return rule, nil
	}
	checker, err := t.checker(c)
	if err != nil {
		return rule, err
	}
	found := checker.inspect(it.text)
	rules := found.rules()
	if len(rules) == 0 {
		return rule, fmt.Errorf("%q: what it leads to is not known, so there is no rule about it: linkctl inspect says more", it.text)
	}
	if it.line > 0 || !isTerminal(t.stdin) || !isTerminal(t.stderr) {
		return rule, fmt.Errorf("%q is a link: did you mean %s?", it.text, joinOr(rules))
	}
	t.note("Which rule about this link is meant?")
	for i, r := range rules {
		t.note("  %d  %-9s %s", i+1, r.Kind, r.Value)
	}
	fmt.Fprintf(t.stderr, "1 to %d: ", len(rules))
	answer, _ := bufio.NewReader(interruptible(c.Context(), t.stdin)).ReadString('\n')
	n, err := strconv.Atoi(strings.TrimSpace(answer))
	if err != nil || n < 1 || n > len(rules) {
		return rule, usagef("%q is none of 1 to %d", strings.TrimSpace(answer), len(rules))
	}
	return rules[n-1], nil
}

// joinOr writes rules as words of a shell: a, b or c.
func joinOr(rules []blocklist.Rule) string {
	words := make([]string, len(rules))
	for i, r := range rules {
		words[i] = shellWord(r.String())
	}
	if last := len(words) - 1; last > 0 {
		return strings.Join(words[:last], ", ") + " or " + words[last]
	}
	return words[0]
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

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/file"
)

const rulesHelp = `Lists the rules that do something now or will: of each the rule, what it does,
since and until when, by whom and why. With --all also those that were lifted or
have expired and are not gone yet.

With --json each rule is one JSON object a line, its fields named as in the
blocklist. That is also what a blocklist of the form file:PATH holds, so it makes
a copy that endpoints can read.

A document that cannot be understood is reported on standard error. With a filter
the exit code is 1 if no rule fits it.`

func (t *tool) rulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "List rules",
		Long:  rulesHelp,
		Example: `  linkctl rules
  linkctl rules --kind host --value phish.example
  linkctl rules --all --json > copy.jsonl
  linkctl rules --blocklist file:copy.jsonl`,
		Args: cobra.NoArgs,
	}
	blocklistFlag(c)
	flags := c.Flags()
	kind := flags.String("kind", "", "only rules of this `KIND`")
	value := flags.String("value", "", "only rules whose value holds this `TEXT`, in any case")
	all := flags.Bool("all", false, "also rules that were lifted or have expired")
	asJSON := jsonFlag(c)
	var kinds []cobra.Completion
	for _, k := range blocklist.Kinds() {
		kinds = append(kinds, string(k))
	}
	completeFrom(c, "kind", kinds...)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if c.Flag("kind").Changed && !slices.Contains(blocklist.Kinds(), blocklist.Kind(*kind)) {
			return usagef("--kind %q: give one of %s", *kind, strings.Join(kinds, ", "))
		}
		return t.withStore(c, readingRules, func(store blocklist.Store) error {
			ctx, cancel := t.storeContext(c)
			rules, skipped, err := store.List(ctx)
			cancel()
			if err != nil {
				return err
			}
			for _, document := range skipped {
				t.complain("warning: not understood, so it does nothing: %v", document)
			}
			now := t.now()
			rules = slices.DeleteFunc(rules, func(r blocklist.Rule) bool {
				state := stateOf(r, now)
				return !*all && (state == lifted || state == expired) ||
					*kind != "" && string(r.Kind) != *kind ||
					!strings.Contains(strings.ToLower(r.Value), strings.ToLower(*value))
			})
			sortRules(rules)
			if *asJSON {
				for _, r := range rules {
					if err := t.printRule(c, r); err != nil {
						return err
					}
				}
			} else if err := ruleTable(rules, now).writeTo(t.stdout); err != nil {
				return err
			}
			if len(rules) == 0 {
				if *kind != "" || *value != "" {
					t.complain("no rule fits")
					return errNo
				}
				t.note("there are no rules")
			}
			return nil
		})
	}
	return c
}

// printRule writes a rule: with --json as a line of a file of rules.
func (t *tool) printRule(c *cobra.Command, r blocklist.Rule) error {
	line, err := file.AppendLine(nil, r)
	if err != nil {
		return err
	}
	return t.print(c, printable(r.String())+": "+printable(effect(r)), json.RawMessage(line))
}

// sortRules sorts rules by kind, the most specific first, then by value.
func sortRules(rules []blocklist.Rule) {
	rank := map[blocklist.Kind]int{}
	for i, kind := range blocklist.Kinds() {
		rank[kind] = i
	}
	slices.SortStableFunc(rules, func(a, b blocklist.Rule) int {
		if a.Kind != b.Kind {
			return rank[a.Kind] - rank[b.Kind]
		}
		return strings.Compare(a.Value, b.Value)
	})
}

func ruleTable(rules []blocklist.Rule, now time.Time) *table {
	lines := &table{}
	lines.row("RULE", "ACTION", "STATE", "STARTS", "EXPIRES", "CREATED", "BY", "TARGET", "REASON")
	for _, r := range rules {
		expires := stamp(r.ExpiresAt)
		if r.Deleted {
			expires = "" // when the document goes, which is nobody's concern
		}
		lines.row(r.String(), string(r.Action), stateOf(r, now), stamp(r.StartsAt), expires,
			stamp(r.CreatedAt), r.CreatedBy, r.Target, r.Reason)
	}
	return lines
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore/blocklist"
)

func (t *tool) unblockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "unblock [KIND:VALUE...]",
		Short: "Lift rules",
		Long: `Lifts the rules of these kinds and values, whatever they do: block, redirect or
stop tracking. They are given as arguments or, without any, on standard input, one
a line; blank lines and lines that begin with # are skipped. All are checked
before any is lifted. Endpoints that read this blocklist follow within their
BLOCKLIST_REFRESH (15 s by default); linkctl does not see whether they do.

The exit code is 1 if there was no such rule; the others are lifted all the same.
A rule that was lifted stays in the blocklist for a day: linkctl rules --all.
` + ruleHelp,
		Example: `  linkctl block host:mistake.example
  linkctl unblock host:mistake.example`,
		ValidArgsFunction: completeKinds,
	}
	blocklistFlag(c)
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return t.withStore(c, writingRules, func(store blocklist.Store) error {
			rules, err := t.parseRules(c, args, nil)
			if err != nil {
				return err
			}
			return t.lift(c, store, rules)
		})
	}
	return c
}

func (t *tool) lift(c *cobra.Command, store blocklist.Store, rules []blocklist.Rule) error {
	anyMissing, count := false, 0
	for len(rules) > 0 {
		batch := rules[:min(putBatch, len(rules))]
		rules = rules[len(batch):]
		ctx, cancel := t.storeContext(c)
		missing, err := store.Lift(ctx, batch...)
		cancel()
		if err != nil {
			return err
		}
		isMissing := make(map[string]bool, len(missing))
		for _, r := range missing {
			isMissing[r.String()] = true
			anyMissing = true
		}
		for _, r := range batch {
			if isMissing[r.String()] {
				t.complain("%s: there is no such rule", r)
				continue
			}
			count++
			done := struct {
				Rule  string `json:"rule"`
				State string `json:"state"`
			}{r.String(), lifted}
			if err := t.print(c, printable(r.String())+": "+lifted, done); err != nil {
				return err
			}
		}
		if err := t.stdout.Flush(); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	if count > 0 {
		t.note("%s lifted in %s", counted(count, "rule"), t.blocklistPlace(c))
	}
	if anyMissing {
		return errNo
	}
	return nil
}

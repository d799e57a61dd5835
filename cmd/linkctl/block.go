package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
)

// putBatch is how many rules are written at once, and printed when they are.
const putBatch = 5000

func (t *tool) blockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "block [KIND:VALUE...]",
		Short: "Block or redirect links, or stop tracking them",
		Long: `Writes a rule for each KIND:VALUE: links that it matches are not followed. With
--redirect they lead to another URL instead. With --untracked the recipient is
still redirected and nothing of the person is recorded: for people who object to
tracking. Only an unsubscribe still names whose it is. That is for these kinds:
` + strings.Join(untrackedKinds(), ", ") + `.

Rules are given as arguments or, without any, on standard input, one a line;
blank lines and lines that begin with # are skipped. All are checked before any
is written. A rule of the same kind and value is replaced, so a rule is changed by
writing it again; but an objection by a block or redirect, or one of these by an
objection, with --force only. Each rule is printed when it is written, and in the
end where they are. Endpoints that read this blocklist follow within their
BLOCKLIST_REFRESH (15 s by default); linkctl does not see whether they do. A
blocklist that held nothing before is a warning: its name may be a slip.

With --wait the rule is followed until it is in force: a tracked link that it stops
is requested again and again until the endpoint answers 410, for --timeout at most.
That is seen at one instance; the others follow at their own times. It is for one
rule that blocks from now on and whose kind is not ip or agent: a redirect or
--untracked cannot be seen from outside. Each request is a HEAD without a browser's
headers, which leaves one event of the class automated. For the kinds host, url,
prefix and key, a link of the customer ` + linkcore.ProbeCustomer + ` leaves nobody's: make one with
linkctl sign --customer ` + linkcore.ProbeCustomer + `. No redirect is followed.

A rule that would stop far more than is usually meant is refused without --force:

` + kindsHelp(func(k blocklist.Kind) (left, right string) { return string(k), k.Widest() }) + ruleHelp,
		Example: `  linkctl block host:phish.example --reason 'phishing, ticket 4711'
  linkctl block url:https://example.com/offer --redirect https://example.com/offer-ended --starts 2026-08-01T00:00:00Z
  linkctl block ip:198.51.100.0/24 agent:badbot --expires 72h
  linkctl block --untracked recipient:acme/r83jf
  printf '%s\n' '# from the feed' host:a.example host:b.example | linkctl block --expires 30d
  linkctl block --blocklist 'firestore://my-project/(default)/blocklist' campaign:acme/spring26`,
		ValidArgsFunction: completeKinds,
	}
	blocklistFlag(c)
	jsonFlag(c)
	flags := c.Flags()
	flags.String("reason", "", "`TEXT` that says why, for people")
	flags.String("by", "", "`WHO` writes the rule (default you, as user@host)")
	flags.String("starts", "", "`WHEN` the rule begins: a time such as 2026-07-31T09:00:00Z, or from now: 2h, 7d")
	flags.String("expires", "", "`WHEN` the rule ends, likewise (default never)")
	flags.String("redirect", "", "send people to this `URL` instead")
	flags.Bool("untracked", false, "send people on, but record nothing of them")
	force := flags.Bool("force", false, "write very wide rules too, and replace objections")
	link := flags.String("wait", "", "wait until this `LINK`, which the rule stops, is blocked")
	timeout := durationFlag(flags, "timeout", time.Minute, "wait for this `TIME` at most, such as 30s")
	flags.String("keys", "", "`DIR` of the key ring, to check that link (LINK_KEYS; not needed)")
	flags.String("base-url", "", "`URL` where this installation's links begin (LINK_BASE_URL; not needed)")
	c.RunE = func(c *cobra.Command, args []string) error {
		common, err := t.ruleFlags(c)
		if err != nil {
			return err
		}
		switch {
		case c.Flag("timeout").Changed && !c.Flag("wait").Changed:
			return usagef("--timeout is for --wait")
		case *timeout <= 0:
			return usagef("--timeout %v: give a time such as 30s", *timeout)
		}
		return t.block(c, args, common, *force, *link, *timeout)
	}
	return c
}

// ruleFlags reads what all rules of this call have in common.
func (t *tool) ruleFlags(c *cobra.Command) (common blocklist.Rule, err error) {
	now := t.now()
	value := func(name string) string { return c.Flag(name).Value.String() }
	untracked := value("untracked") == "true"
	if c.Flag("starts").Changed {
		if common.StartsAt, err = parseWhen("starts", value("starts"), now); err != nil {
			return common, err
		}
	}
	if c.Flag("expires").Changed {
		if common.ExpiresAt, err = parseWhen("expires", value("expires"), now); err != nil {
			return common, err
		}
		if !common.ExpiresAt.After(now) {
			return common, usagef("--expires %s has passed", stamp(common.ExpiresAt))
		}
		if !common.StartsAt.Before(common.ExpiresAt) {
			return common, usagef("--expires %s is not after --starts %s", stamp(common.ExpiresAt), stamp(common.StartsAt))
		}
	}
	common.Action = blocklist.Block
	switch {
	case c.Flag("redirect").Changed && untracked:
		return common, usagef("a rule does one thing: give --redirect or --untracked, not both")
	case c.Flag("redirect").Changed:
		common.Action, common.Target = blocklist.Redirect, value("redirect")
	case untracked:
		common.Action = blocklist.Untracked
	}
	common.Reason, common.CreatedBy = value("reason"), value("by")
	if common.CreatedBy == "" {
		common.CreatedBy = t.whoami()
	}
	return common, nil
}

func (t *tool) block(c *cobra.Command, args []string, common blocklist.Rule, force bool, link string, timeout time.Duration) error {
	return t.withStore(c, writingRules, func(store blocklist.Store) error {
		rules, err := t.parseRules(c, args, func(r *blocklist.Rule) error {
			rule := common
			rule.Kind, rule.Value = r.Kind, r.Value
			normal, err := rule.Normalize()
			if err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			if wide := normal.Wide(); wide != "" && !force && rule.Action != blocklist.Untracked {
				return fmt.Errorf("%s: %s; if you mean it, say --force", r, wide)
			}
			if normal.Action == blocklist.Redirect && slices.ContainsFunc(blocklist.Matching(&linkcore.Link{Destination: normal.Target}), func(m blocklist.Rule) bool {
				return m.String() == normal.String()
			}) {
				return fmt.Errorf("%s: the rule matches its own target %s: give --redirect another URL", r, normal.Target)
			}
			*r = normal
			return nil
		})
		if err != nil {
			return err
		}
		var w *blockedLink
		if c.Flag("wait").Changed {
			if w, err = t.linkToWaitFor(c, link, rules); err != nil {
				return err
			}
		}
		empty, err := t.checkBefore(c, store, rules, force)
		if err != nil {
			return err
		}
		if w != nil {
			w.look(c.Context())
		}
		if err := t.put(c, store, rules); err != nil {
			return err
		}
		if empty {
			t.complain("warning: no rules were there before: is this the blocklist that the endpoints read (their BLOCKLIST)?")
		}
		if w != nil {
			return w.wait(c.Context(), timeout)
		}
		return nil
	})
}

// checkBefore asks the store before anything is written.
func (t *tool) checkBefore(c *cobra.Command, store blocklist.Store, rules []blocklist.Rule, force bool) (empty bool, err error) {
	ctx, cancel := t.storeContext(c)
	defer cancel()
	if !force {
		err = checkReplaced(ctx, store, rules)
	}
	if err == nil {
		if empty, err = store.Empty(ctx); err == nil {
			return empty, nil
		}
	}
	return false, fmt.Errorf("nothing was written: %w", err)
}

// checkReplaced refuses to let a block or redirect take the place of a person's
// objection, or the other way round: there is one rule of each name.
func checkReplaced(ctx context.Context, store blocklist.Store, rules []blocklist.Rule) error {
	untracked := map[string]bool{} // of what can be
	var names []blocklist.Rule
	for _, r := range rules {
		if r.Kind.AllowsUntracked() {
			untracked[r.String()] = r.Action == blocklist.Untracked
			names = append(names, r)
		}
	}
	if len(names) == 0 {
		return nil
	}
	standing, err := store.Standing(ctx, names...)
	if err != nil {
		return err
	}
	var refused []error
	for _, r := range standing {
		if is := r.Action == blocklist.Untracked; is != untracked[r.String()] {
			advice := "lift that one first (linkctl unblock)"
			if is {
				advice = "block the links of that name one by one"
			}
			refused = append(refused, fmt.Errorf("%s is there already (%s), and there is one rule of each name: %s, or replace it with --force", r, effect(r), advice))
		}
	}
	return errors.Join(refused...)
}

// put writes rules batch by batch, and prints each batch once it is written.
func (t *tool) put(c *cobra.Command, store blocklist.Store, rules []blocklist.Rule) error {
	written := 0
	for written < len(rules) {
		batch := rules[written:min(written+putBatch, len(rules))]
		ctx, cancel := t.storeContext(c)
		err := store.Put(ctx, batch...)
		cancel()
		if err != nil {
			if len(rules) > 1 {
				t.complain("of %d rules %d are certainly written; give the list again to write all", len(rules), written)
			}
			return err
		}
		written += len(batch)
		for _, r := range batch {
			if err := t.printRule(c, r); err != nil {
				return err
			}
		}
		if err := t.stdout.Flush(); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	place := t.blocklistPlace(c)
	if len(rules) == 1 && strings.HasPrefix(t.setting(c, "blocklist", "BLOCKLIST"), "firestore:") {
		place += ", document " + rules[0].DocumentID()
	}
	t.note("%s written to %s", counted(len(rules), "rule"), place)
	return nil
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"example.com/linktracker/linkcore/blocklist"
	"github.com/spf13/cobra"
)

// putBatch is how many rules are written at once, and printed when they are.
const putBatch = 5000

func (t *tool) blockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "block [KIND:VALUE...]",
		Short: "Block or redirect links, or stop tracking them",
		Long: `Writes a rule for each KIND:VALUE: links that it matches are not followed. With
--redirect they lead to another URL instead. With --untracked the recipient is
sent on as ever and nothing of the person is recorded: for people who object to
tracking. Only an unsubscribe still names whose it is. That is for these kinds:
` + strings.Join(untrackedKinds(), ", ") + `.

Rules are given as arguments or, without any, on standard input, one a line;
blank lines and lines that begin with # are skipped. All are checked before any
is written. A rule of the same kind and value is replaced, so a rule is changed by
writing it again; but an objection by a block or redirect, or one of these by an
objection, with --force only. Each rule is printed when it is written. Every
endpoint follows within seconds (its BLOCKLIST_REFRESH, 15 s by default).

A rule that would stop far more than is usually meant is refused without --force:

` + kindsHelp(func(k blocklist.Kind) (left, right string) { return string(k), k.Widest() }) + rulesHelp,
		Example: `  linkctl block host:phish.example --reason 'phishing, ticket 4711'
  linkctl block url:https://example.com/offer --redirect https://example.com/offer-ended --starts 2026-08-01T00:00:00Z
  linkctl block ip:198.51.100.0/24 agent:badbot --expires 72h
  linkctl block --untracked recipient:acme/r83jf
  printf '%s\n' '# from the feed' host:a.example host:b.example | linkctl block --expires 30d
  linkctl block --blocklist 'firestore://my-project/(default)/blocklist' campaign:acme/spring26`,
		ValidArgsFunction: completeKinds,
	}
	blocklistFlag(c)
	flags := c.Flags()
	reason := flags.String("reason", "", "`TEXT` that says why, for people")
	by := flags.String("by", "", "`WHO` writes the rule (default you, as user@host)")
	starts := flags.String("starts", "", "`WHEN` the rule begins: a time such as 2026-07-31T09:00:00Z, or from now: 2h, 7d")
	expires := flags.String("expires", "", "`WHEN` the rule ends, likewise (default never)")
	redirect := flags.String("redirect", "", "send people to this `URL` instead")
	untracked := flags.Bool("untracked", false, "send people on, but record nothing of them")
	force := flags.Bool("force", false, "write very wide rules too, and replace objections")
	c.RunE = func(c *cobra.Command, args []string) error {
		var common blocklist.Rule
		now := t.now()
		var err error
		if c.Flag("starts").Changed {
			if common.StartsAt, err = parseWhen("starts", *starts, now); err != nil {
				return err
			}
		}
		if c.Flag("expires").Changed {
			if common.ExpiresAt, err = parseWhen("expires", *expires, now); err != nil {
				return err
			}
			if !common.ExpiresAt.After(now) {
				return usagef("--expires %s has passed", stamp(common.ExpiresAt))
			}
			if !common.StartsAt.Before(common.ExpiresAt) {
				return usagef("--expires %s is not after --starts %s", stamp(common.ExpiresAt), stamp(common.StartsAt))
			}
		}
		common.Action = blocklist.Block
		switch {
		case c.Flag("redirect").Changed && *untracked:
			return usagef("a rule does one thing: give --redirect or --untracked, not both")
		case c.Flag("redirect").Changed:
			common.Action, common.Target = blocklist.Redirect, *redirect
		case *untracked:
			common.Action = blocklist.Untracked
		}
		common.Reason, common.CreatedBy = *reason, *by
		if common.CreatedBy == "" {
			common.CreatedBy = t.whoami()
		}

		return t.withStore(c, func(store blocklist.Store) error {
			rules, err := t.parseRules(c, args, func(r *blocklist.Rule) error {
				rule := common
				rule.Kind, rule.Value = r.Kind, r.Value
				normal, err := rule.Normalize()
				if err != nil {
					return fmt.Errorf("%s: %w", r, err)
				}
				if wide := normal.Wide(); wide != "" && !*force && rule.Action != blocklist.Untracked {
					return fmt.Errorf("%s: %s; if you mean it, say --force", r, wide)
				}
				*r = normal
				return nil
			})
			if err != nil {
				return err
			}
			if !*force {
				if err := t.checkReplaced(c, store, rules); err != nil {
					return err
				}
			}
			return t.put(c, store, rules)
		})
	}
	return c
}

// checkReplaced refuses to let a block or redirect take the place of a person's
// objection, or the other way round: there is one rule of each name.
func (t *tool) checkReplaced(c *cobra.Command, store blocklist.Store, rules []blocklist.Rule) error {
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
	ctx, cancel := storeContext(c.Context())
	defer cancel()
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
		ctx, cancel := storeContext(c.Context())
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
			fmt.Fprintf(t.stdout, "%s: %s\n", printable(r.String()), printable(effect(r)))
		}
		if err := t.stdout.Flush(); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	t.note("every endpoint follows within seconds")
	return nil
}

// whoami names who runs the program, for created_by.
func (t *tool) whoami() string {
	name := t.getenv("USER")
	if name == "" {
		name = t.getenv("LOGNAME")
	}
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// untrackedKinds are the kinds whose rules may stop tracking.
func untrackedKinds() (kinds []string) {
	for _, k := range blocklist.Kinds() {
		if k.AllowsUntracked() {
			kinds = append(kinds, string(k))
		}
	}
	return kinds
}

// completeKinds offers the kinds of rules, each up to its colon.
func completeKinds(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var kinds []cobra.Completion
	for _, kind := range blocklist.Kinds() {
		kinds = append(kinds, string(kind)+":")
	}
	return kinds, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

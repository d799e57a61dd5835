package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/cmd/internal/erase"
	"example.com/linktracker/linkcore/blocklist"
)

var forgetHelp = `For a person who objects to tracking, or wants to be forgotten. It

  - writes the rule recipient:CUSTOMER/RECIPIENT, not tracked: also the links in
    mails that were sent already still work, and events no longer say who follows
    them. Only an unsubscribe still names the person, who could never unsubscribe
    otherwise. A recipient without a customer is written /RECIPIENT;
  - deletes the person's rows in BigQuery (--bigquery) and lines in events files
    (--events), verdicts about them included. Recipients of the same name that
    other customers have stay, and so does what was recorded without a person;
  - prints where more may rest, until when, and what this program cannot see.

Deleting cannot be undone. On a terminal it asks first and says how much it would
delete; elsewhere it needs --yes. --dry-run only counts.

BigQuery cannot delete rows that were written in the last 30 minutes, and up to 90
where it is busy. It deletes the others, says so and exits with 1: run it again
later, or give --wait. In any case run it again when the subscriptions are drained,
as an event from before the rule may still be on its way. Doing it twice does no
harm.

In an events file the lines are overwritten with blanks in their places: an
endpoint keeps appending meanwhile, and no reader of the file loses its place.
Compressed files and arrays, such as exports, cannot be changed in this way:
delete them. A line that holds the recipient's name and is not an event of somebody
else is reported and stays, and the exit code is 1: look at it yourself. The name
inside a sealed link cannot be seen.

--bigquery names the table and not a view: PROJECT.linktracker_clicks.clicks as
Terraform makes it (its output bigquery_table). Your account needs
roles/bigquery.dataEditor on it and roles/bigquery.jobUser on its project, which
Terraform's variable privacy_members gives. BIGQUERY_EMULATOR_HOST is heeded.

The times in the list are those of Terraform's defaults. Where one of yours is
another, say so: --retention crm_retention_days=31. The variables, in days but for
the one in hours, are
` + retentionNames() + `.`

func (t *tool) forgetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "forget CUSTOMER/RECIPIENT",
		Short: "Delete what is recorded of a person, and record no more",
		Long:  forgetHelp,
		Example: `  linkctl forget acme/r83jf --dry-run --events clicks.jsonl
  linkctl forget acme/r83jf --yes --events clicks.jsonl --reason 'letter of 4 May'
  linkctl forget acme/r83jf --yes --bigquery my-project.linktracker_clicks.clicks --wait 90m --retention crm_retention_days=31`,
		Args: cobra.ExactArgs(1),
	}
	blocklistFlag(c)
	flags := c.Flags()
	tables := flags.StringArray("bigquery", nil, "delete rows of this table, `PROJECT.DATASET.TABLE`; may be repeated")
	files := flags.StringArray("events", nil, "delete lines of this events `FILE`; may be repeated")
	dryRun := flags.Bool("dry-run", false, "count what would be deleted; change nothing")
	yes := flags.Bool("yes", false, "do not ask")
	wait := durationFlag(flags, "wait", 0, "how long to wait for rows that are too new to be deleted: a `TIME` such as 90m")
	reason := flags.String("reason", "objection to tracking", "`TEXT` for the rule, for people")
	by := flags.String("by", "", "`WHO` writes the rule (default you, as user@host)")
	retention := flags.StringArray("retention", nil, "`VARIABLE=NUMBER` of your Terraform settings; may be repeated")
	c.RunE = func(c *cobra.Command, args []string) error {
		rule := blocklist.Rule{Kind: blocklist.Recipient, Value: args[0], Action: blocklist.Untracked, Reason: *reason, CreatedBy: *by}
		if rule.CreatedBy == "" {
			rule.CreatedBy = t.whoami()
		}
		rule, err := rule.Normalize()
		if err != nil {
			return usagef("%q: %w", args[0], err)
		}
		times, err := erase.ParseTimes(*retention)
		if err != nil {
			return usagef("--retention %w", err)
		}
		if *wait < 0 {
			return usagef("--wait %v: give a time such as 90m", *wait)
		}
		o := erase.Options{Rule: rule, Wait: *wait}
		for _, path := range *files {
			path = strings.TrimPrefix(path, "file:")
			if path == "" {
				return usagef("--events is empty")
			}
			o.Files = append(o.Files, path)
		}
		for _, name := range *tables {
			table, err := erase.ParseTable(name)
			if err != nil {
				return usagef("--bigquery %w", err)
			}
			o.Tables = append(o.Tables, table)
		}
		if !*yes && !*dryRun && !isTerminal(t.stdin) {
			return usagef("deleting cannot be undone, and nobody can be asked here: give --yes, or --dry-run to see how much it is")
		}
		if len(o.Tables) > 0 {
			if err := erase.Open(c.Context(), o.Tables, t.getenv("BIGQUERY_EMULATOR_HOST")); err != nil {
				return err
			}
		}
		o.Call = func() (context.Context, context.CancelFunc) { return t.storeContext(c) }
		o.Say, o.Note, o.Warn, o.Now = t.say, t.note, t.complain, t.now
		o.Count, o.Size, o.Effect, o.Stamp = counted[int], size, effect, stamp
		return t.withStore(c, writingRules, func(store blocklist.Store) error {
			o.Store = store
			return t.forget(c.Context(), erase.New(o), times, *dryRun, *yes)
		})
	}
	return c
}

func (t *tool) forget(ctx context.Context, e *erase.Erasure, times erase.Times, dryRun, yes bool) error {
	verb, say := "to delete", t.note // which only precedes a question
	if dryRun {
		verb, say = "would be deleted", t.say
	}
	err := e.Survey(ctx, verb, say)
	if err != nil && err != erase.ErrIncomplete {
		return err
	}
	if dryRun {
		if e.Written() {
			t.say("%s: not tracked already", e.Rule)
		} else {
			t.say("%s: would be written, not tracked", e.Rule)
		}
		if placesErr := t.showPlaces(times, false); placesErr != nil {
			return placesErr
		}
		if err != nil {
			return errNo
		}
		return nil
	}
	if !yes {
		if err := t.confirm(ctx, e.Rule); err != nil {
			return err
		}
	}
	errs, err := e.Erase(ctx)
	if err != nil {
		return err
	}
	if err := t.showPlaces(times, len(e.Tables) > 0); err != nil {
		return err
	}
	if len(errs) == 0 {
		t.stdout.WriteString("\nEndpoints follow the rule within seconds. An event from before may be on its way: run this again on " + t.dayIn(times.Again()) + ".\n")
		return nil
	}
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == erase.ErrIncomplete })
	if len(failed) == 0 {
		return errNo
	}
	return errors.Join(failed...)
}

// confirm asks, on a terminal.
func (t *tool) confirm(ctx context.Context, rule blocklist.Rule) error {
	t.stdout.Flush()
	fmt.Fprintf(t.stderr, "Permanently delete all this of %s, and record no more of this person? Type yes: ", printable(rule.Value))
	answer, err := bufio.NewReader(interruptible(ctx, t.stdin)).ReadString('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || strings.TrimSpace(answer) != "yes" {
		t.complain("nothing was done")
		return errNo
	}
	return nil
}

func retentionNames() string {
	var names []string
	for _, r := range erase.Retentions {
		names = append(names, r.Name)
	}
	lines := ""
	width := 0
	for i, name := range names {
		if i > 0 {
			lines += ", "
			width += 2
			if width+len(name) > 78 {
				lines = strings.TrimSuffix(lines, " ") + "\n"
				width = 0
			}
		}
		lines += name
		width += len(name)
	}
	return lines
}

// dayIn returns the day in so many days.
func (t *tool) dayIn(days int) string { return t.now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }

// showPlaces prints where more may rest.
func (t *tool) showPlaces(times erase.Times, deleted bool) error {
	lines := &table{}
	lines.row("PLACE", "GONE BY", "BY THE SETTING")
	for _, place := range times.Places(deleted) {
		lines.row(place.Name, t.dayIn(place.Days), place.Setting)
	}
	t.stdout.WriteString("\nWhat is left ages out (with Terraform's defaults and --retention; this was not looked up):\n")
	if err := lines.writeTo(t.stdout); err != nil {
		return err
	}
	t.stdout.WriteString(`
What stays, or cannot be seen from here:
- the rule itself names the recipient, for as long as it is to be followed;
- what the CRM and other subscribers have stored;
- exports, reports and copies of events, replayed files, and backups of any of them;
- logs outside of the project's own, and those of the level debug;
- the mails themselves, whose links name the recipient; a click on one is recorded without the person, an unsubscribe with.
`)
	return nil
}

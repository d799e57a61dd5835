package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/linktracker/linkcore/blocklist"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (t *tool) forgetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "forget CUSTOMER/RECIPIENT",
		Short: "Delete what is recorded of a person, and record no more",
		Long: `For a person who objects to tracking, or wants to be forgotten. It

  - writes the rule recipient:CUSTOMER/RECIPIENT, not tracked: also the links in
    mails that were sent already work as ever, and events no longer say who follows
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
endpoint goes on appending meanwhile, and nobody who reads the file loses his
place. Compressed files and arrays, such as exports, cannot be changed in this way:
delete them. A line that holds the recipient's name and is no event of somebody else
is reported and stays, and the exit code is 1: look at it yourself. The name inside a
sealed link cannot be seen.

--bigquery names the table and not a view: PROJECT.linktracker_clicks.clicks as
Terraform makes it (its output bigquery_table). Your account needs
roles/bigquery.dataEditor on it and roles/bigquery.jobUser on its project, which
Terraform's variable privacy_members gives. BIGQUERY_EMULATOR_HOST is heeded.

The times in the list are those of Terraform's defaults. Where one of yours is
another, say so: --retention crm_retention_days=31. The variables, in days but for
the one in hours, are
` + retentionNames() + `.`,
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
	wait := flags.Duration("wait", 0, "how long to wait for rows that are too new to be deleted: a `TIME` such as 90m")
	reason := flags.String("reason", "objection to tracking", "`TEXT` for the rule, for people")
	by := flags.String("by", "", "`WHO` writes the rule (default you, as user@host)")
	retention := flags.StringArray("retention", nil, "`VARIABLE=NUMBER` of your Terraform settings; may be repeated")
	c.RunE = func(c *cobra.Command, args []string) error {
		f := &forgetting{t: t, c: c, dryRun: *dryRun, wait: *wait, now: t.now()}
		rule := blocklist.Rule{Kind: blocklist.Recipient, Value: args[0], Action: blocklist.Untracked, Reason: *reason, CreatedBy: *by}
		if rule.CreatedBy == "" {
			rule.CreatedBy = t.whoami()
		}
		var err error
		if f.rule, err = rule.Normalize(); err != nil {
			return usagef("%q: %w", args[0], err)
		}
		f.customer, f.recipient, _ = strings.Cut(f.rule.Value, "/")
		if f.times, err = parseRetention(*retention); err != nil {
			return err
		}
		if *wait < 0 {
			return usagef("--wait %v: give a time such as 90m", *wait)
		}
		for _, path := range *files {
			path = strings.TrimPrefix(path, "file:")
			if path == "" {
				return usagef("--events is empty")
			}
			f.files = append(f.files, path)
		}
		for _, name := range *tables {
			table, err := parseTable(name)
			if err != nil {
				return err
			}
			f.tables = append(f.tables, table)
		}
		if !*yes && !*dryRun {
			if in, ok := t.stdin.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
				return usagef("deleting cannot be undone, and nobody can be asked here: give --yes, or --dry-run to see how much it is")
			}
		}
		if len(f.tables) > 0 {
			client, err := t.openBigQuery(c.Context())
			if err != nil {
				return err
			}
			for i := range f.tables {
				f.tables[i].client = client
			}
		}
		return t.withStore(c, writingRules, func(store blocklist.Store) error { return f.run(c.Context(), store, *yes) })
	}
	return c
}

// A forgetting is one run of forget.
type forgetting struct {
	t      *tool
	c      *cobra.Command
	rule   blocklist.Rule
	dryRun bool
	wait   time.Duration
	now    time.Time
	times  map[string]int // by the names of retentions

	customer, recipient string
	tables              []clicksTable
	files               []string
}

func (f *forgetting) run(ctx context.Context, store blocklist.Store, yes bool) error {
	written, err := f.ruleIsWritten(ctx, store)
	if err != nil {
		return err
	}

	// What there is, before anything is changed: a table that does not exist must
	// not be found out halfway.
	verb := "to delete"
	if f.dryRun {
		verb = "would be deleted"
	}
	for _, table := range f.tables {
		rows, err := table.count(ctx, f)
		if err != nil {
			return err
		}
		bytes, err := table.estimate(ctx, f)
		if err != nil {
			return err
		}
		f.say(!f.dryRun, "%s: %s %s; BigQuery reads %s for it", table, amount(rows, "row"), verb, size(bytes))
	}
	unsure := false
	for _, path := range f.files {
		lines, err := eraseLines(ctx, path, f, false)
		if err != nil {
			return err
		}
		unsure = unsure || lines.unsure()
		f.say(!f.dryRun, "%s: %s %s", path, amount(lines.matched, "line"), verb)
		f.warnOf(path, lines)
	}
	if f.dryRun {
		if written {
			f.say(false, "%s: not tracked already", f.rule)
		} else {
			f.say(false, "%s: would be written, not tracked", f.rule)
		}
		if err := f.places(nil); err != nil || !unsure {
			return err
		}
		return errNo
	}
	if !yes {
		if err := f.confirm(ctx); err != nil {
			return err
		}
	}

	if written {
		f.say(false, "%s: not tracked already", f.rule)
	} else {
		call, cancel := f.t.storeContext(f.c)
		err := store.Put(call, f.rule)
		cancel()
		if err != nil {
			return err
		}
		f.say(false, "%s: %s", f.rule, effect(f.rule))
	}

	// One that fails does not keep the others from being done.
	var errs []error
	for _, path := range f.files {
		lines, err := eraseLines(ctx, path, f, true)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.say(false, "%s: %s deleted", path, amount(lines.matched, "line"))
		f.warnOf(path, lines)
		if lines.unsure() {
			errs = append(errs, errNo)
		}
	}
	for _, table := range f.tables {
		if err := f.deleteRows(ctx, table); err != nil {
			errs = append(errs, err)
		}
	}
	if err := f.places(errs); err != nil {
		return err
	}
	real := slices.DeleteFunc(errs, func(err error) bool { return err == errNo })
	if len(real) > 0 {
		return errors.Join(real...)
	}
	if len(errs) > 0 {
		return errNo
	}
	return nil
}

// ruleIsWritten tells whether the rule is there already, and refuses to put
// another one out of force.
func (f *forgetting) ruleIsWritten(ctx context.Context, store blocklist.Store) (bool, error) {
	call, cancel := f.t.storeContext(f.c)
	defer cancel()
	rules, _, err := store.List(call)
	if err != nil {
		if path, ok := strings.CutPrefix(f.t.setting(f.c, "blocklist", "BLOCKLIST"), "file:"); ok && errors.Is(err, os.ErrNotExist) {
			f.t.note("%s does not exist yet", path)
			return false, nil
		}
		return false, err
	}
	for _, r := range rules {
		if r.String() != f.rule.String() || stateOf(r, f.now) == lifted || stateOf(r, f.now) == expired {
			continue
		}
		if r.Action != blocklist.Untracked {
			return false, fmt.Errorf("%s is %s, and there is one rule of each name: lift that one first (linkctl unblock %s), or block the person's links one by one", f.rule, effect(r), f.rule)
		}
		if r.Live(f.now) && r.ExpiresAt.IsZero() {
			return true, nil
		}
	}
	return false, nil
}

// say writes a line to standard output, or to standard error where it only
// precedes a question.
func (f *forgetting) say(aside bool, format string, args ...any) {
	if aside {
		f.t.note(format, args...)
		return
	}
	fmt.Fprintf(f.t.stdout, "%s\n", printable(fmt.Sprintf(format, args...)))
}

// confirm asks, on a terminal.
func (f *forgetting) confirm(ctx context.Context) error {
	f.t.stdout.Flush()
	fmt.Fprintf(f.t.stderr, "Delete all this of %s for good, and record no more of this person? Type yes: ", printable(f.rule.Value))
	answer, err := bufio.NewReader(interruptible(ctx, f.t.stdin)).ReadString('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || strings.TrimSpace(answer) != "yes" {
		f.t.complain("nothing was done")
		return errNo
	}
	return nil
}

// deleteRows deletes what can be deleted, and waits for the rest if it may.
func (f *forgetting) deleteRows(ctx context.Context, table clicksTable) error {
	deleted, err := table.delete(ctx, f, time.Time{})
	if errors.Is(err, errTooNew) {
		// What is old enough goes at once.
		var old int64
		if old, err = table.delete(ctx, f, f.t.now().Add(-streamingHold)); err == nil {
			deleted, err = old, errTooNew
		}
	}
	end := f.t.now().Add(f.wait)
	interval := min(time.Minute, max(f.wait/10, time.Millisecond))
	for errors.Is(err, errTooNew) && f.t.now().Before(end) {
		f.t.note("%s: %s deleted; the newest cannot be yet, waiting until %s at most", table, amount(deleted, "row"), stamp(end))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
		var more int64
		if more, err = table.delete(ctx, f, time.Time{}); err == nil {
			deleted += more
		}
	}
	if err != nil && !errors.Is(err, errTooNew) {
		return err
	}
	f.say(false, "%s: %s deleted", table, amount(deleted, "row"))
	if err != nil {
		f.t.complain("%s: other rows of this person were written in the last 30 to 90 minutes, and BigQuery cannot delete them yet: run this again after %s, or give --wait 90m",
			table, stamp(f.t.now().Add(streamingHold)))
		return errNo
	}
	return nil
}

// amount writes a number of things.
func amount(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.FormatInt(n, 10) + " " + what
}

// size writes a number of bytes.
func size(bytes int64) string {
	for _, unit := range []struct {
		n    int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= unit.n {
			return strconv.FormatFloat(float64(bytes)/float64(unit.n), 'f', 1, 64) + " " + unit.name
		}
	}
	return amount(bytes, "byte")
}

// retentions are the variables of Terraform that say how long an event rests
// somewhere, in days or, where the name says so, in hours, with their defaults.
var retentions = []struct {
	name string
	time int
}{
	{"clicks_retention_days", 7},
	{"crm_retention_days", 7},
	{"push_retention_days", 7}, // retention_days of each of push_subscriptions
	{"watch.retention_hours", 24},
	{"dead_letter_retention_days", 14},
	{"spill_retention_days", 14},
	{"request_log_retention_days", 7},
	{"bigquery_expiration_days", 400},
	{"blocklist_backup_days", 14},
}

func retentionNames() string {
	var names []string
	for _, r := range retentions {
		names = append(names, r.name)
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

func parseRetention(settings []string) (map[string]int, error) {
	times := map[string]int{}
	for _, r := range retentions {
		times[r.name] = r.time
	}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		if _, ok := times[name]; !ok {
			return nil, usagef("--retention %q: give VARIABLE=NUMBER with one of %s", s, strings.ReplaceAll(retentionNames(), "\n", " "))
		}
		n, err := strconv.ParseUint(value, 10, 12)
		if err != nil {
			unit := "days, such as " + name + "=7"
			if strings.HasSuffix(name, "_hours") {
				unit = "hours, such as " + name + "=24"
			}
			return nil, usagef("--retention %q: give a number of %s", s, unit)
		}
		times[name] = int(n)
	}
	return times, nil
}

// BigQuery keeps what was deleted: for queries of the past, and after that for
// its support.
const (
	timeTravelDays = 7
	failSafeDays   = 7
)

// places prints where more may rest.
func (f *forgetting) places(errs []error) error {
	until := func(days int) string { return f.now.UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	d := f.times
	watch := (d["watch.retention_hours"] + 23) / 24 // a verdict about a click of that time repeats whose it was
	lines := &table{}
	lines.row("PLACE", "GONE BY", "BY THE SETTING")
	if d["clicks_retention_days"] > 0 {
		lines.row("click topic, also what was read", until(d["clicks_retention_days"]), "clicks_retention_days")
	}
	lines.row("the CRM's subscription, what was not read", until(d["crm_retention_days"]), "crm_retention_days")
	lines.row("subscription of BigQuery, what was not written", until(d["crm_retention_days"]), "crm_retention_days")
	lines.row("push subscriptions, what was not taken", until(d["push_retention_days"]), "push_subscriptions, retention_days")
	lines.row("the watcher's subscription, what was not read", until(watch), "watch.retention_hours")
	before := "crm_retention_days"
	if d["push_retention_days"] > d[before] {
		before = "push_retention_days"
	}
	lines.row("dead letters", until(d[before]+d["dead_letter_retention_days"]), before+" + dead_letter_retention_days")
	lines.row("spilled events", until(d["spill_retention_days"]), "spill_retention_days")
	lines.row("request logs, with keep_request_logs", until(d["request_log_retention_days"]), "request_log_retention_days")
	if len(f.tables) > 0 && !f.dryRun {
		lines.row("BigQuery, deleted rows: time travel and fail-safe", until(timeTravelDays+failSafeDays), fmt.Sprintf("%d + %d days, fixed", timeTravelDays, failSafeDays))
	} else {
		lines.row("BigQuery, if there is a table: nothing was deleted", until(d["bigquery_expiration_days"]+timeTravelDays+failSafeDays), "bigquery_expiration_days + 14")
	}
	lines.row("backups of the blocklist, where the rule was lifted", until(d["blocklist_backup_days"]), "blocklist_backup_days, from then on")
	fmt.Fprintf(f.t.stdout, "\nWhat is left ages out (with Terraform's defaults and --retention; this was not looked up):\n")
	if err := lines.writeTo(f.t.stdout); err != nil {
		return err
	}
	fmt.Fprintf(f.t.stdout, `
What stays, or cannot be seen from here:
- the rule itself names the recipient, for as long as it is to be followed;
- what the CRM and other subscribers have stored;
- exports, reports and copies of events, replayed files, and backups of any of them;
- logs outside of the project's own, and those of the level debug;
- the mails themselves, whose links name the recipient; a click on one is recorded without the person, an unsubscribe with.
`)
	if len(errs) == 0 && !f.dryRun {
		fmt.Fprintf(f.t.stdout, "\nEndpoints follow the rule within seconds. An event from before may be on its way: run this again on %s.\n", until(max(d["crm_retention_days"], watch, 1)))
	}
	return nil
}

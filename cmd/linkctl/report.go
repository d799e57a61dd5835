package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/report"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (t *tool) reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "report [SOURCE...]",
		Short: "Show what was clicked, as one page of HTML",
		Long: `Counts events and shows them on one page of HTML that needs nothing else: clicks
over time and by who made them (people, or machines such as mail scanners), by
campaign and destination, how long after sending they came, the links with the most
clicks, and what was read. It goes to standard output, or to --output. With --json
it is the numbers alone.

A source is one of

  PATH, file:PATH                      a file
  pubsub://PROJECT/subscriptions/NAME  what waits in a subscription
  pubsub://PROJECT/TOPIC               what comes during --for

or standard input, without any. A file holds events as the endpoint writes them,
spilled events as they are in the endpoint's log or a Cloud Logging export, or rows
that BigQuery exports: bq extract --destination_format NEWLINE_DELIMITED_JSON, or
bq query --format=json. It may be compressed by gzip. What is read of a
subscription is acknowledged, so that no other reader gets it: use one that was
made for this.

Several sources are counted together. An event counts once, however often it is
there. One that a verdict speaks of is automated, whether linkctl watch has
published the verdict or the events show it themselves. Monitoring's own events are
counted only with --customer ` + probeCustomer + `.

Memory does not grow with the number of events: beyond 32 MiB they are sorted in a
temporary file (TMPDIR), which needs about a quarter of their size.`,
		Example: `  linkctl report clicks.jsonl --output report.html
  linkctl report --from file:clicks.jsonl --customer acme --campaign spring26 --since 2026-05-04 --output report.html
  linkctl report --since 7d --json < clicks.jsonl
  linkctl report pubsub://my-project/subscriptions/report --output report.html`,
	}
	flags := c.Flags()
	from := flags.StringArray("from", nil, "a `SOURCE`, as an argument is one")
	customer := flags.String("customer", "", "only events of this customer's `ID`")
	campaign := flags.String("campaign", "", "only events of this campaign's `ID`")
	since := flags.String("since", "", "only events from `WHEN` on: 2026-05-04, 2026-05-04T09:00:00Z, or so long ago: 36h, 7d")
	until := flags.String("until", "", "only events before `WHEN`, likewise")
	output := flags.StringP("output", "o", "", "write to `FILE`, whole or not at all")
	asJSON := flags.Bool("json", false, "the numbers as one JSON object")
	wait := flags.Duration("wait", 10*time.Second, "a subscription is read until nothing has come for this `TIME`")
	during := flags.Duration("for", 0, "a subscription is read for this `TIME` at most; required for a topic")
	c.RunE = func(c *cobra.Command, args []string) error {
		o := report.Options{Customer: *customer, Campaign: *campaign, TempDir: t.getenv("TMPDIR")}
		var err error
		now := t.now()
		for _, f := range []struct {
			name, value string
			to          *time.Time
		}{{"since", *since, &o.Since}, {"until", *until, &o.Until}} {
			if c.Flag(f.name).Changed {
				if *f.to, err = parsePast(f.name, f.value, now); err != nil {
					return err
				}
			}
		}
		switch {
		case !o.Until.IsZero() && !o.Since.Before(o.Until):
			return usagef("--until %s is not after --since %s", stamp(o.Until), stamp(o.Since))
		case c.Flag("output").Changed && *output == "":
			return usagef("--output is empty: leave it out for standard output")
		case *wait <= 0:
			return usagef("--wait %v: give a time such as 10s", *wait)
		case c.Flag("for").Changed && *during <= 0:
			return usagef("--for %v: give a time such as 10m", *during)
		}
		sources := append(append([]string{}, *from...), args...)
		for _, source := range sources {
			topic, isPubSub := strings.CutPrefix(source, "pubsub://")
			switch {
			case source == "" || source == "file:":
				return usagef("a source is empty")
			case strings.HasPrefix(source, "gs://"):
				return usagef("%q is in Cloud Storage: copy it first, with `gcloud storage cp`", source)
			case isPubSub && strings.Contains(topic, "/subscriptions/") && !subscriptionURL.MatchString(source):
				return usagef("%q is no subscription: give pubsub://PROJECT/subscriptions/NAME", source)
			case isPubSub && !strings.Contains(topic, "/subscriptions/") && *during == 0:
				return usagef("%q is a topic, on which only what comes from now on can be read: say for how long with --for", source)
			}
		}

		collector := report.NewCollector(o)
		defer collector.Close()
		interrupted, err := t.collect(c.Context(), collector, sources, *wait, *during)
		var cut *cutOffError
		if err != nil && !errors.As(err, &cut) {
			return err
		}
		if cut != nil {
			t.complain("%v; the report has what came until then", err)
		}
		ctx := c.Context()
		if interrupted {
			// What was read of a subscription is nowhere else any more.
			t.note("interrupted: the report has what came until now")
			ctx = context.WithoutCancel(ctx)
		}
		r, err := collector.Report(ctx)
		if err != nil {
			return err
		}
		if r.Input.Unreadable > 0 {
			for _, f := range r.Input.Files {
				if f.Problem != "" {
					t.note("warning: %s: %d could not be read: %s", f.Name, f.Unreadable, f.Problem)
				}
			}
		}
		write := r.WriteHTML
		if *asJSON {
			write = func(w io.Writer) error { return encodeJSON(w, r, "  ") }
		}
		var answer error
		if cut != nil {
			answer = errNo
		}
		if *output == "" {
			if err := write(t.stdout); err != nil {
				return fmt.Errorf("write standard output: %w", err)
			}
			return answer
		}
		var page bytes.Buffer
		if err := write(&page); err != nil {
			return err
		}
		if err := writeWhole(*output, page.Bytes()); err != nil {
			return fmt.Errorf("write %s: %w", *output, err)
		}
		t.note("%s: clicks by people %d, automated %d, blocked %d", *output, r.Clicks.Human, r.Clicks.Automated, r.Blocked.Total())
		return answer
	}
	return c
}

// collect reads all sources. interrupted says that the context ended while a
// subscription was read.
func (t *tool) collect(ctx context.Context, collector *report.Collector, sources []string, wait, during time.Duration) (interrupted bool, err error) {
	if len(sources) == 0 {
		if f, ok := t.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return false, usagef("no events: give a file or a subscription, or pipe events to standard input")
		}
		return false, collector.Read(ctx, "standard input", interruptible(ctx, t.stdin))
	}
	for _, source := range sources {
		if !strings.HasPrefix(source, "pubsub://") {
			if err := collector.ReadFile(ctx, strings.TrimPrefix(source, "file:")); err != nil {
				return false, err
			}
			continue
		}
		if err := t.drain(ctx, collector, source, wait, during); err != nil {
			return false, err
		}
		if ctx.Err() != nil {
			return true, nil
		}
	}
	return false, nil
}

// A cutOffError is why not all of a subscription was read. What was read is nowhere
// else any more.
type cutOffError struct{ error }

func (e *cutOffError) Unwrap() error { return e.error }

// drain reads a subscription until nothing more comes, or a topic for so long.
func (t *tool) drain(ctx context.Context, collector *report.Collector, source string, wait, during time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if during > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, during)
		defer cancel()
	}
	collector.Begin(source)
	var failed error
	read := 0
	add := func(m *event.Message) {
		if failed == nil {
			failed = collector.Add(m.Data)
		}
		if failed != nil {
			m.Nack()
			stop()
			return
		}
		read++
		m.Ack()
	}
	var err error
	if strings.Contains(source, "/subscriptions/") {
		t.note("reading %s until nothing has come for %v", source, wait)
		err = event.Drain(ctx, source, wait, add)
	} else {
		err = event.Receive(ctx, source, event.ReceiveOptions{
			Name:   "linkctl-report",
			Labels: map[string]string{"made-by": labelValue(t.whoami()), "made-for": "linkctl-report"},
			Ready:  func() { t.note("reading %s for %v", source, during) },
		}, add)
	}
	switch {
	case errors.Is(err, event.ErrSource):
		return usageError{err}
	case failed != nil:
		return errors.Join(failed, err)
	case err != nil && read > 0:
		return &cutOffError{err}
	}
	return err
}

// parsePast reads a time: a day, a moment, or how long ago it was.
func parsePast(flag, value string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, value); err == nil {
			return at.UTC(), nil
		}
	}
	at, err := parseWhen(flag, value, now)
	if err != nil {
		return time.Time{}, usagef("--%s %q: give a day such as 2026-05-04, a time such as 2026-05-04T09:00:00Z, or how long ago, such as 36h or 7d", flag, value)
	}
	return now.Add(-at.Sub(now)).UTC().Truncate(time.Second), nil
}

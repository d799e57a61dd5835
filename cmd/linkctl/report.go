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

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/linktracker/cmd/internal/report"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/durable"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/event/pubsub"
)

const reportHelp = `Counts events and shows them on one page of HTML that needs nothing else: clicks
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

Files are read first, and --output is tried before. Interrupted while it reads a
subscription or a topic, it writes the report of what came until then, names the
sources that were not read and exits with 130.

Several sources are counted together. An event counts once, however often it is
there. One that a verdict speaks of is automated, whether linkctl watch has
published the verdict or the events show it themselves. Monitoring's own events are
counted only with --customer ` + linkcore.ProbeCustomer + `.

Memory does not grow with the number of events: beyond 32 MiB they are sorted in a
temporary file (TMPDIR), which needs about a quarter of their size.`

func (t *tool) reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "report [SOURCE...]",
		Short: "Show what was clicked, as one page of HTML",
		Long:  reportHelp,
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
	wait := durationFlag(flags, "wait", 10*time.Second, "a subscription is read until nothing has come for this `TIME`")
	during := durationFlag(flags, "for", 0, "a subscription is read for this `TIME` at most; required for a topic")
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
		if err := checkSources(sources, *during); err != nil {
			return err
		}
		return t.report(c.Context(), o, sources, *output, *asJSON, *wait, *during)
	}
	return c
}

// checkSources checks how sources are written.
func checkSources(sources []string, during time.Duration) error {
	for _, source := range sources {
		topic, isPubSub := strings.CutPrefix(source, "pubsub://")
		switch {
		case source == "" || source == "file:":
			return usagef("a source is empty")
		case strings.HasPrefix(source, "gs://"):
			return usagef("%q is in Cloud Storage: copy it first, with `gcloud storage cp`", source)
		case isPubSub && strings.Contains(topic, "/subscriptions/") && !subscriptionURL.MatchString(source):
			return usagef("%q is not a subscription: give pubsub://PROJECT/subscriptions/NAME", source)
		case isPubSub && !strings.Contains(topic, "/subscriptions/") && !clicksURL.MatchString(source):
			return usagef("%q is not a topic: give pubsub://PROJECT/TOPIC", source)
		case isPubSub && !strings.Contains(topic, "/subscriptions/") && during == 0:
			return usagef("%q is a topic, on which only what comes from now on can be read: say for how long with --for", source)
		}
	}
	return nil
}

func (t *tool) report(ctx context.Context, o report.Options, sources []string, output string, asJSON bool, wait, during time.Duration) error {
	// What is read of a subscription is nowhere else any more: what could fail
	// for another reason fails before.
	files, subscriptions := divide(sources)
	if output != "" {
		if err := durable.CheckWrite(output); err != nil {
			return fmt.Errorf("write %s: %w", output, err)
		}
	}
	for _, path := range files {
		if err := checkFile(path); err != nil {
			return err
		}
	}

	collector := report.NewCollector(o)
	defer collector.Close()
	var got collected
	var err error
	if len(sources) == 0 {
		err = t.collectInput(ctx, collector)
	} else {
		got, err = t.collect(ctx, collector, files, subscriptions, wait, during)
	}
	if err != nil {
		return err
	}
	notRead := ""
	if len(got.unread) > 0 {
		notRead = "; not read: " + strings.Join(got.unread, ", ")
	}
	if got.cut != nil {
		t.complain("%v; the report has what came until then%s", got.cut, notRead)
	} else if got.interrupted != "" {
		t.note("interrupted while %s was read: the report has what came until now%s", got.interrupted, notRead)
	}
	writing := ctx
	if got.acknowledged || got.interrupted != "" {
		writing = context.WithoutCancel(ctx)
	}
	err = t.writeReport(writing, collector, output, asJSON)
	switch {
	case got.interrupted != "":
		if err != nil {
			t.complain("%v", err)
		}
		return ctx.Err()
	case err == nil && got.cut != nil:
		return errNo
	}
	return err
}

// writeReport writes the report to standard output or a file.
func (t *tool) writeReport(ctx context.Context, collector *report.Collector, output string, asJSON bool) error {
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
	if asJSON {
		write = func(w io.Writer) error { return encodeJSON(w, r, "  ") }
	}
	if output == "" {
		err := write(t.stdout)
		if err == nil {
			err = t.stdout.Flush()
		}
		if err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
		return nil
	}
	var page bytes.Buffer
	if err := write(&page); err != nil {
		return err
	}
	if err := durable.WriteFile(output, page.Bytes(), 0o666); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	t.note("%s: clicks by people %d, automated %d, blocked %d", output, r.Clicks.Human, r.Clicks.Automated, r.Blocked.Total())
	return nil
}

// divide returns the paths and the URLs among sources.
func divide(sources []string) (files, subscriptions []string) {
	for _, source := range sources {
		if strings.HasPrefix(source, "pubsub://") {
			subscriptions = append(subscriptions, source)
		} else {
			files = append(files, strings.TrimPrefix(source, "file:"))
		}
	}
	return files, subscriptions
}

// checkFile reports whether a source can be opened.
func checkFile(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // a pipe can be opened once
	}
	f, err := report.OpenFile(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// collectInput reads standard input.
func (t *tool) collectInput(ctx context.Context, collector *report.Collector) error {
	if isTerminal(t.stdin) {
		return usagef("no events: give a file or a subscription, or pipe events to standard input")
	}
	return collector.Read(ctx, "standard input", interruptible(ctx, t.stdin))
}

// A collected is what became of the subscriptions.
type collected struct {
	acknowledged bool     // something was, and is nowhere else any more
	interrupted  string   // the source that was read when the context ended
	cut          error    // why one could not be read to its end
	unread       []string // sources whose turn did not come
}

// collect reads all sources, files first: their errors must not cost what
// subscriptions gave. It returns an error where nothing is lost with it.
func (t *tool) collect(ctx context.Context, collector *report.Collector, files, subscriptions []string, wait, during time.Duration) (got collected, err error) {
	for _, path := range files {
		if err := collector.ReadFile(ctx, path); err != nil {
			return got, err
		}
	}
	for i, source := range subscriptions {
		read, err := t.drain(ctx, collector, source, wait, during)
		got.acknowledged = got.acknowledged || read > 0
		got.unread = subscriptions[i+1:]
		var cut *cutOffError
		switch {
		case err != nil && !errors.As(err, &cut):
			return got, err
		case ctx.Err() != nil:
			got.interrupted = source
			if cut != nil && !errors.Is(err, context.Canceled) && status.Code(cut.error) != codes.Canceled {
				got.cut = err
			}
			return got, nil
		case cut != nil && !got.acknowledged:
			return got, err
		case cut != nil:
			got.cut = err
			return got, nil
		}
	}
	return got, nil
}

// A cutOffError is why not all of a subscription was read.
type cutOffError struct{ error }

func (e *cutOffError) Unwrap() error { return e.error }

// drain reads a subscription until nothing more comes, or a topic for so long. It
// returns how many messages it acknowledged.
func (t *tool) drain(ctx context.Context, collector *report.Collector, source string, wait, during time.Duration) (read int, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if during > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, during)
		defer cancel()
	}
	collector.Begin(source)
	outage := &outage{t: t, source: source}
	var failed error
	add := func(m *event.Received) {
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
	if strings.Contains(source, "/subscriptions/") {
		t.note("reading %s until nothing has come for %v", source, wait)
		err = pubsub.Drain(ctx, source, wait, outage.tell, add)
	} else {
		err = endpoint.Receive(ctx, source, event.ReceiveOptions{
			Name:   "linkctl-report",
			Labels: t.labels("linkctl-report"),
			Outage: outage.tell,
			Ready:  func() { t.note("reading %s for %v", source, during) },
		}, add)
	}
	switch {
	case errors.Is(err, event.ErrSource):
		return read, usageError{err}
	case failed != nil:
		return read, errors.Join(failed, err)
	case err != nil:
		return read, &cutOffError{err}
	}
	return read, nil
}

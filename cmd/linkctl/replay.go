package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/cmd/internal/replay"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

func (t *tool) replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay INPUT",
		Short: "Publish spilled events again",
		Long: `Publishes events again that an endpoint spilled, with their ids and times, as they
would have been published then. INPUT is one of

  PATH or file:PATH  a log file or an export of Cloud Logging: lines as endpoints
                     wrote them or log entries, one JSON object a line or one JSON
                     array, also packed with gzip; other lines are passed over
  -                  the same on standard input
  pubsub://PROJECT/subscriptions/NAME
                     the spill subscription (linktracker-spill in Terraform), until
                     nothing comes for --wait

--clicks is the endpoint's own setting, where the events should have gone. Your
account needs the right to publish there, which Terraform's variable replayers
gives; operators do not have it by default.

Replaying can be stopped and run again. How far a file was replayed is kept in a
cursor beside it, INPUT.cursor, which also detects another file of that name; a log
may have become longer. A message of the subscription is
acknowledged once its event is. So no event is published twice, unless the program
is killed or Pub/Sub does not answer: then those that were under way, at most ` + fmt.Sprint(replay.Window) + `,
may be. They have the same event_id, by which subscribers tell duplicates apart; as
they do with an event that had reached the topic although it was spilled.

What cannot be read is reported with its line, and everything else is replayed.
Events that the topic refuses, such as those that its schema does not allow, are
reported too: correct that and run it again. In a subscription both stay. The exit
code is 1 if there were any.`,
		Example: `  linkctl replay --dry-run spilled.jsonl
  linkctl replay --clicks pubsub://my-project/clicks spilled.jsonl
  gcloud logging read 'jsonPayload.message="event spilled"' --format=json | linkctl replay -
  linkctl replay pubsub://my-project/subscriptions/linktracker-spill`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give one input: a file, - or pubsub://PROJECT/subscriptions/NAME")
			}
			return nil
		},
	}
	clicksFlag(c)
	flags := c.Flags()
	cursorPath := flags.String("cursor", "", "`FILE` that says how far the input was replayed (default INPUT.cursor)")
	dryRun := flags.Bool("dry-run", false, "publish nothing: say what would be")
	wait := durationFlag(flags, "wait", 10*time.Second, "end when nothing came from the subscription for this `TIME`")
	c.RunE = func(c *cobra.Command, args []string) error {
		return t.replay(c, args[0], *cursorPath, *dryRun, *wait)
	}
	return c
}

func (t *tool) replay(c *cobra.Command, input, cursor string, dryRun bool, wait time.Duration) error {
	ctx := c.Context()
	subscription := strings.HasPrefix(input, "pubsub://")
	path := strings.TrimPrefix(input, "file:")
	switch {
	case subscription && !subscriptionURL.MatchString(input):
		return usagef("%q is not a subscription: give pubsub://PROJECT/subscriptions/NAME", input)
	case subscription && dryRun:
		return usagef("--dry-run is for files: `gcloud pubsub subscriptions pull NAME --limit=1` shows a message and leaves it there")
	case c.Flag("cursor").Changed && (subscription || input == "-"):
		return usagef("--cursor is for files: only those can be read from the middle")
	case c.Flag("wait").Changed && !subscription:
		return usagef("--wait is for subscriptions: a file has an end")
	case wait <= 0:
		return usagef("--wait %v: give a time such as 10s", wait)
	case path == "":
		return usagef("the input is empty")
	case cursor == "":
		cursor = path + ".cursor"
	}
	view := replayView{t: t, told: t.now()}
	o := replay.Options{
		Clicks: t.setting(c, "clicks", "CLICKS"), Explain: clicksPublisher.Explain,
		Warn: view.warn, Progress: view.progress,
	}
	if !dryRun {
		clicks, err := t.required(c, "clicks", "CLICKS", "where the events should go")
		if err != nil {
			return err
		}
		if clicks == "stdout" {
			return usagef("events are replayed to pubsub://PROJECT/TOPIC or file:PATH, not to stdout")
		}
		if o.Sink, err = openClicks(ctx, clicks, endpoint.SinkOptions{Timeout: replay.Timeout}); err != nil {
			return err
		}
		defer o.Sink.Close(context.WithoutCancel(ctx))
	}
	r := replay.New(o)
	var err error
	switch {
	case subscription:
		t.note("replaying %s until nothing has come for %v", input, wait)
		outage := &outage{t: t, source: input}
		err = r.Subscription(ctx, input, wait, outage.tell)
	case input == "-":
		if isTerminal(t.stdin) {
			return usagef("no log entries: give a file, or pipe them to standard input")
		}
		err = r.Input(ctx, interruptible(ctx, t.stdin))
	default:
		err = r.File(ctx, path, cursor)
	}
	if errors.Is(err, event.ErrSource) {
		return usageError{err}
	}
	return view.end(r.Result(), dryRun, err)
}

// How often progress is shown, and where nobody looks on.
const (
	progressInterval = 250 * time.Millisecond
	reportInterval   = 10 * time.Second
)

// A replayView shows on standard error what a replay does: how far it is, on a
// terminal in one line, else now and then.
type replayView struct {
	t      *tool
	told   time.Time // when progress was shown, or the replay began
	onLine bool      // a line of progress is on the terminal
}

func (v *replayView) warn(format string, args ...any) {
	v.clearLine()
	v.t.complain(format, args...)
}

// clearLine removes the line of progress from the terminal.
func (v *replayView) clearLine() {
	if v.onLine {
		fmt.Fprint(v.t.stderr, "\r\x1b[K")
		v.onLine = false
	}
}

func (v *replayView) progress(events, percent int) {
	interval := reportInterval
	terminal := isTerminal(v.t.stderr)
	if terminal {
		interval = progressInterval
	}
	now := v.t.now()
	if now.Sub(v.told) < interval {
		return
	}
	v.told = now
	text := counted(events, "event") + " replayed"
	if percent >= 0 {
		text += fmt.Sprintf(", %d%% of the file", percent)
	}
	if !terminal {
		fmt.Fprintln(v.t.stderr, text)
		return
	}
	fmt.Fprint(v.t.stderr, "\r\x1b[K", text)
	v.onLine = true
}

// end says what was done. The error is what ended the replay early.
func (v *replayView) end(r *replay.Result, dryRun bool, err error) error {
	v.clearLine()
	out := v.t.stdout
	all := r.Replayed()
	if err != nil && all.Events+r.Doubles+r.Refused+r.Unreadable == 0 {
		return err
	}
	verb := "replayed"
	if dryRun {
		verb = "to be replayed"
	}
	fmt.Fprintf(out, "%s %s", counted(all.Events, "event"), verb)
	if all.Events > 0 {
		fmt.Fprintf(out, ", of %s to %s", stamp(all.First), stamp(all.Last))
	}
	fmt.Fprintln(out)
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		fmt.Fprintf(out, "  %d spilled as: %s\n", r.Reasons[reason].Events, printable(reason))
	}
	for _, line := range []struct {
		n                   int
		singular, remainder string
	}{
		{r.Before, "event", " replayed by earlier runs"},
		{r.Doubles, "event", " met again, and not published twice"},
		{r.Refused, "event", " refused"},
		{r.Unreadable, "entry", " not understood"},
		{r.UnreadableBefore, "entry", " not understood by earlier runs"},
		{r.Others, "line", " of something else"},
	} {
		if line.n > 0 {
			fmt.Fprintf(out, "%s%s\n", counted(line.n, line.singular), line.remainder)
		}
	}
	if err == nil && r.Refused+r.Unreadable+r.UnreadableBefore > 0 {
		return errNo
	}
	return err
}

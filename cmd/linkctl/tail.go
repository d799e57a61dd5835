package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/cmd/internal/recent"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

const tailHelp = `Shows events as they happen, until Ctrl-C: one line each, or with --json the
event itself, one JSON object a line. A line says when it
happened (UTC), what, whether it looks automated, customer/campaign/recipient/link
with - for what is not known, where the link leads, and after that what speaks for
automation and which rule matched. What clients sent is shown with unprintable
characters escaped.

--clicks is the endpoint's own setting. From a topic the events come through a
subscription made for this purpose, linkctl-tail-..., so nobody else misses any. It
is removed in the end. If the program is killed, Pub/Sub removes it after 24 hours;
until then it keeps what came in the last 10 minutes. A file is read from its end.

Filters may be given several times or with commas; an event must fit one value of
each. Monitoring's own events are shown only with --customer ` + linkcore.ProbeCustomer + `. Pub/Sub may
deliver an event twice; it is shown once.

With --count the exit code is 1 if there were fewer when --timeout was over. When
nothing can be received that is said at once and again while it lasts; the exit
code is 1 if it still could not be when --timeout was over.`

func (t *tool) tailCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show clicks as they happen",
		Long:  tailHelp,
		Example: `  linkctl tail --clicks pubsub://my-project/clicks
  linkctl tail --customer acme --campaign spring26 --automation human
  linkctl tail --blocked --count 1 --timeout 5m
  linkctl tail --event click --count 2 --json > clicks.jsonl`,
		Args: cobra.NoArgs,
	}
	clicksFlag(c)
	flags := c.Flags()
	var filter eventFilter
	flags.StringSliceVar(&filter.customers, "customer", nil, "only events of this customer's `ID`")
	flags.StringSliceVar(&filter.campaigns, "campaign", nil, "only events of this campaign's `ID`")
	flags.StringSliceVar(&filter.types, "event", nil, "only events of this `TYPE`: "+strings.Join(eventTypes, ", "))
	flags.StringSliceVar(&filter.automation, "automation", nil, "only events of this `CLASS`: "+strings.Join(automationClasses, ", "))
	blocked := flags.Bool("blocked", false, "only clicks that a rule blocked: --event blocked")
	count := flags.Int("count", 0, "stop after `N` events")
	timeout := durationFlag(flags, "timeout", 0, "stop after this `TIME`, such as 30s")
	asJSON := jsonFlag(c)
	color := flags.String("color", "auto", "colour the lines: auto (on a terminal, unless NO_COLOR is set), always, never")
	completeFrom(c, "event", eventTypes...)
	completeFrom(c, "automation", automationClasses...)
	completeFrom(c, "color", "auto", "always", "never")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *blocked {
			filter.types = append(filter.types, string(event.Blocked))
		}
		if err := filter.check(); err != nil {
			return err
		}
		switch {
		case c.Flag("count").Changed && *count < 1:
			return usagef("--count %d: give 1 or more", *count)
		case c.Flag("timeout").Changed && *timeout <= 0:
			return usagef("--timeout %v: give a time such as 30s", *timeout)
		case !slices.Contains([]string{"auto", "always", "never"}, *color):
			return usagef("--color %q: give auto, always or never", *color)
		}
		source, err := t.required(c, "clicks", "CLICKS", "where clicks go")
		if err != nil {
			return err
		}
		if strings.HasPrefix(source, "pubsub://") && strings.Contains(source, "/subscriptions/") {
			return usagef("%q is a subscription, whose readers would miss what is shown here: give the topic, pubsub://PROJECT/TOPIC", source)
		}
		width := t.terminalWidth()
		v := &tailView{t: t, filter: filter, count: *count, seen: recent.NewIDs(), terminal: width != nil, width: width}
		v.json = *asJSON
		v.color = *color == "always" || *color == "auto" && t.coloured()
		return v.run(c.Context(), source, *timeout)
	}
	return c
}

var (
	eventTypes        = textOf(event.Types())
	automationClasses = []string{string(event.Human), string(event.Suspect), string(event.Automated)}
)

func textOf(types []event.Type) (list []string) {
	for _, t := range types {
		list = append(list, string(t))
	}
	return list
}

// An eventFilter says which events are wanted: those that have one of the values
// in each list that is not empty.
type eventFilter struct {
	customers, campaigns, types, automation []string
}

func (f *eventFilter) check() error {
	for _, list := range []struct {
		flag          string
		values, known []string
	}{
		{"event", f.types, eventTypes},
		{"automation", f.automation, automationClasses},
		{"customer", f.customers, nil},
		{"campaign", f.campaigns, nil},
	} {
		for _, value := range list.values {
			switch {
			case list.known != nil && !slices.Contains(list.known, value):
				return usagef("--%s %q: give one of %s", list.flag, value, strings.Join(list.known, ", "))
			case value == "":
				return usagef("--%s is empty", list.flag)
			}
		}
	}
	return nil
}

// keeps reports whether an event is wanted.
func (f *eventFilter) keeps(e *event.Event) bool {
	one := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	return one(f.customers, e.Customer) && one(f.campaigns, e.Campaign) && one(f.types, string(e.Type)) &&
		one(f.automation, string(e.Automation)) && (e.Customer != linkcore.ProbeCustomer || len(f.customers) > 0)
}

// expression returns the filter in Pub/Sub's syntax. What does not fit into what
// Pub/Sub takes is left out, the least selective first, so it may let events
// through that keeps does not.
func (f *eventFilter) expression() string {
	var expression string
	add := func(clause string) {
		if expression != "" {
			clause = expression + " AND " + clause
		}
		if len(clause) <= event.MaxFilter {
			expression = clause
		}
	}
	for _, list := range []struct {
		attribute string
		values    []string
	}{
		{"customer", f.customers},
		{"campaign", f.campaigns},
		{"event_type", f.types},
		{"automation", f.automation},
	} {
		var either []string
		for _, value := range list.values {
			either = append(either, "attributes."+list.attribute+" = "+filterString(value))
		}
		switch len(either) {
		case 0:
		case 1:
			add(either[0])
		default:
			add("(" + strings.Join(either, " OR ") + ")")
		}
	}
	if len(f.customers) == 0 {
		add("NOT attributes.customer = " + filterString(linkcore.ProbeCustomer))
	}
	return expression
}

// filterString quotes a value for a filter.
func filterString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// A tailView shows events.
type tailView struct {
	t      *tool
	filter eventFilter
	count  int // how many to show; 0: all
	seen   *recent.IDs

	terminal, json, color bool
	width                 func() int // nil: lines are not shortened

	shown int
	err   error // of standard output
}

func (v *tailView) run(ctx context.Context, source string, timeout time.Duration) error {
	// A reader that goes away, as in `| head`, must not end the program before
	// the subscription is removed.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)

	receive, stop := context.WithCancel(ctx)
	defer stop()
	if timeout > 0 {
		receive, stop = context.WithTimeout(receive, timeout)
		defer stop()
	}
	outage := &outage{t: v.t, source: source}
	err := endpoint.Receive(receive, source, event.ReceiveOptions{
		Name:    "linkctl-tail",
		Labels:  v.t.labels("linkctl-tail"),
		Filter:  v.filter.expression(),
		Follow:  true,
		FromEnd: true,
		Outage:  outage.tell,
		Ready:   func() { v.t.note("showing what happens on %s; Ctrl-C ends", source) },
	}, func(m *event.Received) {
		m.Ack()
		if v.err == nil && (v.count == 0 || v.shown < v.count) {
			v.show(m)
		}
		if v.err != nil || v.count > 0 && v.shown >= v.count {
			stop()
		}
	})
	switch {
	case errors.Is(v.err, syscall.EPIPE):
		v.t.stdout.Reset(io.Discard) // so that nobody complains of it
		if err == nil {
			err = errNo
		}
		return err
	case err != nil && errors.Is(err, event.ErrSource):
		return usageError{err}
	case err != nil:
		if ctx.Err() != nil {
			v.t.complain("%v", err)
		}
		return err
	case v.err != nil:
		return v.err
	case ctx.Err() != nil:
		return ctx.Err()
	case v.shown < v.count:
		v.t.complain("%d of %d events came within %v%s", v.shown, v.count, timeout, outage.summary(nil))
		return errNo
	}
	return nil
}

// show shows a message if it is wanted.
func (v *tailView) show(m *event.Received) {
	e, err := m.Event()
	if err != nil {
		v.t.complain("warning: passed over: %v", err)
		return
	}
	if !v.filter.keeps(e) || v.seen.Add(e.ID) {
		return
	}
	v.shown++
	if v.json {
		v.t.stdout.Write(v.jsonLine(event.Unwrap(m.Data)))
	} else {
		width := 0
		if v.width != nil {
			width = v.width()
		}
		v.t.stdout.WriteString(v.line(e, width))
	}
	v.t.stdout.WriteByte('\n')
	v.err = v.t.stdout.Flush()
}

// jsonLine returns the data in one line, with what is not printable escaped.
func (v *tailView) jsonLine(data []byte) []byte {
	if bytes.ContainsAny(data, "\r\n") {
		var line bytes.Buffer
		if json.Compact(&line, data) == nil {
			data = line.Bytes()
		}
	}
	return escapeJSON(data)
}

// minDestination is how much of a destination is shown however narrow the
// terminal is.
const minDestination = 16

// line returns an event's line, without its end, in which the destination is
// shortened so that it fits the width, 0 for any.
func (v *tailView) line(e *event.Event, width int) string {
	when := e.OccurredAt.UTC().Format("15:04:05.000Z")
	if v.t.now().Sub(e.OccurredAt).Abs() > 12*time.Hour {
		when = stamp(e.OccurredAt) // replayed, or a clock that is wrong
	}
	ids := []string{e.Customer, e.Campaign, e.Recipient, e.Link}
	for i, id := range ids {
		if id == "" {
			ids[i] = "-"
		}
	}
	destination := e.Destination
	if u, err := url.Parse(destination); err == nil && u.Host != "" {
		destination = u.Host + u.EscapedPath()
	}
	if destination == "" {
		destination = "-"
	}

	var notes []string
	for signal := range e.Signals.All() {
		notes = append(notes, signal)
	}
	if len(notes) > 0 {
		notes = []string{strings.Join(notes, ",")}
	}
	if e.Proxy != "" {
		notes = append(notes, "by "+e.Proxy+"'s proxy")
	}
	if e.Rule != "" {
		notes = append(notes, "rule "+e.Rule)
	}
	if e.RedirectedTo != "" {
		notes = append(notes, "to "+e.RedirectedTo)
	}
	if e.Untracked {
		notes = append(notes, "untracked")
	}
	if e.RulesUnknown {
		notes = append(notes, "rules unknown")
	}
	if e.About != "" {
		notes = append(notes, "about "+e.About)
	}

	automation := string(e.Automation)
	if automation == "" {
		automation = "-"
	}
	cells := []struct{ text, color string }{
		{printable(when), faint},
		{fmt.Sprintf("%-11s", printable(string(e.Type))), map[event.Type]string{event.Blocked: red}[e.Type]},
		{fmt.Sprintf("%-9s", printable(automation)), map[event.Automation]string{event.Human: green, event.Suspect: yellow, event.Automated: red}[e.Automation]},
		{printable(strings.Join(ids, "/")), ""},
		{printable(destination), ""},
		{printable(strings.Join(notes, "  ")), faint},
	}
	if width > 0 {
		rest := 0
		for i, cell := range cells {
			if i != 4 && cell.text != "" {
				rest += len([]rune(cell.text)) + 2
			}
		}
		cells[4].text = shorten(cells[4].text, max(width-rest, minDestination))
	}
	var line strings.Builder
	for i, cell := range cells {
		if cell.text == "" {
			continue
		}
		if i > 0 {
			line.WriteString("  ")
		}
		if v.color && cell.color != "" {
			cell.text = cell.color + cell.text + plain
		}
		line.WriteString(cell.text)
	}
	return line.String()
}

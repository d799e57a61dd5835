package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/cmd/internal/report"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/event/pubsub"
	"example.com/linktracker/linkcore/lines"
)

func (t *tool) affectedCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "affected RULE",
		Short: "List who clicked what a rule is about",
		Long: `Lists the clicks that a rule matches, whether or not it is in the blocklist: who
reached the bait, and who was stopped. The rule is written as for linkctl block, or
it is a link, ours or in a gateway's, or any URL: then it is the rule about the URL
that it leads to.

Events are read from files, which may be compressed, from standard input, or from
a subscription, pubsub://PROJECT/subscriptions/NAME, where they stay. What BigQuery
has comes through standard input:

  bq query --format=json --max_rows=1000000 --nouse_legacy_sql \
    "SELECT * FROM DATASET.clicks WHERE occurred_at > TIMESTAMP '2026-08-01'" |
    linkctl affected host:phish.example

One line is one click or blocked click; one that comes twice is listed once. Clicks
of the class automated are by programs, such as a gateway that looks at links
before the person does. Of a person who is not tracked there is no recipient. A
summary goes to standard error. The exit code is 1 if there was no such click.`,
		Example: `  linkctl affected host:phish.example --from clicks.jsonl --since 24h
  linkctl affected https://phish.example/login --from clicks.jsonl --csv > affected.csv`,
		Args: cobra.ExactArgs(1),
	}
	flags := c.Flags()
	from := flags.StringArray("from", nil, "a file or subscription of events as `SOURCE`; may be repeated (default standard input)")
	since := flags.String("since", "", "only events from `WHEN` on: 2026-05-04, 2026-05-04T09:00:00Z, or so long ago: 24h, 7d")
	wait := durationFlag(flags, "wait", 10*time.Second, "a subscription is read until nothing has come for this `TIME`")
	asJSON := jsonFlag(c)
	asCSV := flags.Bool("csv", false, "comma-separated values, as RFC 4180 has them")
	flags.String("keys", "", "`DIR` of the key ring, to see what a sealed link holds (LINK_KEYS; not needed)")
	flags.String("base-url", "", "`URL` where this installation's links begin (LINK_BASE_URL; not needed)")
	c.RunE = func(c *cobra.Command, args []string) error {
		a := affected{t: t, json: *asJSON, seen: map[string]bool{}, people: map[string]bool{}, clicks: map[string]int{}}
		var err error
		if a.rule, err = t.affectedRule(c, args[0]); err != nil {
			return err
		}
		if a.index, err = blocklist.NewIndex(t.now(), a.rule); err != nil {
			return err
		}
		if *since != "" {
			if a.since, err = parsePast("since", *since, t.now()); err != nil {
				return err
			}
		}
		if *asCSV && *asJSON {
			return usagef("give --csv or --json, not both")
		}
		if err := checkSources(*from, time.Second); err != nil {
			return err
		}
		if *asCSV {
			a.csv = csv.NewWriter(t.stdout)
		}
		return a.run(c.Context(), *from, *wait)
	}
	return c
}

// affectedRule reads the rule, or makes one about the URL that a link leads to.
func (t *tool) affectedRule(c *cobra.Command, text string) (blocklist.Rule, error) {
	if at := scheme.FindStringIndex(text); at == nil || at[0] > 0 {
		rule, err := blocklist.ParseRule(text)
		if err != nil {
			return rule, usagef("%q: %w", text, err)
		}
		return rule, nil
	}
	checker, err := t.checker(c)
	if err != nil {
		return blocklist.Rule{}, err
	}
	found := checker.inspect(text)
	rule, err := blocklist.ParseRule("url:" + found.link().Destination)
	if err != nil {
		return rule, usagef("what %q leads to is not known: linkctl inspect says more, and a rule such as link:CUSTOMER/LINK does without", text)
	}
	return rule, nil
}

// affected is one run of the verb.
type affected struct {
	t     *tool
	rule  blocklist.Rule
	index *blocklist.Index
	since time.Time
	json  bool
	csv   *csv.Writer // nil: a table, or JSON

	rows         []listed
	seen, people map[string]bool
	clicks       map[string]int // by what they are to the desk
	unreadable   int
}

// A listed is a click as it is listed: without address and agent.
type listed struct {
	OccurredAt  string `json:"occurred_at"`
	Type        string `json:"event_type"`
	Class       string `json:"automation,omitempty"`
	Customer    string `json:"customer,omitempty"`
	Campaign    string `json:"campaign,omitempty"`
	Recipient   string `json:"recipient,omitempty"`
	Link        string `json:"link,omitempty"`
	Destination string `json:"destination,omitempty"`
	ID          string `json:"event_id"`
}

func (a *affected) run(ctx context.Context, sources []string, wait time.Duration) error {
	files, subscriptions := divide(sources)
	if len(sources) == 0 {
		if isTerminal(a.t.stdin) {
			return usagef("no events: give --from a file or a subscription, or pipe events to standard input")
		}
		if err := a.read(ctx, interruptible(ctx, a.t.stdin)); err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
	for _, path := range files {
		f, err := report.OpenFile(path)
		if err != nil {
			return err
		}
		err = a.read(ctx, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	for _, source := range subscriptions {
		if !subscriptionURL.MatchString(source) {
			return usagef("%q is a topic: give pubsub://PROJECT/subscriptions/NAME", source)
		}
		a.t.note("reading %s until nothing has come for %v", source, wait)
		outage := &outage{t: a.t, source: source}
		err := pubsub.Drain(ctx, source, wait, outage.tell, func(m *event.Received) {
			a.add(m.Data)
			m.Nack() // it stays there
		})
		if err != nil {
			return err
		}
	}
	return a.write()
}

// read reads lines, or one array.
func (a *affected) read(ctx context.Context, r io.Reader) error {
	for in := lines.NewReader(r); ctx.Err() == nil; {
		line, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, lines.ErrSyntax) || line.TooLong {
			a.unreadable++
			continue
		}
		if err != nil {
			return err
		}
		a.add(line.Text)
	}
	return ctx.Err()
}

// add takes an event, if the rule is about it.
func (a *affected) add(data []byte) {
	e, err := report.ParseEvent(data)
	if err != nil {
		if err != report.ErrOther && len(data) > 0 {
			a.unreadable++
		}
		return
	}
	address, _ := netip.ParseAddr(e.IP)
	request := blocklist.Request{Address: address, UserAgent: e.UserAgent, Now: a.t.now(), Link: &linkcore.Link{
		Key: e.KeyID, Destination: e.Destination,
		Fields: linkcore.Fields{Customer: e.Customer, Campaign: e.Campaign, Recipient: e.Recipient, Link: e.Link},
	}}
	if e.Type != string(event.Click) && e.Type != string(event.Blocked) || e.OccurredAt.Before(a.since) || a.seen[e.ID] || a.index.Decide(&request).Rule == "" {
		return
	}
	a.seen[e.ID] = true
	switch {
	case e.Automation == string(event.Automated):
		a.clicks["automated"]++
	case e.Type == string(event.Blocked):
		a.clicks["blocked"]++
	default:
		a.clicks["through"]++
		if e.Recipient != "" {
			a.people[e.Customer+"/"+e.Recipient] = true
		}
	}
	a.rows = append(a.rows, listed{stamp(e.OccurredAt.Time), e.Type, e.Automation, e.Customer, e.Campaign, e.Recipient, e.Link, e.Destination, e.ID})
}

func (a *affected) write() error {
	slices.SortStableFunc(a.rows, func(x, y listed) int { return strings.Compare(x.OccurredAt, y.OccurredAt) })
	var out table
	out.row("TIME", "EVENT", "CLASS", "CUSTOMER", "CAMPAIGN", "RECIPIENT", "LINK", "DESTINATION")
	if a.csv != nil {
		a.csv.Write([]string{"occurred_at", "event_type", "automation", "customer", "campaign", "recipient", "link", "destination"})
	}
	var err error
	for _, e := range a.rows {
		cells := []string{e.OccurredAt, e.Type, e.Class, e.Customer, e.Campaign, e.Recipient, e.Link, e.Destination}
		switch {
		case a.csv != nil:
			err = a.csv.Write(cells)
		case a.json:
			err = a.t.writeJSON(e)
		default:
			cells[len(cells)-1] = shorten(e.Destination, 60)
			out.row(cells...)
		}
		if err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	if a.csv != nil {
		a.csv.Flush()
	} else if !a.json && len(a.rows) > 0 {
		err = out.writeTo(a.t.stdout)
	}
	if err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	if a.unreadable > 0 {
		a.t.complain("warning: %s could not be read", counted(a.unreadable, "line"))
	}
	a.t.note("%s: %s went through, of %s; %d blocked; %d automated", a.rule,
		counted(a.clicks["through"], "click"), counted(len(a.people), "recipient"), a.clicks["blocked"], a.clicks["automated"])
	if len(a.rows) == 0 {
		return errNo
	}
	return nil
}

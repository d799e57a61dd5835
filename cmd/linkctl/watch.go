package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/cmd/internal/watch/worker"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

// watchFilter leaves on the server what the watcher has no use for.
const watchFilter = `NOT attributes.customer = "` + linkcore.ProbeCustomer + `" AND (attributes.event_type = "click" OR attributes.event_type = "blocked")`

const watchHelp = `Watches clicks for abuse, until Ctrl-C or the end of a file, and tells of

  shared_link       a link that went to one recipient is clicked from many networks
                    (IPv4 /24, IPv6 /48) or addresses: forwarded or posted phishing
  shared_recipient  the same of all links of one recipient together
  blocked_share     the share of clicks that rules block jumps, in one mailing or
                    in all that a customer sends
  spreading_host    links of many customers lead to a host that was not there

Alerts are lines for people, or with --json JSON lines, the same that cmd/linkwatch
logs. Each names the narrowest command that would stop the harm. No rule is
written: whether links stop is decided by people.

Also found are clicks that machines made: three or more different links of one
recipient and mailing within two seconds, or a trap (a link that begins with hp_)
within a minute. --verdicts publishes an event of the type verdict about each to
--clicks; published again, it is the same event.

Events come from --from: a file (file:PATH), which is gone through at full speed by
the times in it; a subscription (pubsub://PROJECT/subscriptions/NAME), which stays;
or a topic (pubsub://PROJECT/TOPIC) by a subscription of its own, which is removed
in the end. Without --from they are what happens on --clicks from now on.

When nothing can be received that is said at once, again while it lasts, and in the
summary.

Thresholds are explained, with why they are what they are, in package watch. Hosts
that appear within --learning count as known: set it to 0 to hear of those that are
there already.`

func (t *tool) watchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "watch",
		Short: "Watch clicks for abuse",
		Long:  watchHelp,
		Example: `  linkctl watch --clicks pubsub://my-project/clicks
  linkctl watch --from file:clicks.jsonl
  linkctl watch --known-hosts example.com,example.org
  linkctl watch --from file:clicks.jsonl --learning 0 --link-networks 10 --json
  linkctl watch --from file:clicks.jsonl --verdicts --clicks file:verdicts.jsonl`,
		Args: cobra.NoArgs,
	}
	clicksFlag(c)
	flags := c.Flags()
	from := flags.String("from", "", "`SOURCE` of the events, if it is not --clicks from now on")
	verdicts := flags.Bool("verdicts", false, "publish verdicts to --clicks")
	o := worker.Options{Watch: watch.DefaultConfig()}
	asJSON := jsonFlag(c)
	thresholdFlags(flags, &o.Watch)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return t.watch(c, o, *from, *verdicts, *asJSON)
	}
	return c
}

// thresholdFlags are the flags of what raises an alert.
func thresholdFlags(flags *pflag.FlagSet, config *watch.Config) {
	flags.Var((*duration)(&config.Window), "window", "what is counted for links and recipients: the last `TIME`")
	flags.IntVar(&config.LinkNetworks, "link-networks", config.LinkNetworks, "alert on a link clicked from so many networks, `N`")
	flags.IntVar(&config.LinkAddresses, "link-addresses", config.LinkAddresses, "or from so many addresses, `N`")
	flags.IntVar(&config.RecipientNetworks, "recipient-networks", config.RecipientNetworks, "alert on a recipient whose links are clicked from so many networks, `N`")
	flags.Var((*duration)(&config.ShareWindow), "share-window", "what is counted for blocked shares: the last `TIME`")
	flags.Float64Var(&config.BlockedShare, "blocked-share", config.BlockedShare, "alert on a `SHARE` of clicks that were blocked")
	flags.IntVar(&config.BlockedRecipients, "blocked-recipients", config.BlockedRecipients, "of at least so many recipients, `N`")
	flags.Float64Var(&config.BlockedRise, "blocked-rise", config.BlockedRise, "which is so many `TIMES` what it was over the last day")
	flags.Var((*duration)(&config.HostWindow), "host-window", "what is counted for hosts: the last `TIME`")
	flags.IntVar(&config.HostCustomers, "host-customers", config.HostCustomers, "alert on a new host in links of so many customers, `N`")
	flags.Var((*duration)(&config.HostKnownAfter), "host-known-after", "a host is not new after this `TIME`")
	flags.Var((*duration)(&config.Learning), "learning", "nor if it appears within this `TIME` from the first event on")
	flags.StringSliceVar(&config.KnownHosts, "known-hosts", nil, "nor if it is this `HOST` or a subdomain")
	flags.Var((*duration)(&config.Repeat), "repeat", "no alert about the same within this `TIME`")
}

func (t *tool) watch(c *cobra.Command, o worker.Options, from string, verdicts, asJSON bool) error {
	source := from
	if source == "" {
		var err error
		if source, err = t.required(c, "clicks", "CLICKS", "where clicks go"); err != nil {
			return err
		}
	}
	v := &watchView{t: t, json: asJSON, color: t.coloured(), log: endpoint.NewLog(jsonWriter{t.stdout}, slog.LevelInfo)}

	o.Alert, o.Warn = v.alert, v.warn
	if verdicts {
		clicks, err := t.required(c, "clicks", "CLICKS", "where verdicts go")
		if err != nil {
			return err
		}
		if clicks == source && strings.HasPrefix(source, "file:") {
			return usagef("verdicts would go into the file that is read: give --clicks another one")
		}
		if clicks == "stdout" {
			return usagef("verdicts go to pubsub://PROJECT/TOPIC or file:PATH, not to stdout, where alerts are")
		}
		sink, err := openClicks(c.Context(), clicks, endpoint.SinkOptions{})
		if err != nil {
			return err
		}
		defer sink.Close(context.WithoutCancel(c.Context()))
		o.Verdicts = sink
	}
	return v.run(c.Context(), o, source, from == "")
}

// A watchView shows alerts.
type watchView struct {
	t           *tool
	json, color bool
	log         *slog.Logger // JSON lines on standard output
	stop        context.CancelFunc
	err         error // of standard output
}

func (v *watchView) run(ctx context.Context, o worker.Options, source string, fromNow bool) error {
	// As for tail: the subscription is to be removed whoever stops reading.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	defer debug.SetGCPercent(debug.SetGCPercent(watch.GCPercent))

	g, err := worker.New(o)
	var field *linkcore.FieldError
	switch {
	case errors.As(err, &field):
		return usagef("--%s %s", flagOf(field.Field), field.Problem)
	case err != nil:
		return err
	}
	receive, stop := context.WithCancel(ctx)
	defer stop()
	v.stop = stop
	begun := time.Now()
	outage := &outage{t: v.t, source: source}
	err = g.Run(receive, source, event.ReceiveOptions{
		Name:   "linkctl-watch",
		Labels: v.t.labels("linkctl-watch"),
		Filter: watchFilter,
		Follow: fromNow, FromEnd: fromNow,
		Outage: outage.tell,
		Ready: func() {
			v.t.note("watching %s; Ctrl-C ends", source)
			if o.Watch.Learning > 0 {
				v.t.note("hosts of the first %s count as known; --learning 0 tells of those too", o.Watch.Learning)
			}
		},
	})
	if s := g.Stats(); err == nil || v.err != nil || s.Events > 0 {
		note := fmt.Sprintf("%s in %s: %s, %s", counted(s.Events, "event"), time.Since(begun).Round(time.Millisecond), counted(s.Alerts, "alert"), counted(s.Verdicts, "verdict"))
		switch {
		case o.Verdicts == nil && s.Verdicts > 0:
			note += " (not published: --verdicts does)"
		case o.Verdicts != nil:
			note += fmt.Sprintf(", %d published", s.Published)
		}
		for _, also := range []struct {
			n    uint64
			what string
		}{{s.Repeated, "delivered again"}, {s.Late, "too late"}, {s.Unreadable, "no events"}, {s.Skewed, "of the future"}, {s.Dropped, "verdicts dropped"}} {
			if also.n > 0 {
				note += fmt.Sprintf("; %d %s", also.n, also.what)
			}
		}
		if v.err == nil {
			v.t.note("%s%s", note, outage.summary(err))
		}
	} else if ctx.Err() != nil {
		v.t.complain("nothing was received in %s: %v", time.Since(begun).Round(time.Millisecond), err)
	}
	switch {
	case errors.Is(v.err, syscall.EPIPE):
		v.t.stdout.Reset(io.Discard)
		return cmp.Or(err, errNo)
	case err != nil && errors.Is(err, event.ErrSource):
		return usageError{err}
	case err != nil:
		return err
	case v.err != nil:
		return v.err
	case g.Stats().Dropped > 0:
		return errNo // a warning said it
	}
	return ctx.Err()
}

// flagOf returns the flag of a field of watch.Config.
func flagOf(field string) string {
	var flag strings.Builder
	for i, r := range field {
		if i > 0 && 'A' <= r && r <= 'Z' {
			flag.WriteByte('-')
		}
		flag.WriteString(strings.ToLower(string(r)))
	}
	return flag.String()
}

func (v *watchView) warn(message string, err error) {
	v.t.complain("warning: %s: %v", message, err)
}

// alert shows an alert.
func (v *watchView) alert(a watch.Alert) {
	if v.json {
		worker.LogAlert(v.log, a)
	} else {
		v.t.stdout.WriteString(v.lines(a))
	}
	if err := v.t.stdout.Flush(); err != nil && v.err == nil {
		v.err = err
		v.stop()
	}
}

// lines returns what a person reads of an alert.
func (v *watchView) lines(a watch.Alert) string {
	severity, color := "warning", yellow
	if a.Severity >= slog.LevelError {
		severity, color = "error", red
	}
	head := fmt.Sprintf("%s  %-7s  %-16s  %s", stamp(a.At), severity, a.Kind, printable(a.Subject))
	if v.color {
		head = color + head + plain
	}
	text := []string{a.Summary() + ", since " + stamp(a.Since)}
	if customers := a.Seen.Customers; len(customers) > 0 {
		const shown = 10
		list := strings.Join(customers[:min(len(customers), shown)], ", ")
		if more := len(customers) - shown; more > 0 {
			list += fmt.Sprintf(" and %d more", more)
		}
		text = append(text, "customers: "+list)
	}
	if a.Campaign != "" {
		text = append(text, "campaign: "+a.Customer+"/"+a.Campaign)
		text = append(text, "to see it: linkctl tail --customer "+shellWord(a.Customer)+" --campaign "+shellWord(a.Campaign))
	}
	if a.Rule != "" {
		text = append(text, "to stop it: linkctl block --expires 24h --reason "+string(a.Kind)+" "+shellWord(a.Rule))
	}
	for i, line := range text {
		text[i] = "    " + printable(line) + "\n"
	}
	return head + "\n" + strings.Join(text, "")
}

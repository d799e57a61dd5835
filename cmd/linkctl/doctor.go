package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/cmd/internal/doctor"
	"example.com/linktracker/linkcore"
)

const doctorHelp = `Checks a deployment as recipients meet it, and says of each finding what was seen
and what to do about it. Of the deployment: the key ring, the blocklist, the topic.
Of each --base-url, which may be given several times:

  dns         its addresses
  connection  does each address answer; is the certificate good, and for how long
  http        is plain http sent on to https
  ready       does the endpoint answer
  keys        does the endpoint know every key of the ring
  link-...    links of each form, to a destination with what gateways break
              (%25 %2F %3F %23 + // /../): is its Location right byte for byte
  forged      are links refused that nobody signed
  headers     are caches, referrers and https kept as they should be
  first-byte  how long recipients wait, of --probes clicks, the network set apart
  held        when the response ends, which is when the event is acknowledged
  event       does each click arrive on the topic, unchanged, and when
  clock       do this machine's and the endpoint's clocks agree
  rule        with --write-rule: how long until a new rule is followed

What is not set is not checked, and that is said. The links are clicks of the
customer ` + linkcore.ProbeCustomer + `, which subscriptions leave out. From a topic their events come
through a subscription made for this purpose, linkctl-doctor-..., which is removed
in the end. With --write-rule a rule blocks one link that nobody else has; it is
lifted afterwards, and expires after five minutes in any case. Connections are
made directly, without a proxy. No token is printed.

The exit code is 1 if there is a problem; warnings do not count.`

func (t *tool) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check a deployment from outside in",
		Long:  doctorHelp,
		Example: `  linkctl doctor
  linkctl doctor --base-url https://links.example.com --base-url https://go.example.net
  linkctl doctor --clicks pubsub://my-project/clicks --blocklist 'firestore://my-project/(default)/blocklist' --write-rule
  linkctl doctor --probes 100 --target 50ms --json`,
		Args: cobra.NoArgs,
	}
	flags := c.Flags()
	bases := flags.StringArray("base-url", nil, "`URL` where links begin: https://links.example.com (LINK_BASE_URL)")
	signingFlags(flags)
	blocklistFlag(c)
	clicksFlag(c)
	writeRule := flags.Bool("write-rule", false, "measure how long a rule takes, with one that blocks a link of the doctor's own")
	probes := flags.Int("probes", doctor.DefaultProbes, "take the times of `N` clicks")
	target := durationFlag(flags, "target", doctor.DefaultTarget, "how long the first byte may take, without the network")
	timeout := durationFlag(flags, "timeout", doctor.DefaultTimeout, "how long each check may take")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case *probes < 1:
			return usagef("--probes %d: give 1 or more", *probes)
		case *target <= 0:
			return usagef("--target %v: give a time such as 20ms", *target)
		case *timeout < time.Second:
			return usagef("--timeout %v: give 1s or more", *timeout)
		}
		if !c.Flag("base-url").Changed {
			base, err := t.required(c, "base-url", "LINK_BASE_URL", "the base URL of the links")
			if err != nil {
				return err
			}
			*bases = []string{base}
		}
		v := doctorView{t: t, json: *asJSON, count: map[doctor.Level]int{}}
		err := v.run(c.Context(), doctor.Options{
			BaseURLs:   *bases,
			Keys:       t.setting(c, "keys", "LINK_KEYS"),
			SigningKey: t.setting(c, "signing-key", "LINK_SIGNING_KEY"),
			Blocklist:  t.setting(c, "blocklist", "BLOCKLIST"),
			Clicks:     t.setting(c, "clicks", "CLICKS"),
			WriteRule:  *writeRule,
			By:         t.whoami(),
			Labels:     t.labels("linkctl-doctor"),
			Probes:     *probes,
			Target:     *target,
			Timeout:    *timeout,
		})
		switch {
		case c.Context().Err() != nil:
			return c.Context().Err()
		case err != nil:
			return usageError{err}
		case v.err != nil:
			return v.err
		}
		if !*asJSON {
			t.note("%d ok, %d to look at, %d wrong, %d not checked", v.count[doctor.OK], v.count[doctor.Warning], v.count[doctor.Problem], v.count[doctor.Skipped])
		}
		if v.count[doctor.Problem] > 0 {
			return errNo
		}
		return nil
	}
	return c
}

// A doctorView shows findings as they come.
type doctorView struct {
	t       *tool
	json    bool
	base    string           // of the last line
	skipped []doctor.Finding // for the same reason, to be shown as one
	count   map[doctor.Level]int
	err     error // of standard output
}

func (v *doctorView) run(ctx context.Context, o doctor.Options) error {
	err := doctor.Run(ctx, o, func(f doctor.Finding) {
		v.count[f.Level]++
		if v.json {
			v.keep(v.t.writeJSON(f))
			v.keep(v.t.stdout.Flush())
			return
		}
		if n := len(v.skipped); n > 0 && (f.Level != doctor.Skipped || f.Seen != v.skipped[0].Seen || f.BaseURL != v.skipped[0].BaseURL) {
			v.showSkipped()
		}
		if f.Level == doctor.Skipped {
			v.skipped = append(v.skipped, f)
			return
		}
		v.show(f)
	})
	v.showSkipped()
	return err
}

func (v *doctorView) showSkipped() {
	if len(v.skipped) == 0 {
		return
	}
	one := v.skipped[0]
	names := make([]string, len(v.skipped))
	for i, f := range v.skipped {
		names[i] = f.Check
	}
	one.Check = strings.Join(names, ", ")
	v.skipped = nil
	v.show(one)
}

func (v *doctorView) show(f doctor.Finding) {
	if f.BaseURL != v.base {
		v.base = f.BaseURL
		fmt.Fprintf(v.t.stdout, "%s\n", printable(f.BaseURL))
	}
	line := f.Seen
	if f.Advice != "" {
		line += " -> " + f.Advice
	}
	fmt.Fprintf(v.t.stdout, "%-7s  %-11s  %s\n", f.Level, f.Check, printable(line))
	v.keep(v.t.stdout.Flush())
}

// keep keeps the first error of standard output.
func (v *doctorView) keep(err error) {
	if v.err == nil && err != nil {
		v.err = fmt.Errorf("write standard output: %w", err)
	}
}

package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/environment"
)

// completeKinds offers the kinds of rules, each up to its colon.
func completeKinds(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var kinds []cobra.Completion
	for _, kind := range blocklist.Kinds() {
		kinds = append(kinds, string(kind)+":")
	}
	return kinds, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

func blocklistFlag(c *cobra.Command) {
	c.Flags().String("blocklist", "", "`URL` of the blocklist (BLOCKLIST)")
}

// parseWhen reads a time, or how long from now it is: 72h, 30d.
func parseWhen(flag, value string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return at.UTC(), nil
	}
	after, err := environment.ParseDuration(value)
	if err != nil || after <= 0 {
		return time.Time{}, usagef("--%s %q: give a time such as 2026-07-31T09:00:00Z, or how long from now, such as 72h or 30d", flag, value)
	}
	return now.Add(after).UTC().Truncate(time.Second), nil
}

// A duration is the value of a flag: as [environment.ParseDuration] takes it.
type duration time.Duration

func (d *duration) Set(s string) error {
	parsed, err := environment.ParseDuration(s)
	if err != nil || parsed < 0 {
		return errors.New("give a time such as 30s, 72h or 7d")
	}
	*d = duration(parsed)
	return nil
}

func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *duration) Type() string { return "duration" }

// durationFlag defines a flag that takes a duration.
func durationFlag(flags *pflag.FlagSet, name string, byDefault time.Duration, usage string) *time.Duration {
	value := new(byDefault)
	flags.Var((*duration)(value), name, usage)
	return value
}

// flagError says what a flag takes that was given something else.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		hint := ""
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if name := unknown.GetSpecifiedName(); strings.HasPrefix(f.Name, name) || strings.HasPrefix(name, f.Name) || len(f.Name) == len(name) && strings.HasPrefix(f.Name, name[:len(name)-1]) {
				hint = ": did you mean --" + f.Name + "?"
			}
		})
		return usagef("%w%s", err, hint)
	}
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return usageError{err}
	}
	takes := invalid.Unwrap().Error()
	switch invalid.GetFlag().Value.Type() {
	case "bool":
		takes = "give true or false"
	case "int", "int64", "uint", "uint64":
		takes = "give a whole number"
	case "float64":
		takes = "give a number"
	}
	return usagef("--%s %q: %s", invalid.GetFlag().Name, invalid.GetValue(), takes)
}

const keysFlagHelp = "`DIR` of the key ring (LINK_KEYS)"

// setting returns what the flag says or, where it was not given, the
// environment.
func (t *tool) setting(c *cobra.Command, flag, variable string) string {
	if f := c.Flag(flag); f != nil && f.Changed {
		return f.Value.String()
	}
	return t.getenv(variable)
}

// required is setting for what a verb cannot do without; what names it in the
// error.
func (t *tool) required(c *cobra.Command, flag, variable, what string) (string, error) {
	value := t.setting(c, flag, variable)
	if value == "" {
		return "", usagef("%s is not set: give --%s or set %s", what, flag, variable)
	}
	return value, nil
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

// signingFlags are those of every verb that signs.
func signingFlags(flags *pflag.FlagSet) {
	flags.String("keys", "", keysFlagHelp)
	flags.String("signing-key", "", "`ID` of the key that signs (LINK_SIGNING_KEY; not needed while there is one)")
}

// fieldFlags are what all links of one mail have in common.
func fieldFlags(flags *pflag.FlagSet) {
	flags.String("customer", "", "the sender's `ID` of the customer, at most 64 of A-Z a-z 0-9 _ -")
	flags.String("campaign", "", "the sender's `ID` of the campaign, likewise")
	flags.String("recipient", "", "the sender's `ID` of the recipient, likewise")
	flags.String("sent", "", "`WHEN` the mail is sent: a time such as 2026-07-31T09:00:00Z, or now (default not said)")
}

// completeFrom lets the shell complete a flag's value.
func completeFrom(c *cobra.Command, flag string, values ...cobra.Completion) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // there is no such flag
	}
}

// fields reads what fieldFlags defines.
func (t *tool) fields(c *cobra.Command) (linkcore.Fields, error) {
	return t.fieldsFrom(func(name string) (string, bool) { return c.Flag(name).Value.String(), c.Flag(name).Changed })
}

// fieldsFrom reads them from what get returns for a name, and whether it was given.
func (t *tool) fieldsFrom(get func(name string) (value string, given bool)) (fields linkcore.Fields, err error) {
	fields.Customer, _ = get("customer")
	fields.Campaign, _ = get("campaign")
	fields.Recipient, _ = get("recipient")
	switch when, given := get("sent"); {
	case !given:
	case when == "now":
		fields.Sent = t.now()
	default:
		// Empty is refused too: a variable that was not set must not become
		// no time.
		sent, err := time.Parse(time.RFC3339, when)
		if err != nil || sent.Unix() < 1 {
			return fields, usagef("--sent %q: give a time such as 2026-07-31T09:00:00Z, or now", when)
		}
		fields.Sent = sent
	}
	return fields, nil
}

// aboutFlag reports whether a link could not be made for a field that is a flag:
// such an error is the same for every destination.
func aboutFlag(c *cobra.Command, err error) bool {
	var field *linkcore.FieldError
	return errors.As(err, &field) && c.Flag(field.Field) != nil
}

// clicksFlag is the flag of what the endpoint's variable CLICKS says.
func clicksFlag(c *cobra.Command) {
	c.Flags().String("clicks", "", "`URL` of the events: pubsub://PROJECT/TOPIC or file:PATH (CLICKS)")
}

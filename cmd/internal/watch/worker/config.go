package worker

import (
	"errors"
	"log/slog"
	"math"
	"strings"
	"time"
	"unicode"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/environment"
)

// Config is the worker's configuration; CONFIG.md says what each variable means.
type Config struct {
	Subscription string
	Clicks       string
	Watch        watch.Config
	LogLevel     slog.Level
}

// variable returns the variable of a field of [Config] or [watch.Config], as
// LINK_NETWORKS is that of LinkNetworks.
func variable(field string) string {
	var name strings.Builder
	for i, r := range field {
		if i > 0 && 'A' <= r && r <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(unicode.ToUpper(r))
	}
	return name.String()
}

// ParseConfig reads the configuration. The error is a [*linkcore.FieldError] for the
// first variable that cannot be understood.
func ParseConfig(getenv func(string) string) (Config, error) {
	r := environment.New(getenv)
	w := watch.DefaultConfig()
	whole := func(variable string, byDefault int) int { return r.Int(variable, byDefault, 0, math.MaxInt) }
	during := func(variable string, byDefault time.Duration) time.Duration {
		return r.Duration(variable, byDefault, 0, math.MaxInt64)
	}
	c := Config{
		Subscription: r.Required("SUBSCRIPTION", "pubsub://PROJECT/subscriptions/NAME"),
		Clicks:       r.Required("CLICKS", "pubsub://PROJECT/TOPIC for verdicts, or none"),
		Watch: watch.Config{
			Window:            during("WINDOW", w.Window),
			LinkNetworks:      whole("LINK_NETWORKS", w.LinkNetworks),
			LinkAddresses:     whole("LINK_ADDRESSES", w.LinkAddresses),
			RecipientNetworks: whole("RECIPIENT_NETWORKS", w.RecipientNetworks),
			ShareWindow:       during("SHARE_WINDOW", w.ShareWindow),
			BlockedShare:      r.Float("BLOCKED_SHARE", w.BlockedShare, 0),
			BlockedRecipients: whole("BLOCKED_RECIPIENTS", w.BlockedRecipients),
			BlockedRise:       r.Float("BLOCKED_RISE", w.BlockedRise, 0),
			HostWindow:        during("HOST_WINDOW", w.HostWindow),
			HostCustomers:     whole("HOST_CUSTOMERS", w.HostCustomers),
			HostKnownAfter:    during("HOST_KNOWN_AFTER", w.HostKnownAfter),
			Learning:          during("LEARNING", w.Learning),
			KnownHosts:        r.List("KNOWN_HOSTS"),
			Repeat:            during("REPEAT", w.Repeat),
		},
		LogLevel: r.LogLevel("LOG_LEVEL"),
	}
	if !strings.HasPrefix(c.Subscription, "file:") && !strings.Contains(c.Subscription, "/subscriptions/") {
		// A temporary one would lose what comes while it is started again.
		r.Refuse("SUBSCRIPTION", "%q is not of the form pubsub://PROJECT/subscriptions/NAME", c.Subscription)
	}
	if err := r.Err(); err != nil {
		return Config{}, err
	}
	if err := c.Watch.Validate(); err != nil {
		return Config{}, explain(err)
	}
	return c, nil
}

// explain names the variable that an error of package watch is about.
func explain(err error) error {
	var field *linkcore.FieldError
	if errors.As(err, &field) {
		return &linkcore.FieldError{Field: variable(field.Field), Problem: field.Problem, Err: err}
	}
	return err
}

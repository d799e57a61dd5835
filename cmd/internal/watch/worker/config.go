package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"example.com/linktracker/linkcore/watch"
	"example.com/linktracker/linkcore/watch/guard"
)

// Config is the worker's configuration; CONFIG.md says what each variable means.
type Config struct {
	Subscription string
	Clicks       string
	Blocklist    string
	Block        string
	BlockFor     time.Duration
	Protect      []string
	Watch        watch.Config
	LogLevel     slog.Level
}

// What BLOCK may say.
const (
	BlockOff = "off"
	BlockOn  = "on"
	BlockAll = "all"
)

// A ConfigError says which environment variable cannot be understood, in one line.
type ConfigError struct{ Variable, Problem string }

func (e *ConfigError) Error() string { return e.Variable + ": " + e.Problem }

// thresholds are the variables of watch.Config, by its fields.
var thresholds = map[string]string{
	"Window":            "WINDOW",
	"LinkNetworks":      "LINK_NETWORKS",
	"LinkAddresses":     "LINK_ADDRESSES",
	"RecipientNetworks": "RECIPIENT_NETWORKS",
	"ShareWindow":       "SHARE_WINDOW",
	"BlockedShare":      "BLOCKED_SHARE",
	"BlockedRecipients": "BLOCKED_RECIPIENTS",
	"BlockedRise":       "BLOCKED_RISE",
	"HostWindow":        "HOST_WINDOW",
	"HostCustomers":     "HOST_CUSTOMERS",
	"HostKnownAfter":    "HOST_KNOWN_AFTER",
	"Learning":          "LEARNING",
	"KnownHosts":        "KNOWN_HOSTS",
	"Repeat":            "REPEAT",
}

// ParseConfig reads the configuration. The error is a [*ConfigError] for the first
// variable that cannot be understood.
func ParseConfig(getenv func(string) string) (Config, error) {
	p := parser{getenv: getenv}
	c := Config{
		Subscription: p.required("SUBSCRIPTION", "pubsub://PROJECT/subscriptions/NAME"),
		Clicks:       p.required("CLICKS", "pubsub://PROJECT/TOPIC for verdicts, or none"),
		Block:        p.oneOf("BLOCK", BlockOff, BlockOn, BlockAll),
		Blocklist:    getenv("BLOCKLIST"),
		BlockFor:     p.duration("BLOCK_FOR", 24*time.Hour, time.Minute),
		Protect:      p.list("PROTECT"),
		Watch: watch.Config{
			Window:            p.duration(thresholds["Window"], 0, 1),
			LinkNetworks:      p.number(thresholds["LinkNetworks"]),
			LinkAddresses:     p.number(thresholds["LinkAddresses"]),
			RecipientNetworks: p.number(thresholds["RecipientNetworks"]),
			ShareWindow:       p.duration(thresholds["ShareWindow"], 0, 1),
			BlockedShare:      p.fraction(thresholds["BlockedShare"]),
			BlockedRecipients: p.number(thresholds["BlockedRecipients"]),
			BlockedRise:       p.fraction(thresholds["BlockedRise"]),
			HostWindow:        p.duration(thresholds["HostWindow"], 0, 1),
			HostCustomers:     p.number(thresholds["HostCustomers"]),
			HostKnownAfter:    p.duration(thresholds["HostKnownAfter"], 0, 1),
			Learning:          p.duration(thresholds["Learning"], 0, 0),
			KnownHosts:        p.list(thresholds["KnownHosts"]),
			Repeat:            p.duration(thresholds["Repeat"], 0, 1),
		},
		LogLevel: map[string]slog.Level{
			"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
		}[p.oneOf("LOG_LEVEL", "info", "debug", "warn", "error")],
	}
	if getenv(thresholds["Learning"]) != "" && c.Watch.Learning == 0 {
		c.Watch.Learning = -1 // none, where zero is the default
	}
	if !strings.HasPrefix(c.Subscription, "file:") && !strings.Contains(c.Subscription, "/subscriptions/") {
		// A temporary one would lose what comes while it is started again.
		p.refuse("SUBSCRIPTION", "%q is not of the form pubsub://PROJECT/subscriptions/NAME", c.Subscription)
	}
	if c.Block != BlockOff && c.Blocklist == "" {
		p.refuse("BLOCKLIST", "is not set, and BLOCK=%s needs it: give it firestore://PROJECT/DATABASE/COLLECTION or file:PATH", c.Block)
	}
	if p.err != nil {
		return Config{}, p.err
	}
	if err := c.Watch.Validate(); err != nil {
		return Config{}, explain(err)
	}
	return c, nil
}

// explain names the variable that an error of package guard is about.
func explain(err error) error {
	var threshold *watch.ConfigError
	var protect *guard.ProtectError
	switch {
	case errors.As(err, &threshold):
		return &ConfigError{thresholds[threshold.Field], threshold.Problem}
	case errors.As(err, &protect):
		return &ConfigError{"PROTECT", protect.Error()}
	}
	return err
}

// parser keeps the first error, so that a configuration reads as a table. What is
// not set is zero, for which whoever uses it has a default.
type parser struct {
	getenv func(string) string
	err    error
}

func (p *parser) refuse(variable, format string, args ...any) {
	if p.err == nil {
		p.err = &ConfigError{variable, fmt.Sprintf(format, args...)}
	}
}

func (p *parser) required(variable, accepted string) string {
	value := p.getenv(variable)
	if value == "" {
		p.refuse(variable, "is not set: give it %s", accepted)
	}
	return value
}

func (p *parser) number(variable string) int {
	value := p.getenv(variable)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		p.refuse(variable, "%q is no whole number from 1", value)
	}
	return n
}

func (p *parser) fraction(variable string) float64 {
	value := p.getenv(variable)
	if value == "" {
		return 0
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || !(f > 0) {
		p.refuse(variable, "%q is no number above 0, such as 0.2", value)
	}
	return f
}

func (p *parser) duration(variable string, byDefault, least time.Duration) time.Duration {
	value := p.getenv(variable)
	if value == "" {
		return byDefault
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		p.refuse(variable, "%q is no duration such as 15m or 72h", value)
	}
	return d
}

// oneOf takes one of the values; the first is the default.
func (p *parser) oneOf(variable string, values ...string) string {
	value := p.getenv(variable)
	if value == "" {
		return values[0]
	}
	for _, v := range values {
		if v == value {
			return v
		}
	}
	p.refuse(variable, "%q is none of %s", value, strings.Join(values, ", "))
	return value
}

// list takes values with commas or white space between them.
func (p *parser) list(variable string) []string {
	return strings.FieldsFunc(p.getenv(variable), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

package watch

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// A Kind is what an alert is about.
type Kind string

// The kinds of alert; the package comment says what each means.
const (
	SharedLink      Kind = "shared_link"
	SharedRecipient Kind = "shared_recipient"
	BlockedShare    Kind = "blocked_share"
	SpreadingHost   Kind = "spreading_host"
)

// An Alert is something that people should look at.
type Alert struct {
	Kind     Kind
	Severity slog.Level // Warn, or Error where more than one recipient is concerned

	// Subject is what the alert is about, KIND:VALUE as rules of the blocklist
	// are written, and Rule the one that would stop it. It is empty where there
	// is none to suggest: where such a rule stands already.
	Subject string
	Rule    string

	Customer string // "" of a spreading host
	Campaign string // of what was seen last

	Since time.Time // the first of what was seen within the window
	At    time.Time // of the event that raised the alert
	Seen  Seen
}

// Seen is what raised an alert, within its window. What does not apply is zero.
type Seen struct {
	Window     time.Duration
	Clicks     int
	Networks   int // at least
	Addresses  int // at least
	Blocked    int
	Share      float64 // of clicks that were blocked
	Before     float64 // the same over the last day before
	Recipients int     // about; of a share, of the blocked clicks
	ByRule     string  // that blocked the last one
	Customers  []string
}

// Summary says what was seen, in one sentence.
func (a Alert) Summary() string {
	s := a.Seen
	within := "within " + span(min(s.Window, a.At.Sub(a.Since)))
	switch a.Kind {
	case SharedLink:
		return fmt.Sprintf("a link that went to one recipient was clicked from %d addresses in %d networks %s", s.Addresses, s.Networks, within)
	case SharedRecipient:
		return fmt.Sprintf("the links of one recipient were clicked from %d networks %s", s.Networks, within)
	case BlockedShare:
		return fmt.Sprintf("%.0f%% of %d clicks of about %d recipients were blocked %s (before: %.1f%%), the last by %s",
			100*s.Share, s.Clicks, s.Recipients, within, 100*s.Before, s.ByRule)
	case SpreadingHost:
		return fmt.Sprintf("links of %d customers lead to a host that is new: %d clicks of about %d recipients from %d networks %s", len(s.Customers), s.Clicks, s.Recipients, s.Networks, within)
	}
	return string(a.Kind)
}

// Attrs returns the alert as the members of a log line. The names are a contract
// with whoever reads the log.
func (a Alert) Attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("kind", string(a.Kind)), slog.String("subject", a.Subject)}
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("rule", a.Rule)
	text("customer", a.Customer)
	text("campaign", a.Campaign)
	attrs = append(attrs,
		slog.Time("since", a.Since), slog.Time("at", a.At),
		slog.String("summary", a.Summary()))

	seen := []any{slog.Float64("window_seconds", a.Seen.Window.Seconds())}
	number := func(name string, n int) {
		if n > 0 {
			seen = append(seen, slog.Int(name, n))
		}
	}
	number("clicks", a.Seen.Clicks)
	number("networks", a.Seen.Networks)
	number("addresses", a.Seen.Addresses)
	number("blocked", a.Seen.Blocked)
	number("recipients", a.Seen.Recipients)
	if a.Kind == BlockedShare {
		seen = append(seen, slog.Float64("share", a.Seen.Share), slog.Float64("share_before", a.Seen.Before), slog.String("by_rule", a.Seen.ByRule))
	}
	if len(a.Seen.Customers) > 0 {
		seen = append(seen, slog.Any("customers", a.Seen.Customers))
	}
	return append(attrs, slog.Group("seen", seen...))
}

// span writes a duration without the zeros at its end.
func span(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

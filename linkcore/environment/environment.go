// Package environment reads a program's configuration from environment
// variables, so that it reads as a table:
//
//	r := environment.New(os.Getenv)
//	c := Config{
//		Keys:    r.Required("LINK_KEYS", "a directory with one file a key"),
//		HoldMax: r.Int("HOLD_MAX", 40, 1, 100_000),
//		Timeout: r.Duration("DELIVERY_TIMEOUT", 5*time.Second, time.Millisecond, 10*time.Minute),
//	}
//	if err := r.Err(); err != nil {
//		…
//	}
//
// A variable that is empty is not set, and takes its default.
package environment

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"example.com/linktracker/linkcore"
)

// A Reader reads variables and keeps the first error.
type Reader struct {
	getenv func(string) string
	names  []string // of all variables that were read
	err    error
}

// New returns a reader of the variables that getenv, such as [os.Getenv], returns.
func New(getenv func(string) string) *Reader {
	r := &Reader{}
	r.getenv = func(variable string) string {
		r.names = append(r.names, variable)
		return getenv(variable)
	}
	return r
}

// Misspelt returns those of the environment's entries, as [os.Environ] has them,
// that are almost a variable that was read, each with that variable.
func (r *Reader) Misspelt(environ []string) map[string]string {
	found := map[string]string{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(r.names, name) {
			continue
		}
		for _, known := range r.names {
			// Short names have too many neighbours.
			if len(known) >= 6 && almost(name, known) {
				found[name] = known
			}
		}
	}
	return found
}

// almost reports whether two names differ in their case, in one character that is
// wrong, missing or too much, or in two neighbours that changed places.
func almost(a, b string) bool {
	a, b = strings.ToUpper(a), strings.ToUpper(b)
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch {
	case i == len(a):
		return true
	case len(a) < len(b):
		return a[i:] == b[i+1:]
	case a[i+1:] == b[i+1:]:
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// ParseDuration reads Go's durations, and days before them: 250ms, 72h, 30d, 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || n > 36500 { // 100 years: more is a slip, and would not fit
		return 0, fmt.Errorf("%q is not a number of days", days)
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 {
		return 0, fmt.Errorf("%q is not a duration", rest)
	}
	return d + more, nil
}

// Err returns the error of the first variable that cannot be understood: a
// [*linkcore.FieldError] whose Field is the variable, in one line with the value
// and what is accepted.
func (r *Reader) Err() error { return r.err }

// Refuse refuses a variable. The format continues a sentence that begins with the
// variable's name.
func (r *Reader) Refuse(variable, format string, args ...any) {
	if r.err == nil {
		r.err = &linkcore.FieldError{Field: variable, Problem: fmt.Sprintf(format, args...)}
	}
}

// Unusable returns the error, a [*linkcore.FieldError], of a variable that names
// what cannot be opened.
func Unusable(variable string, err error) error {
	return &linkcore.FieldError{Field: variable, Problem: "cannot be used: " + err.Error(), Err: err}
}

// Text returns a variable as it is.
func (r *Reader) Text(variable string) string { return r.getenv(variable) }

// Required returns a variable that must be set; accepted says to what.
func (r *Reader) Required(variable, accepted string) string {
	value := r.getenv(variable)
	if value == "" {
		r.Refuse(variable, "is not set: give it %s", accepted)
	}
	return value
}

// Int returns a whole number from least to most; [math.MaxInt] is not a bound.
func (r *Reader) Int(variable string, byDefault, least, most int) int {
	return parse(r, variable, byDefault, strconv.Atoi, func(n int) (string, bool) {
		if most == math.MaxInt {
			return fmt.Sprintf("whole number from %d", least), n >= least
		}
		return fmt.Sprintf("whole number from %d to %d", least, most), n >= least && n <= most
	})
}

// Float returns a number from least on.
func (r *Reader) Float(variable string, byDefault, least float64) float64 {
	number := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	return parse(r, variable, byDefault, number, func(f float64) (string, bool) {
		return fmt.Sprintf("number from %v, such as 0.2", least), f >= least // not NaN
	})
}

// Duration returns a time from least to most; [math.MaxInt64] is not a bound.
func (r *Reader) Duration(variable string, byDefault, least, most time.Duration) time.Duration {
	return parse(r, variable, byDefault, ParseDuration, func(d time.Duration) (string, bool) {
		if most == math.MaxInt64 {
			return fmt.Sprintf("duration from %v, such as 15s, 10m, 72h or 30d", least), d >= least
		}
		return fmt.Sprintf("duration from %v to %v, such as 250ms, 15s or 10m", least, most), d >= least && d <= most
	})
}

// parse returns a variable's value, if fits accepts it. What fits returns for the
// values it accepts follows "is not a".
func parse[T any](r *Reader, variable string, byDefault T, parse func(string) (T, error), fits func(T) (accepted string, ok bool)) T {
	text := r.getenv(variable)
	if text == "" {
		return byDefault
	}
	value, err := parse(text)
	if accepted, ok := fits(value); err != nil || !ok {
		r.Refuse(variable, "%q is not a %s", text, accepted)
	}
	return value
}

// OneOf returns one of the values; the first is the default.
func OneOf[T ~string](r *Reader, variable string, values ...T) T {
	value := T(r.getenv(variable))
	if value == "" {
		return values[0]
	}
	names := make([]string, len(values))
	for i, v := range values {
		if v == value {
			return v
		}
		names[i] = string(v)
	}
	r.Refuse(variable, "%q is none of %s", value, strings.Join(names, ", "))
	return values[0]
}

// LogLevel returns info, the default, debug, warn or error.
func (r *Reader) LogLevel(variable string) slog.Level {
	var level slog.Level
	level.UnmarshalText([]byte(OneOf(r, variable, "info", "debug", "warn", "error"))) // cannot fail
	return level
}

// List returns values with commas or white space between them.
func (r *Reader) List(variable string) []string {
	return strings.FieldsFunc(r.getenv(variable), func(c rune) bool { return strings.ContainsRune(", \n\t", c) })
}

// Header returns the name of a request header, or "".
func (r *Reader) Header(variable string) string {
	value := r.getenv(variable)
	if value != "" && !httpguts.ValidHeaderFieldName(value) {
		r.Refuse(variable, "%q is not the name of a request header, such as X-Client-Region", value)
	}
	return value
}

// URL returns an absolute http or https URL, as [linkcore.ParseDestination] takes
// it, or "".
func (r *Reader) URL(variable string) string {
	value := r.getenv(variable)
	if value == "" {
		return ""
	}
	if _, err := linkcore.ParseDestination(value); err != nil {
		r.Refuse(variable, "%q is not an absolute http or https URL: %v", value, err)
	}
	return value
}

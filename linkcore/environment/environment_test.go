package environment

import (
	"errors"
	"log/slog"
	"maps"
	"math"
	"reflect"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
)

func TestReader(t *testing.T) {
	read := map[string]func(*Reader) any{
		"required":  func(r *Reader) any { return r.Required("V", "a directory") },
		"int":       func(r *Reader) any { return r.Int("V", 40, 1, 100) },
		"open int":  func(r *Reader) any { return r.Int("V", 40, 1, math.MaxInt) },
		"float":     func(r *Reader) any { return r.Float("V", 0.5, 0) },
		"time":      func(r *Reader) any { return r.Duration("V", time.Second, time.Millisecond, time.Minute) },
		"open time": func(r *Reader) any { return r.Duration("V", time.Second, time.Millisecond, math.MaxInt64) },
		"one of":    func(r *Reader) any { return OneOf(r, "V", "hold", "background") },
		"level":     func(r *Reader) any { return r.LogLevel("V") },
		"list":      func(r *Reader) any { return r.List("V") },
		"header":    func(r *Reader) any { return r.Header("V") },
		"URL":       func(r *Reader) any { return r.URL("V") },
	}
	for _, test := range []struct {
		read, value string
		want        any // an error's text, if it begins with V
	}{
		{"required", "keys", "keys"},
		{"required", "", "V is not set: give it a directory"},
		{"int", "", 40},
		{"int", "1", 1},
		{"int", "100", 100},
		{"int", "0", `V "0" is not a whole number from 1 to 100`},
		{"int", "101", `V "101" is not a whole number from 1 to 100`},
		{"int", "many", `V "many" is not a whole number from 1 to 100`},
		{"open int", "1000000", 1000000},
		{"open int", "0", `V "0" is not a whole number from 1`},
		{"float", "", 0.5},
		{"float", "0", 0.0},
		{"float", "0.25", 0.25},
		{"float", "-1", `V "-1" is not a number from 0, such as 0.2`},
		{"float", "NaN", `V "NaN" is not a number from 0, such as 0.2`},
		{"float", "20%", `V "20%" is not a number from 0, such as 0.2`},
		{"time", "", time.Second},
		{"time", "1m", time.Minute},
		{"time", "15", `V "15" is not a duration from 1ms to 1m0s, such as 250ms, 15s or 10m`},
		{"time", "2m", `V "2m" is not a duration from 1ms to 1m0s, such as 250ms, 15s or 10m`},
		{"open time", "72h", 72 * time.Hour},
		{"open time", "0s", `V "0s" is not a duration from 1ms, such as 15s, 10m, 72h or 30d`},
		{"one of", "", "hold"},
		{"one of", "background", "background"},
		{"one of", "Hold", `V "Hold" is none of hold, background`},
		{"level", "", slog.LevelInfo},
		{"level", "warn", slog.LevelWarn},
		{"level", "loud", `V "loud" is none of info, debug, warn, error`},
		{"list", "a, b\nc\td", []string{"a", "b", "c", "d"}},
		{"header", "", ""},
		{"header", "X-Region", "X-Region"},
		{"header", "X Region", `V "X Region" is not the name of a request header, such as X-Client-Region`},
		{"URL", "", ""},
		{"URL", "https://example.com/", "https://example.com/"},
	} {
		r := New(func(string) string { return test.value })
		got := read[test.read](r)
		if err := r.Err(); err != nil {
			var field *linkcore.FieldError
			if got = err.Error(); !errors.As(err, &field) || field.Field != "V" {
				t.Errorf("%s %q: %#v", test.read, test.value, err)
			}
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %q: %v, want %v", test.read, test.value, got, test.want)
		}
	}
}

// The first error is kept, as it is the first that a person has to mend.
func TestFirstError(t *testing.T) {
	r := New(func(string) string { return "x" })
	r.Int("FIRST", 1, 1, 2)
	r.URL("SECOND")
	var field *linkcore.FieldError
	if !errors.As(r.Err(), &field) || field.Field != "FIRST" {
		t.Error(r.Err())
	}
	cause := errors.New("away")
	if err := Unusable("THIRD", cause); err.Error() != "THIRD cannot be used: away" || !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestMisspelt(t *testing.T) {
	r := New(func(string) string { return "" })
	for _, variable := range []string{"PORT", "CLICKS", "BLOCKLIST_REFRESH"} {
		r.Text(variable)
	}
	got := r.Misspelt([]string{"BLOCKLIST_REFERSH=1s", "BLOCKLIST_REFRES=", "BLOCKLIST_REFRESHH=", "BLOCKLIST_REFRASH=", "blocklist_refresh=", "CLICK=",
		"PORTS=1", "CLICKS=x", "BLOCKLIST_REFFER=1", "BLOCKLIST=x", "CLOCKSY=1"})
	want := map[string]string{"CLICK": "CLICKS"}
	for _, variable := range []string{"BLOCKLIST_REFERSH", "BLOCKLIST_REFRES", "BLOCKLIST_REFRESHH", "BLOCKLIST_REFRASH", "blocklist_refresh"} {
		want[variable] = "BLOCKLIST_REFRESH"
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "72h": 72 * time.Hour, "30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "1d-1h", "1dx", "36501d", "99999999999d", "1h1d", "30"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

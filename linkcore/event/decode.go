package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

var errNotEvent = errors.New("this is not an event: it needs event_id, event_type and occurred_at")

// UnmarshalJSON reads the object that [Event.AppendJSON] writes. Members and
// signals that are not known are passed over, since later versions add some; a
// known member of another type, or null, is an error. Whoever passes events on
// should pass on the bytes: what is not known is not written again.
func (e *Event) UnmarshalJSON(data []byte) error {
	if !json.Valid(data) {
		return errors.New("this is not an event: it is not JSON")
	}
	v := values{data: data}
	if v.next() != '{' {
		return errNotEvent
	}
	v.at++
	read := Event{}
	for v.next() != '}' {
		if v.data[v.at] == ',' {
			v.at++
			v.next()
		}
		name := v.take()
		v.next() // the colon
		v.at++
		v.next()
		value := v.take()
		if err := read.set(name[1:len(name)-1], value); err != nil {
			return fmt.Errorf("read an event: %s: %w", name, err)
		}
	}
	if read.ID == "" || read.Type == "" || read.OccurredAt.IsZero() {
		return errNotEvent
	}
	*e = read
	return nil
}

// set takes one member. Names with escapes are none that AppendJSON writes.
func (e *Event) set(name, value []byte) error {
	for i := range fields {
		f := &fields[i]
		switch {
		case f.name != string(name):
		case f.text != nil:
			return setString(f.text(e), value)
		case f.flag != nil:
			return setBool(f.flag(e), value)
		default:
			return f.read(e, value)
		}
	}
	return nil
}

// ignoreNumber takes what is made of other fields.
func ignoreNumber(_ *Event, value []byte) error {
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return errors.New("want a number")
	}
	return nil
}

func setString(to *string, value []byte) error {
	if value[0] != '"' {
		return errors.New("want a string")
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		*to = string(inner)
		return nil
	}
	var s string
	err := json.Unmarshal(value, &s)
	*to = s
	return err
}

func setTime(to *time.Time, value []byte) error {
	var s string
	if err := setString(&s, value); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !strings.HasSuffix(s, "Z") {
		return fmt.Errorf("%.64q is not a time as RFC 3339 writes it, in UTC", s)
	}
	*to = t
	return nil
}

func setBool(to *bool, value []byte) error {
	switch string(value) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return errors.New("want true or false")
	}
	return nil
}

func setSignals(to *Signals, value []byte) error {
	if value[0] != '[' {
		return errors.New("want an array of strings")
	}
	*to = 0
	v := values{data: value, at: 1}
	for v.next() != ']' {
		if v.data[v.at] == ',' {
			v.at++
			v.next()
		}
		var name string
		if err := setString(&name, v.take()); err != nil {
			return errors.New("want an array of strings")
		}
		*to |= signalNamed(name)
	}
	return nil
}

// values goes through JSON that is known to be valid.
type values struct {
	data []byte
	at   int
}

// next passes over white space and returns the byte after it.
func (v *values) next() byte {
	for {
		switch c := v.data[v.at]; c {
		case ' ', '\t', '\r', '\n':
			v.at++
		default:
			return c
		}
	}
}

// take returns the value that begins here, as it is written.
func (v *values) take() []byte {
	start, depth := v.at, 0
	for v.at < len(v.data) {
		switch v.data[v.at] {
		case '"':
			for v.at++; v.data[v.at] != '"'; v.at++ {
				if v.data[v.at] == '\\' {
					v.at++
				}
			}
			v.at++
			if depth == 0 {
				return v.data[start:v.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return v.data[start:v.at] // the end of what a number or a word stands in
			}
			if depth--; depth == 0 {
				v.at++
				return v.data[start:v.at]
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return v.data[start:v.at]
			}
		}
		v.at++
	}
	return v.data[start:v.at]
}

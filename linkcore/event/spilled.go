package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// A Spilled is an event that was spilled, to be published again.
type Spilled struct {
	Message        // as it is to be published: one line, later versions' members included
	Reason  string // as EVENTS.md lists them
}

// Refused is the reason of a [Spilled] that the topic did not allow.
const Refused = "refused"

// ErrNotSpilled is returned by [ParseSpilled] for a line about something
// else.
var ErrNotSpilled = errors.New("not a spilled event")

const spilledMessage = "event spilled"

// ParseSpilled reads a spilled event from what there is of it: the line that the
// endpoint wrote, or Cloud Logging's LogEntry of that line. Anything else is
// [ErrNotSpilled]; another error says what is wrong with a line about a
// spilled event.
func ParseSpilled(line []byte) (*Spilled, error) {
	// Most lines of a log are others.
	if !bytes.Contains(line, []byte(spilledMessage)) {
		return nil, ErrNotSpilled
	}
	var valid json.RawMessage
	if err := json.Unmarshal(line, &valid); err != nil {
		return nil, fmt.Errorf("has the words %q and is not JSON: %w", spilledMessage, err)
	}
	line = payloadOf(line)
	var head struct{ Message string }
	if err := json.Unmarshal(line, &head); err != nil || head.Message != spilledMessage {
		return nil, ErrNotSpilled
	}
	var payload struct {
		Reason     string
		Event      json.RawMessage
		Attributes map[string]string
	}
	if err := json.Unmarshal(line, &payload); err != nil {
		return nil, fmt.Errorf("spilled event: %w", err)
	}
	if !isObject(payload.Event) {
		return nil, errors.New("spilled event: the event is missing")
	}
	s := &Spilled{Message: Message{Data: payload.Event, Event: &Event{}}, Reason: payload.Reason}
	if err := s.Event.UnmarshalJSON(payload.Event); err != nil {
		return nil, fmt.Errorf("spilled event: %w", err)
	}
	if bytes.ContainsAny(payload.Event, "\r\n") {
		var compact bytes.Buffer
		if err := json.Compact(&compact, payload.Event); err != nil {
			return nil, fmt.Errorf("spilled event: %w", err)
		}
		s.Data = compact.Bytes()
	}
	for _, name := range slices.Sorted(maps.Keys(payload.Attributes)) {
		s.Attributes = append(s.Attributes, Attribute{name, payload.Attributes[name]})
	}
	return s, nil
}

// Unwrap returns the event's JSON object in what a file or a log keeps of it: the
// object itself, the line of a spilled event, or Cloud Logging's LogEntry of either
// in jsonPayload or, as a string, in textPayload. Of anything else it returns what it
// was given, or the payload: whether that is an event, reading it tells.
func Unwrap(line []byte) []byte {
	if bytes.HasPrefix(line, []byte(`{"event_id":`)) {
		return line // as most are
	}
	payload := payloadOf(line)
	if !bytes.Contains(payload, []byte(spilledMessage)) {
		return payload
	}
	var spilled struct {
		ID      json.RawMessage `json:"event_id"`
		Message string
		Event   json.RawMessage
	}
	if json.Unmarshal(payload, &spilled) != nil || spilled.ID != nil || spilled.Message != spilledMessage || !isObject(spilled.Event) {
		return payload
	}
	return spilled.Event
}

// payloadOf returns the object that a log entry holds, or the line itself.
func payloadOf(line []byte) []byte {
	if !bytes.Contains(line, []byte(`Payload"`)) {
		return line
	}
	var entry struct {
		ID          json.RawMessage `json:"event_id"`
		JSONPayload json.RawMessage
		TextPayload json.RawMessage
	}
	if json.Unmarshal(line, &entry) != nil || entry.ID != nil {
		return line
	}
	if isObject(entry.JSONPayload) {
		return entry.JSONPayload
	}
	var text string
	if json.Unmarshal(entry.TextPayload, &text) == nil {
		if object := bytes.TrimSpace([]byte(text)); isObject(object) {
			return object
		}
	}
	return line
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }

const (
	// The line of a spilled event has at most so many bytes, with its end. Whoever
	// can have events spilled can have that much written to the log.
	maxSpilled = 8 << 10

	// To so many bytes of JSON what the client sent is cut in it, and, where it
	// would be longer than that all the same, the longest of what the sender
	// and the operators wrote.
	maxSpilledWords = 256

	// cutMark stands where something was cut.
	cutMark = "…"
)

// AppendSpilled appends the line, with its end, of an event that was not
// delivered: at most 8,192 bytes, for which the longest texts are cut.
func AppendSpilled(dst []byte, e *Event, now time.Time, reason string) []byte {
	short := *e
	for _, s := range [...]*string{&short.Label, &short.Method, &short.UserAgent, &short.Referer, &short.AcceptLanguage, &short.Query, &short.Country} {
		*s = shorten(*s, maxSpilledWords)
	}
	line := appendSpilledEvent(dst, &short, now, reason)
	long := [...]*string{&short.Destination, &short.RedirectedTo, &short.Rule}
	slices.SortFunc(long[:], func(a, b *string) int { return len(*b) - len(*a) })
	for _, s := range long {
		excess := len(line) - len(dst) - maxSpilled
		if excess <= 0 {
			break
		}
		*s = shorten(*s, max(len(appendString(nil, *s))-len(`""`)-excess, maxSpilledWords))
		line = appendSpilledEvent(dst, &short, now, reason)
	}
	return line
}

func appendSpilledEvent(dst []byte, e *Event, now time.Time, reason string) []byte {
	dst = append(dst, `{"severity":"WARNING","time":"`...)
	dst = appendTime(dst, now)
	dst = append(dst, `","message":"`+spilledMessage+`","reason":`...)
	dst = appendString(dst, reason)
	dst = append(dst, `,"event":`...)
	dst = e.AppendJSON(dst)
	dst = append(dst, `,"attributes":{`...)
	o := object{buffer: dst, start: len(dst)}
	for _, a := range e.AppendAttributes(nil) {
		o.string(a.Name, a.Value)
	}
	return append(o.buffer, "}}\n"...)
}

// shorten cuts a text so that JSON has at most limit bytes of it, with a mark
// where it was cut.
func shorten(s string, limit int) string {
	var character [len(`"\u2028"`)]byte
	end, length := 0, 0
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		length += len(appendString(character[:0], s[i:i+size])) - len(`""`)
		if length > limit {
			return s[:end] + cutMark
		}
		i += size
		if length <= limit-len(cutMark) {
			end = i
		}
	}
	return s
}

package event

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Type says what happened.
type Type string

// The types of event.
const (
	Click       Type = "click"
	Open        Type = "open"
	Unsubscribe Type = "unsubscribe"
	Blocked     Type = "blocked" // a click on a link that a rule blocks
	Verdict     Type = "verdict" // what was found out later of another event: see NewVerdict

	Objection          Type = "objection" // the recipient is not to be tracked any more
	ObjectionWithdrawn Type = "objection_withdrawn"
)

// Types returns all types, in the order of EVENTS.md.
func Types() []Type {
	return []Type{Click, Open, Unsubscribe, Blocked, Verdict, Objection, ObjectionWithdrawn}
}

// Wish reports whether an event of the type says what a person wants: it names the
// person whatever the rules say, and is never in excess.
func (t Type) Wish() bool { return t == Unsubscribe || t.Objects() }

// Objects reports whether the type is [Objection] or [ObjectionWithdrawn], whose
// events hold nothing of the device.
func (t Type) Objects() bool { return t == Objection || t == ObjectionWithdrawn }

// An Event is the record of one request, or, of the type [Verdict], of another
// event; EVENTS.md says what each field means. Empty fields are left out. It is
// not changed once it is made.
type Event struct {
	ID             string // UUID version 7
	Type           Type
	OccurredAt     time.Time // written in microseconds
	KeyID          string
	Host           string
	Customer       string
	Campaign       string
	Recipient      string
	Link           string
	SentAt         time.Time // zero: not said
	Sealed         bool
	Metadata       string
	Destination    string
	RedirectedTo   string
	Rule           string
	Label          string
	Recovered      string
	Method         string
	UserAgent      string
	Referer        string
	AcceptLanguage string
	Query          string
	Country        string
	PrivacySignal  string
	Untracked      bool
	IP             string
	Automation     Automation
	Signals        Signals
	About          string // of a verdict: the ID of the event that it speaks of
	RulesUnknown   bool   // the request was answered before all of its rules were known
	Proxy          string // of an open: the mail provider whose picture proxy made the request

	// Origin is the same for events of one link that was requested from one
	// address, and means nothing outside this process; 0: not known. It is not
	// published.
	Origin uint64
}

// A field is one member of the event's JSON object: its name and, for most, where
// its value is. A value that is neither text nor a flag says how it is written and
// read.
type field struct {
	name string
	text func(*Event) *string
	flag func(*Event) *bool

	write func(o *object, name string, e *Event)
	read  func(e *Event, value []byte) error
}

// fields are all members, in the order in which they are written.
var fields = [...]field{
	{name: "event_id", text: func(e *Event) *string { return &e.ID }},
	{name: "event_type", text: func(e *Event) *string { return (*string)(&e.Type) }},
	{name: "occurred_at", write: writeOccurredAt, read: func(e *Event, value []byte) error { return setTime(&e.OccurredAt, value) }},
	{name: "key_id", text: func(e *Event) *string { return &e.KeyID }},
	{name: "host", text: func(e *Event) *string { return &e.Host }},
	{name: "customer", text: func(e *Event) *string { return &e.Customer }},
	{name: "campaign", text: func(e *Event) *string { return &e.Campaign }},
	{name: "recipient", text: func(e *Event) *string { return &e.Recipient }},
	{name: "link", text: func(e *Event) *string { return &e.Link }},
	{name: "sent_at", write: writeSentAt, read: func(e *Event, value []byte) error { return setTime(&e.SentAt, value) }},
	{name: "seconds_since_sent", write: writeSinceSent, read: ignoreNumber},
	{name: "sealed", flag: func(e *Event) *bool { return &e.Sealed }},
	{name: "metadata", text: func(e *Event) *string { return &e.Metadata }},
	{name: "destination", text: func(e *Event) *string { return &e.Destination }},
	{name: "redirected_to", text: func(e *Event) *string { return &e.RedirectedTo }},
	{name: "rule", text: func(e *Event) *string { return &e.Rule }},
	{name: "label", text: func(e *Event) *string { return &e.Label }},
	{name: "recovered", text: func(e *Event) *string { return &e.Recovered }},
	{name: "method", text: func(e *Event) *string { return &e.Method }},
	{name: "user_agent", text: func(e *Event) *string { return &e.UserAgent }},
	{name: "referer", text: func(e *Event) *string { return &e.Referer }},
	{name: "accept_language", text: func(e *Event) *string { return &e.AcceptLanguage }},
	{name: "query", text: func(e *Event) *string { return &e.Query }},
	{name: "country", text: func(e *Event) *string { return &e.Country }},
	{name: "privacy_signal", text: func(e *Event) *string { return &e.PrivacySignal }},
	{name: "untracked", flag: func(e *Event) *bool { return &e.Untracked }},
	{name: "ip", text: func(e *Event) *string { return &e.IP }},
	{name: "automation", text: func(e *Event) *string { return (*string)(&e.Automation) }},
	{name: "signals", write: writeSignals, read: func(e *Event, value []byte) error { return setSignals(&e.Signals, value) }},
	{name: "about", text: func(e *Event) *string { return &e.About }},
	{name: "rules_unknown", flag: func(e *Event) *bool { return &e.RulesUnknown }},
	{name: "proxy", text: func(e *Event) *string { return &e.Proxy }},
}

// Own gives the event an ID of its time, and one piece of memory for all of its
// texts: a string that was cut out of a request keeps all of its headers alive.
func (e *Event) Own() {
	e.ID = ""
	id := newID(e.OccurredAt)
	var b strings.Builder
	b.Grow(len(id) + e.textSize())
	b.Write(id[:])
	e.ID = b.String()
	for i := range fields {
		if text := fields[i].text; text != nil && i > 0 {
			start := b.Len()
			b.WriteString(*text(e))
			*text(e) = b.String()[start:]
		}
	}
}

const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// appendTime appends a time in UTC as timeFormat has it. Package time is quick
// with RFC 3339 alone, so the fraction is put in here.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	dst = t.AppendFormat(dst, time.RFC3339)
	dst[len(dst)-1] = '.' // was Z
	micros := t.Nanosecond() / 1000
	for divisor := 100_000; divisor > 0; divisor /= 10 {
		dst = append(dst, byte('0'+micros/divisor%10))
	}
	return append(dst, 'Z')
}

// AppendJSON appends the event as one flat JSON object, without a line end. Fields
// that are empty are left out.
func (e *Event) AppendJSON(dst []byte) []byte {
	o := object{buffer: append(dst, '{'), start: len(dst) + 1}
	for i := range fields {
		switch f := &fields[i]; {
		case f.text != nil:
			o.string(f.name, *f.text(e))
		case f.flag != nil:
			o.true(f.name, *f.flag(e))
		default:
			f.write(&o, f.name, e)
		}
	}
	return append(o.buffer, '}')
}

func writeOccurredAt(o *object, name string, e *Event) {
	o.name(name)
	o.buffer = append(appendTime(append(o.buffer, '"'), e.OccurredAt), '"')
}

func writeSentAt(o *object, name string, e *Event) {
	if !e.SentAt.IsZero() {
		o.name(name)
		o.buffer = append(e.SentAt.UTC().AppendFormat(append(o.buffer, '"'), time.RFC3339), '"')
	}
}

func writeSinceSent(o *object, name string, e *Event) {
	if !e.SentAt.IsZero() {
		o.name(name)
		// Not Time.Sub: it ends at 292 years, and a link may say any year to 4453.
		o.buffer = strconv.AppendFloat(o.buffer, float64(e.OccurredAt.UnixMicro()-e.SentAt.UnixMicro())/1e6, 'f', -1, 64)
	}
}

func writeSignals(o *object, name string, e *Event) {
	if e.Signals == 0 {
		return
	}
	o.name(name)
	separator := byte('[')
	for signal := range e.Signals.All() {
		o.buffer = appendString(append(o.buffer, separator), signal)
		separator = ','
	}
	o.buffer = append(o.buffer, ']')
}

// Beside its texts an event takes so much of memory, in bytes, and so much again
// as a message: the names in it, what its attributes repeat, and what buffers are
// larger than their content.
const (
	eventSize    = 768
	messageNames = 1024
)

// textSize is how long the event's texts are together, in bytes.
func (e *Event) textSize() (n int) {
	for i := range fields {
		if text := fields[i].text; text != nil {
			n += len(*text(e))
		}
	}
	return n
}

// MessageSize is about the length of the message that is made of the event, in
// bytes.
func (e *Event) MessageSize() int { return messageNames + e.textSize() }

// Size is what the event takes of memory while it is under way, in bytes: itself
// and two messages, one in the sink and one in what that sends with, in which an
// escape may make two bytes of one.
func (e *Event) Size() int {
	n := e.textSize()
	return eventSize + n + 2*(messageNames+2*n)
}

// MarshalJSON is [Event.AppendJSON], for encoding/json.
func (e *Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// object writes the members of a JSON object, and none that is empty.
type object struct {
	buffer []byte
	start  int
}

func (o *object) name(name string) {
	if len(o.buffer) > o.start {
		o.buffer = append(o.buffer, ',')
	}
	o.buffer = append(o.buffer, '"')
	o.buffer = append(o.buffer, name...)
	o.buffer = append(o.buffer, '"', ':')
}

func (o *object) string(name, value string) {
	if value != "" {
		o.name(name)
		o.buffer = appendString(o.buffer, value)
	}
}

func (o *object) true(name string, value bool) {
	if value {
		o.name(name)
		o.buffer = append(o.buffer, "true"...)
	}
}

// appendString appends a JSON string. What is not UTF-8 is replaced, and the
// characters that end a line in JavaScript are escaped, since events are read
// by all sorts of programs.
func appendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7F {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&15])
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// maxAttribute is Pub/Sub's limit on an attribute's value, in bytes.
const maxAttribute = 1024

// dataSchema names the JSON Schema of the data, schema/event.schema.json.
const dataSchema = "https://example.com/linktracker/event.v1.schema.json"

// ceTypes are the CloudEvents types.
var ceTypes = func() map[Type]string {
	all := map[Type]string{}
	for _, t := range Types() {
		all[t] = "linktracker." + string(t) + ".v1"
	}
	return all
}()

// AppendAttributes appends the attributes of the event's message, in their names'
// order: those of the CloudEvents binding in binary mode, and those that
// subscriptions filter by.
func (e *Event) AppendAttributes(dst []Attribute) []Attribute {
	var at [len(timeFormat)]byte
	for _, a := range [...]struct {
		name, prefix, value string
	}{
		{"automation", "", string(e.Automation)},
		{"campaign", "", e.Campaign},
		{"ce-dataschema", "", dataSchema},
		{"ce-id", "", e.ID},
		{"ce-source", "//", e.Host},
		{"ce-specversion", "", "1.0"},
		{"ce-time", "", string(appendTime(at[:0], e.OccurredAt))},
		{"ce-type", "", ceTypes[e.Type]},
		{"content-type", "", "application/json"},
		{"customer", "", e.Customer},
		{"event_type", "", string(e.Type)},
		{"proxy", "", e.Proxy},
	} {
		if a.value != "" {
			dst = append(dst, Attribute{a.name, cut(a.prefix+a.value, maxAttribute)})
		}
	}
	return dst
}

// Message returns the event as it is published.
func (e *Event) Message() Message { return Message{Data: e.AppendJSON(nil), Event: e} }

// newID makes a UUID version 7 (RFC 9562) of a time and 74 random bits. They
// only have to be different ones each time, for which the runtime's ChaCha8 is
// good enough; it costs a tenth of the operating system's.
func newID(t time.Time) [36]byte {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return formatID(t, b)
}

// formatID makes a UUID version 7 of a time and 74 of the bits in b.
func formatID(t time.Time, b [16]byte) (s [36]byte) {
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6] = b[6]&0x0F | 0x70
	b[8] = b[8]&0x3F | 0x80
	hex.Encode(s[:8], b[:4])
	s[8] = '-'
	hex.Encode(s[9:13], b[4:6])
	s[13] = '-'
	hex.Encode(s[14:18], b[6:8])
	s[18] = '-'
	hex.Encode(s[19:23], b[8:10])
	s[23] = '-'
	hex.Encode(s[24:], b[10:])
	return s
}

// MaxWords is where an event cuts what a client sent, in bytes.
const MaxWords = 2048

// Words returns what a client sent as an event holds it: valid UTF-8 of at most
// [MaxWords] bytes, cut at a character's edge.
func Words(s string) string { return cut(s, MaxWords) }

// cut makes a string valid UTF-8 of at most limit bytes, cut at a character's
// edge.
func cut(s string, limit int) string {
	if len(s) <= limit && utf8.ValidString(s) {
		return s
	}
	s = strings.ToValidUTF8(cutAtEdge(s, limit), "\uFFFD")
	// What replaces a byte has three.
	return cutAtEdge(s, limit)
}

func cutAtEdge(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	// A character has at most three bytes that do not begin it; with more of
	// them there is no edge to be found.
	for end > limit-utf8.UTFMax && end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

package report

import (
	"bytes"
	"errors"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"example.com/linktracker/linkcore/event"
)

// An entry is what a report needs of an event. Its slices point into the line,
// or into the parser's scratch, and are good until the next line.
type entry struct {
	id, kind, about                        []byte
	customer, campaign, recipient, link    []byte
	destination, redirectedTo, rule, class []byte
	occurredAt, sentAt                     time.Time
	untracked                              bool
	named                                  bool // it has an id, a type or a time of an event
	wrong                                  bool // a member is not as an event has it
}

var (
	errNotJSON  = errors.New("is not one JSON object")
	errNotEvent = errors.New("has no event_id, event_type and occurred_at")
	errOther    = errors.New("is not an event")
)

// maxDepth bounds how deep a value that is skipped may be nested.
const maxDepth = 64

// A parser reads events from JSON: the objects that the endpoint writes, log
// lines and log entries that hold one, and rows as BigQuery exports them, where
// times are written with a blank, what is absent may be null, and booleans may
// be strings. It does not allocate for an event.
type parser struct {
	data    []byte
	at      int
	scratch []byte
}

// parse reads one JSON object. The error is errOther for one that was never
// meant to be an event, such as a log line of another kind.
func (p *parser) parse(data []byte) (entry, error) {
	p.scratch = p.scratch[:0]
	e, err := p.object(event.Unwrap(data))
	switch {
	case err != nil:
		return entry{}, err
	case !e.named:
		return entry{}, errOther
	case e.wrong:
		return entry{}, errNotJSON
	case len(e.id) == 0 || len(e.kind) == 0 || e.occurredAt.IsZero():
		return entry{}, errNotEvent
	}
	return e, nil
}

// object reads the members of an object.
func (p *parser) object(data []byte) (e entry, err error) {
	p.data, p.at = data, 0
	if p.next() != '{' {
		return e, errNotJSON
	}
	p.at++
	if p.next() == '}' {
		p.at++
		return e, p.end()
	}
	for {
		if p.next() != '"' {
			return e, errNotJSON
		}
		name, ok := p.rawString()
		if !ok || p.next() != ':' {
			return e, errNotJSON
		}
		p.at++
		p.next()
		value := p.at
		switch string(name) {
		case "event_id":
			e.named = true
			e.id, ok = p.text()
		case "event_type":
			e.named = true
			e.kind, ok = p.text()
		case "about":
			e.about, ok = p.text()
		case "occurred_at":
			e.named = true
			e.occurredAt, ok = p.time()
		case "sent_at":
			e.sentAt, ok = p.time()
		case "customer":
			e.customer, ok = p.text()
		case "campaign":
			e.campaign, ok = p.text()
		case "recipient":
			e.recipient, ok = p.text()
		case "link":
			e.link, ok = p.text()
		case "destination":
			e.destination, ok = p.text()
		case "redirected_to":
			e.redirectedTo, ok = p.text()
		case "rule":
			e.rule, ok = p.text()
		case "automation":
			e.class, ok = p.text()
		case "untracked":
			e.untracked, ok = p.bool()
		default:
			ok = p.skip(0)
		}
		if !ok {
			e.wrong, p.at = true, value
			if !p.skip(0) {
				return e, errNotJSON
			}
		}
		switch p.next() {
		case ',':
			p.at++
		case '}':
			p.at++
			return e, p.end()
		default:
			return e, errNotJSON
		}
	}
}

// end checks that nothing follows.
func (p *parser) end() error {
	if p.next() != 0 || p.at < len(p.data) {
		return errNotJSON
	}
	return nil
}

// next passes over white space and returns the byte after it, 0 at the end.
func (p *parser) next() byte {
	for p.at < len(p.data) {
		switch c := p.data[p.at]; c {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return c
		}
	}
	return 0
}

// rawString takes a string as it is written, without its quotes.
func (p *parser) rawString() ([]byte, bool) {
	start := p.at + 1
	for at := start; ; {
		quote := bytes.IndexByte(p.data[at:], '"')
		if quote < 0 {
			return nil, false
		}
		end := at + quote
		backslashes := 0
		for end-backslashes > start && p.data[end-backslashes-1] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			p.at = end + 1
			return p.data[start:end], true
		}
		at = end + 1
	}
}

func (p *parser) literal(word string) bool {
	if len(p.data)-p.at < len(word) || string(p.data[p.at:p.at+len(word)]) != word {
		return false
	}
	p.at += len(word)
	return true
}

// text takes a string, or null for none.
func (p *parser) text() ([]byte, bool) {
	switch p.next() {
	case 'n':
		return nil, p.literal("null")
	case '"':
		raw, ok := p.rawString()
		if !ok || bytes.IndexByte(raw, '\\') < 0 {
			return raw, ok
		}
		return p.unescape(raw)
	}
	return nil, false
}

// bool takes true or false, also as a string, or null for false.
func (p *parser) bool() (value, ok bool) {
	switch p.next() {
	case 'n':
		return false, p.literal("null")
	case 't':
		return true, p.literal("true")
	case 'f':
		return false, p.literal("false")
	case '"':
		raw, ok := p.rawString()
		return string(raw) == "true", ok && (string(raw) == "true" || string(raw) == "false")
	}
	return false, false
}

// time takes a time, or null for none.
func (p *parser) time() (time.Time, bool) {
	text, ok := p.text()
	if !ok || text == nil {
		return time.Time{}, ok
	}
	return parseTime(text)
}

// skip passes over a value.
func (p *parser) skip(depth int) bool {
	switch c := p.next(); c {
	case '"':
		_, ok := p.rawString()
		return ok
	case 't':
		return p.literal("true")
	case 'f':
		return p.literal("false")
	case 'n':
		return p.literal("null")
	case '{', '[':
		if depth == maxDepth {
			return false
		}
		p.at++
		end := c + 2 // of either bracket in ASCII
		if p.next() == end {
			p.at++
			return true
		}
		for {
			if c == '{' {
				if p.next() != '"' {
					return false
				}
				if _, ok := p.rawString(); !ok || p.next() != ':' {
					return false
				}
				p.at++
			}
			if !p.skip(depth + 1) {
				return false
			}
			switch p.next() {
			case ',':
				p.at++
			case end:
				p.at++
				return true
			default:
				return false
			}
		}
	}
	start := p.at
	for p.at < len(p.data) {
		if c := p.data[p.at]; c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' && (c < '0' || c > '9') {
			break
		}
		p.at++
	}
	return p.at > start
}

// unescape undoes the escapes of a string into the scratch.
func (p *parser) unescape(raw []byte) ([]byte, bool) {
	start := len(p.scratch)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' {
			p.scratch = append(p.scratch, c)
			continue
		}
		i++ // rawString leaves no lone backslash at the end
		switch c = raw[i]; c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, ok := hex4(raw[i+1:])
			if !ok {
				return nil, false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if rest := raw[i+1:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
					if second, ok := hex4(rest[2:]); ok {
						pair = utf16.DecodeRune(r, second)
					}
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			p.scratch = utf8.AppendRune(p.scratch, r)
			continue
		default:
			return nil, false
		}
		p.scratch = append(p.scratch, c)
	}
	// With its capacity cut, so that a later string does not grow into it.
	return p.scratch[start:len(p.scratch):len(p.scratch)], true
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// parseTime reads a time as RFC 3339 writes it and as BigQuery does:
// "2026-05-04 09:32:01.371204 UTC". Without a zone it is UTC.
func parseTime(s []byte) (time.Time, bool) {
	var n [6]int
	const form = "0000-00-00T00:00:00"
	if len(s) < len(form) {
		return time.Time{}, false
	}
	part := 0
	for i := range len(form) {
		c := s[i]
		switch form[i] {
		case '0':
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
			n[part] = n[part]*10 + int(c-'0')
		case 'T':
			if c != 'T' && c != 't' && c != ' ' {
				return time.Time{}, false
			}
			part++
		default:
			if c != form[i] {
				return time.Time{}, false
			}
			part++
		}
	}
	rest := s[len(form):]
	nanoseconds := 0
	if len(rest) > 0 && rest[0] == '.' {
		i, unit := 1, int(1e8)
		for ; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
			nanoseconds += int(rest[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return time.Time{}, false
		}
		rest = rest[i:]
	}
	offset, ok := parseZone(rest)
	if !ok || n[1] < 1 || n[1] > 12 || n[3] > 23 || n[4] > 59 || n[5] > 60 {
		return time.Time{}, false
	}
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], nanoseconds, time.UTC)
	if t.Day() != n[2] && n[5] < 60 {
		return time.Time{}, false // 31 February
	}
	return t.Add(-offset), true
}

func parseZone(s []byte) (offset time.Duration, ok bool) {
	switch string(s) {
	case "", "Z", "z", " UTC", "UTC", " Z":
		return 0, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	digits := 0
	n := 0
	for _, c := range s[1:] {
		if c == ':' && digits == 2 {
			continue
		}
		if c < '0' || c > '9' || digits == 4 {
			return 0, false
		}
		n = n*10 + int(c-'0')
		digits++
	}
	switch digits {
	case 2:
		offset = time.Duration(n) * time.Hour
	case 4:
		offset = time.Duration(n/100)*time.Hour + time.Duration(n%100)*time.Minute
	default:
		return 0, false
	}
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

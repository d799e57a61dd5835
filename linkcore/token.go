package linkcore

import (
	"fmt"
	"strconv"
	"time"
)

const (
	maxKeyID      = 16
	maxIdentifier = 64
	maxSent       = 7  // digits in base 36
	tagLength     = 22 // characters
	minBox        = 64 // characters
	sealedKind    = Kind('s')
)

// A token is the part of a tracked link that is checked, as received: all
// fields but kind are substrings of the request target.
type token struct {
	kind   Kind // Click, Open, Unsubscribe or sealedKind
	key    string
	fields string // from the customer to the time sent, sealed: empty
	signed string // without the tag and the dot before it
	last   string // the tag or the box
}

// parseToken reads the token that s is (a clear click link) or begins with
// (every other kind, whose last part ends where its alphabet does). It checks
// the syntax of every part.
func parseToken(s string) (t token, ok bool) {
	if len(s) < 4 {
		return t, false
	}
	t.kind = Kind(s[0])
	switch t.kind {
	case Click, Open, Unsubscribe, sealedKind:
	default:
		return t, false
	}
	i := 1
	for i < len(s) && classes[s[i]]&classLower != 0 {
		i++
	}
	if i == 1 || i > 1+maxKeyID || i == len(s) || s[i] != '.' {
		return t, false
	}
	t.key = s[1:i]
	if t.kind == sealedKind {
		t.signed = s[:i]
		t.last = word(s[i+1:])
		return t, len(t.last) >= minBox
	}
	start := i + 1
	end, ok := scanFields(s, start)
	if !ok || end == len(s) {
		return t, false
	}
	t.fields = s[start:end]
	t.signed = s[:end]
	t.last = word(s[end+1:])
	if len(t.last) != tagLength {
		return t, false
	}
	return t, t.kind != Click || end+1+tagLength == len(s)
}

// scanFields checks customer.campaign.recipient.link.sent at s[i:] and returns
// where they end: at the dot after them or at the end of s.
func scanFields(s string, i int) (end int, ok bool) {
	for part := range 4 {
		n := len(word(s[i:]))
		if n > maxIdentifier || part == 3 && n == 0 {
			return 0, false
		}
		i += n
		if i == len(s) || s[i] != '.' {
			return 0, false
		}
		i++
	}
	start := i
	for i < len(s) && classes[s[i]]&classLower != 0 {
		i++
	}
	if i < len(s) && s[i] != '.' || i-start > maxSent || i > start && s[start] == '0' {
		return 0, false
	}
	return i, true
}

// splitFields takes apart what scanFields has accepted.
func splitFields(s string) (f Fields) {
	parts := [4]*string{&f.Customer, &f.Campaign, &f.Recipient, &f.Link}
	for _, part := range parts {
		n := len(word(s))
		*part = s[:n]
		s = s[n+1:]
	}
	f.Sent = decodeSent(s)
	return f
}

func decodeSent(s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	var n int64
	for i := 0; i < len(s); i++ {
		d := int64(s[i] - '0')
		if s[i] >= 'a' {
			d = int64(s[i]-'a') + 10
		}
		n = n*36 + d
	}
	return time.Unix(n, 0).UTC()
}

// latestSent is the last second that seven digits of base 36 can say.
const latestSent = 36*36*36*36*36*36*36 - 1

func appendSent(dst []byte, sent time.Time) []byte {
	if sent.IsZero() {
		return dst
	}
	return strconv.AppendInt(dst, sent.Unix(), 36)
}

// ValidIdentifier reports whether s may be a link's customer, campaign, recipient
// or link: 1 to 64 of A-Z a-z 0-9 _ -. All but the link may be empty as well,
// which is for the caller to allow.
func ValidIdentifier(s string) bool {
	return len(s) >= 1 && len(s) <= maxIdentifier && len(word(s)) == len(s)
}

// ValidKeyID reports whether id may name a key: 1 to 16 of a-z 0-9.
func ValidKeyID(id string) bool {
	for i := 0; i < len(id); i++ {
		if classes[id[i]]&classLower == 0 {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= maxKeyID
}

// checkFields checks the fields, and cuts the time sent to whole seconds.
func checkFields(f *Fields) error {
	for _, field := range [...]struct{ name, value string }{
		{"customer", f.Customer}, {"campaign", f.Campaign}, {"recipient", f.Recipient}, {"link", f.Link},
	} {
		if len(field.value) > maxIdentifier {
			return &FieldError{Field: field.name, Problem: fmt.Sprintf("has %d bytes: 64 are the most", len(field.value))}
		}
		if len(word(field.value)) != len(field.value) {
			return &FieldError{Field: field.name, Problem: "has a character other than A-Z a-z 0-9 _ -"}
		}
	}
	if !f.Sent.IsZero() {
		f.Sent = f.Sent.Truncate(time.Second).UTC()
		if n := f.Sent.Unix(); n < 1 || n > latestSent {
			return &FieldError{Field: "sent", Problem: "must be a time after 1970-01-01T00:00:00Z and before the year 4453; leave it out where it is not known"}
		}
	}
	return nil
}

func appendFields(dst []byte, f *Fields) []byte {
	for _, part := range [...]string{f.Customer, f.Campaign, f.Recipient, f.Link} {
		dst = append(append(dst, part...), '.')
	}
	return appendSent(dst, f.Sent)
}

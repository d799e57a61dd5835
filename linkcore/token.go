package linkcore

import (
	"strconv"
	"time"
)

// What a byte may be part of.
const (
	classWord        = 1 << iota // A-Z a-z 0-9 _ -: identifiers, tags, boxes, host labels
	classLower                   // a-z 0-9: key ids, times
	classDot                     // .
	classUnreserved              // RFC 3986: stays as it is in a tracked link
	classDestination             // may stand in a destination
	classHost                    // a-z 0-9 _ -: labels of a link's own host
)

var classes = func() (t [256]uint8) {
	for c := range 256 {
		lower := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		word := lower || 'A' <= c && c <= 'Z' || c == '_' || c == '-'
		if lower {
			t[c] |= classLower
		}
		if lower || c == '_' || c == '-' {
			t[c] |= classHost
		}
		if word {
			t[c] |= classWord
		}
		if c == '.' {
			t[c] |= classDot
		}
		if word || c == '.' || c == '~' {
			t[c] |= classUnreserved
		}
		if c > 0x20 && c < 0x7F && c != '\\' {
			t[c] |= classDestination
		}
	}
	return t
}()

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

// word returns the longest run of A-Z a-z 0-9 _ - that s begins with.
func word(s string) string {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&classWord == 0 {
			return s[:i]
		}
	}
	return s
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

// ValidIdentifier tells whether s may be a link's customer, campaign, recipient
// or link: 1 to 64 of A-Z a-z 0-9 _ -. All but the link may be empty as well,
// which is for the caller to allow.
func ValidIdentifier(s string) bool {
	return len(s) >= 1 && len(s) <= maxIdentifier && len(word(s)) == len(s)
}

// ValidKeyID tells whether id may name a key: 1 to 16 of a-z 0-9.
func ValidKeyID(id string) bool {
	for i := 0; i < len(id); i++ {
		if classes[id[i]]&classLower == 0 {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= maxKeyID
}

package linkcore

import (
	"bytes"
	"slices"
	"strings"
)

// reading is one way to understand the destination of a mangled link.
type reading struct {
	text          []byte
	repair        Repair
	consumesQuery bool // the bytes behind the question mark are part of it
}

// findReading tries the readings of a link's destination, in the order of
// FORMAT.md, until matches takes one. Of the first it is known that it does not
// match; tags is how many more may be computed.
func findReading(q *request, tags *int, matches func([]byte) bool) (reading, bool) {
	first := decoded(q.p)
	all := bases(q, first)
	firstBases := len(all)
	tried := [][]byte{first}
	try := func(r reading) (reading, bool) {
		if fixed, ok := restoreSlash(r.text); ok {
			r.text = fixed
			r.repair = RepairSlash
		}
		if _, err := parseDestination(r.text); err != nil {
			return r, false
		}
		for _, t := range tried {
			if bytes.Equal(t, r.text) {
				return r, false
			}
		}
		*tags--
		tried = append(tried, r.text)
		return r, matches(r.text)
	}
	for i, pass := range passes {
		if i == firstPasses {
			all = append(all, laterBases(q)...)
		}
		for j, base := range all {
			if i >= firstPasses && len(base.text) > maxURL {
				continue // no signer made it, and it would cost
			}
			text, ok := pass.apply(base.text)
			changed := len(text) != len(base.text)
			// What no pass changed was tried by the first that saw the base.
			if !ok || !changed && i != 0 && (i != firstPasses || j < firstBases) {
				continue
			}
			r := reading{text, base.repair, base.consumesQuery}
			if changed {
				r.repair = pass.repair
			}
			if r, ok := try(r); ok {
				return r, true
			}
			if *tags == 0 {
				return reading{}, false
			}
		}
	}
	return reading{}, false
}

// bases returns the six ways in which gateways decode a link, cleaned.
func bases(q *request, first []byte) []reading {
	list := []reading{
		{first, RepairNone, false},
		{decoded(q.whole), RepairDecodedQuery, true},
		{[]byte(q.whole), RepairDecoded, true},
		{[]byte(q.p), RepairDecoded, false},
		{decoded(first), RepairDoubleEncoding, false},
		{decoded(strings.ReplaceAll(q.p, "=", "")), RepairQuotedPrintable, false},
	}
	return cleaned(list)
}

// cleaned cleans bases, and leaves out those of which no pass makes a
// destination: none changes how a text begins.
func cleaned(list []reading) []reading {
	for i := range list {
		if cleaned := clean(list[i].text); len(cleaned) != len(list[i].text) {
			list[i].text = cleaned
			list[i].repair = RepairWhitespace
		}
	}
	return slices.DeleteFunc(list, func(r reading) bool { return !beginsWithScheme(r.text) })
}

func beginsWithScheme(s []byte) bool {
	n := schemeLength(s)
	return n > 0 && bytes.HasPrefix(s[n:], []byte(":/"))
}

// laterBases returns what is tried once the bases failed in every way.
func laterBases(q *request) []reading {
	list := []reading{
		{decoded(asWritten(q.p)), RepairTrailing, false},
		// A line was wrapped within an escape.
		{decoded(unwrapped(q.p)), RepairWhitespace, false},
		// A path cleaner encodes a decoded path once more, but not the query.
		{append(appendDecoded(make([]byte, 0, len(q.whole)), q.p), q.whole[len(q.p):]...), RepairDecoded, true},
		// Browsers write these in a URL that was decoded before them.
		{appendUnescaped(make([]byte, 0, len(q.whole)), q.whole), RepairDecoded, true},
	}
	return cleaned(list)
}

func decoded[T string | []byte](s T) []byte {
	return appendDecoded(make([]byte, 0, len(s)), s)
}

func unwrapped(s string) string {
	s, _ = dropSpace(s)
	return s
}

// asWritten returns what s begins with of the bytes in which a signer writes a
// destination: what begins with another, or with the escape of one that a
// signer leaves in no destination, was glued to the link. But a slash begins a path, which
// leads elsewhere.
func asWritten(s string) string {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%':
			if i+2 < len(s) && neverSigned(hexDigits[s[i+1]], hexDigits[s[i+2]]) {
				return s[:i]
			}
		case s[i] == '/' && i+1 < len(s) && s[i+1] != '?' && s[i+1] != '#':
			return ""
		case classes[s[i]]&classUnreserved == 0:
			return s[:i]
		}
	}
	return s
}

// neverSigned reports whether two digits escape a byte that a signer leaves in no
// destination: white space, a control, a quotation mark, an angle bracket, or
// non-ASCII.
func neverSigned(high, low byte) bool {
	c := high<<4 | low
	return high|low < 16 && (c <= ' ' || c >= 0x7F || c == '"' || c == '<' || c == '>')
}

// appendUnescaped decodes the escapes of s that browsers write for the bytes of
// a table of theirs, and no others.
func appendUnescaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) {
			if high, low := hexDigits[s[i+1]], hexDigits[s[i+2]]; high|low < 16 && classes[high<<4|low]&(classPathEscape|classQueryEscape|classFragmentEscape) != 0 {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// clean removes what a destination can't hold: quoted-printable's soft line
// breaks, and then all but printable ASCII. Of what can be none it returns nothing.
func clean(s []byte) []byte {
	cleaned := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '=' && bytes.HasPrefix(s[i+1:], []byte("\r\n")):
			i += 2
		case c == '=' && bytes.HasPrefix(s[i+1:], []byte("\n")):
			i++
		case c > 0x20 && c < 0x7F:
			cleaned = append(cleaned, c)
			if len(cleaned) == len("https:/") && !beginsWithScheme(cleaned) {
				return nil // nothing will come of it
			}
		}
	}
	return cleaned
}

// passes are applied to every base before the next one is begun. A pass that
// does not fit a base returns false. Links were valid by the first ones before
// there were others, which therefore come behind them.
var passes = []struct {
	repair Repair
	apply  func([]byte) ([]byte, bool)
}{
	{RepairNone, func(s []byte) ([]byte, bool) { return s, true }},
	{RepairHTMLEntity, func(s []byte) ([]byte, bool) { return dropEntities(s), true }},
	{RepairQuotedPrintable, func(s []byte) ([]byte, bool) {
		return bytes.ReplaceAll(s, []byte("=3D"), []byte("=")), true
	}},
	{RepairTrailing, func(s []byte) ([]byte, bool) { return dropTrailing(s, 1) }},
	{RepairTrailing, func(s []byte) ([]byte, bool) { return dropTrailing(s, 2) }},
	{RepairTrailing, func(s []byte) ([]byte, bool) { return dropTrailing(s, 3) }},

	{RepairNone, func(s []byte) ([]byte, bool) { return s, true }},
	{RepairSlash, restoreSlashes},
	{RepairDot, dropDot},
}

// firstPasses is how many passes know the first bases only.
const firstPasses = 6

// dropEntities replaces each & that one or more amp; follow by a bare &.
func dropEntities(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		out = append(out, s[i])
		if s[i] == '&' {
			for bytes.HasPrefix(s[i+1:], []byte("amp;")) {
				i += len("amp;")
			}
		}
	}
	return out
}

const trailingPieces = ".,;:!?)]}><\"'*_~|/\\`"

// dropTrailing takes n pieces off the end, and reports whether there were so
// many.
func dropTrailing(s []byte, n int) ([]byte, bool) {
	for range n {
		switch {
		case bytes.HasSuffix(s, []byte("&gt;")), bytes.HasSuffix(s, []byte("&lt;")):
			s = s[:len(s)-len("&gt;")]
		case bytes.HasSuffix(s, []byte("&quot;")):
			s = s[:len(s)-len("&quot;")]
		case len(s) > 0 && strings.IndexByte(trailingPieces, s[len(s)-1]) >= 0:
			s = s[:len(s)-1]
		default:
			return nil, false
		}
	}
	return s, true
}

// restoreSlash gives http:/x its second slash, which path cleaners swallow.
func restoreSlash(s []byte) ([]byte, bool) {
	n := schemeLength(s)
	if n == 0 || len(s) < n+3 || s[n] != ':' || s[n+1] != '/' || s[n+2] == '/' {
		return nil, false
	}
	fixed := make([]byte, 0, len(s)+1)
	fixed = append(fixed, s[:n+2]...)
	fixed = append(fixed, '/')
	return append(fixed, s[n+2:]...), true
}

// restoreSlashes gives every http:/x that a destination holds in its path or
// query its second slash.
func restoreSlashes(s []byte) ([]byte, bool) {
	out := make([]byte, 0, len(s)+len(s)/8)
	start := 0
	for i := len("http"); i+2 < len(s); i++ {
		if s[i] != ':' || s[i+1] != '/' || s[i+2] == '/' || schemeLength(s[i-4:]) != 4 && (i < 5 || schemeLength(s[i-5:]) != 5) {
			continue
		}
		out = append(append(out, s[start:i+2]...), '/')
		start = i + 2
	}
	return append(out, s[start:]...), start > 0
}

// dropDot takes away one of the first two dots in a row: SMTP doubles a dot that
// begins a line.
func dropDot(s []byte) ([]byte, bool) {
	i := bytes.Index(s, []byte(".."))
	if i < 0 {
		return nil, false
	}
	return append(append(make([]byte, 0, len(s)-1), s[:i]...), s[i+1:]...), true
}

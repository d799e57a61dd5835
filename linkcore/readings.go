package linkcore

import (
	"bytes"
	"strings"
)

// maxTags bounds what a hostile request costs: after so many tags that do not
// match, a link is invalid.
const maxTags = 12

// reading is one way to understand the destination of a mangled link.
type reading struct {
	text          []byte
	repair        Repair
	consumesQuery bool // the bytes behind the question mark are part of it
}

// findReading tries the readings of a link's destination, in the order of
// FORMAT.md, until matches takes one.
func findReading(q *request, matches func([]byte) bool) (reading, bool) {
	var tried [][]byte
	try := func(r *reading) (matched, exhausted bool) {
		if fixed, ok := restoreSlash(r.text); ok {
			r.text = fixed
			r.repair = RepairSlash
		}
		if _, err := parseDestination(r.text); err != nil {
			return false, false
		}
		for _, t := range tried {
			if bytes.Equal(t, r.text) {
				return false, false
			}
		}
		if matches(r.text) {
			return true, false
		}
		tried = append(tried, r.text)
		return false, len(tried) == maxTags
	}

	all := bases(q)
	for _, pass := range passes {
		for _, base := range all {
			text, ok := pass.apply(base.text)
			if !ok {
				continue
			}
			r := reading{text, base.repair, base.consumesQuery}
			if len(text) != len(base.text) { // every pass only takes away
				r.repair = pass.repair
			}
			matched, exhausted := try(&r)
			if matched {
				return r, true
			}
			if exhausted {
				return reading{}, false
			}
		}
	}
	return reading{}, false
}

// bases returns the six ways in which gateways decode a link, cleaned.
func bases(q *request) []reading {
	decoded := appendDecoded(make([]byte, 0, len(q.p)), q.p)
	list := []reading{
		{decoded, RepairNone, false},
		{appendDecoded(nil, q.whole), RepairDecodedQuery, true},
		{[]byte(q.whole), RepairDecoded, true},
		{[]byte(q.p), RepairDecoded, false},
		{appendDecoded(nil, decoded), RepairDoubleEncoding, false},
		{appendDecoded(nil, strings.ReplaceAll(q.p, "=", "")), RepairQuotedPrintable, false},
	}
	for i := range list {
		if cleaned := clean(list[i].text); len(cleaned) != len(list[i].text) {
			list[i].text = cleaned
			list[i].repair = RepairWhitespace
		}
	}
	return list
}

// clean removes what a destination can't hold: quoted-printable's soft line
// breaks, and then all but printable ASCII.
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
		}
	}
	return cleaned
}

// passes are applied to every base before the next one is begun. A pass that
// does not fit a base returns false.
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
}

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

// dropTrailing takes n pieces off the end, and tells whether there were so
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

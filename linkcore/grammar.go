package linkcore

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// What a byte may be part of.
const (
	classWord        = 1 << iota // A-Z a-z 0-9 _ -: identifiers, tags, boxes, host labels
	classLower                   // a-z 0-9: key ids, times
	classDot                     // .
	classUnreserved              // RFC 3986: stays as it is in a tracked link
	classDestination             // may stand in a destination
	classHost                    // a-z 0-9 _ -: labels of a link's own host

	// The URL standard's percent-encode sets, as far as a destination may hold them.
	classPathEscape
	classQueryEscape
	classFragmentEscape
)

var classes = func() (t [256]uint16) {
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
		if strings.IndexByte("\"<>^`{}", byte(c)) >= 0 {
			t[c] |= classPathEscape
		}
		if strings.IndexByte("\"'<>", byte(c)) >= 0 {
			t[c] |= classQueryEscape
		}
		if strings.IndexByte("\"<>`", byte(c)) >= 0 {
			t[c] |= classFragmentEscape
		}
		if c > 0x20 && c < 0x7F && c != '\\' {
			t[c] |= classDestination
		}
	}
	return t
}()

// word returns the longest run of A-Z a-z 0-9 _ - that s begins with.
func word(s string) string {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&classWord == 0 {
			return s[:i]
		}
	}
	return s
}

// schemeLength returns the length of the http or https, in any case, that s
// begins with, and 0 if it begins with neither.
func schemeLength[T string | []byte](s T) int {
	if len(s) < 5 || s[0]|0x20 != 'h' || s[1]|0x20 != 't' || s[2]|0x20 != 't' || s[3]|0x20 != 'p' {
		return 0
	}
	if s[4]|0x20 == 's' {
		return 5
	}
	return 4
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendDecoded percent-decodes s once. A % without two hex digits stays, and
// so does +.
func appendDecoded[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) {
			if high, low := hexDigits[s[i+1]], hexDigits[s[i+2]]; high|low < 16 {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// appendDestination writes a destination as it stands in a tracked link. Its
// last byte is always a letter, a digit or an escape, since programs that look
// for links in text leave punctuation off.
func appendDestination(dst []byte, destination string) []byte {
	for i := 0; i < len(destination); i++ {
		c := destination[i]
		if classes[c]&classUnreserved != 0 && (i < len(destination)-1 || c != '.' && c != '-' && c != '_' && c != '~') {
			dst = append(dst, c)
		} else {
			dst = appendEscape(dst, c)
		}
	}
	return dst
}

func appendEscape(dst []byte, c byte) []byte {
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

// hasBarePercent reports whether s has a % that two hex digits do not follow.
func hasBarePercent(s string) bool {
	for i := strings.IndexByte(s, '%'); i >= 0; {
		if i+2 >= len(s) || hexDigits[s[i+1]]|hexDigits[s[i+2]] >= 16 {
			return true
		}
		s = s[i+3:]
		i = strings.IndexByte(s, '%')
	}
	return false
}

const upperHex = "0123456789ABCDEF"

// hexDigits holds the value of each hex digit, and 0xFF for all other bytes.
var hexDigits = func() (t [256]byte) {
	for c := range t {
		t[c] = 0xFF
		if i := strings.IndexByte(upperHex, bytes.ToUpper([]byte{byte(c)})[0]); i >= 0 {
			t[c] = byte(i)
		}
	}
	return t
}()

// dropSpace takes white space that was percent-encoded, and the = of soft line
// breaks, out of s. It returns where they were in the result, the first few.
func dropSpace(s string) (joined string, breaks []int) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		n := 0
		for isSpaceEscape(s[i+n:]) {
			n += len("%20")
		}
		if n == 0 {
			b = append(b, s[i])
			i++
			continue
		}
		if s[i+1] == '0' && s[i+2] != '9' { // a line end
			b = bytes.TrimSuffix(b, []byte("="))
		}
		i += n
		if len(breaks) < maxBreaks {
			breaks = append(breaks, len(b))
		}
	}
	return string(b), breaks
}

func isSpaceEscape(s string) bool {
	if len(s) < 3 || s[0] != '%' {
		return false
	}
	switch c := hexDigits[s[1]]<<4 | hexDigits[s[2]]; c {
	case ' ', '\t', '\r', '\n':
		return hexDigits[s[1]] < 16
	}
	return false
}

// maxBreaks is how many places dropSpace returns.
const maxBreaks = 12

package blocklist

import (
	"net/netip"
	"strings"

	"example.com/linktracker/linkcore"
)

// normalizeURL returns the normal form of a url's or prefix's value.
func normalizeURL(value string, limit int) (string, error) {
	// A bound on the work; what a normal form drops may make a value longer
	// than itself, but not by that much.
	if len(value) > 4*maxURL {
		return "", ruleError("value", "is longer than %d bytes", limit)
	}
	if !hasScheme(value) {
		if i := strings.Index(value, "://"); i >= 0 && !strings.ContainsAny(value[:i], "/?#") {
			return "", ruleError("value", "%s begins with neither http:// nor https://", quote(value))
		}
		value = "https://" + value
	}
	destination, err := linkcore.NormalizeDestination(value)
	if err != nil {
		return "", ruleError("value", "%s is not a URL: %v", quote(value), err)
	}
	d, err := linkcore.ParseDestination(destination)
	if err != nil {
		return "", ruleError("value", "%s is not a URL: %v", quote(value), err)
	}
	normal, _ := appendURL(make([]byte, 0, len(destination)+urlSlack), d)
	if len(normal) > limit {
		return "", ruleError("value", "is longer than %d bytes", limit)
	}
	return string(normal), nil
}

func hasScheme(s string) bool {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// normalizeHost returns the normal form of a host's value.
func normalizeHost(value string) (string, error) {
	host := value
	if strings.ContainsAny(host, "/?#@*") {
		return "", ruleError("value", "%s is not a host: write the name alone, such as example.com; its subdomains match too", quote(value))
	}
	if strings.Contains(host, ":") {
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
	}
	destination := "https://" + host + "/"
	d, err := linkcore.ParseDestination(destination)
	if err != nil {
		// It may be an international name.
		if destination, err = linkcore.NormalizeDestination(destination); err == nil {
			d, err = linkcore.ParseDestination(destination)
		}
	}
	if err != nil {
		return "", ruleError("value", "%s is not a host: %v", quote(value), err)
	}
	if d.Port != "" || d.Rest != "/" {
		return "", ruleError("value", "%s is not a host: a rule for a host speaks of all its ports and paths", quote(value))
	}
	var buf [256]byte
	normal := appendHost(buf[:0], d.Host)
	if string(normal) == value {
		return value, nil
	}
	return string(normal), nil
}

// urlSlack is how many bytes more than the destination its normal form takes,
// unless more is escaped than the scheme was long: a slash for an empty path.
const urlSlack = 8

// appendURL appends the normal form of a destination, by which url and prefix
// compare: "host[:port]/path[?query]". It also returns the length of the host.
//
// Its normal form is its own: what is decoded never makes a new escape out of
// what stands before it.
func appendURL(dst []byte, d linkcore.Destination) ([]byte, int) {
	start := len(dst)
	dst = appendHost(dst, d.Host)
	hostLength := len(dst) - start
	// The scheme does not count, so neither does the port that it stands for:
	// both schemes' default ports are dropped.
	if port := strings.TrimLeft(d.Port, "0"); d.Port != "" && port != "80" && port != "443" {
		if port == "" {
			port = "0"
		}
		dst = append(dst, ':')
		dst = append(dst, port...)
	}
	rest := d.Rest
	if i := strings.IndexByte(rest, '#'); i >= 0 {
		rest = rest[:i]
	}
	path := len(dst) // where the path begins, with a slash
	dst = append(dst, '/')
	segment := len(dst)
	i := 0
	if rest != "" && rest[0] == '/' {
		i++
	}
	inPath := true
	for ; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c == '%' && i+2 < len(rest) && isHex(rest[i+1]) && isHex(rest[i+2]):
			v := unhex(rest[i+1])<<4 | unhex(rest[i+2])
			if isUnreserved(v) && !(isHex(v) && endsInsideEscape(dst)) {
				dst = append(dst, v)
			} else {
				dst = append(dst, '%', upper(rest[i+1]), upper(rest[i+2]))
			}
			i += 2
		case c == '/' && inPath:
			dst = endSegment(dst, path, segment, true)
			segment = len(dst)
		case c == '?' && inPath:
			dst = endSegment(dst, path, segment, false)
			dst = append(dst, '?')
			inPath = false
		case isEscaped[c]:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	if inPath {
		dst = endSegment(dst, path, segment, false)
	}
	return dst, hostLength
}

// endSegment ends the path segment that begins at dst[segment:]: it removes dot
// segments as RFC 3986, section 5.2.4, does, and appends the slash that follows
// any other.
func endSegment(dst []byte, path, segment int, slash bool) []byte {
	switch s := dst[segment:]; {
	case len(s) == 1 && s[0] == '.':
		return dst[:segment]
	case len(s) == 2 && s[0] == '.' && s[1] == '.':
		end := segment - 1
		for end > path && dst[end-1] != '/' {
			end--
		}
		if end <= path {
			return dst[:path+1]
		}
		return dst[:end]
	case slash:
		return append(dst, '/')
	}
	return dst
}

// endsInsideEscape reports whether dst ends in a percent sign that is not the
// first of a whole escape, or in one and a hex digit.
func endsInsideEscape(dst []byte) bool {
	n := len(dst)
	return n > 0 && dst[n-1] == '%' || n > 1 && dst[n-2] == '%' && isHex(dst[n-1])
}

// appendHost appends the normal form of a destination's host.
func appendHost(dst []byte, host string) []byte {
	if host[0] == '[' {
		// The grammar has checked the address.
		if a, err := netip.ParseAddr(host[1 : len(host)-1]); err == nil {
			if a.Is4In6() {
				return a.Unmap().AppendTo(dst) // where the connection goes
			}
			dst = append(dst, '[')
			dst = a.AppendTo(dst)
			return append(dst, ']')
		}
	}
	host = strings.TrimSuffix(host, ".")
	for i := 0; i < len(host); i++ {
		dst = append(dst, lower(host[i]))
	}
	return dst
}

// isEscaped says which bytes stand as their escapes in path and query: those that
// RFC 3986 does not allow there and browsers escape in a request, in the query the
// apostrophe, too.
var isEscaped = [256]bool{'"': true, '\'': true, '<': true, '>': true, '^': true, '`': true, '{': true, '|': true, '}': true}

const upperHex = "0123456789ABCDEF"

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

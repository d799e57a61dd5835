package linkcore

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// A Destination is a URL that a click link may lead to, taken apart. Its parts
// are as written: neither lower-cased nor decoded.
type Destination struct {
	Scheme string // "http" or "https", in any case
	Host   string // with its trailing dot, and an IPv6 address in its brackets
	Port   string // digits; empty if none is given
	Rest   string // path, query and fragment; empty, or begins with / ? or #
}

// ParseDestination takes a destination apart by the frozen grammar of
// FORMAT.md, which is narrower than RFC 3986 so that every browser finds the
// same host in it. What does not fit is an error that wraps [ErrDestination].
func ParseDestination(s string) (Destination, error) {
	p, err := parseDestination(s)
	if err != nil {
		return Destination{}, err
	}
	return Destination{
		Scheme: s[:p.schemeEnd],
		Host:   s[p.hostStart:p.hostEnd],
		Port:   s[p.portStart:p.portEnd],
		Rest:   s[p.portEnd:],
	}, nil
}

// NormalizeDestination makes a destination of what a person wrote, as signers
// do before they sign: an international host becomes A-labels by UTS 46
// (non-transitional), and what browsers percent-encode in a path, a query or a
// fragment is percent-encoded: non-ASCII characters as UTF-8, and the bytes of a
// table in FORMAT.md. All else stays as it is, byte for byte. What does not fit
// the grammar then is an error that wraps [ErrDestination].
func NormalizeDestination(s string) (string, error) {
	if isASCII(s) {
		p, err := parseDestination(s)
		if err != nil {
			return s, err
		}
		return s[:p.portEnd] + encodeRest(s[p.portEnd:]), nil
	}
	if !utf8.ValidString(s) {
		return "", destinationError("is not UTF-8")
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "", errScheme
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if strings.Contains(authority, "@") {
		return "", errUserInfo
	}
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.Contains(authority[i:], "]") {
		host, port = authority[:i], authority[i:]
	}
	if !isASCII(host) {
		ascii, err := HostToASCII(host)
		if err != nil {
			return "", err
		}
		host = ascii
	}
	s = scheme + "://" + host + port + encodeRest(rest)
	_, err := parseDestination(s)
	return s, err
}

// encodeRest percent-encodes what follows the authority of a destination, each
// component by its own set.
func encodeRest(s string) string {
	set := uint16(classPathEscape)
	var b []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '#':
			set = classFragmentEscape
		case c == '?' && set == classPathEscape:
			set = classQueryEscape
		}
		encode := c >= utf8.RuneSelf || classes[c]&set != 0
		if encode && b == nil {
			b = append(make([]byte, 0, len(s)+len(s)/2), s[:i]...)
		}
		switch {
		case encode:
			b = appendEscape(b, c)
		case b != nil:
			b = append(b, c)
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

// hostMapping is UTS 46 processing as browsers do it, without the rules that
// the grammar has of its own (underscores are allowed, lengths are checked
// there).
var hostMapping = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.Transitional(false),
	idna.StrictDomainName(false),
	idna.VerifyDNSLength(false),
)

// HostToASCII maps an international host name to its A-labels by UTS 46,
// non-transitional. The result holds nothing but letters, digits, - _ and dots.
// The error wraps [ErrDestination].
func HostToASCII(host string) (string, error) {
	// A character of UTF-8 has at most four bytes, and makes at least one.
	if len(host) > 4*(maxHost+1) {
		return "", errHostLength
	}
	ascii, err := hostMapping.ToASCII(host)
	if err != nil {
		return "", errInternational
	}
	// UTS 46 maps some characters, such as a full-width slash, to delimiters:
	// what follows would not be the host any more.
	for i := 0; i < len(ascii); i++ {
		if classes[ascii[i]]&(classWord|classDot) == 0 {
			return "", errInternational
		}
	}
	return ascii, nil
}

// destinationError says what is wrong with a destination, to follow the words
// "the destination".
type destinationError string

func (e destinationError) Error() string        { return "the destination " + string(e) }
func (e destinationError) Is(target error) bool { return target == ErrDestination }

// Made once: a request must not pay for the text of an error that nobody reads.
var (
	errScheme        error = destinationError("must begin with http:// or https://")
	errByte          error = destinationError("has a control character, a space, a backslash or a byte above 0x7E")
	errNoHost        error = destinationError("has no host")
	errHostByte      error = destinationError("has a character in its host that is not a letter, digit, - _ or .")
	errHostLength    error = destinationError("has a host longer than 253 bytes")
	errLabel         error = destinationError("has a host label that is empty or longer than 63 bytes")
	errPunycode      error = destinationError("has a host label that begins with xn-- and ends in -")
	errUserInfo      error = destinationError("has a user name or password, which destinations cannot have")
	errIPv4          error = destinationError("has a host that ends like an IPv4 address and is not four decimal numbers from 0 to 255")
	errIPv6          error = destinationError("has brackets that do not hold an IPv6 address without a zone")
	errPort          error = destinationError("has a port that is not a number from 0 to 65535 in 1 to 5 digits")
	errInternational error = destinationError("has a host that is not an international domain name (UTS 46)")
	errRest          error = destinationError("has something other than a port, /, ? or # after its host")
)

// destinationParts are offsets. The scheme begins at 0, the rest at portEnd.
type destinationParts struct {
	schemeEnd, hostStart, hostEnd, portStart, portEnd int
}

// parseDestination works on strings and, on the hot path, on bytes that become
// a string only once their tag matched.
func parseDestination[T string | []byte](s T) (p destinationParts, err error) {
	p.schemeEnd = schemeLength(s)
	if p.schemeEnd == 0 || len(s) < p.schemeEnd+3 || s[p.schemeEnd] != ':' || s[p.schemeEnd+1] != '/' || s[p.schemeEnd+2] != '/' {
		return p, errScheme
	}
	for i := p.schemeEnd + 3; i < len(s); i++ {
		if classes[s[i]]&classDestination == 0 {
			return p, errByte
		}
	}
	p.hostStart = p.schemeEnd + 3
	i := p.hostStart
	if i < len(s) && s[i] == '[' {
		for i++; i < len(s) && s[i] != ']' && s[i] != '%'; i++ {
		}
		if i == len(s) || s[i] != ']' {
			return p, errIPv6
		}
		address, err := netip.ParseAddr(string(s[p.hostStart+1 : i]))
		if err != nil || !address.Is6() {
			return p, errIPv6
		}
		i++
		p.hostEnd = i
	} else {
		for i < len(s) && classes[s[i]]&(classWord|classDot) != 0 {
			i++
		}
		p.hostEnd = i
		if err := checkHostName(s[p.hostStart:p.hostEnd]); err != nil {
			return p, authorityError(s[p.hostStart:], err)
		}
	}
	p.portStart, p.portEnd = i, i
	if i < len(s) && s[i] == ':' {
		i++
		p.portStart = i
		n := 0
		for i < len(s) && i-p.portStart < 6 && '0' <= s[i] && s[i] <= '9' {
			n = n*10 + int(s[i]-'0')
			i++
		}
		p.portEnd = i
		if digits := i - p.portStart; digits < 1 || digits > 5 || n > 65535 {
			return p, authorityError(s[p.hostStart:], errPort)
		}
	}
	if i < len(s) && s[i] != '/' && s[i] != '?' && s[i] != '#' {
		if p.portStart == p.portEnd {
			return p, authorityError(s[p.hostStart:], errHostByte)
		}
		return p, authorityError(s[p.hostStart:], errRest)
	}
	return p, nil
}

// authorityError returns what is wrong with an authority, which rest begins with:
// err, unless it has a user name or password, of which the rest is a consequence.
func authorityError[T string | []byte](rest T, err error) error {
	for i := 0; i < len(rest) && rest[i] != '/' && rest[i] != '?' && rest[i] != '#'; i++ {
		if rest[i] == '@' {
			return errUserInfo
		}
	}
	return err
}

// checkHostName checks a host that is not in brackets and holds nothing but
// letters, digits, - _ and dots.
func checkHostName[T string | []byte](host T) error {
	if len(host) == 0 {
		return errNoHost
	}
	name := host
	if name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if len(name) > 253 {
		return errHostLength
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			continue
		}
		label := name[start:i]
		if len(label) == 0 || len(label) > 63 {
			return errLabel
		}
		if len(label) >= 4 && label[0]|0x20 == 'x' && label[1]|0x20 == 'n' && label[2] == '-' && label[3] == '-' && label[len(label)-1] == '-' {
			return errPunycode
		}
		if i < len(name) {
			start = i + 1
		}
	}
	last := name[start:]
	numeric := true
	for i := 0; i < len(last); i++ {
		if last[i] < '0' || last[i] > '9' {
			numeric = false
			break
		}
	}
	hexadecimal := len(last) >= 2 && last[0] == '0' && last[1]|0x20 == 'x'
	if (numeric || hexadecimal) && !isIPv4(host) {
		return errIPv4
	}
	return nil
}

// isIPv4 reports whether host is four decimal numbers 0 to 255 joined by dots,
// without leading zeros.
func isIPv4[T string | []byte](host T) bool {
	numbers, digits, n := 0, 0, 0
	for i := 0; i <= len(host); i++ {
		if i == len(host) || host[i] == '.' {
			if digits == 0 || n > 255 {
				return false
			}
			numbers++
			digits, n = 0, 0
			continue
		}
		c := host[i]
		if c < '0' || c > '9' || digits == 3 || digits > 0 && n == 0 {
			return false
		}
		n = n*10 + int(c-'0')
		digits++
	}
	return numbers == 4
}

package email

import (
	"encoding/hex"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"example.com/linktracker/linkcore"
)

// stripURL takes off what browsers ignore in a URL: control characters and
// spaces around it, tabs and line ends within it (URL standard, section 4.4).
func stripURL(s string) string {
	start, end := 0, len(s)
	for start < end && s[start] <= ' ' {
		start++
	}
	for start < end && s[end-1] <= ' ' {
		end--
	}
	s = s[start:end]
	if !strings.ContainsAny(s, "\t\n\r") {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c == '\t' || c == '\n' || c == '\r' {
			return -1
		}
		return c
	}, s)
}

// schemeOf returns a URL's scheme, without the colon, or "" if it has none.
func schemeOf(url string) string {
	for i := 0; i < len(url); i++ {
		switch c := url[i]; {
		case isLetter(c):
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		case i > 0 && c == ':':
			return url[:i]
		default:
			return ""
		}
	}
	return ""
}

// noTrackMark in the scheme, https+notrack://, opts out where no attribute can, as in
// Postal. It is taken out of the mail.
const noTrackMark = "+notrack"

// noTrack returns where a URL has that mark, or -1.
func noTrack(url string) int {
	url = url[:min(len(url), 64)]
	i := strings.Index(url, "://")
	if i < len(noTrackMark) || !strings.EqualFold(url[i-len(noTrackMark):i], noTrackMark) || !isHTTP(strings.TrimLeft(url[:i-len(noTrackMark)], " \t\r\n")) {
		return -1
	}
	return i - len(noTrackMark)
}

func isHTTP(scheme string) bool {
	return strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
}

// absolute returns the http or https URL that a link leads to, or why it leads
// to none.
func absolute(base, url string) (absolute, problem string) {
	switch scheme := schemeOf(url); {
	case url == "":
		return "", "it is empty"
	case url[0] == '#':
		return "", "it leads to a place in the mail itself"
	case isHTTP(scheme):
		return url, ""
	case scheme != "":
		return "", "links of the scheme " + shorten(scheme, 40) + ": are not tracked"
	}
	absolute, ok := resolve(base, url)
	if !ok {
		return "", "it is relative, and the mail has no <base href> with a full URL"
	}
	return absolute, ""
}

// resolve makes an absolute URL of a reference without scheme (RFC 3986,
// section 5.2). The base is http or https and absolute, or empty.
func resolve(base, reference string) (string, bool) {
	if strings.HasPrefix(reference, "//") {
		if base == "" {
			return "https:" + reference, true
		}
		return schemeOf(base) + ":" + reference, true
	}
	if base == "" {
		return "", false
	}
	base, _, _ = strings.Cut(base, "#")
	authority := len(schemeOf(base)) + len("://")
	path := len(base)
	if i := strings.IndexAny(base[authority:], "/?"); i >= 0 {
		path = authority + i
	}
	query := len(base)
	if i := strings.IndexByte(base[path:], '?'); i >= 0 {
		query = path + i
	}
	if reference[0] == '?' {
		if path == query {
			return base[:path] + "/" + reference, true
		}
		return base[:query] + reference, true
	}
	end := strings.IndexAny(reference, "?#")
	if end < 0 {
		end = len(reference)
	}
	if reference[0] == '/' {
		return base[:path] + removeDots(reference[:end]) + reference[end:], true
	}
	directory := base[path : path+strings.LastIndexByte(base[path:query], '/')+1]
	if directory == "" {
		directory = "/"
	}
	return base[:path] + removeDots(directory+reference[:end]) + reference[end:], true
}

// removeDots resolves the segments . and .. of a path that begins with a slash
// (RFC 3986, section 5.2.4).
func removeDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var out []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			fallthrough
		case ".":
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}

// escape percent-encodes the bytes that are asked for.
func escape(s string, escapes func(c byte) bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		if escapes(s[i]) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isUnreserved(c byte) bool { return isAlphanumeric(c) || strings.IndexByte("-._~", c) >= 0 }

// encodeSpaces percent-encodes spaces and control characters behind the host,
// as browsers do; everything else is left to linkcore, which encodes what is
// not ASCII and refuses what browsers disagree about.
func encodeSpaces(url string) string {
	start := min(len(schemeOf(url))+len("://"), len(url))
	i := strings.IndexAny(url[start:], "/?#")
	isControl := func(c byte) bool { return c <= ' ' || c == 0x7F }
	if i < 0 || !strings.ContainsFunc(url, func(c rune) bool { return c < utf8.RuneSelf && isControl(byte(c)) }) {
		return url
	}
	return url[:start+i] + escape(url[start+i:], isControl)
}

// addParameters adds to the query string what it does not have yet, before the
// fragment. All other bytes stay.
func addParameters(url string, parameters []Parameter) string {
	if len(parameters) == 0 {
		return url
	}
	url, fragment, hasFragment := strings.Cut(url, "#")
	_, query, has := strings.Cut(url, "?")
	separator := "?"
	switch {
	case has && (query == "" || strings.HasSuffix(query, "&")):
		separator = ""
	case has:
		separator = "&"
	}
	reserved := func(c byte) bool { return !isUnreserved(c) }
	for _, p := range parameters {
		if !hasParameter(query, p.Name) {
			url += separator + escape(p.Name, reserved) + "=" + escape(p.Value, reserved)
			separator = "&"
		}
	}
	if hasFragment {
		url += "#" + fragment
	}
	return url
}

// parametersOf yields the parameters of a query string, also where they were joined
// with ; as was once usual.
func parametersOf(query string) iter.Seq[string] {
	return strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' })
}

// hasParameter reports whether a query string has a parameter of this name, in
// any case.
func hasParameter(query, name string) bool {
	for parameter := range parametersOf(query) {
		parameter, _, _ = strings.Cut(parameter, "=")
		if strings.EqualFold(unescape(parameter), name) {
			return true
		}
	}
	return false
}

// unescape percent-decodes a parameter's name; what can't be decoded stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if isEscape(s[i:]) {
			c, _ := hex.DecodeString(s[i+1 : i+3])
			b.Write(c)
			i += 2
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// hosts are patterns: example.com, and *.example.com for every host below it.
type hosts map[string]bool

// newHosts reads the patterns of an option.
func newHosts(option string, patterns []string) (hosts, error) {
	h := hosts{}
	for _, pattern := range patterns {
		name, below := strings.CutPrefix(pattern, "*.")
		ascii, err := linkcore.HostToASCII(name)
		if err == nil {
			ascii, err = linkcore.NormalizeHost(ascii)
		}
		if err != nil {
			return h, fmt.Errorf("%s: %q is not a host: write example.com, or *.example.com for every host below it", option, pattern)
		}
		if below {
			ascii = "*." + ascii
		}
		h[ascii] = true
	}
	return h, nil
}

// match takes a host in lower case without trailing dot.
func (h hosts) match(host string) bool {
	for all := host; len(h) > 0; {
		_, parent, ok := strings.Cut(all, ".")
		if !ok {
			break
		}
		if h["*."+parent] {
			return true
		}
		all = parent
	}
	return h[host]
}

// hostOf returns the host of a destination, in lower case without trailing dot.
func hostOf(destination string) string {
	d, err := linkcore.ParseDestination(destination)
	if err != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(d.Host, "."))
}

// A pattern is a URL in which * stands for any characters.
type pattern struct {
	written string
	pieces  []string // what stands between the asterisks
}

// newPatterns reads the patterns of an option.
func newPatterns(option string, written []string) ([]pattern, error) {
	var all []pattern
	for _, s := range written {
		if !strings.HasPrefix(s, "*") && !isHTTP(schemeOf(s)) {
			return nil, fmt.Errorf("%s: %q is not a pattern of a whole URL: begin it with https:// or *", option, s)
		}
		all = append(all, pattern{s, strings.Split(lowerAuthority(s), "*")})
	}
	return all, nil
}

// match takes a URL as lowerAuthority returns it.
func (p *pattern) match(url string) bool {
	first, last := p.pieces[0], p.pieces[len(p.pieces)-1]
	if len(p.pieces) == 1 {
		return url == first
	}
	if len(url) < len(first)+len(last) || !strings.HasPrefix(url, first) || !strings.HasSuffix(url, last) {
		return false
	}
	url = url[len(first) : len(url)-len(last)]
	for _, piece := range p.pieces[1 : len(p.pieces)-1] {
		i := strings.Index(url, piece)
		if i < 0 {
			return false
		}
		url = url[i+len(piece):]
	}
	return true
}

// lowerAuthority lower-cases a URL's scheme and host, where case says nothing.
func lowerAuthority(url string) string {
	i := strings.Index(url, "://")
	if i < 0 {
		return url
	}
	end := len(url)
	if n := strings.IndexAny(url[i+3:], "/?#"); n >= 0 {
		end = i + 3 + n
	}
	return strings.ToLower(url[:end]) + url[end:]
}

// canonicalURL is the same for URLs that lead a browser to one place: without a
// fragment and the scheme's own port, with scheme and host in lower case, and
// otherwise as RFC 3986, section 6.2.2, normalises it. What makes no
// destination stays as it is.
func canonicalURL(url string) string {
	destination, err := linkcore.NormalizeDestination(encodeSpaces(url))
	if err != nil {
		return url
	}
	d, err := linkcore.ParseDestination(destination)
	if err != nil {
		return url
	}
	var b strings.Builder
	b.WriteString(strings.ToLower(d.Scheme + "://" + strings.TrimSuffix(d.Host, ".")))
	if own := map[string]string{"http": "80", "https": "443"}; d.Port != "" && d.Port != own[strings.ToLower(d.Scheme)] {
		b.WriteString(":" + d.Port)
	}
	rest, _, _ := strings.Cut(d.Rest, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	if path == "" {
		path = "/"
	}
	b.WriteString(removeDots(canonicalEscapes(path)))
	if hasQuery {
		b.WriteString("?" + canonicalEscapes(query))
	}
	return b.String()
}

// canonicalEscapes escapes what must be, in upper case, and nothing that need
// not be.
func canonicalEscapes(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c, escaped := s[i], isEscape(s[i:])
		if escaped {
			n, _ := hex.DecodeString(s[i+1 : i+3])
			c = n[0]
			i += 2
		}
		if isUnreserved(c) || !escaped && strings.IndexByte("!$&()*+,;=:@/?%", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// shorten cuts s to about n bytes at a character's edge, for a report.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

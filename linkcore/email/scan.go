package email

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// The tokens of HTML, as section 13.2.5 of the HTML standard cuts them. The
// tokenizer of golang.org/x/net/html finds the same ones (a fuzz test compares
// them), but it does not say where in a tag an attribute's value stands,
// allocates for each attribute, and takes time that grows with the product of
// a hostile mail's attributes and tags.

type tokenKind uint8

const (
	textToken    tokenKind = iota
	rawToken               // text of script, style, textarea and the like
	startToken             // also of elements without content
	endToken               //
	commentToken           // also declarations, and what browsers take for a comment
)

// A token is src[start:end]. One that the end of src cuts off is not complete:
// browsers drop it, unless it is text.
type token struct {
	kind       tokenKind
	start, end int
	complete   bool
	name       string // of a tag, in lower case; empty if it is none that matters here
	nameEnd    int    // of a tag: where its attributes begin
}

// scanner cuts src into tokens, without gaps.
type scanner struct {
	src []byte
	at  int
	raw string // the element whose raw text comes next
}

// names are the elements that matter: the others need no name.
var names = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{
		"a", "area", "base", "body", "head", "html", "img", "svg",
		"meta", "title", "link", "style", "script", "noscript",
		"textarea", "xmp", "iframe", "noembed", "noframes", "plaintext",
		"br", "div", "li", "p", "td", "tr",
		"v:arc", "v:curve", "v:group", "v:image", "v:line", "v:oval", "v:polyline", "v:rect", "v:roundrect", "v:shape",
	} {
		m[name] = name
	}
	return m
}()

const maxName = len("v:roundrect")

func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// next returns the next token, and false at the end.
func (s *scanner) next() (token, bool) {
	if s.at == len(s.src) {
		return token{}, false
	}
	t := token{start: s.at}
	if s.raw != "" {
		end := rawTextEnd(s.src, s.at, s.raw)
		s.raw = ""
		if end > s.at {
			t.kind, t.end, t.complete = rawToken, end, true
			s.at = end
			return t, true
		}
	}
	switch i := s.markup(s.at); {
	case i == s.at:
		s.readMarkup(&t)
	default:
		t.end, t.complete = i, true
	}
	s.at = t.end
	return t, true
}

// markup returns where the next tag or comment begins at or behind i.
func (s *scanner) markup(i int) int {
	for {
		n := bytes.IndexByte(s.src[i:], '<')
		if n < 0 {
			return len(s.src)
		}
		i += n
		if i+1 == len(s.src) {
			return len(s.src)
		}
		switch c := s.src[i+1]; {
		case isLetter(c), c == '!', c == '?':
			return i
		case c == '/' && i+2 < len(s.src):
			return i
		}
		i++
	}
}

func (s *scanner) readMarkup(t *token) {
	i := t.start + 1
	switch c := s.src[i]; {
	case c == '!' || c == '?':
		t.kind = commentToken
		if bytes.HasPrefix(s.src[i:], []byte("!--")) {
			t.end, t.complete = commentEnd(s.src, i+3)
		} else {
			t.end, t.complete = angleEnd(s.src, i+1)
		}
		return
	case c == '/' && !isLetter(s.src[i+1]):
		t.kind = commentToken
		t.end, t.complete = angleEnd(s.src, i+1)
		return
	case c == '/':
		t.kind = endToken
		i++
	default:
		t.kind = startToken
	}
	t.nameEnd = i
	for t.nameEnd < len(s.src) && !isSpace(s.src[t.nameEnd]) && s.src[t.nameEnd] != '/' && s.src[t.nameEnd] != '>' {
		t.nameEnd++
	}
	if n := t.nameEnd - i; n <= maxName {
		var lower [maxName]byte
		for j, c := range s.src[i:t.nameEnd] {
			lower[j] = toLower(c)
		}
		t.name = names[string(lower[:n])]
	}
	list := attributes{src: s.src, at: t.nameEnd}
	for list.next() {
	}
	t.end, t.complete = list.at, list.ended
	if t.kind == startToken && t.complete {
		switch t.name {
		// noscript is missing: mail clients run no scripts, so that its content
		// is markup to them.
		case "script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext":
			s.raw = t.name
		}
	}
}

func toLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// angleEnd returns where a declaration ends: behind the next >.
func angleEnd(src []byte, i int) (int, bool) {
	n := bytes.IndexByte(src[i:], '>')
	if n < 0 {
		return len(src), false
	}
	return i + n + 1, true
}

// commentEnd returns where the comment ends whose text begins at start.
func commentEnd(src []byte, start int) (int, bool) {
	rest := src[start:]
	if bytes.HasPrefix(rest, []byte(">")) {
		return start + 1, true
	}
	if bytes.HasPrefix(rest, []byte("->")) {
		return start + 2, true
	}
	for i := 0; ; i++ {
		n := bytes.IndexByte(rest[i:], '>')
		if n < 0 {
			return len(src), false
		}
		i += n
		if bytes.HasSuffix(rest[:i], []byte("--")) || bytes.HasSuffix(rest[:i], []byte("--!")) {
			return start + i + 1, true
		}
	}
}

// rawTextEnd returns where the raw text of an element ends: before its end tag,
// or at the end of src.
func rawTextEnd(src []byte, i int, name string) int {
	if name == "plaintext" {
		return len(src)
	}
	// A script may hold a comment that holds a script, whose end tag is not
	// the outer one's.
	const (
		data = iota
		escaped
		doubleEscaped
	)
	state := data
	dashes := 0
	for ; i < len(src); i++ {
		c := src[i]
		switch {
		case state == data && c != '<':
			n := bytes.IndexByte(src[i:], '<')
			if n < 0 {
				return len(src)
			}
			i += n - 1
			continue
		case c == '-':
			dashes++
			continue
		case c == '>' && dashes >= 2:
			state = data
		case c == '<' && isTagOf(src[i+1:], "/", name):
			if state != doubleEscaped {
				return i
			}
			state = escaped
		case name != "script" || c != '<':
		case state == data && bytes.HasPrefix(src[i+1:], []byte("!--")):
			state = escaped
			dashes = 2
			i += 3
			continue
		case state == escaped && isTagOf(src[i+1:], "", name):
			state = doubleEscaped
		}
		dashes = 0
	}
	return len(src)
}

// isTagOf reports whether what follows a < is the name of an element, in any
// case, and ends there.
func isTagOf(src []byte, slash, name string) bool {
	n := len(slash) + len(name)
	if len(src) <= n || string(src[:len(slash)]) != slash {
		return false
	}
	for i, c := range src[len(slash):n] {
		if toLower(c) != name[i] {
			return false
		}
	}
	return isSpace(src[n]) || src[n] == '/' || src[n] == '>'
}

// attributes reads the attributes of a tag, from the end of its name. A name
// may come more than once: browsers take the first.
type attributes struct {
	src []byte
	at  int

	// The attribute that next has read.
	name, nameEnd   int
	value, valueEnd int  // without quotes; empty if there is none
	quote           byte // ' or ", or 0
	end             int  // behind the closing quote

	ended     bool // the tag's > was reached, and at is behind it
	selfClose bool // by a slash
}

// next reads an attribute, and returns false at the end of the tag or of src.
// An attribute that the end of src cuts off is not returned.
func (a *attributes) next() bool {
	src := a.src
	i := a.at
	slash := false
	for i < len(src) && (isSpace(src[i]) || src[i] == '/') {
		slash = src[i] == '/'
		i++
	}
	a.at = i
	if i == len(src) {
		return false
	}
	if src[i] == '>' {
		a.at, a.ended, a.selfClose = i+1, true, slash
		return false
	}
	a.name = i
	for i++; i < len(src) && !isSpace(src[i]) && src[i] != '/' && src[i] != '>' && src[i] != '='; i++ {
	}
	a.nameEnd, a.end = i, i
	a.value, a.valueEnd, a.quote = i, i, 0
	for i < len(src) && isSpace(src[i]) {
		i++
	}
	if i < len(src) && src[i] == '=' {
		for i++; i < len(src) && isSpace(src[i]); i++ {
		}
		switch {
		case i == len(src):
		case src[i] == '>':
			a.value, a.valueEnd, a.end = i, i, i
		case src[i] == '"' || src[i] == '\'':
			n := bytes.IndexByte(src[i+1:], src[i])
			if n < 0 {
				a.at = len(src)
				return false
			}
			a.quote = src[i]
			a.value, a.valueEnd = i+1, i+1+n
			i += n + 2
			a.end = i
		default:
			a.value = i
			for i < len(src) && !isSpace(src[i]) && src[i] != '>' {
				i++
			}
			a.valueEnd, a.end = i, i
		}
	} else {
		i = a.nameEnd
	}
	a.at = i
	return i < len(src)
}

// is reports whether the attribute has this name, which is in lower case.
func (a *attributes) is(name string) bool {
	if a.nameEnd-a.name != len(name) {
		return false
	}
	for i, c := range a.src[a.name:a.nameEnd] {
		if toLower(c) != name[i] {
			return false
		}
	}
	return true
}

// text returns the attribute's value as browsers see it.
func (a *attributes) text() string { return decodeAttribute(a.src[a.value:a.valueEnd]) }

// maxReference is longer than the longest name of a character reference.
const maxReference = 40

// decodeAttribute decodes the character references of an attribute's value.
// There, unlike in text, one that lacks its semicolon and is followed by = or
// by a letter or digit is none: ?a=1&copy=2 has a parameter named copy.
func decodeAttribute(raw []byte) string {
	if bytes.IndexByte(raw, '&') < 0 && bytes.IndexByte(raw, 0) < 0 {
		return string(raw)
	}
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); {
		switch raw[i] {
		case 0:
			b.WriteRune(utf8.RuneError)
			i++
		case '&':
			text, n := decodeReference(raw[i:])
			b.WriteString(text)
			i += n
		default:
			b.WriteByte(raw[i])
			i++
		}
	}
	return b.String()
}

// decodeReference decodes the character reference that s begins with, if it is
// one, and returns how long it is.
func decodeReference(s []byte) (text string, n int) {
	n = 1
	if len(s) > 1 && s[1] == '#' {
		n = 2
		isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
		if len(s) > 2 && s[2]|0x20 == 'x' {
			n = 3
			isDigit = func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }
		}
		digits := n
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		if n == digits {
			return "&", 1
		}
		if n < len(s) && s[n] == ';' {
			n++
		}
		return html.UnescapeString(string(s[:n])), n
	}
	for n < len(s) && n < maxReference && (isLetter(s[n]) || '0' <= s[n] && s[n] <= '9') {
		n++
	}
	if n < len(s) && s[n] == ';' {
		reference := string(s[:n+1])
		// What begins with the name of a reference that needs no semicolon is
		// decoded in text only, and keeps its own semicolon.
		if text = html.UnescapeString(reference); !strings.HasSuffix(text, ";") || reference == "&semi;" {
			return text, n + 1
		}
		return "&", 1
	}
	if n == 1 || n == maxReference || n < len(s) && s[n] == '=' {
		return "&", 1
	}
	if text = html.UnescapeString(string(s[:n])); utf8.RuneCountInString(text) == 1 {
		return text, n
	}
	return "&", 1
}

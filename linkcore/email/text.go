package email

import (
	"bytes"
	"cmp"
	"iter"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/linktracker/linkcore"
)

// textURL is a URL as it stands in text.
type textURL struct {
	start, end int
	url        string // what a mail client opens for it
	problem    string // why it is left alone; empty if it need not be
}

const (
	// maxTextURL bounds how far the end of a URL in angle brackets is looked
	// for; a longer one makes no tracked link anyhow.
	maxTextURL = 8000
)

const (
	problemNoEnd  = "the text goes on without a space, so where the URL ends is a guess: put a space after it, or angle brackets around it"
	problemBroken = "the URL is broken over several lines"
	problemStops  = "it stops at a character that no URL holds, which may begin a placeholder: put a space before that, or angle brackets around the URL"
	problemAfter  = "it directly follows / or @, so it may be a part of something else: put a space before it"
	problemLine   = "the tracked link would make the line longer than 998 bytes: break the line before or after the URL"
)

// findURLs yields the URLs that mail clients make links of, in order:
// http:// and https:// in any case, and hosts that begin with "www.", which
// clients open as http.
//
// A URL ends before the punctuation and the closing bracket of the sentence
// that it stands in; brackets that it opens itself belong to it. In angle
// brackets it ends at the closing one, and may go on in the next line once
// its path has begun (RFC 3986, appendix C). Template placeholders within it
// belong to it.
func findURLs(src []byte) iter.Seq[textURL] {
	return func(yield func(textURL) bool) {
		for i := 0; i < len(src); i++ {
			var u textURL
			switch src[i] {
			case ':':
				if !bytes.HasPrefix(src[i:], []byte("://")) {
					continue
				}
				var ok bool
				if u, ok = urlAt(src, i); !ok {
					i = max(i+2, u.end-1)
					continue
				}
			case privacyMark[0]:
				if !bytes.HasPrefix(src[i:], []byte(privacyMark)) || i > 0 && isMarkNeighbour(src[i-1]) || i+len(privacyMark) < len(src) && isMarkNeighbour(src[i+len(privacyMark)]) {
					continue
				}
				u = textURL{start: i, end: i + len(privacyMark), url: privacyMark}
			case 'w', 'W':
				var ok bool
				if u, ok = hostAt(src, i); !ok {
					i = max(i, u.end-1)
					continue
				}
			default:
				continue
			}
			if !yield(u) {
				return
			}
			i = u.end - 1
		}
	}
}

// isMarkNeighbour reports whether a word goes on with a character.
func isMarkNeighbour(c byte) bool { return isAlphanumeric(c) || strings.IndexByte("-_=/", c) >= 0 }

// urlAt looks at the URL whose :// is at colon. If it is none that can be
// tracked, the result says only where it ends: a URL within another is not a link
// of its own.
func urlAt(src []byte, colon int) (textURL, bool) {
	start := colon
	for start > 0 && (isAlphanumeric(src[start-1]) || src[start-1] == '+') {
		start--
	}
	authority := colon + len("://")
	if start == colon {
		return textURL{}, false
	}
	scheme := string(src[start:colon])
	if !isHTTP(strings.TrimSuffix(strings.ToLower(scheme), noTrackMark)) || start > 0 && (src[start-1] == '/' || src[start-1] == '@') {
		end, _ := urlEnd(src, start, authority, true)
		return textURL{start, end, string(src[start:end]), problemAfter}, hasScheme(src[start:]) && end > authority
	}
	if u, ok := bracketedURL(src, start, authority); ok {
		return u, true
	}
	end, problem := trackedEnd(src, start, authority)
	if end == authority {
		return textURL{}, false
	}
	if start > 0 && src[start-1] == '<' && (end == len(src) || src[end] == '\r' || src[end] == '\n') {
		problem = problemBroken
	}
	return textURL{start, end, string(src[start:end]), problem}, true
}

// hostAt looks for a host that begins with www. at start, with what follows it.
func hostAt(src []byte, start int) (textURL, bool) {
	if len(src)-start < len("www.x.yy") || !strings.EqualFold(string(src[start:start+4]), "www.") {
		return textURL{}, false
	}
	if start > 0 && (isAlphanumeric(src[start-1]) || strings.IndexByte("@./\\-_=&%#+~$", src[start-1]) >= 0) {
		return textURL{}, false
	}
	end, problem := trackedEnd(src, start, start+len("www."))
	host := string(src[start:end])
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	if strings.ContainsRune(host, '@') {
		return textURL{end: end}, false
	}
	host, _, _ = strings.Cut(host, ":")
	name, top, _ := strings.Cut(host[len("www."):], ".")
	if i := strings.LastIndexByte(top, '.'); i >= 0 {
		top = top[i+1:]
	}
	if name == "" || utf8.RuneCountInString(top) < 2 || strings.ContainsFunc(top, func(c rune) bool { return !unicode.IsLetter(c) }) && !strings.HasPrefix(top, "xn--") {
		return textURL{end: end}, false
	}
	return textURL{start, end, "http://" + string(src[start:end]), problem}, true
}

// bracketedURL looks for the closing bracket of a URL in angle brackets, with
// or without the prefix "URL:" of RFC 3986, appendix C. What stands between
// the brackets is the URL; lines that it was broken into are joined.
func bracketedURL(src []byte, start, authority int) (textURL, bool) {
	before := src[:start]
	if n := len(before) - len("URL:"); n >= 0 && strings.EqualFold(string(before[n:]), "URL:") {
		before = before[:n]
	}
	if !bytes.HasSuffix(before, []byte("<")) {
		return textURL{}, false
	}
	var joined []byte // once a line ended
	path := false
	from := start
	limit := min(len(src), start+maxTextURL)
	for i := authority; i < limit; i++ {
		switch c := src[i]; {
		case c == '>':
			if i == authority || i == from {
				return textURL{}, false
			}
			u := textURL{start: start, end: i, url: string(append(joined, src[from:i]...))}
			return u, true
		case c == '/' || c == '?' || c == '#':
			path = true
		case c == '{' || c == '*' || c == '[':
			if n := placeholderLength(src[i:]); n > 0 {
				i += n - 1
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			next, lines := i, 0
			for next < limit && isWhitespace(src[next]) {
				if src[next] == '\n' {
					lines++
				}
				next++
			}
			if lines != 1 || !path || next == limit || hasScheme(src[next:]) {
				return textURL{}, false
			}
			joined = append(joined, src[from:i]...)
			from = next
			i = next - 1
		case c < ' ' || c == 0x7F || c == '<' || c == '"' || c == '`' || c == '\\':
			return textURL{}, false
		}
	}
	return textURL{}, false
}

// trackedEnd returns where the URL ends whose authority begins at authority,
// and why it is left alone, if it must be. A tracked link has a path: where
// the URL has none, what follows it may end a host but not a path.
func trackedEnd(src []byte, start, authority int) (end int, problem string) {
	end, problem = urlEnd(src, start, authority, true)
	if problem == "" && end > authority {
		if further, _ := urlEnd(src, start, end, false); further > end {
			problem = problemNoEnd
		}
	}
	return end, problem
}

// urlEnd returns where the URL ends that begins at start and is a URL up to
// from at least, in its authority or behind it, and why the end is in doubt,
// if it is.
func urlEnd(src []byte, start, from int, inAuthority bool) (end int, problem string) {
	var opened [16]int // offsets of brackets that were not closed
	depth := 0
	kept := from // what is before it is not trimmed
	var before byte
	if start > 0 {
		before = src[start-1]
	}
	i := from
scan:
	for i < len(src) {
		c := src[i]
		if c >= utf8.RuneSelf {
			if n := placeholderLength(src[i:]); n > 0 {
				i += n
				kept = i
				continue
			}
			r, size := utf8.DecodeRune(src[i:])
			ends, doubt := endsURL(r, src[i+size:])
			if ends {
				if doubt {
					problem = problemNoEnd
				}
				break
			}
			previous := src[i-1]
			if doubt && previous < utf8.RuneSelf && !(inAuthority && (previous == '.' || i == from)) {
				problem = problemNoEnd
			}
			i += size
			continue
		}
		if strings.IndexByte("([{*<%$#@", c) >= 0 {
			if n := placeholderLength(src[i:]); n > 0 {
				i += n
				kept = i
				continue
			}
		}
		switch c {
		case '/', '?', '#':
			inAuthority = false
		case '"', '>', '`':
			break scan
		case '<', '\\':
			if mayGoOn(src[i:]) {
				problem = problemStops
			}
			break scan
		case '\'':
			if before == '\'' {
				break scan
			}
		case ',', ';', '|':
			if hasScheme(src[i+1:]) {
				break scan
			}
		case '(', '[', '{':
			if inAuthority && c == '[' && i == from {
				if n := bytes.IndexByte(src[i:min(len(src), i+64)], ']'); n > 0 {
					i += n + 1
					kept = i
					continue
				}
			}
			if inAuthority && c != '{' || depth == len(opened) {
				break scan
			}
			opened[depth] = i
			depth++
		case ')', ']', '}':
			if depth == 0 || src[opened[depth-1]] != opening(c) {
				break scan
			}
			depth--
		default:
			if c <= ' ' || c == 0x7F {
				break scan
			}
		}
		if inAuthority && !isAlphanumeric(c) && strings.IndexByte(".-_:@%{}", c) < 0 {
			break scan
		}
		i++
	}
	end = i
	if depth > 0 {
		end = max(kept, opened[0])
		if c := src[opened[0]]; end == opened[0] && end > from && c != '(' && strings.IndexByte("=/", src[end-1]) >= 0 {
			problem = problemStops
		}
	}
	return trimURL(src, kept, end, before), problem
}

// mayGoOn reports whether a URL may go on with s, which begins with < or a backslash,
// for who wrote it: neither markup nor another address begins there.
func mayGoOn(s []byte) bool {
	if s[0] == '\\' {
		return len(s) > 1 && (isAlphanumeric(s[1]) || strings.IndexByte(`\{[$%<`, s[1]) >= 0)
	}
	s = s[1:]
	return len(s) > 0 && (isLetter(s[0]) || strings.IndexByte("$!@%#*=", s[0]) >= 0) && !htmlTags[tagName(s)] && !hasScheme(s) && !bytes.HasPrefix(bytes.ToLower(s[:min(len(s), 7)]), []byte("mailto:"))
}

// trimURL takes off what belongs to the sentence.
func trimURL(src []byte, kept, end int, before byte) int {
	for end > kept {
		u := src[kept:end]
		switch c := u[len(u)-1]; c {
		case ';':
			end--
			for _, entity := range []string{"&gt;", "&lt;", "&quot;", "&nbsp;", "&#39;"} {
				if bytes.HasSuffix(u, []byte(entity)) {
					end -= len(entity) - 1
				}
			}
		case '.', ',', ':', '!', '?', '\'', '*', '|':
			end--
		case '_', '~':
			if c != before {
				return end
			}
			end--
		default:
			return end
		}
	}
	return end
}

func opening(closing byte) byte {
	switch closing {
	case ')':
		return '('
	case ']':
		return '['
	}
	return '{'
}

// endsURL reports whether a character outside ASCII ends a URL, and whether that
// is in doubt given what follows: languages that are written without spaces
// leave none after a URL either, and clients differ about symbols.
func endsURL(r rune, after []byte) (ends, doubt bool) {
	wide := r >= 0x2E80 && r <= 0xD7FF || r >= 0xF900 && r <= 0xFAFF || r >= 0xFE30 && r <= 0xFE4F || r >= 0xFF00 && r <= 0xFFEF || r >= 0x20000
	switch {
	case r == utf8.RuneError:
		return false, false // bytes that are not UTF-8 make no destination either
	case unicode.IsPunct(r):
		next, _ := utf8.DecodeRune(after)
		return true, !wide && !unicode.In(r, unicode.Ps, unicode.Pe, unicode.Pi) && (unicode.IsLetter(next) || unicode.IsDigit(next))
	case unicode.IsSpace(r), unicode.In(r, unicode.Z, unicode.C):
		return true, false
	case wide, unicode.In(r, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Hangul):
		return false, true
	}
	return false, !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r)
}

func hasScheme(s []byte) bool {
	for _, scheme := range []string{"http://", "https://"} {
		if len(s) >= len(scheme) && strings.EqualFold(string(s[:len(scheme)]), scheme) {
			return true
		}
	}
	return false
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func isWhitespace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// textFormat is how the lines of a text part are to be read.
type textFormat struct {
	// delSp is for format=flowed with DelSp=yes (RFC 3676): a line that ends
	// in a space goes on in the next one, without that space. Otherwise lines
	// end words whether flowed or not, so no URL crosses one.
	delSp bool

	// bounded is for text for which no transfer encoding can be chosen: a link
	// that would make a line longer than 998 bytes is left alone.
	bounded bool
}

func (f textFormat) join(src []byte) unflowed {
	if f.delSp {
		return joinFlowed(src)
	}
	return unflowed{text: src}
}

// Text rewrites plain text in UTF-8 whose lines end where they end in the
// mail. The text has no attributes by which a link could opt out: what is left
// alone is said by [Options]. A link stays as it is where the tracked one
// would make a line longer than the 998 bytes that mails have at most (RFC
// 5322, section 2.1.1), and where it is not certain where it ends; the report
// says so.
//
// Text signed or encrypted with PGP is refused: [ErrSigned], [ErrEncrypted].
func (w *Rewriter) Text(f linkcore.Fields, src []byte) (Result, error) {
	m, err := w.newMail(f)
	if err != nil {
		return Result{}, err
	}
	if err := cmp.Or(checkText(src), checkInlinePGP(src)); err != nil {
		return Result{}, err
	}
	format := textFormat{bounded: true}
	m.lookAheadText(src, format)
	edits, err := m.text(src, "text", format)
	if err != nil {
		return Result{}, err
	}
	m.warnOfNoHeader()
	return m.result(apply(src, edits)), nil
}

// lookAheadText looks at a plain text before any part of the mail is rewritten,
// for what an earlier run put in.
func (m *mail) lookAheadText(src []byte, format textFormat) {
	for u := range findURLs(format.join(src).text) {
		m.notice(u.url)
	}
}

// text returns the edits that make the URLs of a plain text in UTF-8 tracked.
func (m *mail) text(src []byte, part string, format textFormat) ([]edit, error) {
	m.notePrivacyLink(part, false)
	joined := format.join(src)
	var edits []edit
	line, counted := 1, 0
	length := lineLength{src: src, lineEnd: -1}
	for u := range findURLs(joined.text) {
		start, end := joined.source(u.start), joined.source(u.end-1)+1
		line += bytes.Count(src[counted:start], []byte("\n"))
		counted = start
		f := found{part: part, line: line, url: u.url, plain: true, problem: u.problem, privacy: u.url == privacyMark}
		tracked, err := m.judge(f)
		if err != nil {
			return nil, err
		}
		if i := noTrack(u.url); i >= 0 && m.off == "" {
			edits = append(edits, edit{start: joined.source(u.start + i), end: joined.source(u.start+i+len(noTrackMark)-1) + 1})
		}
		if tracked == "" {
			continue
		}
		if format.bounded && !length.allows(start, end, len(tracked)) {
			m.report.Links = m.report.Links[:len(m.report.Links)-1]
			if f.problem = problemLine; f.privacy {
				m.warn("the privacy link is left out: " + problemLine)
			}
			if _, err := m.judge(f); err != nil {
				return nil, err
			}
			continue
		}
		edits = append(edits, edit{start: start, end: end, text: tracked})
	}
	return edits, nil
}

// lineLength keeps count of how long the current line becomes.
type lineLength struct {
	src              []byte
	lineEnd          int // of the line that grew last
	original, length int
}

// allows counts an edit of the line, unless that makes a line longer than 998
// bytes that was not.
func (l *lineLength) allows(start, end, length int) bool {
	if start > l.lineEnd {
		lineStart := bytes.LastIndexByte(l.src[:start], '\n') + 1
		l.lineEnd = len(l.src)
		if i := bytes.IndexByte(l.src[start:], '\n'); i >= 0 {
			l.lineEnd = start + i
		}
		l.original = len(bytes.TrimSuffix(l.src[lineStart:l.lineEnd], []byte("\r")))
		l.length = l.original
	}
	grown := l.length + length - (end - start)
	if grown > maxLine && l.original <= maxLine {
		return false
	}
	l.length = grown
	return true
}

// unflowed is text whose soft line breaks were taken out.
type unflowed struct {
	text   []byte
	pieces []piece // where text comes from; none: it is the source itself
}

// piece is a run of text that was in one place of the source.
type piece struct{ text, source int }

// source returns where the byte at the offset stands in the source.
func (u *unflowed) source(offset int) int {
	if u.pieces == nil {
		return offset
	}
	i := sort.Search(len(u.pieces), func(i int) bool { return u.pieces[i].text > offset }) - 1
	return u.pieces[i].source + offset - u.pieces[i].text
}

// joinFlowed joins the lines of a text in format=flowed with DelSp=yes as RFC
// 3676, section 4 says: lines of the same quote depth, without their trailing
// space and what stuffs or quotes the next one.
func joinFlowed(src []byte) unflowed {
	u := unflowed{text: make([]byte, 0, len(src))}
	soft := false // the line before ends in a soft break
	depth := 0
	for at := 0; at < len(src); {
		next := len(src)
		if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(src[at:next], []byte("\n")), []byte("\r"))
		quoted := 0
		for quoted < len(line) && line[quoted] == '>' {
			quoted++
		}
		content := quoted
		if content < len(line) && line[content] == ' ' {
			content++
		}
		signature := string(line[content:]) == "-- "
		from := at
		if soft && quoted == depth && !signature {
			// The break that was held back is never put in.
			from = at + content
		} else if soft {
			u.appendPiece(src, softBreak(src, at), at)
		}
		end := next
		soft = len(line) > content && line[len(line)-1] == ' ' && !signature && next > at+len(line)
		if soft {
			end = at + len(line) - 1
		}
		u.appendPiece(src, from, end)
		depth = quoted
		at = next
	}
	return u
}

func (u *unflowed) appendPiece(src []byte, start, end int) {
	if start < end {
		u.pieces = append(u.pieces, piece{len(u.text), start})
		u.text = append(u.text, src[start:end]...)
	}
}

// softBreak returns where the space and the line break before next begin.
func softBreak(src []byte, next int) int {
	start := next - 1
	if start > 0 && src[start-1] == '\r' {
		start--
	}
	return start - 1
}

package email

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
)

// maxLine is the length in bytes, without its end, that a line of a mail has
// at most (RFC 5322, section 2.1.1).
const maxLine = 998

// A transferEncoding is how a part's bytes are written in the message (RFC
// 2045, section 6).
type transferEncoding string

const (
	identity        transferEncoding = "" // 7bit, 8bit and binary
	quotedPrintable transferEncoding = "quoted-printable"
	base64Encoding  transferEncoding = "base64"
)

// decode returns what raw stands for. ok is false for what readers understand
// differently, so that it is best left alone.
func (t transferEncoding) decode(raw []byte) (decoded []byte, ok bool) {
	n := len(raw)
	switch t {
	case identity:
		return raw, true
	case base64Encoding:
		n = base64.StdEncoding.DecodedLen(n)
	}
	b := bytes.NewBuffer(make([]byte, 0, n))
	ok = t.decodeTo(b, raw)
	return b.Bytes(), ok
}

// decodeTo is decode for what need not be held whole.
func (t transferEncoding) decodeTo(w io.Writer, raw []byte) (ok bool) {
	switch t {
	case quotedPrintable:
		decodeQuotedPrintable(w, raw)
		return true
	case base64Encoding:
		return decodeBase64(w, raw)
	}
	w.Write(raw)
	return true
}

// splice applies edits of the decoded bytes to raw, and leaves as much of raw
// as it is as the encoding allows. Line breaks that it needs are eol.
func (t transferEncoding) splice(raw, decoded []byte, edits []edit, eol string) []byte {
	switch t {
	case quotedPrintable:
		return spliceQuotedPrintable(raw, edits, eol)
	case base64Encoding:
		return spliceBase64(raw, decoded, edits, eol)
	}
	return apply(raw, edits)
}

// qpReader reads quoted-printable the way mail clients do: an escape may be in
// lower case, an = that begins no escape stands for itself, and lines end in LF
// or CRLF.
type qpReader struct {
	raw []byte
	at  int

	spaces int // white space before this offset is followed by something else
}

// next returns the next decoded byte and where it stands in raw.
func (q *qpReader) next() (b byte, start, end int, ok bool) {
	for q.at < len(q.raw) {
		start = q.at
		switch c := q.raw[start]; {
		case c == '=':
			if n := softBreakLength(q.raw[start:]); n > 0 {
				q.at += n
				continue
			}
			if start+2 < len(q.raw) {
				if high, low := hexDigit(q.raw[start+1]), hexDigit(q.raw[start+2]); high >= 0 && low >= 0 {
					q.at += 3
					return byte(high<<4 | low), start, q.at, true
				}
			}
			q.at++
			return c, start, q.at, true
		case (c == ' ' || c == '\t') && start >= q.spaces:
			i := skipBlanks(q.raw, start)
			if lineEndLength(q.raw[i:]) > 0 || i == len(q.raw) {
				q.at = i // not part of the text: added on the way (RFC 2045, section 6.7)
				continue
			}
			q.spaces = i
		}
		q.at++
		return q.raw[start], start, q.at, true
	}
	return 0, q.at, q.at, false
}

// softBreakLength returns the length of the soft line break that raw, which
// begins with =, begins with. The end of the text is one too.
func softBreakLength(raw []byte) int {
	i := skipBlanks(raw, 1)
	if i == len(raw) {
		return i
	}
	if n := lineEndLength(raw[i:]); n > 0 {
		return i + n
	}
	return 0
}

func skipBlanks(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t') {
		i++
	}
	return i
}

func lineEndLength(raw []byte) int {
	switch {
	case len(raw) > 0 && raw[0] == '\n':
		return 1
	case len(raw) > 1 && raw[0] == '\r' && raw[1] == '\n':
		return 2
	}
	return 0
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

func decodeQuotedPrintable(w io.Writer, raw []byte) {
	q := qpReader{raw: raw}
	var chunk [1024]byte
	for n := 0; ; {
		b, _, _, ok := q.next()
		if !ok || n == len(chunk) {
			w.Write(chunk[:n])
			n = 0
		}
		if !ok {
			return
		}
		chunk[n] = b
		n++
	}
}

// maxEncodedLine is the length that lines of quoted-printable and base64 have
// at most.
const maxEncodedLine = 76

func spliceQuotedPrintable(raw []byte, edits []edit, eol string) []byte {
	out := make([]byte, 0, len(raw)+growth(edits)*5/4+16*len(edits))
	q := qpReader{raw: raw}
	decoded, last := 0, 0 // bytes decoded so far, and where the last one ended
	copied := 0
	for _, e := range edits {
		for decoded < e.start {
			_, _, last, _ = q.next()
			decoded++
		}
		start := last
		for first := true; decoded < e.end; first = false {
			_, from, to, _ := q.next()
			if first && bytes.IndexByte(raw[last:from], '=') >= 0 {
				start = from // behind a soft break
			}
			last = to
			decoded++
		}
		out = append(out, raw[copied:start]...)
		copied = last
		column := len(out) - (bytes.LastIndexByte(out, '\n') + 1)
		out, column = appendQuotedPrintable(out, e.text, column, eol)
		rest := raw[copied:min(len(raw), copied+maxEncodedLine+2)]
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			rest = bytes.TrimSuffix(rest[:i], []byte("\r"))
		}
		if column+len(rest) > maxEncodedLine {
			out = append(append(out, '='), eol...)
		}
	}
	return append(out, raw[copied:]...)
}

// appendQuotedPrintable encodes text from a column on; its line ends are
// encoded too. It leaves room for the = of a soft break.
func appendQuotedPrintable(dst []byte, text string, column int, eol string) ([]byte, int) {
	const upperHex = "0123456789ABCDEF"
	for i := 0; i < len(text); i++ {
		c := text[i]
		literal := c > ' ' && c <= '~' && c != '=' || (c == ' ' || c == '\t') && i < len(text)-1
		width := 3
		if literal {
			width = 1
		}
		if column+width > maxEncodedLine-1 {
			dst = append(append(dst, '='), eol...)
			column = 0
		}
		if column == 0 && (c == '.' || c == '-') {
			// Servers that handle a line's leading dot wrongly break links,
			// and two hyphens could be taken for a delimiter.
			literal, width = false, 3
		}
		if literal {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=', upperHex[c>>4], upperHex[c&15])
		}
		column += width
	}
	return dst, column
}

// encodeQuotedPrintable encodes text whose lines end in eol; other line ends
// are encoded.
func encodeQuotedPrintable(text []byte, eol string) []byte {
	out := make([]byte, 0, len(text)+len(text)/4)
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte(eol))
		out, _ = appendQuotedPrintable(out, string(line), 0, eol)
		if ended {
			out = append(out, eol...)
		}
		text = rest
	}
	return out
}

// decodeBase64 decodes a body that is nothing but base64 and white space.
func decodeBase64(w io.Writer, raw []byte) bool {
	var chunk [1024]byte // whole groups of four characters
	n, padded := 0, false
	for i := 0; ; i++ {
		if n == len(chunk) || i == len(raw) {
			decoded, err := base64.StdEncoding.Decode(chunk[:], chunk[:n])
			if err != nil || padded && n > 0 {
				return false
			}
			padded = decoded < n/4*3
			w.Write(chunk[:decoded])
			n = 0
		}
		if i == len(raw) {
			return true
		}
		if !isWhitespace(raw[i]) {
			chunk[n] = raw[i]
			n++
		}
	}
}

// spliceBase64 writes the lines anew from the first that changes.
func spliceBase64(raw, decoded []byte, edits []edit, eol string) []byte {
	changed := edits[0].start / 3 * 4 // characters before the first that changes
	// The last line before it that begins with a whole group of characters.
	lineStart, charactersBefore := 0, 0
	characters, width, end := 0, 0, 0
	next := 0 // where the line began
	for i, c := range raw {
		switch {
		case c == '\n':
			if width == 0 {
				width = characters
			}
			next = i + 1
		case !isWhitespace(c):
			if next > end && characters <= changed && characters%4 == 0 {
				lineStart, charactersBefore = next, characters
			}
			characters++
			end = i + 1
		}
	}
	if width < 4 || width > maxLine || characters <= width {
		width = maxEncodedLine
	}
	kept := charactersBefore / 4 * 3
	shifted := slices.Clone(edits)
	for i := range shifted {
		shifted[i].start -= kept
		shifted[i].end -= kept
	}
	text := base64.StdEncoding.EncodedLen(len(decoded) - kept + growth(edits))
	l := lineWriter{out: append(make([]byte, 0, lineStart+text+text/width*len(eol)+len(raw)-end), raw[:lineStart]...), width: width, eol: eol}
	w := base64.NewEncoder(base64.StdEncoding, &l)
	writeApplied(w, decoded[kept:], shifted)
	w.Close()
	return append(l.out, raw[end:]...)
}

// lineWriter breaks what is written to it into lines.
type lineWriter struct {
	out           []byte
	column, width int
	eol           string
}

func (l *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if l.column == l.width {
			l.out = append(l.out, l.eol...)
			l.column = 0
		}
		n := min(len(rest), l.width-l.column)
		l.out = append(l.out, rest[:n]...)
		l.column += n
		rest = rest[n:]
	}
	return len(p), nil
}

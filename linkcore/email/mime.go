package email

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-message"
)

const (
	// maxDepth bounds how deep multiparts may be nested. Mail servers stop at
	// about as many.
	maxDepth = 100

	maxParts  = 10_000
	maxHeader = 1 << 20 // bytes of a header block, of the message or of a part
)

// field is a header field where it stands in the message.
type field struct {
	name       string // in canonical form
	start, end int    // with the line end
	colon      int
}

// header is a header block where it stands in the message.
type header struct {
	fields     []field
	start, end int // without the empty line that ends it
	blank      bool
	malformed  int // offset of a line that is not a field, or -1
}

func (h *header) has(name string) bool {
	return slices.ContainsFunc(h.fields, func(f field) bool { return f.name == name })
}

// find returns the field of a name. unclear is true if there are several that
// differ: readers disagree about which counts.
func (h *header) find(src []byte, name string) (found *field, unclear bool) {
	for i := range h.fields {
		f := &h.fields[i]
		if f.name != name {
			continue
		}
		if found == nil {
			found = f
		} else if !bytes.Equal(bytes.TrimSpace(src[found.colon+1:found.end]), bytes.TrimSpace(src[f.colon+1:f.end])) {
			unclear = true
		}
	}
	return found, unclear
}

// entity is a part of the message, or the message itself, where it stands.
type entity struct {
	header     header
	start, end int // of the body

	parent   *entity
	index    int // among its parent's parts, from 1
	depth    int // of multiparts around it
	parts    int // how many it has
	boundary string
	closed   bool // its closing boundary was found

	mediaType   string
	parameters  map[string]string
	disposition string
	fileName    bool // it has the name of a file
	contentID   string
	problem     string // why its content can't be read; empty if it can
}

// name returns the part's number, as IMAP counts (RFC 3501, section 6.4.5).
func (e *entity) name() string {
	if e.parent == nil {
		return "1"
	}
	var numbers []string
	for ; e.parent != nil; e = e.parent {
		numbers = append(numbers, strconv.Itoa(e.index))
	}
	slices.Reverse(numbers)
	return strings.Join(numbers, ".")
}

// walker finds the parts of a message in one pass over its lines, with a stack
// of the multiparts that are open: however a message is nested, that takes
// time in proportion to its length.
type walker struct {
	src      []byte
	open     []*entity
	opened   map[string]int // index in open, by boundary
	current  *entity        // the part whose header or body the line belongs to, if any
	inHeader bool
	parts    int

	leaves   []*entity
	unclosed []*entity
}

// walk returns the message's own entity and all parts that are not multiparts,
// in their order.
func walk(src []byte, start int) (*entity, *walker, error) {
	w := &walker{src: src, opened: map[string]int{}}
	root := &entity{header: header{start: start, malformed: -1}}
	w.begin(root)
	for at := start; at < len(src); {
		next := len(src)
		if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		if err := w.line(at, next); err != nil {
			return nil, nil, err
		}
		at = next
	}
	if err := w.finish(len(src), len(src)); err != nil {
		return nil, nil, err
	}
	w.unclosed = append(w.unclosed, w.open...)
	return root, w, nil
}

func (w *walker) begin(e *entity) {
	w.current, w.inHeader = e, true
}

func (w *walker) line(at, next int) error {
	line := w.src[at:next]
	if len(w.open) > 0 && bytes.HasPrefix(line, []byte("--")) {
		if level, closing, ok := w.delimiter(line); ok {
			// The line break before a delimiter belongs to it.
			end := at
			if end > 0 && w.src[end-1] == '\n' {
				end--
				if end > 0 && w.src[end-1] == '\r' {
					end--
				}
			}
			if err := w.finish(at, end); err != nil {
				return err
			}
			return w.delimit(level, closing, next)
		}
	}
	if w.current == nil || !w.inHeader {
		return nil
	}
	h := &w.current.header
	if line[0] == '\n' || bytes.HasPrefix(line, []byte("\r\n")) {
		h.end, h.blank = at, true
		return w.endHeader(next)
	}
	if next-h.start > maxHeader {
		return fmt.Errorf("part %s: %w", w.current.name(), ErrHeaderTooLong)
	}
	if h.malformed >= 0 {
		return nil
	}
	if line[0] == ' ' || line[0] == '\t' {
		if len(h.fields) == 0 {
			h.malformed = at
			return nil
		}
		h.fields[len(h.fields)-1].end = next
		return nil
	}
	name, ok := fieldName(line)
	if !ok {
		h.malformed = at
		return nil
	}
	h.fields = append(h.fields, field{name: name, start: at, end: next, colon: at + bytes.IndexByte(line, ':')})
	return nil
}

// fieldName returns the canonical name of the header field that a line begins.
func fieldName(line []byte) (string, bool) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t") // obsolete syntax, still seen
	isURL := bytes.HasPrefix(value, []byte("//"))
	if !ok || len(name) == 0 || isURL {
		return "", false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7F {
			return "", false
		}
	}
	return textproto.CanonicalMIMEHeaderKey(string(name)), true
}

// delimiter reports whether a line delimits parts of an open multipart.
func (w *walker) delimiter(line []byte) (level int, closing, ok bool) {
	boundary := bytes.TrimRight(line[2:], " \t\r\n")
	if level, ok := w.opened[string(boundary)]; ok {
		return level, false, true
	}
	if boundary, ok := bytes.CutSuffix(boundary, []byte("--")); ok {
		if level, ok := w.opened[string(boundary)]; ok {
			return level, true, true
		}
	}
	return 0, false, false
}

// delimit ends the multiparts within the level, and begins its next part.
func (w *walker) delimit(level int, closing bool, next int) error {
	keep := level + 1
	w.open[level].closed = closing
	if closing {
		keep = level
	}
	w.unclosed = append(w.unclosed, w.open[level+1:]...)
	for _, ended := range w.open[keep:] {
		delete(w.opened, ended.boundary)
	}
	w.open = w.open[:keep]
	if closing {
		return nil
	}
	if w.parts++; w.parts > maxParts {
		return ErrTooManyParts
	}
	parent := w.open[level]
	parent.parts++
	w.begin(&entity{header: header{start: next, malformed: -1}, parent: parent, index: parent.parts, depth: parent.depth + 1})
	return nil
}

// finish ends the current part: its header at headerEnd if it is still open,
// its body at end.
func (w *walker) finish(headerEnd, end int) error {
	e := w.current
	if e == nil {
		return nil
	}
	if w.inHeader {
		e.header.end = max(headerEnd, e.header.start)
		if err := w.endHeader(e.header.end); err != nil {
			return err
		}
	}
	e.end = max(end, e.start)
	w.current = nil
	return nil
}

// endHeader reads the header of the current part, whose body begins at start.
func (w *walker) endHeader(start int) error {
	e := w.current
	w.inHeader = false
	e.start = start
	e.describe(w.src)
	if e.problem != "" || !strings.HasPrefix(e.mediaType, "multipart/") {
		w.leaves = append(w.leaves, e)
		return nil
	}
	// A boundary may end in no space, and has 70 characters at most (RFC 2046,
	// section 5.1.1); longer ones are in use.
	e.boundary = strings.TrimRight(e.parameters["boundary"], " \t")
	if _, ambiguous := w.opened[e.boundary]; e.boundary == "" || ambiguous {
		e.problem = "it is a multipart without a boundary"
		if ambiguous {
			e.problem = "it is a multipart with the boundary of one that it is in"
		}
		w.leaves = append(w.leaves, e)
		return nil
	}
	if e.depth == maxDepth {
		return ErrTooDeep
	}
	w.opened[e.boundary] = len(w.open)
	w.open = append(w.open, e)
	w.current = nil
	return nil
}

// describe reads what the header says of the content.
func (e *entity) describe(src []byte) {
	if e.header.malformed >= 0 {
		e.problem = fmt.Sprintf("line %d of the message is neither a header field nor empty", lineNumber(src, e.header.malformed))
		return
	}
	var h message.Header
	for _, name := range []string{"Content-Type", "Content-Disposition"} {
		f, unclear := e.header.find(src, name)
		if unclear {
			e.problem = "it has several " + name + " fields that differ"
			return
		}
		if f != nil {
			h.AddRaw(src[f.start:f.end])
		}
	}
	var err error
	e.mediaType, e.parameters, err = h.ContentType()
	if err != nil {
		e.mediaType, e.parameters = parseLeniently(h.Get("Content-Type"))
	}
	if !h.Has("Content-Type") && e.parent != nil && e.parent.mediaType == "multipart/digest" {
		e.mediaType = "message/rfc822"
	}
	if !strings.Contains(e.mediaType, "/") {
		e.problem = "its Content-Type is not a media type"
	}
	var parameters map[string]string
	if h.Has("Content-Disposition") {
		if e.disposition, parameters, err = h.ContentDisposition(); err != nil {
			e.disposition, parameters = parseLeniently(h.Get("Content-Disposition"))
		}
		e.disposition = strings.ToLower(strings.Trim(e.disposition, `" `))
	}
	if f, _ := e.header.find(src, "Content-Id"); f != nil {
		e.contentID = strings.TrimSpace(string(src[f.colon+1 : f.end]))
	}
	e.fileName = parameters["filename"] != "" || e.parameters["name"] != ""
}

// parseLeniently reads a media type, or a disposition, and its parameters where
// they break the syntax, as mail in use does: unquoted values with characters
// that need quotes, a parameter twice (the first counts), comments.
func parseLeniently(value string) (string, map[string]string) {
	kind, rest, _ := strings.Cut(value, ";")
	kind = strings.TrimSpace(kind)
	if i := strings.IndexAny(kind, " \t("); i >= 0 {
		kind = kind[:i]
	}
	parameters := map[string]string{}
	for rest != "" {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		if i := strings.LastIndexByte(name, ';'); i >= 0 {
			name = name[i+1:]
		}
		name = strings.ToLower(strings.TrimSpace(name))
		after = strings.TrimLeft(after, " \t")
		var parsed string
		if strings.HasPrefix(after, `"`) {
			parsed, rest = unquote(after[1:])
		} else {
			parsed, rest, _ = strings.Cut(after, ";")
			if i := strings.IndexAny(parsed, " \t"); i >= 0 {
				parsed = parsed[:i]
			}
		}
		if _, ok := parameters[name]; !ok {
			parameters[name] = parsed
		}
	}
	return strings.ToLower(kind), parameters
}

// unquote reads a quoted string whose opening quote was taken off.
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// shown reports whether the part's text is what the reader sees, rather than a file.
// Each part of a multipart/alternative is another form of the same content, and so
// is the root of a multipart/related within: there a file's name does not make a
// file (RFC 2046, section 5.1.4). Elsewhere, as in RFC 8621, section 4.1.4, a text
// with such a name is a file unless it comes first; and what has a disposition that
// is not known is one too (RFC 2183, section 2.8).
func (e *entity) shown() bool {
	return e.isText() && (e.disposition == "" || e.disposition == "inline") && (!e.fileName || e.index <= 1 || e.isAlternative() || e.isRoot())
}

func (e *entity) isText() bool {
	return e.mediaType == "text/html" || e.mediaType == "text/plain" || e.mediaType == "text/x-amp-html"
}

func (e *entity) isAlternative() bool {
	return e.parent != nil && e.parent.mediaType == "multipart/alternative"
}

// isRoot reports whether the part is the one of a multipart/related that its start
// parameter names (RFC 2387, section 3.2).
func (e *entity) isRoot() bool {
	return e.parent != nil && e.parent.mediaType == "multipart/related" && e.contentID != "" && strings.Trim(e.contentID, "<>") == strings.Trim(e.parent.parameters["start"], "<>")
}

// encoding returns how the part's body is written.
func (e *entity) encoding(src []byte) (transferEncoding, string) {
	f, unclear := e.header.find(src, "Content-Transfer-Encoding")
	if unclear {
		return "", "it has several Content-Transfer-Encoding fields that differ"
	}
	if f == nil {
		return identity, ""
	}
	value := strings.ToLower(string(bytes.TrimSpace(src[f.colon+1 : f.end])))
	plain, _, _ := strings.Cut(withoutComments(value), ";")
	switch strings.TrimSpace(plain) {
	case "", "7bit", "8bit", "binary":
		return identity, ""
	case "quoted-printable":
		return quotedPrintable, ""
	case "base64":
		return base64Encoding, ""
	}
	return "", "its transfer encoding " + strconv.Quote(value) + " is not known"
}

// withoutComments takes the comments out of a field's value (RFC 5322, section
// 3.2.2).
func withoutComments(value string) string {
	depth := 0
	return strings.Map(func(c rune) rune {
		switch {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
			return -1
		}
		if depth > 0 {
			return -1
		}
		return c
	}, value)
}

// protection returns the error for a part that signs or encrypts.
func (e *entity) protection() error {
	switch e.mediaType {
	case "multipart/signed":
		return ErrSigned
	case "multipart/encrypted", "application/pgp-encrypted":
		return ErrEncrypted
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		if e.parent != nil && e.disposition == "attachment" {
			return nil // a file that is sent along
		}
		switch strings.ToLower(e.parameters["smime-type"]) {
		case "certs-only":
			return nil
		case "signed-data":
			return ErrSigned
		}
		return ErrEncrypted
	}
	return nil
}

// Why a message can't be rewritten.
var (
	ErrSigned        = errors.New("it is signed, and tracked links would break the signature: put tracking in first, then sign")
	ErrEncrypted     = errors.New("it is encrypted, so its links can't be seen: put tracking in first, then encrypt")
	ErrTooDeep       = errors.New("it has more than 100 multiparts within each other")
	ErrTooManyParts  = errors.New("it has more than 10000 parts")
	ErrHeaderTooLong = errors.New("its header is longer than 1 MiB")
	ErrUnclear       = errors.New("it is not clear whether it is a message, HTML or text: say which with --type")
	ErrNotText       = errors.New("it is not text in UTF-8")
	ErrMalformed     = errors.New("it is not a mail message as RFC 5322 defines it")
)

func lineNumber(src []byte, at int) int {
	return 1 + bytes.Count(src[:at], []byte("\n"))
}

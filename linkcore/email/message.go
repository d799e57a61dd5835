package email

import (
	"bytes"
	"fmt"
	"mime"
	"strings"

	"golang.org/x/net/html"

	"example.com/linktracker/linkcore"
)

// Message rewrites a whole mail message (RFC 5322, MIME): every text/html,
// text/plain and text/x-amp-html part that is shown, at any depth, in any
// charset and transfer encoding. Lines may end in LF or CRLF, and an mbox's
// "From " line may stand before the header.
//
// Everything else keeps its bytes: headers, attachments, messages that are
// attached, pictures, preambles. So do parts that can't be read for certain
// (an unknown charset or encoding, a multipart without a boundary); the
// result's warnings name them. Within a part that changes, quoted-printable is
// changed at the links only, base64 from the first link on. A part in 7bit or
// 8bit in which a line would get longer than 998 bytes becomes
// quoted-printable, and its Content-Transfer-Encoding says so.
//
// A message that is signed or encrypted (S/MIME, PGP) is refused: [ErrSigned],
// [ErrEncrypted]. One with more than 100 multiparts within each other, or more
// than 10,000 parts, or a header longer than 1 MiB, is too: [ErrTooDeep],
// [ErrTooManyParts], [ErrHeaderTooLong]; and what has no header:
// [ErrMalformed].
func (w *Rewriter) Message(f linkcore.Fields, src []byte) (Result, error) {
	m, err := w.newMail(f)
	if err != nil {
		return Result{}, err
	}
	start := preamble(src)
	if start > 0 && mboxLine(src[:start]) == 0 {
		m.warn("a byte order mark or empty lines stand before the header, where they end it: take them away, or mail servers will show the header as text")
	}
	root, walked, err := walk(src, start)
	if err != nil {
		return Result{}, fmt.Errorf("the message can't be rewritten: %w", err)
	}
	if err := checkMessage(src, root, walked); err != nil {
		return Result{}, err
	}
	for _, e := range walked.unclosed {
		m.warn(fmt.Sprintf("part %s is a multipart without its closing boundary: the message may have been cut", e.name()))
	}
	bodies, err := m.bodies(src, walked.leaves)
	if err != nil {
		return Result{}, err
	}
	m.leaving = unsubscribeURLs(src, &root.header)
	m.lookAheadAll(bodies)
	if m.w.o.ListUnsubscribe && !root.header.has("List-Unsubscribe") {
		// Before the bodies, as their privacy links name it.
		if m.unsubscribe, err = m.wishLink(linkcore.Unsubscribe); err != nil {
			return Result{}, err
		}
	}
	var edits []edit
	for _, b := range bodies {
		changed, err := m.rewriteBody(src, b)
		if err != nil {
			return Result{}, err
		}
		edits = append(edits, changed...)
	}
	if len(edits) > 0 && (root.header.has("Dkim-Signature") || root.header.has("Arc-Message-Signature") || root.header.has("Domainkey-Signature")) {
		m.warn("the message has a DKIM or ARC signature, which no longer matches its body: sign after rewriting")
	}
	list, err := m.listUnsubscribe(src, &root.header)
	if err != nil {
		return Result{}, err
	}
	if list != "" {
		edits = insert(edits, root.header.end, list)
	}
	return m.result(apply(src, edits)), nil
}

// Rewrite rewrites a message, an HTML document or a text, and detects by the
// content which it is.
//
// It is a message if it begins with header fields, one of which belongs to
// mails alone (such as MIME-Version, Content-Type, Message-ID or a From with an
// address), or two of which are usual in mails (such as Subject and To); a byte
// order mark and empty lines before them do not count. Else it is HTML if it
// begins with a declaration or a tag of HTML, or holds a link's tag or the end of a
// document, of which a warning tells. Else it is text. HTML with links of Markdown
// is refused: [ErrUnclear].
func (w *Rewriter) Rewrite(f linkcore.Fields, src []byte) (Result, error) {
	if looksLikeMessage(src) {
		return w.Message(f, src)
	}
	if err := checkText(src); err != nil {
		return Result{}, err
	}
	begins, sign := looksLikeHTML(src), markup.Find(src[:min(len(src), maxHeader)])
	if begins || sign != nil {
		if bytes.Contains(src, []byte("](http")) {
			return Result{}, fmt.Errorf("%w: it has tags of HTML and links of Markdown", ErrUnclear)
		}
		r, err := w.HTML(f, src)
		if err == nil && !begins {
			r.Warnings = append(r.Warnings, "it begins as text and was taken for HTML, since it holds "+shorten(string(sign), 40)+": say which it is with --type")
		}
		return r, err
	}
	return w.Text(f, src)
}

// checkText refuses what is not text in UTF-8, where ASCII is looked for: UTF-16 and
// what is not text at all.
func checkText(src []byte) error {
	switch {
	case bytes.HasPrefix(src, []byte("\xFF\xFE")) || bytes.HasPrefix(src, []byte("\xFE\xFF")), isUTF16(src):
		return fmt.Errorf("%w, but in UTF-16: convert it first", ErrNotText)
	case controls(src) > 4+len(src)/32:
		return fmt.Errorf("%w: it holds control characters, as pictures and programs do", ErrNotText)
	}
	return nil
}

// preamble returns the length of what stands before the header and is not part of
// it: a byte order mark, empty lines, the line of an mbox.
func preamble(src []byte) int {
	rest := bytes.TrimPrefix(src, []byte("\uFEFF"))
	rest = bytes.TrimLeft(rest, "\r\n")
	return len(src) - len(rest) + mboxLine(rest)
}

// mboxLine returns the length of the line that an mbox has before the header.
func mboxLine(src []byte) int {
	if bytes.HasPrefix(src, []byte("From ")) || bytes.HasPrefix(src, []byte(">From ")) {
		return bytes.IndexByte(src, '\n') + 1
	}
	return 0
}

// checkMessage returns why the message must not be rewritten.
func checkMessage(src []byte, root *entity, walked *walker) error {
	if root.header.malformed >= 0 {
		return fmt.Errorf("%w: line %d is neither a header field nor the empty line that ends the header", ErrMalformed, lineNumber(src, root.header.malformed))
	}
	if len(root.header.fields) == 0 {
		return fmt.Errorf("%w: it has no header", ErrMalformed)
	}
	if !bytes.Contains(src, []byte("\n")) && bytes.Contains(src, []byte("\r")) {
		return fmt.Errorf("%w: its lines end in CR alone; write them with LF or CRLF", ErrMalformed)
	}
	for _, e := range walked.leaves {
		// A multipart that can't be entered is a leaf; the others are parents.
		for p := e; p != nil; p = p.parent {
			if err := p.protection(); err != nil {
				return fmt.Errorf("part %s, %s: %w", p.name(), p.mediaType, err)
			}
		}
	}
	return nil
}

// body is a text part that is shown and can be read.
type body struct {
	*entity
	label    string // as reported
	role     htmlRole
	format   textFormat
	transfer transferEncoding
	charset  charset
	decoded  []byte // without its transfer encoding
	text     []byte // in UTF-8
	page     *page  // of HTML
}

// bodies returns the parts that are rewritten, and warns of those that can't
// be.
func (m *mail) bodies(src []byte, leaves []*entity) ([]*body, error) {
	var bodies []*body
	for _, e := range leaves {
		if e.problem != "" {
			m.warn(fmt.Sprintf("part %s is left alone: %s", e.name(), e.problem))
			continue
		}
		if !e.shown() || !e.header.blank {
			if e.isText() && e.header.blank && e.disposition != "attachment" {
				m.warn(fmt.Sprintf("%s %s is left alone: it is taken for a file, by its name or its disposition", e.mediaType, e.name()))
			}
			continue
		}
		b := &body{entity: e, label: e.mediaType + " " + e.name()}
		if problem := b.read(src); problem != "" {
			m.warn(fmt.Sprintf("%s is left alone: %s", b.label, problem))
			continue
		}
		if e.mediaType == "text/plain" {
			if err := checkInlinePGP(b.text); err != nil {
				return nil, fmt.Errorf("%s: %w", b.label, err)
			}
		}
		bodies = append(bodies, b)
	}
	return bodies, nil
}

// lookAheadAll says what else the HTML parts get, and looks at all parts before
// any is rewritten.
func (m *mail) lookAheadAll(bodies []*body) {
	last := -1
	for i, b := range bodies {
		switch b.mediaType {
		case "text/html":
			last = i
		case "text/x-amp-html":
			b.role = ampHTML
		case "text/plain":
			b.format.delSp = strings.EqualFold(b.parameters["format"], "flowed") && strings.EqualFold(b.parameters["delsp"], "yes")
		}
	}
	if last >= 0 && m.w.o.Parts != TextParts {
		bodies[last].role = lastHTML
	}
	for _, b := range bodies {
		if b.mediaType == "text/plain" {
			m.lookAheadText(b.text, b.format)
		} else {
			b.page = readPage(b.text, b.role == ampHTML)
			m.lookAhead(b.page)
		}
	}
}

// read decodes the body, and returns why it can't.
func (b *body) read(src []byte) (problem string) {
	if b.transfer, problem = b.encoding(src); problem != "" {
		return problem
	}
	var ok bool
	if b.decoded, ok = b.transfer.decode(src[b.start:b.end]); !ok {
		return "it is not valid " + string(b.transfer)
	}
	if b.charset, ok = charsetOf(b.parameters["charset"], b.decoded); !ok {
		return fmt.Sprintf("its charset %q is not known", b.parameters["charset"])
	}
	var err error
	if b.text, err = b.charset.decode(b.decoded); err != nil {
		return fmt.Sprintf("its charset %q can't be read: %v", b.parameters["charset"], err)
	}
	return ""
}

// checkInlinePGP refuses a text that is signed or encrypted in the way that is
// older than MIME (RFC 9580, section 6.2).
func checkInlinePGP(text []byte) error {
	for _, c := range []struct {
		line string
		err  error
	}{
		{"-----BEGIN PGP SIGNED MESSAGE-----", ErrSigned},
		{"-----BEGIN PGP MESSAGE-----", ErrEncrypted},
	} {
		if bytes.HasPrefix(text, []byte(c.line)) || bytes.Contains(text, []byte("\n"+c.line)) {
			return c.err
		}
	}
	return nil
}

// rewriteBody returns the edits of the message that rewrite a part.
func (m *mail) rewriteBody(src []byte, b *body) ([]edit, error) {
	isText := b.mediaType == "text/plain"
	before := *m
	m.converted = b.charset.encoding != nil
	if parts := m.w.o.Parts; m.off == "" && (parts == HTMLParts && isText || parts == TextParts && !isText) {
		m.off = "its part is not one to track"
		defer func() { m.off = "" }()
	}
	var edits []edit
	var err error
	if isText {
		edits, err = m.text(b.text, b.label, b.format)
	} else {
		edits, err = m.html(b.page, b.label, b.role)
	}
	if err != nil {
		return nil, err
	}
	if len(edits) == 0 {
		return nil, nil
	}
	changed, problem := b.write(src, edits)
	if problem != "" {
		*m = before
		m.warn(fmt.Sprintf("%s is left alone: %s", b.label, problem))
		return nil, nil
	}
	return changed, nil
}

// write returns the edits of the message that make those of the part's text.
func (b *body) write(src []byte, edits []edit) (changed []edit, problem string) {
	edits, err := b.charset.encodeEdits(b.decoded, b.text, edits)
	if err != nil {
		return nil, fmt.Sprintf("its charset %q can't be written: %v", b.parameters["charset"], err)
	}
	raw := src[b.start:b.end]
	eol := "\n"
	if bytes.Contains(src[b.header.start:b.end], []byte("\r\n")) {
		eol = "\r\n"
	}
	transfer := b.transfer
	if transfer == identity {
		if b.binary(src) || !makesLongLine(raw, edits) {
			for i := range edits { // no URL has a line in it that delimits parts
				edits[i].start += b.start
				edits[i].end += b.start
			}
			return edits, ""
		}
		transfer = quotedPrintable
		changed = b.declare(src, eol)
	}
	out := b.transfer.splice(raw, b.decoded, edits, eol)
	if b.transfer == identity {
		out = encodeQuotedPrintable(out, eol)
	}
	reads := &matcher{src: b.decoded, edits: edits}
	if !transfer.decodeTo(reads, out) || !reads.matched() || b.delimits(out) {
		return nil, "what its encoding holds can't be changed for certain"
	}
	return append(changed, edit{start: b.start, end: b.end, block: out}), ""
}

func (b *body) binary(src []byte) bool {
	f, _ := b.header.find(src, "Content-Transfer-Encoding")
	return f != nil && bytes.EqualFold(bytes.TrimSpace(src[f.colon+1:f.end]), []byte("binary"))
}

// makesLongLine reports whether a line that has an edit is too long then.
func makesLongLine(src []byte, edits []edit) bool {
	length := lineLength{src: src, lineEnd: -1}
	for _, e := range edits {
		if !length.allows(e.start, e.end, len(e.text)) || length.length > maxLine {
			return true
		}
	}
	return false
}

// delimits reports whether a line of the body would be taken for a delimiter.
func (b *body) delimits(out []byte) bool {
	w := walker{opened: map[string]int{}}
	for p := b.parent; p != nil; p = p.parent {
		w.opened[p.boundary] = 0
	}
	if len(w.opened) == 0 {
		return false
	}
	for line := range bytes.Lines(out) {
		if bytes.HasPrefix(line, []byte("--")) {
			if _, _, ok := w.delimiter(line); ok {
				return true
			}
		}
	}
	return false
}

// declare returns the edits of the header that make the body quoted-printable.
func (b *body) declare(src []byte, eol string) []edit {
	if f, _ := b.header.find(src, "Content-Transfer-Encoding"); f != nil {
		var edits []edit
		for _, f := range b.header.fields { // it may stand there twice
			if f.name == "Content-Transfer-Encoding" {
				edits = append(edits, edit{start: f.colon + 1, end: f.end, text: " " + string(quotedPrintable) + eol})
			}
		}
		return edits
	}
	text := "Content-Transfer-Encoding: " + string(quotedPrintable) + eol
	if b.parent == nil && !b.header.has("Mime-Version") {
		text = "MIME-Version: 1.0" + eol + text
	}
	return []edit{{start: b.header.end, end: b.header.end, text: text}}
}

// unsubscribeURLs returns the URLs by which a message says how to unsubscribe
// (RFC 2369): as they stand and canonical. Beyond the RFC it reads what some
// programs write: encoded words, no angle brackets, HTML's character references.
func unsubscribeURLs(src []byte, h *header) map[string]bool {
	all := map[string]bool{}
	for _, f := range h.fields {
		if f.name != "List-Unsubscribe" {
			continue
		}
		value := string(src[f.colon+1 : f.end])
		if decoded, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
			value = decoded
		}
		for _, url := range bracketed(value) {
			for _, url := range []string{url, html.UnescapeString(url)} {
				all[url], all[canonicalURL(url)] = true, true
			}
		}
	}
	return all
}

// bracketed returns what stands in angle brackets, outside of comments, and
// without the white space within; where there are none, what commas part.
func bracketed(value string) (all []string) {
	clean := func(s string) string {
		return strings.Map(func(c rune) rune {
			if c <= ' ' {
				return -1
			}
			return c
		}, s)
	}
	if !strings.Contains(value, "<") {
		all = strings.Split(clean(value), ",")
		return append(all, clean(value)) // a URL may hold one
	}
	comment := 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && comment > 0:
			i++
		case c == '(':
			comment++
		case c == ')':
			comment = max(0, comment-1)
		case c == '<' && comment == 0:
			n := strings.IndexByte(value[i:], '>')
			if n < 0 {
				return all
			}
			all = append(all, clean(value[i+1:i+n]))
			i += n
		}
	}
	return all
}

// listUnsubscribe returns the fields for unsubscribing in one click, or none.
//
// A message that says itself how to unsubscribe keeps that: adding a
// List-Unsubscribe-Post to somebody else's List-Unsubscribe would promise that
// its URL takes the POST request. The field stands at the end of the header,
// and is never encoded: mailbox providers ignore it otherwise.
func (m *mail) listUnsubscribe(src []byte, h *header) (text string, err error) {
	o := &m.w.o
	if !o.ListUnsubscribe {
		return "", nil
	}
	if h.has("List-Unsubscribe") {
		if !h.has("List-Unsubscribe-Post") {
			m.warn("the message has a List-Unsubscribe of its own without List-Unsubscribe-Post: it is kept, and mailbox providers won't offer to unsubscribe in one click (RFC 8058)")
		}
		return "", nil
	}
	tracked := m.unsubscribe.URL
	eol := "\n"
	if bytes.Contains(src[:h.end], []byte("\r\n")) {
		eol = "\r\n"
	}
	if h.end > 0 && src[h.end-1] != '\n' {
		text = eol
	}
	text += "List-Unsubscribe: <" + tracked + ">"
	if o.UnsubscribeMailto != "" {
		mailto, err := mailtoURL(o.UnsubscribeMailto)
		if err != nil {
			return "", err
		}
		text += "," + eol + " <" + mailto + ">"
	}
	text += eol
	if !strings.HasPrefix(tracked, "https:") {
		m.warn("List-Unsubscribe-Post is left out: one-click unsubscribing needs a base URL with https (RFC 8058)")
	} else if !h.has("List-Unsubscribe-Post") {
		text += "List-Unsubscribe-Post: List-Unsubscribe=One-Click" + eol
	}
	return text, nil
}

// mailtoURL returns the mailto: URL of an address, or the URL that was given.
func mailtoURL(s string) (string, error) {
	address := s
	if len(s) >= len("mailto:") && strings.EqualFold(s[:len("mailto:")], "mailto:") {
		address = s[len("mailto:"):]
	} else {
		s = "mailto:" + s
	}
	invalid := func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("<>,\"\\", c) }
	if at := strings.IndexByte(address, '@'); at < 1 || at == len(address)-1 || strings.ContainsFunc(address, invalid) || len(s) > 512 {
		return "", fmt.Errorf("the address for unsubscribing must be such as unsubscribe@example.com or mailto:unsubscribe@example.com?subject=unsubscribe, with other characters percent-encoded")
	}
	return s, nil
}

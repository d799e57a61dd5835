package email

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// htmlRole says what else an HTML part gets besides tracked links.
type htmlRole int

const (
	plainHTML htmlRole = iota // nothing
	lastHTML                  // honeypot and pixel: the last HTML part that is shown
	ampHTML                   // nothing, and only links of AMP for email are tracked: a[href]
)

// html returns the edits that put tracking into an HTML part. src is UTF-8, or
// at least a superset of ASCII.
func (m *mail) html(p *page, part string, role htmlRole) ([]edit, error) {
	m.notePrivacyLink(part, false)
	src, base := p.src, m.look(p)
	edits := make([]edit, 0, len(p.anchors)+2)
	m.report.Links = slices.Grow(m.report.Links, len(p.anchors))
	line, counted := 1, 0
	for i := range p.anchors {
		a := &p.anchors[i]
		line += bytes.Count(src[counted:a.start], []byte("\n"))
		counted = a.start
		url, err := m.judge(found{part: part, line: line, url: a.url, base: base, text: a.text, optOut: a.optOut, privacy: a.privacy})
		if err != nil {
			return nil, err
		}
		if url == "" && m.off != "" {
			continue // each byte stays, also the marks
		}
		first := len(edits)
		edits = append(edits, a.marks...)
		if i := noTrack(string(src[a.value:a.valueEnd])); a.privacy && url != "" {
			// The attribute is written anew: it may have no value, or be the mark itself.
			name := string(src[a.name:a.nameEnd])
			if strings.EqualFold(name, privacyMark) {
				name = "href"
			}
			edits = append(edits, edit{start: a.name, end: a.end, text: name + `="` + quoteURL(url, '"') + `"`})
		} else if i >= 0 {
			edits = append(edits, edit{start: a.value + i, end: a.value + i + len(noTrackMark)})
		} else if url != "" {
			edits = append(edits, edit{start: a.value, end: a.valueEnd, text: quoteURL(url, a.quote)})
		}
		slices.SortFunc(edits[first:], func(a, b edit) int { return a.start - b.start })
	}
	if role == lastHTML {
		var err error
		if edits, err = m.addTraps(edits, p); err != nil {
			return nil, err
		}
	}
	m.checkSize(src, edits, role)
	return edits, nil
}

// lookAhead looks at an HTML part before any part is rewritten: for what an
// earlier run put in, and for links that opt out, which the same links of a
// plain text part can't say.
func (m *mail) lookAhead(p *page) {
	base := m.look(p)
	for _, a := range p.anchors {
		url := stripURL(a.url)
		if i := noTrack(url); i >= 0 {
			a.optOut, url = noTrackMark, url[:i]+url[i+len(noTrackMark):]
		}
		if a.optOut == "" {
			continue
		}
		if url, problem := absolute(base, url); problem == "" {
			if m.optOuts == nil {
				m.optOuts = map[string]string{}
			}
			m.optOuts[url] = a.optOut
		}
	}
}

// maxBase bounds, in bytes, what each relative URL of a part is made longer by.
const maxBase = 2048

// look notices what an earlier run put in, and returns what the part's relative
// URLs refer to.
func (m *mail) look(p *page) (base string) {
	for _, a := range p.anchors {
		m.notice(a.url)
	}
	for _, url := range p.images {
		m.notice(url)
	}
	base, problem := absolute("", stripURL(p.base))
	if problem != "" || len(base) > maxBase || !strings.HasPrefix(base[len(schemeOf(base)):], "://") || placeholder(base) != "" && !m.w.o.Placeholders {
		return ""
	}
	return base
}

// quoteURL writes a tracked URL as an attribute's value. It is made of letters,
// digits and -._~:/%?&=, of which some need quotes, or would be misread without
// by what is not a browser.
func quoteURL(url string, quote byte) string {
	escaped := strings.ReplaceAll(url, "&", "&amp;")
	if quote == 0 && (strings.ContainsAny(url, "?&=") || strings.HasSuffix(url, "/")) {
		return `"` + escaped + `"`
	}
	return escaped
}

// page is what matters of an HTML part.
type page struct {
	src     []byte
	amp     bool
	anchors []anchor // in the order in which they stand
	images  []string // URLs of pictures that may be an earlier run's pixel
	base    string   // href of the first <base> that has one
	hasBase bool
	place   place

	collecting int    // the anchor whose text is being read, or -1
	text       []byte // of that anchor, raw, white space collapsed
}

// An anchor is an element with a link.
type anchor struct {
	start           int // of its tag
	name, nameEnd   int // of the attribute that holds the link
	value, valueEnd int
	end             int
	quote           byte
	url             string
	text            string   // what is visible of it, shortened
	optOut          string   // the attribute by which it wants to be left alone
	seen            []string // names of attributes that may opt out
	marks           []edit   // that remove data-notrack and data-privacy-link
	privacy         bool     // it has data-privacy-link
}

// readPage looks through an HTML part, in time and memory in proportion to its
// length, whatever it holds.
func readPage(src []byte, amp bool) *page {
	p := page{src: src, amp: amp, collecting: -1, anchors: make([]anchor, 0, bytes.Count(src, []byte("href="))+1)}
	p.read(scanner{src: src}, false)
	return &p
}

// read reads the tokens of the part or of a conditional comment in it.
func (p *page) read(s scanner, conditional bool) {
	svg := 0
	inside := "" // the element whose text is being collected
	for {
		t, ok := s.next()
		if !ok {
			break
		}
		if !conditional {
			p.place.see(s.src, &t, s.raw != "")
		}
		switch t.kind {
		case textToken:
			p.addText(s.src[t.start:t.end])
		case commentToken:
			if content, ok := conditionalComment(s.src[:t.end], t.start); ok && !conditional && !p.amp {
				// Its text is another client's: that of the anchor around it
				// goes on behind it.
				outer, text := p.collecting, p.text
				p.collecting, p.text = -1, nil
				p.read(content, true)
				p.collecting, p.text = outer, text
			}
		case startToken:
			if !t.complete {
				break
			}
			switch t.name {
			case "a":
				p.endText()
				inside = t.name
				p.readAnchor(&t, svg > 0)
			case "area":
				p.readAnchor(&t, false)
			case "img":
				p.readImage(&t)
			case "base":
				if !conditional && !p.hasBase {
					p.base, p.hasBase = p.attribute(&t, "href")
				}
			case "svg":
				if !p.isEmptyElement(&t) {
					svg++
				}
			case "br", "div", "li", "p", "td", "tr":
				p.addText([]byte(" "))
			case "title", "style", "script":
				// In SVG these may be empty elements, without raw text.
				if svg > 0 && p.isEmptyElement(&t) {
					s.raw = ""
				}
			default:
				if strings.HasPrefix(t.name, "v:") && !p.amp {
					p.endText()
					inside = t.name
					p.readAnchor(&t, false)
				}
			}
		case endToken:
			switch t.name {
			case "":
			case "svg":
				svg = max(0, svg-1)
			case inside:
				p.endText()
				inside = ""
			}
		}
	}
	p.endText()
	if !conditional {
		p.place.finish(s.src)
	}
}

// conditionalComment returns the markup within a comment that Outlook takes
// for a condition: <!--[if mso]> … <![endif]-->.
func conditionalComment(src []byte, start int) (scanner, bool) {
	const opening = "<!--[if"
	if len(src)-start < len(opening) || !strings.EqualFold(string(src[start:start+len(opening)]), opening) {
		return scanner{}, false
	}
	n := bytes.IndexByte(src[start:], '>')
	if n < 0 {
		return scanner{}, false
	}
	// What comes last, <![endif]-->, reads as a comment.
	return scanner{src: src, at: start + n + 1}, true
}

// readAnchor reads the tag of an element that may have a link.
func (p *page) readAnchor(t *token, svg bool) {
	a := anchor{start: t.start, value: -1}
	isHref := false
	alt := ""
	var first attributes // of those that ask for the privacy link
	list := attributes{src: p.src, at: t.nameEnd}
	for list.next() {
		switch {
		case list.is("href"):
			if !isHref {
				isHref = true
				a.setLink(&list)
			}
		case list.is("xlink:href"):
			if svg && a.value < 0 {
				a.setLink(&list)
			}
		case list.is("alt"):
			if t.name == "area" && alt == "" {
				alt = list.text()
			}
		case list.is(privacyMark):
			if mark, ok := removal(&list); ok {
				a.marks = append(a.marks, mark)
			}
			if !a.privacy {
				a.privacy, first = true, list
			}
		default:
			a.readOptOut(&list)
		}
	}
	if a.privacy && a.value < 0 {
		a.setLink(&first)
		a.url = ""
		a.marks = slices.DeleteFunc(a.marks, func(mark edit) bool { return mark.end == first.end })
	}
	if a.value < 0 {
		return
	}
	a.text = visibleText([]byte(alt))
	p.anchors = append(p.anchors, a)
	if t.name != "area" {
		p.collecting = len(p.anchors) - 1
	}
}

// Attributes by which a link asks not to be tracked, in the templates of other
// products: those whose name says so, with any value but a negative one (SES,
// Postmark, Mailgun, Iterable, Mandrill, Mautic and more), those that turn tracking
// off with a negative one (SendGrid, SparkPost), and classes (Customer.io, Marketo).
// Names are without data-, hyphens and colons. The mail keeps all of them but
// data-notrack, which is this project's own.
var (
	optOuts       = []string{"notrack", "donottrack", "disabletrack", "skiptrack", "skipclick", "untrack", "noclicktrack", "nolinktrack", "trackingdisabled"}
	trackingNames = setOf("track tracking clicktrack clicktracking linktrack linktracking trackable trackclicks msysclicktrack elqtrack")
	negatives     = setOf("0 off false no none disabled")
	optOutClasses = setOf("untracked mktnotrack notrack no-track")
)

// readOptOut notes an attribute that opts out.
func (a *anchor) readOptOut(list *attributes) {
	name := list.src[list.name:list.nameEnd]
	if list.is("class") {
		for class := range strings.FieldsSeq(list.text()) {
			if optOutClasses[strings.ToLower(class)] {
				a.optOut = "the class " + class
			}
		}
		return
	}
	if !bytes.ContainsAny(name, "kK") || len(name) > 40 {
		return // as most have none
	}
	if mark, ok := removal(list); ok && list.is("data-notrack") {
		a.marks = append(a.marks, mark)
	}
	lower := strings.ToLower(string(name))
	if slices.Contains(a.seen, lower) || len(a.seen) == 16 {
		return // of two that are the same, browsers read the first
	}
	a.seen = append(a.seen, lower)
	plain := strings.TrimPrefix(plainName(strings.ReplaceAll(lower, ":", "")), "data")
	value := strings.TrimSpace(list.text())
	negative := negatives[strings.ToLower(value)]
	switch {
	case slices.ContainsFunc(optOuts, func(s string) bool { return strings.Contains(plain, s) }):
		if !negative {
			a.optOut = lower
		}
	case trackingNames[plain] && negative:
		a.optOut = lower + `="` + value + `"`
	}
}

func (a *anchor) setLink(list *attributes) {
	a.name, a.nameEnd, a.end = list.name, list.nameEnd, list.end
	a.value, a.valueEnd, a.quote = list.value, list.valueEnd, list.quote
	a.url = list.text()
}

// removal takes an attribute out with the white space before it, unless that
// keeps its neighbours apart. It must not give the attribute before it the
// value of one behind it whose name begins with =.
func removal(list *attributes) (edit, bool) {
	src := list.src
	next := list.end
	for isSpace(src[next]) {
		next++
	}
	if src[next] == '=' {
		return edit{}, false
	}
	start := list.name
	if next > list.end || src[next] == '>' {
		for isSpace(src[start-1]) {
			start--
		}
	}
	return edit{start: start, end: list.end}, true
}

// readImage reads a picture, which may be a link's content, or the pixel.
func (p *page) readImage(t *token) {
	list := attributes{src: p.src, at: t.nameEnd}
	source, alt := false, false
	for list.next() {
		switch {
		case list.is("src") && !source:
			source = true
			raw := p.src[list.value:list.valueEnd]
			if len(raw) <= maxPixelURL && mayBeOpenLink(raw) {
				p.images = append(p.images, list.text())
			}
		case list.is("alt") && !alt:
			alt = true
			p.addText(p.src[list.value:list.valueEnd])
		}
	}
}

// attribute returns the value of a tag's attribute as browsers see it.
func (p *page) attribute(t *token, name string) (value string, ok bool) {
	list := attributes{src: p.src, at: t.nameEnd}
	for list.next() {
		if list.is(name) {
			return list.text(), true
		}
	}
	return "", false
}

func (p *page) isEmptyElement(t *token) bool {
	list := attributes{src: p.src, at: t.nameEnd}
	for list.next() {
	}
	return list.selfClose
}

const (
	maxRawText     = 400 // bytes that are looked at of a link's text
	maxVisibleText = 100 // bytes that are kept of it
)

// addText adds to the text of the anchor that is open.
func (p *page) addText(raw []byte) {
	if p.collecting < 0 || len(p.text) >= maxRawText {
		return
	}
	for _, c := range raw {
		if isSpace(c) {
			if len(p.text) == 0 || p.text[len(p.text)-1] == ' ' {
				continue
			}
			c = ' '
		}
		if p.text = append(p.text, c); len(p.text) == maxRawText {
			return
		}
	}
}

// endText gives the anchor that is open its text.
func (p *page) endText() {
	if p.collecting >= 0 {
		if text := visibleText(p.text); text != "" {
			p.anchors[p.collecting].text = text
		}
	}
	p.collecting, p.text = -1, p.text[:0]
}

// visibleText makes what a person reads of raw text, shortened.
func visibleText(raw []byte) string {
	raw = bytes.TrimRight(raw, " ")
	if len(raw) == 0 {
		return ""
	}
	text := string(raw)
	if strings.Contains(text, "&") {
		text = html.UnescapeString(text)
	}
	if strings.ContainsAny(text, "\u00A0\n\x00") {
		text = strings.Join(strings.Fields(strings.ReplaceAll(text, "\x00", "")), " ")
	}
	return shorten(strings.ToValidUTF8(text, "\uFFFD"), maxVisibleText)
}

package email

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"example.com/linktracker/linkcore"
)

// place finds where the pixel and the honeypot may stand in an HTML part, so
// that every client takes them for content and no other content changes.
type place struct {
	top int // at the beginning of the body
	end int // at its end

	state    topState
	noscript int // depth, in the head

	body, html int // the last </body> and </html>, or 0
	revealed   int // a comment that hides what follows from Outlook, or 0
	rawStart   int // the last tag, and whether raw text that it begins is open
	rawOpen    bool
	last       token
}

type topState uint8

const (
	inHead topState = iota
	behindBodyTag
	topFound
)

// see takes in the next token. A tag may begin raw text.
func (l *place) see(src []byte, t *token, raw bool) {
	l.last = *t
	if t.complete && t.kind != rawToken {
		l.rawOpen = raw
	}
	text := src[t.start:t.end]
	if t.start == 0 {
		text = bytes.TrimPrefix(text, []byte("\uFEFF")) // a byte order mark is not content
	}
	space := t.kind == textToken && len(bytes.TrimSpace(text)) == 0
	l.seeTop(src, t, space)
	switch {
	case t.kind == startToken:
		l.rawStart = t.start
	case t.kind == endToken && t.complete && t.name == "body":
		l.body = t.start
		if l.revealed > 0 {
			l.body = l.revealed
		}
	case t.kind == endToken && t.complete && t.name == "html":
		l.html = t.start
	}
	if !space {
		l.revealed = 0
		if t.kind == commentToken && isRevealing(src[t.start:t.end]) {
			l.revealed = t.start
		}
	}
}

// isRevealing reports whether a comment is <!--[if !mso]><!-->, behind which
// comes what other clients than Outlook show.
func isRevealing(comment []byte) bool {
	condition, rest, ok := bytes.Cut(comment, []byte(">"))
	return ok && bytes.HasPrefix(condition, []byte("<!--[if")) && len(bytes.Trim(rest, "<!-> \t\r\n")) == 0
}

// isRevealed reports whether a comment is <!--<![endif]-->, behind which Outlook
// reads again.
func isRevealed(comment []byte) bool {
	return bytes.HasPrefix(comment, []byte("<!--<![endif]")) || bytes.HasPrefix(comment, []byte("<![endif]"))
}

// seeTop looks for the beginning of the body: behind its tag or, where it has
// none, before the first content.
func (l *place) seeTop(src []byte, t *token, space bool) {
	switch l.state {
	case topFound:
		return
	case behindBodyTag:
		// A body tag that is hidden from Outlook: go to where it reads again.
		switch {
		case space:
		case t.kind == commentToken && t.complete && isRevealed(src[t.start:t.end]):
			l.top = t.end
			l.state = topFound
		default:
			l.state = topFound
		}
		return
	}
	switch t.kind {
	case rawToken, commentToken:
		return
	case textToken:
		if space || l.noscript > 0 {
			return
		}
	case startToken, endToken:
		switch {
		case !t.complete:
		case t.name == "body" && t.kind == startToken:
			l.top, l.state = t.end, behindBodyTag
			return
		case t.name == "noscript" && t.kind == startToken:
			l.noscript++
			return
		case t.name == "noscript":
			l.noscript = max(0, l.noscript-1)
			return
		case l.noscript > 0:
			return
		}
		switch t.name {
		case "html", "head", "meta", "title", "link", "style", "script", "base":
			if t.kind == startToken || t.name != "html" {
				return
			}
		}
	}
	l.top, l.state = t.start, topFound
}

// finish takes in the end of the part.
func (l *place) finish(src []byte) {
	// Behind what the end cuts off, everything would be a part of it.
	l.end = len(src)
	switch {
	case l.rawOpen:
		l.end = l.rawStart
	case !l.last.complete && len(src) > 0:
		l.end = l.last.start
	case bytes.HasSuffix(src, []byte("</")):
		l.end -= 2
	}
	if l.body > 0 {
		l.end = l.body
	} else if l.html > 0 {
		l.end = l.html
	}
	if l.state == inHead {
		l.top = l.end
	}
	l.top = min(l.top, l.end)
}

const maxPixelURL = 8000 // bytes: no tracked link is longer

// mayBeOpenLink reports whether a picture's URL is worth being verified: every
// link has a token, and every token dots.
func mayBeOpenLink(raw []byte) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 4 && strings.EqualFold(string(raw[:4]), "http") && bytes.Count(raw, []byte(".")) >= 2
}

// addTraps adds the honeypot and the pixel to a part's edits, unless an earlier
// run has.
func (m *mail) addTraps(edits []edit, p *page) ([]edit, error) {
	o := &m.w.o
	top, end := "", ""
	if o.Honeypot != "" && m.w.clicks.Tracking == Full && !m.findings.honeypot {
		tracked, err := m.sign(o.Signer, linkcore.Click, Full, linkcore.HoneypotPrefix+m.random, o.Honeypot, "")
		if err != nil {
			return nil, fmt.Errorf("honeypot: %w", err)
		}
		m.findings.honeypot = true
		m.report.Honeypot = tracked.URL
		end = honeypot(tracked.URL)
	}
	if tracking := m.w.opens.Tracking; o.Pixel != NoPixel && tracking != Off && !m.findings.pixel {
		tracked, err := m.sign(o.PixelSigner, linkcore.Open, tracking, m.linkID(tracking, 0, ""), "", "p.gif")
		if err != nil {
			return nil, fmt.Errorf("pixel: %w", err)
		}
		m.warnOfSigner(tracked)
		m.findings.pixel = true
		m.report.Pixel = tracked.URL
		if o.Pixel == PixelTop {
			top = pixel(tracked.URL)
		} else {
			end += pixel(tracked.URL)
		}
	}
	if p.place.top == p.place.end {
		top, end = "", top+end
	}
	if top != "" {
		edits = insert(edits, p.place.top, top)
	}
	if end != "" {
		edits = insert(edits, p.place.end, end)
	}
	return edits, nil
}

// insert adds text at a place that no edit covers.
func insert(edits []edit, at int, text string) []edit {
	i := len(edits)
	for i > 0 && edits[i-1].start >= at {
		i--
	}
	return slices.Insert(edits, i, edit{start: at, end: at, text: text})
}

// pixel is the open pixel: transparent, and out of the flow where a client
// knows positions, so that no line grows around it, nor the page that ends with
// it; where it knows none, a block of one pixel. Sizes win over a style sheet's
// rules for all pictures.
func pixel(url string) string {
	return `<img src="` + quoteURL(url, '"') + `" alt="" width="1" height="1" border="0" style="display:block!important;position:absolute!important;width:1px!important;height:1px!important;min-width:0!important;min-height:0!important;max-width:1px!important;margin:-1px 0 0!important;padding:0!important;border:0!important">`
}

// honeypot is a link without content that takes no room, that the keyboard
// does not reach and that screen readers pass over.
func honeypot(url string) string {
	return `<a href="` + quoteURL(url, '"') + `" style="display:none!important;mso-hide:all" aria-hidden="true" tabindex="-1"></a>`
}

// clipped is the length in bytes from which on Gmail shows the beginning of a
// mail only: "102 KB", taken for the smaller of what that may mean.
const clipped = 102_000

func (m *mail) checkSize(src []byte, edits []edit, role htmlRole) {
	if role == ampHTML {
		return
	}
	size := len(src)
	for _, e := range edits {
		size += len(e.text) - (e.end - e.start)
	}
	if size <= clipped {
		return
	}
	warning := fmt.Sprintf("the HTML has %d KB: Gmail clips a mail at 102 KB, and what is behind is not seen", (size+999)/1000)
	if role == lastHTML && m.w.opens.Tracking != Off && m.w.o.Pixel == PixelEnd {
		warning += "; the pixel neither: put it at the top"
	}
	m.warn(warning)
}

package email

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
)

// Tracking says what of a mailing is tracked.
type Tracking string

// The kinds of tracking.
const (
	Full Tracking = "full" // links say who clicked

	// Anonymous links say which link was clicked and not by whom: they have no
	// recipient and no time sent, and each is the same in every mail of the
	// mailing. Events of such links hold nothing of the person.
	Anonymous Tracking = "anonymous"

	// Off tracks nothing: no link, no pixel, no honeypot.
	Off Tracking = "off"
)

// Pixel says where the picture stands that tells that a mail was opened.
type Pixel string

// The places of the pixel.
const (
	NoPixel  Pixel = "none"
	PixelEnd Pixel = "end" // a mail that is clipped loses it: read to the end
	PixelTop Pixel = "top" // survives clipping
)

// A Choice says what becomes of a link of a kind that is always reported.
type Choice string

// The choices.
const (
	Track  Choice = "track"  // tracked all the same, with a warning
	Skip   Choice = "skip"   // left alone, with the reason
	Refuse Choice = "refuse" // the mail is refused: a [*RefusedError]
)

// A Parameter is one that is added to the query string of destinations.
type Parameter struct{ Name, Value string }

// Options say how the mails of one mailing are rewritten. Signer and Keys are
// required.
type Options struct {
	// Signer makes the links.
	Signer *linkcore.Signer

	// Keys tells links that are tracked already: those that verify with a key
	// of this ring, whatever their host. The signer's key should be in it.
	Keys *linkcore.KeyRing

	Sealed bool          // make links of the sealed form; not with Anonymous
	Form   linkcore.Form // default [linkcore.PathForm]

	// Labels gives links a cosmetic label made of their visible text, where
	// their form has a place for one: sealed links, and clear ones in query
	// form. Anonymous links get none, since a text may name the recipient.
	Labels bool

	Tracking Tracking // default Full

	// UTM is added to the query string of each destination that does not have
	// a parameter of this name, in any case, before it is signed.
	UTM []Parameter

	// Hosts whose links are left alone, and, if there are any, the only ones
	// whose links are tracked: example.com, or *.example.com for every host
	// below it.
	SkipHosts, OnlyHosts []string

	// SkipURLs are patterns of destinations that are left alone: a whole URL,
	// in which * stands for any characters, also none and also slashes.
	// Scheme and host match in any case.
	SkipURLs []string

	// Placeholders also tracks URLs that hold a template's placeholders. The
	// placeholder becomes part of the signed destination as it is written, so
	// this is for mails in which it is meant literally.
	Placeholders bool

	// Pixel is the place of the open pixel, default NoPixel, and PixelSigner
	// makes its link if it has a base URL of its own; default Signer.
	Pixel       Pixel
	PixelSigner *linkcore.Signer

	// Honeypot is the destination of a link that no person sees: whoever
	// follows it is a scanner. It stands at the end of the HTML, before the
	// pixel. Empty: none. An anonymous mailing has none, since what follows it
	// would be recorded as somebody.
	Honeypot string

	// VisibleURL is for a link whose visible text is itself a URL or a host,
	// of another site than the tracked link: to mail clients that looks like
	// phishing. Default Track.
	VisibleURL Choice

	// Shorteners is for destinations on a link shortener. Default Track.
	Shorteners Choice

	// OneTime is for destinations that look like one-time links, such as a
	// password reset: scanners that follow a link use it up, and its secret
	// would be recorded with each click. Default Skip.
	OneTime Choice

	// ListUnsubscribe adds the header fields List-Unsubscribe (RFC 2369) and
	// List-Unsubscribe-Post (RFC 8058) to a message that has none, and
	// UnsubscribeMailto is an address that is named in addition: a mailto: URL
	// or an address. Messages only.
	ListUnsubscribe   bool
	UnsubscribeMailto string
}

// A Rewriter puts tracking into the mails of one mailing. It may be used from
// any goroutine.
type Rewriter struct {
	o Options
}

// New returns a rewriter. The error says which option is wrong.
func New(o Options) (*Rewriter, error) {
	if o.Signer == nil {
		return nil, errors.New("a signer is required: KeyRing.Signer makes one")
	}
	if o.Keys == nil {
		return nil, errors.New("a key ring is required, to tell links that are tracked already")
	}
	if o.Form == "" {
		o.Form = linkcore.PathForm
	}
	if o.Tracking == "" {
		o.Tracking = Full
	}
	if o.Pixel == "" {
		o.Pixel = NoPixel
	}
	if o.PixelSigner == nil {
		o.PixelSigner = o.Signer
	}
	return &Rewriter{o: o}, nil
}

// Action says what was done with a link.
type Action string

// The actions.
const (
	Tracked Action = "tracked"
	Skipped Action = "skipped"
)

// A Link is one link of a mail in the report.
type Link struct {
	Position int      `json:"position"`              // counts the links of the mail, from 1
	Part     string   `json:"part"`                  // where in the mail, such as "html"
	Line     int      `json:"line"`                  // line of the decoded part, from 1
	Found    string   `json:"found"`                 // the URL as it stood there, decoded
	Text     string   `json:"text,omitempty"`        // visible text, shortened
	Action   Action   `json:"action"`                //
	Reason   string   `json:"reason,omitempty"`      // why it was skipped
	Dest     string   `json:"destination,omitempty"` // as signed; empty if skipped
	URL      string   `json:"tracked,omitempty"`     // the tracked link; empty if skipped
	ID       string   `json:"link,omitempty"`        // the link's field of this name
	Warnings []string `json:"warnings,omitempty"`
}

// Result is a mail that was rewritten.
type Result struct {
	Output   []byte
	Links    []Link
	Warnings []string // about the mail as a whole
}

// A RefusedError says which link made a mail be refused, by a [Choice].
type RefusedError struct {
	Part    string
	Line    int
	URL     string
	Problem string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s, line %d: %s %s", e.Part, e.Line, e.URL, e.Problem)
}

// HTML rewrites an HTML document or fragment in UTF-8.
func (w *Rewriter) HTML(f linkcore.Fields, src []byte) (Result, error) {
	m, err := w.newMail(f)
	if err != nil {
		return Result{}, err
	}
	edits, err := m.html(src, "html", lastHTML)
	if err != nil {
		return Result{}, err
	}
	return m.result(apply(nil, src, edits)), nil
}

// mail is one mail that is being rewritten, with the report so far.
type mail struct {
	w        *Rewriter
	fields   linkcore.Fields // as signed, but for the link
	random   string          // tells this mail's links from those of all others
	links    []Link
	warnings []string

	// What the mail turned out to hold of an earlier run.
	rewritten, pixel, honeypot bool
}

func (w *Rewriter) newMail(f linkcore.Fields) (*mail, error) {
	if f.Link != "" {
		return nil, &linkcore.FieldError{Field: "link", Problem: "must be empty: each link of a mail gets its own"}
	}
	m := &mail{w: w, fields: f}
	if w.o.Tracking == Anonymous {
		m.fields.Recipient = ""
		m.fields.Sent = time.Time{} // to the second, it could tell mails apart
	} else {
		var b [8]byte
		rand.Read(b[:])
		m.random = base64.RawURLEncoding.EncodeToString(b[:])
	}
	return m, nil
}

func (m *mail) result(output []byte) Result {
	return Result{Output: output, Links: m.links, Warnings: m.warnings}
}

// found is a link as it stands in a part.
type found struct {
	part   string
	line   int
	url    string // decoded
	base   string // what relative URLs refer to; empty: they are left alone
	text   string // visible text, if that is not the URL itself
	optOut string // the attribute by which it wants to be left alone
}

// judge enters a link into the report, and returns the URL that replaces it or
// "" if it is left alone. An error ends the rewriting of the whole mail.
func (m *mail) judge(f found) (string, error) {
	l := Link{Position: len(m.links) + 1, Part: f.part, Line: f.line, Found: f.url, Text: f.text}
	destination, reason, err := m.destination(&f, &l)
	if err != nil {
		return "", err
	}
	if reason == "" {
		tracked, err := m.sign(m.w.o.Signer, linkcore.Click, m.linkID(l.Position, destination), destination, m.label(f.text))
		var field *linkcore.FieldError
		switch {
		case err == nil:
			l.Action = Tracked
			l.Dest, l.URL, l.ID = destination, tracked.URL, tracked.Fields.Link
			for _, warning := range tracked.Warnings {
				l.Warnings = append(l.Warnings, string(warning))
			}
		case errors.As(err, &field) && field.Field == "destination":
			reason = err.Error()
		default:
			return "", err
		}
	}
	if reason != "" {
		l.Action, l.Reason = Skipped, reason
	}
	m.links = append(m.links, l)
	return l.URL, nil
}

// sign makes a link of the mail's fields.
func (m *mail) sign(signer *linkcore.Signer, kind linkcore.Kind, id, destination, label string) (linkcore.Tracked, error) {
	f := m.fields
	f.Link = id
	o := linkcore.Options{Kind: kind, Form: m.w.o.Form, Label: label}
	if m.w.o.Sealed {
		return signer.Seal(f, destination, o)
	}
	return signer.Sign(f, destination, o)
}

// linkID names the link at a position: with the mail's random part, so that no
// two mails share one, or for an anonymous mailing with a hash, so that all do.
func (m *mail) linkID(position int, destination string) string {
	id := strconv.Itoa(position) + "-"
	if m.w.o.Tracking != Anonymous {
		return id + m.random
	}
	sum := sha256.Sum256([]byte(m.fields.Customer + "\n" + m.fields.Campaign + "\n" + id + "\n" + destination))
	return "an_" + id + base64.RawURLEncoding.EncodeToString(sum[:8])
}

// label makes a link's cosmetic label of its visible text.
func (m *mail) label(text string) string { return "" }

// destination returns where a link leads, as it is signed, or the reason why
// it is left alone.
func (m *mail) destination(f *found, l *Link) (destination, reason string, err error) {
	url := f.url
	if f.optOut != "" {
		return "", "opts out by " + f.optOut, nil
	}
	if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
		return "", "not an http or https URL", nil
	}
	if authority, target, err := linkcore.SplitURL(url); err == nil {
		if _, err := m.w.o.Keys.Verify(authority, target); err == nil {
			return "", "tracked already", nil
		}
	}
	return url, "", nil
}

// edit says that src[start:end] becomes text. Edits are ordered and never
// overlap.
type edit struct {
	start, end int
	text       string
}

// apply appends src with its edits to dst.
func apply(dst, src []byte, edits []edit) []byte {
	n := len(src)
	for _, e := range edits {
		n += len(e.text) - (e.end - e.start)
	}
	if cap(dst)-len(dst) < n {
		dst = append(make([]byte, 0, len(dst)+n), dst...)
	}
	at := 0
	for _, e := range edits {
		dst = append(append(dst, src[at:e.start]...), e.text...)
		at = e.end
	}
	return append(dst, src[at:]...)
}

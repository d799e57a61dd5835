package email

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
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
	// mailing. Events of such links name the link, and nothing of the person.
	Anonymous Tracking = "anonymous"

	// Off tracks nothing: no link, no pixel, no honeypot.
	Off Tracking = "off"
)

// Pixel says where the pixel stands, a picture that reports that a mail was opened.
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

	// Keys recognizes links that are tracked already: those that verify with a key
	// of this ring, whatever their host. The signers' keys are in it.
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

	// UnsubscribeURLs are patterns, as those of SkipURLs, of the links by which
	// the sender's own pages unsubscribe. They are left alone: no rule of the
	// blocklist may stand between a person and them. A URL is matched as it
	// stands in the mail, and in the form that all URLs have that a browser
	// takes for the same. The URLs of a message's List-Unsubscribe need not be
	// named here.
	UnsubscribeURLs []string

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
	o        Options
	skip     hosts
	only     hosts
	patterns []pattern
	leaving  []pattern // of UnsubscribeURLs, in canonical form
	site     string    // of the signer's host
}

// New returns a rewriter. The error says which option is wrong.
func New(o Options) (*Rewriter, error) {
	if o.Signer == nil {
		return nil, errors.New("a signer is required: KeyRing.Signer makes one")
	}
	if o.Keys == nil {
		return nil, errors.New("a key ring is required, to tell links that are tracked already")
	}
	o.Form = cmp.Or(o.Form, linkcore.PathForm)
	o.Tracking = cmp.Or(o.Tracking, Full)
	o.Pixel = cmp.Or(o.Pixel, NoPixel)
	o.PixelSigner = cmp.Or(o.PixelSigner, o.Signer)
	o.VisibleURL = cmp.Or(o.VisibleURL, Track)
	o.Shorteners = cmp.Or(o.Shorteners, Track)
	o.OneTime = cmp.Or(o.OneTime, Skip)
	switch {
	case o.Form != linkcore.PathForm && o.Form != linkcore.QueryForm:
		return nil, fmt.Errorf("form: %q is unknown: path or query", o.Form)
	case o.Tracking != Full && o.Tracking != Anonymous && o.Tracking != Off:
		return nil, fmt.Errorf("tracking: %q is unknown: full, anonymous or off", o.Tracking)
	case o.Pixel != NoPixel && o.Pixel != PixelEnd && o.Pixel != PixelTop:
		return nil, fmt.Errorf("pixel: %q is unknown: none, end or top", o.Pixel)
	case o.Tracking == Anonymous && o.Sealed:
		return nil, errors.New("tracking: anonymous links can't be sealed: no two sealed links are the same, so that each would tell its mail")
	}
	for _, choice := range []struct {
		option string
		value  Choice
	}{{"visible URLs", o.VisibleURL}, {"shorteners", o.Shorteners}, {"one-time links", o.OneTime}} {
		if choice.value != Track && choice.value != Skip && choice.value != Refuse {
			return nil, fmt.Errorf("%s: %q is unknown: track, skip or refuse", choice.option, choice.value)
		}
	}
	for _, p := range o.UTM {
		if p.Name == "" {
			return nil, errors.New("UTM: a parameter has no name")
		}
	}
	w := &Rewriter{o: o, site: site(o.Signer.Host())}
	// Else a mail that is rewritten twice would have its links tracked twice.
	for _, signer := range []*linkcore.Signer{o.Signer, o.PixelSigner} {
		probe, err := signer.Sign(linkcore.Fields{Link: "probe"}, "", linkcore.Options{Kind: linkcore.Open})
		if err != nil {
			return nil, err
		}
		if _, ok := w.verify(probe.URL); !ok {
			return nil, fmt.Errorf("keys: links such as %s are not recognised by the key ring: give the one that the signer was made with, and a base URL with a path of at most %d segments", probe.URL, deepestMount)
		}
	}
	var err error
	if w.skip, err = newHosts("skip hosts", o.SkipHosts); err != nil {
		return nil, err
	}
	if w.only, err = newHosts("only hosts", o.OnlyHosts); err != nil {
		return nil, err
	}
	if w.patterns, err = newPatterns("skip URLs", o.SkipURLs); err != nil {
		return nil, err
	}
	if w.leaving, err = newPatterns("unsubscribe URLs", o.UnsubscribeURLs); err != nil {
		return nil, err
	}
	for i := range w.leaving {
		w.leaving[i].pieces = strings.Split(canonicalURL(strings.Join(w.leaving[i].pieces, "*")), "*")
	}
	if o.Honeypot != "" {
		if w.o.Honeypot, err = linkcore.NormalizeDestination(o.Honeypot); err != nil {
			return nil, fmt.Errorf("honeypot: %w", err)
		}
	}
	return w, nil
}

// Action says what was done with a link.
type Action string

// The actions.
const (
	ActionTracked Action = "tracked"
	ActionSkipped Action = "skipped"
)

// A Link is one link of a mail in the report. Its position counts all links of
// the mail, also those that were left alone.
type Link struct {
	Position    int      `json:"position"` // from 1
	Part        string   `json:"part"`     // where in the mail, such as "html"
	Line        int      `json:"line"`     // of the part, decoded; from 1
	Found       string   `json:"found"`    // the URL as it stood there, decoded
	Text        string   `json:"text,omitempty"`
	Action      Action   `json:"action"`
	Reason      string   `json:"reason,omitempty"`      // why it was skipped
	Destination string   `json:"destination,omitempty"` // as signed; empty if skipped
	Tracked     string   `json:"tracked,omitempty"`     // the tracked URL; empty if skipped
	ID          string   `json:"link,omitempty"`        // the link field of the tracked URL
	Warnings    []string `json:"warnings,omitempty"`
}

// Result is a mail that was rewritten.
type Result struct {
	Output   []byte
	Links    []Link
	Pixel    string   // the open pixel's URL, if one was put in
	Honeypot string   // the honeypot's tracked link, if one was put in
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
	if err := checkText(src); err != nil {
		return Result{}, err
	}
	edits, err := m.html(readPage(src, false), "html", lastHTML)
	if err != nil {
		return Result{}, err
	}
	m.warnOfNoHeader()
	return m.result(apply(nil, src, edits)), nil
}

// warnOfNoHeader warns of what only a whole message has a place for.
func (m *mail) warnOfNoHeader() {
	if m.w.o.ListUnsubscribe {
		m.warn("List-Unsubscribe is left out: it is a header field, and this is not a whole message")
	}
}

// mail is one mail that is being rewritten, with the report so far.
type mail struct {
	w        *Rewriter
	fields   linkcore.Fields // as signed, but for the link
	random   string          // distinguishes this mail's links from all others
	report   Result
	findings earlier
	optOuts  map[string]string // by URL, what an HTML part opts out with
	leaving  map[string]bool   // the URLs of List-Unsubscribe, as they stand and canonical
}

// earlier is what the mail turned out to hold of an earlier run.
type earlier struct {
	links    bool // of this very mail: what was left alone then stays so
	pixel    bool
	honeypot bool
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
		m.random = linkcore.NewLinkID("")
	}
	return m, nil
}

func (m *mail) result(output []byte) Result {
	m.report.Output = output
	return m.report
}

// warn enters a warning about the mail as a whole into the report, once.
func (m *mail) warn(warning string) {
	if !slices.Contains(m.report.Warnings, warning) {
		m.report.Warnings = append(m.report.Warnings, warning)
	}
}

// warnOfSigner warns of what is wrong with all links of a signer.
func (m *mail) warnOfSigner(t linkcore.Tracked) {
	for _, warning := range t.Warnings {
		if warning == linkcore.WarnHTTP || warning == linkcore.WarnRunApp {
			m.warn(string(warning))
		}
	}
}

// deepestMount is how many segments the path has at most that an endpoint is
// mounted under.
const deepestMount = 4

// verify reports whether a URL is a tracked link of the key ring, whatever its
// host, and also below a path that an endpoint is mounted under.
func (w *Rewriter) verify(url string) (linkcore.Link, bool) {
	if !isHTTP(schemeOf(url)) {
		return linkcore.Link{}, false
	}
	authority, target, err := linkcore.SplitURL(url)
	if err != nil {
		return linkcore.Link{}, false
	}
	for range deepestMount + 1 {
		link, err := w.o.Keys.Verify(authority, target)
		if err == nil {
			return link, true
		}
		if !errors.Is(err, linkcore.ErrNotLink) {
			break
		}
		i := strings.IndexAny(target[1:], "/?")
		if i < 0 || target[1+i] == '?' {
			break
		}
		target = target[1+i:]
	}
	return linkcore.Link{}, false
}

// notice looks at a URL of the mail before any is judged, for what an earlier
// run put in.
func (m *mail) notice(url string) {
	link, ok := m.w.verify(stripURL(url))
	if !ok || link.Customer != m.fields.Customer || link.Campaign != m.fields.Campaign || link.Recipient != m.fields.Recipient {
		return
	}
	switch {
	case strings.HasPrefix(link.Fields.Link, linkcore.HoneypotPrefix):
		m.findings.honeypot = true
	case !isLinkID(link.Fields.Link):
		return
	case link.Kind == linkcore.Open:
		m.findings.pixel = true
	case link.Kind != linkcore.Click:
		return
	}
	m.findings.links = true
}

// found is a link as it stands in a part.
type found struct {
	part    string
	line    int
	url     string // decoded
	base    string // what relative URLs refer to; empty: they are left alone
	text    string // visible text, if that is not the URL itself
	optOut  string // the attribute by which it wants to be left alone
	problem string // why it is left alone otherwise
	plain   bool   // in plain text, where no link can opt out by itself
}

// judge enters a link into the report, and returns the URL that replaces it or
// "" if it is left alone. An error ends the rewriting of the whole mail.
func (m *mail) judge(f found) (string, error) {
	f.url = stripURL(f.url)
	l := Link{
		Position: len(m.report.Links) + 1,
		Part:     f.part,
		Line:     f.line,
		Found:    f.url,
		Text:     f.text,
	}
	destination, reason, err := m.destination(&f, &l)
	if err != nil {
		return "", err
	}
	if reason == "" {
		text := ""
		if m.w.o.Labels && m.w.o.Tracking != Anonymous && (m.w.o.Sealed || m.w.o.Form == linkcore.QueryForm) {
			text = label(f.text)
		}
		tracked, err := m.sign(m.w.o.Signer, linkcore.Click, m.linkID(l.Position, destination), destination, text)
		var field *linkcore.FieldError
		switch {
		case err == nil:
			l.Destination, l.Tracked, l.ID = destination, tracked.URL, tracked.Fields.Link
			m.warnOfSigner(tracked)
			for _, warning := range tracked.Warnings {
				if warning != linkcore.WarnHTTP && warning != linkcore.WarnRunApp {
					l.Warnings = append(l.Warnings, string(warning))
				}
			}
		case errors.As(err, &field) && field.Field == "destination":
			reason = err.Error()
		default:
			return "", err
		}
	}
	l.Action, l.Reason = ActionTracked, reason
	if reason != "" {
		l.Action, l.Warnings = ActionSkipped, nil
	}
	m.report.Links = append(m.report.Links, l)
	return l.Tracked, nil
}

// destination returns where a link leads, as it is signed, or the reason why
// it is left alone.
func (m *mail) destination(f *found, l *Link) (destination, reason string, err error) {
	o := &m.w.o
	if o.Tracking == Off {
		return "", "tracking is off", nil
	}
	url := f.url
	if url == "" {
		return "", "it is empty", nil
	}
	if noTrack(url) >= 0 {
		return "", "it opts out with " + noTrackMark, nil
	}
	if reason := m.unsubscribes(f.base, url); reason != "" {
		return "", reason, nil
	}
	if p := placeholder(url); p != "" && !o.Placeholders {
		return "", "it holds the placeholder " + p, nil
	}
	if reason := unfinished(url); reason != "" && !o.Placeholders {
		return "", reason, nil
	}
	if f.problem != "" {
		return "", f.problem, nil
	}
	url, reason = absolute(f.base, url)
	if reason != "" {
		return "", reason, nil
	}
	if _, ok := m.w.verify(url); ok {
		return "", "it is tracked already", nil
	}
	if f.optOut != "" {
		return "", "it opts out with " + f.optOut, nil
	}
	if attribute := m.optOuts[url]; f.plain && attribute != "" {
		return "", "it opts out in the HTML with " + attribute, nil
	}
	if destination, err = linkcore.NormalizeDestination(encodeSpaces(url)); err != nil {
		return "", err.Error(), nil
	}
	if m.findings.links {
		return "", "it was left alone when this mail was rewritten before", nil
	}
	host := hostOf(destination)
	if m.w.skip.match(host) {
		return "", "its host is one to skip", nil
	}
	if !m.w.only.empty() && !m.w.only.match(host) {
		return "", "its host is not among those to track", nil
	}
	if len(m.w.patterns) > 0 {
		normal := lowerAuthority(destination)
		for _, p := range m.w.patterns {
			if p.match(normal) {
				return "", "it matches the pattern " + p.written, nil
			}
		}
	}
	// The strictest choice decides, whatever the order.
	for _, doubt := range []struct {
		choice  Choice
		problem string
	}{
		{o.OneTime, m.oneTime(destination)},
		{o.Shorteners, m.shortener(host)},
		{o.VisibleURL, m.visibleURL(f.text, host)},
	} {
		switch {
		case doubt.problem == "":
		case doubt.choice == Refuse:
			return "", "", &RefusedError{Part: f.part, Line: f.line, URL: f.url, Problem: doubt.problem}
		case doubt.choice == Skip:
			reason = cmp.Or(reason, "it "+doubt.problem)
		default:
			l.Warnings = append(l.Warnings, "it "+doubt.problem)
		}
	}
	if reason != "" {
		return "", reason, nil
	}
	if signature := signedBy(destination); signature != "" && len(o.UTM) > 0 {
		l.Warnings = append(l.Warnings, "no parameter was added: it is signed, by its parameter "+signature+", and would not work any more")
		return destination, "", nil
	}
	return addParameters(destination, o.UTM), "", nil
}

// unsubscribes says why a link is one by which the sender unsubscribes people,
// or returns "".
func (m *mail) unsubscribes(base, url string) string {
	if len(m.leaving) == 0 && len(m.w.leaving) == 0 {
		return ""
	}
	canonical := url
	if full, problem := absolute(base, url); problem == "" {
		canonical = canonicalURL(full)
	}
	if m.leaving[url] || m.leaving[canonical] {
		return "it is the mail's own unsubscribe link, by its List-Unsubscribe"
	}
	for _, p := range m.w.leaving {
		if p.match(url) || p.match(canonical) {
			return "it is the sender's own unsubscribe link, by the pattern " + p.written
		}
	}
	return ""
}

func (m *mail) oneTime(destination string) string {
	sign := oneTime(destination)
	if sign == "" {
		return ""
	}
	return "looks like a one-time link, by " + sign + ": a scanner that follows it uses it up, and its secret would be recorded with each click"
}

func (m *mail) shortener(host string) string {
	if !isShortener(host) {
		return ""
	}
	return "leads to the link shortener " + host + ", which filters of spam look at with suspicion: use the link that it leads to"
}

func (m *mail) visibleURL(text, host string) string {
	shown := shownHost(text)
	if shown == "" || site(shown) == m.w.site {
		return ""
	}
	if shown == host {
		return "shows " + shown + " and, once tracked, leads to " + m.w.o.Signer.Host() + ": some mail clients warn of such links; write words instead"
	}
	return "shows " + shown + " and leads to " + host + ": that is what phishing looks like"
}

// sign makes a link of the mail's fields.
func (m *mail) sign(signer *linkcore.Signer, kind linkcore.Kind, id, destination, label string) (linkcore.Tracked, error) {
	f := m.fields
	f.Link = id
	o := linkcore.Options{Kind: kind, Form: m.w.o.Form, Label: label, ExactLink: true}
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
	return linkcore.AnonymousPrefix + id + base64.RawURLEncoding.EncodeToString(sum[:8])
}

// isLinkID reports whether a link was named by linkID.
func isLinkID(id string) bool {
	id = strings.TrimPrefix(id, linkcore.AnonymousPrefix)
	digits, random, ok := strings.Cut(id, "-")
	if !ok || digits == "" || len(random) != 11 {
		return false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// edit says that src[start:end] becomes text. Edits are ordered and never
// overlap.
type edit struct {
	start, end int
	text       string
}

// equalsApplied reports whether b is src with its edits.
func equalsApplied(b, src []byte, edits []edit) bool {
	at := 0
	for _, e := range edits {
		kept := src[at:e.start]
		if !bytes.HasPrefix(b, kept) || len(b) < len(kept)+len(e.text) || string(b[len(kept):len(kept)+len(e.text)]) != e.text {
			return false
		}
		b = b[len(kept)+len(e.text):]
		at = e.end
	}
	return bytes.Equal(b, src[at:])
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

package email

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/linktracker/linkcore"
)

// Tracking says how opens or clicks are tracked.
type Tracking string

// The kinds of tracking, from the loosest to the strictest.
const (
	Full Tracking = "full" // links say who clicked

	// Anonymous links say which link was clicked and not by whom: they have no
	// recipient and no time sent, and each is the same in every mail of the
	// mailing. Events of such links name the link, and nothing of the person.
	Anonymous Tracking = "anonymous"

	// Off tracks nothing. Without opens there is no pixel; without clicks no link
	// is replaced, and there is no honeypot.
	Off Tracking = "off"
)

const tracking = "full anonymous off" // in this order

// checkChoice returns an error unless an option has one of the values.
func checkChoice(option, value, allowed string) error {
	if !slices.Contains(strings.Fields(allowed), value) {
		last := strings.LastIndexByte(allowed, ' ')
		return fmt.Errorf("%s: %q is unknown: %s or %s", option, value, strings.ReplaceAll(allowed[:last], " ", ", "), allowed[last+1:])
	}
	return nil
}

// A Policy is how opens or clicks of a mail were tracked, and whose choice that was.
type Policy struct {
	Tracking Tracking `json:"tracking"`
	By       string   `json:"by"` // "mailing", or "recipient" if the recipient is stricter
}

func (p Policy) stricter(recipient Tracking) Policy {
	if strings.Index(tracking, string(recipient)) > strings.Index(tracking, string(p.Tracking)) {
		return Policy{recipient, "recipient"}
	}
	return p
}

// Parts says which parts of a message are tracked.
type Parts string

// The choices of parts.
const (
	AllParts  Parts = "all"
	HTMLParts Parts = "html" // text/html and text/x-amp-html
	TextParts Parts = "text" // text/plain
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

	// Opens and Clicks say how the mailing is tracked, each by default as Tracking
	// says, whose default is Full. [Rewriter.For] adds what a recipient wants.
	Tracking, Opens, Clicks Tracking

	// PrivacyLink warns of mails that have no place for the privacy link, by which
	// the recipient objects to tracking. It is put wherever a mail asks for it,
	// also with tracking off: as the href of a link with the attribute
	// data-privacy-link, and in plain text for that word.
	PrivacyLink bool

	// Parts are the parts that are tracked; in the others nothing changes but
	// privacy links. Default AllParts. Messages only.
	Parts Parts

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
	o             Options
	opens, clicks Policy
	skip          hosts
	only          hosts
	patterns      []pattern
	leaving       []pattern // of UnsubscribeURLs, in canonical form
	site          string    // of the signer's host
}

// For returns the rewriter for recipients who agree to this much tracking of opens
// and of clicks: of the mailing's choice and theirs, the stricter holds. In a sealed
// mailing, anonymous is off: no two sealed links are the same.
func (w *Rewriter) For(opens, clicks Tracking) (*Rewriter, error) {
	if err := cmp.Or(checkChoice("recipient's opens", string(opens), tracking), checkChoice("recipient's clicks", string(clicks), tracking)); err != nil {
		return nil, err
	}
	theirs := *w
	for _, p := range []struct {
		policy *Policy
		wanted Tracking
	}{{&theirs.opens, opens}, {&theirs.clicks, clicks}} {
		if w.o.Sealed && p.wanted == Anonymous {
			p.wanted = Off
		}
		*p.policy = p.policy.stricter(p.wanted)
	}
	return &theirs, nil
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
	o.Opens = cmp.Or(o.Opens, o.Tracking, Full)
	o.Clicks = cmp.Or(o.Clicks, o.Tracking, Full)
	o.Tracking = cmp.Or(o.Tracking, Full)
	o.Parts = cmp.Or(o.Parts, AllParts)
	o.Pixel = cmp.Or(o.Pixel, NoPixel)
	o.PixelSigner = cmp.Or(o.PixelSigner, o.Signer)
	o.VisibleURL = cmp.Or(o.VisibleURL, Track)
	o.Shorteners = cmp.Or(o.Shorteners, Track)
	o.OneTime = cmp.Or(o.OneTime, Skip)
	for _, option := range []struct{ name, value, allowed string }{
		{"form", string(o.Form), "path query"},
		{"tracking", string(o.Tracking), tracking},
		{"opens", string(o.Opens), tracking},
		{"clicks", string(o.Clicks), tracking},
		{"parts", string(o.Parts), "all html text"},
		{"pixel", string(o.Pixel), "none end top"},
		{"visible URLs", string(o.VisibleURL), "track skip refuse"},
		{"shorteners", string(o.Shorteners), "track skip refuse"},
		{"one-time links", string(o.OneTime), "track skip refuse"},
	} {
		if err := checkChoice(option.name, option.value, option.allowed); err != nil {
			return nil, err
		}
	}
	if o.Sealed && (o.Opens == Anonymous || o.Clicks == Anonymous) {
		return nil, errors.New("tracking: anonymous links can't be sealed: no two sealed links are the same, so that each would tell its mail")
	}
	for _, p := range o.UTM {
		if p.Name == "" {
			return nil, errors.New("UTM: a parameter has no name")
		}
	}
	w := &Rewriter{o: o, opens: Policy{o.Opens, "mailing"}, clicks: Policy{o.Clicks, "mailing"}, site: site(o.Signer.Host())}
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
	ActionPrivacy Action = "privacy" // it became the privacy link, which is no tracking
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
	Destination string   `json:"destination,omitempty"` // as signed; empty unless tracked
	Tracked     string   `json:"tracked,omitempty"`     // the URL that stands there now; empty if skipped
	ID          string   `json:"link,omitempty"`        // the link field of the tracked URL
	Warnings    []string `json:"warnings,omitempty"`
}

// Result is a mail that was rewritten.
type Result struct {
	Output        []byte
	Opens, Clicks Policy // how they are tracked
	Links         []Link
	Pixel         string   // the open pixel's URL, if one was put in
	Honeypot      string   // the honeypot's tracked link, if one was put in
	Privacy       string   // the privacy link, if one was put in
	Warnings      []string // about the mail as a whole
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
	return m.result(apply(src, edits)), nil
}

// warnOfNoHeader warns of what only a whole message has a place for.
func (m *mail) warnOfNoHeader() {
	if m.w.o.Parts != AllParts {
		m.warn("all of it is tracked: parts can be chosen of a whole message only")
	}
	if m.w.o.ListUnsubscribe {
		m.warn("List-Unsubscribe is left out: it is a header field, and this is not a whole message")
	}
}

// mail is one mail that is being rewritten, with the report so far.
type mail struct {
	w        *Rewriter
	fields   linkcore.Fields
	random   string // distinguishes this mail's links from all others
	report   Result
	findings earlier
	optOuts  map[string]string // by URL, what an HTML part opts out with
	leaving  map[string]bool   // the URLs of List-Unsubscribe, as they stand and canonical
	privacy  map[string]bool   // by the type of part, whether one has the privacy link

	unsubscribe linkcore.Tracked // what List-Unsubscribe is to hold, if it is added

	// Of the part that is being rewritten.
	off       string // why its clicks are not tracked
	converted bool   // to UTF-8, with U+FFFD for bytes that are not of its charset
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
	m := &mail{w: w, fields: f, random: linkcore.NewLinkID(""), privacy: map[string]bool{}}
	m.report.Opens, m.report.Clicks = w.opens, w.clicks
	if w.clicks.Tracking == Off {
		m.off = "tracking is off"
		if w.clicks.By == "recipient" {
			m.off += ", as the recipient wants"
		}
	}
	return m, nil
}

// fieldsFor returns the fields of links that are tracked so.
func (m *mail) fieldsFor(t Tracking) linkcore.Fields {
	f := m.fields
	if t == Anonymous {
		f.Recipient, f.Sent = "", time.Time{} // to the second, the time could tell mails apart
	}
	return f
}

func (m *mail) result(output []byte) Result {
	if m.w.o.Pixel != NoPixel && m.w.opens.Tracking != Off && !m.findings.pixel {
		m.warn("the pixel is left out: the mail has no HTML that is shown and tracked")
	}
	if len(m.privacy) == 0 {
		m.privacy["mail"] = false // no part of it can be rewritten
	}
	for _, kind := range slices.Sorted(maps.Keys(m.privacy)) {
		if m.w.o.PrivacyLink && !m.privacy[kind] {
			m.warn("the " + kind + " has no place for the privacy link: give a link of the HTML the attribute " + privacyMark + ", and write that word in the plain text")
		}
	}
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
	if !ok {
		return
	}
	policy := m.w.clicks
	if link.Kind == linkcore.Open {
		policy = m.w.opens
	}
	if (link.Kind == linkcore.Click || link.Kind == linkcore.Open) && policy.Tracking != Full && (policy.Tracking == Off || link.Recipient != "") {
		m.warn("it holds tracked links already, which stay: tracking is " + string(policy.Tracking) + " for this mail, so rewrite it from what it was")
	}
	if f := m.fieldsFor(policy.Tracking); link.Customer != f.Customer || link.Campaign != f.Campaign || link.Recipient != f.Recipient {
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
	privacy bool   // it asks for the privacy link
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
	if link, ok := m.w.verify(f.url); ok && link.Kind == linkcore.Privacy {
		m.notePrivacyLink(f.part, true)
	} else if f.privacy && f.problem == "" {
		var err error
		if l.Tracked, err = m.privacyLink(); err != nil {
			return "", err
		}
		m.notePrivacyLink(f.part, true)
		l.Action = ActionPrivacy
		m.report.Links = append(m.report.Links, l)
		return l.Tracked, nil
	}
	destination, reason, err := m.destination(&f, &l)
	if err != nil {
		return "", err
	}
	if reason == "" {
		text := ""
		if m.w.o.Labels && m.w.clicks.Tracking != Anonymous && (m.w.o.Sealed || m.w.o.Form == linkcore.QueryForm) {
			text = label(f.text)
		}
		tracked, err := m.sign(m.w.o.Signer, linkcore.Click, m.w.clicks.Tracking, m.linkID(m.w.clicks.Tracking, l.Position, destination), destination, text)
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
	if m.off != "" {
		if noTrack(f.url) >= 0 {
			m.warn("a URL has " + noTrackMark + " in its scheme, which is left there where clicks are not tracked: no mail client opens it")
		}
		return "", m.off, nil
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
	if problem, leave := unfinished(url); problem != "" && !o.Placeholders {
		if leave {
			return "", problem, nil
		}
		l.Warnings = append(l.Warnings, problem)
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
	if m.converted && strings.ContainsRune(url, utf8.RuneError) {
		return "", "it holds bytes that are not of its charset", nil
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
	if len(m.w.only) > 0 && !m.w.only.match(host) {
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
	if !shorteners.match(host) {
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

// sign makes a link that is tracked so.
func (m *mail) sign(signer *linkcore.Signer, kind linkcore.Kind, tracking Tracking, id, destination, label string) (linkcore.Tracked, error) {
	f := m.fieldsFor(tracking)
	f.Link = id
	o := linkcore.Options{Kind: kind, Form: m.w.o.Form, Label: label, ExactLink: id != ""}
	if m.w.o.Sealed {
		return signer.Seal(f, destination, o)
	}
	return signer.Sign(f, destination, o)
}

// wishLink makes a link by which the recipient says what they wish: it names them
// also where tracking is anonymous or off, as nobody could be heard otherwise.
func (m *mail) wishLink(kind linkcore.Kind) (linkcore.Tracked, error) {
	if m.fields.Recipient == "" {
		m.warn("the " + kind.String() + " link names no recipient, since none was given: nobody can tell whose wish it is")
	}
	tracked, err := m.sign(m.w.o.Signer, kind, Full, "", "", "")
	m.warnOfSigner(tracked)
	return tracked, err
}

// privacyMark is what asks for the privacy link: an attribute in HTML, a word in text.
const privacyMark = "data-privacy-link"

// privacyLink returns the mail's privacy link, the same in all places.
func (m *mail) privacyLink() (string, error) {
	if m.report.Privacy == "" {
		privacy, err := m.wishLink(linkcore.Privacy)
		if err != nil {
			return "", err
		}
		m.report.Privacy = privacy.URL
		if m.unsubscribe.URL != "" {
			m.report.Privacy, m.unsubscribe.URL = privacy.Beside(m.unsubscribe), m.unsubscribe.Beside(privacy)
		}
	}
	return m.report.Privacy, nil
}

// notePrivacyLink notes that there are parts of a type, and whether one has the link.
func (m *mail) notePrivacyLink(part string, has bool) {
	kind, _, _ := strings.Cut(part, " ")
	m.privacy[kind] = m.privacy[kind] || has
}

// linkID names the link at a position: with the mail's random part, so that no
// two mails share one, or for an anonymous mailing with a hash, so that all do.
func (m *mail) linkID(tracking Tracking, position int, destination string) string {
	id := strconv.Itoa(position) + "-"
	if tracking != Anonymous {
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

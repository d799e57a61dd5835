package linkcore

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A Warning is something about a tracked link that works but may not do so
// everywhere, or not for ever.
type Warning string

// The warnings that signing gives.
const (
	WarnLong     Warning = "the tracked URL is longer than 900 bytes: lines of a mail end at 998"
	WarnVeryLong Warning = "the tracked URL is longer than 2048 bytes: some clients cut it there"
	WarnHTTP     Warning = "the base URL is plain http, which anyone on the path can read and change; use https"
	WarnRunApp   Warning = "the base URL is the platform's own *.run.app: links made on it can never move to another service; use a domain of your own"
	WarnFragment Warning = "the destination has a fragment: a gateway that decodes the link cuts it off, and no repair brings it back"
	WarnPercent  Warning = "the destination has a % that two hex digits do not follow: some clients refuse such a URL; write %25 for a percent sign"
	WarnNoLabel  Warning = "the label is left out: a clear click link has a place for one in the query form only"
)

// A Signer makes tracked links with one key for one base URL. It may be used
// from any goroutine.
type Signer struct {
	key      *key
	base     string // scheme://authority[/prefix]
	host     string // what the tag covers
	warnings []Warning
	random   func([]byte) (int, error)
}

// Signer returns a signer for links that begin with the base URL: scheme, host
// and port, such as https://links.example.com, and a path where the endpoint's
// handler is mounted under one. The key id may be left empty while the ring
// has one key only: later, a new key must have reached every endpoint before
// it signs, so which one does is said, not guessed.
func (r *KeyRing) Signer(baseURL, keyID string) (*Signer, error) {
	k, err := r.signingKey(keyID)
	if err != nil {
		return nil, err
	}
	s := &Signer{key: k, random: rand.Read}
	if err := s.setBase(baseURL); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Signer) setBase(baseURL string) error {
	refuse := func(problem string) error { return &FieldError{Field: "base URL", Problem: problem} }
	if baseURL == "" {
		return refuse("is missing: it is the scheme, host and port of the links, such as https://links.example.com")
	}
	u, err := url.Parse(baseURL)
	switch {
	case err != nil || !isASCII(baseURL):
		return refuse("must be a URL in ASCII, an international host as A-labels (xn--…)")
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("must begin with https://")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(baseURL, "#"):
		return refuse("must be no more than scheme, host, port and path")
	}
	if s.host, err = NormalizeHost(u.Host); err != nil {
		return &FieldError{Field: "base URL", Problem: "has a host that no endpoint accepts: letters, digits, - and _ joined by dots, at most 253 bytes", Err: err}
	}
	port := ""
	if p := u.Port(); p != "" {
		if _, err := parseDestination("http://x:" + p); err != nil {
			return refuse("has a port above 65535")
		}
		port = ":" + p
	}
	prefix := strings.TrimSuffix(u.EscapedPath(), "/")
	for segment := range strings.SplitSeq(strings.TrimPrefix(prefix, "/"), "/") {
		if prefix != "" && (segment == "" || segment == "." || segment == "..") || strings.ContainsFunc(segment, func(c rune) bool { return c > '~' || classes[c]&classUnreserved == 0 }) {
			return refuse("has a path that not every gateway leaves as it is: use A-Z a-z 0-9 - . _ ~")
		}
	}
	s.base = u.Scheme + "://" + s.host + port + prefix
	if u.Scheme == "http" {
		s.warnings = append(s.warnings, WarnHTTP)
	}
	if strings.HasSuffix(s.host, ".run.app") {
		s.warnings = append(s.warnings, WarnRunApp)
	}
	return nil
}

// Key returns the id of the signer's key.
func (s *Signer) Key() string { return s.key.id }

// Host returns the host of the signer's links, normalised as by
// [NormalizeHost].
func (s *Signer) Host() string { return s.host }

// Options say what kind of link is made and how it is written. The zero value
// makes a click link in path form.
type Options struct {
	Kind  Kind   // default Click
	Form  Form   // default PathForm
	Label string // cosmetic, not authenticated; at most 128 bytes of UTF-8

	// ExactLink signs [Fields].Link as it stands, without random characters
	// behind it. Where several mails share such a link, an event without a
	// recipient does not say whose mail it was, a rule about the link,
	// untracked ones included, is about all of them, and nobody can tell a link
	// that was passed on from many recipients who click theirs. It is for a link
	// that the sender's system has made sure to use once, and for the links of
	// an anonymous mailing, which begin with an_.
	ExactLink bool

	// Metadata is the sender's own, carried to the event: a JSON object of at
	// most 512 bytes. Sealed links only.
	Metadata string
}

// Tracked is a link that was made.
type Tracked struct {
	URL      string
	Fields   Fields // as signed: with the whole link
	Warnings []Warning

	token string
}

// BesideParameter is the parameter in the query of an unsubscribe or privacy link
// that holds the token of the other of the two.
const BesideParameter = "also"

// Beside returns the URL of an unsubscribe or privacy link with the token of the
// other of the two, which the mail has as well: so the page of each leads to the
// other's. It is t.URL alone where both are too long for a line of a mail.
func (t Tracked) Beside(other Tracked) string {
	separator := "?"
	if strings.Contains(t.URL, "?") {
		separator = "&"
	}
	url := t.URL + separator + BesideParameter + "=" + other.token + "/"
	if len(url) > longURL {
		return t.URL
	}
	return url
}

// Sign makes a link of the clear form, which shows its fields and destination
// to whoever reads the mail. The destination is empty for all kinds
// but Click. An error is a [*FieldError].
func (s *Signer) Sign(f Fields, destination string, o Options) (Tracked, error) {
	return s.make(f, destination, o, false)
}

// Seal makes a link of the sealed form, which hides its fields and destination
// (not their length). Otherwise it is as [Signer.Sign].
func (s *Signer) Seal(f Fields, destination string, o Options) (Tracked, error) {
	return s.make(f, destination, o, true)
}

// SignAll makes a link for each destination, or none: the error is of the first
// that can't be made. Since a link is never used twice, o.ExactLink is for one
// destination only.
func (s *Signer) SignAll(f Fields, destinations []string, o Options) ([]Tracked, error) {
	return s.makeAll(f, destinations, o, false)
}

// SealAll is to [Signer.Seal] as [Signer.SignAll] is to Sign.
func (s *Signer) SealAll(f Fields, destinations []string, o Options) ([]Tracked, error) {
	return s.makeAll(f, destinations, o, true)
}

func (s *Signer) makeAll(f Fields, destinations []string, o Options, sealed bool) ([]Tracked, error) {
	if len(destinations) > 1 && o.ExactLink {
		return nil, &FieldError{Field: "link", Problem: "is exact and would be used for several destinations: leave ExactLink out, and each gets its own"}
	}
	all := make([]Tracked, 0, len(destinations))
	for i, destination := range destinations {
		t, err := s.make(f, destination, o, sealed)
		if err != nil {
			return nil, fmt.Errorf("destination %d: %w", i+1, err)
		}
		all = append(all, t)
	}
	return all, nil
}

func (s *Signer) make(f Fields, destination string, o Options, sealed bool) (t Tracked, err error) {
	if o.Kind == 0 {
		o.Kind = Click
	}
	if o.Form == "" {
		o.Form = PathForm
	}
	if destination, err = checkOptions(o, destination, sealed); err != nil {
		return t, err
	}
	label, err := encodeLabel(o.Label)
	if err != nil {
		return t, err
	}
	if err := checkFields(&f); err != nil {
		return t, err
	}
	if !o.ExactLink {
		f.Link = newLinkID(f.Link, s.random)
	} else if f.Link == "" {
		return t, &FieldError{Field: "link", Problem: "is empty, and is to be exact"}
	}
	fields := appendFields(nil, &f)

	var token []byte
	if sealed {
		token, err = s.key.sealToken(s.random, s.host, byte(o.Kind), fields, destination, o.Metadata)
		if err != nil {
			return t, err
		}
	} else {
		token = s.key.signToken(s.host, byte(o.Kind), fields, destination)
	}

	clearClick := o.Kind == Click && !sealed
	u := append(make([]byte, 0, 512), s.base...) // on the stack: most are shorter
	u = append(u, '/')
	at := len(u)
	if o.Form == QueryForm {
		u = append(append(u, label...), "?id="...)
		at = len(u)
		u = append(u, token...)
		if clearClick {
			u = appendDestination(append(u, "&url="...), destination)
		} else {
			u = append(u, '/')
		}
	} else {
		u = append(append(u, token...), '/')
		if clearClick {
			u = appendDestination(u, destination)
		} else {
			u = append(u, label...)
		}
	}
	if len(u) > maxURL {
		return t, &FieldError{Field: "destination", Problem: fmt.Sprintf("makes a tracked URL of %d bytes: %d are the most that can be relied upon", len(u), maxURL)}
	}
	t = Tracked{URL: string(u), Fields: f}
	t.token = t.URL[at : at+len(token)]
	t.Warnings = append(t.Warnings, s.warnings...)
	if len(u) > 2048 {
		t.Warnings = append(t.Warnings, WarnVeryLong)
	} else if len(u) > longURL {
		t.Warnings = append(t.Warnings, WarnLong)
	}
	if strings.Contains(destination, "#") {
		t.Warnings = append(t.Warnings, WarnFragment)
	}
	if hasBarePercent(destination) {
		t.Warnings = append(t.Warnings, WarnPercent)
	}
	if label != "" && clearClick && o.Form == PathForm {
		t.Warnings = append(t.Warnings, WarnNoLabel)
	}
	return t, nil
}

// checkOptions returns the destination as it is signed.
func checkOptions(o Options, destination string, sealed bool) (string, error) {
	if o.Form != PathForm && o.Form != QueryForm {
		return "", &FieldError{Field: "form", Problem: "must be path or query"}
	}
	if o.Metadata != "" {
		if !sealed {
			return "", &FieldError{Field: "metadata", Problem: "needs a sealed link: the clear form has no place for it"}
		}
		if problem := checkMetadata(o.Metadata); problem != "" {
			return "", &FieldError{Field: "metadata", Problem: problem}
		}
	}
	switch o.Kind {
	case Click:
		normalized, err := NormalizeDestination(destination)
		if err != nil {
			problem := err.Error()
			var d destinationError
			if errors.As(err, &d) {
				problem = string(d)
			}
			return "", &FieldError{Field: "destination", Problem: problem, Err: ErrDestination}
		}
		return normalized, nil
	case Open, Unsubscribe, Privacy:
		if destination != "" {
			return "", &FieldError{Field: "destination", Problem: "must be empty: links of kind " + o.Kind.String() + " lead nowhere"}
		}
		return "", nil
	}
	return "", &FieldError{Field: "kind", Problem: "must be click, open, unsubscribe or privacy"}
}

// NewLinkID makes the identifier of a link that is used once: 11 random
// characters, behind the name and a hyphen if there is a name. Of a name only
// the first 52 bytes are taken, so that an identifier has 64 at most. hp_ and
// an_ at its beginning, which have a meaning for events, come from the name
// alone, never by chance.
func NewLinkID(name string) string { return newLinkID(name, rand.Read) }

func newLinkID(name string, read func([]byte) (int, error)) string {
	const random = 11
	if name != "" {
		name = name[:min(len(name), maxIdentifier-random-len("-"))] + "-"
	}
	var b [8]byte
	for {
		read(b[:])
		s := base64.RawURLEncoding.EncodeToString(b[:])
		if !strings.HasPrefix(s, HoneypotPrefix) && !strings.HasPrefix(s, AnonymousPrefix) {
			return name + s
		}
	}
}

const maxLabel = 128 // bytes

// encodeLabel percent-encodes a label. It refuses what would be read as
// something else than a label, and what servers clean from a path.
func encodeLabel(label string) (string, error) {
	refuse := func(problem string) (string, error) {
		return "", &FieldError{Field: "label", Problem: problem}
	}
	if len(label) > maxLabel {
		return refuse("has more than 128 bytes")
	}
	if label == "" {
		return "", nil
	}
	segments := strings.Split(label, "/")
	for i, segment := range segments {
		switch segment {
		case "":
			return refuse("begins or ends with a slash, or has two in a row")
		case ".", "..":
			return refuse("has a segment . or .., which servers clean away")
		}
		segments[i] = string(appendDestination(nil, segment))
	}
	if segments[0] == "%2D" {
		return refuse("begins with -/, which is reserved")
	}
	if _, ok := parseToken(segments[0]); ok {
		return refuse("looks like a token")
	}
	return strings.Join(segments, "/"), nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
)

// An inspection is what is known of one URL.
type inspection struct {
	URL         string          `json:"url"`
	Inside      []string        `json:"inside,omitempty"` // gateways whose links it was in, the outer one first
	Form        linkcore.Form   `json:"form,omitempty"`
	Kind        string          `json:"kind,omitempty"` // empty while a box hides it
	Sealed      bool            `json:"sealed"`
	Host        string          `json:"host,omitempty"`
	Key         string          `json:"key,omitempty"`
	Customer    string          `json:"customer,omitempty"`
	Campaign    string          `json:"campaign,omitempty"`
	Recipient   string          `json:"recipient,omitempty"`
	Link        string          `json:"link,omitempty"`
	Sent        string          `json:"sent,omitempty"`
	Destination string          `json:"destination,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	BoxBytes    int             `json:"box_bytes,omitempty"` // of content, sealed
	Label       string          `json:"label,omitempty"`
	Query       string          `json:"query,omitempty"`

	WellFormed bool            `json:"well_formed"`
	Problems   []string        `json:"problems,omitempty"`
	Verified   *bool           `json:"verified,omitempty"` // nil: there were no keys
	Repair     linkcore.Repair `json:"repair,omitempty"`
	Reason     string          `json:"reason,omitempty"` // why it does not verify

	own      bool     // it is at the links' own host, and is none
	Rules    []string `json:"rules,omitempty"`    // that would stop it, the narrowest first
	Standing []string `json:"standing,omitempty"` // that are in the blocklist and match it, and what they do
}

// link returns what is known of the link, as rules are compared with it. A URL that is
// not a tracked link is its own destination.
func (i *inspection) link() *linkcore.Link {
	l := &linkcore.Link{Key: i.Key, Destination: i.Destination, Fields: linkcore.Fields{
		Customer: i.Customer, Campaign: i.Campaign, Recipient: i.Recipient, Link: i.Link,
	}}
	if i.Form == "" {
		l.Destination = i.URL
	}
	return l
}

// rules returns the rules that stop the link, the narrowest first: one of each kind
// that is about what it leads to or whose mailing it is. A forged link is nobody's.
func (i *inspection) rules() (rules []blocklist.Rule) {
	if i.own || i.Form != "" && !i.good() {
		return nil
	}
	left := []blocklist.Kind{blocklist.Link, blocklist.URL, blocklist.Campaign, blocklist.Customer, blocklist.Host}
	for _, r := range blocklist.Matching(i.link()) {
		if at := slices.Index(left, r.Kind); at >= 0 { // of hosts the whole one comes first
			if r.Kind == blocklist.URL {
				r.Value = i.link().Destination // as it is known to people
			}
			rules, left = append(rules, r), slices.Delete(left, at, at+1)
		}
	}
	return rules
}

// good reports whether the link verifies or, if that was not tried, is well
// formed.
func (i *inspection) good() bool {
	if i.Verified != nil {
		return *i.Verified
	}
	return i.WellFormed
}

// A checker inspects URLs.
type checker struct {
	ring   *linkcore.KeyRing // nil: there are no keys
	host   string            // of the base URL; may be empty
	prefix string            // path of the base URL, without a slash at its end
}

func (t *tool) checker(c *cobra.Command) (*checker, error) {
	var k checker
	if base := t.setting(c, "base-url", "LINK_BASE_URL"); base != "" {
		u, err := url.Parse(base)
		if err == nil {
			k.host, err = linkcore.NormalizeHost(u.Host)
		}
		if err != nil {
			return nil, usagef("the base URL %q is not a URL such as https://links.example.com", base)
		}
		k.prefix = strings.TrimSuffix(u.EscapedPath(), "/")
	}
	if t.setting(c, "keys", "LINK_KEYS") != "" {
		ring, err := t.keyRing(c)
		if err != nil {
			return nil, err
		}
		k.ring = ring
	}
	return &k, nil
}

var scheme = regexp.MustCompile(`(?i)https?://`)

// findURL returns the URL in a piece of text: what begins with the first scheme,
// up to the quote that was opened just before it.
func findURL(text string) string {
	at := scheme.FindStringIndex(text)
	if at == nil || at[0] == 0 {
		return text
	}
	found := text[at[0]:]
	closing := map[byte]string{'"': `"`, '\'': "'", '<': ">"}[text[at[0]-1]]
	if closing != "" {
		found, _, _ = strings.Cut(found, closing)
	}
	return found
}

// afterURL is what sentences and brackets put behind a URL. A token may end in
// - or _, so those are not among it.
const afterURL = ".,;:!?)]}\"'*|`\\"

// inspect inspects the URL in a piece of text. Where it ends is not known: a line
// break may have put white space into it, and a sentence may go on behind it. So
// it is taken as a whole, then up to the first character that no link is made
// with, then without punctuation at the end. A URL alone is taken as it is, as the
// endpoint would.
func (k *checker) inspect(text string) inspection {
	found, gateways := unwrap(findURL(text))
	if gateways != nil {
		i := k.inspect(found)
		i.Inside = gateways
		return i
	}
	best := k.inspectURL(found)
	cut := found
	if i := strings.IndexFunc(found, func(r rune) bool { return r == '<' || r == '>' || unicode.IsSpace(r) }); i >= 0 {
		cut = found[:i]
	}
	if cut == text {
		return best
	}
	best = k.shorter(best, cut)
	best = k.shorter(best, strings.TrimRight(cut, afterURL))
	if !best.good() {
		// What was written behind a link is not what is wrong with it.
		return k.inspectURL(cut)
	}
	return best
}

// shorter returns the inspection of a shorter text if it is better than that of
// the longer one. Where both are good, what the shorter one lacks is nothing that
// was signed, unless a repair of the longer one dealt with it.
func (k *checker) shorter(longer inspection, text string) inspection {
	if text == longer.URL || longer.good() && longer.Repair != "" && longer.Repair != linkcore.RepairNone {
		return longer
	}
	if i := k.inspectURL(text); i.good() {
		return i
	}
	return longer
}

func (k *checker) inspectURL(text string) inspection {
	i := inspection{URL: text}
	authority, target, err := linkcore.SplitURL(text)
	if err != nil {
		i.Problems = []string{err.Error()}
		return i
	}
	if rest, ok := strings.CutPrefix(target, k.prefix); ok && k.prefix != "" {
		switch {
		case rest == "":
			rest = "/"
		case rest[0] == '?':
			rest = "/" + rest
		}
		if rest[0] == '/' {
			target = rest
		}
	}
	a, err := linkcore.Inspect("https://" + authority + target)
	if err != nil {
		i.Problems = []string{err.Error()}
		return i
	}
	i.take(&a)
	i.own = i.Form == "" && i.Host == k.host
	if k.ring == nil {
		return i
	}

	link, err := k.ring.Verify(authority, target)
	verified := err == nil
	i.Verified = &verified
	if !verified {
		i.Reason = k.explain(err, target)
		return i
	}
	i.takeVerified(&link)
	return i
}

// take takes over what can be seen without keys.
func (i *inspection) take(a *linkcore.Anatomy) {
	i.Form, i.Sealed, i.Host, i.Key = a.Form, a.Sealed, a.Host, a.Key
	if a.Form != "" && !a.Sealed {
		i.Kind = a.Kind.String()
	}
	i.takeFields(&a.Fields)
	i.Destination = a.Destination
	i.BoxBytes = a.Plaintext
	i.Label, i.Query = a.Label, a.Query
	i.Problems = a.Problems
	i.WellFormed = len(a.Problems) == 0
}

// takeVerified takes over what was signed, which for a mangled link is not what
// was seen.
func (i *inspection) takeVerified(l *linkcore.Link) {
	i.Kind = l.Kind.String()
	i.takeFields(&l.Fields)
	i.Destination = l.Destination
	if l.Metadata != "" {
		i.Metadata = json.RawMessage(l.Metadata)
	}
	i.Label, i.Query = l.Label, l.Query
	i.Repair = l.Repair
}

func (i *inspection) takeFields(f *linkcore.Fields) {
	i.Customer, i.Campaign, i.Recipient, i.Link = f.Customer, f.Campaign, f.Recipient, f.Link
	i.Sent = stamp(f.Sent)
}

// explain says why a link does not verify, with what else is known here.
func (k *checker) explain(err error, target string) string {
	switch {
	case errors.Is(err, linkcore.ErrUnknownKey):
		return fmt.Sprintf("%v, which has %s", err, strings.Join(k.ring.IDs(), ", "))
	case k.host == "":
	default:
		if _, otherErr := k.ring.Verify(k.host, target); otherErr == nil {
			return fmt.Sprintf("the host was changed: the link was made for %s", k.host)
		}
	}
	return err.Error()
}

// writeTo writes the inspection for people.
func (i *inspection) writeTo(t *tool) error {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t.stdout, "  %-12s %s\n", name, printable(value))
		}
	}
	fmt.Fprintln(t.stdout, printable(i.URL))
	row("inside", strings.Join(i.Inside, ", "))
	row("form", string(i.Form))
	switch {
	case i.Kind != "" && i.Sealed:
		row("kind", i.Kind+", sealed")
	case i.Sealed:
		row("kind", "sealed: a key is needed to see more")
	default:
		row("kind", i.Kind)
	}
	row("host", i.Host)
	row("key", i.Key)
	row("customer", i.Customer)
	row("campaign", i.Campaign)
	row("recipient", i.Recipient)
	row("link", i.Link)
	row("sent", i.Sent)
	row("destination", i.Destination)
	row("metadata", string(i.Metadata))
	if i.BoxBytes > 0 {
		row("box", fmt.Sprintf("%d bytes of content", i.BoxBytes))
	}
	row("label", i.Label)
	row("added query", i.Query)
	switch {
	case i.Verified == nil:
		for _, problem := range i.Problems {
			row("problem", problem)
		}
		row("well formed", yesNo(i.WellFormed))
		row("verified", "not tried: without a key ring (--keys, LINK_KEYS) anyone may have made it")
	case *i.Verified:
		// What a repair mended is not a problem any more.
		row("repair", string(i.Repair))
		row("verified", "yes, with key "+i.Key)
	default:
		for _, problem := range i.Problems {
			row("problem", problem)
		}
		row("verified", "no: "+i.Reason)
	}
	for _, rule := range i.Standing {
		row("in force", rule)
	}
	for _, rule := range i.Rules {
		row("rule", shellWord(rule))
	}
	return t.stdout.Flush()
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

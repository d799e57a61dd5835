package blocklist

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/linktracker/linkcore"
)

// A Kind says what a rule's value is compared with.
type Kind string

// The kinds of rule, the most specific first: the order in which rules of one
// action outrank each other.
const (
	Link      Kind = "link"      // customer/link
	URL       Kind = "url"       // the destination
	Prefix    Kind = "prefix"    // the destination's beginning
	Recipient Kind = "recipient" // customer/recipient
	Campaign  Kind = "campaign"  // customer/campaign
	Customer  Kind = "customer"
	Host      Kind = "host" // the destination's host and its subdomains
	Key       Kind = "key"  // id of the key that signed
	IP        Kind = "ip"   // the client's address, in a CIDR
	Agent     Kind = "agent"
)

// Kinds returns all kinds, the most specific first.
func Kinds() []Kind {
	return append([]Kind(nil), kinds[:]...)
}

var kinds = [...]Kind{Link, URL, Prefix, Recipient, Campaign, Customer, Host, Key, IP, Agent}

// The kinds as the index knows them: positions in kinds.
const (
	kindLink = iota
	kindURL
	kindPrefix
	kindRecipient
	kindCampaign
	kindCustomer
	kindHost
	kindKey
	kindIP
	kindAgent
	kindCount
)

func (k Kind) number() (uint8, bool) {
	for i, kind := range kinds {
		if kind == k {
			return uint8(i), true
		}
	}
	return 0, false
}

// An Action is what a rule does with what it matches.
type Action string

// The actions. The zero Action in a [Rule] means Block, and in a [Decision]
// that nothing is done.
const (
	Block     Action = "block"     // the link is not followed
	Redirect  Action = "redirect"  // the recipient is sent to the rule's target
	Untracked Action = "untracked" // nothing of the person is recorded, but whose an unsubscribe is
)

// Limits on the strings of a rule, in bytes.
const (
	maxURL    = 16384 // of a url's value and of a target; no link has a longer destination
	maxPrefix = 2048  // of a prefix's value, and of the destination that is looked at
	maxAgent  = 2048  // of an agent's value, and of the user agent that is looked at
	maxID     = 64    // of a link's identifiers
	maxKey    = 16
)

// A Rule is one entry of the blocklist. Times have a resolution of a
// microsecond.
type Rule struct {
	Kind   Kind
	Value  string // in its normal form: see [NormalizeValue]
	Action Action // zero: Block
	Target string // for Redirect: an absolute http(s) URL

	Reason    string // for people
	CreatedBy string // for people

	// CreatedAt and UpdatedAt are set by the store when the rule is written.
	CreatedAt time.Time
	UpdatedAt time.Time

	StartsAt  time.Time // before it the rule does nothing; zero: it has begun
	ExpiresAt time.Time // from then on the rule is dead; zero: never
	Deleted   bool      // the rule was lifted and does nothing

	// ID is the id of the document that holds the rule, as a store returns it.
	// Put does not look at it.
	ID string
}

// A RuleError says which field of a rule is wrong, and how.
type RuleError struct {
	Field   string // as in the document: "kind", "value", "target", ...
	Problem string // follows the field's name: "value is empty"
}

func (e *RuleError) Error() string { return e.Field + " " + e.Problem }

func ruleError(field, format string, a ...any) error {
	return &RuleError{Field: field, Problem: fmt.Sprintf(format, a...)}
}

// String returns "kind:value".
func (r Rule) String() string { return string(r.Kind) + ":" + r.Value }

// DocumentID returns the id under which the stores keep the rule, the
// base64url of the SHA-256 of "kind:value", so that writing a rule twice makes
// one document. r must be normal.
func (r Rule) DocumentID() string { return documentID(r.String()) }

func documentID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Live tells whether the rule does anything at the time now.
func (r Rule) Live(now time.Time) bool {
	return !r.Deleted &&
		(r.StartsAt.IsZero() || !now.Before(r.StartsAt)) &&
		(r.ExpiresAt.IsZero() || now.Before(r.ExpiresAt))
}

// ParseRule makes a blocking rule of "KIND:VALUE", such as "host:example.com".
// Its value is normal then. The error is a [RuleError].
func ParseRule(s string) (Rule, error) {
	kind, value, ok := strings.Cut(s, ":")
	if !ok {
		return Rule{}, ruleError("kind", "is missing: a rule is written KIND:VALUE, such as host:example.com")
	}
	r := Rule{Kind: Kind(strings.TrimSpace(kind)), Value: value, Action: Block}
	return r.Normalize()
}

// Normalize returns r as it is written: with its action, with its value and
// target in their normal forms. The error is a [RuleError] that names the field
// that cannot be written.
func (r Rule) Normalize() (Rule, error) {
	r, err := r.normalize()
	if err != nil {
		return r, err
	}
	if r.Action != Redirect && r.Target != "" {
		return r, ruleError("target", "is for rules with the action redirect")
	}
	if !r.StartsAt.IsZero() && !r.ExpiresAt.IsZero() && !r.StartsAt.Before(r.ExpiresAt) {
		return r, ruleError("expires_at", "is not after starts_at, so the rule would never do anything")
	}
	for _, f := range [...]struct{ name, value string }{{"reason", r.Reason}, {"created_by", r.CreatedBy}} {
		if !utf8.ValidString(f.value) {
			return r, ruleError(f.name, "is not UTF-8")
		}
	}
	return r, nil
}

// normalize checks what matching needs, which is all that reading asks for.
func (r Rule) normalize() (Rule, error) {
	value, err := NormalizeValue(r.Kind, r.Value)
	if err != nil {
		return r, err
	}
	r.Value = value
	switch r.Action {
	case "":
		r.Action = Block
	case Block:
	case Redirect:
		target, err := normalizeTarget(r.Target)
		if err != nil {
			return r, err
		}
		r.Target = target
	case Untracked:
		switch r.Kind {
		case Link, Recipient, Campaign, Customer:
		default:
			return r, ruleError("action", "untracked is for the kinds recipient, campaign, customer and link")
		}
	default:
		return r, ruleError("action", "%s is unknown: it is block, redirect or untracked", quote(string(r.Action)))
	}
	return r, nil
}

func normalizeTarget(target string) (string, error) {
	if target == "" {
		return "", ruleError("target", "is missing: a redirect needs an absolute http(s) URL")
	}
	normal, err := linkcore.NormalizeDestination(target)
	if err != nil {
		return "", ruleError("target", "%s is no URL to send people to: %v", quote(target), err)
	}
	if len(normal) > maxURL {
		return "", ruleError("target", "is longer than %d bytes", maxURL)
	}
	return normal, nil
}

// NormalizeValue returns the normal form of the value of a rule of that kind:
// the form that is compared, and of which a document's id is made. The normal
// form of a normal form is itself. The error is a [RuleError].
//
//   - url, prefix: host and port, path and query, without the scheme; see
//     BLOCKLIST.md for what is made equal. "https://" may be left off.
//   - host: lower case, A-labels, an IPv6 address in brackets.
//   - customer: an identifier. campaign, recipient, link: "customer/id", where
//     an empty customer is "/id".
//   - ip: the network's first address and its length; the address alone if it
//     is the only one. An IPv4 address that is mapped into IPv6 is IPv4.
//   - agent: ASCII letters in lower case, otherwise as it is.
func NormalizeValue(kind Kind, value string) (string, error) {
	number, ok := kind.number()
	if !ok {
		return "", ruleError("kind", "%s is unknown: it is one of %s", quote(string(kind)), kindList)
	}
	if !utf8.ValidString(value) {
		return "", ruleError("value", "is not UTF-8")
	}
	if number != kindAgent {
		value = strings.TrimSpace(value)
	}
	if strings.TrimSpace(value) == "" {
		return "", ruleError("value", "is empty")
	}
	for i := 0; i < len(value); i++ {
		if value[i] < 0x20 || value[i] == 0x7F {
			return "", ruleError("value", "%s has a control character", quote(value))
		}
	}
	switch number {
	case kindURL, kindPrefix:
		limit := maxURL
		if number == kindPrefix {
			limit = maxPrefix
		}
		return normalizeURL(value, limit)
	case kindHost:
		return normalizeHost(value)
	case kindCustomer:
		if !isID(value, 1, maxID) {
			return "", ruleError("value", "%s is no customer: 1 to %d of A-Z a-z 0-9 _ -", quote(value), maxID)
		}
		return value, nil
	case kindLink, kindRecipient, kindCampaign:
		customer, id, ok := strings.Cut(value, "/")
		if !ok {
			return "", ruleError("value", "%s is not of the form customer/%s (an empty customer is written /%s)", quote(value), kind, kind)
		}
		if !isID(customer, 0, maxID) || !isID(id, 1, maxID) {
			return "", ruleError("value", "%s is not customer/%s: each 1 to %d of A-Z a-z 0-9 _ -, the customer maybe empty", quote(value), kind, maxID)
		}
		return value, nil
	case kindKey:
		for i := 0; i < len(value); i++ {
			if c := value[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') || len(value) > maxKey {
				return "", ruleError("value", "%s is no key id: 1 to %d of a-z 0-9", quote(value), maxKey)
			}
		}
		return value, nil
	case kindIP:
		network, err := parseNetwork(value)
		if err != nil {
			return "", ruleError("value", "%s is neither an IP address nor a network such as 192.0.2.0/24", quote(value))
		}
		return formatNetwork(network), nil
	default: // agent
		if len(value) > maxAgent {
			return "", ruleError("value", "is longer than %d bytes", maxAgent)
		}
		b := []byte(value)
		for i, c := range b {
			b[i] = lower(c)
		}
		return string(b), nil
	}
}

var kindList = func() string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}()

// quote shows a stranger's word in a message: escaped, and cut.
func quote(s string) string {
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func isID(s string, shortest, longest int) bool {
	if len(s) < shortest || len(s) > longest {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// parseNetwork reads an address or a CIDR.
func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("an address with a zone")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func formatNetwork(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

package blocklist

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/linktracker/linkcore"
)

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
)

// A Rule is one entry of the blocklist. Times have a resolution of a
// microsecond.
type Rule struct {
	Kind   Kind   `json:"kind"`
	Value  string `json:"value"`            // in its normal form: see [NormalizeValue]
	Action Action `json:"action"`           // zero: Block
	Target string `json:"target,omitempty"` // for Redirect: an absolute http(s) URL

	Reason    string `json:"reason,omitempty"`     // for people
	CreatedBy string `json:"created_by,omitempty"` // for people

	// CreatedAt and UpdatedAt are set by the store when the rule is written.
	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`

	StartsAt  time.Time `json:"starts_at,omitzero"`  // before it the rule does nothing; zero: it has begun
	ExpiresAt time.Time `json:"expires_at,omitzero"` // from then on the rule is dead; zero: never
	Deleted   bool      `json:"deleted,omitempty"`   // the rule was lifted and does nothing

	// ID is the id of the document that holds the rule, as a store returns it.
	// Put does not look at it.
	ID string `json:"-"`
}

// ruleError returns the error of a field, named as in the document: "kind",
// "value", "target", ...
func ruleError(field, format string, a ...any) error {
	return &linkcore.FieldError{Field: field, Problem: fmt.Sprintf(format, a...)}
}

// String returns "kind:value".
func (r Rule) String() string { return string(r.Kind) + ":" + r.Value }

// DocumentID returns the id under which the stores keep the rule, that of its
// "kind:value". r must be normal.
func (r Rule) DocumentID() string { return DocumentID(r.String()) }

// ObjectionID returns the id under which linkconsent keeps a recipient's own objection.
// It is not that of the rule, which others write: neither replaces the other.
func (r Rule) ObjectionID() string { return DocumentID("objection:" + r.Value) }

// DocumentID returns the id of the document of a rule of that "kind:value": the
// base64url of its SHA-256, so that writing a rule twice makes one document.
func DocumentID(key string) string {
	sum := hashOf(key)
	var id [43]byte
	base64.RawURLEncoding.Encode(id[:], sum[:])
	return string(id[:])
}

func hashOf(s string) [sha256.Size]byte {
	var buf [256]byte // most need no memory of their own
	return sha256.Sum256(append(buf[:0], s...))
}

// Live reports whether the rule does anything at the time now.
func (r Rule) Live(now time.Time) bool {
	return r.Stands(now) && (r.StartsAt.IsZero() || !now.Before(r.StartsAt))
}

// Stands reports whether the rule is in force at the time now or will be.
func (r Rule) Stands(now time.Time) bool {
	return !r.Deleted && !r.Expired(now)
}

// Expired reports whether the rule has ended at the time now.
func (r Rule) Expired(now time.Time) bool {
	return !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt)
}

// Wide returns what else the rule would stop where its value is so wide that it
// may be a slip, as the end of a sentence about the rule; "" where it is narrow
// enough. The rule must be normal.
func (r Rule) Wide() string {
	if wide := r.Kind.entry().wide; wide != nil {
		return wide(r.Value)
	}
	return ""
}

// ParseRule makes a blocking rule of "KIND:VALUE", such as "host:example.com".
// Its value is normal then. The error is a [*linkcore.FieldError].
func ParseRule(s string) (Rule, error) {
	kind, value, ok := strings.Cut(s, ":")
	if !ok {
		return Rule{}, ruleError("kind", "is missing: a rule is written KIND:VALUE, such as host:example.com")
	}
	r := Rule{Kind: Kind(strings.TrimSpace(kind)), Value: value, Action: Block}
	return r.Normalize()
}

// Normalize returns r as it is written: with its action, with its value and
// target in their normal forms. The error is a [*linkcore.FieldError] that names the field
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
		if !r.Kind.AllowsUntracked() {
			return r, ruleError("action", "untracked is for the kinds %s", kindList(Kind.AllowsUntracked))
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
		return "", ruleError("target", "%s is not a URL to send people to: %v", quote(target), err)
	}
	if len(normal) > maxURL {
		return "", ruleError("target", "is longer than %d bytes", maxURL)
	}
	return normal, nil
}

// NormalizeValue returns the normal form of the value of a rule of that kind:
// the form that is compared, and of which a document's id is made. The normal
// form of a normal form is itself. The error is a [*linkcore.FieldError].
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
		return "", ruleError("kind", "%s is unknown: it is one of %s", quote(string(kind)), kindList(nil))
	}
	if !utf8.ValidString(value) {
		return "", ruleError("value", "is not UTF-8")
	}
	trimmed := strings.TrimSpace(value)
	if trimmed == "" {
		return "", ruleError("value", "is empty")
	}
	if !kinds[number].spaces {
		value = trimmed
	}
	for i := 0; i < len(value); i++ {
		if value[i] < 0x20 || value[i] == 0x7F {
			return "", ruleError("value", "%s has a control character", quote(value))
		}
	}
	return kinds[number].normalize(value)
}

// quote shows what others wrote in a message: escaped, and cut.
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

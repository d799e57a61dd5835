package blocklist

import (
	"errors"
	"net/netip"
	"strings"

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

// A kind is all there is to know of a kind of rule but two things: how the
// index finds the rules that match a request (index.go), and what the contract
// says of it (BLOCKLIST.md).
type kind struct {
	name    Kind
	syntax  string // of a value, for people
	meaning string // what its rules match, for people

	// normalize returns the normal form of a value that holds no control
	// character. White space around it is gone, unless spaces says that it
	// counts.
	normalize func(value string) (string, error)
	spaces    bool

	// wide says what else a rule of a normal value stops that may be a slip,
	// "" where the value is narrow enough; nil: all are. widest says to people
	// which values that are.
	wide   func(value string) string
	widest string

	// impersonal: a value says nothing of the person who clicks that an event
	// without the person does not hold otherwise.
	impersonal bool

	untracked bool // rules of the kind may have that action
}

var kinds = [kindCount]kind{
	kindLink: {
		name: Link, syntax: "CUSTOMER/LINK", meaning: "one link of one mail",
		normalize: customerAnd(Link), untracked: true,
	},
	kindURL: {
		name: URL, syntax: "URL", meaning: "one destination",
		normalize: func(value string) (string, error) { return normalizeURL(value, maxURL) }, impersonal: true,
	},
	kindPrefix: {
		name: Prefix, syntax: "URL", meaning: "destinations that begin so",
		normalize: normalizePrefix, impersonal: true,
	},
	kindRecipient: {
		name: Recipient, syntax: "CUSTOMER/RECIPIENT", meaning: "a recipient's links",
		normalize: customerAnd(Recipient), untracked: true,
	},
	kindCampaign: {
		name: Campaign, syntax: "CUSTOMER/CAMPAIGN", meaning: "a whole mailing",
		normalize: customerAnd(Campaign), impersonal: true, untracked: true,
	},
	kindCustomer: {
		name: Customer, syntax: "CUSTOMER", meaning: "all that a customer sends",
		normalize: normalizeCustomer, impersonal: true, untracked: true,
	},
	kindHost: {
		name: Host, syntax: "NAME", meaning: "destinations on a host and its subdomains",
		normalize: normalizeHost,
		wide:      wideHost, widest: "a top-level domain or a public suffix such as co.uk", impersonal: true,
	},
	kindKey: {
		name: Key, syntax: "ID", meaning: "every link signed with a key",
		normalize: normalizeKey,
		wide:      wideKey, widest: "any", impersonal: true,
	},
	kindIP: {
		name: IP, syntax: "ADDRESS or CIDR", meaning: "clicks that come from a network",
		normalize: normalizeNetwork,
		wide:      wideNetwork, widest: "a network wider than /8 (IPv6 /16)",
	},
	kindAgent: {
		name: Agent, syntax: "TEXT", meaning: "clicks by browsers whose user agent holds the text",
		normalize: normalizeAgent, spaces: true,
		wide: wideAgent, widest: "shorter than 4 bytes, or a part of what ordinary browsers send",
	},
}

// Kinds returns all kinds, the most specific first.
func Kinds() []Kind {
	names := make([]Kind, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

func (k Kind) number() (uint8, bool) {
	for i := range kinds {
		if kinds[i].name == k {
			return uint8(i), true
		}
	}
	return 0, false
}

// entry returns the kind's row of the table; an empty one if it is unknown.
func (k Kind) entry() kind {
	if number, ok := k.number(); ok {
		return kinds[number]
	}
	return kind{}
}

// Syntax returns how a value of the kind is written, such as
// "CUSTOMER/RECIPIENT", for help texts.
func (k Kind) Syntax() string { return k.entry().syntax }

// Meaning returns what rules of the kind match, such as "a recipient's links",
// for help texts.
func (k Kind) Meaning() string { return k.entry().meaning }

// Widest returns which values of the kind [Rule.Wide] warns of, such as "a
// network wider than /8 (IPv6 /16)", for help texts; empty: none.
func (k Kind) Widest() string { return k.entry().widest }

// AllowsUntracked reports whether rules of the kind may have the action
// Untracked.
func (k Kind) AllowsUntracked() bool { return k.entry().untracked }

// kindList returns the names of the kinds that take has, all if it is nil.
func kindList(take func(Kind) bool) string {
	var names []string
	for _, k := range Kinds() {
		if take == nil || take(k) {
			names = append(names, string(k))
		}
	}
	return strings.Join(names, ", ")
}

func normalizePrefix(value string) (string, error) {
	normal, err := normalizeURL(value, maxPrefix)
	if n := boundaries(normal); err == nil && n > maxBoundaries {
		return "", ruleError("value", "has %d boundaries (each / ? & = and its end), and no more than %d of a destination are looked at", n, maxBoundaries)
	}
	return normal, err
}

func normalizeCustomer(value string) (string, error) {
	if !linkcore.ValidIdentifier(value) {
		return "", ruleError("value", "%s is not a customer: 1 to %d of A-Z a-z 0-9 _ -", quote(value), maxID)
	}
	return value, nil
}

// customerAnd returns the normalize of a kind of the form customer/id.
func customerAnd(kind Kind) func(string) (string, error) {
	return func(value string) (string, error) {
		customer, id, ok := strings.Cut(value, "/")
		if !ok {
			return "", ruleError("value", "%s is not of the form customer/%s (an empty customer is written /%s)", quote(value), kind, kind)
		}
		if customer != "" && !linkcore.ValidIdentifier(customer) || !linkcore.ValidIdentifier(id) {
			return "", ruleError("value", "%s is not customer/%s: each 1 to %d of A-Z a-z 0-9 _ -, the customer maybe empty", quote(value), kind, maxID)
		}
		return value, nil
	}
}

func normalizeKey(value string) (string, error) {
	if !linkcore.ValidKeyID(value) {
		return "", ruleError("value", "%s is not a key id: 1 to 16 of a-z 0-9", quote(value))
	}
	return value, nil
}

var errZone = errors.New("an address with a zone")

func normalizeNetwork(value string) (string, error) {
	network, err := parseNetwork(value)
	if err != nil {
		return "", ruleError("value", "%s is neither an IP address nor a network such as 192.0.2.0/24", quote(value))
	}
	if network.IsSingleIP() {
		return network.Addr().String(), nil
	}
	return network.String(), nil
}

// parseNetwork reads an address or a CIDR.
func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if a.Zone() != "" {
			return netip.Prefix{}, errZone
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

func normalizeAgent(value string) (string, error) {
	if len(value) > maxAgent {
		return "", ruleError("value", "is longer than %d bytes", maxAgent)
	}
	b := []byte(value)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b), nil
}

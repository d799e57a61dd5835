package linkcore

import "time"

// A Kind says what a tracked link does.
type Kind byte

// The kinds of link. The sealed form has one of them inside.
const (
	Click       Kind = 'c' // redirects to its destination
	Open        Kind = 'o' // a pixel, which reports that a mail was opened
	Unsubscribe Kind = 'u' // leads to the unsubscribe page, and is its one-click address
)

// String returns "click", "open" or "unsubscribe".
func (k Kind) String() string {
	switch k {
	case Click:
		return "click"
	case Open:
		return "open"
	case Unsubscribe:
		return "unsubscribe"
	}
	return "unknown"
}

// Fields identify a link. Customer, Campaign and Recipient are the sender's own
// identifiers: at most 64 bytes of A-Z a-z 0-9 _ - each, or empty.
type Fields struct {
	Customer  string
	Campaign  string
	Recipient string

	// Link identifies the link among all others: 1 to 64 bytes of A-Z a-z 0-9 _ -.
	// A [Signer] takes what it is given for a name, at most 64 bytes of these or
	// empty, and makes the link of it with [NewLinkID], unless
	// [Options].ExactLink says that it is the link.
	Link string

	// Sent is when the mail was sent, in whole seconds since 1970, at least 1;
	// the zero Time where that is not said.
	Sent time.Time
}

// Beginnings of [Fields.Link] that have a meaning for events (EVENTS.md).
const (
	AnonymousPrefix = "an_" // the link is the mailing's: it was made for nobody in particular
	HoneypotPrefix  = "hp_" // the link is a trap, which people do not see
)

// ProbeCustomer is the [Fields.Customer] of monitoring's own links, whose events
// subscriptions leave out (EVENTS.md).
const ProbeCustomer = "_probe"

// A Repair is the step that was needed to read a link that was mangled on its
// way; see FORMAT.md.
type Repair string

// The repairs, by the step that is recorded.
const (
	RepairNone            Repair = "none"
	RepairDecodedQuery    Repair = "decoded-query"
	RepairDecoded         Repair = "decoded"
	RepairDoubleEncoding  Repair = "double-encoding"
	RepairQuotedPrintable Repair = "quoted-printable"
	RepairWhitespace      Repair = "whitespace"
	RepairHTMLEntity      Repair = "html-entity"
	RepairTrailing        Repair = "trailing"
	RepairSlash           Repair = "slash"
	RepairDot             Repair = "dot"
	RepairDelimiters      Repair = "delimiters"
)

// A Link is what a request's tracked link says, once its tag was checked.
type Link struct {
	Kind   Kind
	Sealed bool
	Key    string // id of the key that signed it
	Host   string // the link's host, normalised as by [NormalizeHost]

	Fields

	// Destination is the signed destination, byte for byte; empty unless Kind
	// is Click.
	Destination string

	// Metadata is the JSON object that a sealed link carried; else empty.
	Metadata string

	// Label and Query are not authenticated: whoever passes a link on can
	// write there what they like. Both are as received. Label is the
	// cosmetic part; Query is what a gateway added to the query string,
	// without what the link itself used.
	Label string
	Query string

	Repair Repair
}

// Package record makes events of requests for tracked links: what a [Recorder] keeps
// of a request, and by which signals it distinguishes people from machines. agents.tsv and
// networks.tsv are the lists of machines.
package record

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// PrivacySignals says what a browser's Sec-GPC and DNT do.
type PrivacySignals string

// What privacy signals do.
const (
	RecordSignals    PrivacySignals = "record"    // the event holds them
	AnonymiseSignals PrivacySignals = "anonymise" // and an open becomes untracked
)

// ClientIP says how much of the client's address an event holds.
type ClientIP string

// How much of an address an event holds.
const (
	FullIP      ClientIP = "full"
	TruncatedIP ClientIP = "truncated" // IPv4 to /24, IPv6 to /48
	NoIP        ClientIP = "none"
)

// Options configure a [Recorder]. The zero value trusts no proxy and records
// all there is.
type Options struct {
	// TrustedProxies is the number of proxies in front that append to
	// X-Forwarded-For; 0 ignores it.
	TrustedProxies int

	// CountryHeader is the request header that the load balancer sets to the
	// client's country; empty: none.
	CountryHeader string

	PrivacySignals PrivacySignals // default RecordSignals
	ClientIP       ClientIP       // default FullIP

	// ScannerNetworks are networks of mail scanners, besides those that are
	// built in (networks.tsv).
	ScannerNetworks []netip.Prefix

	Log *slog.Logger // nil: nothing is logged
}

// A Recorder makes events of requests.
type Recorder struct {
	o          Options
	classifier *classifier
}

// NewRecorder checks the options.
func NewRecorder(o Options) (*Recorder, error) {
	o.PrivacySignals = cmp.Or(o.PrivacySignals, RecordSignals)
	o.ClientIP = cmp.Or(o.ClientIP, FullIP)
	switch {
	case o.TrustedProxies < 0:
		return nil, fmt.Errorf("trusted proxies: %d is less than none", o.TrustedProxies)
	case o.PrivacySignals != RecordSignals && o.PrivacySignals != AnonymiseSignals:
		return nil, fmt.Errorf("privacy signals: %q is neither record nor anonymise", o.PrivacySignals)
	case o.ClientIP != FullIP && o.ClientIP != TruncatedIP && o.ClientIP != NoIP:
		return nil, fmt.Errorf("client IP: %q is none of full, truncated, none", o.ClientIP)
	}
	o.CountryHeader = http.CanonicalHeaderKey(o.CountryHeader)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c, err := newClassifier(o.ScannerNetworks)
	if err != nil {
		return nil, err
	}
	return &Recorder{o, c}, nil
}

// Options returns the options, with their defaults: what the events hold.
func (rc *Recorder) Options() Options { return rc.o }

// ClientAddress returns the address that a request came from, or the zero Addr
// where none can be believed. With trusted proxies it is the entry of
// X-Forwarded-For that the outermost of them has appended, counted from the
// right: what is left of it was written by the client. Without the header it
// is the connection's.
func (rc *Recorder) ClientAddress(r *http.Request) netip.Addr {
	lines := r.Header["X-Forwarded-For"]
	if rc.o.TrustedProxies == 0 || len(lines) == 0 {
		address, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}
		}
		return address.Addr().Unmap().WithZone("")
	}
	return forwardedAddress(lines, rc.o.TrustedProxies)
}

// forwardedAddress returns the n-th entry from the right of a list that may
// stand in several header lines.
func forwardedAddress(lines []string, n int) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		for {
			comma := strings.LastIndexByte(line, ',')
			n--
			if n == 0 {
				return parseForwarded(strings.Trim(line[comma+1:], " \t"))
			}
			if comma < 0 {
				break
			}
			line = line[:comma]
		}
	}
	return netip.Addr{}
}

// parseForwarded reads an address; some proxies add the port, and write IPv6 in
// brackets then.
func parseForwarded(s string) netip.Addr {
	if len(s) > len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535") || strings.IndexByte(s, '%') >= 0 {
		return netip.Addr{}
	}
	if address, err := netip.ParseAddr(s); err == nil {
		return address.Unmap()
	}
	if address, err := netip.ParseAddrPort(s); err == nil {
		return address.Addr().Unmap()
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if address, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil && address.Is6() {
			return address.Unmap()
		}
	}
	return netip.Addr{}
}

// An Outcome is what became of a request.
type Outcome struct {
	Type         event.Type
	Rule         string     // "kind:value" of the rule that matched
	NamesNobody  bool       // Rule says nothing of the person; without it an untracked event does not hold Rule
	RedirectedTo string     // where that rule sent the recipient instead
	Untracked    bool       // a rule says that the person is not to be tracked
	RulesUnknown bool       // not all rules could be asked: others may say more than Rule, and Untracked is not known
	Address      netip.Addr // as ClientAddress returned it
	Secure       bool       // the client spoke HTTPS; false where that is not known
}

// Record makes the event of a request for a link, and reports whether a machine
// made it. Received is when the request came. The event keeps no memory of the
// request or the link.
func (rc *Recorder) Record(r *http.Request, received time.Time, link *linkcore.Link, o Outcome) *event.Event {
	e := rc.describe(r, received, link, &o)
	e.Origin = originOf(link, o.Address)
	e.Own()
	rc.classify(e, r, received, link, &o)
	return e
}

// describe makes the event without its ID and its class. Its strings are the
// request's and the link's.
func (rc *Recorder) describe(r *http.Request, received time.Time, link *linkcore.Link, o *Outcome) *event.Event {
	e := &event.Event{
		Type:           o.Type,
		OccurredAt:     received.UTC(),
		KeyID:          link.Key,
		Host:           link.Host,
		Customer:       link.Customer,
		Campaign:       link.Campaign,
		Recipient:      link.Recipient,
		Link:           link.Link,
		SentAt:         link.Sent,
		Sealed:         link.Sealed,
		Metadata:       link.Metadata,
		Destination:    link.Destination,
		RedirectedTo:   o.RedirectedTo,
		Rule:           o.Rule,
		Label:          event.Words(link.Label),
		Method:         event.Words(r.Method),
		UserAgent:      event.Words(first(r, "User-Agent")),
		Referer:        event.Words(first(r, "Referer")),
		AcceptLanguage: event.Words(first(r, "Accept-Language")),
		Query:          event.Words(link.Query),
		IP:             rc.ip(o.Address),
		RulesUnknown:   o.RulesUnknown,
	}
	if link.Repair != linkcore.RepairNone {
		e.Recovered = string(link.Repair)
	}
	if rc.o.CountryHeader != "" {
		e.Country = event.Words(first(r, rc.o.CountryHeader))
	}
	switch {
	case first(r, "Sec-Gpc") == "1":
		e.PrivacySignal = "gpc"
	case first(r, "Dnt") == "1":
		e.PrivacySignal = "dnt"
	}
	e.Untracked = o.Untracked || strings.HasPrefix(link.Link, linkcore.AnonymousPrefix) ||
		o.Type == event.Open && e.PrivacySignal != "" && rc.o.PrivacySignals == AnonymiseSignals
	if untracked := e.Untracked; untracked || o.Type.Objects() {
		if !o.NamesNobody {
			e.Rule = ""
		}
		*e = e.Untrack()
		e.Untracked = untracked
	}
	return e
}

// first returns the first value of a header given in canonical form.
func first(r *http.Request, header string) string {
	if values := r.Header[header]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (rc *Recorder) ip(address netip.Addr) string {
	if !address.IsValid() || rc.o.ClientIP == NoIP {
		return ""
	}
	address = address.Unmap().WithZone("")
	if rc.o.ClientIP == TruncatedIP {
		bits := 48
		if address.Is4() {
			bits = 24
		}
		network, err := address.Prefix(bits)
		if err != nil {
			return ""
		}
		address = network.Addr()
	}
	return address.String()
}

var originSeed = maphash.MakeSeed()

// originOf returns a hash of a link and the address that requested it; of an IPv6
// address only of its /64, since one machine may have all of those. It means
// nothing outside this process.
func originOf(link *linkcore.Link, address netip.Addr) uint64 {
	var buffer [4*(64+1) + 16]byte
	b := buffer[:0]
	for _, id := range [...]string{link.Customer, link.Campaign, link.Recipient, link.Link} {
		b = append(append(b, id...), '/')
	}
	network := address.Unmap().As16()
	n := len(network)
	if address.Is6() && !address.Is4In6() {
		n = 8
	}
	return max(maphash.Bytes(originSeed, append(b, network[:n]...)), 1) // 0 is not known
}

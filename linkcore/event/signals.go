package event

import (
	"iter"
	"math/bits"
	"strings"
)

// An Automation says who made a request, as far as one can tell.
type Automation string

// The classes of requests.
const (
	Human     Automation = "human"
	Suspect   Automation = "suspect"
	Automated Automation = "automated"
)

// Signals is a set of signs that a machine made a request; EVENTS.md says what
// each means.
type Signals uint16

// The signals, in the order in which an event names them.
const (
	SignalHead Signals = 1 << iota
	SignalPrefetch
	SignalScannerAgent
	SignalImageProxy
	SignalNoAgent
	SignalScannerNetwork
	SignalHoneypot
	SignalBeforeSend
	SignalInstant
	SignalNoBrowserHeaders
	SignalBareRequest
	SignalBurst // of verdicts only
)

var signalNames = [...]string{
	"head", "prefetch", "scanner_agent", "image_proxy", "no_agent", "scanner_network",
	"honeypot", "before_send", "instant", "no_browser_headers", "bare_request", "burst",
}

// suspectSignals prove nothing alone; any other signal does.
const suspectSignals = SignalImageProxy | SignalBeforeSend | SignalInstant | SignalNoBrowserHeaders | SignalBareRequest

// Automation returns what the signals say together: automated if one of them
// proves it or two raise a suspicion, suspect if one does, else human.
func (s Signals) Automation() Automation {
	switch {
	case s == 0:
		return Human
	case s&^suspectSignals != 0 || s&(s-1) != 0:
		return Automated
	}
	return Suspect
}

// Has reports whether all the given signals are in the set.
func (s Signals) Has(signals Signals) bool { return s&signals == signals }

// All goes through the names of the signals in their order.
func (s Signals) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for ; s != 0; s &= s - 1 {
			if i := bits.TrailingZeros16(uint16(s)); i >= len(signalNames) || !yield(signalNames[i]) {
				return
			}
		}
	}
}

// String returns the names, with commas between them.
func (s Signals) String() string {
	var b strings.Builder
	for name := range s.All() {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
	}
	return b.String()
}

// signalNamed returns the signal of a name, or none if it is not known.
func signalNamed(name string) Signals {
	for i, known := range signalNames {
		if name == known {
			return 1 << i
		}
	}
	return 0
}

package event

import (
	"math/bits"
	"slices"
	"testing"
)

// The weights of the contract.
func TestAutomation(t *testing.T) {
	suspect := []Signals{SignalImageProxy, SignalBeforeSend, SignalInstant, SignalNoBrowserHeaders, SignalBareRequest}
	for i := range signalNames {
		want := Automated
		if slices.Contains(suspect, 1<<i) {
			want = Suspect
		}
		if got := Signals(1 << i).Automation(); got != want {
			t.Errorf("%v is %s, want %s", Signals(1<<i), got, want)
		}
	}
	for s := range Signals(1) << len(signalNames) {
		want := Automated
		switch n := bits.OnesCount16(uint16(s)); {
		case n == 0:
			want = Human
		case n == 1 && slices.Contains(suspect, s):
			want = Suspect
		}
		if got := s.Automation(); got != want {
			t.Fatalf("%v is %s, want %s", s, got, want)
		}
	}
}

func TestSignals(t *testing.T) {
	for i, name := range signalNames {
		if got := signalNamed(name); got != 1<<i || got.String() != name {
			t.Errorf("%s is %v", name, got)
		}
	}
	if signalNamed("") != 0 || signalNamed("later") != 0 {
		t.Error("a signal that is not known is one")
	}
	s := SignalNoBrowserHeaders | SignalHead | SignalNoAgent
	if got := s.String(); got != "head,no_agent,no_browser_headers" {
		t.Errorf("%s", got)
	}
	if !s.Has(SignalHead) || !s.Has(SignalHead|SignalNoAgent) || s.Has(SignalHead|SignalBurst) || s.Has(SignalBurst) {
		t.Error("Has")
	}
	for range s.All() { // stopped early
		break
	}
	if got := Signals(1 << 15).String(); got != "" {
		t.Errorf("a bit without a name is %q", got)
	}
}

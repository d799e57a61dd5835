package event

import (
	"regexp"
	"testing"
	"time"
)

func TestNewVerdict(t *testing.T) {
	about := fullEvent(Click)
	about.Untracked = false
	got := NewVerdict(about, SignalBurst)
	want := Event{
		ID: got.ID, Type: Verdict, OccurredAt: about.OccurredAt, KeyID: "3", Host: "links.example.com", Customer: "acme",
		Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f", SentAt: sent,
		Automation: Automated, Signals: SignalBurst, About: about.ID,
	}
	if *got != want {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(got.ID) {
		t.Errorf("%q is not a UUID version 7", got.ID)
	}

	// It names no more than the event that it speaks of may.
	about.Untracked = true
	want.ID, want.Untracked, want.Recipient, want.Link = got.ID, true, "", ""
	if untracked := NewVerdict(about, SignalBurst); *untracked != want {
		t.Errorf("untracked: got  %+v\nwant %+v", *untracked, want)
	}
	about.Link, want.Link = "an_1", "an_1"
	if anonymous := NewVerdict(about, SignalBurst); *anonymous != want {
		t.Errorf("of a link for nobody: got  %+v\nwant %+v", *anonymous, want)
	}
	about.Link, about.Untracked = "a1b2c3d4e5f", false

	// Whoever makes it again, of an event that was read, makes the same.
	var read Event
	if err := read.UnmarshalJSON(about.AppendJSON(nil)); err != nil {
		t.Fatal(err)
	}
	if again := NewVerdict(&read, SignalBurst); string(again.AppendJSON(nil)) != string(got.AppendJSON(nil)) {
		t.Errorf("%s\nand of the same event\n%s", got.AppendJSON(nil), again.AppendJSON(nil))
	}
	// Another event and another reason have their own.
	ids := map[string]bool{about.ID: true, got.ID: true}
	other := *about
	id := newID(time.Now())
	other.ID = string(id[:])
	for _, v := range []*Event{NewVerdict(about, SignalHoneypot), NewVerdict(about, SignalBurst|SignalHoneypot), NewVerdict(&other, SignalBurst)} {
		if ids[v.ID] {
			t.Errorf("%s twice", v.ID)
		}
		ids[v.ID] = true
	}
}

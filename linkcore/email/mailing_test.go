package email

import (
	"bytes"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
)

var testFields = linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"}

// mailing returns a rewriter with a key of its own.
func mailing(t testing.TB, o Options) *Rewriter {
	t.Helper()
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("mailing "), 4)})
	if err != nil {
		t.Fatal(err)
	}
	if o.Signer == nil {
		if o.Signer, err = ring.Signer("https://links.example.com", "1"); err != nil {
			t.Fatal(err)
		}
	}
	o.Keys = ring
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// checkLinks checks that each tracked link leads where the report says.
func checkLinks(t testing.TB, r Result) {
	t.Helper()
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("mailing "), 4)})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Links {
		if l.Action == ActionPrivacy {
			continue
		}
		if l.Action != ActionTracked {
			if l.Tracked != "" || l.Destination != "" || l.Reason == "" {
				t.Errorf("a link that is left alone has %+v", l)
			}
			continue
		}
		authority, target, err := linkcore.SplitURL(l.Tracked)
		if err != nil {
			t.Fatal(err)
		}
		link, err := ring.Verify(authority, target)
		if err != nil || link.Destination != l.Destination || link.Fields.Link != l.ID || link.Repair != linkcore.RepairNone {
			t.Errorf("%s leads to %q (%v), want %q", l.Tracked, link.Destination, err, l.Destination)
		}
	}
}

// checkTracked checks that the output of an unencoded text is the source once
// each tracked link is put back.
func checkTracked(t testing.TB, name, src string, r Result) {
	t.Helper()
	checkLinks(t, r)
	restored := string(r.Output)
	for _, l := range r.Links {
		if l.Action == ActionTracked {
			found := l.Found
			if !strings.Contains(src, found) {
				found = strings.TrimPrefix(found, "http://")
			}
			restored = strings.Replace(restored, l.Tracked, found, 1)
		}
	}
	if restored != src {
		t.Errorf("%s: the output is not the source but for its links:\n%q\n%q", name, restored, src)
	}
}

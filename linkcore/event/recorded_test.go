package event_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
)

// The topic's schema reads events as requests make them: with every option, outcome
// and kind of link.
func TestSchemaReadsWhatIsRecorded(t *testing.T) {
	message := event.Schema(t)
	address := netip.MustParseAddr("203.0.113.7")
	n := 0
	for _, ip := range []record.ClientIP{record.FullIP, record.TruncatedIP, record.NoIP} {
		for _, privacy := range []record.PrivacySignals{record.RecordSignals, record.AnonymiseSignals} {
			rc, err := record.NewRecorder(record.Options{TrustedProxies: 1, CountryHeader: "X-Country", ClientIP: ip, PrivacySignals: privacy})
			if err != nil {
				t.Fatal(err)
			}
			for _, typ := range []event.Type{event.Click, event.Open, event.Unsubscribe, event.Blocked, event.Objection, event.ObjectionWithdrawn} {
				for _, untracked := range []bool{false, true} {
					for _, bare := range []bool{false, true} {
						for _, link := range []string{"a1b2c3d4e5f", "an_1", "hp_1", ""} {
							request := &http.Request{Method: "GET", Header: http.Header{
								"Dnt": {"1"}, "User-Agent": {"Mozilla/5.0"}, "Referer": {"https://mail.example/"}, "Accept-Language": {"de"}, "X-Country": {"CH"},
							}}
							l := &linkcore.Link{
								Key: "1", Host: "links.example.com", Sealed: true, Metadata: `{"a":1}`, Label: "p", Query: "utm_source=x",
								Fields:      linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1", Sent: time.Unix(1_790_000_000, 0)},
								Destination: "https://example.com/", Repair: linkcore.RepairDecoded,
							}
							outcome := record.Outcome{Type: typ, Untracked: untracked, Address: address, Rule: "host:example.com", RedirectedTo: "https://example.org/"}
							if bare {
								request = &http.Request{Method: "HEAD", Header: http.Header{}}
								l = &linkcore.Link{Key: "1", Host: "links.example.com", Repair: linkcore.RepairNone}
								outcome = record.Outcome{Type: typ, Untracked: untracked}
							}
							l.Link = link
							data := rc.Record(request, time.Now(), l, outcome).AppendJSON(nil)
							event.Read(t, message, data)
							event.Validate(t, data)
							n++
						}
					}
				}
			}
		}
	}
	if t.Failed() || n != 3*2*6*2*2*4 {
		t.Errorf("%d events", n)
	}
}

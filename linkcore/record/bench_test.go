package record

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

func benchmarkRequest() (*http.Request, *linkcore.Link) {
	r := &http.Request{
		Method:     http.MethodGet,
		RemoteAddr: "169.254.8.129:41234",
		Header: http.Header{
			"User-Agent":      {"Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1"},
			"Accept-Language": {"de-CH,de;q=0.9,en;q=0.8"},
			"X-Forwarded-For": {"203.0.113.7"},
			"X-Country":       {"CH"},
		},
	}
	l := &linkcore.Link{
		Kind: linkcore.Click, Key: "3", Host: "links.example.com",
		Fields:      linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f", Sent: time.Unix(1_790_000_000, 0)},
		Destination: "https://example.com/pricing?a=1&source=newsletter",
		Repair:      linkcore.RepairNone,
	}
	return r, l
}

func benchmarkRecorder(b *testing.B) *Recorder {
	rc, err := NewRecorder(Options{TrustedProxies: 1, CountryHeader: "X-Country"})
	if err != nil {
		b.Fatal(err)
	}
	return rc
}

func BenchmarkClientAddress(b *testing.B) {
	rc := benchmarkRecorder(b)
	r, _ := benchmarkRequest()
	b.ReportAllocs()
	for b.Loop() {
		rc.ClientAddress(r)
	}
}

func BenchmarkRecord(b *testing.B) {
	rc := benchmarkRecorder(b)
	r, l := benchmarkRequest()
	now, address := time.Now(), netip.MustParseAddr("203.0.113.7")
	b.ReportAllocs()
	for b.Loop() {
		rc.Record(r, now, l, Outcome{Type: event.Click, Address: address})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	rc := benchmarkRecorder(b)
	r, l := benchmarkRequest()
	e := rc.Record(r, time.Now(), l, Outcome{Type: event.Click})
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = e.AppendJSON(buffer[:0])
	}
	b.SetBytes(int64(len(buffer)))
}

func BenchmarkAttributes(b *testing.B) {
	rc := benchmarkRecorder(b)
	r, l := benchmarkRequest()
	e := rc.Record(r, time.Now(), l, Outcome{Type: event.Click})
	var attributes []event.Attribute
	b.ReportAllocs()
	for b.Loop() {
		attributes = e.AppendAttributes(attributes[:0])
	}
}

type dropSink struct{}

func (dropSink) Publish(context.Context, []event.Message) error { return nil }
func (dropSink) Batching() event.Batching                       { return event.Batching{} }
func (dropSink) Close(context.Context) error                    { return nil }

// What a click costs with a sink that acknowledges at once.
func BenchmarkRecordDeliver(b *testing.B) {
	for _, mode := range []delivery.Mode{delivery.Hold, delivery.Background} {
		b.Run(string(mode), func(b *testing.B) {
			rc := benchmarkRecorder(b)
			r, l := benchmarkRequest()
			d := delivery.New(dropSink{}, delivery.Options{Mode: mode, Spill: io.Discard})
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					d.Deliver(rc.Record(r, time.Now(), l, Outcome{Type: event.Click, Address: rc.ClientAddress(r)}))
				}
			})
			d.Close(context.Background())
		})
	}
}

// What telling people from machines adds to a click: less than 500 ns for agents
// that exist, 5 µs for the longest that a stranger can make it read, and no
// allocation.
func BenchmarkClassify(b *testing.B) {
	rc := benchmarkRecorder(b)
	for _, test := range []struct{ name, agent string }{
		{"browser", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1"},
		{"app", "Mozilla/5.0 (Linux; Android 13; SM-A346M Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/116.0.0.0 Mobile Safari/537.36 Instagram 301.0.0.33.110 Android (33/13; 450dpi; 1080x2130; samsung; SM-A346M; a34x; mt6877; pt_BR; 517900830)"},
		{"scanner", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
		{"longest", strings.Repeat("curl-wget-bot-", 147)},
	} {
		b.Run(test.name, func(b *testing.B) {
			r, l := benchmarkRequest()
			r.Header["User-Agent"] = []string{test.agent}
			r.Header["Sec-Fetch-Mode"] = []string{"navigate"}
			o := Outcome{Type: event.Click, Address: netip.MustParseAddr("203.0.113.7"), Secure: true}
			now := time.Now()
			e := &event.Event{}
			b.ReportAllocs()
			for b.Loop() {
				rc.classify(e, r, now, l, &o)
			}
		})
	}
}

package redirect

import (
	"net/http"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

const chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

// Whatever a request says of who makes it, it is answered alike, and told.
func TestNobodyIsKeptOut(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   linkcore.Kind
		link   string
		method string
		header string // lines
		status int
		want   event.Automation
		signal event.Signals
	}{
		{"a person", linkcore.Click, "a1", "GET", "User-Agent: " + chrome + "\r\nAccept-Language: de\r\nSec-Fetch-Mode: navigate\r\nX-Forwarded-Proto: https\r\n",
			302, event.Human, 0},
		{"a person over HTTP", linkcore.Click, "a1", "GET", "User-Agent: " + chrome + "\r\nAccept-Language: de\r\nX-Forwarded-Proto: http\r\n",
			302, event.Human, 0},
		{"a browser in name only", linkcore.Click, "a1", "GET", "User-Agent: " + chrome + "\r\nAccept-Language: de\r\nX-Forwarded-Proto: https\r\n",
			302, event.Suspect, event.SignalNoBrowserHeaders},
		{"no agent", linkcore.Click, "a1", "GET", "", 302, event.Automated, event.SignalNoAgent},
		{"a library", linkcore.Click, "a1", "GET", "User-Agent: Go-http-client/2.0\r\n", 302, event.Automated, event.SignalScannerAgent},
		{"16 KiB of agent", linkcore.Click, "a1", "GET", "User-Agent: " + strings.Repeat("bot/", 4<<10) + "\r\n",
			302, event.Automated, event.SignalScannerAgent},
		{"bytes that are not text", linkcore.Click, "a1", "GET", "User-Agent: \x80\xff\xfe\r\nPurpose: \xff\r\nAccept-Language: \xff\r\n", 302, event.Human, 0},
		{"HEAD", linkcore.Click, "a1", "HEAD", "User-Agent: x\r\n", 302, event.Automated, event.SignalHead},
		{"prefetch", linkcore.Click, "a1", "GET", "User-Agent: x\r\nSec-Purpose: prefetch;prerender\r\n", 302, event.Automated, event.SignalPrefetch},
		{"a scanner's network", linkcore.Click, "a1", "GET", "User-Agent: x\r\nX-Forwarded-For: 198.51.100.1, 104.47.11.62\r\n",
			302, event.Automated, event.SignalScannerNetwork},
		{"a scanner's network, claimed", linkcore.Click, "a1", "GET", "User-Agent: x\r\nX-Forwarded-For: 104.47.11.62, 198.51.100.1\r\n",
			302, event.Human, 0},
		{"a trap", linkcore.Click, "hp_1", "GET", "User-Agent: x\r\n", 302, event.Automated, event.SignalHoneypot},
		{"nobody in particular, by a machine", linkcore.Click, "an_1", "GET", "User-Agent: curl/8.5.0\r\n", 302, event.Automated, event.SignalScannerAgent},
		{"a picture proxy", linkcore.Open, "a1", "GET", "User-Agent: Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)\r\nX-Forwarded-Proto: https\r\n",
			200, event.Suspect, event.SignalImageProxy}, // the link does not say when it was sent
		{"a mail provider unsubscribes", linkcore.Unsubscribe, "a1", "POST",
			"User-Agent: Go-http-client/2.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n",
			200, event.Automated, event.SignalScannerAgent},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.TrustForwardedProto = true })
			target := p.target(t, test.kind, linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: test.link})
			body := ""
			if test.method == http.MethodPost {
				body = "List-Unsubscribe=One-Click"
			}
			answer := raw(t, serve(t, p), test.method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\nAccept: */*\r\n"+test.header+"\r\n"+body)
			if status := strings.Fields(answer + " ? ?")[1]; status != map[int]string{200: "200", 302: "302"}[test.status] {
				t.Errorf("answered with %s", status)
			}
			if test.status == 302 && !strings.Contains(answer, "\r\nLocation: "+destination+"\r\n") {
				t.Errorf("not sent on:\n%s", answer)
			}
			events := p.sink.take()
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			if e := events[0]; e.Automation != test.want || e.Signals != test.signal {
				t.Errorf("%s for %q, want %s for %q", e.Automation, e.Signals, test.want, test.signal)
			}
		})
	}
}

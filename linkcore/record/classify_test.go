package record

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

const (
	chrome  = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	firefox = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.7.2 Mobile/15E148 Safari/604.1"
	webView = "Mozilla/5.0 (Linux; Android 15; SM-A146P; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/140.0.7339.207 Mobile Safari/537.36"
	gmail   = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
	yahoo   = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
	apple   = "Mozilla/5.0"

	internetExplorer = "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"
	excel            = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; .NET4.0E; ms-office)"
)

// visit is a request as somebody's browser makes it, an hour after the mail.
type visit struct {
	request  *http.Request
	received time.Time
	link     *linkcore.Link
	outcome  Outcome
}

func newVisit(agent string) *visit {
	return &visit{
		&http.Request{Method: http.MethodGet, Header: http.Header{
			"User-Agent": {agent}, "Accept": {"text/html"}, "Accept-Language": {"de-CH,de;q=0.9"},
			"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"document"},
		}},
		sent.Add(time.Hour),
		&linkcore.Link{Fields: linkcore.Fields{Link: "a1", Sent: sent}},
		Outcome{Type: event.Click, Address: address, Secure: true},
	}
}

func (v *visit) event(t testing.TB, o Options) *event.Event {
	t.Helper()
	rc, err := NewRecorder(o)
	if err != nil {
		t.Fatal(err)
	}
	return rc.Record(v.request, v.received, v.link, v.outcome)
}

// Every signal: what sets it, what just does not, and the class it makes.
func TestSignalsOfRequests(t *testing.T) {
	header := func(name, value string) func(*visit) {
		return func(v *visit) { v.request.Header[name] = []string{value} }
	}
	without := func(names ...string) func(*visit) {
		return func(v *visit) {
			for _, name := range names {
				delete(v.request.Header, name)
			}
		}
	}
	after := func(d time.Duration) func(*visit) { return func(v *visit) { v.received = sent.Add(d) } }
	from := func(a string) func(*visit) { return func(v *visit) { v.outcome.Address = netip.MustParseAddr(a) } }
	as := func(typ event.Type) func(*visit) { return func(v *visit) { v.outcome.Type = typ } }
	link := func(l string) func(*visit) { return func(v *visit) { v.link.Link = l } }
	notSaid := func(v *visit) { v.link.Sent = time.Time{} }
	plain := func(v *visit) { v.outcome.Secure = false }
	fetch := []string{"Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-Dest"}
	bare := without(append([]string{"Accept", "Accept-Language"}, fetch...)...)
	acceptAlone := without(append([]string{"Accept-Language"}, fetch...)...)

	for _, test := range []struct {
		name    string
		agent   string
		changes []func(*visit)
		want    event.Signals
		class   event.Automation
	}{
		{"a person", chrome, nil, 0, event.Human},
		{"a person opens", chrome, []func(*visit){as(event.Open)}, 0, event.Human},
		{"a person unsubscribes", chrome, []func(*visit){as(event.Unsubscribe)}, 0, event.Human},
		{"a person meets a rule", chrome, []func(*visit){as(event.Blocked)}, 0, event.Human},

		{"HEAD", chrome, []func(*visit){func(v *visit) { v.request.Method = "HEAD" }}, event.SignalHead, event.Automated},

		{"prefetch", chrome, []func(*visit){header("Sec-Purpose", "prefetch")}, event.SignalPrefetch, event.Automated},
		{"prerender", chrome, []func(*visit){header("Sec-Purpose", "prefetch;prerender")}, event.SignalPrefetch, event.Automated},
		{"prefetch, the old header", chrome, []func(*visit){header("Purpose", "prefetch")}, event.SignalPrefetch, event.Automated},
		{"preview", safari, []func(*visit){header("Purpose", "Preview")}, event.SignalPrefetch, event.Automated},
		{"prefetch, Mozilla's header", firefox, []func(*visit){header("X-Moz", "prefetch")}, event.SignalPrefetch, event.Automated},
		{"prefetch, said second", chrome, []func(*visit){func(v *visit) {
			v.request.Header["Sec-Purpose"] = []string{"", "x, PREFETCH"}
		}}, event.SignalPrefetch, event.Automated},
		{"another purpose", chrome, []func(*visit){header("Sec-Purpose", "pre-fetch"), header("Purpose", ""), header("X-Moz", "no")}, 0, event.Human},
		{"another header", chrome, []func(*visit){header("X-Purpose", "preview")}, 0, event.Human},

		{"scanner", "Barracuda Sentinel (EE)", []func(*visit){bare}, event.SignalScannerAgent | event.SignalBareRequest, event.Automated},
		{"scanner opens", "Barracuda Sentinel (EE)", []func(*visit){bare, as(event.Open)}, event.SignalScannerAgent, event.Automated},
		{"library unsubscribes", "Go-http-client/2.0", []func(*visit){bare, as(event.Unsubscribe)}, event.SignalScannerAgent, event.Automated},
		{"library meets a rule", "Go-http-client/2.0", []func(*visit){bare, as(event.Blocked)}, event.SignalScannerAgent | event.SignalBareRequest, event.Automated},
		{"spaces", "  curl/8.5.0  ", nil, event.SignalScannerAgent, event.Automated},
		{"within what is looked at", strings.Repeat("x", 2043) + " curl", nil, event.SignalScannerAgent, event.Automated},
		{"beyond what is looked at", strings.Repeat("x", 2044) + " curl", nil, 0, event.Human},

		{"no agent", "", nil, event.SignalNoAgent, event.Automated},
		{"a blank agent", " \t", nil, event.SignalNoAgent, event.Automated},
		{"no header", "", []func(*visit){without("User-Agent")}, event.SignalNoAgent, event.Automated},
		{"an agent that says nothing", "x", []func(*visit){bare}, event.SignalBareRequest, event.Suspect},
		{"it meets a rule", "SomethingNew/1.0", []func(*visit){bare, as(event.Blocked)}, event.SignalBareRequest, event.Suspect},
		{"it opens", "SomethingNew/1.0", []func(*visit){bare, as(event.Open)}, 0, event.Human},
		{"it unsubscribes", "SomethingNew/1.0", []func(*visit){bare, as(event.Unsubscribe)}, 0, event.Human},
		{"it says what it takes", "SomethingNew/1.0", []func(*visit){acceptAlone}, 0, event.Human},
		{"it has a language", "SomethingNew/1.0", []func(*visit){without(append([]string{"Accept"}, fetch...)...)}, 0, event.Human},
		{"it says what it fetches for", "SomethingNew/1.0", []func(*visit){without("Accept", "Accept-Language")}, 0, event.Human},
		{"empty headers", "SomethingNew/1.0", []func(*visit){bare, header("Accept", ""), header("Accept-Language", ""), header("Sec-Fetch-Dest", "")}, event.SignalBareRequest, event.Suspect},
		{"a dash", "-", []func(*visit){bare}, event.SignalBareRequest, event.Suspect},
		{"Android's library", "Dalvik/2.1.0 (Linux; U; Android 13; SM-A515F Build/TP1A.220624.014)", []func(*visit){bare}, event.SignalBareRequest, event.Suspect},
		{"Bun", "Bun/1.0", []func(*visit){acceptAlone}, event.SignalScannerAgent, event.Automated},
		{"an application's name", "Bunny/1.0", []func(*visit){acceptAlone}, 0, event.Human},

		{"scanner's network", chrome, []func(*visit){from("104.47.11.62")}, event.SignalScannerNetwork, event.Automated},
		{"its first address", chrome, []func(*visit){from("104.47.0.0")}, event.SignalScannerNetwork, event.Automated},
		{"its last address", chrome, []func(*visit){from("104.47.127.255")}, event.SignalScannerNetwork, event.Automated},
		{"beside it", chrome, []func(*visit){from("104.47.128.0")}, 0, event.Human},
		{"mapped", chrome, []func(*visit){from("::ffff:104.47.11.62")}, event.SignalScannerNetwork, event.Automated},
		{"IPv6", chrome, []func(*visit){from("2a01:111:f403::1")}, event.SignalScannerNetwork, event.Automated},
		{"IPv6 with a zone", chrome, []func(*visit){from("2a01:111:f403::1%eth0")}, event.SignalScannerNetwork, event.Automated},
		{"IPv6 beside it", chrome, []func(*visit){from("2a01:111:f404::1")}, 0, event.Human},
		{"no address", chrome, []func(*visit){func(v *visit) { v.outcome.Address = netip.Addr{} }}, 0, event.Human},

		{"trap", chrome, []func(*visit){link("hp_1")}, event.SignalHoneypot, event.Automated},
		{"trap opened", chrome, []func(*visit){link("hp_"), as(event.Open)}, event.SignalHoneypot, event.Automated},
		{"no trap", chrome, []func(*visit){link("HP_1")}, 0, event.Human},
		{"no trap either", chrome, []func(*visit){link("xhp_1")}, 0, event.Human},

		{"before it was sent", chrome, []func(*visit){after(-60*time.Second - time.Microsecond)}, event.SignalBeforeSend, event.Suspect},
		{"long before", chrome, []func(*visit){func(v *visit) { v.link.Sent = time.Unix(78_364_164_095, 0) }}, event.SignalBeforeSend, event.Suspect},
		{"clocks that differ", chrome, []func(*visit){after(-60 * time.Second)}, event.SignalInstant, event.Suspect},
		{"at once", chrome, []func(*visit){after(0)}, event.SignalInstant, event.Suspect},
		{"nearly two seconds", chrome, []func(*visit){after(2*time.Second - time.Microsecond)}, event.SignalInstant, event.Suspect},
		{"two seconds", chrome, []func(*visit){after(2 * time.Second)}, 0, event.Human},
		{"sent not said", chrome, []func(*visit){notSaid}, 0, event.Human},
		{"long ago", chrome, []func(*visit){func(v *visit) { v.link.Sent = time.Unix(1, 0) }}, 0, event.Human},

		{"Chrome without headers", chrome, []func(*visit){bare}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome without Sec-Fetch", chrome, []func(*visit){without(fetch...)}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome without a language", chrome, []func(*visit){without("Accept-Language")}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome with an empty language", chrome, []func(*visit){header("Accept-Language", "")}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome with one of them", chrome, []func(*visit){without("Sec-Fetch-Mode", "Sec-Fetch-Site")}, 0, event.Human},
		{"Chrome over HTTP", chrome, []func(*visit){without(fetch...), plain}, 0, event.Human},
		{"Chrome over HTTP, without a language", chrome, []func(*visit){bare, plain}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome 80", strings.Replace(chrome, "140", "80", 1), []func(*visit){without(fetch...)}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome 79", strings.Replace(chrome, "140", "79", 1), []func(*visit){without(fetch...)}, 0, event.Human},
		{"Chrome 79, without a language", strings.Replace(chrome, "140", "79", 1), []func(*visit){bare}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Firefox", firefox, []func(*visit){without(fetch...)}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Firefox 90", strings.ReplaceAll(firefox, "131", "90"), []func(*visit){without(fetch...)}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Firefox 89", strings.ReplaceAll(firefox, "131", "89"), []func(*visit){without(fetch...)}, 0, event.Human},
		{"Safari", safari, []func(*visit){without(fetch...)}, 0, event.Human},
		{"Safari without a language", safari, []func(*visit){bare}, event.SignalNoBrowserHeaders, event.Suspect},
		{"a browser opens", chrome, []func(*visit){bare, as(event.Open)}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Chrome without Accept", chrome, []func(*visit){without("Accept")}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Firefox without Accept", firefox, []func(*visit){without("Accept")}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Safari without Accept", safari, []func(*visit){without("Accept")}, event.SignalNoBrowserHeaders, event.Suspect},
		{"a web view without Accept", webView, []func(*visit){without("Accept")}, event.SignalNoBrowserHeaders, event.Suspect},
		{"a web view's picture without Accept", webView, []func(*visit){without("Accept"), as(event.Open)}, 0, event.Human},
		{"Internet Explorer without Accept", internetExplorer, []func(*visit){bare}, event.SignalNoBrowserHeaders, event.Suspect},
		{"Internet Explorer", internetExplorer, []func(*visit){acceptAlone}, 0, event.Human},
		{"a browser's first words", "Mozilla/5.0", []func(*visit){bare}, event.SignalNoBrowserHeaders, event.Suspect},

		{"Excel looks at a link", excel, []func(*visit){acceptAlone}, event.SignalScannerAgent, event.Automated},
		{"Excel looks at a link, shortly", "Mozilla/4.0 (compatible; ms-office; MSOffice 16)", []func(*visit){acceptAlone}, event.SignalScannerAgent, event.Automated},
		{"Word looks at a link", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0.14326; Pro)", []func(*visit){acceptAlone}, event.SignalScannerAgent, event.Automated},
		{"Office meets a rule", excel, []func(*visit){acceptAlone, as(event.Blocked)}, event.SignalScannerAgent, event.Automated},
		{"Outlook shows a picture", excel, []func(*visit){bare, as(event.Open)}, 0, event.Human},
		{"a web view", webView, []func(*visit){acceptAlone}, 0, event.Human},
		{"a web view of a browser of its own", strings.Replace(webView, "; wv", "", 1), []func(*visit){acceptAlone}, 0, event.Human},
		{"Apple Mail", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)", []func(*visit){acceptAlone}, 0, event.Human},
		{"Thunderbird", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.0", []func(*visit){acceptAlone}, 0, event.Human},
		{"eM Client", chrome + " eM Client/9.2.2157.0", []func(*visit){acceptAlone}, 0, event.Human},
		{"no number", "Mozilla/5.0 (X11) Chrome/ Firefox/x", []func(*visit){acceptAlone}, 0, event.Human},
		{"a number without end", "Mozilla/5.0 (X11) Chrome/99999999999999999999", []func(*visit){without(fetch...)}, event.SignalNoBrowserHeaders, event.Suspect},
		{"not as browsers write it", "Chrome/140", []func(*visit){acceptAlone}, 0, event.Human},

		{"two suspicions", chrome, []func(*visit){bare, after(time.Second)}, event.SignalInstant | event.SignalNoBrowserHeaders, event.Automated},
		{"all at once", "", []func(*visit){bare, after(time.Second), link("hp_1"), from("104.47.11.62"), func(v *visit) { v.request.Method = "HEAD" }, header("Purpose", "prefetch")},
			event.SignalHead | event.SignalPrefetch | event.SignalNoAgent | event.SignalScannerNetwork | event.SignalHoneypot | event.SignalInstant | event.SignalBareRequest, event.Automated},
		{"a scanner that names a browser", strings.Replace(chrome, "Safari", "HeadlessEdg/140 Safari", 1), []func(*visit){bare}, event.SignalScannerAgent | event.SignalNoBrowserHeaders, event.Automated},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newVisit(test.agent)
			for _, change := range test.changes {
				change(v)
			}
			e := v.event(t, Options{})
			if e.Signals != test.want || e.Automation != test.class {
				t.Errorf("%s for %q, want %s for %q", e.Automation, e.Signals, test.class, test.want)
			}
			if got := attributesOf(e)["automation"]; got != string(test.class) {
				t.Errorf("the attribute is %q", got)
			}
		})
	}
}

// Opens: what stands between the mail and the picture.
func TestOpens(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		agent string
		after time.Duration // of sent_at; negative: it is not said
		want  event.Signals
		class event.Automation
		proxy string
	}{
		{"Gmail, an hour after", gmail, time.Hour, 0, event.Human, "google"},
		{"Gmail, the next day", gmail, day, 0, event.Human, "google"},
		{"Gmail, just after two minutes", gmail, 2*time.Minute + time.Microsecond, 0, event.Human, "google"},
		{"Gmail, two minutes after", gmail, 2 * time.Minute, event.SignalImageProxy, event.Suspect, "google"},
		{"Gmail, half a minute after", gmail, 30 * time.Second, event.SignalImageProxy, event.Suspect, "google"},
		{"Gmail, at once", gmail, time.Second, event.SignalImageProxy | event.SignalInstant, event.Automated, "google"},
		{"Gmail, sent not said", gmail, -1, event.SignalImageProxy, event.Suspect, "google"},
		{"Yahoo, an hour after", yahoo, time.Hour, 0, event.Human, "yahoo"},
		{"Yahoo, half a minute after", yahoo, 30 * time.Second, event.SignalImageProxy, event.Suspect, "yahoo"},
		{"Apple, an hour after", apple, time.Hour, 0, event.Human, "apple"},
		{"Apple, half a minute after", apple, 30 * time.Second, event.SignalImageProxy, event.Suspect, "apple"},
		{"Apple, sent not said", apple, -1, event.SignalImageProxy, event.Suspect, "apple"},
		{"Fastmail, an hour after", "FastmailUA/1.0", time.Hour, 0, event.Human, "fastmail"},
		{"Seznam, half a minute after", "Mozilla/5.0 SeznamEmailProxy/2.0.174", 30 * time.Second, event.SignalImageProxy, event.Suspect, "seznam"},
		{"Yahoo, two hours after", yahoo, 2 * time.Hour, 0, event.Human, "yahoo"},
		{"Apple, two hours after", apple, 2 * time.Hour, 0, event.Human, "apple"},
		{"Rambler, an hour after", "RamblerMail/6.0 (incompatible; ImageProxy/6.0)", time.Hour, 0, event.Human, "rambler"},
		{"ukr.net, an hour after", "mail.ukr.net Proxy 1.0", time.Hour, 0, event.Human, "ukrnet"},
		{"Gmail before it delivers", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0", time.Hour, event.SignalScannerAgent | event.SignalNoBrowserHeaders, event.Automated, "google"},
		{"Outlook", "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/7.0; .NET4.0C; .NET4.0E; Microsoft Outlook 16.0.12026; ms-office; MSOffice 16)", time.Minute, 0, event.Human, ""},
		{"Outlook, the other agent", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.12026; Pro)", time.Minute, 0, event.Human, ""},
		{"Outlook on macOS", "MacOutlook/16.46.21021202 (Intelx64 Mac OS X 11.2.2 (Build 20D80))", time.Minute, 0, event.Human, ""},
		{"Outlook on iOS", "Outlook-iOS/709.2042344.prod.iphone (3.21.0)", time.Minute, 0, event.Human, ""},
		{"Thunderbird", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.0", time.Minute, 0, event.Human, ""},
		{"Apple Mail without its proxy", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)", time.Minute, 0, event.Human, ""},
		{"Apple Mail on iOS without its proxy", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", time.Minute, 0, event.Human, ""},
		{"Gmail's app without the proxy", "Android-Gmail/64562652 (sw411dp; 420dpi) (r7 TP1A.220624.014)", time.Minute, 0, event.Human, ""},
		{"eM Client", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/55.0.2883.87 Safari/537.36 eM Client/8.2.1659.0", time.Minute, 0, event.Human, ""},
		{"The Bat", "The Bat! 4.0.0.22", time.Minute, 0, event.Human, ""},
		{"Airmail", "Airmail 1.4 rv:238 (Macintosh; Mac OS X 10.9.2; hr_HR)", time.Minute, 0, event.Human, ""},
		{"Slack's picture proxy", "Slack-ImgProxy (+https://api.slack.com/robots)", time.Hour, event.SignalScannerAgent, event.Automated, ""},
		{"a browser in name only", chrome, time.Hour, event.SignalNoBrowserHeaders, event.Suspect, ""},
		{"Barracuda", "Barracuda Sentinel (EE)", time.Hour, event.SignalScannerAgent, event.Automated, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Neither proxies nor mail programs send a browser's headers.
			v := newVisit(test.agent)
			v.request.Header = http.Header{"User-Agent": {test.agent}}
			v.outcome.Type = event.Open
			if v.received = sent.Add(test.after); test.after < 0 {
				v.link.Sent = time.Time{}
			}
			e := v.event(t, Options{})
			if e.Signals != test.want || e.Automation != test.class {
				t.Errorf("%s for %q, want %s for %q", e.Automation, e.Signals, test.class, test.want)
			}
			if e.Proxy != test.proxy || attributesOf(e)["proxy"] != test.proxy {
				t.Errorf("by the proxy of %q, want %q, and as an attribute %q", e.Proxy, test.proxy, attributesOf(e)["proxy"])
			}
			v.outcome.Untracked = true
			if e := v.event(t, Options{}); e.Proxy != test.proxy {
				t.Errorf("untracked, by the proxy of %q, want %q", e.Proxy, test.proxy)
			}
		})
	}
	// The signal and the field speak of opens only.
	for _, typ := range []event.Type{event.Click, event.Unsubscribe, event.Blocked} {
		v := newVisit(gmail)
		v.outcome.Type, v.received = typ, sent.Add(30*time.Second)
		if e := v.event(t, Options{}); e.Signals != 0 || e.Proxy != "" {
			t.Errorf("%s: %q %q", typ, e.Signals, e.Proxy)
		}
	}
}

// Real agents, as the file describes them.
func TestRealAgents(t *testing.T) {
	data, err := os.ReadFile("testdata/agents.tsv")
	if err != nil {
		t.Fatal(err)
	}
	classes := map[event.Automation]int{}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 5 {
			t.Fatalf("%q has %d cells", line, len(cells))
		}
		want, headers, from, what, agent := event.Automation(cells[0]), cells[1], cells[2], cells[3], cells[4]
		v := newVisit(agent)
		switch headers {
		case "full":
		case "language":
			v.request.Header = http.Header{"User-Agent": {agent}, "Accept": {"*/*"}, "Accept-Language": {"en-US,en;q=0.9"}}
		case "accept":
			v.request.Header = http.Header{"User-Agent": {agent}, "Accept": {"*/*"}}
		case "none":
			v.request.Header = http.Header{"User-Agent": {agent}}
		default:
			t.Fatalf("%q: headers %q", line, headers)
		}
		if from != "-" {
			v.outcome.Address = netip.MustParseAddr(from)
		}
		if e := v.event(t, Options{}); e.Automation != want {
			t.Errorf("%s: %s for %q, want %s: %s", what, e.Automation, e.Signals, want, agent)
		}
		classes[want]++
	}
	if classes[event.Human] < 75 || classes[event.Automated] < 75 || classes[event.Human]+classes[event.Automated] < 150 {
		t.Errorf("%v are too few to trust", classes)
	}
}

func TestMoreScannerNetworks(t *testing.T) {
	more := []netip.Prefix{
		netip.MustParsePrefix("203.0.113.7/24"), // not its first address
		netip.MustParsePrefix("2001:db8:5::/48"),
		netip.MustParsePrefix("::ffff:198.51.100.0/120"),
	}
	for address, want := range map[string]event.Signals{
		"203.0.113.7": event.SignalScannerNetwork, "203.0.113.255": event.SignalScannerNetwork, "203.0.114.0": 0,
		"2001:db8:5::1": event.SignalScannerNetwork, "2001:db8:6::1": 0,
		"198.51.100.9": event.SignalScannerNetwork, "198.51.101.9": 0,
		"40.107.22.1": event.SignalScannerNetwork, // those built in stay
	} {
		v := newVisit(chrome)
		v.outcome.Address = netip.MustParseAddr(address)
		if e := v.event(t, Options{ScannerNetworks: more, ClientIP: NoIP}); e.Signals != want || e.IP != "" {
			t.Errorf("%s: %q, want %q", address, e.Signals, want)
		}
	}
}

// The lists are read to the last line, and each entry has a source.
func TestLists(t *testing.T) {
	names, err := parseAgents(agentsFile)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(agentsFile + networksFile) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		entry, source := cells[0], cells[2]
		if _, ok := agentKinds[entry]; ok {
			entry = cells[1]
		}
		if seen[entry] {
			t.Errorf("%s is there twice", entry)
		}
		seen[entry] = true
		if !strings.HasPrefix(source, "https://") && !strings.HasPrefix(source, "http://") && !strings.HasPrefix(source, "dns:") {
			t.Errorf("%s has the source %q", entry, source)
		}
		if entry != strings.ToLower(entry) {
			t.Errorf("%s is not in lower case, and matches nothing", entry)
		}
	}
	networks, err := parseNetworks(networksFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(names)+len(networks) != len(seen) || len(networks) < 50 || len(names) < 300 {
		t.Errorf("%d names and %d networks of %d lines", len(names), len(networks), len(seen))
	}
	for _, n := range networks {
		if a := n.Addr(); !a.IsGlobalUnicast() || a.IsPrivate() || n.Bits() < 14 {
			t.Errorf("%v is not a network of a scanner", n)
		}
	}
	for _, line := range []string{"gateway\tx", "gateway\tx\t", "gateway\t\ty", "gateway\t^\ty", "other\tx\ty", "x", ""} {
		if _, err := parseAgents("# head\n" + line + "\n"); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"10.0.0.0/8\tx", "10.0.0.1/8\tx\ty", "x\ty\tz", "10.0.0.0/8\t\ty"} {
		if _, err := parseNetworks("# head\n" + line + "\n"); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// What may stand around a name.
func TestAgentNames(t *testing.T) {
	for _, test := range []struct {
		name string
		yes  []string
		no   []string
	}{
		{"curl", []string{"curl", "curl/8", "CURL", "x curl y", "(curl)", "php-curl-class", "1curl2", "éCurlé"}, []string{"", "cur", "curly", "xcurl", "c url"}},
		{"*bot/", []string{"bot/", "Googlebot/2.1", "x Bot/"}, []string{"bot", "bot /", "robots/"}},
		{"headless*", []string{"HeadlessChrome/1", "headless"}, []string{"xheadless"}},
		{"^php", []string{"PHP", "php/5", "php-x"}, []string{"x php", "phpx", " php"}},
		{"*bot$", []string{"bot", "robot", "x bot"}, []string{"bot ", "bots"}},
		{"=mozilla/5.0", []string{"Mozilla/5.0"}, []string{"Mozilla/5.0 ", "Mozilla/5.01", " Mozilla/5.0", "Mozilla/5.0 (X11)"}},
		{"+http*", []string{"(+http://x)", "+https", "x+http"}, []string{"http", "+ http"}},
		{"got (", []string{"got (x"}, []string{"forgot (x", "got"}},
	} {
		m := newAgentMatcher([]agentName{parseAgentName(scannerName, test.name)})
		for _, agent := range test.yes {
			if !m.read(agent).scanner {
				t.Errorf("%s is not found in %q", test.name, agent)
			}
		}
		for _, agent := range test.no {
			if m.read(agent).scanner {
				t.Errorf("%s is found in %q", test.name, agent)
			}
		}
	}
	// A person's name that ends there is looked at first; elsewhere it changes nothing.
	m := newAgentMatcher([]agentName{parseAgentName(scannerName, "*bot;"), parseAgentName(personName, "cubot;"), parseAgentName(scannerName, "curl")})
	for agent, want := range map[string]bool{"CUBOT;": false, "xcubot;": true, "bot;": true, "cubot; bot;": true, "curl cubot;": true} {
		if got := m.read(agent).scanner; got != want {
			t.Errorf("%q: %v, want %v", agent, got, want)
		}
	}
}

// The automaton finds what looking for each name alone finds.
func FuzzAgents(f *testing.F) {
	names, err := parseAgents(agentsFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(chrome)
	f.Add("Mozilla/5.0 (Linux; Android 7.0; CUBOT H3) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0.3538.80 Mobile Safari/537.36")
	f.Add("\xff\x00TelegramBot (like TwitterBot)")
	f.Add("curl-wget-bot-python-cubot;-=^*$")
	f.Fuzz(func(t *testing.T, agent string) {
		got := theAgents().read(agent)
		lower := []byte(agent)
		for i, c := range lower {
			if 'A' <= c && c <= 'Z' {
				lower[i] = c | 0x20
			}
		}
		var want agentReading
		for i := range lower {
			person := 0
			for pass := range 2 {
				for _, n := range names {
					if !strings.HasSuffix(string(lower[:i+1]), n.text) || !n.fits(agent, i) {
						continue
					}
					switch {
					case n.kind == personName:
						person = max(person, len(n.text))
					case pass == 0 || len(n.text) < person:
					case n.kind == scannerName:
						want.scanner = true
					case n.kind == documentName:
						want.document = true
					case n.kind == proxyName:
						want.proxy = true
					case n.kind == mailerName:
						want.mailer = true
					}
				}
			}
		}
		if got.scanner != want.scanner || got.document != want.document || got.proxy != want.proxy || got.mailer != want.mailer {
			t.Errorf("%q is read as %+v, want %+v", agent, got, want)
		}
		if got.chrome > 9999 || got.firefox > 9999 || got.safari > 9999 {
			t.Errorf("%q has the versions %+v", agent, got)
		}
	})
}

// Whatever a stranger sends, there is an event.
func TestClassifyHostile(t *testing.T) {
	long := strings.Repeat("curl/bot/", 16<<10/9)
	for name, header := range map[string]http.Header{
		"nothing":      nil,
		"empty values": {"User-Agent": {}, "Sec-Purpose": {}, "Accept-Language": nil},
		"16 KiB":       {"User-Agent": {long}, "Sec-Purpose": {long}, "Purpose": {long}, "X-Moz": {long}, "Accept-Language": {long}, "Sec-Fetch-Mode": {long}},
		"no UTF-8":     {"User-Agent": {"\xff\xfe\x00" + strings.Repeat("\x80", 3000)}, "Purpose": {"\xffprefetch"}},
		"many":         {"User-Agent": make([]string, 1000), "Sec-Purpose": make([]string, 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, typ := range []event.Type{event.Click, event.Open, event.Unsubscribe, event.Blocked} {
				v := newVisit("")
				v.request.Header, v.outcome.Type = header, typ
				e := v.event(t, Options{})
				if e.Automation == "" || e.ID == "" {
					t.Errorf("%+v", e)
				}
				if !json.Valid(e.AppendJSON(nil)) {
					t.Errorf("not JSON: %s", e.AppendJSON(nil))
				}
			}
		})
	}
}

// A defect in classification costs the event its class and nothing else.
func TestClassifyPanics(t *testing.T) {
	var log strings.Builder
	rc, err := NewRecorder(Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	rc.classifier = nil
	v := newVisit(chrome)
	e := rc.Record(v.request, v.received, v.link, v.outcome)
	if e.Automation != "" || e.Signals != 0 || e.UserAgent != chrome || e.ID == "" || e.IP == "" {
		t.Errorf("%+v", e)
	}
	if _, ok := attributesOf(e)["automation"]; ok {
		t.Error("an attribute without a value")
	}
	if got := log.String(); !strings.Contains(got, "panic") || !strings.Contains(got, e.ID) || strings.Contains(got, "203.0.113.7") {
		t.Errorf("log %q", got)
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	rc, err := NewRecorder(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, agent := range []string{chrome, webView, gmail, "", strings.Repeat("bot/", 4<<10)} {
		for _, typ := range []event.Type{event.Click, event.Open} {
			v, e := newVisit(agent), &event.Event{}
			v.outcome.Type = typ
			if n := testing.AllocsPerRun(100, func() { rc.classify(e, v.request, v.received, v.link, &v.outcome) }); n != 0 {
				t.Errorf("%.20q: %v allocations", agent, n)
			}
		}
	}
}

func attributesOf(e *event.Event) map[string]string {
	all := map[string]string{}
	for _, a := range e.AppendAttributes(nil) {
		all[a.Name] = a.Value
	}
	return all
}

// EVENTS.md says what is really compared.
func TestDocumentedThresholds(t *testing.T) {
	b, err := os.ReadFile("../event/EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("Chrome %d or later", chromeSecFetch), fmt.Sprintf("Firefox %d or later", firefoxSecFetch),
		fmt.Sprintf("less than %d s after sent_at, or up to %d s before it", instantWithin/time.Second, earliestBefore/time.Second),
		fmt.Sprintf("within %d minutes after sent_at", proxyWithin/time.Minute),
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

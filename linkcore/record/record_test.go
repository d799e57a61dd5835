package record

import (
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

var (
	occurred = time.Date(2026, 11, 21, 9, 30, 15, 123456789, time.FixedZone("", 3600))
	sent     = time.Date(2026, 11, 20, 7, 0, 0, 0, time.UTC)
)

func TestClientAddress(t *testing.T) {
	for _, test := range []struct {
		name    string
		proxies int
		remote  string
		lines   []string
		want    string // empty: none
	}{
		{"one proxy", 1, "", []string{"203.0.113.7"}, "203.0.113.7"},
		{"the client's own words", 1, "", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"two proxies", 2, "", []string{"198.51.100.1, 203.0.113.7, 192.0.2.1"}, "203.0.113.7"},
		{"three proxies", 3, "", []string{"203.0.113.7,198.51.100.9,192.0.2.1"}, "203.0.113.7"},
		{"no space", 1, "", []string{"198.51.100.1,203.0.113.7"}, "203.0.113.7"},
		{"spaces and tabs", 1, "", []string{" 198.51.100.1 ,\t 203.0.113.7 \t"}, "203.0.113.7"},
		{"two lines", 1, "", []string{"198.51.100.1", "203.0.113.7"}, "203.0.113.7"},
		{"two lines, two proxies", 2, "", []string{"198.51.100.1, 203.0.113.7", "192.0.2.1"}, "203.0.113.7"},
		{"three lines, three proxies", 3, "", []string{"203.0.113.7", "198.51.100.1", "192.0.2.1"}, "203.0.113.7"},
		{"too short", 2, "192.0.2.9:1", []string{"203.0.113.7"}, ""},
		{"too short over lines", 3, "192.0.2.9:1", []string{"203.0.113.7", "192.0.2.1"}, ""},
		{"no address", 1, "192.0.2.9:1", []string{"203.0.113.7, unknown"}, ""},
		{"an address beside it", 1, "192.0.2.9:1", []string{"203.0.113.7 192.0.2.1"}, ""},
		{"obfuscated", 1, "192.0.2.9:1", []string{"_hidden"}, ""},
		{"empty line", 1, "192.0.2.9:1", []string{""}, ""},
		{"empty entry", 1, "192.0.2.9:1", []string{"203.0.113.7,"}, ""},
		{"leading zeros", 1, "", []string{"203.0.113.007"}, ""},
		{"too many parts", 1, "", []string{"203.0.113.7.1"}, ""},
		{"IPv6", 1, "", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv6 in capitals", 1, "", []string{"2001:DB8:0:0::7"}, "2001:db8::7"},
		{"brackets", 1, "", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"brackets and port", 1, "", []string{"[2001:db8::7]:443"}, "2001:db8::7"},
		{"port", 1, "", []string{"203.0.113.7:51000"}, "203.0.113.7"},
		{"IPv4 in brackets", 1, "", []string{"[203.0.113.7]"}, ""},
		{"port without number", 1, "", []string{"203.0.113.7:"}, ""},
		{"port too large", 1, "", []string{"203.0.113.7:65536"}, ""},
		{"mapped", 1, "", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"mapped in brackets", 1, "", []string{"[::ffff:203.0.113.7]:80"}, "203.0.113.7"},
		{"zone", 1, "192.0.2.9:1", []string{"fe80::1%eth0"}, ""},
		{"zone in brackets", 1, "192.0.2.9:1", []string{"[fe80::1%eth0]:80"}, ""},
		{"very long", 1, "192.0.2.9:1", []string{strings.Repeat("1", 10000)}, ""},
		{"no header", 1, "203.0.113.7:51000", nil, "203.0.113.7"},
		{"no header, two proxies", 2, "[2001:db8::7]:51000", nil, "2001:db8::7"},
		{"none trusted", 0, "203.0.113.7:51000", []string{"198.51.100.1"}, "203.0.113.7"},
		{"mapped connection", 0, "[::ffff:203.0.113.7]:51000", nil, "203.0.113.7"},
		{"connection with a zone", 0, "[fe80::1%eth0]:51000", nil, "fe80::1"},
		{"no connection", 0, "@", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			rc, err := NewRecorder(Options{TrustedProxies: test.proxies})
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{RemoteAddr: test.remote, Header: http.Header{}}
			if test.lines != nil {
				r.Header["X-Forwarded-For"] = test.lines
			}
			want := netip.Addr{}
			if test.want != "" {
				want = netip.MustParseAddr(test.want)
			}
			if got := rc.ClientAddress(r); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func FuzzForwardedAddress(f *testing.F) {
	f.Add("198.51.100.1, 203.0.113.7", "[2001:db8::7]:443", 1)
	f.Add("fe80::1%eth0,", ",,", 2)
	f.Fuzz(func(t *testing.T, one, two string, n int) {
		if n < 1 || n > 8 {
			t.Skip()
		}
		got := forwardedAddress([]string{one, two}, n)
		// One line, split by the library, says the same.
		entries := strings.Split(one+","+two, ",")
		want := netip.Addr{}
		if n <= len(entries) {
			want = parseForwarded(strings.Trim(entries[len(entries)-n], " \t"))
		}
		if got != want {
			t.Errorf("%q, %q, %d: %v, want %v", one, two, n, got, want)
		}
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("%v has a zone or is mapped", got)
		}
		// What the client writes in front changes nothing that is there.
		if n <= len(entries) {
			if again := forwardedAddress([]string{"192.0.2.66", "192.0.2.67, " + one, two}, n); again != got {
				t.Errorf("with more in front: %v, want %v", again, got)
			}
		}
	})
}

// fullRequest has everything that an event can hold of a request.
func fullRequest() (*http.Request, *linkcore.Link) {
	r := &http.Request{Method: "GET", Header: http.Header{
		"User-Agent": {"agent"}, "Referer": {"https://mail.example/"}, "Accept-Language": {"de"}, "X-Country": {"CH"},
	}}
	return r, &linkcore.Link{
		Kind: linkcore.Click, Sealed: true, Key: "3", Host: "links.example.com",
		Fields:      linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f", Sent: sent},
		Destination: "https://example.com/", Metadata: `{"a":1}`, Label: "label", Query: "utm_source=x",
		Repair: linkcore.RepairTrailing,
	}
}

var address = netip.MustParseAddr("203.0.113.7")

func TestRecord(t *testing.T) {
	full := event.Event{
		Type: event.Click, OccurredAt: occurred.UTC(), KeyID: "3", Host: "links.example.com", Customer: "acme", Campaign: "spring26",
		Recipient: "r83jf", Link: "a1b2c3d4e5f", SentAt: sent, Sealed: true, Metadata: `{"a":1}`, Destination: "https://example.com/",
		Label: "label", Recovered: "trailing", Method: "GET", UserAgent: "agent", Referer: "https://mail.example/",
		AcceptLanguage: "de", Query: "utm_source=x", Country: "CH", IP: "203.0.113.7", Automation: event.Human,
	}
	// Exactly these are absent where the person is not to be tracked.
	noDevice := func(e *event.Event) {
		e.Untracked = true
		e.IP, e.UserAgent, e.Referer, e.AcceptLanguage, e.Query, e.Label, e.Country = "", "", "", "", "", "", ""
	}
	untracked := func(e *event.Event) {
		noDevice(e)
		e.Recipient, e.Link, e.Metadata = "", "", ""
	}
	for _, test := range []struct {
		name    string
		options Options
		request func(*http.Request, *linkcore.Link, *Outcome)
		want    func(*event.Event)
	}{
		{"all there is", Options{}, func(*http.Request, *linkcore.Link, *Outcome) {}, func(*event.Event) {}},
		{"nothing repaired", Options{}, func(_ *http.Request, l *linkcore.Link, _ *Outcome) { l.Repair = linkcore.RepairNone },
			func(e *event.Event) { e.Recovered = "" }},
		{"clear, sent not said", Options{}, func(_ *http.Request, l *linkcore.Link, _ *Outcome) {
			l.Sealed, l.Metadata, l.Sent = false, "", time.Time{}
		}, func(e *event.Event) { e.Sealed, e.Metadata, e.SentAt = false, "", time.Time{} }},
		{"redirected", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.RedirectedTo, o.Rule = "https://example.org/", "host:example.com"
		}, func(e *event.Event) { e.RedirectedTo, e.Rule = "https://example.org/", "host:example.com" }},
		{"blocked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) { o.Type, o.Rule = event.Blocked, "link:x" },
			func(e *event.Event) { e.Type, e.Rule = event.Blocked, "link:x" }},
		{"an untracked click from an address that is blocked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type, o.Untracked, o.Rule = event.Blocked, true, "ip:203.0.113.7"
		}, func(e *event.Event) { e.Type = event.Blocked; untracked(e) }},
		{"HEAD", Options{}, func(r *http.Request, _ *linkcore.Link, _ *Outcome) { r.Method = "HEAD" }, func(e *event.Event) {
			e.Method, e.Automation, e.Signals = "HEAD", event.Automated, event.SignalHead
		}},
		{"no country header", Options{CountryHeader: "-"}, func(*http.Request, *linkcore.Link, *Outcome) {}, func(e *event.Event) { e.Country = "" }},
		{"no address", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) { o.Address = netip.Addr{} }, func(e *event.Event) { e.IP = "" }},
		{"truncated IPv4", Options{ClientIP: TruncatedIP}, func(*http.Request, *linkcore.Link, *Outcome) {}, func(e *event.Event) { e.IP = "203.0.113.0" }},
		{"truncated IPv6", Options{ClientIP: TruncatedIP}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Address = netip.MustParseAddr("2001:db8:1:2:3::4")
		}, func(e *event.Event) { e.IP = "2001:db8:1::" }},
		{"truncated mapped", Options{ClientIP: TruncatedIP}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Address = netip.MustParseAddr("::ffff:203.0.113.7")
		}, func(e *event.Event) { e.IP = "203.0.113.0" }},
		{"no IP", Options{ClientIP: NoIP}, func(*http.Request, *linkcore.Link, *Outcome) {}, func(e *event.Event) { e.IP = "" }},
		{"Sec-GPC", Options{}, func(r *http.Request, _ *linkcore.Link, _ *Outcome) { r.Header["Sec-Gpc"] = []string{"1"} },
			func(e *event.Event) { e.PrivacySignal = "gpc" }},
		{"DNT", Options{}, func(r *http.Request, _ *linkcore.Link, _ *Outcome) { r.Header["Dnt"] = []string{"1"} },
			func(e *event.Event) { e.PrivacySignal = "dnt" }},
		{"both", Options{}, func(r *http.Request, _ *linkcore.Link, _ *Outcome) {
			r.Header["Dnt"], r.Header["Sec-Gpc"] = []string{"1"}, []string{"1"}
		}, func(e *event.Event) { e.PrivacySignal = "gpc" }},
		{"neither", Options{}, func(r *http.Request, _ *linkcore.Link, _ *Outcome) {
			r.Header["Dnt"], r.Header["Sec-Gpc"] = []string{"0"}, []string{"true"}
		}, func(*event.Event) {}},
		{"a click is a wish", Options{PrivacySignals: AnonymiseSignals}, func(r *http.Request, _ *linkcore.Link, _ *Outcome) {
			r.Header["Dnt"] = []string{"1"}
		}, func(e *event.Event) { e.PrivacySignal = "dnt" }},
		{"an open recorded", Options{}, func(r *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type = event.Open
			r.Header["Dnt"] = []string{"1"}
		}, func(e *event.Event) { e.Type, e.PrivacySignal = event.Open, "dnt" }},
		{"an open anonymised", Options{PrivacySignals: AnonymiseSignals}, func(r *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type = event.Open
			r.Header["Sec-Gpc"] = []string{"1"}
		}, func(e *event.Event) { e.Type, e.PrivacySignal = event.Open, "gpc"; untracked(e) }},
		{"an open without a signal", Options{PrivacySignals: AnonymiseSignals}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type = event.Open
		}, func(e *event.Event) { e.Type = event.Open }},
		{"a rule says untracked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Untracked, o.Rule = true, "recipient:acme/r83jf"
		}, untracked},
		{"a rule of another kind says untracked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Untracked, o.Rule, o.NamesNobody = true, "campaign:acme/spring26", true
		}, func(e *event.Event) { e.Rule = "campaign:acme/spring26"; untracked(e) }},
		{"an untracked click on a link that is blocked by itself", Options{}, func(_ *http.Request, l *linkcore.Link, o *Outcome) {
			o.Type, o.Untracked, o.Rule = event.Blocked, true, "link:"+l.Link
		}, func(e *event.Event) { e.Type = event.Blocked; untracked(e) }},
		{"a machine that is not to be tracked", Options{}, func(r *http.Request, _ *linkcore.Link, o *Outcome) {
			r.Header["User-Agent"] = []string{"curl/8.5.0"}
			o.Untracked = true
		}, func(e *event.Event) {
			untracked(e)
			e.Automation, e.Signals = event.Automated, event.SignalScannerAgent
		}},
		{"an unsubscribe of somebody who objected", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type, o.Untracked, o.Rule = event.Unsubscribe, true, "recipient:acme/r83jf"
		}, func(e *event.Event) { e.Type = event.Unsubscribe; noDevice(e) }},
		{"an unsubscribe where a customer is not to be tracked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type, o.Untracked, o.Rule, o.NamesNobody = event.Unsubscribe, true, "customer:acme", true
		}, func(e *event.Event) { e.Type, e.Rule = event.Unsubscribe, "customer:acme"; noDevice(e) }},
		{"an untracked unsubscribe from an address that is blocked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type, o.Untracked, o.Rule = event.Unsubscribe, true, "ip:203.0.113.7"
		}, func(e *event.Event) { e.Type = event.Unsubscribe; noDevice(e) }},
		{"an objection", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type = event.Objection
		}, func(e *event.Event) { e.Type = event.Objection; noDevice(e); e.Metadata, e.Untracked = "", false }},
		{"an objection withdrawn by somebody who is not tracked", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) {
			o.Type, o.Untracked, o.Rule = event.ObjectionWithdrawn, true, "recipient:acme/r83jf"
		}, func(e *event.Event) { e.Type = event.ObjectionWithdrawn; noDevice(e); e.Metadata = "" }},
		{"rules that nobody knows", Options{}, func(_ *http.Request, _ *linkcore.Link, o *Outcome) { o.RulesUnknown = true },
			func(e *event.Event) { e.RulesUnknown = true }},
		{"made for nobody", Options{}, func(_ *http.Request, l *linkcore.Link, _ *Outcome) { l.Link = "an_x" },
			func(e *event.Event) { untracked(e); e.Link = "an_x" }},
		{"made for nobody, rules unknown", Options{}, func(_ *http.Request, l *linkcore.Link, o *Outcome) { l.Link, o.RulesUnknown = "an_x", true },
			func(e *event.Event) { untracked(e); e.Link, e.RulesUnknown = "an_x", true }},
		{"made for nobody, and blocked", Options{}, func(_ *http.Request, l *linkcore.Link, o *Outcome) {
			l.Link, o.Type, o.Rule = "an_x", event.Blocked, "link:acme/an_x"
		}, func(e *event.Event) { untracked(e); e.Type, e.Link = event.Blocked, "an_x" }},
		{"made for nobody, opened", Options{}, func(_ *http.Request, l *linkcore.Link, o *Outcome) { l.Link, o.Type = "an_x", event.Open },
			func(e *event.Event) { untracked(e); e.Type, e.Link = event.Open, "an_x" }},
		{"nearly for nobody", Options{}, func(_ *http.Request, l *linkcore.Link, _ *Outcome) { l.Link = "AN_x" },
			func(e *event.Event) { e.Link = "AN_x" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			switch test.options.CountryHeader {
			case "":
				test.options.CountryHeader = "x-country" // any case
			case "-":
				test.options.CountryHeader = ""
			}
			rc, err := NewRecorder(test.options)
			if err != nil {
				t.Fatal(err)
			}
			r, l := fullRequest()
			o := Outcome{Type: event.Click, Address: address}
			test.request(r, l, &o)
			want := full
			test.want(&want)
			got := *rc.Record(r, occurred, l, o)
			if got.ID == "" {
				t.Error("no id")
			}
			got.ID, got.Origin = "", 0
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// Strangers' words are cut.
func TestRecordCuts(t *testing.T) {
	rc, err := NewRecorder(Options{CountryHeader: "X-Country"})
	if err != nil {
		t.Fatal(err)
	}
	r, l := fullRequest()
	long := strings.Repeat("é", 8000)
	r.Method, l.Label, l.Query = long, long, long
	for name := range r.Header {
		r.Header[name] = []string{long, "second"}
	}
	e := rc.Record(r, occurred, l, Outcome{Type: event.Click})
	for i, s := range []string{e.Method, e.Label, e.Query, e.UserAgent, e.Referer, e.AcceptLanguage, e.Country} {
		if s != strings.Repeat("é", 1024) {
			t.Errorf("string %d has %d bytes", i, len(s))
		}
	}
}

// A string that was cut out of a request's would keep all of its headers alive, as
// long as the event is under way.
func TestRecordKeepsNothingOfTheRequest(t *testing.T) {
	rc, err := NewRecorder(Options{CountryHeader: "X-Country"})
	if err != nil {
		t.Fatal(err)
	}
	for _, long := range []string{"", strings.Repeat("x", 55_000)} {
		// What a server has read, in one piece.
		read := strings.Repeat("GET https://example.com/ ", 100) + long
		part := func(s string) string {
			i := strings.Index(read, s)
			return read[i : i+len(s)]
		}
		r := &http.Request{Method: part("GET"), RequestURI: read, Host: part("example.com"), Header: http.Header{}}
		for _, name := range []string{"User-Agent", "Referer", "Accept-Language", "X-Country"} {
			r.Header[name] = []string{read}
		}
		l := &linkcore.Link{
			Kind: linkcore.Click, Key: part("a"), Host: part("example.com"),
			Fields:      linkcore.Fields{Customer: part("ex"), Campaign: part("am"), Recipient: part("le"), Link: part("com")},
			Destination: part("https://example.com/"), Metadata: part("GET"), Label: read, Query: read,
		}
		for _, untracked := range []bool{false, true} {
			e := rc.Record(r, occurred, l, Outcome{Type: event.Blocked, Address: address, Rule: part("http"), RedirectedTo: part("https://example.com/"), Untracked: untracked})
			begin := uintptr(unsafe.Pointer(unsafe.StringData(read)))
			v := reflect.ValueOf(*e)
			kept := 0
			for i := range v.NumField() {
				if v.Field(i).Kind() != reflect.String {
					continue
				}
				s := v.Field(i).String()
				kept += len(s)
				if p := uintptr(unsafe.Pointer(unsafe.StringData(s))); s != "" && p >= begin && p < begin+uintptr(len(read)) {
					t.Errorf("%s is a part of the request", v.Type().Field(i).Name)
				}
			}
			if e.Size() < kept {
				t.Errorf("counts as %d bytes, and its strings alone have %d", e.Size(), kept)
			}
		}
	}
}

func TestNewRecorderRefuses(t *testing.T) {
	for _, o := range []Options{{TrustedProxies: -1}, {PrivacySignals: "ignore"}, {ClientIP: "half"}, {ScannerNetworks: make([]netip.Prefix, 1)}} {
		if _, err := NewRecorder(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var (
	occurred = time.Date(2026, 11, 21, 9, 30, 15, 123456789, time.FixedZone("", 3600))
	sent     = time.Date(2026, 11, 20, 7, 0, 0, 0, time.UTC)
)

func fullEvent(t Type) *Event {
	return &Event{
		ID: "019aa5c2-b5c3-7000-8000-000000000001", Type: t, OccurredAt: occurred, KeyID: "3", Host: "links.example.com",
		Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f", SentAt: sent, Sealed: true,
		Metadata: `{"segment":"gold","n":1}`, Destination: "https://example.com/?a=1&b=%22", RedirectedTo: "https://example.org/",
		Rule: "host:example.com", Label: "préis", Recovered: "double-encoding", Method: "GET", UserAgent: `a "b" \c`,
		Referer: "https://mail.example/", AcceptLanguage: "de-CH,de;q=0.9", Query: "utm_source=x", Country: "CH",
		PrivacySignal: "gpc", Untracked: true, IP: "203.0.113.7", Automation: Automated, Signals: SignalHead | SignalBurst,
		About: "019aa5c2-b5c3-7000-8000-000000000002", RulesUnknown: true, Proxy: "google",
	}
}

// Every field by the name and with the type of the contract.
var fullMembers = map[string]any{
	"event_id": "019aa5c2-b5c3-7000-8000-000000000001", "occurred_at": "2026-11-21T08:30:15.123456Z", "key_id": "3",
	"host": "links.example.com", "customer": "acme", "campaign": "spring26", "recipient": "r83jf", "link": "a1b2c3d4e5f",
	"sent_at": "2026-11-20T07:00:00Z", "seconds_since_sent": json.Number("91815.123456"), "sealed": true,
	"metadata": `{"segment":"gold","n":1}`, "destination": "https://example.com/?a=1&b=%22",
	"redirected_to": "https://example.org/", "rule": "host:example.com", "label": "préis", "recovered": "double-encoding",
	"method": "GET", "user_agent": `a "b" \c`, "referer": "https://mail.example/", "accept_language": "de-CH,de;q=0.9",
	"query": "utm_source=x", "country": "CH", "privacy_signal": "gpc", "untracked": true, "ip": "203.0.113.7",
	"automation": "automated", "signals": []any{"head", "burst"}, "about": "019aa5c2-b5c3-7000-8000-000000000002",
	"rules_unknown": true, "proxy": "google",
}

// fieldsTold is how many fields of an event are told. Those that never leave the
// process stand behind them.
var fieldsTold = func() (n int) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Event]()) {
		if f.Name != "Origin" {
			n++
		}
	}
	return n
}()

func decode(t testing.TB, data []byte) map[string]any {
	t.Helper()
	if !utf8.Valid(data) {
		t.Fatalf("not UTF-8: %q", data)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var members map[string]any
	if err := d.Decode(&members); err != nil || d.More() {
		t.Fatalf("not one JSON object: %v\n%s", err, data)
	}
	return members
}

func TestJSON(t *testing.T) {
	for _, typ := range Types() {
		t.Run(string(typ), func(t *testing.T) {
			want := maps.Clone(fullMembers)
			want["event_type"] = string(typ)
			if got := decode(t, fullEvent(typ).AppendJSON(nil)); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
	// A field that is added is added to the test.
	if fields, members := fieldsTold, len(fullMembers)+1; members != fields+1 { // seconds_since_sent has no field
		t.Errorf("the event has %d fields and the test %d members", fields, members)
	}
}

func TestAbsentIsLeftOut(t *testing.T) {
	got := decode(t, (&Event{ID: "1", Type: Click, OccurredAt: occurred}).AppendJSON(nil))
	want := map[string]any{"event_id": "1", "event_type": "click", "occurred_at": "2026-11-21T08:30:15.123456Z"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAppendJSONAppends(t *testing.T) {
	e := fullEvent(Click)
	alone := e.AppendJSON(nil)
	if got, want := e.AppendJSON([]byte("before ")), "before "+string(alone); string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got, err := json.Marshal(map[string]any{"e": e})
	if err != nil || !bytes.Contains(got, []byte(`"event_id":"019aa5c2`)) {
		t.Errorf("through encoding/json: %s, %v", got, err)
	}
}

func TestTimes(t *testing.T) {
	for _, test := range []struct {
		occurred, sent time.Time
		wantOccurred   string
		wantSeconds    string
	}{
		{time.Unix(1_790_000_000, 0), time.Unix(1_790_000_000, 0), "2026-09-21T14:13:20.000000Z", "0"},
		{time.Unix(1_790_000_000, 999_999_999), time.Unix(1_789_999_999, 0), "2026-09-21T14:13:20.999999Z", "1.999999"},
		{time.Unix(1_790_000_000, 1_000), time.Unix(1_790_000_000, 0), "2026-09-21T14:13:20.000001Z", "0.000001"},
		{time.Unix(1_790_000_000, 500_000_000), time.Unix(1_790_000_060, 0), "2026-09-21T14:13:20.500000Z", "-59.5"},
		// The latest and the earliest that a link can say.
		{time.Unix(1_790_000_000, 0), time.Unix(78_364_164_095, 0), "2026-09-21T14:13:20.000000Z", "-76574164095"},
		{time.Unix(1_790_000_000, 250_000_000), time.Unix(1, 0), "2026-09-21T14:13:20.250000Z", "1789999999.25"},
	} {
		got := decode(t, (&Event{OccurredAt: test.occurred, SentAt: test.sent}).AppendJSON(nil))
		if got["occurred_at"] != test.wantOccurred || got["seconds_since_sent"] != json.Number(test.wantSeconds) {
			t.Errorf("%v sent %v: occurred_at %v, seconds_since_sent %v; want %s, %s", test.occurred, test.sent,
				got["occurred_at"], got["seconds_since_sent"], test.wantOccurred, test.wantSeconds)
		}
		if want := test.sent.UTC().Format(time.RFC3339); got["sent_at"] != want {
			t.Errorf("sent_at %v, want %s", got["sent_at"], want)
		}
	}
}

func TestStrings(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"a\x00\x01\x1f\x7f\n\r\t\"\\/", `"a\u0000\u0001\u001f\u007f\n\r\t\"\\/"`},
		{"é€😀", `"é€😀"`},
		{"\u2028\u2029", `"\u2028\u2029"`},
		{"a\xffb", `"a` + "\uFFFD" + `b"`},
		{"\xed\xa0\x80", `"` + strings.Repeat("\uFFFD", 3) + `"`}, // a surrogate
		{"cut \xf0\x9f\x98", `"cut ` + strings.Repeat("\uFFFD", 3) + `"`},
		{"<script>&", `"<script>&"`},
	} {
		if got := string(appendString(nil, test.in)); got != test.want {
			t.Errorf("%q: %s, want %s", test.in, got, test.want)
		}
	}
}

// Every byte at every place among eight, beside a byte by byte encoding.
func TestStringsByEight(t *testing.T) {
	for c := range 256 {
		for length := range 20 {
			for at := range length {
				in := []byte(strings.Repeat("~", length))
				in[at] = byte(c)
				want := `"`
				for _, b := range in {
					one := string(appendString(nil, string(rune(b))))
					if b >= 0x80 {
						one = "\"\uFFFD\""
					}
					want += one[1 : len(one)-1]
				}
				if got := string(appendString(nil, string(in))); got != want+`"` {
					t.Fatalf("%q: %s, want %s", in, got, want)
				}
			}
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 4, ""},
		{"abcd", 4, "abcd"},
		{"abcde", 4, "abcd"},
		{"abcé", 4, "abc"},
		{"abé", 4, "abé"},
		{"a€€", 4, "a€"},
		{"😀😀", 7, "😀"},
		{"ab\xff", 4, "ab"},           // what replaces it does not fit
		{"a\xff", 4, "a\uFFFD"},       // and here it does
		{"\xff\xff\xff", 4, "\uFFFD"}, // a run is replaced once
		{"\x80\x80\x80\x80\x80\x80", 5, "\uFFFD"},
	} {
		got := cut(test.in, test.limit)
		if got != test.want {
			t.Errorf("cut(%q, %d) = %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	for _, typ := range Types() {
		want := map[string]string{
			"ce-specversion": "1.0", "ce-id": "019aa5c2-b5c3-7000-8000-000000000001", "ce-type": "linktracker." + string(typ) + ".v1",
			"ce-dataschema": dataSchema,
			"ce-source":     "//links.example.com", "ce-time": "2026-11-21T08:30:15.123456Z", "content-type": "application/json",
			"event_type": string(typ), "customer": "acme", "campaign": "spring26", "automation": "automated", "proxy": "google",
		}
		if got := attributesOf(fullEvent(typ)); !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	e := fullEvent(Click)
	e.Customer, e.Campaign, e.Automation, e.Proxy = "", "", "", ""
	for _, name := range []string{"customer", "campaign", "automation", "proxy"} {
		if value, ok := attributesOf(e)[name]; ok {
			t.Errorf("%s is %q, want none", name, value)
		}
	}
	e.Host, e.Customer = strings.Repeat("é", 2000), "\xff"
	for name, value := range attributesOf(e) {
		if len(name) > 256 || len(value) > 1024 || !utf8.ValidString(value) {
			t.Errorf("%s has %d bytes, or is not UTF-8", name, len(value))
		}
	}
}

func TestID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	previous := ""
	for i := range 1000 {
		at := time.UnixMilli(1_790_000_000_000 + int64(i))
		bytes := newID(at)
		id := string(bytes[:])
		if !form.MatchString(id) {
			t.Fatalf("%q is not a UUID version 7", id)
		}
		if seen[id] || id <= previous {
			t.Fatalf("%q after %q: not unique, or not in the order of time", id, previous)
		}
		seen[id], previous = true, id
		if want := fmt.Sprintf("%012x", at.UnixMilli()); strings.ReplaceAll(id, "-", "")[:12] != want {
			t.Fatalf("%q does not begin with the milliseconds %s", id, want)
		}
	}
}

// Whatever a request, a link and a rule hold, the line of its event is short, and
// says where something was cut.
func TestSpilledLineIsShort(t *testing.T) {
	id := strings.Repeat("i", 64)
	for _, test := range []struct {
		name                           string
		words, destination, redirected string
		metadata, rule                 string
		whole                          bool // of destination, redirected and rule
	}{
		{"ordinary", "Mozilla/5.0", "https://example.com/", "", `{"a":1}`, "", true},
		{"quotation marks", strings.Repeat(`"`, MaxWords), "https://example.com/?" + strings.Repeat(`"`, 1500), "", `{"a":1}`, "", true},
		{"line separators", strings.Repeat("\u2028", MaxWords/3), "https://example.com/" + strings.Repeat("x", 3000), "", "", "host:example.com", true},
		{"control characters", strings.Repeat("\x01", MaxWords), "https://example.com/", "", "", "", true},
		{"letters of two bytes", strings.Repeat("é", MaxWords/2), "https://example.com/", "", "", "", true},
		{"not UTF-8", strings.Repeat("\xff", MaxWords), "https://example.com/", "", "", "", true},
		{"a long destination", "", "https://example.com/" + strings.Repeat("x", 16000), "", "", "", false},
		{"a long destination of quotation marks", "", "https://example.com/?" + strings.Repeat(`"`, 16000), "", "", "", false},
		{"all there is", strings.Repeat(`"`, MaxWords), "https://example.com/?" + strings.Repeat(`"`, 16000), "https://example.org/?" + strings.Repeat(`"`, 16000),
			`{"` + strings.Repeat("\x7f", 506) + `":1}`, "prefix:https://example.com/?" + strings.Repeat(`"`, 2000), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := fullEvent(Click)
			e.Host = strings.Repeat("h", 253)
			e.KeyID, e.Customer, e.Campaign, e.Recipient, e.Link, e.IP = id[:16], id, id, id, id, "2001:db8:1111:2222:3333:4444:5555:6666"
			e.Signals = 1<<len(signalNames) - 1
			e.Destination, e.RedirectedTo, e.Rule, e.Metadata = test.destination, test.redirected, test.rule, test.metadata
			strangers := []*string{&e.Label, &e.Method, &e.UserAgent, &e.Referer, &e.AcceptLanguage, &e.Query, &e.Country}
			for _, s := range strangers {
				*s = test.words
			}
			before := *e
			line := AppendSpilled([]byte("before"), e, occurred, "too many of one link and address")[len("before"):]
			if len(line) > 8<<10 {
				t.Errorf("the line has %d bytes", len(line))
			}
			if !reflect.DeepEqual(*e, before) {
				t.Error("the event was changed, which may still be published")
			}
			spilled, err := ParseSpilled(line)
			if err != nil {
				t.Fatal(err)
			}
			got := spilled.Event
			for i, s := range []string{got.Label, got.Method, got.UserAgent, got.Referer, got.AcceptLanguage, got.Query, got.Country} {
				written := len(appendString(nil, s)) - 2
				begin, cut := strings.CutSuffix(s, "…")
				// So near to the limit that no further character would have fitted.
				if written > 256 || cut && written < 250 || !cut && s != test.words || !strings.HasPrefix(strings.ToValidUTF8(test.words, "\uFFFD"), begin[:min(3, len(begin))]) {
					t.Errorf("string %d of %d bytes is cut to %d: %q", i, len(test.words), written, s)
				}
			}
			whole := got.Destination == test.destination && got.RedirectedTo == test.redirected && got.Rule == test.rule
			if whole != test.whole {
				t.Errorf("whole is %v: %d bytes of the destination, %d of the target, %d of the rule", whole, len(got.Destination), len(got.RedirectedTo), len(got.Rule))
			}
			if !whole && (!strings.HasSuffix(got.Destination, "…") || len(line) < 8<<10-8) {
				t.Errorf("the line has %d bytes and the destination %d, ending in %q", len(line), len(got.Destination), got.Destination[len(got.Destination)-3:])
			}
			if got.Metadata != test.metadata || got.Recipient != id || got.Link != id || !reflect.DeepEqual(spilled.AppendAttributes(nil), e.AppendAttributes(nil)) {
				t.Errorf("a replay gets %+v with %v", got, spilled.Message.Attributes)
			}
		})
	}
}

func FuzzJSON(f *testing.F) {
	f.Add("a", "b\xff", "c\u2028", "\x00\x1f\"\\", int64(1_790_000_000_123_456), int64(1_790_000_000))
	f.Add("", strings.Repeat("é", 2000), "\xed\xa0\x80", "\xf0\x9f\x98", int64(0), int64(0))
	f.Fuzz(func(t *testing.T, customer, userAgent, query, label string, micros, seconds int64) {
		if micros < 0 || micros > 250_000_000_000_000_000 || seconds < 1 || seconds > 78_364_164_095 {
			t.Skip("beyond what a clock and a link say")
		}
		e := &Event{
			Type: Click, OccurredAt: time.UnixMicro(micros), SentAt: time.Unix(seconds, 0), Customer: customer,
			UserAgent: cut(userAgent, MaxWords), Query: query, Label: label,
		}
		got := decode(t, e.AppendJSON(nil))
		for name, value := range map[string]string{"customer": customer, "user_agent": e.UserAgent, "query": query, "label": label} {
			want, _ := json.Marshal(value) // replaces what is not UTF-8
			var s string
			json.Unmarshal(want, &s)
			if read, ok := got[name]; ok != (value != "") || ok && read != s {
				t.Errorf("%s: %q becomes %q, want %q", name, value, read, s)
			}
		}
		if at, err := time.Parse(time.RFC3339Nano, got["occurred_at"].(string)); err != nil || !at.Equal(e.OccurredAt) {
			t.Errorf("occurred_at %v is %v, %v", e.OccurredAt, at, err)
		}
		if len(e.UserAgent) > MaxWords || !utf8.ValidString(e.UserAgent) {
			t.Errorf("cut to %d bytes, or not UTF-8", len(e.UserAgent))
		}
		for name, value := range attributesOf(e) {
			if value == "" || len(value) > maxAttribute || !utf8.ValidString(value) {
				t.Errorf("attribute %s is %q", name, value)
			}
		}
		decode(t, AppendSpilled(nil, e, e.OccurredAt, "failed"))
	})
}

func TestAppendTime(t *testing.T) {
	for _, at := range []time.Time{
		occurred, sent, time.Unix(0, 0), time.Unix(1, 999_999_999), time.Unix(1, 1000), time.Unix(1, 999), time.Unix(78_364_164_095, 123_456_000),
		time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", -3600)),
	} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format(timeFormat); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

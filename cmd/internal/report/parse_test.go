package report

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 5, 4, 9, 32, 1, 371204000, time.UTC)
	for _, test := range []struct {
		name, line string
		want       string // id|type|customer|destination|class|untracked|sent
		err        error
	}{
		{name: "as the endpoint writes it", line: `{"event_id":"e1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"acme","sent_at":"2026-05-04T09:30:00Z","seconds_since_sent":121.371204,"sealed":true,"metadata":"{\"segment\":\"gold\"}","destination":"https://example.com/?a=1&b","automation":"human","signals":["head"]}`,
			want: "e1|click|acme|https://example.com/?a=1&b|human|false|09:30:00"},
		{name: "bq extract", line: `{"event_id":"e1","event_type":"click","occurred_at":"2026-05-04 09:32:01.371204 UTC","customer":"acme","sent_at":"2026-05-04 09:30:00 UTC","seconds_since_sent":121.371204,"untracked":true,"destination":"https://example.com/?a=1\u0026b\u003d","signals":[]}`,
			want: "e1|click|acme|https://example.com/?a=1&b=||true|09:30:00"},
		{name: "bq query --format=json", line: `{"about":null,"automation":"automated","customer":null,"destination":"x","event_id":"e1","event_type":"click","occurred_at":"2026-05-04 09:32:01.371204","sealed":"true","seconds_since_sent":"121.371204","sent_at":null,"signals":["no_agent"],"untracked":"false"}`,
			want: "e1|click||x|automated|false|"},
		{name: "another zone", line: `{"event_id":"e1","event_type":"open","occurred_at":"2026-05-04T11:32:01.371204+02:00"}`, want: "e1|open||||false|"},
		{name: "a short zone", line: `{"event_id":"e1","event_type":"open","occurred_at":"2026-05-04 05:02:01.371204-0430"}`, want: "e1|open||||false|"},
		{name: "blanks", line: " { \"event_id\" : \"e1\" ,\t\"event_type\":\"click\" , \"later\" : { \"a\" : [ 1 , -2.5e+3 , { } , [ ] , true , null ] } , \"occurred_at\" : \"2026-05-04T09:32:01.371204Z\" } ", want: "e1|click||||false|"},
		{name: "spilled", line: `{"severity":"WARNING","time":"x","message":"event spilled","reason":"timed out","event":{"event_id":"e1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"acme"},"attributes":{"ce-id":"e1"}}`,
			want: "e1|click|acme|||false|"},
		{name: "spilled, exported", line: `{"insertId":"x","jsonPayload":{"message":"event spilled","event":{"event_id":"e1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","untracked":true}},"timestamp":"x"}`,
			want: "e1|click||||true|"},
		{name: "a pair of surrogates, and half of one", line: `{"event_id":"e1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"\ud83d\ude00\ud83dx\\\/\"\b\f\n\r\t"}`,
			want: "e1|click|😀\uFFFDx\\/\"\b\f\n\r\t|||false|"},
		{name: "the last of two", line: `{"event_id":"e0","event_id":"e1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z"}`, want: "e1|click||||false|"},

		{name: "another line of a log", line: `{"severity":"INFO","message":"stats","redirects":12}`, err: ErrOther},
		{name: "an entry without a payload", line: `{"insertId":"x","httpRequest":{"status":302}}`, err: ErrOther},
		{name: "a payload of another kind", line: `{"jsonPayload":{"message":"stats"}}`, err: ErrOther},
		{name: "for ever", line: `{"event":{"event":{"event":{"event":{}}}}}`, err: ErrOther},
		{name: "empty", line: `{}`, err: ErrOther},
		{name: "no id", line: `{"event_id":null,"event_type":"click","occurred_at":"2026-05-04 09:32:01 UTC"}`, err: errNotEvent},
		{name: "no time", line: `{"event_id":"e1","event_type":"click"}`, err: errNotEvent},
		{name: "cut", line: `{"event_id":"e1","event_type":"cli`, err: errNotJSON},
		{name: "cut at a backslash", line: `{"event_id":"e1\`, err: errNotJSON},
		{name: "two on a line", line: `{"event_id":"e1"}{"event_id":"e2"}`, err: errNotJSON},
		{name: "a list", line: `["event_id"]`, err: errNotJSON},
		{name: "text", line: `linktracker: listening`, err: errNotJSON},
		{name: "a number for a string", line: `{"event_id":1}`, err: errNotJSON},
		{name: "no such day", line: `{"event_id":"e1","event_type":"click","occurred_at":"2026-02-30T09:32:01Z"}`, err: errNotJSON},
		{name: "no such time", line: `{"event_id":"e1","event_type":"click","occurred_at":"2026-02-20T24:32:01Z"}`, err: errNotJSON},
		{name: "a bad escape", line: `{"event_id":"\x"}`, err: errNotJSON},
	} {
		e, err := ParseEvent([]byte(test.line))
		if err != test.err {
			t.Errorf("%s: %v, not %v", test.name, err, test.err)
			continue
		}
		if err != nil {
			continue
		}
		sent := ""
		if !e.SentAt.IsZero() {
			sent = e.SentAt.Format(time.TimeOnly)
		}
		untracked := "false"
		if e.Untracked {
			untracked = "true"
		}
		got := strings.Join([]string{e.ID, e.Type, e.Customer, e.Destination, e.Automation, untracked, sent}, "|")
		if got != test.want || !e.OccurredAt.Equal(at) {
			t.Errorf("%s:\n got %s at %v\nwant %s", test.name, got, e.OccurredAt, test.want)
		}
	}
}

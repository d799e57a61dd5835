package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// asRead is an event as it is read back: in UTC, to the microsecond, and what
// was not UTF-8 replaced.
func asRead(e *Event) *Event {
	read := *e
	read.OccurredAt = e.OccurredAt.UTC().Truncate(time.Microsecond)
	if !e.SentAt.IsZero() {
		read.SentAt = e.SentAt.UTC()
	}
	v := reflect.ValueOf(&read).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			valid := ""
			for _, r := range f.String() { // each byte that is not UTF-8 alone
				valid += string(r)
			}
			f.SetString(valid)
		}
	}
	return &read
}

func TestUnmarshalJSON(t *testing.T) {
	events := map[string]*Event{"least": {ID: "1", Type: Click, OccurredAt: occurred}}
	for _, typ := range Types() {
		events["full "+string(typ)] = fullEvent(typ)
	}
	for i := range signalNames {
		e := fullEvent(Click)
		e.Signals = 1 << i
		events["signal "+signalNames[i]] = e
	}
	// Each field alone: none is read into another.
	full := reflect.ValueOf(*fullEvent(Click))
	for i := range fieldsTold {
		alone := &Event{ID: "1", Type: Click, OccurredAt: occurred}
		reflect.ValueOf(alone).Elem().Field(i).Set(full.Field(i))
		events["only "+full.Type().Field(i).Name] = alone
	}
	for _, nasty := range []string{"\x00\x01\x1f\x7f\n\r\t\"\\/", "\u2028\u2029", "a\xff\xed\xa0\x80\xf0\x9f\x98", "😀é", `{"a":[null]}`, `\`, `\"`, `"`} {
		e := fullEvent(Click)
		v := reflect.ValueOf(e).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.String {
				v.Field(i).SetString(nasty)
			}
		}
		events["strings "+nasty] = e
	}
	for name, e := range events {
		t.Run(name, func(t *testing.T) {
			var got Event
			if err := json.Unmarshal(e.AppendJSON(nil), &got); err != nil {
				t.Fatal(err)
			}
			if want := asRead(e); !reflect.DeepEqual(&got, want) {
				t.Errorf("got  %+v\nwant %+v", got, *want)
			}
		})
	}
}

// What other programs made of an event, and what later versions add.
func TestUnmarshalJSONTakes(t *testing.T) {
	want := Event{ID: "1", Type: Click, OccurredAt: time.Date(2026, 5, 4, 9, 32, 1, 0, time.UTC), Customer: "acme", Automation: "later", Signals: SignalHead}
	for _, data := range []string{
		`{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z","customer":"acme","automation":"later","signals":["head"]}`,
		"\n{ \"event_id\" : \"1\" ,\t\"event_type\":\"click\",\r\n\"occurred_at\":\"2026-05-04T09:32:01Z\", \"customer\" : \"\\u0061cme\" , \"automation\":\"later\", \"signals\" : [ \"head\" , \"of a later version\" ] }\n",
		`{"later":{"event_id":"2","a":[1,{"b":"}]"}],"c":"\""},"and":[[],{}],"n":-1.5e9,"t":true,"z":null,"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z","customer":"acme","automation":"later","signals":["head"],"sealed":false,"host":""}`,
	} {
		e := Event{Recipient: "of an event that was here before"}
		if err := e.UnmarshalJSON([]byte(data)); err != nil || !reflect.DeepEqual(e, want) {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", data, e, err, want)
		}
	}
}

func TestUnmarshalJSONRefuses(t *testing.T) {
	const least = `"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z"`
	for _, data := range []string{
		``, ` `, `{`, `null`, `[]`, `"event"`, `1`, `{}`, `{` + least, `{` + least + `}{}`, `{` + least + `,}`,
		`{"event_id":"1","event_type":"click"}`,
		`{"event_id":"1","occurred_at":"2026-05-04T09:32:01.000000Z"}`,
		`{"event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z"}`,
		`{"EVENT_ID":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01.000000Z"}`,
		`{` + least + `,"customer":null}`,
		`{` + least + `,"customer":1}`,
		`{` + least + `,"customer":["acme"]}`,
		`{` + least + `,"customer":{"a":"acme"}}`,
		`{` + least + `,"sealed":"true"}`,
		`{` + least + `,"sealed":null}`,
		`{` + least + `,"untracked":1}`,
		`{` + least + `,"rules_unknown":"true"}`,
		`{` + least + `,"seconds_since_sent":"1"}`,
		`{` + least + `,"seconds_since_sent":null}`,
		`{` + least + `,"sent_at":"2026-05-04"}`,
		`{` + least + `,"sent_at":"2026-05-04T09:32:01+02:00"}`,
		`{` + least + `,"sent_at":1}`,
		`{` + least + `,"signals":"head"}`,
		`{` + least + `,"signals":[1]}`,
		`{` + least + `,"signals":[null]}`,
		`{` + least + `,"signals":[["head"]]}`,
		`{` + least + `,"signals":null}`,
		`{` + least + `,"metadata":{"segment":"gold"}}`,
	} {
		before := Event{ID: "before"}
		e := before
		if err := e.UnmarshalJSON([]byte(data)); err == nil {
			t.Errorf("%s is read as %+v", data, e)
		} else if strings.Contains(err.Error(), "acme") {
			t.Errorf("%s: the error tells the value: %v", data, err)
		}
		if e != before {
			t.Errorf("%s: a failure leaves %+v", data, e)
		}
	}
}

// Whatever is read is written and read again alike, and is read as
// encoding/json reads it.
func FuzzUnmarshalJSON(f *testing.F) {
	f.Add(fullEvent(Click).AppendJSON(nil))
	f.Add((&Event{ID: "1", Type: Verdict, OccurredAt: occurred, About: "\x00\"\\\xff\u2028"}).AppendJSON(nil))
	f.Add([]byte(`{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01Z","later":[{"a":"]"}],"signals":["head","later"]}`))
	f.Add([]byte(`{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01Z","seconds_since_sent":1e999}`))
	f.Add([]byte(` { "event_id" : "\u0031" , "event_id" : "2" , "signals" : [ ] } `))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e Event
		if e.UnmarshalJSON(data) != nil {
			return
		}
		members := map[string]any{}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber() // one that no float64 holds is a number, too
		if err := d.Decode(&members); err != nil {
			t.Fatalf("read, and no JSON: %v", err)
		}
		for name, value := range map[string]string{
			"event_id": e.ID, "event_type": string(e.Type), "user_agent": e.UserAgent, "automation": string(e.Automation), "about": e.About,
		} {
			if want, _ := members[name].(string); want != value {
				t.Errorf("%s is read as %q, want %q", name, value, want)
			}
		}
		if year := e.OccurredAt.Year(); year > 9999 || year < 0 || e.SentAt.Year() > 9999 || e.SentAt.Year() < 0 {
			t.Fatalf("a year that is not written with four digits: %v", e)
		}
		var again Event
		written := e.AppendJSON(nil)
		if err := again.UnmarshalJSON(written); err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		// What is written has microseconds, and whole seconds of sent_at.
		e.OccurredAt, e.SentAt = e.OccurredAt.Truncate(time.Microsecond), e.SentAt.Truncate(time.Second)
		if !reflect.DeepEqual(e, again) {
			t.Errorf("read    %+v\nwritten %+v", e, again)
		}
	})
}

func BenchmarkUnmarshalJSON(b *testing.B) {
	data := fullEvent(Click).AppendJSON(nil)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var e Event
		if err := e.UnmarshalJSON(data); err != nil {
			b.Fatal(err)
		}
	}
}

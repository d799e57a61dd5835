package event

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// What was spilled is read back as it would have been published, in whatever
// form it comes.
func TestParseSpilled(t *testing.T) {
	now := time.Date(2026, 5, 4, 9, 33, 0, 0, time.UTC)
	for _, kind := range []Type{Click, Open, Unsubscribe, Blocked} {
		e := fullEvent(kind)
		e.Destination = "https://example.com/?a=<b>&c=\u2028\u00e9"
		line := AppendSpilled(nil, e, now, "failed")
		quoted, err := json.Marshal(string(line))
		if err != nil {
			t.Fatal(err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, line, "", "\t"); err != nil {
			t.Fatal(err)
		}
		for form, text := range map[string]string{
			"line":                 string(line),
			"entry":                `{"insertId":"1","jsonPayload":` + string(line) + `,"severity":"WARNING"}`,
			"entry with text":      `{"textPayload":` + string(quoted) + `}`,
			"entry, pretty":        `{"jsonPayload":` + pretty.String() + `}`,
			"line without newline": strings.TrimSpace(string(line)),
		} {
			s, err := ParseSpilled([]byte(text))
			if err != nil {
				t.Errorf("%s of %s: %v", form, kind, err)
				continue
			}
			if got, want := string(s.Message.Data), string(e.AppendJSON(nil)); got != want {
				t.Errorf("%s: data %s, want %s", form, got, want)
			}
			if got, want := s.AppendAttributes(nil), e.AppendAttributes(nil); !slices.Equal(got, want) {
				t.Errorf("%s: attributes %v, want %v", form, got, want)
			}
			if s.Event.ID != e.ID || s.Event.Destination != e.Destination || s.Reason != "failed" {
				t.Errorf("%s: %+v", form, s)
			}
		}
	}
}

func TestParseSpilledOthers(t *testing.T) {
	const event = `{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01Z","later":[1.50,1e400]}`
	s, err := ParseSpilled([]byte(`{"message":"event spilled","event":` + event + `}`))
	if err != nil || string(s.Message.Data) != event || !slices.Contains(s.AppendAttributes(nil), Attribute{"ce-id", "1"}) || !slices.Contains(s.AppendAttributes(nil), Attribute{"event_type", "click"}) {
		t.Errorf("without attributes: %+v, %v", s, err)
	}
	for line, want := range map[string]string{
		``:                                  "",
		`plain text`:                        "",
		`[{"message"`:                       "",
		`{"message":1`:                      "",
		`{"message":"listening"}`:           "",
		`{"message":"no event spilled"}`:    "",
		`{"message":["event spilled"]}`:     "",
		`["event spilled"]`:                 "",
		`"event spilled"`:                   "",
		`{"jsonPayload":["event spilled"]}`: "",
		`{"jsonPayload":{"msg":"event spilled"}}`:                          "",
		`{"textPayload":"the event spilled"}`:                              "",
		`{"textPayload":7,"x":"event spilled"}`:                            "",
		`{"event_id":"1","user_agent":"{\"message\":\"event spilled\"}"}`:  "",
		`2026-05-04 {"message":"event spilled","event":` + event + `}`:     `has the words "event spilled" and is not JSON: `,
		`{"message":"event spilled","event":{"event_id`:                    `has the words "event spilled" and is not JSON: `,
		`{"message":"event spilled"}`:                                      "spilled event: the event is missing",
		`{"message":"event spilled","event":null}`:                         "spilled event: the event is missing",
		`{"message":"event spilled","event":"x"}`:                          "spilled event: the event is missing",
		`{"message":"event spilled","event":{}}`:                           "spilled event: this is not an event: ",
		`{"message":"event spilled","event":{"event_id":1}}`:               `spilled event: read an event: "event_id": want a string`,
		`{"message":"event spilled","event":` + event + `,"attributes":7}`: "spilled event: json: ",
	} {
		s, err := ParseSpilled([]byte(line))
		switch {
		case want == "" && err != ErrNotSpilled:
			t.Errorf("%s: %+v, %v", line, s, err)
		case want != "" && (err == nil || err == ErrNotSpilled || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func FuzzParseSpilled(f *testing.F) {
	line := AppendSpilled(nil, fullEvent(Click), time.Now(), "failed")
	f.Add(line)
	f.Add([]byte(`{"jsonPayload":` + string(line) + `}`))
	f.Add([]byte(`{"textPayload":"{\"message\":\"event spilled\"}"}`))
	f.Add([]byte(`{"message":"event spilled","event":{"event_id":"1","event_type":"click","occurred_at":"2026-05-04T09:32:01Z"` + "\n" + `}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := ParseSpilled(line)
		if err != nil {
			return
		}
		// It is one line, and one event; what is published of it is read again.
		if bytes.ContainsAny(s.Message.Data, "\r\n") || s.Event.ID == "" || len(s.AppendAttributes(nil)) == 0 {
			t.Errorf("%q %+v", s.Message.Data, s)
		}
		m := &Received{Data: s.Message.Data}
		if e, err := m.Event(); err != nil || e.ID != s.Event.ID {
			t.Errorf("%q: %v", s.Message.Data, err)
		}
	})
}

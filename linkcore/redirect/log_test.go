package redirect

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
)

// At debug level each event makes a line by which it is found; it holds no
// token, and nothing of a person who is not to be tracked. At info level there
// is none.
func TestEventLine(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   linkcore.Kind
		fields linkcore.Fields
		want   map[string]any
	}{
		{"click", linkcore.Click, linkcore.Fields{Customer: "acme", Campaign: "spring26"},
			map[string]any{"message": "click", "status": 302.0, "remoteIp": "203.0.113.9", "userAgent": "curl/8.0", "automation": "automated", "campaign": "spring26"}},
		{"blocked", linkcore.Click, linkcore.Fields{Customer: "bad"},
			map[string]any{"message": "blocked", "status": 410.0, "rule": "customer:bad", "customer": "bad"}},
		{"open", linkcore.Open, linkcore.Fields{Customer: "acme"},
			map[string]any{"message": "open", "status": 200.0}},
		{"untracked", linkcore.Click, linkcore.Fields{Customer: "acme", Link: "an_1"},
			map[string]any{"message": "click", "status": 302.0, "remoteIp": nil, "userAgent": nil}},
	} {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
			log := &logBuffer{}
			p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
				o.Log = log.logger(level)
				o.Rules = rulesOf(t, `{"kind":"customer","value":"bad"}`)
			})
			target := p.target(t, test.kind, test.fields)
			r := request("GET", target)
			r.Header.Set("X-Forwarded-For", "203.0.113.9")
			r.Header.Set("User-Agent", "curl/8.0")
			p.ServeHTTP(httptest.NewRecorder(), r)
			id := p.sink.take()[0].ID
			if level > slog.LevelDebug {
				if log.String() != "" {
					t.Errorf("%s: at level %v: %s", test.name, level, log)
				}
				continue
			}
			var line map[string]any
			if err := json.Unmarshal([]byte(log.String()), &line); err != nil {
				t.Fatalf("%s: %v: %s", test.name, err, log)
			}
			line["message"] = line["msg"] // as the endpoint's log has it
			httpRequest, _ := line["httpRequest"].(map[string]any)
			for name, want := range test.want {
				got, ok := line[name]
				if !ok {
					got = httpRequest[name]
				}
				if got != want {
					t.Errorf("%s: %s is %v, want %v", test.name, name, got, want)
				}
			}
			latency, _ := httpRequest["latency"].(string)
			if line["event_id"] != id || line["host"] != host || !strings.HasSuffix(latency, "s") {
				t.Errorf("%s: %s", test.name, log)
			}
			token, _, _ := strings.Cut(target[1:], "/")
			if strings.Contains(log.String(), token[len(token)-22:]) {
				t.Errorf("%s: the token is in %s", test.name, log)
			}
		}
	}
}

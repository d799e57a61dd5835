package erase

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A line that holds the name and is not understood is never passed over.
func TestEraseLines(t *testing.T) {
	spilled := func(recipient string) string {
		return `{"message":"event spilled","event":{"event_id":"s1","event_type":"click","occurred_at":"2026-05-04T09:32:01Z","customer":"acme","recipient":"` + recipient + `"}}`
	}
	text := func(s string) string {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return `{"textPayload":` + string(quoted) + `}`
	}
	for name, test := range map[string]struct {
		line    string
		deleted int
		unclear bool
	}{
		"json":             {line: `{"jsonPayload":` + spilled("r83jf") + `}`, deleted: 1},
		"text":             {line: text(spilled("r83jf")), deleted: 1},
		"marked":           {line: "\uFEFF" + spilled("r83jf"), deleted: 1},
		"other":            {line: text(spilled("r1"))},
		"other named":      {line: text(spilled("r83jfX"))},
		"prose":            {line: text("event spilled: customer acme, recipient r83jf, not JSON"), unclear: true},
		"escaped":          {line: `{"message":"\u0072\u00383jf"}`, unclear: true},
		"escaped in text":  {line: text(spilled(`r83\u006af`)), deleted: 1},
		"percent":          {line: `GET /?recipient=%7283jf`, unclear: true},
		"percent in a URL": {line: `GET /?url=%2F%3Frecipient%3D%257283jf`, unclear: true},
		"log line":         {line: `{"message":"alert","subject":"acme/r83jf"}`, unclear: true},
		"long":             {line: `{"event_id":"x","pad":"` + strings.Repeat("a", 2<<20) + `","recipient":"r83jf"}`, unclear: true},
		"long other":       {line: `{"event_id":"x","pad":"` + strings.Repeat("a", 2<<20) + `"}`},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(test.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &person{"acme", "r83jf", "recipient:acme/r83jf"}
		for _, erase := range []bool{false, true} {
			found, err := eraseLines(t.Context(), path, p, erase)
			if err != nil || found.matched != test.deleted || found.unsure() != test.unclear || found.torn {
				t.Errorf("%s: %+v, %v", name, found, err)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := string(content) != test.line+"\n"
			if changed != (erase && test.deleted > 0) || changed && strings.Contains(string(content), "r83jf") || len(content) != len(test.line)+1 {
				t.Errorf("%s: changed: %v", name, changed)
			}
		}
	}
}

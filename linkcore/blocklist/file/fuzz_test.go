package file

import (
	"bytes"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/lines"
)

// FuzzRead: no file makes an endpoint panic, and one line spoils no other.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"kind":"host","value":"a.example","updated_at":"2026-05-01T12:00:00Z","expires_at":"2036-05-01T12:00:00Z"}`))
	f.Add([]byte("\xEF\xBB\xBF{\"kind\":\"url\",\"value\":\"https://a.example\",\"action\":\"redirect\",\"target\":\"https://b.example\"}\r\n\r\nnull\n[]\n{"))
	f.Add([]byte(`{"deleted":true}` + "\n" + `{"deleted":"x","kind":7}` + "\n" + `{"kind":"ip","value":"::/0","starts_at":"0000-01-01T00:00:00Z"}`))
	f.Add([]byte("[{\n{\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if lines.IsCompressed(content) {
			return // it is refused
		}
		content = append(content, "\n{\"kind\":\"host\",\"value\":\"last.example\"}\n"...)
		var rules []blocklist.Rule
		ids := map[string]bool{}
		err := readDocuments(t.Context(), bytes.NewReader(content), func(d blocklist.Document) {
			if ids[d.ID] {
				t.Fatalf("two documents have the id %s", d.ID)
			}
			ids[d.ID] = true
			r, err := d.Rule()
			if err != nil {
				return
			}
			rules = append(rules, r)
			line, err := AppendLine(nil, r)
			if err != nil {
				return // a year of more than four digits
			}
			d = decodeLine(line)
			if again, err := d.Rule(); err != nil || again.String() != r.String() || again.Action != r.Action || again.Deleted != r.Deleted {
				t.Fatalf("rule %+v is written %s, which is %+v, %v", r, line, again, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		now := time.UnixMicro(0)
		index, err := blocklist.NewIndex(now, rules...)
		if err != nil {
			t.Fatal(err)
		}
		if d := index.Decide(&blocklist.Request{Link: &linkcore.Link{Destination: "https://last.example/"}, Now: now}); d.Action == "" {
			t.Fatalf("the last line was lost: %+v", d)
		}
	})
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"example.com/linktracker/linkcore/event"
)

// What strangers and operators wrote speaks to nobody's terminal, whatever verb
// prints it as JSON.
func TestJSONIsPrintable(t *testing.T) {
	// The controls of C0 and C1, those that turn the direction of text, and a tag.
	const hostile = "a\x1b\x7f\u0080\u009b\u009f\u061c\u200e\u200f\u202a\u202e\u2066\u2069\U000E0001é"
	b := newBench(t)
	dir := t.TempDir()
	rules, clicks := filepath.Join(dir, "rules.jsonl"), filepath.Join(dir, "clicks.jsonl")
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, rules, `{"kind":"agent","value":"bad-bot","action":"block","reason":`+string(quoted)+`,"created_by":`+string(quoted)+`}`+"\n")
	var events []byte
	for i := range 25 {
		e := sampleEvent(fmt.Sprint("e", i), func(e *event.Event) {
			e.OccurredAt, e.IP = postedAt.Add(time.Duration(i)*time.Second), fmt.Sprintf("203.%d.113.7", i)
			e.Customer, e.Campaign, e.UserAgent, e.Destination = hostile, hostile, hostile, "https://example.com/"+hostile
		})
		events = append(e.AppendJSON(events), '\n')
	}
	writeFile(t, clicks, string(events))
	b.set("BLOCKLIST", "file:"+rules)
	for _, c := range []struct {
		args, stdin string
		holds       bool // the text as it was
	}{
		{"rules --json", "", true},
		{"inspect --json https://links.example.com/" + hostile, "", true},
		{"verp check --json " + hostile + "@example.com", "", true},
		{"rewrite --dry-run --report=json --type text", "https://example.com/{{" + hostile + "}}\n", false},
		{"report --json " + clicks, "", true},
		{"watch --from file:" + clicks + " --json", "", true},
	} {
		got := b.run(c.stdin, strings.Fields(c.args)...)
		if len(got.stdout) == 0 {
			t.Errorf("%.30s prints nothing: %s", c.args, got.stderr)
		}
		for _, r := range got.stdout {
			if !unicode.IsPrint(r) && r != '\n' {
				t.Errorf("%.30s prints %U:\n%q", c.args, r, got.stdout)
				break
			}
		}
		if !c.holds {
			continue
		}
		var all []any
		for decoder := json.NewDecoder(strings.NewReader(got.stdout)); ; {
			var v any
			if err := decoder.Decode(&v); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%.30s: %v", c.args, err)
			}
			all = append(all, v)
		}
		if text := fmt.Sprint(all...); !strings.Contains(text, hostile) {
			t.Errorf("%.30s: the text is not what it was: %q", c.args, text)
		}
	}
}

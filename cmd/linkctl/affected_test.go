package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAffected(t *testing.T) {
	b := newBench(t)
	b.set("BLOCKLIST", "")
	line := func(id, at, more string) string {
		return `{"event_id":"` + id + `","event_type":"click","occurred_at":"` + at + `","customer":"acme","campaign":"c1","destination":"https://www.phish.example/x?a=1","automation":"human",` + more + "}\n"
	}
	events := `{"message":"stats","untracked":0}
` + line("3", "2026-05-04T09:03:00Z", `"recipient":"r2","link":"l2","ip":"203.0.113.7"`) +
		line("1", "2026-05-04T09:01:00.5Z", `"recipient":"r1","link":"l1"`) +
		line("1", "2026-05-04T09:01:00.5Z", `"recipient":"r1","link":"l1"`) + // again
		line("2", "2026-05-04 09:02:00.25 UTC", `"recipient":"r1","link":"l1"`) + // as BigQuery writes it
		line("4", "2026-05-04 09:04:00", `"untracked":true`) +
		strings.Replace(line("5", "2026-05-04T09:05:00Z", `"recipient":"r3"`), `"human"`, `"automated"`, 1) +
		strings.Replace(line("6", "2026-05-04T09:06:00Z", `"recipient":"r4","rule":"host:phish.example"`), `"click"`, `"blocked"`, 1) +
		strings.Replace(line("7", "2026-05-04T09:07:00Z", `"recipient":"r5"`), `"click"`, `"open"`, 1) +
		strings.Replace(line("8", "2026-05-04T09:08:00Z", `"recipient":"r6"`), "phish", "other", 1) +
		`{"event_id":"9"` + "\n" // cut off
	const summary = "linkctl: warning: 1 line could not be read\nhost:phish.example: 4 clicks went through, of 2 recipients; 1 blocked; 1 automated\n"
	csv := `occurred_at,event_type,automation,customer,campaign,recipient,link,destination
2026-05-04T09:01:00Z,click,human,acme,c1,r1,l1,https://www.phish.example/x?a=1
2026-05-04T09:02:00Z,click,human,acme,c1,r1,l1,https://www.phish.example/x?a=1
2026-05-04T09:03:00Z,click,human,acme,c1,r2,l2,https://www.phish.example/x?a=1
2026-05-04T09:04:00Z,click,human,acme,c1,,,https://www.phish.example/x?a=1
2026-05-04T09:05:00Z,click,automated,acme,c1,r3,,https://www.phish.example/x?a=1
2026-05-04T09:06:00Z,blocked,human,acme,c1,r4,,https://www.phish.example/x?a=1
`
	b.want(outcome{exitYes, csv, summary}, events, "affected", "host:phish.example", "--csv")

	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte(events))
	w.Close()
	path := filepath.Join(t.TempDir(), "clicks.gz")
	if err := os.WriteFile(path, zipped.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	wrapped := "https://www.google.com/url?q=https%3A%2F%2FWWW.phish.example%2Fx%3Fa%3D1"
	for _, test := range []struct {
		args string
		rows int
	}{
		{"host:phish.example", 6},
		{"host:phish.example --since 2026-05-04T09:04:00Z", 3},
		{"https://www.phish.example/x?a=1", 6},
		{wrapped, 6},
		{"url:https://www.phish.example/", 0},
		{"recipient:acme/r1", 2},
		{"ip:203.0.113.0/24", 1},
		{"link:acme/l2", 1},
	} {
		got := b.run("", append([]string{"affected", "--json", "--from", path}, strings.Fields(test.args)...)...)
		if strings.Count(got.stdout, "\n") != test.rows || (got.code == exitYes) != (test.rows > 0) || strings.Contains(got.stdout, "203.0.113") {
			t.Errorf("%s: %+v", test.args, got)
		}
	}
	if got := b.run(events, "affected", "link:acme/l2"); !strings.HasPrefix(got.stdout, "TIME                  EVENT  CLASS  CUSTOMER  CAMPAIGN  RECIPIENT  LINK  DESTINATION\n2026-05-04T09:03:00Z  click  human  acme      c1        r2         l2    https://www.phish.example/x?a=1\n") {
		t.Error(got.stdout)
	}
	for args, want := range map[string]string{
		"affected":                                    "RULE is missing",
		"affected phish.example":                      "kind is missing",
		"affected host:a.example --csv --json":        "give --csv or --json, not both",
		"affected host:a.example --from pubsub://p/t": "is a topic: give pubsub://PROJECT/subscriptions/NAME",
		"affected host:a.example --since x":           `--since "x": give a day`,
	} {
		if got := b.run("", strings.Fields(args)...); got.code != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
)

var postedAt = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// postedLink returns n clicks on one recipient's link, from as many networks, as
// lines of a file.
func postedLink(n int) string {
	var lines []byte
	for i := range n {
		e := sampleEvent(fmt.Sprint("posted", i), func(e *event.Event) {
			e.OccurredAt, e.IP = postedAt.Add(time.Duration(i)*time.Second), fmt.Sprintf("203.%d.113.7", i)
		})
		lines = append(e.AppendJSON(lines), '\n')
	}
	return string(lines)
}

// burst returns clicks on n links of one recipient in the same moment.
func burst(n int) string {
	var lines []byte
	for i := range n {
		e := sampleEvent(fmt.Sprint("burst", i), func(e *event.Event) {
			e.OccurredAt, e.Recipient, e.Link = postedAt, "scanned", fmt.Sprint("l", i)
		})
		lines = append(e.AppendJSON(lines), '\n')
	}
	return string(lines)
}

func watchFile(t *testing.T, b *bench, content string) (dir, source string) {
	t.Helper()
	dir = t.TempDir()
	writeFile(t, filepath.Join(dir, "clicks.jsonl"), content)
	return dir, "file:" + filepath.Join(dir, "clicks.jsonl")
}

func TestWatchFile(t *testing.T) {
	b := newBench(t)
	_, source := watchFile(t, b, postedLink(30)+postedLink(30)+burst(3)+"nonsense\n")

	got := b.run("", "watch", "--from", source)
	want := "2026-03-02T08:00:19Z  warning  shared_link       link:acme/a1\n" +
		"    a link that went to one recipient was clicked from 20 addresses in 20 networks within 19s, since 2026-03-02T08:00:00Z\n" +
		"    campaign: acme/spring26\n" +
		"    to see it: linkctl tail --customer acme --campaign spring26\n" +
		"    to stop it: linkctl block --expires 24h --reason shared_link link:acme/a1\n"
	if got.code != exitYes || got.stdout != want {
		t.Errorf("%d\n got %s\nwant %s", got.code, got.stdout, want)
	}
	summary := regexp.MustCompile(`(?s)^watching file:\S+; Ctrl-C ends\nhosts of the first 1h0m0s count as known; --learning 0 tells of those too\n.*warning: a message is not an event.*\n63 events in \S+: 1 alert, 3 verdicts \(not published: --verdicts does\); 30 delivered again; 1 no events\n$`)
	if !summary.MatchString(got.stderr) {
		t.Errorf("%s", got.stderr)
	}

	// In a pipe, and with a threshold of one's own.
	lines := strings.Split(strings.TrimSpace(b.run("", "watch", "--json", "--from", source, "--link-networks", "10").stdout), "\n")
	var alert struct {
		Severity, Message, Kind, Subject, Rule, Customer, Campaign, Summary string
		At, Since                                                           time.Time
		Seen                                                                struct{ Clicks, Networks, Addresses int }
	}
	if err := json.Unmarshal([]byte(lines[0]), &alert); err != nil || len(lines) != 1 {
		t.Fatalf("%v: %q", err, lines)
	}
	if alert.Severity != "WARNING" || alert.Message != "abuse alert" || alert.Kind != "shared_link" || alert.Rule != "link:acme/a1" || alert.Customer != "acme" ||
		alert.Seen.Networks != 10 || alert.Seen.Clicks != 10 || !alert.At.Equal(postedAt.Add(9*time.Second)) || !alert.Since.Equal(postedAt) {
		t.Errorf("%s", lines[0])
	}
}

// Verdicts are published, and the same ones when it is done again.
func TestWatchVerdicts(t *testing.T) {
	b := newBench(t)
	dir, source := watchFile(t, b, burst(4))
	verdicts := filepath.Join(dir, "verdicts.jsonl")
	for range 2 {
		if got := b.run("", "watch", "--from", source, "--verdicts", "--clicks", "file:"+verdicts); got.code != exitYes || !strings.Contains(got.stderr, "4 verdicts, 4 published") {
			t.Fatalf("%+v", got)
		}
	}
	content, err := os.ReadFile(verdicts)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for line := range strings.Lines(string(content)) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type != event.Verdict || !strings.HasPrefix(e.About, "burst") || e.Automation != event.Automated || e.Recipient != "scanned" {
			t.Errorf("%s", line)
		}
		ids[e.ID]++
	}
	if len(ids) != 4 {
		t.Errorf("%v", ids)
	}
	for id, n := range ids {
		if n != 2 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

func TestWatchUsage(t *testing.T) {
	b := newBench(t)
	_, source := watchFile(t, b, "")
	for args, want := range map[string]string{
		"watch":                          "where clicks go is not set: give --clicks or set CLICKS",
		"watch --from clicks.jsonl":      `unknown source of events: "clicks.jsonl" is none of `,
		"watch --from SOURCE --verdicts": "where verdicts go is not set: give --clicks or set CLICKS",
		"watch --from SOURCE --verdicts --clicks SOURCE":      "verdicts would go into the file that is read: give --clicks another one",
		"watch --from SOURCE --verdicts --clicks stdout":      "verdicts go to pubsub://PROJECT/TOPIC or file:PATH, not to stdout, where alerts are",
		"watch --from SOURCE --verdicts --clicks pubsub://p":  `where the events should go (--clicks, CLICKS): "pubsub://p" is neither pubsub://PROJECT/TOPIC nor file:PATH`,
		"watch --from SOURCE --link-networks 1":               "--link-networks is 1, and has to be from 2 to 250",
		"watch --from SOURCE --link-networks 0":               "--link-networks is 0, and has to be from 2 to 250",
		"watch --from SOURCE --window 0s":                     "--window is 0s, and has to be from 1m0s to 24h0m0s",
		"watch --from SOURCE --known-hosts https://a.example": `--known-hosts holds "https://a.example": `,
		"watch --from SOURCE --host-known-after 1s":           "--host-known-after is 1s, and has to be from ",
		"watch extra": `"extra" is too much: linkctl watch takes no arguments`,
	} {
		got := b.run("", strings.Fields(strings.ReplaceAll(args, "SOURCE", source))...)
		if got.code != exitUsage || got.stdout != "" || !strings.HasPrefix(got.stderr, "linkctl: "+want) {
			t.Errorf("linkctl %s:\n got %d %s%s\nwant 2 linkctl: %s", args, got.code, got.stdout, got.stderr, want)
		}
	}
}

// A command that is printed to be copied runs nothing that is in a link.
func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"link:acme/a1_-":            "link:acme/a1_-",
		"host:evil.example":         "host:evil.example",
		"url:https://a.example/?a&": "'url:https://a.example/?a&'",
		"host:$(reboot).example":    "'host:$(reboot).example'",
		"a'b;c":                     `'a'\''b;c'`,
		"--force":                   "'--force'",
		"":                          "''",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}

// From a topic, until it is interrupted; its subscription goes with it.
func TestWatchTopic(t *testing.T) {
	t.Parallel()
	client, project, url := newClicks(t)
	b := newBench(t)
	verdicts := b.start("showing what happens on "+url, "tail", "--clicks", url, "--event", "verdict", "--count", "3", "--json")
	go io.Copy(io.Discard, verdicts.lines)
	s := b.start("watching "+url, "watch", "--clicks", url, "--verdicts", "--learning", "0")
	if names := subscriptionNames(t, client, project); !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "linkctl-watch-") }) {
		t.Errorf("subscriptions %v", names)
	}
	var events []*event.Event
	for i := range 12 {
		events = append(events, sampleEvent(fmt.Sprint("kit", i), func(e *event.Event) {
			e.IP = fmt.Sprintf("203.%d.113.7", i)
			e.Customer, e.Destination = fmt.Sprint("hijacked", i), "https://evil.example/"
		}))
	}
	for i := range 3 {
		events = append(events, sampleEvent(fmt.Sprint("burst", i), func(e *event.Event) { e.Link = fmt.Sprint(i) }))
	}
	events = append(events, sampleEvent("future", func(e *event.Event) { e.OccurredAt = e.OccurredAt.Add(time.Hour) }))
	publish(t, url, events...)
	line, err := s.lines.ReadString('\n')
	if err != nil || !strings.Contains(line, "spreading_host    host:evil.example\n") {
		t.Errorf("%q, %v", line, err)
	}
	for range 3 {
		if line, _ := s.lines.ReadString('\n'); !strings.HasPrefix(line, "    ") {
			t.Errorf("%q", line)
		}
	}
	s.waitFor("an event is of the future")
	if code := verdicts.end(); code != exitYes {
		t.Errorf("tail: exit code %d: %s", code, verdicts.stderr)
	}
	s.cancel()
	if code := <-s.code; code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(s.stderr.String(), "1 alert, 3 verdicts, 3 published; 1 of the future") {
		t.Errorf("%s", s.stderr)
	}
	if names := subscriptionNames(t, client, project); len(names) != 0 {
		t.Errorf("subscriptions %v are left", names)
	}
}

// A filter that the server takes, and fits.
func TestWatchFilter(t *testing.T) {
	if len(watchFilter) > event.MaxFilter {
		t.Errorf("%d bytes", len(watchFilter))
	}
}

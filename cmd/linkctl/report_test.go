package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/protobuf/types/known/durationpb"

	"example.com/linktracker/linkcore/testsize"

	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

// reportEvents are three clicks, of which one came twice and one is spilled.
const reportEvents = `{"event_id":"019df254-8fdb-7c1e-9a34-5f0c6b1d2e3f","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","host":"links.example.com","customer":"acme","campaign":"spring26","recipient":"r83jf","link":"a1b2c3d4e5f","sent_at":"2026-05-04T09:30:00Z","seconds_since_sent":121.371204,"destination":"https://example.com/pricing?a=1","method":"GET","automation":"human"}
{"event_id":"019df254-8fdb-7c1e-9a34-5f0c6b1d2e3f","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","host":"links.example.com","customer":"acme","campaign":"spring26","recipient":"r83jf","link":"a1b2c3d4e5f","sent_at":"2026-05-04T09:30:00Z","seconds_since_sent":121.371204,"destination":"https://example.com/pricing?a=1","method":"GET","automation":"human"}
{"event_id":"019df255-8fdb-7c1e-9a34-5f0c6b1d2e40","event_type":"click","occurred_at":"2026-05-04T09:33:06.907000Z","host":"links.example.com","customer":"globex","campaign":"may","recipient":"r83jf","link":"b1b2c3d4e5f","destination":"https://example.com/","method":"HEAD","automation":"automated","signals":["head"]}
{"severity":"WARNING","time":"2026-05-04T09:40:06.377100Z","message":"event spilled","reason":"timed out","event":{"event_id":"019df259-8fdb-7c1e-9a34-5f0c6b1d2e41","event_type":"click","occurred_at":"2026-05-04T09:37:29.051000Z","host":"links.example.com","customer":"acme","campaign":"spring26","recipient":"r2","link":"c1b2c3d4e5f","destination":"https://example.com/","method":"GET","automation":"human"},"attributes":{}}
`

// numbers are what a test looks at of a report as JSON.
type numbers struct {
	Clicks     struct{ Human, Suspect, Automated, Untracked int64 }
	Recipients int64
	Input      struct {
		Files                  []struct{ Name, Problem string }
		Duplicates, Unreadable int64
		LeftOut                int64 `json:"left_out"`
	}
}

func (b *bench) numbers(stdin string, args ...string) (n numbers) {
	b.t.Helper()
	output := b.succeed(stdin, append([]string{"report", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(output), &n); err != nil {
		b.t.Fatalf("linkctl report --json %q: %v\n%s", args, err, output)
	}
	return n
}

func TestReport(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "clicks.jsonl")
	writeFile(t, path, reportEvents)
	zipped := filepath.Join(dir, "export.json.gz")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(strings.ReplaceAll(reportEvents, "019df2", "019df3")))
	w.Close()
	writeFile(t, zipped, z.String())

	for _, test := range []struct {
		name, stdin      string
		args             []string
		human, automated int64
		left             int64
	}{
		{name: "a path", args: []string{path}, human: 2, automated: 1},
		{name: "as the endpoint's setting", args: []string{"file:" + path}, human: 2, automated: 1},
		{name: "by flag", args: []string{"--from", path}, human: 2, automated: 1},
		{name: "standard input", stdin: reportEvents, human: 2, automated: 1},
		{name: "twice the same", args: []string{path, "--from", path}, human: 2, automated: 1},
		{name: "two", args: []string{path, zipped}, human: 4, automated: 2},
		{name: "a customer", args: []string{path, "--customer", "acme"}, human: 2, left: 1},
		{name: "a campaign", args: []string{path, "--campaign", "may"}, automated: 1, left: 3},
		{name: "since a time", args: []string{path, "--since", "2026-05-04T09:33:00Z"}, human: 1, automated: 1, left: 2},
		{name: "until a time", args: []string{path, "--until", "2026-05-04T11:33:00+02:00"}, human: 1, left: 2},
		{name: "a day", args: []string{path, "--since", "2026-05-04", "--until", "2026-05-05"}, human: 2, automated: 1},
		{name: "long ago", args: []string{path, "--since", "36500d"}, human: 2, automated: 1},
		{name: "not lately", args: []string{path, "--since", "1h"}, left: 4},
	} {
		n := b.numbers(test.stdin, test.args...)
		if n.Clicks.Human != test.human || n.Clicks.Automated != test.automated || n.Input.LeftOut != test.left {
			t.Errorf("%s: %+v", test.name, n)
		}
	}

	page := b.succeed("", "report", path)
	for _, want := range []string{"<!doctype html>", "<h1>Click report</h1>", "https://example.com/pricing?a=1", "acme / spring26", "1 came more than once and count once"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}

	// A file is written whole or not at all, and keeps its mode.
	out := filepath.Join(dir, "report.html")
	b.want(outcome{0, "", out + ": clicks by people 2, automated 1, blocked 0\n"}, "", "report", path, "--output", out)
	content, err := os.ReadFile(out)
	if err != nil || !bytes.HasSuffix(content, []byte("</html>\n")) {
		t.Errorf("%v, %.100s", err, content)
	}
	if runtime.GOOS != "windows" {
		os.Chmod(out, 0o640)
		b.succeed(reportEvents, "report", "-o", out)
		if info, err := os.Stat(out); err != nil || info.Mode().Perm() != fs.FileMode(0o640) {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	before, _ := os.ReadFile(out)
	if got := b.run("", "report", path, filepath.Join(dir, "missing"), "--output", out); got.code != exitNo || !strings.Contains(got.stderr, "no such file") {
		t.Errorf("a file that is not there: %+v", got)
	}
	if after, _ := os.ReadFile(out); !bytes.Equal(before, after) {
		t.Error("a run that failed changed the file")
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("%v are in the folder", left)
	}

	// What cannot be read is told, and the rest is shown.
	got := b.run("nonsense\n"+reportEvents, "report", "--json")
	if got.code != exitYes || got.stderr != "warning: standard input: 1 could not be read: line 1 is not one JSON object\n" || !strings.Contains(got.stdout, `"unreadable": 1`) {
		t.Errorf("%+v", got)
	}
	// Nothing is a report, too.
	if n := b.numbers("", filepath.Join(dir, "report.html"), "--customer", "x"); n.Clicks.Human != 0 || n.Input.Unreadable == 0 {
		t.Errorf("%+v", n)
	}
}

func TestReportUsage(t *testing.T) {
	b := newBench(t)
	for args, want := range map[string]string{
		"--since yesterday":                     `--since "yesterday": give a day such as 2026-05-04, a time such as 2026-05-04T09:00:00Z, or how long ago, such as 36h or 7d`,
		"--since -7d":                           `--since "-7d": give a day such as 2026-05-04, a time such as 2026-05-04T09:00:00Z, or how long ago, such as 36h or 7d`,
		"--since 2026-05-04 --until 2026-05-04": `--until 2026-05-04T00:00:00Z is not after --since 2026-05-04T00:00:00Z`,
		"--output=":                             `--output is empty: leave it out for standard output`,
		"--wait 0s pubsub://p/subscriptions/s":  `--wait 0s: give a time such as 10s`,
		"--for -1s pubsub://p/t":                `--for "-1s": give a time such as 30s, 72h or 7d`,
		"--from=":                               `a source is empty`,
		"file:":                                 `a source is empty`,
		"gs://bucket/export.json":               "\"gs://bucket/export.json\" is in Cloud Storage: copy it first, with `gcloud storage cp`",
		"pubsub://my-project/clicks":            `"pubsub://my-project/clicks" is a topic, on which only what comes from now on can be read: say for how long with --for`,
		"pubsub://my-project/subscriptions/":    `"pubsub://my-project/subscriptions/" is not a subscription: give pubsub://PROJECT/subscriptions/NAME`,
	} {
		b.want(outcome{exitUsage, "", "linkctl: " + want + " (linkctl report --help explains)\n"}, "", append([]string{"report"}, strings.Fields(args)...)...)
	}
}

// A subscription is read until nothing more comes, and a topic for a while.
func TestReportPubSub(t *testing.T) {
	t.Parallel()
	emulatortest.PubSub(t)
	project := emulatortest.Project(t)
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := "projects/" + project + "/topics/clicks"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/" + project + "/subscriptions/report", Topic: topic, MessageRetentionDuration: durationpb.New(10 * time.Minute),
	}); err != nil {
		t.Fatal(err)
	}
	sink, err := endpoint.OpenSink(t.Context(), "pubsub://"+project+"/clicks", endpoint.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close(t.Context())
	var e event.Event
	if err := json.Unmarshal([]byte(strings.SplitN(reportEvents, "\n", 2)[0]), &e); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := sink.Publish(t.Context(), []event.Message{e.Message()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Publisher("clicks").Publish(t.Context(), &pubsub.Message{Data: []byte("hello")}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	source := "pubsub://" + project + "/subscriptions/report"
	n := b.numbers("", source, "--wait", "1s")
	if n.Clicks.Human != 1 || n.Input.Duplicates != 1 || n.Input.Unreadable != 1 || n.Input.Files[0].Name != source {
		t.Errorf("%+v", n)
	}
	// It was acknowledged.
	if n := b.numbers("", source, "--wait", "500ms"); n.Clicks.Human != 0 {
		t.Errorf("again: %+v", n)
	}
	// A topic has what comes now.
	got := b.run("", "report", "--json", "pubsub://"+project+"/clicks", "--for", "1s")
	if got.code != exitYes || !strings.Contains(got.stderr, "reading pubsub://"+project+"/clicks for 1s") || !strings.Contains(got.stdout, `"events": 0`) {
		t.Errorf("the topic: %+v", got)
	}
	if got := b.run("", "report", "pubsub://"+project+"/subscriptions/missing"); got.code != exitNo || !strings.Contains(got.stderr, "check the project and the name") {
		t.Errorf("a subscription that is not there: %+v", got)
	}
}

// startSubscriptions starts a Pub/Sub with subscriptions of the topic
// projects/p/topics/clicks.
func startSubscriptions(t *testing.T, names ...string) (*pstest.Server, *pubsub.Client) {
	t.Helper()
	server := pstest.NewServer()
	t.Cleanup(func() { server.Close() })
	t.Setenv("PUBSUB_EMULATOR_HOST", server.Addr)
	client, err := pubsub.NewClient(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	const topic = "projects/p/topics/clicks"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: "projects/p/subscriptions/" + name, Topic: topic}); err != nil {
			t.Fatal(err)
		}
	}
	return server, client
}

// What can fail beforehand fails before a click is taken from a subscription.
func TestReportFailsBefore(t *testing.T) {
	server, _ := startSubscriptions(t, "report")
	id := server.Publish("projects/p/topics/clicks", []byte(strings.SplitN(reportEvents, "\n", 2)[0]), nil)
	b := newBench(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "cut.gz"), "\x1f\x8bnone")
	writeFile(t, filepath.Join(dir, "clicks.jsonl"), reportEvents)
	const subscription = "pubsub://p/subscriptions/report"
	for args, want := range map[string]struct {
		code   int
		stderr string
	}{
		"--output DIR/none/report.html":   {exitNo, "write DIR/none/report.html: the folder DIR/none does not exist: make it first"},
		"--output DIR":                    {exitNo, "write DIR: it is a directory: give the name of a file"},
		"--output DIR/clicks.jsonl/x":     {exitNo, "write DIR/clicks.jsonl/x: "},
		"DIR/clicks.json":                 {exitNo, "open DIR/clicks.json: no such file or directory"},
		"DIR":                             {exitNo, "read DIR: it is a folder: name the files in it"},
		"DIR/cut.gz":                      {exitNo, "read DIR/cut.gz: "},
		"pubsub://p --for 1m":             {exitUsage, `"pubsub://p" is not a topic: give pubsub://PROJECT/TOPIC`},
		"pubsub://p/subscriptions/a%20b":  {exitUsage, `"pubsub://p/subscriptions/a%20b" is not a subscription: `},
		"pubsub://p/clicks/more --for 1m": {exitUsage, `"pubsub://p/clicks/more" is not a topic: `},
		"pubsub://p/clicks?x=1 --for 1m":  {exitUsage, `"pubsub://p/clicks?x=1" is not a topic: `},
	} {
		all := append([]string{"report", subscription, "--wait", "200ms"}, strings.Fields(strings.ReplaceAll(args, "DIR", dir))...)
		got := b.run("", all...)
		if got.code != want.code || got.stdout != "" || !strings.HasPrefix(got.stderr, "linkctl: "+strings.ReplaceAll(want.stderr, "DIR", dir)) {
			t.Errorf("report %s: %+v", args, got)
		}
	}
	if m := server.Message(id); m.Deliveries > 0 || m.Acks > 0 {
		t.Errorf("the click was taken: %+v", m)
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("%v are in the folder", files)
	}

	// The second subscription is not there: the report has what the first had.
	out := filepath.Join(dir, "report.html")
	got := b.run("", "report", subscription, "pubsub://p/subscriptions/missing", "pubsub://p/subscriptions/third", filepath.Join(dir, "clicks.jsonl"), "--wait", "500ms", "--output", out)
	if got.code != exitNo || !strings.Contains(got.stderr, "check the project and the name; the report has what came until then; not read: pubsub://p/subscriptions/third\n"+out+": clicks by people 2, ") {
		t.Errorf("%+v", got)
	}
	if server.Message(id).Acks == 0 {
		t.Error("the click was not acknowledged")
	}
}

// After Ctrl-C the report has what came, and the exit code says that it is not all.
func TestReportInterrupted(t *testing.T) {
	testsize.Medium(t)
	const topic = "projects/p/topics/clicks"
	click := []byte(strings.SplitN(reportEvents, "\n", 2)[0])
	acknowledged := func(t *testing.T, server *pstest.Server, id string) {
		waitUntil(t, "acknowledgement", func() bool { return server.Message(id).Acks > 0 })
	}
	wantClick := func(t *testing.T, path string) {
		t.Helper()
		if page, err := os.ReadFile(path); err != nil || !bytes.Contains(page, []byte("https://example.com/pricing?a=1")) {
			t.Errorf("%v: %.200s", err, page)
		}
	}
	t.Run("subscription", func(t *testing.T) {
		server, _ := startSubscriptions(t, "first", "second", "third")
		id := server.Publish(topic, click, nil)
		b := newBench(t)
		out := filepath.Join(t.TempDir(), "report.html")
		s := b.start("reading pubsub://p/subscriptions/first until nothing has come for 1h0m0s",
			"report", "pubsub://p/subscriptions/first", "pubsub://p/subscriptions/second", "pubsub://p/subscriptions/third", "--wait", "1h", "--output", out)
		acknowledged(t, server, id)
		s.cancel()
		want := "interrupted while pubsub://p/subscriptions/first was read: the report has what came until now; not read: pubsub://p/subscriptions/second, pubsub://p/subscriptions/third\n" +
			out + ": clicks by people 1, automated 0, blocked 0\nlinkctl: interrupted\n"
		if code := s.end(); code != exitInterrupted || !strings.HasSuffix(s.stderr.String(), want) {
			t.Errorf("exit code %d: %s", code, s.stderr)
		}
		wantClick(t, out)
	})
	t.Run("topic", func(t *testing.T) {
		server, _ := startSubscriptions(t)
		b := newBench(t)
		out := filepath.Join(t.TempDir(), "report.html")
		s := b.start("reading pubsub://p/clicks for 1h0m0s", "report", "pubsub://p/clicks", "--for", "1h", "--output", out)
		acknowledged(t, server, server.Publish(topic, click, nil))
		s.cancel()
		want := "interrupted while pubsub://p/clicks was read: the report has what came until now\n" + out + ": clicks by people 1, automated 0, blocked 0\nlinkctl: interrupted\n"
		if code := s.end(); code != exitInterrupted || !strings.HasSuffix(s.stderr.String(), want) {
			t.Errorf("exit code %d: %s", code, s.stderr)
		}
		wantClick(t, out)
	})
	t.Run("cannot be written", func(t *testing.T) {
		server, _ := startSubscriptions(t, "report")
		id := server.Publish(topic, click, nil)
		b := newBench(t)
		dir := filepath.Join(t.TempDir(), "gone")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := b.start("reading", "report", "pubsub://p/subscriptions/report", "--wait", "1h", "--output", filepath.Join(dir, "report.html"))
		acknowledged(t, server, id)
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		s.cancel()
		if code := s.end(); code != exitInterrupted || !strings.Contains(s.stderr.String(), "\nlinkctl: write "+dir) || !strings.HasSuffix(s.stderr.String(), "\nlinkctl: interrupted\n") {
			t.Errorf("exit code %d: %s", code, s.stderr)
		}
	})
}

// What was read of a subscription that goes away is in the report: it is nowhere
// else any more.
func TestReportCutOff(t *testing.T) {
	server, client := startSubscriptions(t, "report")
	id := server.Publish("projects/p/topics/clicks", []byte(strings.SplitN(reportEvents, "\n", 2)[0]), nil)

	b := newBench(t)
	out := filepath.Join(t.TempDir(), "report.html")
	s := b.start("reading pubsub://p/subscriptions/report until nothing has come for 1h0m0s", "report", "pubsub://p/subscriptions/report", "--wait", "1h", "--output", out)
	waitUntil(t, "acknowledgement", func() bool { return server.Message(id).Acks > 0 })
	if err := client.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: "projects/p/subscriptions/report"}); err != nil {
		t.Fatal(err)
	}
	if code := s.end(); code != exitNo || !strings.Contains(s.stderr.String(), "check the project and the name; the report has what came until then\n"+out+": clicks by people 1, ") {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	if page, err := os.ReadFile(out); err != nil || !bytes.Contains(page, []byte("https://example.com/pricing?a=1")) {
		t.Errorf("%v: %.200s", err, page)
	}
}

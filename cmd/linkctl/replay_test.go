package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/linktracker/cmd/internal/replay"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

func spilledID(n int) string { return fmt.Sprintf("019df254-8fdb-7c1e-9a34-%012d", n) }

// spilledLine is the line of a spilled event, with a member and a number as a
// later version may write them.
func spilledLine(n int, reason string) string {
	if reason == "" {
		reason = "timed out"
	}
	id := spilledID(n)
	return `{"severity":"WARNING","time":"2026-05-04T09:32:06.377100Z","message":"event spilled","reason":"` + reason +
		`","event":` + spilledData(n) + `,"attributes":{"ce-id":"` + id + `","event_type":"click","later":"1"}}` + "\n"
}

func spilledData(n int) string {
	return fmt.Sprintf(`{"event_id":"%s","event_type":"click","occurred_at":"2026-05-04T09:32:%02d.371204Z","customer":"acme","later":[1.50,12345678901234567890]}`, spilledID(n), n%60)
}

func spilledLines(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(spilledLine(n, ""))
	}
	return b.String()
}

// published are the ids of the events in a file, in order.
func published(t *testing.T, path string) (ids []int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var e struct {
			ID string `json:"event_id"`
		}
		var n int
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(e.ID[24:], "%d", &n); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, n)
	}
	slices.Sort(ids)
	return ids
}

// upTo is 1 to n.
func upTo(n int) (ids []int) {
	for i := range n {
		ids = append(ids, i+1)
	}
	return ids
}

// What an endpoint spilled since Pub/Sub refused it arrives once replayed: each
// event once, as it would have been.
func TestReplayEndpoint(t *testing.T) {
	testsize.Medium(t)
	client, project, _ := newClicks(t)
	b := newBench(t)
	url := "pubsub://" + project + "/later" // is not there yet
	b.set("CLICKS", url)
	var log lockedBuffer
	e := startEndpoint(t, b, &log, "CLICKS="+url)
	const clicks = 30
	for range clicks {
		click(t, e, b.succeed("", "sign", "--customer", "acme", "--recipient", "r1", "https://example.com/pricing?a=<b>"))
	}
	e.Stop(e.Drain)
	if n := strings.Count(log.String(), `"message":"event spilled"`); n != clicks {
		t.Fatalf("%d events were spilled", n)
	}
	want := map[string]*event.Spilled{}
	for line := range strings.Lines(log.String()) {
		if s, err := event.ParseSpilled([]byte(line)); err == nil {
			want[s.Event.ID] = s
		}
	}

	topic, name := "projects/"+project+"/topics/later", "projects/"+project+"/subscriptions/crm"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: name, Topic: topic, AckDeadlineSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "endpoint.log")
	writeFile(t, path, log.String())
	if out := b.succeed("", "replay", path); !strings.HasPrefix(out, "30 events replayed, of ") {
		t.Errorf("replay printed %s", out)
	}
	if out := b.succeed("", "replay", path); !strings.HasPrefix(out, "0 events replayed\n30 events replayed by earlier runs\n") {
		t.Errorf("the second replay printed %s", out)
	}
	messages := pullAll(t, client, name, clicks)
	for _, m := range messages {
		s := want[m.Attributes["ce-id"]]
		if s == nil {
			t.Fatalf("came twice, or was not spilled: %v", m.Attributes)
		}
		delete(want, s.Event.ID)
		attributes := map[string]string{}
		for _, a := range s.AppendAttributes(nil) {
			attributes[a.Name] = a.Value
		}
		if string(m.Data) != string(s.Data) || !maps.Equal(m.Attributes, attributes) {
			t.Errorf("received %s %v\nwant %s %v", m.Data, m.Attributes, s.Data, attributes)
		}
	}
}

// pullAll returns so many messages of a subscription, and fails if there are
// more.
func pullAll(t *testing.T, client *pubsub.Client, subscription string, count int) (all []*pubsubpb.PubsubMessage) {
	t.Helper()
	for len(all) < count {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		response, err := client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1000})
		cancel()
		if err != nil {
			t.Fatalf("%d of %d messages came: %v", len(all), count, err)
		}
		for _, m := range response.ReceivedMessages {
			all = append(all, m.Message)
		}
	}
	// The emulator answers at once where it has more.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if response, err := client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1000}); err == nil && len(response.ReceivedMessages) > 0 {
		t.Errorf("%d more messages than %d", len(response.ReceivedMessages), count)
	}
	return all
}

// The forms in which spilled events come.
func TestReplayForms(t *testing.T) {
	entry := func(line string) string {
		return `{"insertId":"x","logName":"projects/p/logs/run.googleapis.com%2Fstdout","jsonPayload":` + strings.TrimSpace(line) +
			`,"severity":"WARNING","resource":{"type":"cloud_run_revision","labels":{"a":"}]\""}}}`
	}
	pretty := func(text string) string {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	zip := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, text)
		w.Close()
		return b.String()
	}
	text := func(line string) string {
		quoted, _ := json.Marshal(strings.TrimSpace(line))
		return `{"textPayload":` + string(quoted) + `}`
	}
	others := "plain text\n[2026] a line in brackets\n\n" + `{"severity":"INFO","message":"listening"}` + "\n" +
		`{"severity":"INFO","message":"tells of an event spilled, is none"}` + "\n" + `{"event_id":"1","user_agent":"\"message\":\"event spilled\""}` + "\n"
	lines := spilledLine(1, "") + others + spilledLine(2, "refused") + spilledLine(3, "failed")
	entries := entry(spilledLine(1, "")) + "\n" + entry(spilledLine(2, "refused")) + "\n" + text(spilledLine(3, "failed"))
	array := "[" + strings.ReplaceAll(entries, "\n", ",") + "]"
	for name, content := range map[string]string{
		"log":              lines,
		"log for Windows":  "\uFEFF" + strings.ReplaceAll(lines, "\n", "\r\n"),
		"entries":          entries,
		"array":            array,
		"array, marked":    "\uFEFF" + array,
		"array, pretty":    pretty(array) + "\n",
		"gzip":             zip(lines),
		"gzip of an array": zip(pretty(array)),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			dir := t.TempDir()
			path, clicks := filepath.Join(dir, "input"), filepath.Join(dir, "clicks.jsonl")
			writeFile(t, path, content)
			b.set("CLICKS", "file:"+clicks)
			const want = ", of 2026-05-04T09:32:01Z to 2026-05-04T09:32:03Z\n  1 spilled as: failed\n  1 spilled as: refused\n  1 spilled as: timed out\n"
			rest := ""
			if strings.Contains(name, "log") || name == "gzip" {
				rest = "5 lines of something else\n"
			}
			b.want(outcome{exitYes, "3 events to be replayed" + want + rest, ""}, "", "replay", "--dry-run", path)
			if _, err := os.Stat(clicks); err == nil {
				t.Error("the dry run published")
			}
			b.want(outcome{exitYes, "3 events replayed" + want + rest, ""}, "", "replay", "file:"+path)
			got, err := os.ReadFile(clicks)
			if err != nil {
				t.Fatal(err)
			}
			if want := spilledData(1) + "\n" + spilledData(2) + "\n" + spilledData(3) + "\n"; sortedLines(string(got)) != want {
				t.Errorf("published\n%swant\n%s", got, want)
			}
			b.want(outcome{exitYes, "0 events replayed\n3 events replayed by earlier runs\n", ""}, "", "replay", path)
			if strings.HasPrefix(name, "gzip") {
				return
			}
			os.Remove(clicks)
			b.want(outcome{exitYes, "3 events replayed" + want + rest, ""}, content, "replay", "-")
			if got := published(t, clicks); !slices.Equal(got, upTo(3)) {
				t.Errorf("published %v", got)
			}
		})
	}
}

func sortedLines(s string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(s, "\n"), "\n")
	lines[len(lines)-1] += "\n"
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// What can't be read is told, with its line, and does not stop the rest. A file
// may become longer, but no other one.
func TestReplayCursor(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path, clicks := filepath.Join(dir, "endpoint.log"), filepath.Join(dir, "clicks.jsonl")
	b.set("CLICKS", "file:"+clicks)
	broken := `{"message":"event spilled","event":{"event_id":"` + "\n"
	noEvent := `{"message":"event spilled","reason":"failed"}` + "\n"
	half := spilledLine(5, "")
	content := spilledLine(1, "") + broken + spilledLine(1, "") + noEvent + spilledLine(2, "") + half[:len(half)/2]
	writeFile(t, path, content)
	got := b.run("", "replay", path)
	if got.code != exitNo || got.stdout != "2 events replayed, of 2026-05-04T09:32:01Z to 2026-05-04T09:32:02Z\n  2 spilled as: timed out\n1 event met again, and not published twice\n3 entries not understood\n" {
		t.Errorf("exit code %d\n%s", got.code, got.stdout)
	}
	for n, want := range []string{
		`linkctl: line 2: has the words "event spilled" and is not JSON: `,
		`linkctl: line 4: spilled event: the event is missing`,
		`linkctl: line 6: has the words "event spilled" and is not JSON: `,
	} {
		if lines := strings.Split(got.stderr, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[n], want) {
			t.Errorf("line %d is not %s:\n%s", n, want, got.stderr)
		}
	}

	// The rest of the last line, and another one.
	content += half[len(half)/2:] + spilledLine(6, "")
	writeFile(t, path, content)
	got = b.run("", "replay", path)
	if !strings.HasPrefix(got.stdout, "2 events replayed, of ") || !strings.Contains(got.stdout, "\n2 events replayed by earlier runs\n") {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if got := published(t, clicks); !slices.Equal(got, []int{1, 2, 5, 6}) {
		t.Errorf("published %v", got)
	}

	cursorPath := path + ".cursor"
	for what, edited := range map[string]string{
		"edited":  strings.Replace(content, "acme", "acne", 1),
		"rotated": spilledLines(20, 21),
		"empty":   "",
	} {
		writeFile(t, path, edited)
		b.want(outcome{exitNo, "", "linkctl: " + path + " is not the file that was replayed, or was edited since: remove " + cursorPath + " to replay it from the beginning\n"}, "", "replay", path)
		if got := published(t, clicks); len(got) != 4 {
			t.Errorf("%s: published %v", what, got)
		}
	}
	writeFile(t, path, content)
	other := filepath.Join(dir, "other.jsonl")
	b.want(outcome{exitNo, "", "linkctl: " + cursorPath + " is the cursor of a replay to file:" + clicks + ": give another --cursor, or remove it to replay to file:" + other + " too\n"},
		"", "replay", "--clicks", "file:"+other, path)
	if got := b.run("", "replay", "--clicks", "file:"+other, "--cursor", filepath.Join(dir, "c"), path); !strings.HasPrefix(got.stdout, "4 events replayed, ") {
		t.Errorf("to another place: %s%s", got.stdout, got.stderr)
	}
	writeFile(t, cursorPath, "{")
	b.want(outcome{exitNo, "", "linkctl: " + cursorPath + " is not a cursor: give another --cursor, or remove it to begin again\n"}, "", "replay", path)
}

// taker is a Pub/Sub that answers as it is told, on a real socket.
type taker struct {
	pubsubpb.UnimplementedPublisherServer
	answer func(s *taker, id string) error

	mu    sync.Mutex
	taken map[string]int // ce-id
}

func startTaker(t *testing.T, b *bench, answer func(s *taker, id string) error) *taker {
	t.Helper()
	s := &taker{answer: answer, taken: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pubsubpb.RegisterPublisherServer(server, s)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	t.Setenv("PUBSUB_EMULATOR_HOST", l.Addr().String())
	b.set("PUBSUB_EMULATOR_HOST", l.Addr().String())
	b.set("CLICKS", "pubsub://p/clicks")
	return s
}

func (s *taker) Publish(_ context.Context, r *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	response := &pubsubpb.PublishResponse{}
	for _, m := range r.Messages {
		id := m.Attributes["ce-id"]
		if err := s.answer(s, id); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.taken[id]++
		s.mu.Unlock()
		response.MessageIds = append(response.MessageIds, id)
	}
	return response, nil
}

func (s *taker) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken)
}

// wantOnce checks that all events were taken, and returns how many came again.
func (s *taker) wantOnce(t *testing.T, events, doubles int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	again := 0
	for n := 1; n <= events; n++ {
		switch taken := s.taken[spilledID(n)]; taken {
		case 0:
			t.Errorf("event %d is lost", n)
		default:
			again += taken - 1
		}
	}
	if again > doubles || len(s.taken) != events {
		t.Errorf("%d events, %d came again", len(s.taken), again)
	}
}

// Killed, a replay loses nothing, and what may come twice is bounded.
func TestReplayKilled(t *testing.T) {
	testsize.Medium(t)
	b := newBench(t)
	const events = 2000
	path := filepath.Join(t.TempDir(), "spilled.jsonl")
	writeFile(t, path, spilledLines(1, events))
	reached := make(chan struct{})
	var once sync.Once
	s := startTaker(t, b, func(s *taker, _ string) error {
		if s.count() >= 1000 {
			once.Do(func() { close(reached) })
		}
		time.Sleep(time.Millisecond)
		return nil
	})
	c := exec.Command(os.Args[0], "replay", path)
	c.Env = b.processEnviron()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	defer watchdog.Stop()
	<-reached
	c.Process.Kill()
	c.Wait()
	if n := s.count(); n >= events {
		t.Fatalf("%d events were taken before it was killed", n)
	}
	b.succeed("", "replay", path)
	s.wantOnce(t, events, replay.Window)
}

// A failure in the middle ends it, says what to do, and costs no event.
func TestReplayFails(t *testing.T) {
	b := newBench(t)
	const events = 600
	path := filepath.Join(t.TempDir(), "spilled.jsonl")
	writeFile(t, path, spilledLines(1, events))
	var allowed bool
	s := startTaker(t, b, func(_ *taker, id string) error {
		if id == spilledID(5) && !allowed {
			return status.Error(codes.PermissionDenied, "not you")
		}
		return nil
	})
	got := b.run("", "replay", path)
	if want := "linkctl: publish the event of line 5: not you: your account needs the role roles/pubsub.publisher on this topic, as Terraform's variable `replayers` gives it\n"; got.code != exitNo || got.stderr != want {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	n := s.count()
	allowed = true
	if out := b.succeed("", "replay", path); !strings.HasPrefix(out, fmt.Sprintf("%d events replayed, ", events-n)) {
		t.Errorf("%d were replayed before, then %s", n, out)
	}
	s.wantOnce(t, events, 0)
}

// What is refused is told apart, and tried again the next time.
func TestReplayRefused(t *testing.T) {
	testsize.Medium(t)
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "spilled.jsonl")
	writeFile(t, path, spilledLines(1, 4)+spilledLine(5, "refused")+spilledLines(6, 9))
	var mended bool
	s := startTaker(t, b, func(_ *taker, id string) error {
		if (id == spilledID(2) || id == spilledID(5)) && !mended {
			return status.Error(codes.InvalidArgument, "schema")
		}
		return nil
	})
	for _, replayed := range []int{7, 0} {
		got := b.run("", "replay", path)
		if got.code != exitNo || !strings.HasPrefix(got.stdout, fmt.Sprintf("%d events replayed", replayed)) || !strings.Contains(got.stdout, "\n2 events refused\n") {
			t.Errorf("exit code %d: %s", got.code, got.stdout)
		}
		for _, want := range []string{
			"linkctl: line 2: event " + spilledID(2) + " was refused: the event was refused: schema\n",
			"linkctl: line 5: event " + spilledID(5) + " was refused, as it was when it was spilled: ",
		} {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("standard error lacks %s: %s", want, got.stderr)
			}
		}
	}
	mended = true
	want := "2 events replayed, of 2026-05-04T09:32:02Z to 2026-05-04T09:32:05Z\n  1 spilled as: refused\n  1 spilled as: timed out\n7 events replayed by earlier runs\n"
	b.want(outcome{exitYes, want, ""}, "", "replay", path)
	s.wantOnce(t, 9, 0)
}

// From the spill subscription: what was published is acknowledged, what can't be
// read stays.
func TestReplaySubscription(t *testing.T) {
	t.Parallel()
	client, project, url := newClicks(t)
	b := newBench(t)
	b.set("CLICKS", url)
	for name, topic := range map[string]string{"crm": "clicks", "linktracker-spill": "linktracker-spill"} {
		if topic != "clicks" {
			if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/" + project + "/topics/" + topic}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
			Name: "projects/" + project + "/subscriptions/" + name, Topic: "projects/" + project + "/topics/" + topic, AckDeadlineSeconds: 60,
		}); err != nil {
			t.Fatal(err)
		}
	}
	publisher := client.Publisher("linktracker-spill")
	defer publisher.Stop()
	const events = 60
	messages := []string{"no JSON", `{"jsonPayload":{"message":"something else"}}`}
	for n := range events {
		messages = append(messages, `{"jsonPayload":`+spilledLine(n+1, "")+`,"insertId":"x"}`)
	}
	messages = append(messages, `{"jsonPayload":`+spilledLine(3, "")+`,"insertId":"again"}`)
	for _, m := range messages {
		if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: []byte(m)}).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	source := "pubsub://" + project + "/subscriptions/linktracker-spill"
	got := b.run("", "replay", "--wait", "1s", source)
	if got.code != exitNo || !strings.HasPrefix(got.stdout, "60 events replayed, ") ||
		!strings.Contains(got.stdout, "\n1 event met again, and not published twice\n2 entries not understood\n") || strings.Count(got.stderr, "; it stays in the subscription\n") != 2 {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	seen := map[string]bool{}
	for _, m := range pullAll(t, client, "projects/"+project+"/subscriptions/crm", events) {
		if m.Attributes["later"] != "1" || seen[m.Attributes["ce-id"]] {
			t.Errorf("received %s %v", m.Data, m.Attributes)
		}
		seen[m.Attributes["ce-id"]] = true
	}
	// Only what could not be read is left.
	for _, m := range pullAll(t, client, "projects/"+project+"/subscriptions/linktracker-spill", 2) {
		if strings.Contains(string(m.Data), spilledID(0)[:20]) {
			t.Errorf("left: %s", m.Data)
		}
	}
}

// Stopped in the middle of a subscription, a replay leaves what it did not
// publish, and nothing comes twice.
func TestReplaySubscriptionInterrupted(t *testing.T) {
	t.Parallel()
	client, project, _ := newClicks(t)
	b := newBench(t)
	clicks := filepath.Join(t.TempDir(), "clicks.jsonl")
	b.set("CLICKS", "file:"+clicks)
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/" + project + "/subscriptions/spill", Topic: "projects/" + project + "/topics/clicks", AckDeadlineSeconds: 60,
	}); err != nil {
		t.Fatal(err)
	}
	const events = 1500
	publisher := client.Publisher("clicks")
	defer publisher.Stop()
	var results []*pubsub.PublishResult
	for n := range events {
		results = append(results, publisher.Publish(t.Context(), &pubsub.Message{Data: []byte(spilledLine(n+1, ""))}))
	}
	for _, r := range results {
		if _, err := r.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	source := "pubsub://" + project + "/subscriptions/spill"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"replay", source}, strings.NewReader(""), &stdout, &stderr, b.environ)
	}()
	waitUntil(t, "events", func() bool {
		content, _ := os.ReadFile(clicks)
		return bytes.Count(content, []byte("\n")) >= 100
	})
	cancel()
	if code := <-code; code != exitInterrupted {
		t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
	}
	first := len(published(t, clicks))
	if first == events || !strings.HasPrefix(stdout.String(), fmt.Sprintf("%d events replayed, ", first)) {
		t.Errorf("%d events in the first run: %s", first, &stdout)
	}
	// What the first run was given and did not take comes again when Pub/Sub says.
	waitUntil(t, "all events", func() bool {
		b.succeed("", "replay", "--wait", "1s", source)
		return len(published(t, clicks)) >= events
	})
	if got := published(t, clicks); !slices.Equal(got, upTo(events)) {
		t.Errorf("%d events, %d in the first run", len(got), first)
	}
}

func TestReplayStandardInputStuck(t *testing.T) {
	b := newBench(t)
	b.set("CLICKS", "file:"+filepath.Join(t.TempDir(), "clicks.jsonl"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"replay", "-"}, stuckReader{}, &stdout, &stderr, b.environ)
	if code != exitInterrupted || stdout.Len() > 0 || stderr.String() != "linkctl: interrupted\n" {
		t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
	}
}

func TestReplayErrors(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "ok"), spilledLine(1, ""))
	writeFile(t, filepath.Join(dir, "cut"), "["+strings.TrimSpace(spilledLine(1, ""))+",\n")
	writeFile(t, filepath.Join(dir, "mixed"), "["+strings.TrimSpace(spilledLine(1, ""))+",\n7]")
	writeFile(t, filepath.Join(dir, "gzip"), "\x1f\x8bnone")
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"replay", exitUsage, "give one input: a file, - or pubsub://PROJECT/subscriptions/NAME (linkctl replay --help explains)"},
		{"replay a b", exitUsage, "give one input: "},
		{"replay ok", exitUsage, "where the events should go is not set: give --clicks or set CLICKS "},
		{"replay --clicks stdout ok", exitUsage, "events are replayed to pubsub://PROJECT/TOPIC or file:PATH, not to stdout"},
		{"replay --clicks pubsub:// ok", exitUsage, `where the events should go (--clicks, CLICKS): "pubsub://" is neither pubsub://PROJECT/TOPIC nor file:PATH (linkctl replay --help explains)`},
		{"replay --clicks pubsub://p/a/b ok", exitUsage, `where the events should go (--clicks, CLICKS): "pubsub://p/a/b" is neither `},
		{"replay --clicks file: ok", exitUsage, `where the events should go (--clicks, CLICKS): "file:" is neither `},
		{"replay --clicks file:none/x ok", exitNo, "the folder none does not exist: make it first\n"},
		{"replay --clicks file:x pubsub://p/spill", exitUsage, `"pubsub://p/spill" is not a subscription: give pubsub://PROJECT/subscriptions/NAME`},
		{"replay --clicks file:x pubsub://p/subscriptions/a/b", exitUsage, `"pubsub://p/subscriptions/a/b" is not a subscription: give `},
		{"replay --dry-run pubsub://p/subscriptions/spill", exitUsage, "--dry-run is for files: "},
		{"replay --cursor c -", exitUsage, "--cursor is for files: "},
		{"replay --cursor c pubsub://p/subscriptions/spill", exitUsage, "--cursor is for files: "},
		{"replay --wait 1s ok", exitUsage, "--wait is for subscriptions: "},
		{"replay --wait 0s pubsub://p/subscriptions/spill", exitUsage, "--wait 0s: give a time such as 10s"},
		{"replay --clicks file:x file:", exitUsage, "the input is empty"},
		{"replay --clicks file:x none", exitNo, "open none: no such file or directory"},
		{"replay --clicks file:x .", exitNo, ". is a directory: give a file"},
		{"replay --clicks file:x gzip", exitNo, "read gzip: unpack: "},
		{"replay --clicks file:x cut", exitNo, "read the input: not JSON: the array has no end, after 1 objects: it is cut off"},
		{"replay --clicks file:x mixed", exitNo, "read the input: not JSON: on line 2, after 1 objects, '7' stands where an object should begin; what follows was not read"},
	} {
		t.Chdir(dir)
		got := b.run("", strings.Fields(test.args)...)
		if got.code != test.code || !strings.HasPrefix(got.stderr, "linkctl: "+test.want) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("linkctl %s: %d %s%s", test.args, got.code, got.stdout, got.stderr)
		}
	}
	// What could be read before was replayed.
	if got := published(t, filepath.Join(dir, "x")); !slices.Equal(got, []int{1, 1}) {
		t.Errorf("published %v", got)
	}
}

// Without credentials the command was right: what is missing is told, with 1.
func TestPublishWithoutCredentials(t *testing.T) {
	b := newBench(t)
	_, source := watchFile(t, b, "")
	spilled := filepath.Join(t.TempDir(), "spilled.jsonl")
	writeFile(t, spilled, spilledLine(1, ""))
	fail := func(want string) {
		t.Helper()
		for _, args := range [][]string{
			{"replay", "--clicks", "pubsub://p/clicks", spilled},
			{"watch", "--from", source, "--verdicts", "--clicks", "pubsub://p/clicks"},
		} {
			got := b.run("", args...)
			if got.code != exitNo || !strings.HasPrefix(got.stderr, "linkctl: open Pub/Sub: ") || !strings.HasSuffix(got.stderr, want) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("linkctl %q: %d %s%s", args, got.code, got.stdout, got.stderr)
			}
		}
	}
	t.Setenv("PUBSUB_EMULATOR_HOST", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	fail("missing.json: no such file or directory\n")

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	if sink, err := endpoint.OpenSink(t.Context(), "pubsub://p/clicks", endpoint.SinkOptions{}); err == nil {
		sink.Close(t.Context())
		t.Skip("this machine has credentials of its own")
	}
	fail(": sign in with `gcloud auth application-default login`\n")
}

// On a terminal progress is one line, which goes away.
func TestReplayProgress(t *testing.T) {
	master, slave := openTerminal(t, 80)
	now := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	v := &replayView{t: newTool(io.Discard), told: now}
	v.t.stderr, v.t.now = slave, func() time.Time { return now }
	v.progress(0, 25)
	now = now.Add(time.Second)
	v.progress(1, 25)
	v.warn("line 7: no")
	slave.Close()
	got, _ := io.ReadAll(master)
	if want := "\r\x1b[K1 event replayed, 25% of the file\r\x1b[Klinkctl: line 7: no\r\n"; string(got) != want {
		t.Errorf("got %q", got)
	}
	var stderr bytes.Buffer
	v.t.stderr = &stderr
	for range 25 {
		now = now.Add(time.Second)
		v.progress(1, -1)
	}
	if got := stderr.String(); got != "1 event replayed\n1 event replayed\n" {
		t.Errorf("in a file: %q", got)
	}
}

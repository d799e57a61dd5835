package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

// newClicks makes a topic and returns its URL.
func newClicks(t *testing.T) (client *pubsub.Client, project, url string) {
	t.Helper()
	emulatortest.PubSub(t)
	project = emulatortest.Project(t)
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/" + project + "/topics/clicks"}); err != nil {
		t.Fatal(err)
	}
	return client, project, "pubsub://" + project + "/clicks"
}

func subscriptionNames(t *testing.T, client *pubsub.Client, project string) (names []string) {
	t.Helper()
	for s, err := range client.SubscriptionAdminClient.ListSubscriptions(t.Context(), &pubsubpb.ListSubscriptionsRequest{Project: "projects/" + project}).All() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Name[strings.LastIndex(s.Name, "/")+1:])
	}
	return names
}

// publish publishes events to where a URL says.
func publish(t *testing.T, url string, events ...*event.Event) {
	t.Helper()
	sink, err := endpoint.OpenSink(context.Background(), url, endpoint.SinkOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	defer sink.Close(context.Background())
	for _, e := range events {
		if err := sink.Publish(context.Background(), []event.Message{e.Message()}); err != nil {
			t.Error(err)
		}
	}
}

// sampleEvent is a click of which some fields can be chosen.
func sampleEvent(id string, change func(*event.Event)) *event.Event {
	e := &event.Event{
		ID: id, Type: event.Click, OccurredAt: time.Now().UTC().Truncate(time.Microsecond), Host: "links.example.com",
		Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1", Destination: "https://example.com/pricing?a=1",
		Method: "GET", Automation: event.Human,
	}
	if change != nil {
		change(e)
	}
	return e
}

// A session is the tool while it runs.
type session struct {
	t      *testing.T
	cancel context.CancelFunc
	lines  *bufio.Reader
	stderr *lockedBuffer
	code   chan int
}

// lockedBuffer is a buffer that a test reads while the tool writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts the tool, and waits until standard error says what it is to say.
func (b *bench) start(until string, args ...string) *session {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	s := &session{b.t, cancel, bufio.NewReader(r), &lockedBuffer{}, make(chan int, 1)}
	environ := slices.Clone(b.environ)
	go func() {
		s.code <- run(ctx, args, strings.NewReader(""), w, s.stderr, environ)
		w.Close()
	}()
	b.t.Cleanup(cancel)
	s.waitFor(until)
	return s
}

func (s *session) waitFor(text string) {
	s.t.Helper()
	waitUntil(s.t, fmt.Sprintf("%q on standard error", text), func() bool {
		if len(s.code) > 0 {
			s.t.Fatalf("linkctl ended: %s", s.stderr)
		}
		return strings.Contains(s.stderr.String(), text)
	})
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline, tick := time.Now().Add(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 2 minutes", what)
		}
		<-tick.C
	}
}

// line returns the next line of standard output.
func (s *session) line() string {
	s.t.Helper()
	got := make(chan string, 1)
	go func() {
		line, _ := s.lines.ReadString('\n')
		got <- line
	}()
	select {
	case line := <-got:
		return strings.TrimSuffix(line, "\n")
	case <-time.After(2 * time.Minute):
		s.t.Fatalf("no line within 2 minutes: %s", s.stderr)
		return ""
	}
}

// end waits for the end and returns the exit code.
func (s *session) end() int {
	s.t.Helper()
	select {
	case code := <-s.code:
		return code
	case <-time.After(2 * time.Minute):
		s.t.Fatal("it does not end")
		return 0
	}
}

// A click at the endpoint is a line before the next one; what it is read from is
// gone afterwards.
func TestTail(t *testing.T) {
	client, project, url := newClicks(t)
	b := newBench(t)
	b.set("CLICKS", url)
	s := b.start("showing what happens on "+url, "tail", "--json", "--customer", "acme")
	names := subscriptionNames(t, client, project)
	if len(names) != 1 || !strings.HasPrefix(names[0], "linkctl-tail-") {
		t.Errorf("subscriptions %v", names)
	}

	e := startEndpoint(t, b, io.Discard, "CLICKS="+url)
	for range 5 {
		click(t, e, b.succeed("", "sign", "--customer", "acme", "--recipient", "r1", "https://example.com/pricing"))
		line := s.line()
		var got struct {
			Type        string `json:"event_type"`
			Customer    string
			Destination string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Type != "click" || got.Customer != "acme" || got.Destination != "https://example.com/pricing" {
			t.Errorf("the line is %s", line)
		}
	}

	s.cancel()
	if code := s.end(); code != exitInterrupted || !strings.HasSuffix(s.stderr.String(), "\nlinkctl: interrupted\n") {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	if names := subscriptionNames(t, client, project); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

// startEndpoint starts an endpoint with the bench's key ring.
func startEndpoint(t *testing.T, b *bench, stdout io.Writer, environ ...string) *endpoint.Endpoint {
	t.Helper()
	environ = append(environ, "LINK_KEYS="+b.get("LINK_KEYS"))
	if !slices.ContainsFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, "BLOCKLIST=") }) {
		environ = append(environ, "BLOCKLIST=none")
	}
	e, err := endpoint.FromEnvironment(t.Context(), (&tool{environ: environ}).getenv, stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Stop(e.Drain) })
	return e
}

// click follows a link.
func click(t *testing.T, e http.Handler, link string) {
	t.Helper()
	r := httptest.NewRequest("GET", strings.TrimSpace(link), nil)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	if w.Code != http.StatusFound {
		t.Errorf("a click is answered with %d", w.Code)
	}
}

// What the filters let through, with a service that ignores filters.
func TestTailFilters(t *testing.T) {
	t.Parallel()
	_, _, url := newClicks(t)
	b := newBench(t)
	b.set("CLICKS", url)
	events := []*event.Event{
		sampleEvent("1", nil),
		sampleEvent("2", func(e *event.Event) { e.Customer = "other"; e.Automation = event.Automated }),
		sampleEvent("3", func(e *event.Event) {
			e.Type = event.Blocked
			e.Rule = "host:example.com"
			e.Automation = event.Suspect
		}),
		sampleEvent("4", func(e *event.Event) { e.Customer = "_probe" }),
		sampleEvent("5", func(e *event.Event) { e.Type = event.Open; e.Campaign = "autumn" }),
		sampleEvent("1", nil), // again
		sampleEvent("6", func(e *event.Event) { e.Type = event.Unsubscribe; e.Automation = "" }),
		sampleEvent("end", func(e *event.Event) {
			e.Customer, e.Campaign, e.Type, e.Automation = "acme", "spring26", event.Blocked, event.Human
		}),
	}
	tests := []struct{ args, want string }{
		{"", "1 2 3 5 6 end"},
		{"--customer acme", "1 3 5 6 end"},
		{"--customer acme,other", "1 2 3 5 6 end"},
		{"--customer _probe --customer acme", "1 3 4 5 6 end"},
		{"--campaign spring26", "1 2 3 6 end"},
		{"--event blocked,open", "3 5 end"},
		{"--blocked", "3 end"},
		{"--automation human", "1 5 end"},
		{"--automation human,suspect --blocked --customer acme", "3 end"},
	}
	sessions := make([]*session, len(tests))
	for i, test := range tests {
		sessions[i] = b.start("showing", append([]string{"tail", "--json"}, strings.Fields(test.args)...)...)
	}
	publish(t, url, events...)
	for i, test := range tests {
		s := sessions[i]
		// In the order of arrival, which is any.
		var got []string
		for range strings.Fields(test.want) {
			var e struct {
				ID string `json:"event_id"`
			}
			if err := json.Unmarshal([]byte(s.line()), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.ID)
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.args, got, test.want)
		}
	}
	for i, s := range sessions {
		s.cancel()
		if code := s.end(); code != exitInterrupted {
			t.Errorf("%s: exit code %d: %s", tests[i].args, code, s.stderr)
		}
		if rest, _ := io.ReadAll(s.lines); len(rest) > 0 {
			t.Errorf("%s: also %s", tests[i].args, rest)
		}
	}
}

// The filter is one that Pub/Sub's fake understands as the tool does, and is
// never longer than the service takes.
func TestTailExpression(t *testing.T) {
	server := pstest.NewServer()
	defer server.Close()
	connection, err := grpc.NewClient(server.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client, err := pubsub.NewClient(t.Context(), "p", option.WithGRPCConn(connection))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const topic = "projects/p/topics/clicks"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("c", 64)
	tests := []struct {
		filter eventFilter
		want   string
		exact  bool // all is filtered on the server
	}{
		{eventFilter{}, `NOT attributes.customer = "_probe"`, true},
		{eventFilter{customers: []string{"acme"}}, `attributes.customer = "acme"`, true},
		{eventFilter{customers: []string{`a"b\`, "acme"}}, `(attributes.customer = "a\"b\\" OR attributes.customer = "acme")`, true},
		{eventFilter{campaigns: []string{"spring26"}, types: []string{"click", "blocked"}, automation: []string{"human"}},
			`attributes.campaign = "spring26" AND (attributes.event_type = "click" OR attributes.event_type = "blocked") AND attributes.automation = "human" AND NOT attributes.customer = "_probe"`, true},
		{eventFilter{customers: []string{long}, campaigns: []string{long}, types: []string{"click"}, automation: []string{"human", "suspect"}},
			`attributes.customer = "` + long + `" AND attributes.campaign = "` + long + `" AND attributes.event_type = "click"`, false},
		{eventFilter{customers: []string{long, long, long}, types: []string{"click"}}, `attributes.event_type = "click"`, false},
	}
	var events []*event.Event
	for _, customer := range []string{"acme", `a"b\`, "_probe", long, ""} {
		for _, campaign := range []string{"spring26", long} {
			for _, kind := range []event.Type{event.Click, event.Blocked, event.Open} {
				for _, class := range []event.Automation{event.Human, event.Automated} {
					events = append(events, sampleEvent(fmt.Sprint(len(events)), func(e *event.Event) {
						e.Customer, e.Campaign, e.Type, e.Automation = customer, campaign, kind, class
					}))
				}
			}
		}
	}
	for i, test := range tests {
		expression := test.filter.expression()
		if expression != test.want || len(expression) > event.MaxFilter {
			t.Errorf("the filter is %s, want %s", expression, test.want)
		}
		if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
			Name: fmt.Sprintf("projects/p/subscriptions/sub%d", i), Topic: topic, Filter: expression, AckDeadlineSeconds: 600,
		}); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	for _, e := range events {
		attributes := map[string]string{}
		for _, a := range e.AppendAttributes(nil) {
			attributes[a.Name] = a.Value
		}
		if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: e.AppendJSON(nil), Attributes: attributes}).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, test := range tests {
		passed := map[string]bool{}
		response, err := client.SubscriptionAdminClient.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: fmt.Sprintf("projects/p/subscriptions/sub%d", i), MaxMessages: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range response.ReceivedMessages {
			passed[m.Message.Attributes["ce-id"]] = true
		}
		kept := 0
		for _, e := range events {
			switch keeps := test.filter.keeps(e); {
			case keeps && !passed[e.ID]:
				t.Errorf("%s keeps out %+v", test.want, e)
			case !keeps && passed[e.ID] && test.exact:
				t.Errorf("%s lets through %+v", test.want, e)
			case keeps:
				kept++
			}
		}
		if kept == 0 || test.exact && kept != len(passed) {
			t.Errorf("%s: %d of %d passed are kept", test.want, kept, len(passed))
		}
	}
}

func TestTailLines(t *testing.T) {
	now := time.Date(2026, 5, 4, 9, 40, 0, 0, time.UTC)
	full := func(change func(*event.Event)) *event.Event {
		e := sampleEvent("1", change)
		e.OccurredAt = time.Date(2026, 5, 4, 9, 32, 1, 371204000, time.UTC)
		return e
	}
	for _, test := range []struct {
		e     *event.Event
		width int
		color bool
		want  string
	}{
		{full(nil), 0, false, "09:32:01.371Z  click        human      acme/spring26/r83jf/a1  example.com/pricing"},
		{full(nil), 70, false, "09:32:01.371Z  click        human      acme/spring26/r83jf/a1  example.com/pri…"},
		{full(func(e *event.Event) { e.Automation = event.Suspect }), 0, true,
			"\x1b[2m09:32:01.371Z\x1b[0m  click        \x1b[33msuspect  \x1b[0m  acme/spring26/r83jf/a1  example.com/pricing"},
		{full(func(e *event.Event) {
			e.Type, e.Rule, e.Automation, e.Signals = event.Blocked, "host:example.com", event.Automated, event.SignalHead|event.SignalHoneypot
			e.Destination = "https://example.com/" + strings.Repeat("x", 100)
		}), 120, false, "09:32:01.371Z  blocked      automated  acme/spring26/r83jf/a1  example.com/xxxxxx…  head,honeypot  rule host:example.com"},
		{full(func(e *event.Event) {
			e.Type, e.Recipient, e.Link, e.Destination, e.Untracked, e.Automation = event.Open, "", "", "", true, ""
		}), 0, false, "09:32:01.371Z  open         -          acme/spring26/-/-  -  untracked"},
		{full(func(e *event.Event) { e.Type, e.Proxy, e.Signals = event.Open, "apple", event.SignalImageProxy }), 0, false,
			"09:32:01.371Z  open         human      acme/spring26/r83jf/a1  example.com/pricing  image_proxy  by apple's proxy"},
		{full(func(e *event.Event) { e.Recipient, e.Link, e.Untracked, e.RulesUnknown = "", "an_1", true, true }), 0, false,
			"09:32:01.371Z  click        human      acme/spring26/-/an_1  example.com/pricing  untracked  rules unknown"},
		{full(func(e *event.Event) { e.RedirectedTo, e.Rule = "https://b.example/", "url:example.com/pricing" }), 0, false,
			"09:32:01.371Z  click        human      acme/spring26/r83jf/a1  example.com/pricing  rule url:example.com/pricing  to https://b.example/"},
		{full(func(e *event.Event) { e.Type, e.About, e.Automation = event.Verdict, "0-1", event.Automated }), 0, false,
			"09:32:01.371Z  verdict      automated  acme/spring26/r83jf/a1  example.com/pricing  about 0-1"},
		{full(func(e *event.Event) {
			e.Type, e.Customer, e.Campaign, e.Destination, e.Rule = "x\x1b]0;t\a", "\x1b[2J", "a\nb", "https://example.com/\x9b\u202e", "\u009b31m"
		}), 0, false, `09:32:01.371Z  x\x1b]0;t\a  human      \x1b[2J/a\nb/r83jf/a1  example.com/%9B%E2%80%AE  rule \u009b31m`},
	} {
		v := &tailView{t: newTool(io.Discard), color: test.color}
		v.t.now = func() time.Time { return now }
		got := v.line(test.e, test.width)
		if got != test.want {
			t.Errorf("got\n%q, want\n%q", got, test.want)
		}
		if test.width > 80 && len([]rune(got)) != test.width {
			t.Errorf("%d characters for a width of %d", len([]rune(got)), test.width)
		}
	}
	v := &tailView{t: newTool(io.Discard)}
	v.t.now = func() time.Time { return now.Add(13 * time.Hour) }
	if got := v.line(full(nil), 0); !strings.HasPrefix(got, "2026-05-04T09:32:01Z  click ") {
		t.Errorf("the line of an old event is %s", got)
	}
}

func TestTailJSON(t *testing.T) {
	v := &tailView{}
	const pretty = "{\n \"a\": 1.50,\r\n \"b\": \"\u009b \U000E0001 \u202e é\"\n}"
	if got := string(v.jsonLine([]byte(pretty))); got != `{"a":1.50,"b":"\u009b \udb40\udc01 \u202e é"}` {
		t.Errorf("%q", got)
	}
}

func TestTailEnds(t *testing.T) {
	b := newBench(t)
	clicks := filepath.Join(t.TempDir(), "clicks.jsonl")
	b.set("CLICKS", "file:"+clicks)
	publish(t, "file:"+clicks, sampleEvent("old", nil))

	s := b.start("showing", "tail", "--count", "2", "--color", "always")
	publish(t, "file:"+clicks, sampleEvent("1", nil))
	f, err := os.OpenFile(clicks, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("no JSON\n[]\n")
	publish(t, "file:"+clicks, sampleEvent("2", nil), sampleEvent("3", nil))
	for range 2 {
		if line := s.line(); !strings.Contains(line, "\x1b[32mhuman") {
			t.Errorf("the line is %q", line)
		}
	}
	if code := s.end(); code != exitYes || strings.Count(s.stderr.String(), "linkctl: warning: passed over: this is not an event") != 2 {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}

	b.want(outcome{exitNo, "", "showing what happens on file:" + clicks + "; Ctrl-C ends\nlinkctl: 0 of 1 events came within 20ms\n"},
		"", "tail", "--count", "1", "--timeout", "20ms")
	b.want(outcome{exitYes, "", "showing what happens on file:" + clicks + "; Ctrl-C ends\n"}, "", "tail", "--timeout", "20ms")
}

func TestTailErrors(t *testing.T) {
	_, project, _ := newClicks(t)
	b := newBench(t)
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"tail", exitUsage, "where clicks go is not set: give --clicks or set CLICKS (linkctl tail --help explains)"},
		{"tail --clicks stdout", exitUsage, `unknown source of events: "stdout" is none of pubsub://PROJECT/TOPIC, `},
		{"tail --clicks pubsub://p/subscriptions/crm", exitUsage, `"pubsub://p/subscriptions/crm" is a subscription, whose readers would miss what is shown here: `},
		{"tail --clicks file:x --count 0", exitUsage, "--count 0: give 1 or more"},
		{"tail --clicks file:x --timeout 0s", exitUsage, "--timeout 0s: give a time such as 30s"},
		{"tail --clicks file:x --color red", exitUsage, `--color "red": give auto, always or never`},
		{"tail --clicks file:x --event tap", exitUsage, `--event "tap": give one of click, open, unsubscribe, blocked, verdict`},
		{"tail --clicks file:x --automation robot", exitUsage, `--automation "robot": give one of human, suspect, automated`},
		{"tail --clicks file:x --customer a,,b", exitUsage, "--customer is empty"},
		{"tail --clicks file:/none/x", exitNo, "open /none/x: no such file or directory"},
		{"tail --clicks pubsub://" + project + "/none", exitNo, "subscribe to the topic none of the project " + project + ": "},
	} {
		got := b.run("", strings.Fields(test.args)...)
		if got.code != test.code || got.stdout != "" || !strings.HasPrefix(got.stderr, "linkctl: "+test.want) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("linkctl %s: %d %s%s", test.args, got.code, got.stdout, got.stderr)
		}
	}
}

// A real process leaves no subscription when it is told to end, or when nobody
// reads it any more.
func TestTailSignals(t *testing.T) {
	t.Parallel()
	client, project, url := newClicks(t)
	b := newBench(t)
	b.set("CLICKS", url)
	b.set("PUBSUB_EMULATOR_HOST", os.Getenv("PUBSUB_EMULATOR_HOST"))
	// Where the tests run under nohup the processes would inherit that SIGHUP is
	// ignored; not so where this one handles it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for _, test := range []struct {
		name string
		end  func(t *testing.T, c *exec.Cmd, stdout io.Closer)
		code int
	}{
		{"SIGINT", func(t *testing.T, c *exec.Cmd, _ io.Closer) { c.Process.Signal(os.Interrupt) }, exitInterrupted},
		{"SIGTERM", func(t *testing.T, c *exec.Cmd, _ io.Closer) { c.Process.Signal(syscall.SIGTERM) }, exitInterrupted},
		{"SIGHUP", func(t *testing.T, c *exec.Cmd, _ io.Closer) { c.Process.Signal(syscall.SIGHUP) }, exitInterrupted},
		{"broken pipe", func(t *testing.T, _ *exec.Cmd, stdout io.Closer) {
			stdout.Close()
			publish(t, url, sampleEvent("2", nil))
		}, exitNo},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := exec.Command(os.Args[0], "tail")
			c.Env = b.processEnviron()
			stdout, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr lockedBuffer
			c.Stderr = &stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			watchdog := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
			defer watchdog.Stop()
			waitUntil(t, "start", func() bool { return strings.Contains(stderr.String(), "showing") })
			publish(t, url, sampleEvent("1", nil))
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
				t.Errorf("the line is %q, %v: %s", line, err, &stderr)
			}
			if names := subscriptionNames(t, client, project); len(names) != 1 {
				t.Errorf("subscriptions %v", names)
			}
			test.end(t, c, stdout)
			var exit *exec.ExitError
			if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != test.code {
				t.Errorf("it ended with %v: %s", err, &stderr)
			}
			if names := subscriptionNames(t, client, project); len(names) != 0 {
				t.Errorf("left: %v", names)
			}
			if test.code == exitNo && strings.Contains(stderr.String(), "linkctl:") {
				t.Errorf("complained: %s", &stderr)
			}
		})
	}
}

// On a terminal the lines are for people, coloured unless NO_COLOR says
// otherwise.
func TestTailTerminal(t *testing.T) {
	b := newBench(t)
	clicks := filepath.Join(t.TempDir(), "clicks.jsonl")
	writeFile(t, clicks, "")
	b.set("CLICKS", "file:"+clicks)
	for _, test := range []struct {
		set, value string
		args       []string
		want       string
	}{
		{"X", "", nil, `^\x1b\[2m\d\d:\d\d:\d\d\.\d{3}Z\x1b\[0m  click        \x1b\[32mhuman    \x1b\[0m  acme/spring26/r83jf/a1  example\.com/pri…\r?\n$`},
		{"NO_COLOR", "1", nil, `^\d\d:\d\d:\d\d\.\d{3}Z  click        human      acme/spring26/r83jf/a1  example\.com/pri…\r?\n$`},
		{"X", "", []string{"--json"}, `^\{"event_id":"1".*\}\r?\n$`},
	} {
		master, slave := openTerminal(t, 70)
		environ := append(b.environ, test.set+"="+test.value)
		var stderr lockedBuffer
		code := make(chan int, 1)
		go func() {
			code <- run(t.Context(), append([]string{"tail", "--count", "1"}, test.args...), strings.NewReader(""), slave, &stderr, environ)
		}()
		waitUntil(t, "start", func() bool { return strings.Contains(stderr.String(), "showing") })
		publish(t, "file:"+clicks, sampleEvent("1", nil))
		line, err := bufio.NewReader(master).ReadString('\n')
		if err != nil || !regexp.MustCompile(test.want).MatchString(line) {
			t.Errorf("%s=%s %v: %q, %v", test.set, test.value, test.args, line, err)
		}
		if code := <-code; code != exitYes {
			t.Errorf("exit code %d: %s", code, &stderr)
		}
	}
}

func TestLabelValue(t *testing.T) {
	for s, want := range map[string]string{
		"Abuse@Host.Example_1":  "abuse-host-example_1",
		"Müller":                "m--ller",
		strings.Repeat("x", 70): strings.Repeat("x", 63),
		"":                      "",
	} {
		if got := labelValue(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// keepClicking appends events of every sort to a file until the test ends.
func keepClicking(t *testing.T, path string) {
	writeFile(t, path, "")
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			publish(t, "file:"+path,
				sampleEvent(fmt.Sprint("click-", n), nil),
				sampleEvent(fmt.Sprint("blocked-", n), func(e *event.Event) { e.Type, e.Rule = event.Blocked, "host:example.com" }))
		}
	}()
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

func getenv(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

// What cannot be understood, or opened, is one line and exit code 2.
func TestUsage(t *testing.T) {
	least := map[string]string{"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "none"}
	for change, want := range map[string]string{
		"SUBSCRIPTION=":   "SUBSCRIPTION is not set: ",
		"LINK_NETWORKS=1": "LINK_NETWORKS is 1, ",
		"CLICKS=nowhere":  `CLICKS cannot be used: "nowhere" is none of pubsub://PROJECT/TOPIC, file:PATH, stdout, none`,
	} {
		name, value, _ := strings.Cut(change, "=")
		variables := map[string]string{name: value}
		for n, v := range least {
			if n != name {
				variables[n] = v
			}
		}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), nil, getenv(variables), &stdout, &stderr); code != 2 || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "linkwatch: "+want) {
			t.Errorf("%s: exit code %d, %s%s", change, code, stdout.String(), stderr.String())
		}
	}
}

// Help and version are answers; any other argument is refused by name.
func TestArguments(t *testing.T) {
	for _, test := range []struct {
		arg          string
		code         int
		stdout, said string
	}{
		{"--help", 0, "Linkwatch watches", ""},
		{"help", 0, "Linkwatch watches", ""},
		{"--version", 0, "linkwatch ", ""},
		{"--block", 2, "", `linkwatch: "--block": it takes no arguments; linkwatch --help`},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{test.arg}, getenv(nil), &stdout, &stderr)
		if code != test.code || !strings.HasPrefix(stdout.String(), test.stdout) || !strings.HasPrefix(stderr.String(), test.said) || stdout.Len() > 0 == (stderr.Len() > 0) {
			t.Errorf("%s: exit code %d, %s%s", test.arg, code, &stdout, &stderr)
		}
	}
}

// lockedBuffer is a log that is read while it is written.
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

// The whole worker: events from a subscription, an alert, verdicts on
// the topic, all acknowledged, and a graceful end.
func TestWorker(t *testing.T) {
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
	for _, name := range []string{"watch", "all"} {
		if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
			Name: "projects/" + project + "/subscriptions/" + name, Topic: topic, AckDeadlineSeconds: 10,
		}); err != nil {
			t.Fatal(err)
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	var stdout, stderr lockedBuffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, nil, getenv(map[string]string{
			"SUBSCRIPTION": "pubsub://" + project + "/subscriptions/watch", "CLICKS": "pubsub://" + project + "/clicks",
			"LEARNING": "0s",
		}), &stdout, &stderr)
	}()

	var events []*event.Event
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range 12 {
		events = append(events, &event.Event{
			ID: fmt.Sprint("kit", i), Type: event.Click, OccurredAt: now, Customer: fmt.Sprint("c", i), Recipient: "r", Link: fmt.Sprint("k", i),
			Destination: "https://evil.example/kit", Automation: event.Human,
		})
	}
	for i := range 3 {
		events = append(events, &event.Event{
			ID: fmt.Sprint("burst", i), Type: event.Click, OccurredAt: now, Customer: "acme", Campaign: "spring26", Recipient: "r", Link: fmt.Sprint("b", i),
			Destination: "https://example.com/", Automation: event.Human,
		})
	}
	sink, err := endpoint.OpenSink(t.Context(), "pubsub://"+project+"/clicks", endpoint.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close(context.Background())
	for _, e := range events {
		if err := sink.Publish(t.Context(), []event.Message{e.Message()}); err != nil {
			t.Fatal(err)
		}
	}

	// What everybody else gets: the events, and the verdicts with their attributes.
	verdicts := map[string]bool{}
	receive, enough := context.WithTimeout(t.Context(), 2*time.Minute)
	defer enough()
	err = endpoint.Receive(receive, "pubsub://"+project+"/subscriptions/all", event.ReceiveOptions{}, func(m *event.Received) {
		m.Ack()
		e, err := m.Event()
		if err != nil {
			t.Error(err)
			return
		}
		if e.Type == event.Verdict {
			verdicts[e.About] = true
			if e.Signals != event.SignalBurst || m.Attributes["event_type"] != "verdict" || m.Attributes["customer"] != "acme" {
				t.Errorf("%s %v", m.Data, m.Attributes)
			}
			if len(verdicts) == 3 {
				enough()
			}
		}
	})
	if err != nil || len(verdicts) != 3 {
		t.Fatalf("verdicts about %v, %v; log:\n%s%s", verdicts, err, &stdout, &stderr)
	}

	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(stdout.String(), `"abuse alert"`) && time.Now().Before(deadline); {
		<-tick.C
	}
	stop()
	if c := <-code; c != 0 || stderr.String() != "" {
		t.Errorf("exit code %d, %s", c, &stderr)
	}

	messages := map[string]map[string]any{}
	for line := range strings.Lines(stdout.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		messages[fields["message"].(string)] = fields
	}
	alert := messages["abuse alert"]
	if alert["severity"] != "ERROR" || alert["kind"] != "spreading_host" || alert["rule"] != "host:evil.example" {
		t.Errorf("%v", alert)
	}
	stats := messages["watch stats"]
	// Its own verdicts come back to it where the subscription has no filter.
	if n := stats["events"].(float64); n < 15 || stats["alerts"] != 1.0 || stats["verdicts"] != 3.0 || stats["published"] != 3.0 {
		t.Errorf("%v", stats)
	}
	if messages["watching"] == nil || messages["stopped"] == nil {
		t.Errorf("%s", &stdout)
	}
	// Acknowledged: the subscription has nothing more.
	again, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	endpoint.Receive(again, "pubsub://"+project+"/subscriptions/watch", event.ReceiveOptions{}, func(m *event.Received) {
		m.Ack()
		if e, err := m.Event(); err == nil && e.Type != event.Verdict {
			t.Errorf("%s came again", e.ID)
		}
	})
}

// A Pub/Sub that refuses is told while it lasts, and at the end.
func TestUnreachable(t *testing.T) {
	t.Setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr lockedBuffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, nil, getenv(map[string]string{"SUBSCRIPTION": "pubsub://p/subscriptions/watch", "CLICKS": "none"}), &stdout, &stderr)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(stdout.String(), `"message":"nothing can be received"`) && time.Now().Before(deadline); {
		<-tick.C
	}
	stop()
	if c := <-code; c != 1 || !strings.Contains(stderr.String(), "connection refused") || strings.Contains(stdout.String(), `"watching"`) || !strings.Contains(stdout.String(), `"receiving":false`) {
		t.Errorf("exit code %d, %s%s", c, &stderr, &stdout)
	}
}

// A subscription that is not there is an error, and no endless wait.
func TestNoSubscription(t *testing.T) {
	emulatortest.PubSub(t)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), nil, getenv(map[string]string{
		"SUBSCRIPTION": "pubsub://" + emulatortest.Project(t) + "/subscriptions/none", "CLICKS": "none",
	}), &stdout, &stderr)
	if code != 1 || !strings.HasPrefix(stderr.String(), "linkwatch: SUBSCRIPTION: ") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
}

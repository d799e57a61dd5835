package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/watch"
)

func getenv(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestConfig(t *testing.T) {
	least := map[string]string{"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "none"}
	c, err := parseConfig(getenv(least))
	if err != nil {
		t.Fatal(err)
	}
	if c.block != blockOff || c.blockFor != 24*time.Hour || !reflect.DeepEqual(c.watch, watch.Config{KnownHosts: []string{}}) {
		t.Errorf("%+v", c)
	}
	for _, test := range []struct{ variables, want string }{
		{"SUBSCRIPTION=", "SUBSCRIPTION: is not set: give it pubsub://PROJECT/subscriptions/NAME"},
		{"SUBSCRIPTION=pubsub://p/t", `SUBSCRIPTION: "pubsub://p/t" is not of the form pubsub://PROJECT/subscriptions/NAME`},
		{"CLICKS=", "CLICKS: is not set: give it pubsub://PROJECT/TOPIC for verdicts, or none"},
		{"BLOCK=yes", `BLOCK: "yes" is none of off, on, all`},
		{"BLOCK=on", "BLOCKLIST: is not set, and BLOCK=on needs it: give it firestore://PROJECT/DATABASE/COLLECTION or file:PATH"},
		{"BLOCK_FOR=1s", `BLOCK_FOR: "1s" is no duration such as 15m or 72h`},
		{"WINDOW=15", `WINDOW: "15" is no duration such as 15m or 72h`},
		{"WINDOW=0s", `WINDOW: "0s" is no duration such as 15m or 72h`},
		{"WINDOW=1s", "WINDOW: is 1s, and has to be from 1m0s to 24h0m0s"},
		{"LINK_NETWORKS=many", `LINK_NETWORKS: "many" is no whole number from 1`},
		{"LINK_NETWORKS=1", "LINK_NETWORKS: is 1, and has to be from 2 to 250"},
		{"BLOCKED_SHARE=0", `BLOCKED_SHARE: "0" is no number above 0, such as 0.2`},
		{"BLOCKED_SHARE=20%", `BLOCKED_SHARE: "20%" is no number above 0, such as 0.2`},
		{"KNOWN_HOSTS=https://a.example", `KNOWN_HOSTS: holds "https://a.example": `},
		{"LOG_LEVEL=loud", `LOG_LEVEL: "loud" is none of info, debug, warn, error`},
	} {
		variables := map[string]string{}
		for name, value := range least {
			variables[name] = value
		}
		name, value, _ := strings.Cut(test.variables, "=")
		variables[name] = value
		if _, err := parseConfig(getenv(variables)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.variables, err, test.want)
		}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), nil, getenv(variables), &stdout, &stderr); code != 2 || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "linkwatch: "+test.want) {
			t.Errorf("%s: exit code %d, %s%s", test.variables, code, stdout.String(), stderr.String())
		}
	}

	// Every threshold has its variable.
	variables := map[string]string{
		"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "pubsub://p/t", "BLOCK": "all", "BLOCKLIST": "firestore://p/(default)/blocklist", "BLOCK_FOR": "2h",
		"PROTECT": "host:a.example, customer:b", "WINDOW": "2m", "LINK_NETWORKS": "3", "LINK_ADDRESSES": "4", "RECIPIENT_NETWORKS": "5", "SHARE_WINDOW": "6m",
		"BLOCKED_SHARE": "0.7", "BLOCKED_RECIPIENTS": "8", "BLOCKED_RISE": "9", "HOST_WINDOW": "10m", "HOST_CUSTOMERS": "11", "HOST_KNOWN_AFTER": "12h",
		"LEARNING": "0s", "KNOWN_HOSTS": "a.example\nb.example", "REPEAT": "13m",
	}
	c, err = parseConfig(getenv(variables))
	if err != nil {
		t.Fatal(err)
	}
	fields := reflect.ValueOf(c.watch)
	for i := range fields.NumField() {
		if name := fields.Type().Field(i).Name; fields.Field(i).IsZero() || thresholds[name] == "" {
			t.Errorf("%s was not set", name)
		}
	}
	if c.watch.Learning != -1 || len(c.protect) != 2 || len(c.watch.KnownHosts) != 2 {
		t.Errorf("%+v", c)
	}
}

// CONFIG.md has every variable, and its defaults are the code's.
func TestDocumentation(t *testing.T) {
	content, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(content), -1) {
		documented[m[1]] = strings.Trim(strings.TrimSpace(m[2]), "`")
	}
	asked := map[string]bool{}
	parseConfig(func(name string) string {
		asked[name] = true
		return map[string]string{"SUBSCRIPTION": "pubsub://p/subscriptions/s", "CLICKS": "none"}[name]
	})
	for name := range asked {
		if _, ok := documented[name]; !ok {
			t.Errorf("%s is not documented", name)
		}
	}
	for name := range documented {
		if !asked[name] {
			t.Errorf("%s is documented and unknown", name)
		}
	}
	defaults := reflect.ValueOf(watch.DefaultConfig())
	for field, variable := range thresholds {
		if field == "KnownHosts" {
			continue
		}
		value := defaults.FieldByName(field)
		same := fmt.Sprint(value.Interface()) == documented[variable]
		if d, ok := value.Interface().(time.Duration); ok {
			said, err := time.ParseDuration(documented[variable])
			same = err == nil && said == d
		}
		if !same {
			t.Errorf("%s: %v by default, documented as %s", variable, value, documented[variable])
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

// The whole worker: events from a subscription, an alert with its rule, verdicts on
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

	rules := filepath.Join(t.TempDir(), "rules.jsonl")
	ctx, stop := context.WithCancel(t.Context())
	var stdout, stderr lockedBuffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, nil, getenv(map[string]string{
			"SUBSCRIPTION": "pubsub://" + project + "/subscriptions/watch", "CLICKS": "pubsub://" + project + "/clicks",
			"BLOCK": "on", "BLOCKLIST": "file:" + rules, "BLOCK_FOR": "2h", "LEARNING": "0s",
		}), &stdout, &stderr)
	}()

	var events []*event.Event
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range 5 {
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
	sink, err := event.OpenSink(t.Context(), "pubsub://"+project+"/clicks", event.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close(context.Background())
	if err := sink.Publish(t.Context(), events...); err != nil {
		t.Fatal(err)
	}

	// What everybody else gets: the events, and the verdicts with their attributes.
	verdicts := map[string]bool{}
	receive, enough := context.WithTimeout(t.Context(), 30*time.Second)
	defer enough()
	err = event.Receive(receive, "pubsub://"+project+"/subscriptions/all", event.ReceiveOptions{}, func(m *event.Message) {
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
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(stdout.String(), `"abuse alert"`) && time.Now().Before(deadline); {
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
	if alert["severity"] != "ERROR" || alert["kind"] != "spreading_host" || alert["rule"] != "host:evil.example" || alert["blocked_until"] == nil {
		t.Errorf("%v", alert)
	}
	stats := messages["watch stats"]
	// Its own verdicts come back to it where the subscription has no filter.
	if n := stats["events"].(float64); n < 8 || stats["alerts"] != 1.0 || stats["verdicts"] != 3.0 || stats["published"] != 3.0 {
		t.Errorf("%v", stats)
	}
	if messages["watching"] == nil || messages["stopped"] == nil {
		t.Errorf("%s", &stdout)
	}
	content, err := os.ReadFile(rules)
	if err != nil || !strings.Contains(string(content), `"kind":"host","value":"evil.example","action":"block","reason":"spreading_host: links of 5 customers`) || !strings.Contains(string(content), `"created_by":"linkwatch"`) {
		t.Errorf("%s, %v", content, err)
	}

	// Acknowledged: the subscription has nothing more.
	again, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	event.Receive(again, "pubsub://"+project+"/subscriptions/watch", event.ReceiveOptions{}, func(m *event.Message) {
		m.Ack()
		if e, err := m.Event(); err == nil && e.Type != event.Verdict {
			t.Errorf("%s came again", e.ID)
		}
	})
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
	if code := run(t.Context(), []string{"--help"}, os.Getenv, &stdout, &stderr); code != 2 {
		t.Errorf("exit code %d", code)
	}
}

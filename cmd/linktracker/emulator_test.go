package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
)

// subscription collects what arrives on a topic's subscription, by event id.
type subscription struct {
	mu       sync.Mutex
	events   map[string]map[string]any
	messages map[string]*pubsub.Message
}

func newTopic(t testing.TB) (url string, received *subscription) {
	t.Helper()
	emulatortest.PubSub(t)
	project := emulatortest.Project(t)
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	topic := "projects/" + project + "/topics/clicks"
	name := "projects/" + project + "/subscriptions/crm"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: name, Topic: topic}); err != nil {
		t.Fatal(err)
	}
	received = &subscription{events: map[string]map[string]any{}, messages: map[string]*pubsub.Message{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Subscriber(name).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			var event map[string]any
			if err := json.Unmarshal(m.Data, &event); err != nil {
				t.Errorf("a message that is not JSON: %q", m.Data)
			}
			received.mu.Lock()
			id, _ := event["event_id"].(string)
			received.events[id] = event
			received.messages[id] = m
			received.mu.Unlock()
			m.Ack()
		})
	}()
	t.Cleanup(func() { cancel(); <-done; client.Close() })
	return "pubsub://" + project + "/clicks", received
}

func (s *subscription) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

// From a link to an event on a subscription, with every field; then a rule
// blocks it.
func TestEndToEnd(t *testing.T) {
	t.Parallel()
	topic, received := newTopic(t)
	emulatortest.Firestore(t)
	rulesURL := "firestore://" + emulatortest.Project(t) + "/(default)/blocklist"
	keys, ring := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS="+topic, "BLOCKLIST="+rulesURL, "TRUSTED_PROXIES=1", "COUNTRY_HEADER=X-Country")
	// An event says where the rules were unknown.
	waitFor(t, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })
	sent := time.Now().Add(-time.Hour).Truncate(time.Second)
	signer, err := ring.Signer("http://127.0.0.1", "")
	if err != nil {
		t.Fatal(err)
	}
	const destination = "https://shop.example.com/cart?id=42&lang=en"
	tracked, err := signer.Seal(linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1", Link: "x1", Sent: sent}, destination,
		linkcore.Options{Label: "sale", Metadata: `{"deal":7}`, ExactLink: true})
	if err != nil {
		t.Fatal(err)
	}
	target := strings.TrimPrefix(tracked.URL, "http://127.0.0.1")
	request, err := http.NewRequest("GET", "http://"+s.address+target+"?utm_source=gateway", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"User-Agent": "Mozilla/5.0 test", "Referer": "https://mail.example.com/", "Accept": "text/html", "Accept-Language": "de", "DNT": "1",
		"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "X-Country": "DE",
	} {
		request.Header.Set(name, value)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusFound || response.Header.Get("Location") != destination {
		t.Fatalf("%s to %s", response.Status, response.Header.Get("Location"))
	}
	waitFor(t, "the event", func() bool { return received.len() == 1 })
	received.mu.Lock()
	defer received.mu.Unlock()
	for id, event := range received.events {
		want := map[string]any{
			"event_id": id, "event_type": "click", "key_id": "1", "host": "127.0.0.1",
			"customer": "acme", "campaign": "spring26", "recipient": "r1", "link": "x1",
			"sent_at": sent.UTC().Format(time.RFC3339), "sealed": true, "metadata": `{"deal":7}`, "destination": destination,
			"label": "sale", "query": "utm_source=gateway", "method": "GET", "user_agent": "Mozilla/5.0 test",
			"referer": "https://mail.example.com/", "accept_language": "de", "country": "DE", "privacy_signal": "dnt", "ip": "203.0.113.9",
			"automation":  "human",
			"occurred_at": event["occurred_at"], "seconds_since_sent": event["seconds_since_sent"],
		}
		if got, want := fmt.Sprint(event), fmt.Sprint(want); got != want {
			t.Errorf("the event is\n%s, want\n%s", got, want)
		}
		occurred, err := time.Parse("2006-01-02T15:04:05.000000Z", fmt.Sprint(event["occurred_at"]))
		if err != nil || occurred.Before(sent) || occurred.After(time.Now()) {
			t.Errorf("occurred_at %v: %v", event["occurred_at"], err)
		}
		if seconds, _ := event["seconds_since_sent"].(float64); seconds != occurred.Sub(sent).Seconds() {
			t.Errorf("seconds_since_sent %v, want %v", seconds, occurred.Sub(sent).Seconds())
		}
		attributes := fmt.Sprint(received.messages[id].Attributes)
		wantAttributes := fmt.Sprint(map[string]string{
			"ce-specversion": "1.0", "ce-dataschema": "https://example.com/linktracker/event.v1.schema.json", "ce-id": id, "ce-type": "linktracker.click.v1", "ce-source": "//127.0.0.1", "ce-time": fmt.Sprint(event["occurred_at"]),
			"content-type": "application/json", "event_type": "click", "customer": "acme", "campaign": "spring26",
			"automation": "human",
		})
		if attributes != wantAttributes {
			t.Errorf("the attributes are %s, want %s", attributes, wantAttributes)
		}
	}
}

// A rule that is written to Firestore is followed, and so is its lifting. After
// how many refreshes is TestEightInstances.
func TestBlockAndUnblock(t *testing.T) {
	t.Parallel()
	emulatortest.Firestore(t)
	rulesURL := "firestore://" + emulatortest.Project(t) + "/(default)/blocklist"
	keys, ring := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST="+rulesURL, "BLOCKLIST_REFRESH=500ms")
	target := link(t, ring, linkcore.Fields{}, "https://shop.example.com/", linkcore.Options{})
	if status, _ := s.get(t, target); status != http.StatusFound {
		t.Errorf("status %d before there is a rule", status)
	}
	store, err := endpoint.OpenStore(rulesURL)
	if err != nil {
		t.Fatal(err)
	}
	rule, err := blocklist.ParseRule("host:example.com")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "410", func() bool { status, _ := s.get(t, target); return status == http.StatusGone })
	if missing, err := store.Lift(t.Context(), rule); err != nil || len(missing) != 0 {
		t.Fatalf("there was no %v to lift, %v", missing, err)
	}
	waitFor(t, "302 again", func() bool { status, _ := s.get(t, target); return status == http.StatusFound })
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if s.stat("redirects") < 2 || s.stat("blocked") < 1 || s.stat("delivered") < 3 || s.stat("spilled") != 0 {
		t.Errorf("stats %v", s.log("stats"))
	}
}

// Under load, SIGTERM cuts no answer and loses no answered click: each is on the
// subscription or in the log.
func TestTerminateUnderLoad(t *testing.T) {
	for _, test := range []struct {
		mode  string
		delay time.Duration // of each piece on the way to Pub/Sub and back
	}{{"hold", 0}, {"background", 0}, {"background", 50 * time.Millisecond}} {
		t.Run(fmt.Sprint(test.mode, test.delay), func(t *testing.T) {
			l, topic := newLedgerTopic(t)
			keys, ring := keyFolder(t)
			f := newFront(t, emulatortest.PubSub(t))
			f.slow(test.delay) // so that events are under way when it is to stop
			s := start(t, nil, "LINK_KEYS="+keys, "CLICKS="+topic, "BLOCKLIST=none", "DELIVERY="+test.mode, "PUBSUB_EMULATOR_HOST="+f.Addr().String())
			l.loadThenStop(t, s, link(t, ring, linkcore.Fields{Customer: "acme"}, "https://example.com/", linkcore.Options{}))
			if a := l.wantAll(t, 100, s); a.published == 0 {
				t.Error("nothing was published")
			}
		})
	}
}

// With Pub/Sub hanging, redirects leave at once, and after SIGTERM every click
// is in the log.
func TestPubSubHangs(t *testing.T) {
	t.Parallel()
	keys, ring := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=pubsub://p/t", "BLOCKLIST=none", "DELIVERY_TIMEOUT=1s", "PUBSUB_EMULATOR_HOST="+hanging(t))
	l := newLedger()
	l.loadThenStop(t, s, link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{}))
	l.wantAll(t, 100, s)
	if n := len(s.log("events are not delivered but spilled, which is logged once")); n > 1 {
		t.Errorf("it was logged %d times that events are not delivered", n)
	}
}

// A clicks file that takes nothing, as on a full disk, spills every event.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	keys, ring := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:/dev/full", "BLOCKLIST=none")
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for range 10 {
		if status, _ := s.get(t, target); status != http.StatusFound {
			t.Errorf("status %d", status)
		}
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := len(s.spilledIDs(t)); n != 10 {
		t.Errorf("%d events were spilled", n)
	}
}

// Rules in a file are followed as it changes, and a blocklist that can't be
// read lets links through, or not, as configured.
func TestRulesFile(t *testing.T) {
	keys, ring := keyFolder(t)
	rules := filepath.Join(t.TempDir(), "rules.jsonl")
	if err := os.WriteFile(rules, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST=file:"+rules, "BLOCKLIST_REFRESH=100ms")
	target := link(t, ring, linkcore.Fields{Customer: "acme"}, "https://example.com/", linkcore.Options{})
	if status, _ := s.get(t, target); status != http.StatusFound {
		t.Errorf("status %d", status)
	}
	if err := os.WriteFile(rules, []byte(`{"kind":"customer","value":"acme"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "410", func() bool { status, _ := s.get(t, target); return status == http.StatusGone })
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestBlocklistUnavailable(t *testing.T) {
	t.Parallel()
	keys, ring := keyFolder(t)
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for policy, want := range map[string]int{"untracked": http.StatusFound, "allow": http.StatusFound, "deny": http.StatusServiceUnavailable} {
		s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST=firestore://p/(default)/blocklist", "BLOCKLIST_UNAVAILABLE="+policy,
			"FIRESTORE_EMULATOR_HOST="+hanging(t), "BLOCKLIST_WAIT=100ms", "BLOCKLIST_START_WAIT=200ms", "DELIVERY_TIMEOUT=500ms")
		if status, _ := s.headers(t, target); status != want {
			t.Errorf("%s: status %d", policy, status)
		}
		waitFor(t, "readiness", func() bool { status, _ := s.get(t, "/-/ready"); return status == http.StatusOK })
		if code, _ := s.stop(t); code != 0 {
			t.Errorf("%s: exit code %d", policy, code)
		}
	}
}

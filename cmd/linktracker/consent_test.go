package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"example.com/linktracker/cmd/internal/pushtest"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/email"
	"example.com/linktracker/linkcore/testsize"
)

// linkconsent runs the consumer of objections as a process that a push subscription
// of the topic sends to. What it answers is sent to answers.
func linkconsent(t *testing.T, topic, rules string) (answers chan int) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "linkconsent")
	if output, err := exec.Command("go", "build", "-o", program, "../linkconsent").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	google := pushtest.New(t)
	s := startCommand(t, func(s *server) { s.Path, s.Args = program, []string{program} },
		append(google.Environment(t), "BLOCKLIST="+rules, "PUSH_AUDIENCE="+pushtest.Audience, "PUSH_SERVICE_ACCOUNT="+pushtest.Account)...)
	answers = make(chan int, 100)
	front := google.Front(t, s.address, answers)
	project, name, _ := strings.Cut(strings.TrimPrefix(topic, "pubsub://"), "/")
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/" + project + "/subscriptions/consent", Topic: "projects/" + project + "/topics/" + name,
		PushConfig: &pubsubpb.PushConfig{PushEndpoint: front.URL},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if code, _ := s.stop(t); code != 0 {
			t.Errorf("linkconsent: exit code %d\n%s", code, s.stderr.String())
		}
	})
	return answers
}

// A letter holds the targets in a mail that was sent; "" is what the mail does not have.
type letter struct{ click, pixel, privacy, unsubscribe string }

var addresses = regexp.MustCompile(`(?:href|src)="([^"]*)"`)

// write writes a mail of a mailing to a person.
func write(t *testing.T, ring *linkcore.KeyRing, mailing, person string, tracking email.Tracking) (l letter) {
	t.Helper()
	signer, err := ring.Signer("http://127.0.0.1", "")
	if err != nil {
		t.Fatal(err)
	}
	w, err := email.New(email.Options{Signer: signer, Keys: ring, Pixel: email.PixelEnd, PrivacyLink: true})
	if err != nil {
		t.Fatal(err)
	}
	if w, err = w.For(tracking, tracking); err != nil {
		t.Fatal(err)
	}
	fields := linkcore.Fields{Customer: "acme", Campaign: mailing, Recipient: person}
	result, err := w.HTML(fields, []byte(`<body><a href="https://shop.example/">offers</a> <a href="" data-privacy-link>privacy</a></body>`))
	if err != nil {
		t.Fatal(err)
	}
	l.unsubscribe = link(t, ring, fields, "", linkcore.Options{Kind: linkcore.Unsubscribe})
	for _, m := range addresses.FindAllSubmatch(result.Output, -1) {
		_, target, _ := linkcore.SplitURL(string(m[1]))
		verified, err := ring.Verify("127.0.0.1", target)
		switch {
		case err != nil: // the destination itself
		case verified.Kind == linkcore.Click:
			l.click = target
		case verified.Kind == linkcore.Open:
			l.pixel = target
		default:
			l.privacy = target
		}
	}
	return l
}

// The story of consent, with eight endpoints, the consumer of objections, Pub/Sub and
// Firestore. A mail goes to three people, who are tracked in full, anonymously and not
// at all; they open it and click. One objects from a second mail. From then on nothing
// of that person is recorded by any endpoint, of the first mail neither, and the person
// can still unsubscribe. Then the person takes it back.
func TestConsent(t *testing.T) {
	testsize.Large(t)
	topic, received := newTopic(t)
	rules := newRuleCollection(t, 100)
	answers := linkconsent(t, topic, rules.url)
	// With BLOCKLIST_REFRESH=15s, the default, it shows how long people wait.
	f := newFleet(t, rules, "CLICKS="+topic, "BLOCKLIST_REFRESH="+cmp.Or(os.Getenv("BLOCKLIST_REFRESH"), "3s"))
	for range fleetSize {
		f.running = append(f.running, f.launch(t))
	}
	for _, i := range f.running {
		f.admit(t, i)
	}
	ring, err := linkcore.OpenKeyRing(f.running[0].keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	policy := map[string]email.Tracking{"full": email.Full, "anonymous": email.Anonymous, "off": email.Off}
	first, second := map[string]letter{}, map[string]letter{}
	for person, tracking := range policy {
		first[person], second[person] = write(t, ring, "first", person, tracking), write(t, ring, "second", person, tracking)
	}
	if l := first["off"]; l.click != "" || l.pixel != "" || l.privacy == "" {
		t.Fatalf("who does not agree gets %+v", l)
	}

	// recorded returns what is recorded of something that happens.
	recorded := func(events int, happens func()) (all []map[string]any) {
		t.Helper()
		received.mu.Lock()
		clear(received.events)
		received.mu.Unlock()
		happens()
		waitFor(t, "events", func() bool { return received.len() >= events })
		received.mu.Lock()
		defer received.mu.Unlock()
		for _, e := range received.events {
			all = append(all, e)
		}
		if len(all) != events {
			t.Errorf("%d events, want %d", len(all), events)
		}
		return all
	}
	// read opens a mail and clicks in it, at each endpoint, and returns whom the
	// events name, and how many they are.
	read := func(l letter) (names []string, n int) {
		t.Helper()
		all := recorded(2*fleetSize, func() {
			for _, i := range f.running {
				for _, target := range []string{l.pixel, l.click} {
					if status, _ := i.get(t, target); status != http.StatusOK && status != http.StatusFound {
						t.Errorf("status %d", status)
					}
				}
			}
		})
		for _, e := range all {
			name, _ := e["recipient"].(string)
			names = append(names, name)
			if untracked := e["untracked"] == true; untracked != (name == "") || untracked && (e["ip"] != nil || e["user_agent"] != nil) {
				t.Errorf("the event is %v", e)
			}
		}
		slices.Sort(names)
		return slices.Compact(names), len(all)
	}
	for person, want := range map[string]string{"full": "full", "anonymous": ""} {
		if names, _ := read(first[person]); !slices.Equal(names, []string{want}) {
			t.Errorf("%s: before any objection the events name %q", person, names)
		}
	}

	// wish presses a button of the privacy page at the first endpoint, and returns when
	// the rule is written.
	wish := func(button, event string) func() time.Time {
		return func() time.Time {
			begin := time.Now()
			all := recorded(1, func() {
				if status := f.running[0].post(t, second["full"].privacy, "Tracking="+button); status != http.StatusOK {
					t.Errorf("%s: status %d", button, status)
				}
			})
			if all[0]["event_type"] != event || all[0]["recipient"] != "full" || all[0]["campaign"] != "second" {
				t.Errorf("%s: the event is %v", button, all[0])
			}
			if status := <-answers; status != http.StatusNoContent {
				t.Errorf("%s: linkconsent answers %d", button, status)
			}
			t.Logf("%s: the rule was written %v after the POST", button, time.Since(begin).Round(time.Millisecond))
			return begin
		}
	}
	// shows asks an endpoint's page for the button that it has.
	shows := func(button string) func(*instance) (bool, error) {
		return func(i *instance) (bool, error) {
			response, err := httpClient.Get("http://" + i.address + second["full"].privacy)
			if err != nil {
				return false, err
			}
			defer response.Body.Close()
			page, err := io.ReadAll(response.Body)
			return bytes.Contains(page, fmt.Appendf(nil, `value="%s"`, button)), err
		}
	}

	for range 2 {
		took := f.followed(t, 1, wish("Stop", "objection"), shows("Allow"))
		t.Logf("each instance followed the objection after %v", took)
		if names, n := read(first["full"]); !slices.Equal(names, []string{""}) || n == 0 {
			t.Errorf("after the objection %d events of the first mail name %q", n, names)
		}
		if names, _ := read(first["anonymous"]); !slices.Equal(names, []string{""}) {
			t.Errorf("of another person they name %q", names)
		}
		unsubscribed := recorded(1, func() {
			if status := f.running[1].post(t, first["full"].unsubscribe, "List-Unsubscribe=One-Click"); status != http.StatusOK {
				t.Errorf("unsubscribing: status %d", status)
			}
		})
		if e := unsubscribed[0]; e["event_type"] != "unsubscribe" || e["recipient"] != "full" {
			t.Errorf("the unsubscribe is %v", e)
		}
		took = f.followed(t, 1, wish("Allow", "objection_withdrawn"), shows("Stop"))
		t.Logf("each instance followed the withdrawal after %v", took)
		if names, _ := read(first["full"]); !slices.Equal(names, []string{"full"}) {
			t.Errorf("after the withdrawal the events name %q", names)
		}
	}
	for _, i := range f.running {
		f.stop(t, i)
	}
}

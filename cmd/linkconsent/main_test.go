package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/idtoken"

	"example.com/linktracker/cmd/internal/pushtest"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/firestore"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

func validator(t testing.TB, g pushtest.Google) func(context.Context, string, string) (*idtoken.Payload, error) {
	t.Helper()
	v, err := idtoken.NewValidator(t.Context(), idtoken.WithHTTPClient(&http.Client{Transport: g}))
	if err != nil {
		t.Fatal(err)
	}
	return v.Validate
}

// written are the rules that were written last, by the documents' ids.
type written struct {
	mu    sync.Mutex
	rules map[string]blocklist.Rule
	err   error
}

func (w *written) PutNewer(_ context.Context, id string, r blocklist.Rule) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.rules[id] = r
	}
	return w.err
}

// pushOf is the body of a push.
func pushOf(t testing.TB, data []byte, published time.Time) io.Reader {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"subscription": "projects/p/subscriptions/s",
		"message":      map[string]any{"data": data, "messageId": "1", "message_id": "1", "publishTime": published, "attributes": map[string]string{"event_type": "x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(body)
}

func objection(typ event.Type, at time.Time) *event.Event {
	return &event.Event{ID: "e1", Type: typ, OccurredAt: at, Customer: "acme", Campaign: "spring26", Recipient: "r1", Link: "l1"}
}

// Each event has its answer and its rule, and no log above debug has the recipient.
func TestFollow(t *testing.T) {
	g := pushtest.New(t)
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	with := func(typ event.Type, change func(*event.Event)) []byte {
		e := objection(typ, noon)
		if change != nil {
			change(e)
		}
		return e.AppendJSON(nil)
	}
	for _, test := range []struct {
		name   string
		data   []byte
		err    error
		status int
		rule   string // "" if none is written
	}{
		{"objection", with(event.Objection, nil), nil, 204, "recipient:acme/r1 untracked 12:00:00 false"},
		{"withdrawal", with(event.ObjectionWithdrawn, nil), nil, 204, "recipient:acme/r1 untracked 12:00:00 true"},
		{"no customer", with(event.Objection, func(e *event.Event) { e.Customer = "" }), nil, 204, "recipient:/r1 untracked 12:00:00 false"},
		{"a clock ahead", with(event.Objection, func(e *event.Event) { e.OccurredAt = noon.Add(time.Hour) }), nil, 204, "recipient:acme/r1 untracked 12:00:01 false"},
		{"monitoring", with(event.Objection, func(e *event.Event) { e.Customer = "_probe" }), nil, 204, ""},
		{"a click", with(event.Click, nil), nil, 204, ""},
		{"an unsubscribe", with(event.Unsubscribe, nil), nil, 204, ""},
		{"of a later version", with("objection_of_somebody", nil), nil, 204, ""},
		{"nobody", with(event.Objection, func(e *event.Event) { e.Recipient = "" }), nil, 503, ""},
		{"no identifier", with(event.Objection, func(e *event.Event) { e.Recipient = "r1/../r2" }), nil, 503, ""},
		{"no customer's name", with(event.Objection, func(e *event.Event) { e.Customer = "a/b" }), nil, 503, ""},
		{"no event", []byte(`{"a":1}`), nil, 400, ""},
		{"no data", nil, nil, 400, ""},
		{"too long", with(event.Objection, func(e *event.Event) { e.Metadata = strings.Repeat("x", maxPush) }), nil, 400, ""},
		{"not written", with(event.Objection, nil), errors.New("unavailable"), 503, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules := written{rules: map[string]blocklist.Rule{}, err: test.err}
			var log bytes.Buffer
			c := consumer{audience: pushtest.Audience, account: pushtest.Account, rules: &rules, validate: validator(t, g), log: endpoint.NewLog(&log, slog.LevelInfo)}
			r := httptest.NewRequest("POST", "/", pushOf(t, test.data, noon.Add(time.Second)))
			r.Header.Set("Authorization", g.Token(t, nil))
			w := httptest.NewRecorder()
			c.ServeHTTP(w, r)
			got := ""
			for id, r := range rules.rules {
				got = fmt.Sprintln(r, r.Action, r.CreatedAt.Format(time.TimeOnly), r.Deleted)
				if id != r.ObjectionID() || r.CreatedBy != createdBy || r.Deleted != r.ExpiresAt.After(time.Now().Add(92*24*time.Hour)) || !r.Deleted && !r.ExpiresAt.IsZero() {
					t.Errorf("%s is %+v", id, r)
				}
			}
			if w.Code != test.status || w.Body.Len() > 0 || strings.TrimSpace(got) != test.rule {
				t.Errorf("%d %s, and the rule %q", w.Code, w.Body, got)
			}
			if strings.Contains(log.String(), "r1") {
				t.Errorf("the log names the recipient: %s", &log)
			}
		})
	}
}

// Only what Google signed for the subscription's account and this program is read.
func TestForgedTokens(t *testing.T) {
	g, other := pushtest.New(t), pushtest.New(t)
	right := g.Token(t, nil)
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"1"}`)) + right[strings.IndexByte(right, '.'):strings.LastIndexByte(right, '.')+1]
	for name, token := range map[string]string{
		"none":                  "",
		"empty":                 "Bearer ",
		"another scheme":        strings.Replace(right, "Bearer", "Basic", 1),
		"no token":              "Bearer abc",
		"another's key":         other.Token(t, nil),
		"no signature":          right[:strings.LastIndexByte(right, '.')+1],
		"the platform's mark":   right[:strings.LastIndexByte(right, '.')+1] + "SIGNATURE_REMOVED_BY_GOOGLE",
		"unsigned":              "Bearer " + unsigned,
		"another audience":      g.Token(t, map[string]any{"aud": "https://other.example/"}),
		"no audience":           g.Token(t, map[string]any{"aud": ""}),
		"another account":       g.Token(t, map[string]any{"email": "push@evil.iam.gserviceaccount.com"}),
		"no account":            g.Token(t, map[string]any{"email": nil}),
		"an account not proved": g.Token(t, map[string]any{"email_verified": false}),
		"proved by a word":      g.Token(t, map[string]any{"email_verified": "true"}),
		"another issuer":        g.Token(t, map[string]any{"iss": "https://accounts.google.com.evil.example"}),
		"no issuer":             g.Token(t, map[string]any{"iss": nil}),
		"expired":               g.Token(t, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
	} {
		rules := written{rules: map[string]blocklist.Rule{}}
		var log bytes.Buffer
		c := consumer{audience: pushtest.Audience, account: pushtest.Account, rules: &rules, validate: validator(t, g), log: endpoint.NewLog(&log, slog.LevelDebug)}
		r := httptest.NewRequest("POST", "/", pushOf(t, objection(event.Objection, time.Now()).AppendJSON(nil), time.Now()))
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if w.Code != 401 || len(rules.rules) > 0 {
			t.Errorf("%s: %d, %d rules", name, w.Code, len(rules.rules))
		}
		if len(token) > 100 && strings.Contains(log.String(), token[len(token)-40:]) {
			t.Errorf("%s: the log has the token: %s", name, &log)
		}
		r = httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", right)
		w = httptest.NewRecorder()
		if c.ServeHTTP(w, r); w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET: %d", w.Code)
		}
	}
}

// It refuses to write any other rule than those it is for.
func TestRefusesOtherRules(t *testing.T) {
	for _, r := range []blocklist.Rule{
		{Kind: blocklist.Recipient, Value: "acme/r1", Action: blocklist.Block, CreatedBy: createdBy},
		{Kind: blocklist.Recipient, Value: "acme/r1", CreatedBy: createdBy},
		{Kind: blocklist.Recipient, Value: "acme/r1", Action: blocklist.Redirect, Target: "https://example.com/", CreatedBy: createdBy},
		{Kind: blocklist.Customer, Value: "acme", Action: blocklist.Untracked, CreatedBy: createdBy},
		{Kind: blocklist.Campaign, Value: "acme/spring26", Action: blocklist.Untracked, CreatedBy: createdBy},
		{Kind: blocklist.Host, Value: "example.com", Action: blocklist.Block, CreatedBy: createdBy},
		{Kind: blocklist.Recipient, Value: "acme/r1", Action: blocklist.Untracked, CreatedBy: "somebody"},
		{},
	} {
		rules := written{rules: map[string]blocklist.Rule{}}
		c := consumer{rules: &rules}
		if err := c.write(t.Context(), r); err == nil || len(rules.rules) > 0 {
			t.Errorf("%+v was written, %v", r, err)
		}
	}
}

// What cannot be understood is one line and exit code 2.
func TestUsage(t *testing.T) {
	for change, want := range map[string]string{
		"BLOCKLIST=":                 "BLOCKLIST is not set: ",
		"BLOCKLIST=file:rules.jsonl": `BLOCKLIST cannot be used: "file:rules.jsonl" is not of the form firestore://`,
		"BLOCKLIST=none":             "BLOCKLIST cannot be used: ",
		"BLOCKLIST=firestore://p/d":  "BLOCKLIST cannot be used: ",
		"PUSH_AUDIENCE=":             "PUSH_AUDIENCE is not set: ",
		"PUSH_SERVICE_ACCOUNT=":      "PUSH_SERVICE_ACCOUNT is not set: ",
		"PORT=x":                     `PORT "x" is not a `,
		"LOG_LEVEL=loud":             "LOG_LEVEL ",
	} {
		name, value, _ := strings.Cut(change, "=")
		variables := map[string]string{"BLOCKLIST": "firestore://p/(default)/rules", "PUSH_AUDIENCE": pushtest.Audience, "PUSH_SERVICE_ACCOUNT": pushtest.Account, "PORT": "0"}
		variables[name] = value
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), nil, func(name string) string { return variables[name] }, &stdout, &stderr)
		if code != 2 || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "linkconsent: "+want) {
			t.Errorf("%s: exit code %d, %s%s", change, code, &stdout, &stderr)
		}
	}
	for arg, want := range map[string]int{"--help": 0, "--no-such": 2, "serve": 2} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{arg}, nil, &stdout, &stderr); code != want || !strings.Contains(stderr.String(), "Linkconsent makes rules") {
			t.Errorf("%s: exit code %d, %s", arg, code, &stderr)
		}
	}
}

// Real parts: a topic, a push subscription and the rules in Firestore. An objection
// makes the rule, its withdrawal lifts that one and leaves the operators', and what
// comes again or late changes nothing.
func TestConsumer(t *testing.T) {
	t.Parallel()
	emulatortest.Firestore(t)
	emulatortest.PubSub(t)
	project := emulatortest.Project(t)
	g := pushtest.New(t)
	rules, err := firestore.New(project, "(default)", "blocklist")
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	operators, err := blocklist.ParseRule("recipient:acme/r1")
	if err != nil {
		t.Fatal(err)
	}
	operators.CreatedBy = "abuse-desk"
	if err := rules.Put(t.Context(), operators); err != nil {
		t.Fatal(err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := consumer{audience: pushtest.Audience, account: pushtest.Account, rules: rules, validate: validator(t, g), log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.serve(ctx, listener) }()

	answers := make(chan int, 100)
	front := g.Front(t, listener.Addr().String(), answers)
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
		Name: "projects/" + project + "/subscriptions/consent", Topic: topic, PushConfig: &pubsubpb.PushConfig{PushEndpoint: front.URL},
	}); err != nil {
		t.Fatal(err)
	}
	sink, err := endpoint.OpenSink(t.Context(), "pubsub://"+project+"/clicks", endpoint.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close(context.Background())

	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	for _, step := range []struct {
		typ    event.Type
		after  time.Duration
		stands bool
	}{
		{event.Objection, 2 * time.Minute, true},
		{event.ObjectionWithdrawn, time.Minute, true}, // late
		{event.Objection, 2 * time.Minute, true},      // again
		{event.ObjectionWithdrawn, 3 * time.Minute, false},
		{event.Objection, 2 * time.Minute, false}, // again and late
		{event.Objection, 5 * time.Minute, true},
	} {
		message := objection(step.typ, begin.Add(step.after)).Message()
		if err := sink.Publish(t.Context(), []event.Message{message}); err != nil {
			t.Fatal(err)
		}
		if status := <-answers; status != http.StatusNoContent {
			t.Fatalf("%+v: %d", step, status)
		}
		all, _, err := rules.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		objected, blocked := false, false
		for _, r := range all {
			objected = objected || r.Stands(time.Now()) && r.Action == blocklist.Untracked && r.String() == "recipient:acme/r1"
			blocked = blocked || r.Stands(time.Now()) && r.Action == blocklist.Block && r.CreatedBy == "abuse-desk"
		}
		if objected != step.stands || !blocked {
			t.Errorf("after %+v: the objection stands: %v, the operators' rule: %v", step, objected, blocked)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A stop ends what is under way: it is answered, and nothing new is taken.
func TestStop(t *testing.T) {
	g := pushtest.New(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	rules := written{rules: map[string]blocklist.Rule{}}
	began := make(chan bool)
	validate := validator(t, g)
	c := consumer{audience: pushtest.Audience, account: pushtest.Account, rules: &rules, log: slog.New(slog.DiscardHandler), validate: func(ctx context.Context, token, audience string) (*idtoken.Payload, error) {
		began <- true
		<-began
		return validate(ctx, token, audience)
	}}
	served := make(chan error, 1)
	go func() { served <- c.serve(ctx, listener) }()
	answered := make(chan int, 1)
	go func() {
		request, _ := http.NewRequest("POST", "http://"+listener.Addr().String(), pushOf(t, objection(event.Objection, time.Now()).AppendJSON(nil), time.Now()))
		request.Header.Set("Authorization", g.Token(t, nil))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	<-began
	stop()
	began <- true
	if status, err := <-answered, <-served; status != 204 || err != nil || len(rules.rules) != 1 {
		t.Errorf("%d, %v, %d rules", status, err, len(rules.rules))
	}
}

// CONFIG.md has a row of each variable that the help names.
func TestVariablesAreDocumented(t *testing.T) {
	document, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	variables := regexp.MustCompile(`(?m)^  ([A-Z_]+) `).FindAllStringSubmatch(usage, -1)
	for _, m := range variables {
		if !bytes.Contains(document, []byte("\n| `"+m[1]+"` |")) {
			t.Errorf("CONFIG.md has no row of %s", m[1])
		}
	}
	if rows := bytes.Count(document, []byte("\n| `")); rows != len(variables) {
		t.Errorf("CONFIG.md has %d variables, the help %d", rows, len(variables))
	}
}

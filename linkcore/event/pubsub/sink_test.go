package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/event"
)

// openPubSub opens a sink for the Pub/Sub at an address.
func openPubSub(t *testing.T, address, project string, timeout time.Duration) *Sink {
	t.Helper()
	t.Setenv("PUBSUB_EMULATOR_HOST", address)
	s, err := Open(t.Context(), project, "clicks", timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// From the event to a subscription of the real thing.
func TestPubSubEmulator(t *testing.T) {
	address, project := emulatortest.PubSub(t), emulatortest.Project(t)
	ctx := t.Context()
	client, err := cloud.NewClient(ctx, project)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic, subscription := "projects/"+project+"/topics/clicks", "projects/"+project+"/subscriptions/crm"
	if _, err := client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{
		Name: subscription, Topic: topic, AckDeadlineSeconds: 60,
	}); err != nil {
		t.Fatal(err)
	}

	d := delivery.New(openPubSub(t, address, project, 5*time.Second), delivery.Options{HoldMax: 100, Spill: io.Discard})
	want := map[string]*event.Event{}
	var wg sync.WaitGroup
	for i, typ := range []event.Type{event.Click, event.Open, event.Unsubscribe, event.Blocked} {
		for j := range 20 {
			e := fullEvent(typ)
			e.ID = fmt.Sprintf("%d-%d", i, j)
			want[e.ID] = e
			wg.Go(func() { d.Deliver(e) })
		}
	}
	wg.Wait()
	wantStats(t, d, uint64(len(want)), 0, 0)

	for len(want) > 0 {
		response, err := client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range response.ReceivedMessages {
			id := m.Message.Attributes["ce-id"]
			e := want[id]
			if e == nil {
				t.Fatalf("message %q was not published, or came twice", id)
			}
			delete(want, id)
			if got, want := string(m.Message.Data), string(e.AppendJSON(nil)); got != want {
				t.Errorf("data %s, want %s", got, want)
			}
			if got, want := m.Message.Attributes, attributesOf(e); !maps.Equal(got, want) {
				t.Errorf("attributes %v, want %v", got, want)
			}
			client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: []string{m.AckId}})
		}
	}
	if err := d.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestPubSubTopicMissing(t *testing.T) {
	address, project := emulatortest.PubSub(t), emulatortest.Project(t)
	var log strings.Builder
	const timeout = time.Minute
	d := delivery.New(openPubSub(t, address, project, timeout), delivery.Options{Spill: io.Discard, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	start := time.Now()
	for i := range 50 {
		d.Deliver(numbered(i))
	}
	wantStats(t, d, 0, 50, 0)
	if took := time.Since(start); took >= timeout {
		t.Errorf("50 events took %v: tried again what will not help", took)
	}
	d.Close(t.Context())
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "NotFound") {
		t.Errorf("logged %s, want one line that says NotFound", &log)
	}
}

// A fault is a server on a real socket that answers as it is told.
type fault struct {
	pubsubpb.UnimplementedPublisherServer
	answer func(context.Context, *pubsubpb.PublishRequest) error

	mu    sync.Mutex
	calls int
	taken map[string]int // ce-id
}

func (f *fault) Publish(ctx context.Context, r *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	f.mu.Lock()
	f.calls++
	f.mu.Unlock()
	if f.answer != nil {
		if err := f.answer(ctx, r); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	response := &pubsubpb.PublishResponse{}
	for _, m := range r.Messages {
		id := m.Attributes["ce-id"]
		f.taken[id]++
		response.MessageIds = append(response.MessageIds, id)
	}
	return response, nil
}

// start serves on an address; ":0" is any port of this machine.
func (f *fault) start(t *testing.T, address string) (string, *grpc.Server) {
	t.Helper()
	f.taken = map[string]int{}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pubsubpb.RegisterPublisherServer(s, f)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String(), s
}

func TestPubSubBatches(t *testing.T) {
	f := &fault{}
	address, _ := f.start(t, "127.0.0.1:0")
	d := delivery.New(openPubSub(t, address, "project", 5*time.Second), delivery.Options{Mode: delivery.Background})
	for i := range 1000 {
		d.Deliver(numbered(i))
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStats(t, d, 1000, 0, 0)
	for i := range 1000 {
		if n := f.taken[fmt.Sprint(i)]; n != 1 {
			t.Fatalf("event %d was taken %d times", i, n)
		}
	}
	if f.calls > 100 {
		t.Errorf("%d calls for 1000 events", f.calls)
	}
}

func TestPubSubErrors(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  func(context.Context, *pubsubpb.PublishRequest) error
		code    codes.Code
		refused bool
	}{
		{"slow", func(ctx context.Context, _ *pubsubpb.PublishRequest) error {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			return nil
		}, codes.OK, false},
		{"permission denied", func(context.Context, *pubsubpb.PublishRequest) error {
			return status.Error(codes.PermissionDenied, "no")
		}, codes.PermissionDenied, false},
		{"not found", func(context.Context, *pubsubpb.PublishRequest) error {
			return status.Error(codes.NotFound, "no")
		}, codes.NotFound, false},
		{"unauthenticated", func(context.Context, *pubsubpb.PublishRequest) error {
			return status.Error(codes.Unauthenticated, "no")
		}, codes.Unauthenticated, false},
		{"invalid", func(context.Context, *pubsubpb.PublishRequest) error {
			return status.Error(codes.InvalidArgument, "no")
		}, codes.InvalidArgument, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fault{answer: test.answer}
			address, _ := f.start(t, "127.0.0.1:0")
			s := openPubSub(t, address, "project", 5*time.Second)
			err := s.Publish(t.Context(), messages(numbered(1)))
			if status.Code(err) != test.code || errors.Is(err, event.ErrRefused) != test.refused {
				t.Errorf("error %v; want code %v, refused %v", err, test.code, test.refused)
			}
			if f.calls != 1 {
				t.Errorf("%d calls: tried again what will not help", f.calls)
			}
		})
	}
}

// What passes by itself is tried again within the timeout.
func TestPubSubRetries(t *testing.T) {
	var once sync.Once
	f := &fault{answer: func(context.Context, *pubsubpb.PublishRequest) (err error) {
		once.Do(func() { err = status.Error(codes.Unavailable, "not now") })
		return err
	}}
	address, _ := f.start(t, "127.0.0.1:0")
	if err := openPubSub(t, address, "project", 5*time.Second).Publish(t.Context(), messages(numbered(1))); err != nil {
		t.Error(err)
	}
}

// One event that is refused costs no other, and none is taken twice.
func TestPubSubInvalidInBatch(t *testing.T) {
	f := &fault{answer: func(_ context.Context, r *pubsubpb.PublishRequest) error {
		for _, m := range r.Messages {
			if m.Attributes["ce-id"] == "13" {
				return status.Errorf(codes.InvalidArgument, "schema, in one of %d", len(r.Messages))
			}
		}
		return nil
	}}
	address, _ := f.start(t, "127.0.0.1:0")
	var spill bytes.Buffer
	var log strings.Builder
	d := delivery.New(openPubSub(t, address, "project", 5*time.Second),
		delivery.Options{HoldMax: 100, Spill: &spill, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { d.Deliver(numbered(i)) })
	}
	wg.Wait()
	wantStats(t, d, 99, 1, 0)
	d.Close(t.Context())
	if spilled, err := event.ParseSpilled(spill.Bytes()); err != nil || spilled.Event.ID != "13" {
		t.Errorf("spilled %s, want 13: %v", &spill, err)
	}
	for i := range 100 {
		want := 1
		if i == 13 {
			want = 0
		}
		if n := f.taken[fmt.Sprint(i)]; n != want {
			t.Errorf("event %d was taken %d times", i, n)
		}
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "schema, in one of 1") {
		t.Errorf("logged %s", &log)
	}
}

func TestPubSubDown(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close() // takes connections, and that is all
	silent := &fault{answer: func(ctx context.Context, _ *pubsubpb.PublishRequest) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	silentAddress, _ := silent.start(t, "127.0.0.1:0")
	for name, address := range map[string]string{
		"refuses": closed.Addr().String(), "accepts and hangs": hanging.Addr().String(), "never answers": silentAddress,
	} {
		t.Run(name, func(t *testing.T) {
			const timeout = 300 * time.Millisecond
			var log strings.Builder
			s := openPubSub(t, address, "project", timeout)
			d := delivery.New(s, delivery.Options{Timeout: timeout, Spill: io.Discard, Log: slog.New(slog.NewJSONHandler(&log, nil))})
			start := time.Now()
			var wg sync.WaitGroup
			for i := range 60 { // more than may be held
				wg.Go(func() { d.Deliver(numbered(i)) })
			}
			wg.Wait()
			for i := range 200 { // all of these within the second without a probe
				d.Deliver(numbered(60 + i))
			}
			wantStats(t, d, 0, 260, 0)
			if took := time.Since(start); took > 100*timeout {
				t.Errorf("260 events took %v: the last 200 waited, too", took)
			}
			if err := d.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if strings.Count(log.String(), "\n") != 1 {
				t.Errorf("logged %s, want one line", &log)
			}
		})
	}
}

// A server that comes back is used again, without a restart.
func TestPubSubComesBack(t *testing.T) {
	f := &fault{}
	address, server := f.start(t, keptAddress(t))
	s := openPubSub(t, address, "project", 200*time.Millisecond)
	d := delivery.New(s, delivery.Options{Timeout: 200 * time.Millisecond, Spill: io.Discard})
	d.Deliver(numbered(0))
	wantStats(t, d, 1, 0, 0)
	server.Stop()
	for i := range 3 { // then it is tried once a second only
		d.Deliver(numbered(i))
	}
	if n := d.Stats().Delivered; n != 1 {
		t.Fatalf("%d delivered to a server that is gone", n)
	}
	f.start(t, address)
	deadline := time.Now().Add(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for d.Stats().Delivered == 1 {
		if time.Now().After(deadline) {
			t.Fatal("not used again within 15 s")
		}
		d.Deliver(numbered(9))
		<-tick.C
	}
	d.Close(t.Context())
}

// What is written by hand is what protobuf reads.
func TestPubSubEncoding(t *testing.T) {
	var all []event.Message
	want := &pubsubpb.PublishRequest{}
	add := func(data []byte, attributes map[string]string) {
		m := event.Message{Data: data, Attributes: []event.Attribute{}}
		for name, value := range attributes {
			m.Attributes = append(m.Attributes, event.Attribute{Name: name, Value: value})
		}
		all = append(all, m)
		want.Messages = append(want.Messages, &pubsubpb.PubsubMessage{Data: data, Attributes: attributes})
	}
	add(fullEvent(event.Click).AppendJSON(nil), attributesOf(fullEvent(event.Click)))
	add(nil, map[string]string{"a": ""})
	// Each length at which its own length grows.
	for _, n := range []int{1, 126, 127, 128, 129, 16383, 16384, 1 << 21} {
		add(bytes.Repeat([]byte{'x'}, n), map[string]string{"name": strings.Repeat("y", n), strings.Repeat("z", n): "ü"})
	}
	got := &pubsubpb.PublishRequest{}
	if err := proto.Unmarshal(encode(all), got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Error("what is read is something else")
	}
}

// The bounds that the contract asks for are the ones that are set.
func TestPubSubSettings(t *testing.T) {
	s := openPubSub(t, "127.0.0.1:1", "project", 7*time.Second)
	b := s.Batching()
	if s.timeout != 7*time.Second || b.Delay <= 0 || b.Delay > 5*time.Millisecond || b.Count < 100 || b.Bytes > 10<<20/7 || b.Calls < 33 {
		t.Errorf("timeout %v, %+v", s.timeout, b)
	}
}

// What Pub/Sub costs an event, with a server in this process that takes it.
func BenchmarkPubSub(b *testing.B) {
	f := &fault{taken: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer()
	pubsubpb.RegisterPublisherServer(server, f)
	go server.Serve(l)
	defer server.Stop()
	b.Setenv("PUBSUB_EMULATOR_HOST", l.Addr().String())
	s, err := Open(b.Context(), "project", "clicks", 5*time.Second)
	if err != nil {
		b.Fatal(err)
	}
	d := delivery.New(s, delivery.Options{HoldMax: 1000})
	e := fullEvent(event.Click)
	b.ReportAllocs()
	b.SetParallelism(20) // 40 responses held on two processors
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			d.Deliver(e)
		}
	})
	b.ReportMetric(float64(b.N)/float64(max(f.calls, 1)), "events/call")
	if s := d.Stats(); s.Spilled > 0 {
		b.Errorf("%+v", s)
	}
	d.Close(context.Background())
}

// A batch that is refused once, as when a schema's revision arrives, and whose
// parts are then taken, is not a failure.
func TestPubSubRefusedOnce(t *testing.T) {
	var once sync.Once
	f := &fault{answer: func(context.Context, *pubsubpb.PublishRequest) (err error) {
		once.Do(func() { err = status.Error(codes.InvalidArgument, "schema") })
		return err
	}}
	address, _ := f.start(t, "127.0.0.1:0")
	if err := openPubSub(t, address, "project", 5*time.Second).Publish(t.Context(), messages(numbered(1), numbered(2))); err != nil {
		t.Errorf("both were taken, and the error is %#v", err)
	}
}

package pubsub

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// A receiver is a running Receive whose messages a test takes.
type receiver struct {
	messages chan *event.Received
	ready    chan struct{}
	stop     context.CancelFunc
	done     chan error
}

func startReceive(t *testing.T, source string, o event.ReceiveOptions) *receiver {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &receiver{make(chan *event.Received, 1000), make(chan struct{}), cancel, make(chan error, 1)}
	o.Ready = func() { close(r.ready) }
	go func() {
		r.done <- Receive(ctx, source, o, func(m *event.Received) { r.messages <- m })
	}()
	t.Cleanup(cancel)
	select {
	case <-r.ready:
	case err := <-r.done:
		t.Fatal("not ready: ", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("not ready after 2 minutes")
	}
	return r
}

// next returns the next message, acknowledged.
func (r *receiver) next(t *testing.T) *event.Received {
	t.Helper()
	select {
	case m := <-r.messages:
		m.Ack()
		return m
	case err := <-r.done:
		t.Fatal("ended instead: ", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing came within 2 minutes")
	}
	return nil
}

// end ends it and returns its error.
func (r *receiver) end(t *testing.T) error {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
	return nil
}

func makeTopic(t *testing.T) (client *cloud.Client, project string) {
	t.Helper()
	emulatortest.PubSub(t)
	project = emulatortest.Project(t)
	client, err := cloud.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/" + project + "/topics/clicks"}); err != nil {
		t.Fatal(err)
	}
	return client, project
}

func subscriptions(t *testing.T, client *cloud.Client, project string) (all []*pubsubpb.Subscription) {
	t.Helper()
	for s, err := range client.SubscriptionAdminClient.ListSubscriptions(t.Context(), &pubsubpb.ListSubscriptionsRequest{Project: "projects/" + project}).All() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// From a sink through a temporary subscription, which is there for as long as it
// is read.
func TestReceiveTopic(t *testing.T) {
	client, project := makeTopic(t)
	url := "pubsub://" + project + "/clicks"
	r := startReceive(t, url, event.ReceiveOptions{Name: "linkctl-tail", Labels: map[string]string{"made-by": "someone"}, Filter: `attributes.event_type = "click"`})
	all := subscriptions(t, client, project)
	if len(all) != 1 {
		t.Fatalf("%d subscriptions", len(all))
	}
	s := all[0]
	if name := s.Name[strings.LastIndex(s.Name, "/")+1:]; !strings.HasPrefix(name, "linkctl-tail-2") ||
		s.MessageRetentionDuration.AsDuration() != 10*time.Minute || s.ExpirationPolicy.Ttl.AsDuration() != 24*time.Hour ||
		s.Labels["made-by"] != "someone" || s.Filter != `attributes.event_type = "click"` {
		t.Errorf("the subscription is %v", s)
	}

	sink, err := Open(t.Context(), project, "clicks", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close(t.Context())
	e := fullEvent(event.Click)
	if err := sink.Publish(t.Context(), messages(e)); err != nil {
		t.Fatal(err)
	}
	m := r.next(t)
	if want := string(e.AppendJSON(nil)); string(m.Data) != want {
		t.Errorf("received %s, want %s", m.Data, want)
	}
	if m.Attributes["ce-id"] != e.ID || m.PublishedAt.IsZero() || m.Line != 0 {
		t.Errorf("received %+v", m)
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	if all := subscriptions(t, client, project); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// An existing subscription stays, what is acknowledged does not come again, and
// what is not does.
func TestReceiveSubscription(t *testing.T) {
	client, project := makeTopic(t)
	name := "projects/" + project + "/subscriptions/crm"
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: name, Topic: "projects/" + project + "/topics/clicks", AckDeadlineSeconds: 60,
	}); err != nil {
		t.Fatal(err)
	}
	publisher := client.Publisher("clicks")
	defer publisher.Stop()
	for i := range 20 {
		if _, err := publisher.Publish(t.Context(), &cloud.Message{Data: fmt.Appendf(nil, "%02d", i)}).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	url := "pubsub://" + project + "/subscriptions/crm"
	var acked, again []string
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	if err := Receive(ctx, url, event.ReceiveOptions{}, func(m *event.Received) {
		if m.Data[0] == '1' && len(acked) < 10 {
			m.Ack()
			acked = append(acked, string(m.Data))
		} else {
			m.Nack()
		}
		if len(acked) == 10 {
			once.Do(cancel)
		}
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := Receive(ctx, url, event.ReceiveOptions{}, func(m *event.Received) {
		m.Ack()
		again = append(again, string(m.Data))
		if len(again) == 10 {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(again)
	if got := strings.Join(again, " "); got != "00 01 02 03 04 05 06 07 08 09" {
		t.Errorf("what came again is %s", got)
	}
	if len(subscriptions(t, client, project)) != 1 {
		t.Error("the subscription is gone")
	}
}

// What had an Ack is gone, and everything else is there for the next reader at
// once, also if the reader is interrupted.
func TestDrain(t *testing.T) {
	client, project := makeTopic(t)
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/" + project + "/subscriptions/spill", Topic: "projects/" + project + "/topics/clicks", AckDeadlineSeconds: 600,
	}); err != nil {
		t.Fatal(err)
	}
	publisher := client.Publisher("clicks")
	defer publisher.Stop()
	const messages = 1200
	var results []*cloud.PublishResult
	for i := range messages {
		results = append(results, publisher.Publish(t.Context(), &cloud.Message{Data: fmt.Appendf(nil, "%04d", i), Attributes: map[string]string{"a": "1"}}))
	}
	for _, r := range results {
		if _, err := r.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	url := "pubsub://" + project + "/subscriptions/spill"
	acked := map[string]bool{}
	handed := 0
	ctx, cancel := context.WithCancel(t.Context())
	if err := Drain(ctx, url, time.Minute, nil, func(m *event.Received) {
		if handed++; handed == 700 {
			cancel()
		}
		if m.ID == "" || m.Attributes["a"] != "1" || m.PublishedAt.IsZero() {
			t.Errorf("received %+v", m)
		}
		if m.Data[3] == '7' {
			m.Nack()
			return
		}
		acked[string(m.Data)] = true
		go m.Ack()
	}); err != nil {
		t.Fatal(err)
	}
	if handed < 700 || handed >= messages {
		t.Errorf("%d messages came", handed)
	}
	stayed := 0
	if err := Drain(t.Context(), url, time.Second, nil, func(m *event.Received) {
		if acked[string(m.Data)] {
			t.Errorf("%s comes again", m.Data)
		}
		if m.Data[3] == '7' {
			stayed++
			m.Nack()
			return
		}
		acked[string(m.Data)] = true
		m.Ack()
	}); err != nil {
		t.Fatal(err)
	}
	if len(acked) != messages*9/10 || stayed != messages/10 {
		t.Errorf("%d were acknowledged, %d stayed", len(acked), stayed)
	}
	for source, want := range map[string]string{
		"pubsub://" + project + "/clicks": "unknown source of events: ",
		"file:x":                          "unknown source of events: ",
		"pubsub://" + project + "/subscriptions/none": "drain the subscription none of the project " + project + ": ",
	} {
		if err := Drain(t.Context(), source, time.Second, nil, func(*event.Received) {}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// A Pub/Sub that does not answer is not one that has nothing.
func TestDrainUnreachable(t *testing.T) {
	testsize.Large(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // it accepts, as far as a client can see, and says nothing
	type drained struct {
		address string
		err     error
	}
	done := make(chan drained)
	for _, address := range []string{silent.Addr().String(), dead(t, true)} {
		t.Setenv("PUBSUB_EMULATOR_HOST", address)
		c, err := connect(t.Context(), "p", "spill", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		go func() {
			done <- drained{address, newDrain(c).pull(t.Context(), 200*time.Millisecond, func(*event.Received) { t.Error("a message") })}
		}()
	}
	for range 2 {
		d := <-done
		if d.err == nil || !strings.Contains(subscribing.Explain(d.err).Error(), ": see whether the emulator runs that PUBSUB_EMULATOR_HOST=") {
			t.Errorf("%s: %v", d.address, d.err)
		}
	}
}

// pullService answers no call in time but those that are to be answered at once.
type pullService struct {
	pubsubpb.UnimplementedSubscriberServer
	answers [][]*pubsubpb.ReceivedMessage // the first to the question whether anybody is there
}

func (s *pullService) Pull(ctx context.Context, r *pubsubpb.PullRequest) (*pubsubpb.PullResponse, error) {
	//lint:ignore SA1019 it is what Drain asks for
	if !r.ReturnImmediately {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	answer := s.answers[0]
	s.answers = s.answers[1:]
	return &pubsubpb.PullResponse{ReceivedMessages: answer}, nil
}

func (s *pullService) ModifyAckDeadline(context.Context, *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// What comes when Drain asks whether Pub/Sub is there is handed over, and the
// time of idle begins anew.
func TestDrainLate(t *testing.T) {
	s := &pullService{answers: [][]*pubsubpb.ReceivedMessage{
		nil, {{AckId: "1", Message: &pubsubpb.PubsubMessage{MessageId: "1"}}}, nil,
	}}
	serve(t, s)
	handed := 0
	if err := Drain(t.Context(), "pubsub://p/subscriptions/spill", 100*time.Millisecond, nil, func(m *event.Received) {
		handed++
		m.Nack()
	}); err != nil {
		t.Fatal(err)
	}
	if handed != 1 || len(s.answers) != 0 {
		t.Errorf("%d messages, %d answers left", handed, len(s.answers))
	}
}

// serve serves Pub/Sub's subscriptions until the test ends.
func serve(t *testing.T, s pubsubpb.SubscriberServer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pubsubpb.RegisterSubscriberServer(server, s)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	t.Setenv("PUBSUB_EMULATOR_HOST", l.Addr().String())
}

func TestReceiveErrors(t *testing.T) {
	_, project := makeTopic(t)
	for _, test := range []struct{ source, want string }{
		{"file:clicks.jsonl", `unknown source of events: "file:clicks.jsonl" is neither `},
		{"pubsub://p", `unknown source of events: `},
		{"pubsub://p/a/b", `unknown source of events: `},
		{"pubsub://p/subscriptions/", `unknown source of events: `},
		{"pubsub://" + project + "/none", "subscribe to the topic none of the project " + project + ": "},
		{"pubsub://" + project + "/subscriptions/none", "receive from the subscription none of the project " + project + ": "},
	} {
		err := Receive(t.Context(), test.source, event.ReceiveOptions{}, func(*event.Received) { t.Error("a message") })
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.source, err, test.want)
		}
	}
}

// subscriptionService makes subscriptions slowly and remembers which are there.
type subscriptionService struct {
	pubsubpb.UnimplementedSubscriberServer
	asked   chan struct{}
	proceed chan struct{}
	err     error

	mu      sync.Mutex
	there   map[string]bool
	removed int
}

func (s *subscriptionService) CreateSubscription(_ context.Context, r *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	close(s.asked)
	<-s.proceed
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.there[r.Name] = true
	}
	return r, s.err
}

func (s *subscriptionService) DeleteSubscription(_ context.Context, r *pubsubpb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.there, r.Subscription)
	s.removed++
	return &emptypb.Empty{}, nil
}

// A temporary subscription is removed also if the context ends while it is being
// made, and is not looked for where Pub/Sub said that there is none.
func TestReceiveEndsEarly(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		cancel  bool
		removed int
		want    string
	}{
		"made while it ends": {cancel: true, removed: 1},
		"not allowed": {
			err:  status.Error(codes.PermissionDenied, "not you"),
			want: "subscribe to the topic clicks of the project p: not you: your account needs the right to do that: Terraform's variable `operators` gives it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &subscriptionService{asked: make(chan struct{}), proceed: make(chan struct{}), err: test.err, there: map[string]bool{}}
			serve(t, s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				done <- Receive(ctx, "pubsub://p/clicks", event.ReceiveOptions{}, func(*event.Received) { t.Error("a message") })
			}()
			<-s.asked
			if test.cancel {
				cancel()
			}
			close(s.proceed)
			if err := <-done; fmt.Sprint(err) != cmp.Or(test.want, "<nil>") {
				t.Errorf("error %v", err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.there) > 0 || s.removed != test.removed {
				t.Errorf("left: %v; %d removals", s.there, s.removed)
			}
		})
	}
}

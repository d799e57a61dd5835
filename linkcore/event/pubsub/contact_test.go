package pubsub

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// An outage is told at once where Pub/Sub refuses from the beginning, after a
// while where it is silent or breaks off, again while it lasts, and when it ends.
// A stream that is opened anew at once is none.
func TestContact(t *testing.T) {
	refused := status.Error(codes.Unavailable, "refused")
	type heard struct {
		at  time.Duration
		err error
	}
	for name, test := range map[string]struct {
		heard []heard
		want  string
		cause bool
	}{
		"answers":  {[]heard{{time.Second, nil}}, "", false},
		"refuses":  {[]heard{{0, refused}, {time.Second, refused}}, "0s refused, 15s refused, 30s refused", true},
		"silent":   {nil, "2s no answer yet, 17s no answer yet, 32s no answer yet", true},
		"slow":     {[]heard{{5 * time.Second, nil}}, "2s no answer yet, 5s over", false},
		"reopened": {[]heard{{0, nil}, {10 * time.Second, refused}, {11 * time.Second, nil}}, "", false},
		"breaks":   {[]heard{{0, nil}, {10 * time.Second, refused}, {11 * time.Second, refused}}, "12s refused, 27s refused", true},
		"is back":  {[]heard{{0, nil}, {10 * time.Second, refused}, {20 * time.Second, nil}}, "12s refused, 20s over", false},
		"again":    {[]heard{{0, refused}, {1 * time.Second, nil}, {2 * time.Second, refused}}, "0s refused, 1s over, 4s refused, 19s refused, 34s refused", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var told []string
				c := &contact{heard: make(chan error), done: make(chan struct{}), ended: make(chan struct{})}
				c.tell = func(err error) {
					what := "over"
					if err != nil {
						what, _, _ = strings.Cut(err.Error(), ":")
					}
					told = append(told, fmt.Sprint(time.Since(begin), " ", what))
				}
				ctx, cancel := context.WithCancel(t.Context())
				go c.listen(ctx.Done())
				for _, h := range test.heard {
					time.Sleep(h.at - time.Since(begin))
					c.hear(h.err)
				}
				time.Sleep(40*time.Second - time.Since(begin))
				// What the client breaks off itself is not an outage.
				cancel()
				synctest.Wait()
				c.hear(refused)
				time.Sleep(time.Minute)
				close(c.done)
				<-c.ended
				if got := strings.Join(told, ", "); got != test.want || (c.cause != nil) != test.cause {
					t.Errorf("told %s\nwant %s\ncause %v", got, test.want, c.cause)
				}
			})
		})
	}
}

// outages is what a reader was told.
type outages struct {
	mu   sync.Mutex
	told []string
	more chan struct{}
}

func newOutages() *outages { return &outages{more: make(chan struct{}, 100)} }

func (o *outages) add(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, fmt.Sprint(err))
	o.more <- struct{}{}
}

// wait waits until the last that was told holds a text.
func (o *outages) wait(t *testing.T, text string) {
	t.Helper()
	for timeout := time.After(time.Minute); ; {
		select {
		case <-o.more:
		case <-timeout:
			t.Fatalf("no %q in %q", text, o.told)
		}
		o.mu.Lock()
		found := strings.Contains(o.told[len(o.told)-1], text)
		o.mu.Unlock()
		if found {
			return
		}
	}
}

// dead returns the address of a server that refuses connections, or takes them
// and says nothing.
func dead(t *testing.T, refuses bool) string {
	t.Helper()
	if refuses {
		return "127.0.0.1:1" // no other test can open it
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// mute answers no call.
type mute struct {
	pubsubpb.UnimplementedSubscriberServer
}

func (mute) StreamingPull(s pubsubpb.Subscriber_StreamingPullServer) error {
	<-s.Context().Done()
	return s.Context().Err()
}

func (mute) GetSubscription(ctx context.Context, _ *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (m mute) Pull(ctx context.Context, _ *pubsubpb.PullRequest) (*pubsubpb.PullResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Where nobody answers that is told, nothing is said to be ready, and the end of
// the context is an error that says why nothing came.
func TestUnreachable(t *testing.T) {
	testsize.Large(t)
	for name, listen := range map[string]func(*testing.T){
		"refuses": func(t *testing.T) { t.Setenv("PUBSUB_EMULATOR_HOST", dead(t, true)) },
		"silent":  func(t *testing.T) { t.Setenv("PUBSUB_EMULATOR_HOST", dead(t, false)) },
		"mute":    func(t *testing.T) { serve(t, mute{}) },
	} {
		want := "no answer yet: see whether the emulator runs that PUBSUB_EMULATOR_HOST="
		if name == "refuses" {
			want = "connect: connection refused: see whether the emulator runs that PUBSUB_EMULATOR_HOST="
		}
		for source, receive := range map[string]func(context.Context, *outages) error{
			"subscription": func(ctx context.Context, o *outages) error {
				return Receive(ctx, "pubsub://p/subscriptions/crm", event.ReceiveOptions{Outage: o.add, Ready: func() { t.Error(name, " is ready") }}, func(*event.Received) {})
			},
			"topic": func(ctx context.Context, o *outages) error {
				return Receive(ctx, "pubsub://p/clicks", event.ReceiveOptions{Outage: o.add, Ready: func() { t.Error(name, " is ready") }}, func(*event.Received) {})
			},
			"drain": func(ctx context.Context, o *outages) error {
				return Drain(ctx, "pubsub://p/subscriptions/crm", time.Hour, o.add, func(*event.Received) {})
			},
		} {
			if name == "mute" && source == "topic" {
				continue // it answers that it makes no subscriptions
			}
			t.Run(name+" "+source, func(t *testing.T) {
				listen(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o := newOutages()
				done := make(chan error, 1)
				go func() { done <- receive(ctx, o) }()
				o.wait(t, want)
				cancel()
				err := <-done
				if err == nil || !strings.Contains(err.Error(), "PUBSUB_EMULATOR_HOST=") || strings.Contains(err.Error(), "rpc error") || strings.Contains(err.Error(), "removed") {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// keptAddress returns an address that can be listened at again later: its port is
// below those that systems give out by themselves.
func keptAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// A gate is a connection to a server that can be cut.
type gate struct {
	t       *testing.T
	address string
	to      string

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

func newGate(t *testing.T, to string) *gate {
	g := &gate{t: t, address: keptAddress(t), to: to}
	g.restore()
	t.Cleanup(g.cut)
	return g
}

// restore takes connections again, at the same address.
func (g *gate) restore() {
	g.t.Helper()
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener, g.address = l, l.Addr().String()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.to)
			if err != nil {
				in.Close()
				continue
			}
			g.mu.Lock()
			g.open = append(g.open, in, out)
			g.mu.Unlock()
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener.Close()
	for _, c := range g.open {
		c.Close()
	}
	g.open = nil
}

// A connection that breaks is told, and so is its return, from which messages come
// again.
func TestReceiveCut(t *testing.T) {
	testsize.Large(t)
	client, project := makeTopic(t)
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/" + project + "/subscriptions/crm", Topic: "projects/" + project + "/topics/clicks", AckDeadlineSeconds: 10,
	}); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, emulatortest.PubSub(t))
	t.Setenv("PUBSUB_EMULATOR_HOST", g.address)
	o := newOutages()
	r := startReceive(t, "pubsub://"+project+"/subscriptions/crm", event.ReceiveOptions{Outage: o.add})
	publish := func(data string) {
		t.Helper()
		publisher := client.Publisher("clicks")
		defer publisher.Stop()
		if _, err := publisher.Publish(t.Context(), &cloud.Message{Data: []byte(data)}).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	publish("before")
	if m := r.next(t); string(m.Data) != "before" {
		t.Errorf("received %s", m.Data)
	}
	g.cut()
	o.wait(t, "connection refused")
	g.restore()
	o.wait(t, "<nil>")
	// The emulator may have given some to the connection that is gone.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for again := false; !again; {
		select {
		case m := <-r.messages:
			m.Ack()
			again = string(m.Data) == "after"
		case err := <-r.done:
			t.Fatal(err)
		case <-tick.C:
			publish("after")
		}
	}
	g.cut()
	o.wait(t, "connection refused")
	if err := r.end(t); err == nil || !strings.Contains(err.Error(), "connection refused: see whether the emulator runs") {
		t.Errorf("ended during an outage: %v", err)
	}
	if strings.Contains(strings.Join(slices.Clone(o.told), ""), "rpc error") {
		t.Errorf("told %q", o.told)
	}
}

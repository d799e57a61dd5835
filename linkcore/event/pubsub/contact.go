package pubsub

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore/advice"
)

const (
	// How long Pub/Sub may say nothing, at the beginning or after a stream broke,
	// before that is an outage. Pub/Sub ends streams now and then, and the
	// client opens the next one at once.
	silence = 2 * time.Second

	// How often an outage is reported again.
	outageInterval = 15 * time.Second
)

// subscribing is Pub/Sub as readers of a subscription use it.
var subscribing = advice.Service{
	Name:     "Pub/Sub",
	Denied:   "your account needs the right to do that: Terraform's variable `operators` gives it",
	NotFound: "check the project and the name",
	Silent:   "see whether this machine reaches it",
	Emulator: "PUBSUB_EMULATOR_HOST",
}

// A contact knows whether Pub/Sub answers. The client hides that: it tries
// again for as long as its context lasts.
type contact struct {
	client       *cloud.Client
	subscription string // projects/PROJECT/subscriptions/NAME

	heard chan error // nil: an answer; otherwise why there is none
	done  chan struct{}
	ended chan struct{}
	cause error       // why nothing can be received; belongs to listen
	sent  atomic.Bool // a call has left
	up    atomic.Bool // the last that was heard is an answer

	// turn is held while a message is handled and while an outage is reported.
	turn  sync.Mutex
	tell  func(error)
	ready func() // called with the first answer about the subscription; may be nil
}

// connect opens a client whose calls a contact listens to. Both are closed with
// the contact.
func connect(ctx context.Context, project, subscription string, tell func(error)) (*contact, error) {
	if tell == nil {
		tell = func(error) {}
	}
	c := &contact{
		subscription: "projects/" + project + "/subscriptions/" + subscription,
		heard:        make(chan error, 16), done: make(chan struct{}), ended: make(chan struct{}), tell: tell,
	}
	var err error
	c.client, err = cloud.NewClient(ctx, project, option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(c.call)),
		option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(c.stream)),
		option.WithGRPCDialOption(grpc.WithStatsHandler(c)),
		// Finds out that a connection died without a word.
		option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 5 * time.Second})))
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub: %w", subscribing.Explain(err))
	}
	go c.listen(ctx.Done())
	return c, nil
}

// close returns why nothing can be received, or nil.
func (c *contact) close() error {
	close(c.done)
	<-c.ended
	c.client.Close()
	return c.cause
}

// hear takes what became of a call.
func (c *contact) hear(err error) {
	c.up.Store(err == nil)
	select {
	case c.heard <- err:
	case <-c.done:
	}
}

// listen reports outages, until it is ending: then the client breaks off calls
// itself.
func (c *contact) listen(ending <-chan struct{}) {
	defer close(c.ended)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	latest := subscribing.Explain(status.Error(codes.Unavailable, "no answer yet"))
	c.cause = latest
	answered, up, told := false, false, false
	tell := func(err error) {
		c.turn.Lock()
		defer c.turn.Unlock()
		c.tell(err)
	}
	take := func(err error) {
		if err == nil {
			timer.Stop()
			answered, up, c.cause = true, true, nil
			if told && ending != nil {
				told = false
				tell(nil)
			}
			return
		}
		if ending == nil {
			return
		}
		latest = subscribing.Explain(err)
		switch {
		case up:
			timer.Reset(silence)
		case !answered && !told:
			timer.Reset(0)
		}
		if up = false; c.cause != nil {
			c.cause = latest
		}
	}
	for {
		select {
		case err := <-c.heard:
			take(err)
		case <-timer.C:
			c.cause, told = latest, true
			tell(latest)
			timer.Reset(outageInterval)
		case <-ending:
			ending = nil
			timer.Stop()
		case <-c.done:
			for len(c.heard) > 0 {
				take(<-c.heard)
			}
			return
		}
	}
}

// answer takes the first answer about the subscription. turn is held.
func (c *contact) answer() {
	if c.ready != nil {
		c.ready()
		c.ready = nil
	}
}

// call listens to the calls that say whether messages can come. Others, such as
// acknowledgements, may fail beside them.
func (c *contact) call(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, o...)
	switch method[strings.LastIndexByte(method, '/')+1:] {
	case "CreateSubscription", "Pull":
		switch {
		case ctx.Err() != nil: // it was cut off
		case advice.Unreachable(err):
			c.hear(err)
		default:
			c.hear(nil)
		}
	}
	return err
}

// stream listens to a stream of messages.
func (c *contact) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, o...)
	if err != nil {
		if ctx.Err() == nil {
			c.hear(err)
		}
		return nil, err
	}
	heard := &heardStream{ClientStream: s, contact: c, caller: ctx}
	go heard.ask()
	return heard, nil
}

type heardStream struct {
	grpc.ClientStream
	contact *contact
	caller  context.Context // the stream's own ends with its failure
	broken  atomic.Bool
}

func (s *heardStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch {
	case err == nil:
		s.contact.hear(nil)
	case s.caller.Err() == nil:
		s.broken.Store(true)
		s.contact.hear(err)
	}
	return err
}

// ask asks whether anybody is there: a stream on which nothing comes looks the
// same either way. Any answer will do, also that the account must not ask this;
// that there is no such subscription, the stream itself says.
func (s *heardStream) ask() {
	c := s.contact
	for s.caller.Err() == nil && !s.broken.Load() {
		ctx, cancel := context.WithTimeout(s.caller, endTimeout)
		_, err := c.client.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: c.subscription})
		cancel()
		switch {
		case s.caller.Err() != nil || s.broken.Load() || status.Code(err) == codes.NotFound:
			return
		case !advice.Unreachable(err):
			c.hear(nil)
			c.turn.Lock()
			defer c.turn.Unlock()
			c.answer()
			return
		}
		c.hear(err)
		select {
		case <-s.caller.Done():
		case <-time.After(time.Second):
		}
	}
}

// TagRPC, HandleRPC, TagConn and HandleConn implement gRPC's stats.Handler.
func (c *contact) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (c *contact) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); ok {
		c.sent.Store(true)
	}
}

func (c *contact) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c *contact) HandleConn(context.Context, stats.ConnStats) {}

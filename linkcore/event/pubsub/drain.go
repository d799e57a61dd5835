package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore/event"
)

const (
	// A call takes at most so many messages, or acknowledges so many.
	drainBatch = 500

	// How long an acknowledgement waits for others to share its call.
	ackDelay = 100 * time.Millisecond

	// What a call for messages is left when the context has ended. It is
	// answered at once if there are any.
	pullEnd = time.Second
)

// Drain hands the messages of a subscription, pubsub://PROJECT/subscriptions/NAME,
// to handle, one at a time, until none has come for the time of idle, the context
// ends or it fails. It returns nil in the first two cases, after every message has
// had its Ack or Nack. That nothing came says Pub/Sub: where it does not answer
// in the beginning for the time of idle (at least five seconds), or in the end
// within five seconds, Drain fails; so it does where the context ends during an
// outage. outage may be nil, and is called as [event.ReceiveOptions].Outage is.
//
// Unlike [Receive] it takes no message that it does not hand over, so what is
// left in the subscription is there for the next reader at once. What has had a
// Nack stays in the subscription and is not handed over again; nor is a message
// that comes again while it is dealt with.
func Drain(ctx context.Context, source string, idle time.Duration, outage func(cause error), handle func(*event.Received)) error {
	project, name, existing, ok := parseSource(source)
	if !ok || !existing {
		return fmt.Errorf("%w: %q is not pubsub://PROJECT/subscriptions/NAME", event.ErrSource, source)
	}
	c, err := connect(ctx, project, name, outage)
	if err != nil {
		return err
	}
	d := newDrain(c)
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		d.acknowledge()
	}()
	err = d.pull(ctx, idle, handle)
	d.dealtWith.Wait()
	close(d.more)
	<-acknowledged
	err = errors.Join(err, d.err, d.giveBack())
	if cause := c.close(); err == nil && ctx.Err() != nil {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("drain the subscription %s of the project %s: %w", name, project, subscribing.Explain(err))
	}
	return nil
}

type drain struct {
	contact   *contact
	dealtWith sync.WaitGroup // messages that were handed over

	mu     sync.Mutex
	ackIDs map[string]string // by message id: of what is dealt with, or stays
	acked  []string          // not sent yet
	err    error             // of acknowledging
	more   chan struct{}     // there is something in acked
}

func newDrain(c *contact) *drain {
	return &drain{contact: c, ackIDs: map[string]string{}, more: make(chan struct{}, 1)}
}

// pull hands messages over.
func (d *drain) pull(ctx context.Context, idle time.Duration, handle func(*event.Received)) error {
	first := true
	answered := false // the last call
	for last := time.Now(); ctx.Err() == nil; {
		wait := idle - time.Since(last)
		check := first || wait <= 0
		if wait <= 0 && answered {
			return nil
		}
		if check {
			// Pub/Sub holds a call while there is nothing, so one that was cut off
			// looks the same whether nothing came or nobody was there.
			wait = max(wait, endTimeout)
		}
		first = false
		// A call that is cut off may have been given messages, which nobody else
		// gets then until their deadline.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		stop := context.AfterFunc(ctx, func() {
			select {
			case <-call.Done():
			case <-time.After(pullEnd):
				cancel()
			}
		})
		response, err := d.contact.client.SubscriptionAdminClient.Pull(call, &pubsubpb.PullRequest{
			Subscription: d.contact.subscription,
			MaxMessages:  drainBatch,
			//lint:ignore SA1019 nothing else asks for an answer that needs no further right
			ReturnImmediately: check,
		})
		cutOff := call.Err() != nil || status.Code(err) == codes.DeadlineExceeded
		stop()
		cancel()
		answered = err == nil
		if err != nil && cutOff && (!check || ctx.Err() != nil) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range response.GetReceivedMessages() {
			if ctx.Err() != nil {
				d.stay(m)
				continue
			}
			if d.known(m) {
				continue
			}
			d.dealtWith.Add(1)
			var once sync.Once
			done := func(ack bool) { once.Do(func() { d.done(m.Message.MessageId, ack) }) }
			d.contact.turn.Lock()
			handle(&event.Received{
				Data: m.Message.Data, Attributes: m.Message.Attributes, ID: m.Message.MessageId, PublishedAt: m.Message.PublishTime.AsTime(),
				Done: done,
			})
			d.contact.turn.Unlock()
			last = time.Now() // not before: handle may have waited
		}
	}
	return nil
}

// known reports whether a message was handed over and has no Ack yet.
func (d *drain) known(m *pubsubpb.ReceivedMessage) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.ackIDs[m.Message.MessageId]
	d.ackIDs[m.Message.MessageId] = m.AckId
	return known
}

// stay keeps a message for the end, without handing it over.
func (d *drain) stay(m *pubsubpb.ReceivedMessage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ackIDs[m.Message.MessageId] = m.AckId
}

// done takes a message's Ack or Nack.
func (d *drain) done(id string, ack bool) {
	d.mu.Lock()
	if ack {
		d.acked = append(d.acked, d.ackIDs[id])
		delete(d.ackIDs, id)
		select {
		case d.more <- struct{}{}:
		default:
		}
	}
	d.mu.Unlock()
	d.dealtWith.Done()
}

// acknowledge sends Pub/Sub the acknowledgements, until there is no more.
func (d *drain) acknowledge() {
	for open := true; open; {
		_, open = <-d.more
		if open {
			time.Sleep(ackDelay)
		}
		d.mu.Lock()
		acked := d.acked
		d.acked = nil
		d.mu.Unlock()
		for ids := range slices.Chunk(acked, drainBatch) {
			ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
			err := d.contact.client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: d.contact.subscription, AckIds: ids})
			cancel()
			if err != nil {
				d.mu.Lock()
				d.err = fmt.Errorf("acknowledge messages, which come again: %w", err)
				d.mu.Unlock()
			}
		}
	}
}

// giveBack lets whoever reads next have what is left.
func (d *drain) giveBack() error {
	left := make([]string, 0, len(d.ackIDs))
	for _, id := range d.ackIDs {
		left = append(left, id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for ids := range slices.Chunk(left, drainBatch) {
		err := d.contact.client.SubscriptionAdminClient.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{Subscription: d.contact.subscription, AckIds: ids})
		if err != nil {
			return fmt.Errorf("give messages back, which come again later: %w", err)
		}
	}
	return nil
}

package event

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// The shortest that Pub/Sub allows.
	temporaryExpiry    = 24 * time.Hour
	temporaryRetention = 10 * time.Minute

	// How long making and removing a temporary subscription may take, and how
	// much of it is left to a program that is to end.
	adminTimeout = 30 * time.Second
	endTimeout   = 5 * time.Second
)

// receivePubSub hands over the messages of a subscription or, if it is not an
// existing one, of a topic's temporary subscription.
func receivePubSub(ctx context.Context, project, name string, existing bool, o ReceiveOptions, handle func(*Message)) (err error) {
	subscription := name
	if !existing {
		if o.Name == "" {
			o.Name = "linktracker"
		}
		subscription = temporaryName(o.Name, time.Now())
	}
	c, err := connect(ctx, project, subscription, o.Outage)
	if err != nil {
		return err
	}
	var left error
	defer func() {
		if cause := c.close(); cause != nil && err == nil {
			err = fmt.Errorf("receive from %s of the project %s: %w", name, project, cause)
		}
		err = errors.Join(err, left)
	}()
	if existing {
		c.ready = o.Ready
	} else {
		// Before it is made: a call that was given up may have been heard.
		made := true
		defer func() {
			if made {
				left = removeSubscription(c.client, project, subscription)
			}
		}()
		if err := makeSubscription(ctx, c, project, name, subscription, o); err != nil {
			switch status.Code(err) {
			case codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.ResourceExhausted:
				made = false
			}
			made = made && c.sent.Load()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("subscribe to the topic %s of the project %s: %w", name, project, subscribing.Explain(err))
		}
		o.Ready()
	}

	s := c.client.Subscriber(subscription)
	s.ReceiveSettings.MaxOutstandingMessages = o.MaxOutstanding
	s.ReceiveSettings.MaxOutstandingBytes = maxBytes
	patience := endTimeout
	if !existing {
		// Its acknowledgements matter to nobody: it is about to go. Those of
		// others are waited for.
		s.ReceiveSettings.ShutdownOptions = &pubsub.ShutdownOptions{Timeout: 0}
		patience = time.Second
	}
	ended := false // guarded by c.turn
	received := make(chan error, 1)
	go func() {
		received <- s.Receive(ctx, func(ctx context.Context, m *pubsub.Message) {
			c.turn.Lock()
			defer c.turn.Unlock()
			c.answer()
			if ended || ctx.Err() != nil {
				m.Nack()
				return
			}
			handle(&Message{Data: m.Data, Attributes: m.Attributes, ID: m.ID, PublishedAt: m.PublishTime, ack: m.Ack, nack: m.Nack})
		})
	}()
	select {
	case err = <-received:
	case <-ctx.Done():
		// The client does not end while it cannot connect.
		if !c.up.Load() {
			patience = time.Second
		}
		select {
		case <-received:
		case <-time.After(patience):
		}
	}
	// A client that did not wait, or was not waited for, may have calls under way.
	c.turn.Lock()
	ended = true
	c.turn.Unlock()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("receive from the subscription %s of the project %s: %w", subscription, project, subscribing.Explain(err))
	}
	return nil
}

// temporaryName makes a name that nobody else has, and that tells people in a
// list of subscriptions since when it is there.
func temporaryName(prefix string, now time.Time) string {
	var b [4]byte
	rand.Read(b[:])
	return prefix + "-" + now.UTC().Format("20060102t150405z") + "-" + hex.EncodeToString(b[:])
}

// makeSubscription makes a temporary subscription. If the call has left it goes on
// for a moment when the context ends, so that what it made is known and can be
// removed.
func makeSubscription(ctx context.Context, c *contact, project, topic, name string, o ReceiveOptions) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if c.sent.Load() {
			select {
			case <-call.Done():
			case <-time.After(endTimeout):
			}
		}
		cancel()
	})
	defer stop()
	_, err := c.client.SubscriptionAdminClient.CreateSubscription(call, &pubsubpb.Subscription{
		Name:                     "projects/" + project + "/subscriptions/" + name,
		Topic:                    "projects/" + project + "/topics/" + topic,
		Labels:                   o.Labels,
		Filter:                   o.Filter,
		AckDeadlineSeconds:       10,
		MessageRetentionDuration: durationpb.New(temporaryRetention),
		ExpirationPolicy:         &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(temporaryExpiry)},
	})
	return err
}

// removeSubscription takes no context: what it removes is to go all the more
// when that has ended.
func removeSubscription(client *pubsub.Client, project, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	err := client.SubscriptionAdminClient.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{
		Subscription: "projects/" + project + "/subscriptions/" + name,
	})
	if err == nil || status.Code(err) == codes.NotFound {
		return nil
	}
	return fmt.Errorf("the temporary subscription %s could not be removed; Pub/Sub removes it after a day: %w", name, subscribing.Explain(err))
}

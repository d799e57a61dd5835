package pubsub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"example.com/linktracker/linkcore/event"
)

const (
	// The shortest that Pub/Sub allows.
	temporaryExpiry    = 24 * time.Hour
	temporaryRetention = 10 * time.Minute

	// How long making and removing a temporary subscription may take, and how
	// much of it is left to a program that is to end.
	adminTimeout = 30 * time.Second
	endTimeout   = 5 * time.Second

	// What may wait in memory for its turn.
	maxOutstandingBytes = 32 << 20
)

// Receive hands messages to handle, one at a time, until the context ends or it
// fails. It returns nil in the first case, but for an outage: where the context
// ends and Pub/Sub has never answered or could not be reached any more, the error
// says why. The source is one of
//
//	pubsub://PROJECT/TOPIC               what is published from now on, by a temporary subscription
//	pubsub://PROJECT/subscriptions/NAME  an existing subscription, which stays
//
// A temporary subscription is removed before Receive returns, also when the
// context has ended. One whose program was killed keeps its messages for 10
// minutes and is removed by Pub/Sub after 24 hours without a reader; both are
// the shortest that there are. Receive waits for the Ack or Nack of each message of
// an existing one, for five seconds at most; what had none by then comes again.
func Receive(ctx context.Context, source string, o event.ReceiveOptions, handle func(*event.Received)) (err error) {
	project, name, existing, ok := parseSource(source)
	if !ok {
		return fmt.Errorf("%w: %q is neither pubsub://PROJECT/TOPIC nor pubsub://PROJECT/subscriptions/NAME", event.ErrSource, source)
	}
	if o.Ready == nil {
		o.Ready = func() {}
	}
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
	s.ReceiveSettings.MaxOutstandingBytes = maxOutstandingBytes
	patience := endTimeout
	if !existing {
		// Its acknowledgements matter to nobody: it is about to go. Those of
		// others are waited for.
		s.ReceiveSettings.ShutdownOptions = &cloud.ShutdownOptions{Timeout: 0}
		patience = time.Second
	}
	ended := false // guarded by c.turn
	received := make(chan error, 1)
	go func() {
		received <- s.Receive(ctx, func(ctx context.Context, m *cloud.Message) {
			c.turn.Lock()
			defer c.turn.Unlock()
			c.answer()
			if ended || ctx.Err() != nil {
				m.Nack()
				return
			}
			handle(&event.Received{Data: m.Data, Attributes: m.Attributes, ID: m.ID, PublishedAt: m.PublishTime, Done: func(ack bool) {
				if ack {
					m.Ack()
				} else {
					m.Nack()
				}
			}})
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

// parseSource takes the URL of a topic or, if existing is set, of a subscription
// apart.
func parseSource(source string) (project, name string, existing, ok bool) {
	rest, ok := strings.CutPrefix(source, "pubsub://")
	project, name, _ = strings.Cut(rest, "/")
	name, existing = strings.CutPrefix(name, "subscriptions/")
	return project, name, existing, ok && project != "" && name != "" && !strings.Contains(name, "/") && !strings.ContainsAny(rest, "?#% \t\r\n")
}

// temporaryName makes a name that nobody else has, and that shows people in a
// list of subscriptions since when it is there.
func temporaryName(prefix string, now time.Time) string {
	var b [4]byte
	rand.Read(b[:])
	return prefix + "-" + now.UTC().Format("20060102t150405z") + "-" + hex.EncodeToString(b[:])
}

// makeSubscription makes a temporary subscription. If the call has left it goes on
// for a moment when the context ends, so that what it made is known and can be
// removed.
func makeSubscription(ctx context.Context, c *contact, project, topic, name string, o event.ReceiveOptions) error {
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
func removeSubscription(client *cloud.Client, project, name string) error {
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

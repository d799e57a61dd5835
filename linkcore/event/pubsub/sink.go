// Package pubsub takes events to a Pub/Sub topic and receives them from its
// subscriptions. PUBSUB_EMULATOR_HOST is heeded.
package pubsub

import (
	"context"
	"fmt"
	"time"

	cloud "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"example.com/linktracker/linkcore/event"
)

// A Sink publishes to a Pub/Sub topic. It makes its calls itself: the client's
// publisher spends 10 µs on an event, mostly to form the batches that whoever
// delivers forms anyway.
type Sink struct {
	client  *cloud.Client
	topic   string // projects/PROJECT/topics/TOPIC
	timeout time.Duration
}

// Open returns the sink of a topic. The timeout bounds a call of Publish, attempts
// that are repeated included. Nothing is sent yet: whether the topic exists is
// found out by the first event.
func Open(ctx context.Context, project, topic string, timeout time.Duration) (*Sink, error) {
	// Without telemetry: nobody here collects it, and it is made for each call.
	client, err := cloud.NewClient(ctx, project, option.WithTelemetryDisabled())
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub: %w", err)
	}
	return &Sink{client, "projects/" + project + "/topics/" + topic, timeout}, nil
}

// Batching implements [event.Sink]. With a batch every 3 ms and 100 ms a call 33
// calls are under way.
func (s *Sink) Batching() event.Batching {
	return event.Batching{Delay: 3 * time.Millisecond, Count: 500, Bytes: 1 << 20, Calls: 64}
}

// Publish implements [event.Sink].
func (s *Sink) Publish(ctx context.Context, messages []event.Message) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.call(ctx, messages)
	if status.Code(err) != codes.InvalidArgument {
		return err
	}
	failures := make(event.Failures, len(messages))
	s.refused(ctx, messages, failures, err)
	switch {
	case len(failures.Unwrap()) == 0:
		return nil // its parts were taken
	case len(failures) == 1:
		return failures[0]
	}
	return failures
}

// refused finds out which messages of a batch that was refused are at fault: one
// bad message has all of its batch refused, and must cost no other.
func (s *Sink) refused(ctx context.Context, messages []event.Message, failures []error, err error) {
	n := len(messages)
	if n == 1 {
		failures[0] = fmt.Errorf("%w: %w", event.ErrRefused, err)
		return
	}
	for _, half := range [][2]int{{0, n / 2}, {n / 2, n}} {
		messages, failures := messages[half[0]:half[1]], failures[half[0]:half[1]]
		err := s.call(ctx, messages)
		if status.Code(err) == codes.InvalidArgument {
			s.refused(ctx, messages, failures, err)
			continue
		}
		for i := range failures {
			failures[i] = err
		}
	}
}

// keepNothing has gRPC keep no copy of a call to repeat it with, which may be far
// larger than the call. What passes by itself is called again all the same, by the
// layer above.
var keepNothing = gax.WithGRPCOptions(grpc.MaxRetryRPCBufferSize(0))

// call publishes one batch, and tries again what passes by itself until the
// context ends.
func (s *Sink) call(ctx context.Context, messages []event.Message) error {
	request := &pubsubpb.PublishRequest{Topic: s.topic}
	// What protobuf has not decoded it sends as it is.
	request.ProtoReflect().SetUnknown(encode(messages))
	_, err := s.client.TopicAdminClient.Publish(ctx, request, keepNothing)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// encode writes the messages as a PublishRequest holds them on the wire: the
// repeated field 2. It is written here because a map for the attributes of each
// event, and protobuf's way through it, take a tenth of a click.
func encode(messages []event.Message) []byte {
	var dst []byte
	var attributes []event.Attribute
	for i := range messages {
		m := &messages[i]
		attributes = m.AppendAttributes(attributes[:0])
		size := sizeOfField(len(m.Data))
		for _, a := range attributes {
			size += sizeOfField(sizeOfAttribute(a))
		}
		if dst == nil {
			dst = make([]byte, 0, len(messages)*(size+size/8)) // they are about the same
		}
		dst = appendLength(dst, 2, size) // PublishRequest.messages
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 1, protowire.BytesType), m.Data)
		for _, a := range attributes {
			dst = appendLength(dst, 2, sizeOfAttribute(a)) // an entry of the map
			dst = protowire.AppendString(protowire.AppendTag(dst, 1, protowire.BytesType), a.Name)
			dst = protowire.AppendString(protowire.AppendTag(dst, 2, protowire.BytesType), a.Value)
		}
	}
	return dst
}

func appendLength(dst []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.BytesType), uint64(n))
}

func sizeOfAttribute(a event.Attribute) int {
	return sizeOfField(len(a.Name)) + sizeOfField(len(a.Value))
}

// sizeOfField is the length of a field of n bytes with its tag and its length.
func sizeOfField(n int) int { return protowire.SizeTag(1) + protowire.SizeBytes(n) }

// Close implements [event.Sink].
func (s *Sink) Close(context.Context) error { return s.client.Close() }

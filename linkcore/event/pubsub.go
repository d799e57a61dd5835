package event

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pubsubBatching is how events share calls. With a batch every 3 ms and 100 ms a
// call 33 calls are under way.
var pubsubBatching = batching{delay: 3 * time.Millisecond, count: 500, bytes: 1 << 20, calls: 64}

// pubsubSink publishes to a Pub/Sub topic. It makes its calls itself: the
// client's publisher spends 10 µs on an event, mostly to form the batches that
// a [Delivery] forms anyway.
type pubsubSink struct {
	client  *pubsub.Client
	topic   string // projects/PROJECT/topics/TOPIC
	timeout time.Duration
}

func openPubSubSink(ctx context.Context, project, topic string, o SinkOptions) (*pubsubSink, error) {
	// Without telemetry: nobody here collects it, and it is made for each call.
	client, err := pubsub.NewClient(ctx, project, option.WithTelemetryDisabled())
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub: %w", err)
	}
	return &pubsubSink{client, "projects/" + project + "/topics/" + topic, o.Timeout}, nil
}

func (s *pubsubSink) batching() batching { return pubsubBatching }

func (s *pubsubSink) Publish(ctx context.Context, events ...*Event) error {
	messages := make([]pubsubpb.PubsubMessage, len(events))
	batch := make([]*pubsubpb.PubsubMessage, len(events))
	b := buffers.Get().(*buffer)
	data := b.bytes[:0]
	for i, e := range events {
		start := len(data)
		data = e.AppendJSON(data)
		// What was appended before stays where it was, should the buffer move.
		messages[i].Data = data[start:len(data):len(data)]
		messages[i].Attributes = e.Attributes()
		batch[i] = &messages[i]
	}
	err := s.publish(ctx, batch)
	// A call encodes its request before it sends it, and keeps nothing of it.
	b.free(data)
	return err
}

func (s *pubsubSink) publishRaw(ctx context.Context, data []byte, attributes map[string]string) error {
	return s.publish(ctx, []*pubsubpb.PubsubMessage{{Data: data, Attributes: attributes}})
}

func (s *pubsubSink) publish(ctx context.Context, batch []*pubsubpb.PubsubMessage) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.call(ctx, batch)
	if status.Code(err) != codes.InvalidArgument {
		return err
	}
	failures := make(Failures, len(batch))
	s.refused(ctx, batch, failures, err)
	if len(batch) == 1 {
		return failures[0]
	}
	return failures
}

// refused finds out which events of a batch that was refused are at fault: one
// bad event has all of its batch refused, and must cost no other.
func (s *pubsubSink) refused(ctx context.Context, batch []*pubsubpb.PubsubMessage, failures []error, err error) {
	if len(batch) == 1 {
		failures[0] = fmt.Errorf("%w: %w", ErrRefused, err)
		return
	}
	middle := len(batch) / 2
	for _, half := range [][2]int{{0, middle}, {middle, len(batch)}} {
		batch, failures := batch[half[0]:half[1]], failures[half[0]:half[1]]
		err := s.call(ctx, batch)
		if status.Code(err) == codes.InvalidArgument {
			s.refused(ctx, batch, failures, err)
			continue
		}
		for i := range failures {
			failures[i] = err
		}
	}
}

// call publishes one batch, and tries again what passes by itself until the
// context ends.
func (s *pubsubSink) call(ctx context.Context, batch []*pubsubpb.PubsubMessage) error {
	_, err := s.client.TopicAdminClient.Publish(ctx, &pubsubpb.PublishRequest{Topic: s.topic, Messages: batch})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *pubsubSink) Close(context.Context) error { return s.client.Close() }

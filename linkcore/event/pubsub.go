package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// How long an event waits for others to share its call.
	batchDelay = 3 * time.Millisecond

	// A call holds at most so many events, and about so many bytes.
	batchCount = 500
	batchBytes = 1 << 20

	// So many calls are under way at once. With a batch every 3 ms and 100 ms a
	// call that is 33; the client's default on one processor is 25.
	batchCalls = 64

	// What may wait for its acknowledgement in memory. Beyond that events are
	// spilled, since memory that grows ends in a process that is killed.
	maxOutstandingEvents = 20_000
	maxOutstandingBytes  = 32 << 20
)

// pubsubSink publishes to a Pub/Sub topic in batches.
type pubsubSink struct {
	client *pubsub.Client
	batch  *pubsub.Publisher
	single *pubsub.Publisher // for what a batch was refused with
}

func openPubSubSink(ctx context.Context, project, topic string, o SinkOptions) (*pubsubSink, error) {
	// Without telemetry: nobody here collects it, and it is made for each call.
	client, err := pubsub.NewClient(ctx, project, option.WithTelemetryDisabled())
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub: %w", err)
	}
	publisher := func(count int) *pubsub.Publisher {
		p := client.Publisher(topic)
		p.PublishSettings.DelayThreshold = batchDelay
		p.PublishSettings.CountThreshold = count
		p.PublishSettings.ByteThreshold = batchBytes
		p.PublishSettings.NumGoroutines = batchCalls
		p.PublishSettings.Timeout = o.Timeout
		p.PublishSettings.FlowControlSettings = pubsub.FlowControlSettings{
			MaxOutstandingMessages: maxOutstandingEvents,
			MaxOutstandingBytes:    maxOutstandingBytes,
			LimitExceededBehavior:  pubsub.FlowControlSignalError,
		}
		return p
	}
	return &pubsubSink{client, publisher(batchCount), publisher(1)}, nil
}

func (s *pubsubSink) Publish(ctx context.Context, e *Event) error {
	return s.publishRaw(ctx, e.AppendJSON(make([]byte, 0, 1024)), e.Attributes())
}

func (s *pubsubSink) publishRaw(ctx context.Context, data []byte, attributes map[string]string) error {
	m := &pubsub.Message{Data: data, Attributes: attributes}
	err := publish(ctx, s.batch, m)
	if status.Code(err) != codes.InvalidArgument {
		return err
	}
	// One bad event has a whole batch refused. Alone, it costs no other.
	err = publish(ctx, s.single, m)
	if status.Code(err) == codes.InvalidArgument {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func publish(ctx context.Context, p *pubsub.Publisher, m *pubsub.Message) error {
	_, err := p.Publish(ctx, m).Get(ctx)
	if errors.Is(err, pubsub.ErrFlowControllerMaxOutstandingMessages) || errors.Is(err, pubsub.ErrFlowControllerMaxOutstandingBytes) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// Close does not flush: every Publish has returned, so what the publishers may
// still hold was given up, and is spilled.
func (s *pubsubSink) Close(context.Context) error {
	return s.client.Close()
}

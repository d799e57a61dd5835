package event

import (
	"context"
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
	client, err := pubsub.NewClient(ctx, project, option.WithTelemetryDisabled())
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub: %w", err)
	}
	publisher := func(count int) *pubsub.Publisher {
		p := client.Publisher(topic)
		p.PublishSettings.DelayThreshold = batchDelay
		p.PublishSettings.CountThreshold = count
		p.PublishSettings.ByteThreshold = batchBytes
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
	m := &pubsub.Message{Data: e.AppendJSON(nil), Attributes: e.Attributes()}
	_, err := s.batch.Publish(ctx, m).Get(ctx)
	if status.Code(err) != codes.InvalidArgument {
		return err
	}
	// One bad event has a whole batch refused. Alone, it costs no other.
	_, err = s.single.Publish(ctx, m).Get(ctx)
	if status.Code(err) == codes.InvalidArgument {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (s *pubsubSink) Close(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		s.batch.Stop()
		s.single.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
	}
	return s.client.Close()
}

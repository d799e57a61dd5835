package event

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
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
	b := buffers.Get().(*buffer)
	batch := messages{encoded: b.bytes[:0], ends: make([]int, 0, len(events))}
	var data, attributes []byte
	for _, e := range events {
		data = e.AppendJSON(data[:0])
		attributes = attributes[:0]
		for name, value := range e.attributes {
			attributes = appendAttribute(attributes, name, value)
		}
		batch.append(data, attributes)
	}
	err := s.publish(ctx, batch)
	// A call copies what it sends before it sends it, and keeps nothing of it.
	b.free(batch.encoded)
	return err
}

func (s *pubsubSink) publishRaw(ctx context.Context, data []byte, attributes map[string]string) error {
	var encoded []byte
	for name, value := range attributes {
		encoded = appendAttribute(encoded, name, value)
	}
	var batch messages
	batch.append(data, encoded)
	return s.publish(ctx, batch)
}

// messages are the messages of a call as a PublishRequest holds them on the
// wire: the repeated field 2. They are written here because a map for the
// attributes of each event, and protobuf's way through it, take as long as the
// redirect.
type messages struct {
	encoded []byte
	ends    []int // of each message in encoded
}

// Tags of fields of type length-delimited, as protobuf writes them.
const (
	tagMessage   = 2<<3 | 2 // PublishRequest.messages
	tagData      = 1<<3 | 2 // PubsubMessage.data
	tagAttribute = 2<<3 | 2 // PubsubMessage.attributes, an entry of the map
	tagName      = 1<<3 | 2
	tagValue     = 2<<3 | 2
)

// append adds a message of its data and its attributes as [appendAttribute]
// writes them.
func (m *messages) append(data, attributes []byte) {
	dst := append(m.encoded, tagMessage)
	dst = binary.AppendUvarint(dst, uint64(sizeField(len(data))+len(attributes)))
	dst = append(dst, tagData)
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	dst = append(dst, data...)
	m.encoded = append(dst, attributes...)
	m.ends = append(m.ends, len(m.encoded))
}

func appendAttribute(dst []byte, name, value string) []byte {
	dst = append(dst, tagAttribute)
	dst = binary.AppendUvarint(dst, uint64(sizeField(len(name))+sizeField(len(value))))
	dst = append(dst, tagName)
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	dst = append(dst, tagValue)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// sizeField is the length of a field of n bytes with its tag and its length.
func sizeField(n int) int { return 1 + (bits.Len(uint(n)|1)+6)/7 + n }

// slice returns the messages from i to j.
func (m messages) slice(i, j int) messages {
	start := 0
	if i > 0 {
		start = m.ends[i-1]
	}
	part := messages{encoded: m.encoded[start:m.ends[j-1]], ends: make([]int, 0, j-i)}
	for _, end := range m.ends[i:j] {
		part.ends = append(part.ends, end-start)
	}
	return part
}

func (s *pubsubSink) publish(ctx context.Context, batch messages) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.call(ctx, batch)
	if status.Code(err) != codes.InvalidArgument {
		return err
	}
	failures := make(Failures, len(batch.ends))
	s.refused(ctx, batch, failures, err)
	switch {
	case len(failures.Unwrap()) == 0:
		return nil // its parts were taken
	case len(failures) == 1:
		return failures[0]
	}
	return failures
}

// refused finds out which events of a batch that was refused are at fault: one
// bad event has all of its batch refused, and must cost no other.
func (s *pubsubSink) refused(ctx context.Context, batch messages, failures []error, err error) {
	n := len(failures)
	if n == 1 {
		failures[0] = fmt.Errorf("%w: %w", ErrRefused, err)
		return
	}
	for _, half := range [][2]int{{0, n / 2}, {n / 2, n}} {
		batch, failures := batch.slice(half[0], half[1]), failures[half[0]:half[1]]
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
func (s *pubsubSink) call(ctx context.Context, batch messages) error {
	request := &pubsubpb.PublishRequest{Topic: s.topic}
	// What protobuf has not decoded it sends as it is.
	request.ProtoReflect().SetUnknown(batch.encoded)
	// gRPC would keep its copy of a small batch until the answer comes, in a
	// buffer of up to 1 MiB, to send it again by itself. The client does that.
	_, err := s.client.TopicAdminClient.Publish(ctx, request, gax.WithGRPCOptions(grpc.MaxRetryRPCBufferSize(0)))
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *pubsubSink) Close(context.Context) error { return s.client.Close() }

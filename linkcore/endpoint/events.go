package endpoint

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/event/file"
	"example.com/linktracker/linkcore/event/pubsub"
)

// SinkOptions configure [OpenSink].
type SinkOptions struct {
	Timeout time.Duration // of publishing, attempts that are repeated included; default 5 s
	Stdout  io.Writer     // for the sink stdout; default os.Stdout
}

// OpenSink opens the sink that a URL names, as the variable CLICKS does:
//
//	pubsub://PROJECT/TOPIC   a Pub/Sub topic
//	file:PATH                JSON lines, appended; made where it is missing, its folder is not
//	stdout                   JSON lines
//
// It makes no call to Pub/Sub: whether a topic exists is found out by the first
// event.
func OpenSink(ctx context.Context, url string, o SinkOptions) (event.Sink, error) {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if url == "stdout" {
		return file.New(o.Stdout), nil
	}
	if path, ok := strings.CutPrefix(url, "file:"); ok && path != "" {
		return file.Open(path)
	}
	if rest, ok := strings.CutPrefix(url, "pubsub://"); ok {
		project, topic, _ := strings.Cut(rest, "/")
		if project != "" && topic != "" && !strings.ContainsAny(rest, "?#% \t\r\n") && !strings.Contains(topic, "/") {
			return pubsub.Open(ctx, project, topic, o.Timeout)
		}
	}
	return nil, fmt.Errorf("%q is none of pubsub://PROJECT/TOPIC, file:PATH, stdout", url)
}

// Receive receives from the source that a URL names: file:PATH, as [file.Receive]
// does, or pubsub://PROJECT/TOPIC or pubsub://PROJECT/subscriptions/NAME, as
// [pubsub.Receive] does.
func Receive(ctx context.Context, source string, o event.ReceiveOptions, handle func(*event.Received)) error {
	if path, ok := strings.CutPrefix(source, "file:"); ok && path != "" {
		return file.Receive(ctx, path, o, handle)
	}
	if strings.HasPrefix(source, "pubsub://") {
		return pubsub.Receive(ctx, source, o, handle)
	}
	return fmt.Errorf("%w: %q is none of pubsub://PROJECT/TOPIC, pubsub://PROJECT/subscriptions/NAME, file:PATH", event.ErrSource, source)
}

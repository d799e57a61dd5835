package event

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A Sink takes events to where they are safe. Its methods may be called from
// any number of goroutines.
type Sink interface {
	// Publish returns once the event is safe, or with an error when it is not
	// or when the context ends: a sink that does not heed the context keeps
	// responses open. An error that wraps [ErrRefused] says that this one
	// event will never be taken; any other, that the sink does not work now.
	Publish(ctx context.Context, e *Event) error

	// Close ends the sink. No Publish is called then or later.
	Close(ctx context.Context) error
}

// ErrRefused is wrapped by a sink's error for an event that it takes in no
// case, though it would take others.
var ErrRefused = errors.New("the event was refused")

// SinkOptions configure [OpenSink].
type SinkOptions struct {
	Timeout time.Duration // of one attempt to publish a batch; default 5 s
	Stdout  io.Writer     // for the sink stdout; default os.Stdout
}

// OpenSink opens the sink that a URL names, as the variable CLICKS does:
//
//	pubsub://PROJECT/TOPIC   a Pub/Sub topic
//	file:PATH                JSON lines, appended
//	stdout                   JSON lines
//
// It makes no call over the network: whether a topic exists is found out by
// the first event.
func OpenSink(ctx context.Context, url string, o SinkOptions) (Sink, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if url == "stdout" {
		return &lineSink{w: o.Stdout}, nil
	}
	if path, ok := strings.CutPrefix(url, "file:"); ok && path != "" {
		return openFileSink(path)
	}
	if rest, ok := strings.CutPrefix(url, "pubsub://"); ok {
		project, topic, _ := strings.Cut(rest, "/")
		if project != "" && topic != "" && !strings.ContainsAny(topic, "/?#") {
			return openPubSubSink(ctx, project, topic, o)
		}
	}
	return nil, fmt.Errorf("%q is none of pubsub://PROJECT/TOPIC, file:PATH, stdout", url)
}

// lineSink writes each event as one line of JSON in one write, so that lines
// never mix, not even with those of other processes that append to the file.
type lineSink struct {
	mu     sync.Mutex
	w      io.Writer
	close  func() error
	buffer []byte
	torn   bool // the last line may lack its end
}

func openFileSink(path string) (*lineSink, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s := &lineSink{w: f, close: f.Close}
	// A process that died may have left half a line.
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		var last [1]byte
		_, err := f.ReadAt(last[:], info.Size()-1)
		s.torn = err != nil || last[0] != '\n'
	}
	return s, nil
}

func (s *lineSink) Publish(_ context.Context, e *Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.buffer[:0]
	if s.torn {
		line = append(line, '\n')
	}
	line = append(e.AppendJSON(line), '\n')
	s.buffer = line
	n, err := s.w.Write(line)
	if n > 0 {
		s.torn = n < len(line)
	}
	return err
}

func (s *lineSink) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.close == nil {
		return nil
	}
	return s.close()
}

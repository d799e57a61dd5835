package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Sink takes events to where they are safe. Its methods may be called from
// any number of goroutines.
type Sink interface {
	// Publish returns once the events are safe, or with an error when they are
	// not or when the context ends: a sink that does not heed the context keeps
	// responses open. An error that wraps [ErrRefused] says that such an event
	// will never be taken; any other, that the sink does not work. Where it is
	// not the same for all events, the error is a [Failures].
	//
	// A [Delivery] gives a sink of its own one event at a time.
	Publish(ctx context.Context, events ...*Event) error

	// Close ends the sink. No Publish is called then or later.
	Close(ctx context.Context) error
}

// ErrRefused is wrapped by a sink's error for an event that it takes in no
// case, though it would take others.
var ErrRefused = errors.New("the event was refused")

// Failures are the errors of the events of one call, in their order; nil for an
// event that is safe.
type Failures []error

// Error returns the first error and how many there are.
func (f Failures) Error() string {
	errs := f.Unwrap()
	return fmt.Sprintf("%d of %d events: %v", len(errs), len(f), errs[0])
}

// Unwrap returns the errors, for [errors.Is].
func (f Failures) Unwrap() []error {
	return slices.DeleteFunc(slices.Clone(f), func(err error) bool { return err == nil })
}

// failure returns the error of the i-th event of a call.
func failure(err error, i int) error {
	if failures, ok := err.(Failures); ok && i < len(failures) {
		return failures[i]
	}
	return err
}

// batching says how events share calls of a sink.
type batching struct {
	delay time.Duration // how long an event waits for others
	count int           // a call has at most so many events,
	bytes int           // and about so many bytes
	calls int           // so many calls are under way at once
}

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
// event. PUBSUB_EMULATOR_HOST is heeded.
func OpenSink(ctx context.Context, url string, o SinkOptions) (Sink, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if url == "stdout" {
		// A pipe keeps one short line whole, beside those of the log; not many.
		return &lineSink{NewLineWriter(o.Stdout), 1, nil}, nil
	}
	if path, ok := strings.CutPrefix(url, "file:"); ok && path != "" {
		return openFileSink(path)
	}
	if rest, ok := strings.CutPrefix(url, "pubsub://"); ok {
		project, topic, _ := strings.Cut(rest, "/")
		if project != "" && topic != "" && !strings.ContainsAny(rest, "?#% \t\r\n") && !strings.Contains(topic, "/") {
			return openPubSubSink(ctx, project, topic, o)
		}
	}
	return nil, fmt.Errorf("%q is none of pubsub://PROJECT/TOPIC, file:PATH, stdout", url)
}

// lineSink writes each event as one line of JSON.
type lineSink struct {
	lines *LineWriter
	count int // lines in one write
	close func() error
}

func openFileSink(path string) (*lineSink, error) {
	const append = os.O_CREATE | os.O_APPEND
	// Read is only for a look at the last byte.
	f, err := os.OpenFile(path, os.O_RDWR|append, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.OpenFile(path, os.O_WRONLY|append, 0o600)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the folder %s does not exist: make it first", filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	lines := NewLineWriter(f)
	// A process that died, or a disk that was full, may have left half a line.
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		var last [1]byte
		_, err := f.ReadAt(last[:], info.Size()-1)
		lines.torn = err != nil || last[0] != '\n'
	}
	return &lineSink{lines, 256, f.Close}, nil
}

func (s *lineSink) batching() batching { return batching{count: s.count, bytes: 1 << 20, calls: 1} }

func (s *lineSink) Publish(ctx context.Context, events ...*Event) error {
	b := buffers.Get().(*buffer)
	lines := b.bytes[:0]
	for _, e := range events {
		lines = append(e.AppendJSON(lines), '\n')
	}
	err := s.lines.write(ctx, lines)
	if ctx.Err() == nil {
		b.free(lines)
	} // else they may still be in the write that was given up
	return err
}

// buffers are reused: encoded events would be most of the garbage of a click.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ bytes []byte }

// maxBuffer is the largest buffer that is kept, in bytes.
const maxBuffer = 1 << 20

// free gives the buffer back, with what it has grown to.
func (b *buffer) free(grown []byte) {
	if cap(grown) <= maxBuffer {
		b.bytes = grown
		buffers.Put(b)
	}
}

func (s *lineSink) publishRaw(ctx context.Context, data []byte, _ map[string]string) error {
	return s.lines.write(ctx, append(bytes.Clone(data), '\n'))
}

func (s *lineSink) Close(context.Context) error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

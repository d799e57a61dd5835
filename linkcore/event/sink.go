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
	"strings"
	"time"
)

// A Sink takes events to where they are safe. Its methods may be called from
// any number of goroutines.
type Sink interface {
	// Publish returns once the event is safe, or with an error when it is not
	// or when the context ends: a sink that does not heed the context keeps
	// responses open. An error that wraps [ErrRefused] says that this one
	// event will never be taken, one that wraps [ErrBusy] that there is no room
	// for it now; any other, that the sink does not work.
	Publish(ctx context.Context, e *Event) error

	// Close ends the sink. No Publish is called then or later.
	Close(ctx context.Context) error
}

var (
	// ErrRefused is wrapped by a sink's error for an event that it takes in no
	// case, though it would take others.
	ErrRefused = errors.New("the event was refused")

	// ErrBusy is wrapped by a sink's error for an event that it has no room for
	// while it works on others.
	ErrBusy = errors.New("too many events wait for their acknowledgement")
)

// SinkOptions configure [OpenSink].
type SinkOptions struct {
	Timeout time.Duration // of one attempt to publish a batch; default 5 s
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
		return &lineSink{newLineWriter(o.Stdout), nil}, nil
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
	lines *lineWriter
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
	lines := newLineWriter(f)
	// A process that died, or a disk that was full, may have left half a line.
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		var last [1]byte
		_, err := f.ReadAt(last[:], info.Size()-1)
		lines.torn = err != nil || last[0] != '\n'
	}
	return &lineSink{lines, f.Close}, nil
}

func (s *lineSink) Publish(ctx context.Context, e *Event) error {
	return s.lines.write(ctx, append(e.AppendJSON(make([]byte, 0, 1024)), '\n'))
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

// A lineWriter writes lines, each in one write, so that they never mix, not
// even with those of other processes that append to the same file.
type lineWriter struct {
	w    io.Writer
	turn chan struct{} // holds a token while nobody writes
	torn bool          // the last line may lack its end; whoever has the token may use it
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{w: w, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// write writes one line. It returns when the context ends, even if the write
// itself does not: that is what a pipe does that nobody reads. The line must
// not be changed afterwards.
func (l *lineWriter) write(ctx context.Context, line []byte) error {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		done <- l.writeNow(line)
		l.turn <- struct{}{}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lineWriter) writeNow(line []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the writer panicked: %v", p)
		}
	}()
	if l.torn {
		// In the same write: another process may write in between.
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.w.Write(line)
	if n > 0 {
		l.torn = n < len(line)
	}
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}

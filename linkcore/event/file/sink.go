// Package file keeps events as lines of JSON: in a file, or on any writer such as
// standard output. It reads such files, too.
package file

import (
	"context"
	"io"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
)

// A Sink writes each event as one line of JSON, without its attributes.
type Sink struct {
	lines *lines.Writer
	count int // lines in one write
	file  io.Closer
}

// Open returns the sink of a file that lines are appended to. It is made where it
// is missing; its folder is not.
func Open(path string) (*Sink, error) {
	w, f, err := lines.Append(path)
	if err != nil {
		return nil, err
	}
	return &Sink{w, 256, f}, nil
}

// New returns the sink of a writer, such as standard output, which stays open.
func New(w io.Writer) *Sink {
	// A pipe keeps one short line whole, beside those of others; not many.
	return &Sink{lines.NewWriter(w), 1, io.NopCloser(nil)}
}

// Batching implements [event.Sink].
func (s *Sink) Batching() event.Batching {
	return event.Batching{Count: s.count, Bytes: 1 << 20, Calls: 1}
}

// Publish implements [event.Sink].
func (s *Sink) Publish(ctx context.Context, messages []event.Message) error {
	size := 0
	for _, m := range messages {
		size += len(m.Data) + 1
	}
	text := make([]byte, 0, size)
	for _, m := range messages {
		text = append(append(text, m.Data...), '\n')
	}
	return s.lines.WriteContext(ctx, text)
}

// Close implements [event.Sink].
func (s *Sink) Close(context.Context) error { return s.file.Close() }

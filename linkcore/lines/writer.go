package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// A LineWriter writes whole lines, one or more in one write, so that they never
// mix, not even with those of other processes that append to the same file. All
// that share a file must share its LineWriter: an own one does not see that
// another's line was cut, as on a disk that is full, and would write behind it.
type LineWriter struct {
	w     io.Writer
	turn  chan struct{} // holds a token while nobody writes
	torn  bool          // the last line may lack its end; whoever has the token may use it
	ended atomic.Uint64 // writes that came to an end
	stuck atomic.Bool   // none did for the time of patience
}

// patience is how long a write may take, and how long a wait for the turn in
// which no other write comes to an end. A file or a pipe that is that slow is
// read by nobody.
const patience = time.Second

var errStuck = errors.New("nothing could be written for a second")

// NewLineWriter returns a writer of lines; of a LineWriter, itself.
func NewLineWriter(w io.Writer) *LineWriter {
	if l, ok := w.(*LineWriter); ok {
		return l
	}
	l := &LineWriter{w: w, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// Write writes the lines of a log. It gives up after about a second, and while
// an earlier write is stuck at once: a log that nobody reads must not stop
// whoever writes to it.
func (l *LineWriter) Write(lines []byte) (int, error) {
	if l.stuck.Load() && len(l.turn) == 0 {
		return 0, errStuck
	}
	if err := l.writePatiently(bytes.Clone(lines)); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// writePatiently writes whole lines, however many others wait, unless nothing can
// be written for the time of patience. The lines must not be changed afterwards.
func (l *LineWriter) writePatiently(lines []byte) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for waiting := true; waiting; {
		ended := l.ended.Load()
		select {
		case <-l.turn:
			waiting = false
		case <-timer.C:
			if l.ended.Load() == ended {
				l.stuck.Store(true)
				return errStuck
			}
		}
		timer.Reset(patience)
	}
	select {
	case err := <-l.start(lines):
		return err
	case <-timer.C:
		l.stuck.Store(true)
		return errStuck
	}
}

// write writes whole lines. It returns when the context ends, even if the write
// itself does not: that is what a pipe does that nobody reads. The lines must
// not be changed afterwards.
func (l *LineWriter) write(ctx context.Context, lines []byte) error {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-l.start(lines):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start writes, for whoever has the turn, and gives it back.
func (l *LineWriter) start(lines []byte) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := l.writeNow(lines)
		l.ended.Add(1)
		l.stuck.Store(false)
		done <- err
		l.turn <- struct{}{}
	}()
	return done
}

func (l *LineWriter) writeNow(lines []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the writer panicked: %v", p)
		}
	}()
	if l.torn {
		// In the same write: another process may write in between.
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := l.w.Write(lines)
	if n > 0 {
		l.torn = n < len(lines)
	}
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	return err
}

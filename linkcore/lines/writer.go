package lines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// A Writer writes whole lines, one or more in one write, so that they never
// mix, not even with those of other processes that append to the same file. All
// that share a file must share its Writer: an own one does not see that
// another's line was cut, as on a disk that is full, and would write behind it.
type Writer struct {
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

// ErrStuck is returned where nothing could be written for a second.
var ErrStuck = errors.New("nothing could be written for a second")

// NewWriter returns a writer of lines; of a Writer, itself.
func NewWriter(w io.Writer) *Writer {
	if l, ok := w.(*Writer); ok {
		return l
	}
	l := &Writer{w: w, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// Write writes the lines of a log. It gives up after about a second, and while
// an earlier write is stuck at once: a log that nobody reads must not stop
// whoever writes to it.
func (l *Writer) Write(lines []byte) (int, error) {
	if l.stuck.Load() && len(l.turn) == 0 {
		return 0, ErrStuck
	}
	if err := l.WritePatiently(bytes.Clone(lines)); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// WritePatiently writes whole lines, however many others wait, unless nothing can
// be written for the time of patience. The lines must not be changed afterwards.
func (l *Writer) WritePatiently(lines []byte) error {
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
				return ErrStuck
			}
		}
		timer.Reset(patience)
	}
	select {
	case err := <-l.start(lines):
		return err
	case <-timer.C:
		l.stuck.Store(true)
		return ErrStuck
	}
}

// WriteContext writes whole lines. It returns when the context ends, even if the write
// itself does not: that is what a pipe does that nobody reads. The lines must
// not be changed afterwards.
func (l *Writer) WriteContext(ctx context.Context, lines []byte) error {
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
func (l *Writer) start(lines []byte) <-chan error {
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

func (l *Writer) writeNow(lines []byte) (err error) {
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

// Ended returns how many writes have come to an end, well or not.
func (l *Writer) Ended() uint64 { return l.ended.Load() }

// Append opens a file to append lines to, and makes it where it is missing; its
// folder it does not make. A process that died, or a disk that was full, may have
// left half a line, which the first write ends.
func Append(path string) (*Writer, io.Closer, error) {
	const flags = os.O_CREATE | os.O_APPEND
	// Read is only for a look at the last byte.
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.OpenFile(path, os.O_WRONLY|flags, 0o600)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("the folder %s does not exist: make it first", filepath.Dir(path))
	}
	if err != nil {
		return nil, nil, err
	}
	l := NewWriter(f)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		var last [1]byte
		_, err := f.ReadAt(last[:], info.Size()-1)
		l.torn = err != nil || last[0] != '\n'
	}
	return l, f, nil
}

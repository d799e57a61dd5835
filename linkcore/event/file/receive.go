package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
)

// How often a file that is followed is looked at.
const followInterval = 100 * time.Millisecond

// Receive hands the lines of a file to handle, one at a time and blank ones left
// out, until the context ends, at the end of a file that is not followed, or until
// it fails. It returns nil in the first two cases. The file is read as package
// lines does.
func Receive(ctx context.Context, path string, o event.ReceiveOptions, handle func(*event.Received)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if o.Follow {
		var head [2]byte
		if f.ReadAt(head[:], 0); lines.IsCompressed(head[:]) {
			return fmt.Errorf("read %s: %w", path, lines.ErrCompressed)
		}
	}
	if o.FromEnd {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("begin at the end of %s: %w", path, err)
		}
	}
	if o.Ready != nil {
		o.Ready()
	}
	open := func() *lines.Reader {
		r := lines.NewReader(f)
		r.Growing = o.Follow
		return r
	}
	in := open()
	for ctx.Err() == nil {
		m, err := nextMessage(in)
		if m != nil {
			handle(m)
		}
		if err == nil {
			continue
		}
		if err != io.EOF {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if !o.Follow {
			return nil
		}
		again, err := reopened(f, path)
		if err != nil {
			return err
		}
		if again == nil {
			select {
			case <-ctx.Done():
			case <-time.After(followInterval):
			}
			continue
		}
		if again != f {
			// Between the last read and the look something may have come.
			in.Growing = false
			for m, _ := nextMessage(in); m != nil && ctx.Err() == nil; m, _ = nextMessage(in) {
				handle(m)
			}
			f.Close()
			f = again
		}
		in = open()
	}
	return nil
}

// reopened returns where to read on from the beginning if the path has another
// file by now, or the same one cut short; else nil.
func reopened(f *os.File, path string) (*os.File, error) {
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // between two files
	}
	if err != nil {
		return nil, err
	}
	if !os.SameFile(opened, now) {
		again, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return again, err
	}
	if !now.Mode().IsRegular() {
		return nil, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || now.Size() >= at {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// nextMessage returns the next line that is not blank.
func nextMessage(r *lines.Reader) (*event.Received, error) {
	for {
		l, err := r.Next()
		if err != nil {
			return nil, err
		}
		if len(l.Text) == 0 {
			continue
		}
		m := &event.Received{Data: bytes.Clone(l.Text), Line: l.Number}
		if l.TooLong {
			m.Err = fmt.Errorf("this is not an event: %s %w", l.Where(), lines.ErrTooLong)
		}
		return m, nil
	}
}

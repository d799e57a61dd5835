package event

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// How long a line of a file may be, in bytes: as long as a Pub/Sub message,
	// and far longer than any event.
	maxFileLine = 10 << 20

	// How often a file that is followed is looked at.
	followInterval = 100 * time.Millisecond
)

// receiveFile hands over the lines of a file.
func receiveFile(ctx context.Context, path string, o ReceiveOptions, handle func(*Message)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if o.FromEnd {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("begin at the end of %s: %w", path, err)
		}
	}
	o.Ready()
	lines := lineReader{r: bufio.NewReaderSize(f, 64<<10)}
	for ctx.Err() == nil {
		m, err := lines.next(!o.Follow)
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
			for m, _ := lines.next(true); m != nil && ctx.Err() == nil; m, _ = lines.next(true) {
				handle(m)
			}
			f.Close()
			f = again
		}
		lines = lineReader{r: bufio.NewReaderSize(f, 64<<10)}
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

// A lineReader takes messages from lines.
type lineReader struct {
	r       *bufio.Reader
	line    int
	partial []byte // of a line whose end is not there yet
	tooLong bool
}

// next returns the next line that is not blank, or nil and an error. At the end
// of the file a line that lacks its end is one if last is set; otherwise it may
// become longer.
func (l *lineReader) next(last bool) (*Message, error) {
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.partial)+len(part) > maxFileLine {
			l.tooLong = true
		} else {
			l.partial = append(l.partial, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && err != io.EOF:
			return nil, err
		case err == io.EOF && (!last || len(l.partial) == 0):
			return nil, io.EOF
		}
		l.line++
		m := &Message{Data: bytes.TrimSpace(l.partial), Line: l.line}
		if l.tooLong {
			m.err = fmt.Errorf("this is no event: the line is longer than %d bytes", maxFileLine)
		}
		l.partial, l.tooLong = nil, false
		if len(m.Data) > 0 {
			return m, nil
		}
	}
}

// Package lines reads events and log entries as files keep them: one JSON object a
// line among whatever else a log has, one JSON array of objects, or objects that go
// over several lines; compressed by gzip or not, with a byte order mark or not.
//
// Memory is bounded whatever the input holds: what is longer than [Limit] is passed
// over, and said to be.
package lines

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Limit is how long a line or an object may be, in bytes. Cloud Logging takes 256
// KiB, which quotation marks within quotation marks and white space may multiply; an
// event has a few.
const Limit = 1 << 20

var (
	// ErrTooLong says what is wrong with a [Line] that is TooLong.
	ErrTooLong = fmt.Errorf("is longer than %d bytes", Limit)

	// ErrSyntax is wrapped by the error of [Reader.Next] where an array, or objects
	// over several lines, cannot be read on.
	ErrSyntax = errors.New("not JSON")

	// ErrCompressed is returned for a file that grows and is compressed.
	ErrCompressed = errors.New("it is compressed by gzip, and cannot be followed: unpack it, or read it to its end")
)

// A Line is one line or, in an array or where objects go over several lines, one
// object.
type Line struct {
	Text    []byte // without white space around it, good until the next call; empty for a blank line
	Number  int    // of the line that it begins on, from 1
	Object  int    // its own number from 1; 0 for a line
	Start   int64  // how many bytes, unpacked, were taken before it and what stands before it
	At      int64  // where Text begins, in bytes, unpacked
	TooLong bool   // Text is only its beginning
	Last    bool   // the input ended in it, so it may yet become longer
}

// Where returns how a person finds the line.
func (l *Line) Where() string {
	if l.Object > 0 {
		return fmt.Sprintf("object %d, on line %d", l.Object, l.Number)
	}
	return fmt.Sprintf("line %d", l.Number)
}

// A Reader takes an input apart. It is for one goroutine at a time.
type Reader struct {
	// Tee is written all that is taken, unpacked and in order, if it is not nil. Its
	// errors are ignored.
	Tee io.Writer

	// Plain says that the input has lines only. Each is returned as soon as it is
	// there.
	Plain bool

	// Growing says that the input may become longer after its end: a line that lacks
	// its end is kept for the call of Next after io.EOF. Such an input is plain, and
	// not compressed.
	Growing bool

	in         *bufio.Reader
	opened     bool
	compressed bool
	mark       bool // a byte order mark was seen, and not taken
	objects    bool
	array      bool
	arrayAt    int // 0: before its first bracket, 1: in it, 2: after its last
	object     int
	offset     int64
	line       int // that the next byte is on

	// The line or object that is being read.
	current Line
	begun   bool
	text    []byte
}

const (
	byteOrderMark = "\uFEFF"
	gzipMagic     = "\x1f\x8b"
)

// NewReader returns a reader of an input that begins at its beginning.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 64<<10), line: 1}
}

// IsCompressed returns whether a file that begins like this is compressed by gzip.
func IsCompressed(head []byte) bool { return bytes.HasPrefix(head, []byte(gzipMagic)) }

// begins returns whether the input begins like this. It does not wait for more than
// it takes to tell.
func begins(in *bufio.Reader, with string) bool {
	for n := 1; ; n++ {
		if head, _ := in.Peek(n); string(head) != with[:n] || n == len(with) {
			return string(head) == with
		}
	}
}

// Unpack returns what an input holds, unpacked if it is compressed by gzip.
func Unpack(r io.Reader) (unpacked *bufio.Reader, compressed bool, err error) {
	in, ok := r.(*bufio.Reader)
	if !ok {
		in = bufio.NewReaderSize(r, 64<<10)
	}
	if !begins(in, gzipMagic) {
		return in, false, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, true, fmt.Errorf("unpack: %w", err)
	}
	return bufio.NewReaderSize(z, 64<<10), true, nil
}

// Compressed returns whether the input is compressed by gzip.
func (r *Reader) Compressed() (bool, error) {
	err := r.open()
	return r.compressed, err
}

// Objects returns whether the input is an array, or has objects that go over several
// lines.
func (r *Reader) Objects() (bool, error) {
	err := r.open()
	return r.objects, err
}

// Offset returns how many bytes were taken, unpacked.
func (r *Reader) Offset() int64 { return r.offset }

// open looks at how the input begins.
func (r *Reader) open() (err error) {
	if r.opened {
		return nil
	}
	if r.Growing {
		if begins(r.in, gzipMagic) {
			return ErrCompressed
		}
		if _, err := r.in.Peek(1); err != nil {
			return err
		}
	} else if r.in, r.compressed, err = Unpack(r.in); err != nil {
		return err
	}
	r.opened = true
	r.mark = begins(r.in, byteOrderMark)
	if r.Growing || r.Plain {
		return nil
	}
	head, _ := r.in.Peek(4096)
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), " \t\r\n")
	if rest, ok := bytes.CutPrefix(head, []byte("[")); ok {
		// A line of a log may begin with a bracket too, but not with one before an
		// object.
		rest = bytes.TrimLeft(rest, " \t\r\n")
		r.array = len(rest) > 0 && (rest[0] == '{' || rest[0] == ']')
	}
	first, _, _ := bytes.Cut(head, []byte("\n"))
	r.objects = r.array || string(bytes.TrimSpace(first)) == "{"
	return nil
}

// Next returns the next line, blank ones too, or the next object. At the end it
// returns io.EOF.
func (r *Reader) Next() (Line, error) {
	if err := r.open(); err != nil {
		return Line{}, err
	}
	if !r.begun {
		r.current = Line{Number: r.line, Start: r.offset}
		r.text = r.text[:0]
		if r.mark {
			r.mark = false
			r.in.Discard(len(byteOrderMark))
			r.took([]byte(byteOrderMark))
		}
		r.current.At = r.offset
	}
	if r.objects {
		return r.nextObject()
	}
	return r.nextLine()
}

// took counts what was read.
func (r *Reader) took(raw []byte) {
	r.offset += int64(len(raw))
	r.line += bytes.Count(raw, []byte("\n"))
	if r.Tee != nil {
		r.Tee.Write(raw)
	}
}

// keep appends to the text, as far as there is room. A line may end in two bytes
// that are not counted.
func (r *Reader) keep(part []byte) {
	if room := Limit + 2 - len(r.text); len(part) > room {
		part, r.current.TooLong = part[:room], true
	}
	r.text = append(r.text, part...)
}

func (r *Reader) nextLine() (Line, error) {
	for {
		part, err := r.in.ReadSlice('\n')
		r.took(part)
		if err == nil && !r.begun {
			return r.end(part), nil // as it is in the buffer, which is shorter than the limit
		}
		r.keep(part)
		r.begun = r.begun || len(part) > 0
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && r.begun && !r.Growing:
			r.current.Last = true
		case err != nil:
			return Line{}, err
		}
		return r.end(r.text), nil
	}
}

// end returns the line that is done.
func (r *Reader) end(raw []byte) Line {
	r.begun = false
	l := r.current
	left := bytes.TrimLeft(raw, " \t\r\n")
	l.At += int64(len(raw) - len(left))
	l.Text = bytes.TrimRight(left, " \t\r\n")
	if len(l.Text) > Limit {
		l.Text, l.TooLong = l.Text[:Limit], true
	}
	return l
}

func (r *Reader) nextObject() (Line, error) {
	var depth int
	var inString, escaped bool
	for {
		if _, err := r.in.Peek(1); err == io.EOF && depth == 0 {
			if r.array && r.arrayAt < 2 {
				return Line{}, fmt.Errorf("%w: the array has no end, after %d objects: it is cut off", ErrSyntax, r.object)
			}
			return Line{}, io.EOF
		} else if err == io.EOF {
			r.current.Last = true
			return r.end(r.text), nil
		} else if err != nil {
			return Line{}, err
		}
		buffer, _ := r.in.Peek(r.in.Buffered())
		begin, end := 0, -1
		for i, b := range buffer {
			if depth == 0 {
				switch {
				case b == ' ' || b == '\t' || b == '\r' || b == '\n':
				case b == '[' && r.array && r.arrayAt == 0:
					r.arrayAt = 1
				case b == ',' && r.arrayAt == 1:
				case b == ']' && r.arrayAt == 1:
					r.arrayAt = 2
				case b == '{' && (!r.array || r.arrayAt == 1):
					begin, depth = i, 1
					r.object++
					r.current.Object = r.object
					r.current.Number = r.line + bytes.Count(buffer[:i], []byte("\n"))
					r.current.At = r.offset + int64(i)
				default:
					return Line{}, fmt.Errorf("%w: on line %d, after %d objects, %q stands where an object should begin; what follows was not read",
						ErrSyntax, r.line+bytes.Count(buffer[:i], []byte("\n")), r.object, b)
				}
				continue
			}
			switch {
			case escaped:
				escaped = false
			case inString:
				escaped = b == '\\'
				inString = b != '"'
			case b == '"':
				inString = true
			case b == '{' || b == '[':
				depth++
			case b == '}' || b == ']':
				depth--
			}
			if depth == 0 {
				end = i + 1
				break
			}
		}
		done := end >= 0
		if !done {
			end = len(buffer)
			if depth == 0 {
				begin = end
			}
		}
		r.keep(buffer[begin:end])
		r.took(buffer[:end])
		r.in.Discard(end)
		if done {
			return r.end(r.text), nil
		}
	}
}

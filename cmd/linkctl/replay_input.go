package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// maxEntry bounds one log entry of an input, in bytes. Cloud Logging takes 256
// KiB, and prints them with some white space.
const maxEntry = 4 << 20

// A chunk is a part of an input that may hold a spilled event: a line, or an
// element of a JSON array.
type chunk struct {
	data   []byte
	line   int               // from 1
	start  int64             // where it begins, in bytes
	before [sha256.Size]byte // SHA-256 of all that is before it
	err    error             // why data is not all there
	last   bool              // the input ended in it, so it may yet become longer
}

// A chunkReader takes an input apart: JSON lines mixed with whatever else a log
// has, or the JSON array that `gcloud logging read --format=json` prints.
type chunkReader struct {
	r      *bufio.Reader
	array  bool
	opened bool // the array's first bracket was read
	closed bool // and its last
	offset int64
	line   int // that the next byte is in
	hash   hash.Hash
}

func newChunkReader(r io.Reader) *chunkReader {
	c := &chunkReader{r: bufio.NewReaderSize(r, 64<<10), line: 1, hash: sha256.New()}
	// A log line may begin with a bracket, too, but not with one before an object.
	head, _ := c.r.Peek(1024)
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\uFEFF")), " \t\r\n")
	if rest, ok := bytes.CutPrefix(head, []byte("[")); ok {
		rest = bytes.TrimLeft(rest, " \t\r\n")
		c.array = len(rest) > 0 && (rest[0] == '{' || rest[0] == ']')
	}
	return c
}

// sum returns the SHA-256 of all that was read.
func (c *chunkReader) sum() (sum [sha256.Size]byte) {
	c.hash.Sum(sum[:0])
	return sum
}

// next returns the next chunk, or io.EOF.
func (c *chunkReader) next() (*chunk, error) {
	k := &chunk{start: c.offset, before: c.sum(), line: c.line}
	read := c.readLine
	if c.array {
		read = c.readElement
	}
	if err := read(k); err != nil {
		return nil, err
	}
	return k, nil
}

// took counts what was read.
func (c *chunkReader) took(raw []byte) {
	c.hash.Write(raw)
	c.offset += int64(len(raw))
	c.line += bytes.Count(raw, []byte("\n"))
}

func (c *chunkReader) readLine(k *chunk) error {
	for {
		part, err := c.r.ReadSlice('\n')
		c.took(part)
		if room := maxEntry - len(k.data); len(part) > room {
			k.data = append(k.data, part[:room]...)
			k.err = fmt.Errorf("is longer than %d bytes", maxEntry)
		} else {
			k.data = append(k.data, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && c.offset > k.start:
			k.last = true
		case err != nil:
			return err
		}
		if k.start == 0 {
			k.data = bytes.TrimPrefix(k.data, []byte("\uFEFF")) // as Windows editors begin a file
		}
		k.data = bytes.TrimSpace(k.data)
		return nil
	}
}

func (c *chunkReader) readElement(k *chunk) error {
	var (
		raw               []byte // separators, and the element from begin on
		begin             = -1
		depth             int
		inString, escaped bool
	)
	defer func() { c.took(raw) }()
	for {
		b, err := c.r.ReadByte()
		if err == io.EOF && begin < 0 {
			if !c.closed {
				return errors.New("the JSON array has no end: the file is cut off")
			}
			return io.EOF
		}
		if err == io.EOF {
			k.data, k.last = raw[begin:], true
			return nil
		}
		if err != nil {
			return err
		}
		raw = append(raw, b)
		switch {
		case begin < 0:
			switch {
			case b == ' ' || b == '\t' || b == '\r' || b == '\n' || k.start == 0 && bytes.HasPrefix([]byte("\uFEFF"), raw):
			case b == '[' && !c.opened:
				c.opened = true
			case b == ',' && c.opened && !c.closed:
			case b == ']' && c.opened && !c.closed:
				c.closed = true
			case b == '{' && c.opened && !c.closed:
				begin, depth = len(raw)-1, 1
				k.line += bytes.Count(raw, []byte("\n"))
			default:
				return fmt.Errorf("line %d: %q is not where a log entry of a JSON array begins", c.line+bytes.Count(raw, []byte("\n")), b)
			}
			continue
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
			k.data = raw[begin:]
			return nil
		}
		if len(raw) > maxEntry {
			return fmt.Errorf("line %d: a log entry is longer than %d bytes", k.line, maxEntry)
		}
	}
}

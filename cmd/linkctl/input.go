package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// maxLine bounds a line of standard input, in bytes. It is far beyond the
// longest link (8,000 bytes) and request target (16,384).
const maxLine = 64 << 10

// An item is one thing that a verb works on.
type item struct {
	text string
	line int // of standard input, from 1; 0 for an argument
}

// errorf makes an error that says which line it speaks of. An argument needs no
// such help: the message quotes it.
func (i item) errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if i.line == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", i.line, err)
}

// errLineTooLong is yielded with the item of a line that was skipped for its
// length; reading goes on.
var errLineTooLong = fmt.Errorf("is longer than %d bytes", maxLine)

// items yields the arguments or, if there are none, the lines of standard input
// without surrounding white space, blank lines and, if comments is set, those
// that begin with '#'. what names the items in errors, in the plural.
//
// An error ends the iteration, [errLineTooLong] excepted. A list that is empty
// is an error: a variable that was not set must not look like success.
func (t *tool) items(ctx context.Context, args []string, what string, comments bool) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for _, arg := range args {
			if !yield(item{text: strings.TrimSpace(arg)}, nil) {
				return
			}
		}
		if len(args) > 0 {
			return
		}
		if isTerminal(t.stdin) {
			yield(item{}, usagef("no %s: give them as arguments, or one a line on standard input", what))
			return
		}

		r := bufio.NewReader(interruptible(ctx, t.stdin))
		empty := true
		for n := 1; ; n++ {
			if r.Buffered() == 0 {
				// The reader may wait now; whoever feeds it line by line gets
				// what he is owed first.
				t.stdout.Flush()
			}
			text, tooLong, err := readLine(r)
			if err == io.EOF {
				break
			}
			if err != nil {
				yield(item{}, fmt.Errorf("read standard input: %w", err))
				return
			}
			if n == 1 {
				text = strings.TrimPrefix(text, "\uFEFF") // as Windows editors begin a file
			}
			it := item{text: strings.TrimSpace(text), line: n}
			switch {
			case tooLong:
				empty = false
				if !yield(it, errLineTooLong) {
					return
				}
			case it.text == "" || comments && it.text[0] == '#':
			default:
				empty = false
				if !yield(it, nil) {
					return
				}
			}
		}
		if empty {
			yield(item{}, usagef("no %s: standard input is empty", what))
		}
	}
}

// readLine returns the next line without its end, cut to maxLine bytes if
// tooLong is set.
func readLine(r *bufio.Reader) (line string, tooLong bool, err error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		if room := maxLine - len(b); len(part) > room {
			tooLong = tooLong || len(strings.TrimRight(string(part[room:]), "\r\n")) > 0
			b = append(b, part[:room]...)
		} else {
			b = append(b, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(b) > 0:
			return string(b), tooLong, nil
		case err != nil:
			return "", false, err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), tooLong, nil
	}
}

// interruptible returns a reader of r whose Read returns when ctx ends, though r
// goes on waiting: a read of standard input cannot be called off.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { pr.CloseWithError(ctx.Err()) })
	return pr
}

// A finding is what a verb that checks says of one item.
type finding interface {
	good() bool
	writeTo(*tool) error // for people
}

// check writes what find makes of each item, whose error is nil or
// [errLineTooLong], and answers no if one is not good.
func (t *tool) check(ctx context.Context, args []string, what string, asJSON bool, find func(item, error) finding) error {
	first, bad := true, false
	for it, err := range t.items(ctx, args, what, false) {
		if err != nil && !errors.Is(err, errLineTooLong) {
			return err
		}
		found := find(it, err)
		bad = bad || !found.good()
		if asJSON {
			err = t.writeJSON(found)
		} else {
			if !first {
				t.stdout.WriteByte('\n')
			}
			err = found.writeTo(t)
		}
		if err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
		first = false
	}
	if bad {
		return errNo
	}
	return nil
}

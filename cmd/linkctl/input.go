package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"example.com/linktracker/linkcore/lines"
)

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

// items yields the arguments or, if there are none, the lines of standard input
// without surrounding white space, blank lines and, if comments is set, those
// that begin with '#'. what names the items in errors, in the plural.
//
// An error ends the iteration, but for [lines.ErrTooLong], which comes with the item
// of a line that was passed over. A list that is empty
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

		r := lines.NewReader(flushing{interruptible(ctx, t.stdin), t})
		r.Plain = true
		empty := true
		for {
			l, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				yield(item{}, fmt.Errorf("read standard input: %w", err))
				return
			}
			it := item{text: strings.TrimSpace(string(l.Text)), line: l.Number}
			if l.TooLong {
				err = lines.ErrTooLong
			} else if it.text == "" || comments && it.text[0] == '#' {
				continue
			}
			empty = false
			if !yield(it, err) {
				return
			}
		}
		if empty {
			yield(item{}, usagef("no %s: standard input is empty", what))
		}
	}
}

// flushing gives whoever feeds standard input line by line what he is owed before it
// waits for more.
type flushing struct {
	io.Reader
	t *tool
}

func (f flushing) Read(p []byte) (int, error) {
	f.t.stdout.Flush()
	return f.Reader.Read(p)
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
// [lines.ErrTooLong], and answers no if one is not good.
func (t *tool) check(ctx context.Context, args []string, what string, asJSON bool, find func(item, error) (finding, error)) error {
	first, bad := true, false
	for it, err := range t.items(ctx, args, what, false) {
		if err != nil && !errors.Is(err, lines.ErrTooLong) {
			return err
		}
		found, err := find(it, err)
		if err != nil {
			return err
		}
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

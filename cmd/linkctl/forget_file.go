package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// erased is what was found in an events file.
type erased struct {
	matched int64 // lines of the person
	unclear []int // lines that hold the recipient's name, and cannot be understood
	torn    bool  // so does the last one, which has no end yet
}

func (e erased) unsure() bool { return len(e.unclear) > 0 || e.torn }

// eraseLines finds a person's lines in an events file and, if erase is set,
// overwrites them with blanks.
//
// In place, because the endpoint has the file open and appends to it: with a new
// file under the name its events would go to the one that nobody sees any more,
// and what it appends while a copy is made would be lost. Lines keep their
// offsets, which readers of the file remember. A line is one write, so it is there
// or gone, unless the machine dies meanwhile.
func eraseLines(ctx context.Context, path string, f *forgetting, erase bool) (found erased, err error) {
	mode := os.O_RDONLY
	if erase {
		mode = os.O_RDWR
	}
	file, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := file.Stat(); err != nil {
		return found, err
	} else if !info.Mode().IsRegular() {
		return found, fmt.Errorf("%s is no regular file: name the events file itself", path)
	}
	in := bufio.NewReaderSize(file, 1<<20)
	if head, _ := in.Peek(512); bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		return found, fmt.Errorf("%s is compressed, and lines in it cannot be deleted: unpack it first, or delete it", path)
	} else if bytes.HasPrefix(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xEF\xBB\xBF")), " \t\r\n"), []byte("[")) {
		return found, fmt.Errorf("%s is one array and not lines: delete it, and export it again if it is still needed", path)
	}

	name := []byte(f.recipient)
	var long []byte
	at := int64(0) // where the line begins
	for number := 1; ; number++ {
		if number%1024 == 0 && ctx.Err() != nil {
			return found, ctx.Err()
		}
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			long = append(long[:0], line...)
			for err == bufio.ErrBufferFull {
				line, err = in.ReadSlice('\n')
				long = append(long, line...)
			}
			line = long
		}
		if err != nil && err != io.EOF {
			return found, fmt.Errorf("read %s: %w", path, err)
		}
		if bytes.Contains(line, name) {
			text := bytes.TrimRight(line, "\r\n")
			switch is, readable := f.isOf(text); {
			case err == io.EOF && !is:
				found.torn = found.torn || !readable
			case !readable:
				found.unclear = append(found.unclear, number)
			case is:
				found.matched++
				if erase {
					if _, err := file.WriteAt(bytes.Repeat([]byte{' '}, len(text)), at); err != nil {
						return found, fmt.Errorf("overwrite line %d of %s: %w", number, path, err)
					}
				}
			}
		}
		at += int64(len(line))
		if err == io.EOF {
			break
		}
	}
	if erase && found.matched > 0 {
		if err := file.Sync(); err != nil {
			return found, err
		}
	}
	return found, nil
}

// A personLine is what says of whom a line is: of an event, of one that was
// spilled, as the endpoint logs it or as Cloud Logging exports it.
type personLine struct {
	Customer  *string     `json:"customer"`
	Recipient *string     `json:"recipient"`
	Rule      *string     `json:"rule"`
	Event     *personLine `json:"event"`
	Payload   *personLine `json:"jsonPayload"`
}

// isOf tells whether a line is of the person: by the recipient or, where nothing
// was recorded of him, by the rule that says so.
func (f *forgetting) isOf(line []byte) (is, readable bool) {
	var p personLine
	if json.Unmarshal(line, &p) != nil {
		return false, false
	}
	for q := &p; q != nil; {
		text := func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		}
		if text(q.Customer) == f.customer && text(q.Recipient) == f.recipient || text(q.Rule) == f.rule.String() {
			return true, true
		}
		if q.Payload != nil {
			q = q.Payload
		} else {
			q = q.Event
		}
	}
	return false, true
}

// warnOf says what could not be decided about a file.
func (f *forgetting) warnOf(path string, found erased) {
	if len(found.unclear) > 0 {
		f.t.complain("%s: %s with %q cannot be understood, the first is line %d: look at them yourself",
			path, amount(int64(len(found.unclear)), "line"), f.recipient, found.unclear[0])
	}
	if found.torn {
		f.t.complain("%s: the last line has no end yet and may be of this person: run this again", path)
	}
}

package erase

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
)

// found is what was found in an events file.
type found struct {
	matched int   // lines of the person
	unclear []int // lines that hold the recipient's name, and cannot be understood
	torn    bool  // so does the last one, which has no end yet
}

func (f found) unsure() bool { return len(f.unclear) > 0 || f.torn }

// eraseLines finds a person's lines in an events file and, if erase is set,
// overwrites them with blanks.
//
// In place, because the endpoint has the file open and appends to it: with a new
// file under the name its events would go to the one that nobody sees any more,
// and what it appends while a copy is made would be lost. Lines keep their
// offsets, which readers of the file remember. A line is one write, so it is there
// or gone, unless the machine dies meanwhile.
func eraseLines(ctx context.Context, path string, p *person, erase bool) (found found, err error) {
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
		return found, fmt.Errorf("%s is not a regular file: name the events file itself", path)
	}
	in := lines.NewReader(file)
	if compressed, err := in.Compressed(); compressed {
		return found, fmt.Errorf("%s is compressed, and lines in it cannot be deleted: unpack it first, or delete it", path)
	} else if err != nil && err != io.EOF {
		return found, fmt.Errorf("read %s: %w", path, err)
	}
	if objects, _ := in.Objects(); objects {
		return found, fmt.Errorf("%s is one array and not lines: delete it, and export it again if it is still needed", path)
	}
	names := &mentions{name: []byte(p.recipient)}
	in.Tee = names
	for number := 1; ; number++ {
		if number%1024 == 0 && ctx.Err() != nil {
			return found, ctx.Err()
		}
		names.begin()
		line, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return found, fmt.Errorf("read %s: %w", path, err)
		}
		if !names.found {
			continue
		}
		is, clear := false, false
		if !line.TooLong {
			is, clear = p.isOf(line.Text)
		}
		switch {
		case is:
			found.matched++
			if erase {
				if _, err := file.WriteAt(bytes.Repeat([]byte{' '}, len(line.Text)), line.At); err != nil {
					return found, fmt.Errorf("overwrite line %d of %s: %w", line.Number, path, err)
				}
			}
		case clear:
		case line.Last && !line.TooLong && !json.Valid(line.Text):
			found.torn = true
		default:
			found.unclear = append(found.unclear, line.Number)
		}
	}
	if erase && found.matched > 0 {
		if err := file.Sync(); err != nil {
			return found, err
		}
	}
	return found, nil
}

// isOf returns whether a line is of the person: by the recipient or, where nothing
// was recorded of them, by the rule that says so. clear is whether it is, or is an
// event that says that it is not.
func (p *person) isOf(line []byte) (is, clear bool) {
	var e struct {
		ID        string `json:"event_id"`
		Type      string `json:"event_type"`
		Customer  string `json:"customer"`
		Recipient string `json:"recipient"`
		Rule      string `json:"rule"`
	}
	if json.Unmarshal(event.Unwrap(line), &e) != nil {
		return false, false
	}
	is = e.Customer == p.customer && e.Recipient == p.recipient || e.Rule == p.rule
	return is, is || e.ID != "" && e.Type != ""
}

// mentions finds a name in all that is written to it, as text or with characters
// escaped as in JSON or in a URL. Of the person in a sealed link nobody knows
// without its key.
type mentions struct {
	name  []byte
	tail  []byte // of what was written before, as the name may lie across
	found bool
}

// escaped is a character of a name as JSON or a URL may write it, or as JSON inside
// of a string of JSON, or a URL inside of a URL.
var escaped = regexp.MustCompile(`\\{1,4}u00[0-7][0-9A-Fa-f]|%(?:25){0,3}[0-7][0-9A-Fa-f]`)

func (m *mentions) begin() { m.tail, m.found = m.tail[:0], false }

func (m *mentions) Write(p []byte) (int, error) {
	if m.found {
		return len(p), nil
	}
	text := append(m.tail, p...)
	m.found = bytes.Contains(text, m.name)
	if !m.found && bytes.ContainsAny(text, `\%`) {
		plain := escaped.ReplaceAllFunc(text, func(code []byte) []byte {
			c, _ := strconv.ParseUint(string(code[len(code)-2:]), 16, 8)
			return []byte{byte(c)}
		})
		m.found = bytes.Contains(plain, m.name)
	}
	const longest = 9 // bytes of a character that is escaped
	m.tail = append(m.tail[:0], text[max(0, len(text)-longest*len(m.name)):]...)
	return len(p), nil
}

package report

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
)

const (
	// Where names are cut, in bytes.
	maxName = 2048

	// What decides whether an event is automated may lie outside of the period
	// that is asked for, by this much.
	margin = 2 * time.Minute
)

// Options say what a report counts.
type Options struct {
	Customer string // only of this customer; "": of all but monitoring's own
	Campaign string // only of this campaign; "": of all

	Since time.Time // from then on; zero: from the beginning
	Until time.Time // before then; zero: to the end

	TempDir string // for what does not fit into memory; default os.TempDir
}

// A Collector takes events in and makes a [Report] of them. It is for one
// goroutine at a time.
type Collector struct {
	o      Options
	spool  *spool
	record []byte

	input       Input
	first, last time.Time // of the clicks
}

// An Input says what was read.
type Input struct {
	Files []File `json:"files"`

	Events     int64 `json:"events"`      // lines and messages that are events
	Duplicates int64 `json:"duplicates"`  // of them, those that were there already
	LeftOut    int64 `json:"left_out"`    // of them, those that a filter leaves out
	Probes     int64 `json:"probes"`      // of them, those of monitoring, left out
	Verdicts   int64 `json:"verdicts"`    // of them, those that only speak of others
	OtherTypes int64 `json:"other_types"` // of them, those of a type that is not known here
	Unreadable int64 `json:"unreadable"`  // lines that are not events, and should be
	NotEvents  int64 `json:"not_events"`  // lines that are JSON of another kind, such as a log's
}

// A File is what was read of one file or subscription.
type File struct {
	Name       string `json:"name"`
	Events     int64  `json:"events"`
	Unreadable int64  `json:"unreadable"`
	NotEvents  int64  `json:"not_events"`
	Problem    string `json:"problem,omitempty"` // the first, if something was not readable
}

// NewCollector returns an empty collector. Close it in the end.
func NewCollector(o Options) *Collector {
	return &Collector{o: o, spool: newSpool(o.TempDir, spoolMemory)}
}

// Close removes what the collector keeps on disk.
func (c *Collector) Close() error { return c.spool.close() }

// OpenFile opens a file of events. A folder is refused.
func OpenFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("read %s: it is a folder: name the files in it", path)
	}
	return f, nil
}

// ReadFile reads a file: see [Collector.Read].
func (c *Collector) ReadFile(ctx context.Context, path string) error {
	f, err := OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.Read(ctx, path, f)
}

// Read reads JSON: an object a line, or one array of objects, or objects that go
// over several lines; compressed by gzip or not. name is what the report calls
// it. What cannot be understood is counted. The error is one of reading itself or
// of the context.
func (c *Collector) Read(ctx context.Context, name string, r io.Reader) error {
	c.Begin(name)
	in := lines.NewReader(r)
	for number := 1; ; number++ {
		if number%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := in.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, lines.ErrSyntax):
			c.unreadable(err.Error())
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		case line.TooLong:
			c.unreadable(fmt.Sprintf("%s %v", line.Where(), lines.ErrTooLong))
		case len(line.Text) > 0:
			if err := c.add(line.Text, &line); err != nil {
				return err
			}
		}
	}
}

// Begin begins a source of events that [Collector.Add] adds, such as a
// subscription.
func (c *Collector) Begin(name string) {
	c.input.Files = append(c.input.Files, File{Name: name})
}

// Add adds an event as JSON, such as a message's data. What is none is counted.
// The error is one of the temporary file.
func (c *Collector) Add(data []byte) error { return c.add(data, nil) }

func (c *Collector) unreadable(problem string) {
	file := &c.input.Files[len(c.input.Files)-1]
	file.Unreadable++
	c.input.Unreadable++
	if file.Problem == "" {
		file.Problem = problem
	}
}

// What an event is, in a record.
const (
	typeClick byte = iota
	typeOpen
	typeUnsubscribe
	typeObjection
	typeWithdrawal
	typeBlocked
	typeCount
)

// The last byte of a key.
const (
	aboutEvent byte = iota // a verdict, and nothing follows
	theEvent
)

// What an event says of who made it.
const (
	storedUnclassed byte = iota
	storedHuman
	storedSuspect
	storedAutomated
)

const (
	flagUntracked = 1 << iota
	flagRedirected
)

func (c *Collector) add(data []byte, line *lines.Line) error {
	file := &c.input.Files[len(c.input.Files)-1]
	e, err := ParseEvent(data)
	switch {
	case err == ErrOther:
		file.NotEvents++
		c.input.NotEvents++
		return nil
	case err != nil && line == nil:
		c.unreadable("a message " + err.Error())
		return nil
	case err != nil:
		c.unreadable(fmt.Sprintf("%s %v", line.Where(), err))
		return nil
	}
	file.Events++
	c.input.Events++

	var kind byte
	switch event.Type(e.Type) {
	case event.Click:
		kind = typeClick
	case event.Open:
		kind = typeOpen
	case event.Unsubscribe:
		kind = typeUnsubscribe
	case event.Objection:
		kind = typeObjection
	case event.ObjectionWithdrawn:
		kind = typeWithdrawal
	case event.Blocked:
		kind = typeBlocked
	case event.Verdict:
		c.input.Verdicts++
		if len(e.About) == 0 {
			return nil
		}
		return c.addVerdict(e.About)
	default:
		c.input.OtherTypes++
		return nil
	}
	switch {
	case c.o.Customer == "" && e.Customer == linkcore.ProbeCustomer:
		c.input.Probes++
		return nil
	case c.o.Customer != "" && e.Customer != c.o.Customer,
		c.o.Campaign != "" && e.Campaign != c.o.Campaign:
		c.input.LeftOut++
		return nil
	}
	if !c.inPeriod(e.OccurredAt.Time) {
		c.input.LeftOut++
		if !c.o.Since.IsZero() && e.OccurredAt.Before(c.o.Since.Add(-margin)) ||
			!c.o.Until.IsZero() && e.OccurredAt.After(c.o.Until.Add(margin)) {
			return nil
		}
	} else if kind == typeClick {
		if c.first.IsZero() || e.OccurredAt.Before(c.first) {
			c.first = e.OccurredAt.Time
		}
		if e.OccurredAt.After(c.last) {
			c.last = e.OccurredAt.Time
		}
	}

	key := keyOf(e.ID)
	r := append(c.record[:0], key[:]...)
	r = append(r, theEvent, kind)
	var flags byte
	class := storedUnclassed
	switch event.Automation(e.Automation) {
	case event.Human:
		class = storedHuman
	case event.Suspect:
		class = storedSuspect
	case event.Automated:
		class = storedAutomated
	}
	if e.Untracked {
		flags |= flagUntracked
	}
	if len(e.RedirectedTo) > 0 {
		flags |= flagRedirected
	}
	r = append(r, class, flags)
	r = binary.AppendVarint(r, e.OccurredAt.UnixMicro())
	sent := int64(math.MinInt64)
	if !e.SentAt.IsZero() {
		sent = e.SentAt.Unix()
	}
	r = binary.AppendVarint(r, sent)
	for _, s := range [...]string{e.Customer, e.Campaign, e.Recipient, e.Link, e.Destination, e.Rule} {
		s = s[:min(len(s), maxName)]
		r = append(binary.AppendUvarint(r, uint64(len(s))), s...)
	}
	c.record = r
	return c.spool.add(r)
}

// addVerdict adds that an event is automated.
func (c *Collector) addVerdict(about string) error {
	key := keyOf(about)
	c.record = append(append(c.record[:0], key[:]...), aboutEvent)
	return c.spool.add(c.record)
}

func (c *Collector) inPeriod(t time.Time) bool {
	return !t.Before(c.o.Since) && (c.o.Until.IsZero() || t.Before(c.o.Until))
}

// keyOf returns the 16 bytes of a UUID. One of version 7 begins with its time, so
// that keys in their order are events in theirs. Of another id it returns a hash.
func keyOf(id string) (key [16]byte) {
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		var digits [32]byte
		n := copy(digits[:], id[:8])
		n += copy(digits[n:], id[9:13])
		n += copy(digits[n:], id[14:18])
		n += copy(digits[n:], id[19:23])
		copy(digits[n:], id[24:])
		if _, err := hex.Decode(key[:], digits[:]); err == nil {
			return key
		}
	}
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:])
}

// formatKey writes the id in a record's key as a UUID, of which keyOf makes the
// same key.
func formatKey(record []byte) string {
	s := hex.EncodeToString(record[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// A stored is an event as a record holds it. Its slices are good as long as the
// record.
type stored struct {
	kind, class, flags                                     byte
	occurredAt                                             time.Time
	sentAt                                                 int64 // Unix seconds; math.MinInt64: not said
	customer, campaign, recipient, link, destination, rule []byte
}

var errRecord = errors.New("the temporary file is damaged")

func (e *stored) decode(record []byte) error {
	r := record[keyLength:]
	if len(r) < 3 {
		return errRecord
	}
	e.kind, e.class, e.flags = r[0], r[1], r[2]
	r = r[3:]
	micro, n := binary.Varint(r)
	sent, m := binary.Varint(r[max(n, 0):])
	if n <= 0 || m <= 0 || e.kind >= typeCount {
		return errRecord
	}
	e.occurredAt, e.sentAt = time.UnixMicro(micro).UTC(), sent
	r = r[n+m:]
	for _, s := range [...]*[]byte{&e.customer, &e.campaign, &e.recipient, &e.link, &e.destination, &e.rule} {
		length, n := binary.Uvarint(r)
		if n <= 0 || uint64(len(r)-n) < length {
			return errRecord
		}
		*s, r = r[n:n+int(length)], r[n+int(length):]
	}
	return nil
}

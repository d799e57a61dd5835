// Package file keeps the rules of a blocklist in a file of JSON lines.
// BLOCKLIST.md, in the folder above, says what a line may hold and what else
// may write to the file.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/durable"
	"example.com/linktracker/linkcore/lines"
)

// settled is how long a file must not have changed to be taken as unchanged:
// the clock of a file system may not tell two writes apart that are closer.
const settled = 2 * time.Second

// checkTime bounds how long opening a source looks for its file.
const checkTime = time.Second

// File is the [blocklist.Backend] of a file of JSON lines: one rule a line,
// with the fields of a document, times as in RFC 3339. What is not a rule is
// skipped, so a line that somebody is still writing does no harm.
type File struct {
	path string

	// What follows belongs to Read.
	seen   fs.FileInfo // of the file that was read last; nil: none
	readAt time.Time   // wall clock
}

// unchanged reports whether the file is the one that was read last.
func (f *File) unchanged(info fs.FileInfo) bool {
	return f.seen != nil && os.SameFile(f.seen, info) && f.seen.Size() == info.Size() && f.seen.ModTime().Equal(info.ModTime()) &&
		f.readAt.Sub(info.ModTime()) >= settled
}

// New returns the backend of a file, which need not exist: the first Put or Add
// makes it. Nothing is read or written before the first call.
func New(path string) *File { return &File{path: path} }

// Open is [New] for who reads: the file must exist and be a regular one. It is
// no error if its file system does not answer within a second; Read then finds
// out.
func Open(path string) (*File, error) {
	f := New(path)
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// check reports whether the file can be read now. It is not an error if the file
// system does not answer within checkTime.
func (f *File) check() error {
	checked := make(chan error, 1)
	go func() {
		file, err := f.open()
		if err == nil {
			err = file.Close()
		}
		checked <- err
	}()
	timer := time.NewTimer(checkTime)
	defer timer.Stop()
	select {
	case err := <-checked:
		return err
	case <-timer.C:
		return nil
	}
}

func (f *File) open() (*os.File, error) {
	if _, err := statRegular(f.path); err != nil {
		return nil, fmt.Errorf("opening the rules: %w", err)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("opening the rules: %w", err)
	}
	return file, nil
}

// statRegular refuses what is not a regular file. It comes before the file is
// opened: opening a pipe would wait for its writer.
func statRegular(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return info, err
}

// Read implements [blocklist.Source]. It yields the whole file, or nothing if
// the file has not changed since the last Read that ended well and since is not
// zero.
func (f *File) Read(ctx context.Context, since time.Time, _ string, yield func(blocklist.Document)) (bool, error) {
	file, err := f.open()
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("opening the rules: %w", err)
	}
	if !since.IsZero() && f.unchanged(info) {
		return false, nil
	}
	now := time.Now()
	f.seen = nil
	if err = readDocuments(ctx, file, yield); err != nil {
		return false, fmt.Errorf("reading %s: %w", f.path, err)
	}
	f.seen, f.readAt = info, now
	return true, nil
}

// Get implements [blocklist.Source].
func (f *File) Get(context.Context, []string) ([]blocklist.Document, error) {
	return nil, errors.ErrUnsupported
}

// Count implements [blocklist.Source].
func (f *File) Count(context.Context, time.Time) (int, error) { return 0, errors.ErrUnsupported }

// Close implements [blocklist.Backend].
func (f *File) Close() error { return nil }

// readDocuments yields a document for each line that is not blank; one of a line
// that is too long only says so.
func readDocuments(ctx context.Context, r io.Reader, yield func(blocklist.Document)) error {
	in := lines.NewReader(r)
	in.Growing = true // one rule a line, whatever the first one looks like
	ids := lineIDs{}
	for {
		line, err := in.Next()
		if err == io.EOF && in.Growing {
			in.Growing = false // the last line may lack its end
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if len(line.Text) == 0 {
			continue
		}
		d := ids.document(line.Text, line.TooLong)
		if d.OwnID() == "" {
			d.Where = line.Where() // somebody has to find it
		}
		yield(d)
	}
}

// lineIDs gives lines the ids that documents have: the one that its kind and
// value make, so that a line keeps it wherever it moves. A second line of the
// same kind and value gets a higher one.
//
// They are told apart by their first 16 letters, which is 96 bits of a hash.
type lineIDs map[[16]byte]int

// document reads a line.
func (ids lineIDs) document(line []byte, tooLong bool) blocklist.Document {
	var d blocklist.Document
	if tooLong {
		d.Err = lineError("%v", lines.ErrTooLong)
	} else {
		d = decodeLine(line)
	}
	if d.ID = d.OwnID(); d.ID == "" {
		d.ID = blocklist.DocumentID(string(line))
	}
	var key [16]byte
	copy(key[:], d.ID)
	ids[key]++
	if n := ids[key]; n > 1 {
		d.ID = fmt.Sprintf("%s-%06d", d.ID, n)
	}
	return d
}

// decodeLine reads a JSON object.
func decodeLine(line []byte) (d blocklist.Document) {
	if decodeFlat(string(line), &d) {
		return d
	}
	var fields map[string]any
	d = blocklist.Document{}
	if err := json.Unmarshal(line, &fields); err != nil {
		d.Err = lineError("is not a JSON object: %v", err)
	} else if fields == nil {
		d.Err = lineError("is null")
	}
	for name, value := range fields {
		s, isText := value.(string)
		if t, err := time.Parse(time.RFC3339, s); isText && isTime(name) && err == nil {
			value = t
		}
		d.Set(name, value)
	}
	return d
}

func isTime(field string) bool { return strings.HasSuffix(field, "_at") }

// decodeFlat reads what most lines are, many times as fast as encoding/json: an
// object of fields of the right types, whose strings are ASCII without escapes. It
// returns false for anything else.
func decodeFlat(s string, d *blocklist.Document) bool {
	space := func() {
		for len(s) > 0 && (s[0] == ' ' || s[0] == '\t' || s[0] == '\r' || s[0] == '\n') {
			s = s[1:]
		}
	}
	text := func() (text string, ok bool) {
		if !strings.HasPrefix(s, `"`) {
			return "", false
		}
		for i := 1; i < len(s) && ' ' <= s[i] && s[i] <= '~' && s[i] != '\\'; i++ {
			if s[i] == '"' {
				text, s = s[1:i], s[i+1:]
				return text, true
			}
		}
		return "", false
	}
	for next := "{"; ; next = "," {
		space()
		if s == "}" && next == "," {
			return true
		}
		if !strings.HasPrefix(s, next) {
			return false
		}
		s = s[1:]
		space()
		name, ok := text()
		if space(); !ok || !strings.HasPrefix(s, ":") {
			return false
		}
		s = s[1:]
		space()
		value, ok := text()
		switch {
		case ok && isTime(name):
			t, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return false
			}
			d.Set(name, t)
		case ok && name != "deleted":
			d.Set(name, value)
		case name == "deleted" && strings.HasPrefix(s, "true"):
			d.Set(name, true)
			s = s[len("true"):]
		default:
			return false
		}
	}
}

// lineError says what is wrong with a whole line.
func lineError(format string, a ...any) error {
	return &linkcore.FieldError{Field: "line", Problem: fmt.Sprintf(format, a...)}
}

// AppendLine appends the rule as a line of a rules file, with its line end: a
// JSON object with the fields of a document, times as in RFC 3339.
func AppendLine(dst []byte, r blocklist.Rule) ([]byte, error) {
	for _, at := range [...]*time.Time{&r.CreatedAt, &r.UpdatedAt, &r.StartsAt, &r.ExpiresAt} {
		*at = at.UTC().Truncate(time.Microsecond)
	}
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false) // people read & and < in URLs
	err := e.Encode(r)
	return b.Bytes(), err
}

// Put implements [blocklist.Store]. It makes the file where there is none.
func (f *File) Put(ctx context.Context, rules ...blocklist.Rule) error {
	now := time.Now()
	rules, err := blocklist.NormalizeAll(rules, now)
	if err != nil {
		return err
	}
	written := make(map[string]bool, len(rules))
	pending := make(map[string]*blocklist.Rule, len(rules))
	for i := range rules {
		rules[i].CreatedAt, rules[i].UpdatedAt = now, now
		pending[rules[i].String()] = &rules[i]
	}
	return f.rewrite(ctx, true, now, func(old *blocklist.Rule) *blocklist.Rule {
		r, ok := pending[old.String()]
		switch {
		case !ok:
			return old
		case written[old.String()]:
			return nil
		}
		written[old.String()] = true
		if !old.Deleted && !old.CreatedAt.IsZero() {
			r.CreatedAt = old.CreatedAt
		}
		return r
	}, func() []blocklist.Rule {
		return slices.DeleteFunc(rules, func(r blocklist.Rule) bool { return written[r.String()] })
	})
}

// Standing implements [blocklist.Store].
func (f *File) Standing(ctx context.Context, rules ...blocklist.Rule) (standing []blocklist.Rule, err error) {
	names, err := blocklist.NormalizeNames(rules)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name.String()] = true
	}
	all, _, err := f.List(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	now := time.Now()
	for _, r := range all {
		if wanted[r.String()] && r.Stands(now) {
			standing = append(standing, r)
		}
	}
	return standing, err
}

// Empty implements [blocklist.Store].
func (f *File) Empty(context.Context) (bool, error) {
	_, err := statRegular(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// Lift implements [blocklist.Store].
func (f *File) Lift(ctx context.Context, rules ...blocklist.Rule) ([]blocklist.Rule, error) {
	names, err := blocklist.NormalizeNames(rules)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	wanted := make(map[string]bool, len(names))
	found := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name.String()] = true
	}
	err = f.rewrite(ctx, false, now, func(old *blocklist.Rule) *blocklist.Rule {
		if old.Deleted || !wanted[old.String()] {
			return old
		}
		lifted := *old
		found[old.String()] = true
		lifted.Deleted, lifted.UpdatedAt, lifted.ExpiresAt = true, now, now.Add(blocklist.LiftedFor)
		return &lifted
	}, func() []blocklist.Rule { return nil })
	if err != nil {
		return nil, err
	}
	var missing []blocklist.Rule
	for _, name := range names {
		if !found[name.String()] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// List implements [blocklist.Store].
func (f *File) List(ctx context.Context) (rules []blocklist.Rule, skipped []blocklist.DocumentError, err error) {
	file, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	err = readDocuments(ctx, file, func(d blocklist.Document) {
		r, err := d.Rule()
		if err != nil {
			skipped = append(skipped, blocklist.DocumentError{Where: d.Where, Err: err})
		} else {
			rules = append(rules, r)
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", f.path, err)
	}
	return rules, skipped, nil
}

// writers keeps writers of this process apart; the lock on the file keeps
// processes apart.
var writers = make(chan struct{}, 1)

// rewrite writes the file anew: it asks change about each rule, of which nil drops
// it and itself keeps its line byte for byte, and appends what rest returns. Rules that have expired are dropped, as Firestore drops
// them. Lines that are not rules stay as they are. Whoever reads meanwhile sees
// the old file or the new one, never half of it.
func (f *File) rewrite(ctx context.Context, create bool, now time.Time, change func(*blocklist.Rule) *blocklist.Rule, rest func() []blocklist.Rule) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the rules: %w", err)
		}
	}()
	select {
	case writers <- struct{}{}:
		defer func() { <-writers }()
	case <-ctx.Done():
		return ctx.Err()
	}
	unlock, err := durable.Lock(ctx, f.path)
	if err != nil {
		return err
	}
	defer unlock()

	var old []byte
	if _, err = statRegular(f.path); err == nil {
		old, err = os.ReadFile(f.path)
	}
	if err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
		return err
	}

	var out bytes.Buffer
	changed := false
	write := func(r *blocklist.Rule) error {
		if r == nil {
			return nil
		}
		line, err := AppendLine(nil, *r)
		out.Write(line)
		return err
	}
	ids := lineIDs{}
	for text := range bytes.Lines(bytes.TrimPrefix(old, []byte("\uFEFF"))) {
		if err := ctx.Err(); err != nil {
			return err
		}
		text = bytes.TrimSuffix(text, []byte("\n"))
		d := ids.document(text, false)
		old, err := d.Rule()
		r := &old
		switch {
		case err != nil:
		case old.Expired(now):
			r = nil // its kind and value may be written anew
		default:
			r = change(&old)
		}
		switch {
		case r == &old && len(text) > 0:
			out.Write(text)
			out.WriteByte('\n')
		case r != &old:
			changed = true
			if err := write(r); err != nil {
				return err
			}
		}
	}
	for _, r := range rest() {
		changed = true
		if err := write(&r); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return durable.WriteFile(f.path, out.Bytes(), 0o644)
}

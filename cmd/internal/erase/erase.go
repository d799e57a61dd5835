// Package erase deletes what is recorded of a person: the rows in BigQuery and the
// lines in events files. It writes the rule that keeps more from being recorded,
// and knows where else something may rest, and for how long.
package erase

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"example.com/linktracker/linkcore/blocklist"
)

// ErrIncomplete means that something was not deleted, or could not be decided
// about. Options.Warn has reported what.
var ErrIncomplete = errors.New("not all could be deleted")

// A person is whose events are to go.
type person struct {
	customer, recipient string
	rule                string // as events name the rule about the person
}

// Options say what is deleted, and who is informed.
type Options struct {
	Rule   blocklist.Rule // untracked, of the kind recipient, normalised; says who the person is
	Store  blocklist.Store
	Files  []string
	Tables []Table
	Wait   time.Duration // how long to wait for rows that are too new

	// Call bounds one call of Store.
	Call func() (context.Context, context.CancelFunc)

	// One line each: what was done, what is waited for, what a person has to look at.
	Say, Note, Warn func(format string, args ...any)
	Now             func() time.Time

	Count  func(n int, what string) string // writes a number of things
	Size   func(bytes int64) string
	Effect func(blocklist.Rule) string // what a rule does
	Stamp  func(time.Time) string
}

// An Erasure is one run.
type Erasure struct {
	Options
	person  person
	written bool // the rule is there
}

// New returns a run. Nothing is done before its methods are called.
func New(o Options) *Erasure {
	customer, recipient, _ := strings.Cut(o.Rule.Value, "/")
	return &Erasure{Options: o, person: person{customer, recipient, o.Rule.String()}}
}

// Survey tells say what there is before anything is changed: a table that does not
// exist must not be found out halfway. verb says what is to become of it. The error
// is [ErrIncomplete] if something cannot be decided about.
func (e *Erasure) Survey(ctx context.Context, verb string, say func(format string, args ...any)) (err error) {
	if e.written, err = e.ruleIsWritten(); err != nil {
		return err
	}
	for _, table := range e.Tables {
		rows, err := table.count(ctx, &e.person)
		if err != nil {
			return err
		}
		bytes, err := table.estimate(ctx, &e.person)
		if err != nil {
			return err
		}
		say("%s: %s %s; BigQuery reads %s for it", table, e.Count(int(rows), "row"), verb, e.Size(bytes))
	}
	unsure := false
	for _, path := range e.Files {
		lines, err := eraseLines(ctx, path, &e.person, false)
		if err != nil {
			return err
		}
		unsure = unsure || lines.unsure()
		say("%s: %s %s", path, e.Count(lines.matched, "line"), verb)
		e.warnOf(path, lines)
	}
	if unsure {
		return ErrIncomplete
	}
	return nil
}

// Written returns whether the rule is there already, once Survey was called.
func (e *Erasure) Written() bool { return e.written }

// Erase writes the rule, and deletes. It returns the errors of what could not be
// done: one that fails does not keep the others from being done.
func (e *Erasure) Erase(ctx context.Context) (errs []error, err error) {
	if e.written {
		e.Say("%s: not tracked already", e.Rule)
	} else {
		call, cancel := e.Call()
		err := e.Store.Put(call, e.Rule)
		cancel()
		if err != nil {
			return nil, err
		}
		e.Say("%s: %s", e.Rule, e.Effect(e.Rule))
	}
	for _, path := range e.Files {
		lines, err := eraseLines(ctx, path, &e.person, true)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.Say("%s: %s deleted", path, e.Count(lines.matched, "line"))
		e.warnOf(path, lines)
		if lines.unsure() {
			errs = append(errs, ErrIncomplete)
		}
	}
	for _, table := range e.Tables {
		if err := e.deleteRows(ctx, table); err != nil {
			errs = append(errs, err)
		}
	}
	return errs, nil
}

// ruleIsWritten returns whether the rule is there already, and refuses to put
// another one out of force.
func (e *Erasure) ruleIsWritten() (bool, error) {
	call, cancel := e.Call()
	rules, _, err := e.Store.List(call)
	cancel()
	if err != nil {
		var file *fs.PathError
		if errors.As(err, &file) && errors.Is(err, fs.ErrNotExist) {
			e.Note("%s does not exist yet", file.Path)
			return false, nil
		}
		return false, err
	}
	for _, r := range rules {
		if r.String() != e.Rule.String() || r.Deleted || r.Expired(e.Now()) {
			continue
		}
		if r.Action != blocklist.Untracked {
			return false, fmt.Errorf("%s is %s, and there is one rule of each name: lift that one first (linkctl unblock %s), or block the person's links one by one", e.Rule, e.Effect(r), e.Rule)
		}
		if r.Live(e.Now()) && r.ExpiresAt.IsZero() {
			return true, nil
		}
	}
	return false, nil
}

// deleteRows deletes what can be deleted, and waits for the rest if it may.
func (e *Erasure) deleteRows(ctx context.Context, table Table) error {
	deleted, err := table.delete(ctx, &e.person, time.Time{})
	if errors.Is(err, ErrTooNew) {
		// What is old enough goes at once.
		var old int64
		if old, err = table.delete(ctx, &e.person, e.Now().Add(-StreamingHold)); err == nil {
			deleted, err = old, ErrTooNew
		}
	}
	end := e.Now().Add(e.Wait)
	interval := min(time.Minute, max(e.Wait/10, time.Millisecond))
	for errors.Is(err, ErrTooNew) && e.Now().Before(end) {
		e.Note("%s: %s deleted; the newest cannot be yet, waiting until %s at most", table, e.Count(int(deleted), "row"), e.Stamp(end))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
		var more int64
		if more, err = table.delete(ctx, &e.person, time.Time{}); err == nil {
			deleted += more
		}
	}
	if err != nil && !errors.Is(err, ErrTooNew) {
		return err
	}
	e.Say("%s: %s deleted", table, e.Count(int(deleted), "row"))
	if err != nil {
		e.Warn("%s: other rows of this person were written in the last 30 to 90 minutes, and BigQuery cannot delete them yet: run this again after %s, or give --wait 90m",
			table, e.Stamp(e.Now().Add(StreamingHold)))
		return ErrIncomplete
	}
	return nil
}

// warnOf says what could not be decided about a file.
func (e *Erasure) warnOf(path string, found found) {
	if len(found.unclear) > 0 {
		e.Warn("%s: %s with %q cannot be understood, the first is line %d: look at them yourself",
			path, e.Count(len(found.unclear), "line"), e.person.recipient, found.unclear[0])
	}
	if found.torn {
		e.Warn("%s: the last line has no end yet and may be of this person: run this again", path)
	}
}

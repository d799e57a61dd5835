package blocklist

import (
	"crypto/sha256"
	"math"
	"time"
)

// A Document is a rule as a source holds it, which may be anything: people
// write documents by hand.
type Document struct {
	ID    string
	Where string // what people call the document; empty: its ID

	// Fields holds strings, booleans and times (time.Time) where they are as
	// they should be, and any other type where not.
	Fields map[string]any

	// Err says why the source could not read the document at all.
	Err error
}

func (d Document) where() string {
	if d.Where != "" {
		return d.Where
	}
	return d.ID
}

// Rule reads the document. The rule's value is normal then. If the error is not
// nil, a [*linkcore.FieldError] or the document's own, the rule holds what could be read
// all the same. Fields that do nothing for matching never make a document
// unreadable.
func (d Document) Rule() (Rule, error) {
	r := Rule{ID: d.ID}
	if d.Err != nil {
		return r, d.Err
	}
	r.Reason, _ = d.Fields["reason"].(string)
	r.CreatedBy, _ = d.Fields["created_by"].(string)
	r.CreatedAt, _ = d.Fields["created_at"].(time.Time)
	r.UpdatedAt, _ = d.Fields["updated_at"].(time.Time)

	var firstErr error
	check := func(err error) {
		if firstErr == nil {
			firstErr = err
		}
	}
	text := func(field string) string {
		switch v := d.Fields[field].(type) {
		case nil:
		case string:
			return v
		default:
			check(ruleError(field, "must be a string"))
		}
		return ""
	}
	timestamp := func(field string) time.Time {
		switch v := d.Fields[field].(type) {
		case nil:
		case time.Time:
			return v
		default:
			check(ruleError(field, "must be a timestamp (in a file: a string as in RFC 3339)"))
		}
		return time.Time{}
	}
	r.Kind = Kind(text("kind"))
	r.Value = text("value")
	r.Action = Action(text("action"))
	r.Target = text("target")
	r.StartsAt = timestamp("starts_at")
	r.ExpiresAt = timestamp("expires_at")
	switch v := d.Fields["deleted"].(type) {
	case nil:
	case bool:
		r.Deleted = v
	default:
		check(ruleError("deleted", "must be true or false"))
	}
	if r.Deleted {
		// A rule that was lifted does nothing, so nothing in it can be wrong.
		if normal, err := r.normalize(); err == nil {
			r = normal
		}
		return r, nil
	}
	if firstErr != nil {
		return r, firstErr
	}
	if d.Fields["kind"] == nil {
		return r, ruleError("kind", "is missing")
	}
	return r.normalize()
}

// A rule is what the copy in memory keeps of a document: what matching needs,
// and what reports whether the document changed.
type rule struct {
	key string // "kind:value"; empty if the document holds no rule
	details

	expires int64 // Unix microseconds; math.MaxInt64: never
	updated int64 // Unix microseconds; math.MinInt64: not said

	kind    uint8
	action  uint8
	deleted bool
}

// details are what few rules have.
type details struct {
	starts  int64 // Unix microseconds; math.MinInt64: has begun
	target  string
	id      string // the document's id, if it is not the one that the value makes
	problem string // why the document cannot be understood
}

// Actions in the order in which they win among documents of one kind and value.
const (
	actionBlock = iota
	actionRedirect
	actionUntracked
)

// newRule makes of a document what the copy keeps. now is in Unix microseconds:
// a later updated_at counts as now, so that nobody wins for ever by a date.
func newRule(d Document, now int64) rule {
	parsed, err := d.Rule()
	r := rule{
		details: noDetails,
		expires: math.MaxInt64,
		updated: math.MinInt64,
		deleted: parsed.Deleted,
	}
	if !parsed.StartsAt.IsZero() {
		r.starts = parsed.StartsAt.UnixMicro()
	}
	if !parsed.ExpiresAt.IsZero() {
		r.expires = parsed.ExpiresAt.UnixMicro()
	}
	if !parsed.UpdatedAt.IsZero() {
		r.updated = min(parsed.UpdatedAt.UnixMicro(), now)
	}
	if err != nil {
		r.problem = err.Error()
	} else if kind, ok := parsed.Kind.number(); ok {
		r.key = parsed.String()
		r.kind = kind
		switch parsed.Action {
		case Redirect:
			r.action = actionRedirect
			r.target = parsed.Target
		case Untracked:
			r.action = actionUntracked
		}
	}
	if r.key == "" || DocumentID(r.key) != d.ID {
		r.details.id = d.ID
	}
	return r
}

// id returns the document's id.
func (r *rule) id() string {
	if r.details.id != "" {
		return r.details.id
	}
	return DocumentID(r.key)
}

// unchanged reports whether a document that was read again as b holds what r was
// made of. A document whose updated_at lies ahead reads as written now every
// time; it has not changed for that.
func (r rule) unchanged(b rule, now int64) bool {
	if b.updated == now {
		r.updated = now
	}
	return r == b
}

// A documentKey stands for a document's id in the copy: half the size, and the
// same for all.
type documentKey [16]byte

func keyOf(id string) documentKey {
	sum := sha256.Sum256([]byte(id))
	return documentKey(sum[:16])
}

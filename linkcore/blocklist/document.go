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
// nil, a [RuleError] or the document's own, the rule holds what could be read
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
// and what tells whether the document changed. It does not change once it is in
// an index, generation excepted, which no request looks at.
type rule struct {
	key     string // "kind:value"; empty if the document holds no rule
	details *details
	next    *rule // the next rule of the same slot of the index

	starts  int64 // Unix microseconds; math.MinInt64: has begun
	expires int64 // Unix microseconds; math.MaxInt64: never
	updated int64 // Unix microseconds; math.MinInt64: not said

	// generation is that of the last read that saw the document. Only the
	// refresh in flight looks at it, and an index holds the same rule as the
	// copy does, not a copy of it, to save memory.
	generation uint32

	kind    uint8
	action  uint8
	deleted bool
}

// Actions in the order in which they win among documents of one kind and value.
const (
	actionBlock = iota
	actionRedirect
	actionUntracked
)

// details are what few rules have.
type details struct {
	target  string
	id      string // the document's id, if it is not the one that the value makes
	problem string // why the document cannot be understood
}

// newRule makes of a document what the copy keeps. now is in Unix microseconds:
// a later updated_at counts as now, so that nobody wins for ever by a date.
func newRule(d Document, now int64) *rule {
	parsed, err := d.Rule()
	r := &rule{
		starts:  math.MinInt64,
		expires: math.MaxInt64,
		updated: math.MinInt64,
		deleted: parsed.Deleted,
	}
	var more details
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
		more.problem = err.Error()
	} else if kind, ok := parsed.Kind.number(); ok {
		r.key = parsed.String()
		r.kind = kind
		switch parsed.Action {
		case Redirect:
			r.action = actionRedirect
			more.target = parsed.Target
		case Untracked:
			r.action = actionUntracked
		}
	}
	if r.key == "" || documentID(r.key) != d.ID {
		more.id = d.ID
	}
	if more != (details{}) {
		r.details = &more
	}
	return r
}

// id returns the document's id.
func (r *rule) id() string {
	if r.details != nil && r.details.id != "" {
		return r.details.id
	}
	return documentID(r.key)
}

func (r *rule) target() string {
	if r.details == nil {
		return ""
	}
	return r.details.target
}

func (r *rule) problem() string {
	if r.details == nil {
		return ""
	}
	return r.details.problem
}

func (r *rule) value() string { return r.key[len(kinds[r.kind])+1:] }

// live tells whether the rule does anything at a time in Unix microseconds.
func (r *rule) live(now int64) bool { return r.starts <= now && now < r.expires }

// indexed tells whether the rule does anything at that time or later.
func (r *rule) indexed(now int64) bool {
	return r.key != "" && !r.deleted && now < r.expires
}

// sameDocument tells whether a and b are rules of one document and key.
func (r *rule) sameDocument(b *rule) bool {
	if r == b {
		return true
	}
	if r.key != b.key {
		return false
	}
	x, y := "", ""
	if r.details != nil {
		x = r.details.id
	}
	if b.details != nil {
		y = b.details.id
	}
	return x == y
}

// unchanged tells whether a document that was read again as b holds what r was
// made of. A document whose updated_at lies ahead reads as written now every
// time; it has not changed for that.
func (r *rule) unchanged(b *rule, now int64) bool {
	if r.updated != b.updated && b.updated != now {
		return false
	}
	var x, y details
	if r.details != nil {
		x = *r.details
	}
	if b.details != nil {
		y = *b.details
	}
	return r.key == b.key && r.starts == b.starts && r.expires == b.expires &&
		r.action == b.action && r.deleted == b.deleted && x == y
}

// A documentKey stands for a document's id in the copy: half the size, and the
// same for all.
type documentKey [16]byte

func keyOf(id string) documentKey {
	sum := sha256.Sum256([]byte(id))
	return documentKey(sum[:16])
}

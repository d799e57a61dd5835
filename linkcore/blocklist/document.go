package blocklist

import (
	"cmp"
	"encoding/binary"
	"math"
)

// A Document is a rule as a source holds it, which may be anything: people
// write documents by hand.
type Document struct {
	ID    string
	Where string // what people call the document; empty: its ID

	// Err says why the source could not read the document at all.
	Err error

	// Place is where a Read of all that fails after this document goes on; empty:
	// where the Read began.
	Place string

	rule   Rule  // as written, and normal once it is parsed
	wrong  error // of the first field of a wrong type
	parsed bool
	err    error
	key    string // "kind:value"
	own    string // the id that it makes
}

// Set sets a field to a string, a boolean or a time (time.Time), or to a value of
// any other type, which a document by hand may hold. Nil is a field that is left
// out, and fields with other names are ignored.
func (d *Document) Set(field string, value any) {
	switch field {
	case "kind":
		set(d, field, value, (*string)(&d.rule.Kind), "must be a string")
	case "value":
		set(d, field, value, &d.rule.Value, "must be a string")
	case "action":
		set(d, field, value, (*string)(&d.rule.Action), "must be a string")
	case "target":
		set(d, field, value, &d.rule.Target, "must be a string")
	case "starts_at":
		set(d, field, value, &d.rule.StartsAt, "must be a timestamp (in a file: a string as in RFC 3339)")
	case "expires_at":
		set(d, field, value, &d.rule.ExpiresAt, "must be a timestamp (in a file: a string as in RFC 3339)")
	case "deleted":
		set(d, field, value, &d.rule.Deleted, "must be true or false")
	case "updated_at":
		set(d, field, value, &d.rule.UpdatedAt, "")
	case "reason":
		set(d, field, value, &d.rule.Reason, "")
	case "created_by":
		set(d, field, value, &d.rule.CreatedBy, "")
	case "created_at":
		set(d, field, value, &d.rule.CreatedAt, "")
	}
}

// set sets a field. What is of a wrong type is left out, and the document is wrong
// if the field must be something.
func set[T any](d *Document, field string, value any, to *T, must string) {
	v, ok := value.(T)
	*to = v
	if !ok && value != nil && must != "" && d.wrong == nil {
		d.wrong = ruleError(field, "%s", must)
	}
}

func (d *Document) where() string { return cmp.Or(d.Where, d.ID) }

// Rule reads the document. The rule's value is normal then. If the error is not
// nil, a [*linkcore.FieldError] or the document's own, the rule holds what could be
// read all the same. Fields that do nothing for matching never make a document
// unreadable.
func (d *Document) Rule() (Rule, error) {
	d.parse()
	r := d.rule
	r.ID = d.ID
	return r, d.err
}

// OwnID returns the id under which a store keeps the document's rule; "" if it
// holds none.
func (d *Document) OwnID() string {
	d.parse()
	return d.own
}

func (d *Document) parse() {
	if d.parsed {
		return
	}
	d.parsed = true
	normal, err := d.rule.normalize()
	switch {
	case d.Err != nil:
		d.err = d.Err
	case d.rule.Deleted:
		// A rule that was lifted does nothing, so nothing in it can be wrong.
		if err == nil {
			d.rule = normal
		}
	case d.wrong != nil:
		d.err = d.wrong
	case d.rule.Kind == "":
		d.err = ruleError("kind", "is missing")
	default:
		d.rule, d.err = normal, err
	}
	if _, ok := d.rule.Kind.number(); ok && d.err == nil {
		d.key = d.rule.String()
		d.own = DocumentID(d.key)
	}
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
	id      string // of a redirect, by which the lower wins: the document's, if it is not the one that the value makes
	problem string // why the document cannot be understood
}

// Actions in the order in which they win among documents of one kind and value.
const (
	actionBlock = iota
	actionRedirect
	actionUntracked
)

// newRule makes of a document what the copy keeps. now is in Unix microseconds: a
// later updated_at counts as now, so that nobody wins for ever by a date.
func newRule(d *Document, now int64) rule {
	d.parse()
	r := rule{
		key:     d.key,
		details: noDetails,
		expires: math.MaxInt64,
		updated: math.MinInt64,
		deleted: d.rule.Deleted,
	}
	if !d.rule.StartsAt.IsZero() {
		r.starts = d.rule.StartsAt.UnixMicro()
	}
	if !d.rule.ExpiresAt.IsZero() {
		r.expires = d.rule.ExpiresAt.UnixMicro()
	}
	if !d.rule.UpdatedAt.IsZero() {
		r.updated = min(d.rule.UpdatedAt.UnixMicro(), now)
	}
	if d.err != nil {
		r.problem = d.err.Error()
	}
	if r.key != "" {
		r.kind, _ = d.rule.Kind.number()
		switch d.rule.Action {
		case Redirect:
			r.action, r.target = actionRedirect, d.rule.Target
		case Untracked:
			r.action = actionUntracked
		}
	}
	if r.action == actionRedirect && d.own != d.ID {
		r.details.id = d.ID
	}
	return r
}

// id returns the id of a redirect's document.
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
type documentKey struct{ high, low uint64 }

func keyOf(id string) documentKey {
	sum := hashOf(id)
	return documentKey{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (a documentKey) compare(b documentKey) int {
	if a.high != b.high {
		return cmp.Compare(a.high, b.high)
	}
	return cmp.Compare(a.low, b.low)
}

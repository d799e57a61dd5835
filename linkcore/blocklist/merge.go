package blocklist

import "strings"

// A reading is documents that were read since a time.
type reading struct {
	now      int64 // when the reading began, in Unix microseconds
	rules    rules
	changed  bool                           // one of them is not in the copy
	problems map[documentKey]*DocumentError // of those that changed
}

// take takes a document that may replace one of the copy.
func (read *reading) take(d *Document, copy *Index) {
	r := newRule(d, read.now)
	key := keyOf(d.ID)
	if p, old := copy.document(key); old != nil && p.rule(old).unchanged(r, read.now) {
		r.updated = old.updated
	} else {
		read.changed = true
		if d.err != nil {
			read.problems[key] = &DocumentError{d.where(), d.err}
		}
	}
	read.rules.add(key, &r)
}

// merge returns the copy with what was read; that alone, if it was all. The copy
// stays as it is, and of its documents only those of the delta are copied.
func (read *reading) merge(copy *Index, whole bool) *Index {
	text := read.rules.text.String()
	switch {
	case whole:
		return newIndex(pack(read.rules.records, strings.Clone(text)), nothing, read.now)
	case read.changed:
		return newIndex(copy.base, merge(copy.delta, pack(read.rules.records, text)), read.now)
	}
	return newIndex(copy.base, copy.delta, read.now)
}

// blocks returns the blocks among what was read so far: no other rule can undo them.
func (read *reading) blocks() (records []record, text string) {
	for _, r := range read.rules.records {
		if r.action == actionBlock && !r.deleted {
			records = append(records, r)
		}
	}
	return records, read.rules.text.String()
}

// rebased returns the same index without a delta.
func (x *Index) rebased(now int64) *Index {
	return newIndex(merge(x.base, x.delta), nothing, now)
}

// large reports whether it is time for that: to make a delta takes 2 ms beside a
// base of a million, and a new base is made after that many changes.
func (x *Index) large() bool { return len(x.delta.records) > 1000+len(x.base.records)/100 }

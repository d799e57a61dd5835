package blocklist

import (
	"encoding/binary"
	"iter"
	"math"
	"runtime"
	"slices"
	"strings"
)

// A handle stands for a rule in a store. 0 is none. There is room for 2^31
// rules, which memory has not.
type handle uint32

const (
	// With a million rules there are so few chunks that the lists of them stay
	// in the processor's nearest cache.
	recordsPerChunk = 4096
	recordSize      = 32 // bytes

	// Chunks of text grow with the store. A longer text gets one of its own.
	leastTextChunk = 64 << 10 // bytes
	mostTextChunk  = 1 << 20

	// detailsHeader is how long the details of a rule are without their texts.
	detailsHeader = 8 + 3*4

	// leastGarbage is how many bytes a store may waste before it is worth while
	// to make a new one.
	leastGarbage = 1 << 20
)

// A record is a rule in a store. It holds no pointer, so the garbage collector
// never looks at it: a cycle marks a few hundred chunks instead of a
// million rules. It never changes, since requests read it without a lock.
type record struct {
	expires int64 // as in rule
	updated int64

	// The text is the key, and what details there are behind it.
	chunk     uint32
	offset    uint32
	keyLength uint32

	kind     uint8
	action   uint8
	deleted  bool
	detailed bool
}

// A view is what a store holds at one time. It never changes.
type view struct {
	records []*[recordsPerChunk]record
	texts   []string
}

// A store keeps rules for an index and the cache. It only grows, because
// requests may be reading any of it through an older index: what is replaced
// is garbage until compact leaves it behind.
type store struct {
	view
	rules   int             // put into it
	text    strings.Builder // what the last of texts is the beginning of; never grown, so that all strings made of it share its memory
	used    int             // bytes of all rules
	garbage int             // bytes of those that were dropped
}

// published returns what the store holds now, which does not change when rules
// are added. Of the chunks only the header of the last text does.
func (s *store) published() view {
	return view{records: slices.Clip(s.records), texts: slices.Clone(s.texts)}
}

// add puts a rule into the store.
func (s *store) add(r *rule) handle {
	stored := record{
		expires: r.expires, updated: r.updated, keyLength: uint32(len(r.key)),
		kind: r.kind, action: r.action, deleted: r.deleted, detailed: r.details != noDetails,
	}
	length := len(r.key)
	if stored.detailed {
		length += detailsHeader + len(r.target) + len(r.details.id) + len(r.problem)
	}
	s.reserve(&stored, length)
	s.text.WriteString(r.key)
	if stored.detailed {
		header := binary.LittleEndian.AppendUint64(make([]byte, 0, detailsHeader), uint64(r.starts))
		for _, text := range [...]string{r.target, r.details.id, r.problem} {
			header = binary.LittleEndian.AppendUint32(header, uint32(len(text)))
		}
		s.text.Write(header)
		s.text.WriteString(r.target)
		s.text.WriteString(r.details.id)
		s.text.WriteString(r.problem)
	}
	return s.put(&stored, length)
}

// reserve makes room for a text of that length, and notes where it begins.
func (s *store) reserve(r *record, length int) {
	if len(s.texts) == 0 || s.text.Cap()-s.text.Len() < length {
		s.text.Reset()
		s.text.Grow(max(length, leastTextChunk, min(s.used/8, mostTextChunk)))
		s.texts = append(s.texts, "")
	}
	r.chunk, r.offset = uint32(len(s.texts)-1), uint32(s.text.Len())
}

// put adds a record whose text has been written.
func (s *store) put(r *record, length int) handle {
	s.texts[r.chunk] = s.text.String()
	s.rules++
	s.used += recordSize + length
	h := handle(s.rules)
	if int(h/recordsPerChunk) == len(s.records) {
		s.records = append(s.records, new([recordsPerChunk]record))
	}
	*s.record(h) = *r
	return h
}

// drop counts a rule as garbage.
func (s *store) drop(h handle) { s.garbage += recordSize + len(s.textOf(s.record(h))) }

// wasteful reports whether most of the store is garbage.
func (s *store) wasteful() bool { return s.garbage > max(s.used-s.garbage, leastGarbage) }

// compact returns a store of the living rules alone, and the handles there of
// those that had the handles here.
func (s *store) compact(living iter.Seq[handle]) (compacted *store, moved []handle) {
	moved = make([]handle, s.rules+1)
	for h := range living {
		moved[h] = h
	}
	compacted = new(store)
	for i, h := range moved {
		if h != 0 {
			r := *s.record(h)
			text := s.textOf(&r)
			compacted.reserve(&r, len(text))
			compacted.text.WriteString(text)
			moved[i] = compacted.put(&r, len(text))
		}
		if i%1000 == 0 {
			runtime.Gosched() // requests on the same core come first
		}
	}
	return compacted, moved
}

func (v *view) record(h handle) *record {
	return &v.records[h/recordsPerChunk][h%recordsPerChunk]
}

// key returns "kind:value". It shares the store's memory.
func (v *view) key(r *record) string {
	return v.texts[r.chunk][r.offset : r.offset+r.keyLength]
}

func (v *view) value(r *record) string { return v.key(r)[len(kinds[r.kind].name)+1:] }

// textOf returns all text of a rule.
func (v *view) textOf(r *record) string {
	text := v.texts[r.chunk][r.offset:]
	length := int(r.keyLength)
	if r.detailed {
		d := v.details(r)
		length += detailsHeader + len(d.target) + len(d.id) + len(d.problem)
	}
	return text[:length]
}

func (v *view) details(r *record) details {
	if !r.detailed {
		return noDetails
	}
	text := v.texts[r.chunk][r.offset+r.keyLength:]
	header, text := []byte(text[:detailsHeader]), text[detailsHeader:]
	d := details{starts: int64(binary.LittleEndian.Uint64(header))}
	for i, field := range [...]*string{&d.target, &d.id, &d.problem} {
		length := binary.LittleEndian.Uint32(header[8+4*i:])
		*field, text = text[:length], text[length:]
	}
	return d
}

// rule returns a rule as it was put in. Its texts share the store's memory.
func (v *view) rule(h handle) rule {
	r := v.record(h)
	return rule{
		key: v.key(r), details: v.details(r), expires: r.expires, updated: r.updated,
		kind: r.kind, action: r.action, deleted: r.deleted,
	}
}

// indexed reports whether the rule does anything at that time, in Unix
// microseconds, or later.
func (r *record) indexed(now int64) bool {
	return r.keyLength > 0 && !r.deleted && now < r.expires
}

// live reports whether the rule does anything at a time in Unix microseconds.
func (v *view) live(r *record, now int64) bool {
	return now < r.expires && (!r.detailed || v.details(r).starts <= now)
}

var noDetails = details{starts: math.MinInt64}

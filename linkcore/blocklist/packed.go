package blocklist

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"strings"
)

// A packed is documents that never change, without pointers, so that the garbage
// collector looks at a few blocks of memory however many documents there are.
// They are found by their ids, as they are in order, and by kind and value, for
// which there is a hash table.
type packed struct {
	records []record // by their documents, of which each has one
	text    string   // of all records

	// The hash table is open, and at most half full. A look-up that finds nothing
	// goes no further than the tags, which fit the processor's cache.
	tags  []uint8  // 0: the slot is empty; otherwise 7 bits of the hash
	slots []uint32 // the first record of a kind and value

	kinds    [kindCount]int // how many rules are in the table
	networks [2][]uint8     // the lengths of the networks of IPv4 and IPv6
	agents   []uint32       // the rules of the kind agent
}

// A record is what the copy keeps of a document.
type record struct {
	document documentKey
	expires  int64 // as in rule
	updated  int64

	// The text is the key, and what details there are behind it.
	offset    uint64
	keyLength uint32

	same     uint32 // the next record with the same key, counted from 1; 0: none
	kind     uint8
	action   uint8
	deleted  bool
	detailed bool
}

// detailsHeader is how long the details of a rule are without their texts.
const detailsHeader = 8 + 3*4

var noDetails = details{starts: math.MinInt64}

// rules are documents in the order in which they were read.
type rules struct {
	records []record
	text    strings.Builder
}

func (s *rules) add(document documentKey, r *rule) {
	if len(s.records) == cap(s.records) {
		s.records = slices.Grow(s.records, len(s.records)+1) // doubles it, as Grow does the text
	}
	s.text.Grow(len(r.key) + detailsHeader + len(r.target) + len(r.details.id) + len(r.problem))
	s.records = append(s.records, record{
		document: document, expires: r.expires, updated: r.updated,
		offset: uint64(s.text.Len()), keyLength: uint32(len(r.key)),
		kind: r.kind, action: r.action, deleted: r.deleted, detailed: r.details != noDetails,
	})
	s.text.WriteString(r.key)
	if r.details != noDetails {
		texts := [...]string{r.target, r.details.id, r.problem}
		header := binary.LittleEndian.AppendUint64(make([]byte, 0, detailsHeader), uint64(r.starts))
		for _, text := range texts {
			header = binary.LittleEndian.AppendUint32(header, uint32(len(text)))
		}
		s.text.Write(header)
		for _, text := range texts {
			s.text.WriteString(text)
		}
	}
}

// copy adds a record of other documents.
func (s *rules) copy(p *packed, r *record) {
	text := p.textOf(r)
	moved := *r
	moved.offset = uint64(s.text.Len())
	s.text.WriteString(text)
	s.records = append(s.records, moved)
}

// pack makes a packed of documents in the order in which they were read, of which
// the last counts of several with one key. It takes the records over.
func pack(records []record, text string) *packed {
	records = sorted(records)
	p := &packed{records: records, text: text}
	n := 0
	for i := range p.records {
		if r := &p.records[i]; r.keyLength > 0 && !r.deleted {
			n++
		}
	}
	p.tags = make([]uint8, 2<<bits.Len(uint(n)))
	p.slots = make([]uint32, len(p.tags))
	for i := range p.records {
		if r := &p.records[i]; r.keyLength > 0 && !r.deleted {
			p.insert(i)
		}
		if i%1000 == 0 {
			runtime.Gosched() // requests on the same core come first
		}
	}
	return p
}

// sorted returns the records in order, of several with one key the last.
func sorted(records []record) []record {
	if slices.IsSortedFunc(records, func(a, b record) int { return cmp.Or(a.document.compare(b.document), -1) }) {
		return records
	}
	type place struct {
		documentKey
		at uint32
	}
	places := make([]place, len(records))
	for i := range records {
		places[i] = place{records[i].document, uint32(i)}
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.high != b.high {
			return cmp.Compare(a.high, b.high)
		}
		return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(b.at, a.at))
	})
	places = slices.CompactFunc(places, func(a, b place) bool { return a.documentKey == b.documentKey })
	ordered := make([]record, len(places))
	for i, p := range places {
		ordered[i] = records[p.at]
	}
	return ordered
}

var seed = maphash.MakeSeed()

// insert puts a record into the hash table.
func (p *packed) insert(i int) {
	r := &p.records[i]
	value := []byte(p.value(r))
	hash := maphash.Bytes(seed, value)
	slot, found := p.slot(r.kind, hash, value)
	r.same = 0
	if found {
		r.same = p.slots[slot] + 1
	}
	p.tags[slot] = tagOf(r.kind, hash)
	p.slots[slot] = uint32(i)
	p.kinds[r.kind]++
	switch r.kind {
	case kindAgent:
		p.agents = append(p.agents, uint32(i))
	case kindIP:
		network, _ := parseNetwork(string(value))
		family, length := 0, uint8(network.Bits())
		if network.Addr().Is6() {
			family = 1
		}
		if !slices.Contains(p.networks[family], length) {
			p.networks[family] = append(p.networks[family], length)
		}
	}
}

func tagOf(kind uint8, hash uint64) uint8 { return 1<<7 | uint8(hash>>57) ^ kind }

// slot finds the slot of a kind and value, or the one where it belongs.
func (p *packed) slot(kind uint8, hash uint64, value []byte) (slot uint64, found bool) {
	mask := uint64(len(p.tags) - 1)
	tag := tagOf(kind, hash)
	for i := (hash + uint64(kind)) & mask; ; i = (i + 1) & mask {
		switch p.tags[i] {
		case 0:
			return i, false
		case tag:
			if r := &p.records[p.slots[i]]; r.kind == kind && p.value(r) == string(value) {
				return i, true
			}
		}
	}
}

// lookup returns the first rule of a kind and value whose hash is that; nil if
// there is none.
func (p *packed) lookup(kind uint8, hash uint64, value []byte) *record {
	if p.kinds[kind] == 0 {
		return nil
	}
	if slot, found := p.slot(kind, hash, value); found {
		return &p.records[p.slots[slot]]
	}
	return nil
}

// next returns the next rule of the same kind and value.
func (p *packed) next(r *record) *record {
	if r.same == 0 {
		return nil
	}
	return &p.records[r.same-1]
}

// find returns the document of that key; nil if there is none.
func (p *packed) find(document documentKey) *record {
	i, found := slices.BinarySearchFunc(p.records, document, func(r record, document documentKey) int { return r.document.compare(document) })
	if !found {
		return nil
	}
	return &p.records[i]
}

// merge joins documents. Where both have one, that of b counts.
func merge(a, b *packed) *packed {
	if len(a.records) == 0 {
		return b
	}
	s := &rules{records: make([]record, 0, len(a.records)+len(b.records))}
	s.text.Grow(len(a.text) + len(b.text))
	for i, j := 0, 0; i < len(a.records) || j < len(b.records); {
		switch {
		case j == len(b.records) || i < len(a.records) && a.records[i].document.compare(b.records[j].document) < 0:
			s.copy(a, &a.records[i])
			i++
			continue
		case i < len(a.records) && a.records[i].document == b.records[j].document:
			i++
		}
		s.copy(b, &b.records[j])
		j++
	}
	return pack(s.records, s.text.String())
}

// key returns "kind:value". It shares the memory of the text.
func (p *packed) key(r *record) string { return p.text[r.offset:][:r.keyLength] }

func (p *packed) value(r *record) string { return p.key(r)[len(kinds[r.kind].name)+1:] }

// textOf returns all text of a record.
func (p *packed) textOf(r *record) string {
	length := int(r.keyLength)
	if r.detailed {
		d := p.details(r)
		length += detailsHeader + len(d.target) + len(d.id) + len(d.problem)
	}
	return p.text[r.offset:][:length]
}

func (p *packed) details(r *record) details {
	if !r.detailed {
		return noDetails
	}
	text := p.text[r.offset+uint64(r.keyLength):]
	header, text := []byte(text[:detailsHeader]), text[detailsHeader:]
	d := details{starts: int64(binary.LittleEndian.Uint64(header))}
	for i, field := range [...]*string{&d.target, &d.id, &d.problem} {
		length := binary.LittleEndian.Uint32(header[8+4*i:])
		*field, text = text[:length], text[length:]
	}
	return d
}

// rule returns a rule as it was added. Its texts share the memory of the text.
func (p *packed) rule(r *record) rule {
	return rule{
		key: p.key(r), details: p.details(r), expires: r.expires, updated: r.updated,
		kind: r.kind, action: r.action, deleted: r.deleted,
	}
}

// indexed reports whether the rule does anything at that time, in Unix
// microseconds, or later.
func (r *record) indexed(now int64) bool {
	return r.keyLength > 0 && !r.deleted && now < r.expires
}

// live reports whether the rule does anything at a time in Unix microseconds.
func (p *packed) live(r *record, now int64) bool {
	return now < r.expires && (!r.detailed || p.details(r).starts <= now)
}

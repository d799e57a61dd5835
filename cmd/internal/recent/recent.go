// Package recent remembers the ids of events, so that none is taken twice.
package recent

import "hash/maphash"

// size is how many events are remembered.
const size = 1 << 16

// IDs are the last 65,536 ids that were added, each in a few bytes however long it
// is.
type IDs struct {
	seed maphash.Seed
	seen map[uint64]struct{}
	ring []uint64
	next int
}

// NewIDs returns an empty set.
func NewIDs() *IDs { return newIDs(size) }

func newIDs(size int) *IDs {
	return &IDs{maphash.MakeSeed(), map[uint64]struct{}{}, make([]uint64, 0, size), 0}
}

// Has returns whether an id is among them.
func (s *IDs) Has(id string) bool {
	_, ok := s.seen[maphash.String(s.seed, id)]
	return ok
}

// Add adds an id in place of the oldest, and returns whether it was there.
func (s *IDs) Add(id string) bool {
	hash := maphash.String(s.seed, id)
	if _, ok := s.seen[hash]; ok {
		return true
	}
	s.seen[hash] = struct{}{}
	if len(s.ring) < cap(s.ring) {
		s.ring = append(s.ring, hash)
		return false
	}
	delete(s.seen, s.ring[s.next])
	s.ring[s.next] = hash
	s.next = (s.next + 1) % len(s.ring)
	return false
}

package watch

// seen remembers the ids of about the last four million events, by 32 bits of
// their hashes. It takes an event that is new for a redelivered one about once in
// a hundred million.
type seen struct {
	lines [][16]uint32 // the newest first; 0: empty
}

const seenLines = 1 << 18 // 16 MiB

func newSeen(lines int) *seen { return &seen{make([][16]uint32, lines)} }

// again reports whether the hash was added before, and adds it.
func (s *seen) again(hash uint64) bool {
	line := &s.lines[hash%uint64(len(s.lines))]
	mark := uint32(hash>>32) | 1
	for _, m := range line {
		if m == mark {
			return true
		}
	}
	copy(line[1:], line[:])
	line[0] = mark
	return false
}

package watch

import (
	"math/bits"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// spread counts from how many networks and addresses each of any number of
// subjects is clicked.
//
// A few thousand subjects have an exact count. A new one gets a place among them
// while there is one that is free or whose window has passed. Otherwise it is
// counted in cells first: a table in which each subject has a bitmap of 32 bits
// for its networks. A subject for whose cell there is no room takes one bit off
// the smallest in its line, as Misra and Gries's algorithm and HeavyKeeper do with
// counters: millions that are clicked once wear each other down, while one that is
// clicked from everywhere grows. With a quarter of the networks that raise an alert
// it takes the place of the exact count that was used least recently.
//
// Libraries of heavy hitters count clicks, of which a busy recipient makes as many
// as a mail that was passed on; here it is different networks that count, and only
// those of the last minutes.
type spread struct {
	window     int64 // seconds
	promote    int   // bits of a cell that earn an exact count
	places     *simplelru.LRU[uint64, *place]
	maxOrigins int // that a place remembers
	lines      [][cellsPerLine]cell
}

const (
	maxSubjects    = 8192 // with an exact count
	maxThreshold   = 250  // each click on a subject with an exact count takes its square
	cellsPerLine   = 8    // 64 bytes
	linkCells      = 1 << 21
	recipientCells = 1 << 20
)

// A cell is what is known of a subject without an exact count: 16 bits of its
// hash, 16 bits of the time since when it is counted, in units of an eighth of the
// window, and the bitmap of its networks. It is empty if the bitmap is.
type cell uint64

func newSpread(window time.Duration, networks, addresses, cells int) *spread {
	return &spread{
		window:     int64(window.Seconds()),
		promote:    min(max(2, networks/4), 16),
		places:     newLRU[*place](maxSubjects),
		maxOrigins: max(networks, addresses) * 5 / 4,
		lines:      make([][cellsPerLine]cell, cells/cellsPerLine),
	}
}

// A place is an exact count.
type place struct {
	origins []origin // the last one last
	clicks  []minute

	// What the cell had counted. Networks that fall on its bits may be among
	// those, so they do not count while it does.
	before      uint32
	beforeUntil int64
	beforeSince int64

	newest int64

	// Whether clicks named more than one recipient, and the first that was named.
	several   bool
	recipient uint64
}

// An origin is an address that clicked, and when it did last.
type origin struct {
	address, network uint32
	at               int64
}

// minute counts the clicks of one minute.
type minute struct {
	begin int64
	n     int
}

// spreadSeen is what a window holds.
type spreadSeen struct {
	clicks, networks, addresses int
	since                       int64
	several                     bool // recipients
}

// add counts a click, and returns what the subject's window holds if that is known
// exactly.
func (s *spread) add(subject, recipient uint64, network, address uint32, at, now int64) (spreadSeen, bool) {
	if at <= now-s.window {
		return spreadSeen{}, false
	}
	p, ok := s.places.Get(subject)
	if !ok {
		if p = s.admit(subject, network, now); p == nil {
			return spreadSeen{}, false
		}
		s.places.Add(subject, p)
	}
	p.newest = max(p.newest, at)
	if p.recipient == 0 {
		p.recipient = recipient
	}
	p.several = p.several || p.recipient != recipient
	seen := p.add(s, network, address, at, now)
	seen.several = p.several
	return seen, true
}

// admit returns a place for a subject that has none, or nil.
func (s *spread) admit(subject uint64, network uint32, now int64) *place {
	if s.places.Len() < maxSubjects {
		return &place{}
	}
	if _, oldest, _ := s.places.GetOldest(); oldest.newest <= now-s.window {
		return &place{}
	}
	line := &s.lines[subject%uint64(len(s.lines))]
	mark := cell(subject>>48) << 48
	unit := max(s.window/8, 1)
	tick := now / unit
	bit := cell(1) << (network % 32)
	smallest, fewest := 0, 33
	for i, c := range line {
		n := bits.OnesCount32(uint32(c))
		old := n == 0 || uint16(tick)-uint16(c>>32) > 7 // its window has passed
		if n > 0 && c>>48<<48 == mark {
			if old {
				c = mark | cell(uint16(tick))<<32
			}
			c |= bit
			line[i] = c
			if bits.OnesCount32(uint32(c)) < s.promote {
				return nil
			}
			line[i] = 0
			since := (tick - int64(uint16(tick)-uint16(c>>32))) * unit
			return &place{before: uint32(c), beforeSince: since, beforeUntil: since + s.window}
		}
		if old {
			n = 0
		}
		if n < fewest {
			smallest, fewest = i, n
		}
	}
	if fewest > 1 {
		line[smallest] &= line[smallest] - 1 // one bit less
		return nil
	}
	line[smallest] = mark | cell(uint16(tick))<<32 | bit
	return nil
}

func (p *place) add(s *spread, network, address uint32, at, now int64) spreadSeen {
	oldest := now - s.window
	if now >= p.beforeUntil {
		p.before = 0
	}
	seen := spreadSeen{since: at}
	if p.before != 0 {
		n := bits.OnesCount32(p.before)
		seen = spreadSeen{clicks: n, networks: n, addresses: n, since: min(at, p.beforeSince)}
	}

	// The address to the end, and those out that are too old.
	kept := p.origins[:0]
	for _, o := range p.origins {
		if o.address == address && o.network == network {
			at = max(at, o.at)
			continue
		}
		if o.at > oldest {
			kept = append(kept, o)
		}
	}
	if len(kept) >= s.maxOrigins {
		kept = append(kept[:0], kept[1:]...)
	}
	p.origins = append(kept, origin{address, network, at})

	begin := at - at%60
	minutes := p.clicks[:0]
	counted := false
	for _, m := range p.clicks {
		if m.begin+60 <= oldest {
			continue
		}
		if m.begin == begin {
			m.n++
			counted = true
		}
		minutes = append(minutes, m)
	}
	if !counted {
		minutes = append(minutes, minute{begin, 1})
	}
	p.clicks = minutes
	for _, m := range p.clicks {
		seen.clicks += m.n
	}
	for i, o := range p.origins {
		seen.since = min(seen.since, o.at)
		if p.before>>(o.network%32)&1 != 0 {
			continue
		}
		seen.addresses++
		if !sameNetwork(p.origins[:i], o.network) {
			seen.networks++
		}
	}
	return seen
}

func sameNetwork(origins []origin, network uint32) bool {
	for i := range origins {
		if origins[i].network == network {
			return true
		}
	}
	return false
}

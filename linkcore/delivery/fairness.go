package event

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"

	"example.com/linktracker/linkcore"
)

// Whoever holds one link can request it from many connections at once. What is
// under way of each link and address is counted, in bytes of the shared places,
// so that a [Delivery] whose places are nearly all taken can tell whose excess
// it is. The counters are few and those who share one are told apart by nobody;
// the hash has a key of its own in each process, so that nobody can choose with
// whom he shares.
type fairness [1 << 14]atomic.Int64

const (
	// Places are nearly all taken when so much of them is, in bytes.
	nearlyFull = maxBytes / 4 * 3

	// What one link and address may have of them even then, in bytes.
	fairShare = maxBytes / 8
)

// add notes bytes that an event takes, or gives back. It returns what the
// event's link and address have with them, or 0 where they do not count: nobody's
// unsubscribe is in excess.
func (f *fairness) add(e *Event, bytes int) int {
	if e.origin == 0 || e.Type == Unsubscribe {
		return 0
	}
	return int(f[e.origin%uint64(len(f))].Add(int64(bytes)))
}

var originSeed = maphash.MakeSeed()

// originOf returns a hash of a link and the address that requested it; of an IPv6
// address only of its /64, since one machine may have all of those. It means
// nothing outside this process.
func originOf(link *linkcore.Link, address netip.Addr) uint64 {
	var h maphash.Hash
	h.SetSeed(originSeed)
	for _, id := range [...]string{link.Host, link.Customer, link.Campaign, link.Recipient, link.Link} {
		h.WriteString(id)
		h.WriteByte('/')
	}
	network := address.Unmap().As16()
	n := len(network)
	if address.Is6() && !address.Is4In6() {
		n = 8
	}
	h.Write(network[:n])
	return max(h.Sum64(), 1) // 0 is not known
}

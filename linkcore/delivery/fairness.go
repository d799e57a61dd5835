package delivery

import (
	"sync/atomic"

	"example.com/linktracker/linkcore/event"
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
// wish is in excess.
func (f *fairness) add(e *event.Event, bytes int) int {
	if e.Origin == 0 || e.Type.Wish() {
		return 0
	}
	return int(f[e.Origin%uint64(len(f))].Add(int64(bytes)))
}

package delivery

import (
	"sync/atomic"

	"example.com/linktracker/linkcore/event"
)

// One client can request its link on many connections at once. A fairness counts
// the events in flight of each link and address, in bytes of the shared places, so
// that a [Delivery] whose places are nearly all taken finds the source of the
// excess. Links share a fixed number of counters by a hash whose key is random in
// each process, so that nobody can choose the links that share their counter.
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
func (f *fairness) add(e *event.Event, bytes int) int {
	if e.Origin == 0 || e.Type == event.Unsubscribe {
		return 0
	}
	return int(f[e.Origin%uint64(len(f))].Add(int64(bytes)))
}

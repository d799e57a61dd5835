package redirect

import (
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore"
)

// Stats are what a [Handler] has answered since it was made.
type Stats struct {
	Redirects    uint64 // clicks sent on, to their destination or to a rule's target
	Opens        uint64 // pictures shown; HEAD does not count
	Unsubscribes uint64 // one-click requests fulfilled
	Objections   uint64 // to tracking, by the privacy page
	Withdrawals  uint64 // of objections
	Blocked      uint64 // clicks that a rule blocked
	Invalid      uint64 // answered with 404
	Unavailable  uint64 // answered with 503: no rules to ask, or a panic

	Untracked uint64 // events of people and links that are not to be tracked
	Recovered uint64 // events of links that had to be repaired

	// InvalidCauses divides Invalid by cause: not_link, too_long, host,
	// unknown_key, tag, box, sealed_parts and other, each of which is there,
	// also with 0.
	InvalidCauses map[string]uint64

	// FirstByte is the time from the request (from the end of its body, where
	// it has one) to its flushed headers, of answers that an event belongs to.
	// HEAD with hold is not among them, as nobody waits for it.
	FirstByte Histogram
}

// causes are the reasons of 404, by the names that logs and metrics know.
var causes = [...]struct {
	err  error
	name string
}{
	{linkcore.ErrNotLink, "not_link"},
	{linkcore.ErrTooLong, "too_long"},
	{linkcore.ErrHost, "host"},
	{linkcore.ErrUnknownKey, "unknown_key"},
	{linkcore.ErrTag, "tag"},
	{linkcore.ErrBox, "box"},
	{linkcore.ErrSealedParts, "sealed_parts"},
}

type counters struct {
	redirects, opens, unsubscribes, blocked, unavailable, untracked, recovered atomic.Uint64

	causes    [len(causes) + 1]atomic.Uint64 // the last is for what causes does not hold
	firstByte histogram
}

func (c *counters) countInvalid(cause error) {
	i := 0
	for i < len(causes) && !errors.Is(cause, causes[i].err) {
		i++
	}
	c.causes[i].Add(1)
}

// Stats returns the counts. They are read one by one, not all at one moment.
func (h *Handler) Stats() Stats {
	s := Stats{
		Redirects:     h.redirects.Load(),
		Opens:         h.opens.Load(),
		Unsubscribes:  h.unsubscribes.Load(),
		Objections:    h.made.Load(),
		Withdrawals:   h.withdrawn.Load(),
		Blocked:       h.blocked.Load(),
		Unavailable:   h.counters.unavailable.Load(),
		Untracked:     h.untracked.Load(),
		Recovered:     h.recovered.Load(),
		InvalidCauses: map[string]uint64{},
		FirstByte:     h.firstByte.snapshot(),
	}
	for i := range h.causes {
		name := "other"
		if i < len(causes) {
			name = causes[i].name
		}
		n := h.causes[i].Load()
		s.InvalidCauses[name] = n
		s.Invalid += n
	}
	return s
}

// bounds are the upper bounds of a Histogram's buckets in microseconds; the
// last bucket has none.
var bounds = [...]uint64{50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000}

// HistogramBounds returns the upper bounds of the buckets of a [Histogram]. The
// bucket behind the last bound takes what is longer.
func HistogramBounds() []time.Duration {
	list := make([]time.Duration, len(bounds))
	for i, b := range bounds {
		list[i] = time.Duration(b) * time.Microsecond
	}
	return list
}

// A Histogram counts durations by [HistogramBounds].
type Histogram struct {
	Buckets [len(bounds) + 1]uint64 // each without those before it
	Sum     uint64                  // of all durations, in microseconds
}

// Since returns what was counted after an earlier state of the same histogram.
func (h Histogram) Since(earlier Histogram) Histogram {
	for i := range h.Buckets {
		h.Buckets[i] -= earlier.Buckets[i]
	}
	h.Sum -= earlier.Sum
	return h
}

// Count returns the number of durations.
func (h Histogram) Count() uint64 {
	n := uint64(0)
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// LogValue returns a group of le_N, the number of durations of at most N
// microseconds for each bound, count, the number of all, and sum, their
// microseconds.
func (h Histogram) LogValue() slog.Value {
	attributes := make([]slog.Attr, 0, len(h.Buckets)+1)
	n := uint64(0)
	for i, bound := range bounds {
		n += h.Buckets[i]
		attributes = append(attributes, slog.Uint64("le_"+strconv.FormatUint(bound, 10), n))
	}
	return slog.GroupValue(append(attributes, slog.Uint64("count", h.Count()), slog.Uint64("sum", h.Sum))...)
}

// histogram is a Histogram that counts, without locks.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64
}

func (h *histogram) observe(elapsed time.Duration) {
	i := 0
	// A bucket holds its bound, to the nanosecond.
	for i < len(bounds) && elapsed > time.Duration(bounds[i])*time.Microsecond {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(max(elapsed, 0) / time.Microsecond))
}

func (h *histogram) snapshot() (s Histogram) {
	for i := range h.buckets {
		s.Buckets[i] = h.buckets[i].Load()
	}
	s.Sum = h.sum.Load()
	return s
}

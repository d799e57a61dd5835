package endpoint

import (
	"sync"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/redirect"
)

const statsInterval = time.Minute

// stats writes the line "stats" once a minute while requests come: the first
// request after a line sets the timer for the next.
type stats struct {
	armed atomic.Bool

	mu   sync.Mutex
	last counts
}

// counts are what has been counted since the start, and the states now.
type counts struct {
	answers     redirect.Stats
	delivery    delivery.Stats
	rules       blocklist.Stats
	keyFailures uint64
	keys        int
}

func (e *Endpoint) counts() counts {
	return counts{
		answers:     e.handler.Stats(),
		delivery:    e.delivery.Stats(),
		rules:       e.rules.Stats(),
		keyFailures: e.keys.Failures(),
		keys:        len(e.keys.IDs()),
	}
}

// A measure is one name of the stats line, and of the metrics page, which are a
// contract with the metrics that are made of them. One of its functions is set.
type measure struct {
	name, help string

	count     func(*counts) uint64            // since the start
	causes    func(*counts) map[string]uint64 // likewise, by cause
	state     func(*counts) (n int64, known bool)
	histogram func(*counts) redirect.Histogram
}

var measures = []measure{
	{name: "redirects", help: "Clicks that were sent on.",
		count: func(c *counts) uint64 { return c.answers.Redirects }},
	{name: "opens", help: "Pictures that were shown.",
		count: func(c *counts) uint64 { return c.answers.Opens }},
	{name: "unsubscribes", help: "One-click requests that were fulfilled.",
		count: func(c *counts) uint64 { return c.answers.Unsubscribes }},
	{name: "objections", help: "Objections to tracking.",
		count: func(c *counts) uint64 { return c.answers.Objections }},
	{name: "objections_withdrawn", help: "Objections to tracking that were withdrawn.",
		count: func(c *counts) uint64 { return c.answers.Withdrawals }},
	{name: "blocked", help: "Clicks that a rule blocked.",
		count: func(c *counts) uint64 { return c.answers.Blocked }},
	{name: "invalid", help: "Requests that were answered with 404.",
		count: func(c *counts) uint64 { return c.answers.Invalid }},
	{name: "invalid_causes", help: "Requests that were answered with 404, by cause.",
		causes: func(c *counts) map[string]uint64 { return c.answers.InvalidCauses }},
	{name: "unavailable", help: "Requests that were answered with 503.",
		count: func(c *counts) uint64 { return c.answers.Unavailable }},
	{name: "untracked", help: "Events of people and links that are not to be tracked.",
		count: func(c *counts) uint64 { return c.answers.Untracked }},
	{name: "recovered", help: "Events of links that had to be repaired.",
		count: func(c *counts) uint64 { return c.answers.Recovered }},
	{name: "delivered", help: "Events that were acknowledged.",
		count: func(c *counts) uint64 { return c.delivery.Delivered }},
	{name: "spilled", help: "Events that were written to the log instead.",
		count: func(c *counts) uint64 { return c.delivery.Spilled }},
	{name: "lost", help: "Events that could not even be written to the log.",
		count: func(c *counts) uint64 { return c.delivery.Lost }},
	{name: "refresh_failures", help: "Refreshes of the blocklist that failed.",
		count: func(c *counts) uint64 { return c.rules.RefreshFailures }},
	{name: "key_failures", help: "Key files and listings of the key ring that could not be used.",
		count: func(c *counts) uint64 { return c.keyFailures }},
	{name: "keys", help: "Keys in the ring.",
		state: func(c *counts) (int64, bool) { return int64(c.keys), true }},
	{name: "held", help: "Responses that are held open.",
		state: func(c *counts) (int64, bool) { return int64(c.delivery.Held), true }},
	{name: "first_byte_us", help: "Microseconds from the request to its flushed headers.",
		histogram: func(c *counts) redirect.Histogram { return c.answers.FirstByte }},
	{name: "rules", help: "Rules in the copy of the blocklist.",
		state: func(c *counts) (int64, bool) { return int64(c.rules.Rules), true }},
	{name: "loading", help: "Documents of the blocklist that have arrived while the first load lasts.",
		state: func(c *counts) (int64, bool) { return int64(c.rules.Documents), c.rules.Loading }},
	{name: "skipped", help: "Documents of the blocklist that are not followed, as they cannot be understood.",
		state: func(c *counts) (int64, bool) { return int64(c.rules.Skipped), true }},
	{name: "blocklist_age_seconds", help: "Seconds since the copy of the blocklist was last refreshed.",
		state: func(c *counts) (int64, bool) { return int64(c.rules.Age.Seconds()), c.rules.Age > 0 }},
}

func (s *stats) arm(e *Endpoint) {
	if !s.armed.Load() && s.armed.CompareAndSwap(false, true) {
		time.AfterFunc(statsInterval, func() {
			s.armed.Store(false)
			s.write(e)
		})
	}
}

// write logs what was counted since the last line.
func (s *stats) write(e *Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := e.counts()
	attributes := make([]any, 0, 2*len(measures))
	for i := range measures {
		m := &measures[i]
		switch {
		case m.count != nil:
			attributes = append(attributes, m.name, m.count(&now)-m.count(&s.last))
		case m.causes != nil:
			attributes = append(attributes, m.name, since(m.causes(&now), m.causes(&s.last)))
		case m.histogram != nil:
			attributes = append(attributes, m.name, m.histogram(&now).Since(m.histogram(&s.last)))
		default:
			if n, known := m.state(&now); known {
				attributes = append(attributes, m.name, n)
			}
		}
	}
	s.last = now
	e.Log.Info("stats", attributes...)
}

// since returns what each count has grown by, without those that have not.
func since(now, last map[string]uint64) map[string]uint64 {
	grown := map[string]uint64{}
	for name, n := range now {
		if n > last[name] {
			grown[name] = n - last[name]
		}
	}
	return grown
}

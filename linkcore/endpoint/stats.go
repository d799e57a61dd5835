package endpoint

import (
	"sync"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore/event"
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

// counts are what has been counted since the start.
type counts struct {
	answers         redirect.Stats
	delivery        event.DeliveryStats
	refreshFailures uint64
	keyFailures     uint64
}

func (s *stats) arm(e *Endpoint) {
	if !s.armed.Load() && s.armed.CompareAndSwap(false, true) {
		time.AfterFunc(statsInterval, func() {
			s.armed.Store(false)
			s.write(e)
		})
	}
}

// write logs what was counted since the last line. The names are a contract
// with the metrics that are made of them.
func (s *stats) write(e *Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := e.rules.Stats()
	now := counts{
		answers:         e.handler.Stats(),
		delivery:        e.delivery.Stats(),
		refreshFailures: rules.RefreshFailures,
		keyFailures:     e.keys.Failures(),
	}
	a, b := now.answers, s.last.answers
	attributes := []any{
		"redirects", a.Redirects - b.Redirects,
		"opens", a.Opens - b.Opens,
		"unsubscribes", a.Unsubscribes - b.Unsubscribes,
		"blocked", a.Blocked - b.Blocked,
		"invalid", a.Invalid - b.Invalid,
		"invalid_causes", since(a.InvalidCauses, b.InvalidCauses),
		"untracked", a.Untracked - b.Untracked,
		"recovered", a.Recovered - b.Recovered,
		"delivered", now.delivery.Delivered - s.last.delivery.Delivered,
		"spilled", now.delivery.Spilled - s.last.delivery.Spilled,
		"refresh_failures", now.refreshFailures - s.last.refreshFailures,
		"key_failures", now.keyFailures - s.last.keyFailures,
		"keys", len(e.keys.IDs()),
		"held", now.delivery.Held,
		"first_byte_us", a.FirstByte.Since(b.FirstByte),
		"rules", rules.Rules,
	}
	if rules.Age > 0 {
		attributes = append(attributes, "blocklist_age_seconds", int64(rules.Age.Seconds()))
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

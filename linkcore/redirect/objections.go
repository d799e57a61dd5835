package redirect

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore"
)

const (
	// By then the rules hold an objection, or nobody makes rules of them.
	objectionLife = time.Hour

	maxObjections = 10_000
)

// objections are those that this handler has taken, which count before the rules
// hold them. Requests read them without a lock; each change makes a new map, which
// takes 1.5 ms when there are as many as may be. Without any a look costs one load.
type objections struct {
	changing sync.Mutex
	taken    atomic.Pointer[map[person]time.Time]

	made, withdrawn atomic.Uint64
}

type person struct{ customer, recipient string }

// objected reports whether the link's recipient objected within the last hour.
func (o *objections) objected(link *linkcore.Link, now time.Time) bool {
	taken := o.taken.Load()
	if taken == nil {
		return false
	}
	at, ok := (*taken)[person{link.Customer, link.Recipient}]
	return ok && now.Sub(at) < objectionLife
}

// remember takes an objection. Where there are too many the oldest goes.
func (o *objections) remember(link *linkcore.Link, now time.Time) {
	o.made.Add(1)
	// A map would keep the request alive.
	who := person{strings.Clone(link.Customer), strings.Clone(link.Recipient)}
	o.change(func(all map[person]time.Time) {
		maps.DeleteFunc(all, func(_ person, at time.Time) bool { return now.Sub(at) >= objectionLife })
		if _, ok := all[who]; !ok && len(all) >= maxObjections {
			var oldest person
			for p, at := range all {
				if first, ok := all[oldest]; !ok || at.Before(first) {
					oldest = p
				}
			}
			delete(all, oldest)
		}
		all[who] = now
	})
}

// forget takes an objection back.
func (o *objections) forget(link *linkcore.Link) {
	o.withdrawn.Add(1)
	if o.taken.Load() != nil {
		o.change(func(all map[person]time.Time) { delete(all, person{link.Customer, link.Recipient}) })
	}
}

func (o *objections) change(by func(map[person]time.Time)) {
	o.changing.Lock()
	defer o.changing.Unlock()
	all := map[person]time.Time{}
	if taken := o.taken.Load(); taken != nil {
		all = maps.Clone(*taken)
	}
	by(all)
	if len(all) == 0 {
		o.taken.Store(nil)
		return
	}
	o.taken.Store(&all)
}

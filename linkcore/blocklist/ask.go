package blocklist

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/linktracker/linkcore"
)

// While the copy is not whole, clicks cost at most so many document reads at once
// and a second, since strangers can cause starts.
const (
	mostReads  = 20_000
	readsAgain = 2_000 // a second

	// mostAsked is how many documents are asked for in one call, and mostAnswers how
	// many answers are kept.
	mostAsked   = 1_000
	mostAnswers = 50_000

	// askAgain is how long the source is not asked after it failed to answer.
	askAgain = time.Second

	// silence is how long a call may take before no request waits for the source.
	silence = 5 * time.Second

	// Clicks can rely on a source that answered the last enoughSoon calls within that
	// part of what they wait.
	soon       = 5
	enoughSoon = 3
)

// asks are what requests ask the source for. One call is under way at a time; what
// is asked for meanwhile goes into the next.
type asks struct {
	answers map[string]reply // by document id
	tokens  float64          // document reads that may be made
	counted time.Duration    // when tokens was counted, as instant.mono

	next    *question
	calling bool
	called  time.Duration // when the call under way began, as instant.mono
	soon    int           // how many of the last calls, without a break, were answered soon
	failing bool          // the last call failed
	after   time.Duration // when the next may be made, as instant.mono
	never   bool          // the source cannot be asked
}

// A question is one call's.
type question struct {
	ids  map[string]bool
	done chan struct{}
	err  error
}

// A reply is what the source said of a document.
type reply struct {
	rule  *rule         // nil: there is none
	given time.Duration // as instant.mono
}

var everyKind = func() *Index {
	x := &Index{}
	for kind := range x.kinds {
		x.kinds[kind] = kind != kindIP && kind != kindAgent
	}
	return x
}()

// Matching returns the rules that could match a link's clicks, by kind and value, the
// most specific first: all but those of the kinds ip and agent.
func Matching(link *linkcore.Link) []Rule {
	return slices.DeleteFunc(matching(link), func(r Rule) bool {
		r.Action = Block
		_, err := r.Normalize() // the end of an address is no host, and nothing writes it
		return err != nil
	})
}

func matching(link *linkcore.Link) (rules []Rule) {
	everyKind.match(&match{asks: &rules}, &Request{Link: link})
	return rules
}

// candidates returns the ids under which the stores keep rules that could match
// the request.
func candidates(req *Request) (ids []string) {
	if req.Link != nil {
		ids = []string{}
		for _, r := range matching(req.Link) {
			ids = append(ids, r.DocumentID())
			if r.Kind == Recipient {
				ids = append(ids, r.ObjectionID())
			}
		}
	}
	return ids
}

// answers returns the documents of those ids, and whether what is not among them
// does not exist. It waits for that within Options.Wait and until done is closed.
func (c *Cache) answers(ctx context.Context, ids []string, done <-chan struct{}) (*packed, bool) {
	c.mu.Lock()
	q, known := c.question(ids)
	c.mu.Unlock()
	if q != nil {
		timer := time.NewTimer(c.o.Wait)
		defer timer.Stop()
		for waiting := true; waiting; {
			select {
			case <-done: // then the copy is whole, or the load has failed
				done = nil
				waiting = c.current.Load() == nil
				continue
			case <-q.done:
				known = q.err == nil
			case <-timer.C:
			case <-ctx.Done():
			}
			waiting = false
		}
	}
	found := new(rules)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		answer, ok := c.asks.answers[id]
		known = known && ok // there may have been too many to keep
		if answer.rule != nil {
			found.add(keyOf(id), answer.rule)
		}
	}
	return pack(found.records, found.text.String()), known
}

// question returns what to wait for: nil if all is known, or if it cannot be known
// in time.
func (c *Cache) question(ids []string) (*question, bool) {
	a := &c.asks
	now := c.now().mono
	var unknown []string
	for _, id := range ids {
		if given, ok := a.answers[id]; !ok || now-given.given > c.o.Refresh {
			unknown = append(unknown, id)
		}
	}
	a.tokens = min(a.tokens+readsAgain*(now-a.counted).Seconds(), mostReads)
	a.counted = now
	switch {
	case a.never || len(ids) == 0:
		return nil, false
	case len(unknown) == 0:
		return nil, true
	case c.closed || c.o.Wait <= 0 || a.tokens < float64(len(unknown)):
		return nil, false
	case a.failing && (now < a.after || a.calling):
		return nil, false
	case a.calling && now-a.called > max(silence, c.o.Wait):
		return nil, false // it hangs
	}
	if a.next == nil {
		a.next = &question{ids: map[string]bool{}, done: make(chan struct{})}
	}
	q := a.next
	if len(q.ids)+len(unknown) > mostAsked {
		return nil, false
	}
	a.tokens += float64(len(q.ids))
	for _, id := range unknown {
		q.ids[id] = true
	}
	a.tokens -= float64(len(q.ids))
	if !a.calling {
		a.next, a.calling, a.called = nil, true, now
		c.wg.Go(func() { c.call(q) })
	}
	if a.failing {
		return nil, false // whether it works again is found out without anybody waiting
	}
	return q, false
}

// call asks the source until there are no more questions. An answer that comes too
// late for its request is good for the next.
func (c *Cache) call(q *question) {
	for q != nil {
		ctx, cancel := context.WithTimeout(c.ctx, patience*time.Second)
		begin := c.now().mono
		documents, err := c.source.Get(ctx, slices.Collect(maps.Keys(q.ids)))
		cancel()
		c.mu.Lock()
		c.asks.soon++
		if err != nil || c.now().mono-begin > c.o.Wait/soon {
			c.asks.soon = 0
		}
		c.keep(q, documents, err)
		close(q.done)
		q, c.asks.next = c.asks.next, nil
		c.asks.calling, c.asks.called = q != nil, c.now().mono
		c.mu.Unlock()
	}
}

// keep keeps the answer to a question.
func (c *Cache) keep(q *question, documents []Document, err error) {
	a := &c.asks
	now := c.now()
	q.err = err
	a.never = errors.Is(err, errors.ErrUnsupported)
	if err != nil {
		if !a.failing && !a.never && c.ctx.Err() == nil {
			c.o.Log.Warn("blocklist cannot be asked for the rules of one link; until all are loaded, only blocks that have arrived hold", "error", err)
		}
		a.failing, a.after = true, now.mono+askAgain
		return
	}
	a.failing = false
	c.heard.Store(true)
	if c.current.Load() != nil {
		return // nobody will ask again
	}
	if len(a.answers)+len(q.ids) > mostAnswers {
		clear(a.answers)
	}
	for id := range q.ids {
		a.answers[id] = reply{given: now.mono}
	}
	for _, d := range documents {
		r := newRule(&d, now.wall.UnixMicro())
		a.answers[d.ID] = reply{&r, now.mono}
	}
}

// probe asks for a document that does not exist, to learn how soon the source
// answers. n makes it another one each time.
func (c *Cache) probe(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Load() == nil {
		c.question([]string{fmt.Sprintf("probe-%d", n)})
	}
}

// inTime reports whether clicks can rely on the source's answers.
func (c *Cache) inTime() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &c.asks
	return a.soon >= enoughSoon && !(a.calling && c.now().mono-a.called > c.o.Wait/soon)
}

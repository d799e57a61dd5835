package report

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"
	"math"
	"sort"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// A class is what a request counts as. The order is that of the charts, from the
// ground up.
type class byte

const (
	classHuman class = iota
	classUntracked
	classSuspect
	classAutomated
)

// How many different rows are kept apart, and how many a report lists.
const (
	campaignsKept, campaignsListed       = 4096, 1000
	destinationsKept, destinationsListed = 16384, 100
	linksKept, linksListed               = 16384, 100
	rulesKept, rulesListed               = 1024, 50
)

// A Report is what was counted. All times are UTC.
type Report struct {
	MadeAt time.Time `json:"made_at"`

	// What was asked for; absent: all.
	Customer string    `json:"customer,omitempty"`
	Campaign string    `json:"campaign,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`

	Input Input `json:"input"`

	// First and Last are when the first and the last of the events came that
	// were counted.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`

	Clicks       Counts `json:"clicks"`
	Opens        Counts `json:"opens"`
	Unsubscribes Counts `json:"unsubscribes"`
	Objections   Counts `json:"objections"`           // to tracking
	Withdrawals  Counts `json:"objections_withdrawn"` // of objections
	Blocked      Counts `json:"blocked"`              // clicks on links that a rule blocks

	Redirected int64 `json:"redirected"` // clicks that a rule sent elsewhere
	Unclassed  int64 `json:"unclassed"`  // clicks that say nothing of automation, counted as people's
	Overruled  int64 `json:"overruled"`  // clicks that became automated by a verdict
	Untracked  int64 `json:"untracked"`  // events of all types of people and links that are not to be tracked
	Recipients int64 `json:"recipients"` // people who clicked, automated clicks left out

	Series Series `json:"series"`

	// Peak is the shortest part of the series that has nine tenths of the clicks, in
	// shorter buckets, where that is a sixth of the whole at most.
	Peak Series `json:"peak,omitzero"`

	Delay Delay `json:"delay"`

	Campaigns    Top `json:"campaigns"`
	Destinations Top `json:"destinations"`
	Links        Top `json:"links"`
	Rules        Top `json:"rules"` // of blocked clicks, and of clicks that were sent elsewhere
}

// A Series is clicks over time.
type Series struct {
	Step    string   `json:"step,omitempty"` // how long a bucket is: "15 minutes", "1 day"
	Buckets []Bucket `json:"buckets"`

	first time.Time // click
	end   time.Time // of the last bucket
}

// A Bucket is the clicks from a time to the next bucket's.
type Bucket struct {
	From   time.Time `json:"from"`
	Clicks Counts    `json:"clicks"`
}

// A Delay is how long after the mail was sent clicks came.
type Delay struct {
	Bins    []DelayBin `json:"bins"`
	Unknown int64      `json:"unknown"` // clicks on links that do not say when they were sent

	// After how many seconds half and nine tenths of the clicks had come that are
	// not automated, to about 5 %; 0 where there are none.
	MedianSeconds float64 `json:"median_seconds"`
	P90Seconds    float64 `json:"p90_seconds"`
}

// A DelayBin is the clicks that came so many seconds after the mail was sent:
// from From, below To. The first bin has what came before it was sent, the last
// one no end.
type DelayBin struct {
	From   *float64 `json:"from_seconds,omitempty"`
	To     *float64 `json:"to_seconds,omitempty"`
	Clicks Counts   `json:"clicks"`
}

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

// delayEdges are where the bins end, in seconds: about three times more each.
var delayEdges = [...]float64{
	0, 2, 10, 30, minute, 3 * minute, 10 * minute, 30 * minute,
	hour, 3 * hour, 8 * hour, day, 3 * day, 7 * day, 30 * day,
}

// A fineDelay is clicks by the logarithm of their delay.
type fineDelay struct {
	bins  [fineBins]int64
	total int64
}

const (
	finePerOctave = 16 // bins 4.4 % wide
	fineBins      = 40 * finePerOctave
)

func (f *fineDelay) add(seconds float64) {
	i := 0
	if seconds > 1 {
		i = min(1+int(math.Log2(seconds)*finePerOctave), fineBins-1)
	}
	f.bins[i]++
	f.total++
}

// quantile returns below which delay the share of the clicks lies, in seconds.
func (f *fineDelay) quantile(share float64) float64 {
	rest := int64(math.Ceil(share * float64(f.total)))
	for i, n := range f.bins {
		if rest -= n; n > 0 && rest <= 0 {
			if i == 0 {
				return 1
			}
			return math.Exp2((float64(i) - .5) / finePerOctave)
		}
	}
	return 0
}

// Report counts what was read. The collector can go on reading.
func (c *Collector) Report(ctx context.Context) (*Report, error) {
	verdicts := newSpool(c.o.TempDir, keySpoolMemory)
	defer verdicts.close()
	overview := Series{Buckets: []Bucket{}}
	if !c.first.IsZero() {
		overview = newSeries(c.first, c.last)
	}
	if err := c.findVerdicts(ctx, verdicts, &overview); err != nil {
		return nil, err
	}

	r := &Report{
		MadeAt:   time.Now().UTC().Truncate(time.Second),
		Customer: c.o.Customer, Campaign: c.o.Campaign, Since: c.o.Since, Until: c.o.Until,
		Input: c.input,
	}
	r.Input.Files = append([]File{}, c.input.Files...)
	n := counter{
		r: r, c: c,
		seed:         maphash.MakeSeed(),
		campaigns:    newRanking(campaignsKept),
		destinations: newRanking(destinationsKept),
		links:        newRanking(linksKept),
		rules:        newRanking(rulesKept),
		people:       newSpool(c.o.TempDir, keySpoolMemory),
	}
	defer n.people.close()
	r.Series = overview.empty()
	r.Peak = overview.peak()
	r.Delay.Bins = make([]DelayBin, len(delayEdges)+1)
	for i, edge := range delayEdges {
		r.Delay.Bins[i].To, r.Delay.Bins[i+1].From = &edge, &edge
	}

	automated := false // by a verdict that speaks of the current key
	counted := false   // the event of the current key
	var current [keyLength - 1]byte
	var e stored
	i := 0
	for record, err := range merged(c.spool, verdicts) {
		if err != nil {
			return nil, err
		}
		if i++; i%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if i == 1 || !bytes.Equal(current[:], record[:keyLength-1]) {
			copy(current[:], record)
			automated, counted = false, false
		}
		switch {
		case record[keyLength-1] == aboutEvent:
			automated = true
			continue
		case counted:
			r.Input.Duplicates++
			continue
		}
		counted = true
		if err := e.decode(record); err != nil {
			return nil, err
		}
		if !c.inPeriod(e.occurredAt) {
			continue
		}
		if err := n.count(&e, automated); err != nil {
			return nil, err
		}
	}
	if err := n.countPeople(ctx); err != nil {
		return nil, err
	}
	r.Delay.MedianSeconds, r.Delay.P90Seconds = n.fine.quantile(.5), n.fine.quantile(.9)
	r.Campaigns = n.campaigns.top(campaignsListed)
	r.Destinations = n.destinations.top(destinationsListed)
	r.Links = n.links.top(linksListed)
	r.Rules = n.rules.top(rulesListed)
	return r, nil
}

// A counter counts each event once.
type counter struct {
	r    *Report
	c    *Collector
	seed maphash.Seed
	fine fineDelay

	campaigns, destinations, links, rules *ranking

	people  *spool // a key of each person and campaign
	scratch []byte
}

// hash identifies a name. Of ten million, two are taken for one with a
// probability of three in a million.
func (n *counter) hash(kind byte, names ...[]byte) uint64 {
	b := append(n.scratch[:0], kind)
	for _, name := range names {
		b = append(append(b, name...), 0)
	}
	n.scratch = b
	return maphash.Bytes(n.seed, b)
}

func (n *counter) count(e *stored, verdict bool) error {
	r := n.r
	if r.First.IsZero() || e.occurredAt.Before(r.First) {
		r.First = e.occurredAt
	}
	if e.occurredAt.After(r.Last) {
		r.Last = e.occurredAt
	}
	untracked := e.flags&flagUntracked != 0
	if untracked {
		r.Untracked++
	}
	automated := e.class == storedAutomated || bytes.HasPrefix(e.link, []byte(linkcore.HoneypotPrefix))
	class := classHuman
	switch {
	case automated || verdict:
		class = classAutomated
	case untracked:
		class = classUntracked
	case e.class == storedSuspect:
		class = classSuspect
	}
	switch e.kind {
	case typeOpen:
		r.Opens.add(class, 1)
		return nil
	case typeUnsubscribe:
		r.Unsubscribes.add(class, 1)
		return nil
	case typeObjection:
		r.Objections.add(class, 1)
		return nil
	case typeWithdrawal:
		r.Withdrawals.add(class, 1)
		return nil
	case typeBlocked:
		r.Blocked.add(class, 1)
		n.countRule(e, class)
		return nil
	}

	r.Clicks.add(class, 1)
	if e.class == storedUnclassed {
		r.Unclassed++
	}
	if verdict && !automated {
		r.Overruled++
	}
	if e.flags&flagRedirected != 0 {
		r.Redirected++
		n.countRule(e, class)
	}
	r.Series.count(e.occurredAt, class)
	r.Peak.count(e.occurredAt, class)
	n.countDelay(e, class)

	campaign := n.hash('c', e.customer, e.campaign)
	n.campaigns.count(campaign, class, e.occurredAt, func(row *Row) {
		row.Customer, row.Campaign = string(e.customer), string(e.campaign)
	})
	if len(e.destination) > 0 {
		n.destinations.count(n.hash('d', e.destination), class, e.occurredAt, func(row *Row) {
			row.Destination = string(e.destination)
		})
	} else {
		n.destinations.rowless++
	}
	if len(e.link) > 0 {
		n.links.count(n.hash('l', e.customer, e.link), class, e.occurredAt, func(row *Row) {
			row.Customer, row.Campaign, row.Link = string(e.customer), string(e.campaign), string(e.link)
			row.Destination = string(e.destination)
		})
	} else {
		n.links.rowless++
	}

	// A link that names no recipient is a person of its own, but for those of a
	// whole mailing.
	var person uint64
	switch {
	case class == classAutomated || untracked:
		return nil
	case len(e.recipient) > 0:
		person = n.hash('p', e.customer, e.recipient)
	case len(e.link) > 0:
		person = n.hash('l', e.customer, e.link)
	default:
		return nil
	}
	var key [keyLength]byte
	binary.BigEndian.PutUint64(key[:], person)
	binary.BigEndian.PutUint64(key[8:], campaign)
	return n.people.add(key[:])
}

func (n *counter) countRule(e *stored, class class) {
	if len(e.rule) == 0 {
		n.rules.rowless++
		return
	}
	n.rules.count(n.hash('r', e.rule), class, e.occurredAt, func(row *Row) { row.Rule = string(e.rule) })
}

func (n *counter) countDelay(e *stored, class class) {
	d := &n.r.Delay
	if e.sentAt == math.MinInt64 {
		d.Unknown++
		return
	}
	seconds := float64(e.occurredAt.UnixMicro())/1e6 - float64(e.sentAt)
	i := sort.Search(len(delayEdges), func(i int) bool { return delayEdges[i] > seconds })
	d.Bins[i].Clicks.add(class, 1)
	if class != classAutomated {
		n.fine.add(seconds)
	}
}

// countPeople counts each person once, and once in each campaign.
func (n *counter) countPeople(ctx context.Context) error {
	var last [keyLength]byte
	i := 0
	for record, err := range merged(n.people) {
		if err != nil {
			return err
		}
		if i++; i%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if i > 1 && bytes.Equal(record, last[:]) {
			continue
		}
		if i == 1 || !bytes.Equal(record[:8], last[:8]) {
			n.r.Recipients++
		}
		copy(last[:], record)
		if row := n.campaigns.rows[binary.BigEndian.Uint64(record[8:])]; row != nil {
			row.Recipients++
		}
	}
	return nil
}

// findVerdicts adds what the events themselves say of each other. They come in
// the order of their ids, which is that of their times. On the way all clicks are
// counted for an overview.
func (c *Collector) findVerdicts(ctx context.Context, to *spool, overview *Series) error {
	var failed error
	events := func(yield func(*event.Event) bool) {
		var last [keyLength]byte
		var e stored
		i := 0
		for record, err := range merged(c.spool) {
			if err == nil && i%4096 == 0 {
				err = ctx.Err()
			}
			if err != nil {
				failed = err
				return
			}
			i++
			if record[keyLength-1] == aboutEvent || i > 1 && bytes.Equal(last[:], record[:keyLength]) {
				continue
			}
			copy(last[:], record)
			if failed = e.decode(record); failed != nil {
				return
			}
			if e.kind == typeClick && c.inPeriod(e.occurredAt) {
				overview.count(e.occurredAt, classHuman)
			}
			if e.kind != typeClick && e.kind != typeBlocked || len(e.recipient) == 0 || len(e.link) == 0 {
				continue
			}
			judged := &event.Event{
				ID: formatKey(record), Type: event.Click, OccurredAt: e.occurredAt, Untracked: e.flags&flagUntracked != 0,
				Customer: string(e.customer), Campaign: string(e.campaign), Recipient: string(e.recipient), Link: string(e.link),
			}
			if e.class == storedAutomated {
				judged.Automation = event.Automated
			}
			if !yield(judged) {
				return
			}
		}
	}
	for verdict := range watch.Verdicts(events) {
		key := keyOf(verdict.About)
		if err := to.add(append(key[:], aboutEvent)); err != nil {
			return err
		}
	}
	return failed
}

package watch

import (
	"cmp"
	"log/slog"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"example.com/linktracker/linkcore/event"
)

// shares keeps what of the clicks was blocked, by customer and by mailing.
type shares struct {
	window    int // minutes
	customers *simplelru.LRU[uint64, *share]
	campaigns *simplelru.LRU[uint64, *share]
}

const (
	maxShareCustomers = 4096
	maxShareCampaigns = 32768

	// What left the window makes up what was before, and counts half after so
	// long.
	beforeHalf = 12 * time.Hour
	// Fewer clicks before are not a rate.
	beforeLeast = 50
)

func newShares(c Config) *shares {
	return &shares{
		window:    int(c.ShareWindow / time.Minute),
		customers: newLRU[*share](maxShareCustomers),
		campaigns: newLRU[*share](maxShareCampaigns),
	}
}

// A share holds the clicks of a window, minute by minute, and what was before.
type share struct {
	minutes []shareMinute // of the window, by the minute's number
	newest  int64         // minute
	rule    string        // that blocked the last click

	clicksBefore, blockedBefore float64
}

type shareMinute struct {
	minute          int64
	clicks, blocked uint32
	recipients      uint64 // of blocked clicks, a bitmap of their hashes
}

// count takes part of a click, and returns false if it is older than the window.
func (s *share) count(window int, minute int64, e *event.Event, recipient uint64) bool {
	s.advance(window, minute)
	if minute <= s.newest-int64(window) {
		return false
	}
	if s.minutes == nil {
		s.minutes = make([]shareMinute, window)
	}
	m := &s.minutes[minute%int64(window)]
	m.minute = minute
	m.clicks++
	if e.Type == event.Blocked {
		s.rule = e.Rule
		m.blocked++
		m.recipients |= 1 << (recipient % 64)
	}
	return true
}

// advance moves the window on to a minute.
func (s *share) advance(window int, minute int64) {
	if minute <= s.newest {
		return
	}
	if s.newest > 0 {
		fade := math.Exp2(-float64(minute-s.newest) / beforeHalf.Minutes())
		s.clicksBefore *= fade
		s.blockedBefore *= fade
	}
	s.newest = minute
	for i := range s.minutes {
		if m := &s.minutes[i]; m.minute <= minute-int64(window) {
			s.clicksBefore += float64(m.clicks)
			s.blockedBefore += float64(m.blocked)
			*m = shareMinute{}
		}
	}
}

// take takes part of another share's window out of this one's.
func (s *share) take(other *share) {
	for _, o := range other.minutes {
		for i := range s.minutes {
			if m := &s.minutes[i]; o.minute != 0 && m.minute == o.minute {
				m.clicks -= min(m.clicks, o.clicks)
				m.blocked -= min(m.blocked, o.blocked)
			}
		}
	}
}

// seen returns what the window holds.
func (s *share) seen() (seen Seen, since int64) {
	var recipients uint64
	for _, m := range s.minutes {
		seen.Clicks += int(m.clicks)
		seen.Blocked += int(m.blocked)
		recipients |= m.recipients
		if m.clicks > 0 && (since == 0 || m.minute < since) {
			since = m.minute
		}
	}
	if seen.Clicks > 0 {
		seen.Share = float64(seen.Blocked) / float64(seen.Clicks)
	}
	seen.ByRule = s.rule
	if s.clicksBefore >= beforeLeast {
		seen.Before = s.blockedBefore / s.clicksBefore
	}
	seen.Recipients = linear(recipients)
	seen.Recipients = min(seen.Recipients, seen.Blocked)
	return seen, since * 60
}

// linear estimates how many different hashes have set a bit of a bitmap (linear
// counting); 300 where all are set.
func linear(bitmap uint64) int {
	free := 64 - bits.OnesCount64(bitmap)
	if free == 0 {
		return 300
	}
	return int(math.Round(-64 * math.Log(float64(free)/64)))
}

// shareOf counts a click for its customer and mailing.
func (w *Watcher) shareOf(e *event.Event, at int64, alerts []Alert) []Alert {
	if e.Customer == "" {
		return alerts // nobody's share
	}
	// What a client is blocked for says nothing of the sender. An event without its
	// rule was blocked by one about a person or an address.
	if e.Type == event.Blocked && (e.Rule == "" || strings.HasPrefix(e.Rule, "ip:") || strings.HasPrefix(e.Rule, "agent:")) {
		return alerts
	}
	// All recipients without an identifier count as one: one person may click any
	// number of times, on all links of a mailing that is the same for everybody.
	person := cmp.Or(e.Recipient, e.Link)
	if e.Untracked {
		person = ""
	}
	recipient := w.hash(person)
	minute := at / 60

	campaignStands := false
	if e.Campaign != "" {
		subject := w.hash("campaign", e.Customer, e.Campaign)
		s := shareFor(w.shares.campaigns, subject)
		var raise bool
		if s.count(w.shares.window, minute, e, recipient) {
			var seen Seen
			var since int64
			raise, campaignStands, seen, since = w.shareLevel(subject, s)
			if raise {
				alerts = append(alerts, w.shareAlert("campaign:"+e.Customer+"/"+e.Campaign, e, seen, since))
				// What one mailing explains is not the customer's share as well.
				if c, ok := w.shares.customers.Get(w.hash("customer", e.Customer)); ok {
					c.take(s)
				}
			}
		}
	}
	if campaignStands {
		return alerts
	}
	subject := w.hash("customer", e.Customer)
	s := shareFor(w.shares.customers, subject)
	if s.count(w.shares.window, minute, e, recipient) {
		if raise, _, seen, since := w.shareLevel(subject, s); raise {
			alerts = append(alerts, w.shareAlert("customer:"+e.Customer, e, seen, since))
		}
	}
	return alerts
}

func shareFor(l *simplelru.LRU[uint64, *share], subject uint64) *share {
	s, ok := l.Get(subject)
	if !ok {
		s = &share{}
		l.Add(subject, s)
	}
	return s
}

// shareLevel reports whether a share needs an alert now, and whether one stands.
func (w *Watcher) shareLevel(subject uint64, s *share) (raise, stands bool, seen Seen, since int64) {
	seen, since = s.seen()
	level := min(
		float64(seen.Recipients)/float64(w.config.BlockedRecipients),
		seen.Share/w.config.BlockedShare,
	)
	if seen.Before > 0 {
		level = min(level, seen.Share/(seen.Before*w.config.BlockedRise))
	}
	raise, stands = w.level(subject, level)
	return raise, stands, seen, since
}

func (w *Watcher) shareAlert(subject string, e *event.Event, seen Seen, since int64) Alert {
	seen.Window = w.config.ShareWindow
	a := Alert{
		Kind: BlockedShare, Severity: slog.LevelError, Subject: subject, Rule: subject,
		Customer: e.Customer, Campaign: e.Campaign,
		Since: time.Unix(since, 0).UTC(), At: e.OccurredAt, Seen: seen,
	}
	// It stands already, or one that is wider does; or the harm is where the links
	// lead or in a key, and that is stopped: the mailing's other links may be honest.
	switch kind, _, _ := strings.Cut(seen.ByRule, ":"); {
	case seen.ByRule == subject, slices.Contains([]string{"customer", "host", "url", "prefix", "key"}, kind):
		a.Rule = ""
	}
	return a
}

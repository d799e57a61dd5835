package watch

import (
	"hash/maphash"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// Stats count what a Watcher was given.
type Stats struct {
	Events   uint64 // all
	Repeated uint64 // of those, delivered again
	Late     uint64 // of those, clicks older than every window
	Alerts   uint64
	Verdicts uint64
}

// A Watcher finds abuse in events. It is not safe for use by several goroutines
// at once.
type Watcher struct {
	config Config
	seed   maphash.Seed
	stats  Stats

	// now is the newest time seen; everything is timed by it, since events come
	// late and history is gone through at any speed.
	now     int64 // Unix seconds
	watched int64 // seconds that Learning counts

	seen       *seen
	judge      *Judge
	links      *spread
	recipients *spread
	shares     *shares
	hosts      *hosts
	raised     *simplelru.LRU[uint64, *raised]
}

// sizes are those of the big tables.
type sizes struct {
	seen              int // lines
	judge             int // bytes
	links, recipients int // cells
}

var full = sizes{seen: seenLines, judge: judgeRing, links: linkCells, recipients: recipientCells}

// New returns a watcher that has seen nothing. The error is a
// [*linkcore.FieldError].
func New(c Config) (*Watcher, error) { return newWatcher(c, full) }

func newWatcher(c Config, size sizes) (*Watcher, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	seed := maphash.MakeSeed()
	return &Watcher{
		config:     c,
		seed:       seed,
		seen:       newSeen(size.seen),
		judge:      newJudge(size.judge, seed),
		links:      newSpread(c.Window, c.LinkNetworks, c.LinkAddresses, size.links),
		recipients: newSpread(c.Window, c.RecipientNetworks, 0, size.recipients),
		shares:     newShares(c),
		hosts:      newHosts(c),
		raised:     newLRU[*raised](maxRaised),
	}, nil
}

// Stats returns the counts since the watcher was made.
func (w *Watcher) Stats() Stats { return w.stats }

// Add takes an event and returns what follows from it: alerts, and verdicts about
// it and about earlier ones. Opens, unsubscribes, verdicts and monitoring's own
// clicks have no part in it, nor what was delivered again.
//
// The times of events move the windows on: one whose time is far ahead makes the
// watcher forget what was before. Whoever cannot trust them checks them first.
func (w *Watcher) Add(e *event.Event) ([]Alert, []*event.Event) {
	w.stats.Events++
	if e.Type != event.Click && e.Type != event.Blocked || e.Customer == linkcore.ProbeCustomer {
		return nil, nil
	}
	if w.seen.again(maphash.String(w.seed, e.ID)) {
		w.stats.Repeated++
		return nil, nil
	}
	at := e.OccurredAt.Unix()
	if at <= 0 {
		return nil, nil // no clock is that wrong
	}
	w.moveOn(at)

	verdicts := w.judge.Add(e)
	w.stats.Verdicts += uint64(len(verdicts))

	var alerts []Alert
	if at > w.now-int64(max(w.config.Window, w.config.ShareWindow, w.config.HostWindow).Seconds()) {
		// Verdicts have no say in it: people who open a mail that was posted
		// click its links within the same two seconds, too.
		alerts = w.spreadOf(e, at, alerts)
		alerts = w.shareOf(e, at, alerts)
		alerts = w.hostOf(e, at, alerts)
	} else {
		w.stats.Late++
	}
	w.stats.Alerts += uint64(len(alerts))
	return alerts, verdicts
}

// moveOn moves the time on to that of an event, unless it is a late one.
func (w *Watcher) moveOn(at int64) {
	if w.now > 0 && at > w.now {
		// In a gap nothing is learnt. It may lie between an event that was
		// replayed after days and the present.
		longest := max(int64(w.config.Learning.Seconds())/learningSteps, 1)
		w.watched += min(at-w.now, longest)
	}
	w.now = max(w.now, at)
}

// learningSteps is how many events Learning takes at least.
const learningSteps = 10

// spreadOf counts a click of a recipient's link. One that a rule has matched is
// looked after already, and where a scanner sits says nothing of who has the
// mail.
func (w *Watcher) spreadOf(e *event.Event, at int64, alerts []Alert) []Alert {
	if e.Type != event.Click || e.Rule != "" || e.Untracked || e.Recipient == "" || e.Link == "" || e.Automation == event.Automated {
		return alerts
	}
	address, network, ok := originOf(w.seed, e.IP)
	if !ok {
		return alerts
	}
	link := w.hash("link", e.Customer, e.Link)
	recipient := w.hash("recipient", e.Customer, e.Recipient)

	overLink := false
	if s, ok := w.links.add(link, recipient, network, address, at, w.now); ok && !s.several {
		// An identifier that several recipients' links share is the mailing's: who
		// numbers the links of a template has nothing passed on.
		level := max(float64(s.networks)/float64(w.config.LinkNetworks), float64(s.addresses)/float64(w.config.LinkAddresses))
		raise, over := w.level(link, level)
		overLink = over
		if raise {
			alerts = append(alerts, w.spreadAlert(SharedLink, "link:"+e.Customer+"/"+e.Link, e, s))
		}
	}
	if s, ok := w.recipients.add(recipient, recipient, network, address, at, w.now); ok {
		level := float64(s.networks) / float64(w.config.RecipientNetworks)
		// One link that is passed on explains what is seen of its recipient.
		if overLink && level >= 1 {
			w.cover(recipient)
		} else if raise, _ := w.level(recipient, level); raise {
			alerts = append(alerts, w.spreadAlert(SharedRecipient, "recipient:"+e.Customer+"/"+e.Recipient, e, s))
		}
	}
	return alerts
}

func (w *Watcher) spreadAlert(kind Kind, subject string, e *event.Event, s spreadSeen) Alert {
	return Alert{
		Kind: kind, Severity: slog.LevelWarn, Subject: subject, Rule: subject,
		Customer: e.Customer, Campaign: e.Campaign,
		Since: time.Unix(s.since, 0).UTC(), At: e.OccurredAt,
		Seen: Seen{Window: w.config.Window, Clicks: s.clicks, Networks: s.networks, Addresses: s.addresses},
	}
}

// hash returns the key of a subject.
func (w *Watcher) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, s := range parts {
		h.WriteString(s)
		h.WriteByte(0)
	}
	return h.Sum64()
}

// originOf returns the hashes of an address and of its network.
func originOf(seed maphash.Seed, ip string) (address, network uint32, ok bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return 0, 0, false
	}
	a = a.Unmap()
	b := a.As16()
	kept := 6
	if a.Is4() {
		kept = 15
	}
	return uint32(maphash.Bytes(seed, b[:])), uint32(maphash.Bytes(seed, b[:kept])), true
}

// raised is what is known of a subject about which an alert was raised.
type raised struct {
	at   int64 // Unix seconds
	calm bool  // it fell below half of the threshold since
}

const maxRaised = 16384

// level reports whether a subject at so many times its threshold needs an alert
// now, and whether it is one about which an alert stands.
func (w *Watcher) level(subject uint64, level float64) (raise, stands bool) {
	r, known := w.raised.Get(subject)
	if known && level < 0.5 {
		r.calm = true
	}
	switch {
	case level < 1:
		return false, known && !r.calm
	case known && (!r.calm || w.now-r.at < int64(w.config.Repeat.Seconds())):
		return false, true
	}
	w.raised.Add(subject, &raised{at: w.now})
	return true, true
}

// cover keeps a subject from raising an alert that says what another one said.
func (w *Watcher) cover(subject uint64) {
	if r, known := w.raised.Get(subject); !known || r.calm {
		w.raised.Add(subject, &raised{at: w.now})
	}
}

// newLRU makes a table of the last used.
func newLRU[T any](size int) *simplelru.LRU[uint64, T] {
	l, err := simplelru.NewLRU[uint64, T](size, nil)
	if err != nil {
		panic(err) // a size that is not positive
	}
	return l
}

// GCPercent is what programs whose memory is mostly a Watcher's give to
// debug.SetGCPercent. It is large and has hardly a pointer, so that collecting
// often is cheap, and it need not be there twice.
const GCPercent = 40

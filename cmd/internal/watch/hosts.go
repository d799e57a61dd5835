package watch

import (
	_ "embed"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/net/publicsuffix"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// hosts keeps which customers' links lead to a host that is new. A host counts by
// itself and for the domain under which it was registered, since whoever sends a
// phishing kit can give each victim a subdomain.
//
// What is forgotten counts as known: a host that leaves the table, or has been there
// for Config.HostKnownAfter, goes into a Bloom filter that nothing leaves. Where the
// filter errs, a new host raises no alert.
type hosts struct {
	entries *simplelru.LRU[uint64, *host]
	old     []uint64                       // the filter
	named   map[string]bool                // as known
	budgets *simplelru.LRU[uint64, budget] // by customer
}

// A budget is how many new hosts a customer has brought within an hour. What is over
// it is not recorded, so that nobody can make the table forget.
type budget struct {
	hour int64
	n    int
}

const (
	maxHosts     = 1 << 16
	maxBudgets   = 1 << 15
	maxCustomers = 50      // that a host distinguishes
	hostsAnHour  = 64      // new ones of one customer
	filterWords  = 1 << 20 // 8 MiB: with eight million hosts, one new host in fifty counts as known
)

// platforms are hosts where strangers publish beside one another. How many customers
// link there says nothing of any of them, and a rule would stop all.
//
//go:embed platforms.txt
var platforms string

func newHosts(c Config) *hosts {
	h := &hosts{old: make([]uint64, filterWords), named: map[string]bool{}, budgets: newLRU[budget](maxBudgets)}
	h.entries, _ = simplelru.NewLRU(maxHosts, func(subject uint64, _ *host) { h.age(subject) })
	for _, name := range c.KnownHosts {
		normal, _ := normalHost(name) // New has validated it
		h.named[normal] = true
	}
	for name := range strings.Lines(platforms) {
		if name = strings.TrimSpace(name); name != "" && name[0] != '#' {
			h.named[name] = true
		}
	}
	return h
}

// age makes a host known; isOld returns whether it is.
func (h *hosts) age(subject uint64) {
	for i := range uint64(4) {
		bit := (subject + i*(subject>>32|1)) % (filterWords * 64)
		h.old[bit/64] |= 1 << (bit % 64)
	}
}

func (h *hosts) isOld(subject uint64) bool {
	for i := range uint64(4) {
		bit := (subject + i*(subject>>32|1)) % (filterWords * 64)
		if h.old[bit/64]>>(bit%64)&1 == 0 {
			return false
		}
	}
	return true
}

// isNamed returns whether a host or one that it is a subdomain of is named as known,
// or is a public suffix, under which strangers have names of their own.
func (h *hosts) isNamed(name string) bool {
	if suffix, _ := publicsuffix.PublicSuffix(name); suffix == name && !isAddress(name) {
		return true
	}
	for rest := name; rest != ""; {
		if h.named[rest] {
			return true
		}
		_, rest, _ = strings.Cut(rest, ".")
	}
	return false
}

// spend takes a new host off a customer's budget, and returns whether there was room.
func (h *hosts) spend(customer uint64, now int64) bool {
	b, _ := h.budgets.Get(customer)
	if b.hour != now/3600 {
		b = budget{hour: now / 3600}
	}
	b.n++
	h.budgets.Add(customer, b)
	return b.n <= hostsAnHour
}

// A host is one that is new.
type host struct {
	first      int64 // Unix seconds
	total      int   // customers that came, each counted again after a window
	recipients uint64
	customers  []hostCustomer
}

type hostCustomer struct {
	name    string
	network uint32 // of its last click; 0: not kept
	at      int64  // the last click
	n       int    // clicks since the customer appeared
}

// hostOf counts where a person's click leads to. Machines' clicks do not count, nor
// those of links that name no recipient: anybody can make either in any number.
func (w *Watcher) hostOf(e *event.Event, at int64, alerts []Alert) []Alert {
	// A rule about the destination stands already.
	if strings.HasPrefix(e.Rule, "host:") || strings.HasPrefix(e.Rule, "url:") || strings.HasPrefix(e.Rule, "prefix:") || e.Destination == "" || e.Customer == "" {
		return alerts
	}
	if e.Automation == event.Automated || e.Method == http.MethodHead || e.Recipient == "" {
		return alerts
	}
	d, err := linkcore.ParseDestination(e.Destination)
	if err != nil {
		return alerts
	}
	name := strings.TrimSuffix(strings.ToLower(d.Host), ".")
	if w.hosts.isNamed(name) {
		return alerts
	}
	alerts, stands := w.countHost(name, e, at, false, alerts)
	if isAddress(name) {
		return alerts
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil && domain != name {
		alerts, _ = w.countHost(domain, e, at, stands, alerts)
	}
	return alerts
}

// countHost counts a click for a host, and returns whether an alert about it stands.
// A host that is explained by an alert about a part of it raises none.
func (w *Watcher) countHost(name string, e *event.Event, at int64, explained bool, alerts []Alert) ([]Alert, bool) {
	subject := w.hash("host", name)
	h, ok := w.hosts.entries.Get(subject)
	if !ok {
		switch {
		case w.hosts.isOld(subject):
			return alerts, false
		case w.watched < int64(w.config.Learning.Seconds()):
			w.hosts.age(subject)
			return alerts, false
		case !w.hosts.spend(w.hash("budget", e.Customer), w.now):
			return alerts, false
		}
		h = &host{first: at}
		w.hosts.entries.Add(subject, h)
	}
	h.first = min(h.first, at)
	if w.now-h.first >= int64(w.config.HostKnownAfter.Seconds()) {
		w.hosts.entries.Remove(subject) // which makes it known
		return alerts, false
	}
	_, network, _ := originOf(w.seed, e.IP)
	h.recipients |= 1 << (w.hash("recipient", e.Customer, e.Recipient) % 64)
	level := h.add(w, e.Customer, network, at)
	if explained {
		if level >= 1 {
			w.cover(subject)
		}
		return alerts, true
	}
	raise, stands := w.level(subject, level)
	if raise {
		alerts = append(alerts, w.hostAlert(name, h, e))
	}
	return alerts, stands
}

// steady is how many times what a host has had before in a window is nothing new.
const steady = 4

// add counts a click of a customer, and returns how many times the threshold the
// window holds: that of Config, or more where the host has had visitors before. So
// many customers count as there are networks they came from.
func (h *host) add(w *Watcher, customer string, network uint32, at int64) float64 {
	window := int64(w.config.HostWindow.Seconds())
	oldest := w.now - window
	h.customers = slices.DeleteFunc(h.customers, func(c hostCustomer) bool { return c.at <= oldest })
	i := slices.IndexFunc(h.customers, func(c hostCustomer) bool { return c.name == customer })
	switch {
	case i >= 0:
		c := &h.customers[i]
		c.at, c.network = max(c.at, at), network
		c.n++
	case len(h.customers) < maxCustomers:
		h.customers = append(h.customers, hostCustomer{strings.Clone(customer), network, at, 1})
		h.total++
	}
	n := h.networks()
	usual := 0.0
	if age := w.now - h.first; age > window {
		usual = float64(h.total-len(h.customers)) * float64(window) / float64(age-window)
	}
	return float64(n) / max(float64(w.config.HostCustomers), steady*usual)
}

// networks returns from how many networks the customers' clicks came; one whose
// network is not kept is one of its own.
func (h *host) networks() (n int) {
	for i, c := range h.customers {
		if c.network == 0 || !slices.ContainsFunc(h.customers[:i], func(o hostCustomer) bool { return o.network == c.network }) {
			n++
		}
	}
	return n
}

func (w *Watcher) hostAlert(name string, h *host, e *event.Event) Alert {
	since := max(h.first, w.now-int64(w.config.HostWindow.Seconds()))
	a := Alert{
		Kind: SpreadingHost, Severity: slog.LevelError, Subject: "host:" + name, Rule: "host:" + name,
		Since: time.Unix(since, 0).UTC(), At: e.OccurredAt, Seen: Seen{Window: w.config.HostWindow, Networks: h.networks()},
	}
	for _, c := range h.customers {
		a.Seen.Customers = append(a.Seen.Customers, c.name)
		a.Seen.Clicks += c.n
	}
	a.Seen.Recipients = min(linear(h.recipients), a.Seen.Clicks)
	slices.Sort(a.Seen.Customers)
	return a
}

// isAddress reports whether a host of a destination is an IP address: the grammar of
// FORMAT.md leaves no other name that ends in digits alone.
func isAddress(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return name[0] == '[' || strings.Trim(last, "0123456789") == ""
}

package watch

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/net/publicsuffix"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
)

// hosts keeps which customers' links lead to a host, and since when it is there.
// A host counts by itself and for the domain under which it was registered, since
// whoever sends a phishing kit can give each victim a subdomain.
type hosts struct {
	entries *simplelru.LRU[uint64, *host]
	known   map[string]bool
}

const (
	maxHosts     = 32768
	maxCustomers = 50 // that a host distinguishes
)

func newHosts(c Config) *hosts {
	h := &hosts{entries: newLRU[*host](maxHosts), known: map[string]bool{}}
	for _, name := range c.KnownHosts {
		normal, _ := normalHost(name) // New has validated it
		h.known[normal] = true
	}
	return h
}

type host struct {
	domain    string // under which the host is registered, if that is another name
	known     bool   // named as known, or there since the beginning
	first     int64  // Unix seconds
	customers []hostCustomer
}

type hostCustomer struct {
	name string
	at   int64 // the last click
	n    int   // clicks since the customer appeared
}

// hostOf counts where a click's link leads to.
func (w *Watcher) hostOf(e *event.Event, at int64, alerts []Alert) []Alert {
	// A rule about the destination stands already.
	if strings.HasPrefix(e.Rule, "host:") || strings.HasPrefix(e.Rule, "url:") || strings.HasPrefix(e.Rule, "prefix:") || e.Destination == "" || e.Customer == "" {
		return alerts
	}
	d, err := linkcore.ParseDestination(e.Destination)
	if err != nil {
		return alerts
	}
	name := strings.TrimSuffix(strings.ToLower(d.Host), ".")
	subject := w.hash("host", name)
	h := w.hosts.get(w, subject, name, at)
	raise, stands := w.level(subject, h.add(w, e.Customer, at))
	if raise {
		alerts = append(alerts, w.hostAlert(name, h, e))
	}
	if h.domain == "" {
		return alerts
	}
	domain := h.domain
	subject = w.hash("host", domain)
	h = w.hosts.get(w, subject, domain, at)
	switch level := h.add(w, e.Customer, at); {
	case !stands:
		if raise, _ := w.level(subject, level); raise {
			alerts = append(alerts, w.hostAlert(domain, h, e))
		}
	case level >= 1:
		w.cover(subject) // the host explains what is seen of its domain
	}
	return alerts
}

// get returns what is known of a host.
func (h *hosts) get(w *Watcher, subject uint64, name string, at int64) *host {
	entry, ok := h.entries.Get(subject)
	if ok {
		return entry
	}
	entry = &host{first: at, known: w.watched < int64(w.config.Learning.Seconds())}
	// The name itself, or one that it is a subdomain of.
	for rest := name; rest != "" && !entry.known; {
		entry.known = h.known[rest]
		_, rest, _ = strings.Cut(rest, ".")
	}
	if !isAddress(name) {
		if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil && domain != name {
			entry.domain = strings.Clone(domain)
		}
	}
	h.entries.Add(subject, entry)
	return entry
}

// add counts a click of a customer, and returns how many times the threshold the
// window holds.
func (h *host) add(w *Watcher, customer string, at int64) float64 {
	h.first = min(h.first, at)
	if !h.known && w.now-h.first >= int64(w.config.HostKnownAfter.Seconds()) {
		h.known = true
	}
	if h.known {
		h.customers = nil
		return 0
	}
	oldest := w.now - int64(w.config.HostWindow.Seconds())
	h.customers = slices.DeleteFunc(h.customers, func(c hostCustomer) bool { return c.at <= oldest })
	i := slices.IndexFunc(h.customers, func(c hostCustomer) bool { return c.name == customer })
	switch {
	case i >= 0:
		h.customers[i].at = max(h.customers[i].at, at)
		h.customers[i].n++
	case len(h.customers) < maxCustomers:
		h.customers = append(h.customers, hostCustomer{strings.Clone(customer), at, 1})
	}
	return float64(len(h.customers)) / float64(w.config.HostCustomers)
}

func (w *Watcher) hostAlert(name string, h *host, e *event.Event) Alert {
	since := max(h.first, w.now-int64(w.config.HostWindow.Seconds()))
	a := Alert{
		Kind: SpreadingHost, Severity: slog.LevelError, Subject: "host:" + name, Rule: "host:" + name,
		Since: time.Unix(since, 0).UTC(), At: e.OccurredAt, Seen: Seen{Window: w.config.HostWindow},
	}
	for _, c := range h.customers {
		a.Seen.Customers = append(a.Seen.Customers, c.name)
		a.Seen.Clicks += c.n
	}
	slices.Sort(a.Seen.Customers)
	// Under a public suffix anyone registers names of their own.
	if suffix, _ := publicsuffix.PublicSuffix(name); suffix == name && !isAddress(name) {
		a.Rule = ""
	}
	return a
}

// isAddress reports whether a host of a destination is an IP address: the grammar of
// FORMAT.md leaves no other name that ends in digits alone.
func isAddress(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return name[0] == '[' || strings.Trim(last, "0123456789") == ""
}

package watch

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// sendTime is when the generated newsletter goes out.
var sendTime = time.Date(2026, 3, 2, 5, 0, 0, 0, time.UTC)

// A planned click is one that is still to be made an event, small enough for a
// million of them to be sorted.
type planned struct {
	after     time.Duration // sendTime
	arrives   time.Duration // after sendTime, too
	mail      int32         // of one recipient
	link      uint8
	network   uint32
	address   uint8
	automated bool
	blocked   bool
	n         uint32 // makes the id
}

const (
	mailLinks    = 8
	otherSenders = 40
)

// sharedHosts are where the links of many customers lead.
var sharedHosts = []string{"www.facebook.com", "www.instagram.com", "www.youtube.com", "www.linkedin.com", "forms.example.org", "www.example-pay.com"}

// newsletter returns about n events of an ordinary day in the order in which they
// arrive: one customer's big mailing and smaller ones of forty others, with a
// morning peak. Gateways fetch every link, some of them unrecognised and from
// several networks; people have phones that change networks and VPNs, and pass
// mails on to colleagues; some links are blocked; events are redelivered and late.
// The event is only valid until the next.
func newsletter(n int, seed uint64) iter.Seq[*event.Event] {
	r := rand.New(rand.NewPCG(seed, 1))
	plan := make([]planned, 0, n+n/8)
	network := func() uint32 { return r.Uint32N(1 << 22) }
	for mail := int32(0); len(plan) < n; mail++ {
		delivered := time.Duration(r.Int64N(int64(time.Hour)))
		// Two thirds in the morning, the rest over the day.
		read := delivered + time.Duration(r.ExpFloat64()*float64(4*time.Hour))
		if r.IntN(3) > 0 {
			read = max(delivered+10*time.Second, 3*time.Hour+time.Duration(r.NormFloat64()*float64(40*time.Minute)))
		}
		click := func(at time.Duration, link int, network uint32, automated bool) {
			arrives := at + time.Duration(r.IntN(900))*time.Millisecond
			switch r.IntN(1000) {
			case 0:
				arrives = at + time.Duration(r.Int64N(int64(40*time.Minute)))
			case 1, 2, 3, 4, 5, 6, 7, 8, 9:
				arrives = at + time.Duration(r.Int64N(int64(time.Minute)))
			}
			p := planned{at, arrives, mail, uint8(link), network, uint8(r.IntN(4)), automated, r.IntN(500) == 0, uint32(len(plan))}
			plan = append(plan, p)
			if r.IntN(200) == 0 { // delivered again
				p.arrives += time.Duration(10+r.IntN(600)) * time.Second
				plan = append(plan, p)
			}
		}
		home := network()
		kind := r.IntN(100)
		if kind < 20 { // behind a gateway
			recognised := kind < 10
			networks := make([]uint32, 2+r.IntN(7))
			for i := range networks {
				networks[i] = network()
			}
			for range 1 + r.IntN(2) { // on delivery, and again
				at := delivered + time.Duration(r.IntN(120))*time.Second
				for link := range mailLinks {
					click(at+time.Duration(r.IntN(1500))*time.Millisecond, link, networks[r.IntN(len(networks))], recognised)
				}
			}
			if r.IntN(3) > 0 {
				continue
			}
		}
		at := read
		for range 1 + r.IntN(3) {
			where := home
			switch {
			case kind >= 95: // a VPN with another way out each time
				where = network()
			case kind >= 80 && r.IntN(2) == 0: // a phone on the way
				where = home ^ uint32(1+r.IntN(3))<<9
			}
			click(at, r.IntN(mailLinks), where, false)
			at += time.Duration(3+r.IntN(120)) * time.Second
		}
		if kind == 50 { // passed on to a few colleagues, and once in a while to a group
			colleagues := 1 + r.IntN(8)
			if r.IntN(20) == 0 {
				colleagues = 14
			}
			for range colleagues {
				at := read + time.Duration(r.ExpFloat64()*float64(20*time.Minute))
				where := network()
				for range 1 + r.IntN(2) {
					click(at, r.IntN(mailLinks), where, false)
					at += time.Duration(5+r.IntN(60)) * time.Second
				}
			}
		}
	}
	slices.SortFunc(plan, func(a, b planned) int { return cmp.Or(cmp.Compare(a.arrives, b.arrives), cmp.Compare(a.n, b.n)) })
	return func(yield func(*event.Event) bool) {
		for i := range plan {
			if !yield(plan[i].event()) {
				return
			}
		}
	}
}

func (p *planned) event() *event.Event {
	e := &event.Event{
		ID: fmt.Sprintf("019caaaa-0000-7000-8000-%012x", p.n), Type: event.Click, OccurredAt: sendTime.Add(p.after), SentAt: sendTime,
		KeyID: "1", Host: "links.example.com", Customer: "acme", Campaign: "spring26", Recipient: fmt.Sprintf("r%d", p.mail),
		Link: fmt.Sprintf("m%dl%d", p.mail, p.link), Method: "GET", Automation: event.Human,
		Destination: fmt.Sprintf("https://www.acme.example/p/%d", p.link),
		UserAgent:   "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:149.0) Gecko/20100101 Firefox/149.0", AcceptLanguage: "de-CH,de;q=0.9",
	}
	if p.mail%4 == 0 { // one of the other customers
		n := p.mail / 4 % otherSenders
		e.Customer = fmt.Sprintf("customer%d", n)
		e.Destination = fmt.Sprintf("https://shop.customer%d.example/offer?p=%d", n, p.link)
	}
	if p.link == mailLinks-1 {
		e.Destination = "https://" + sharedHosts[int(p.mail/4)%len(sharedHosts)] + "/" + e.Customer
	}
	if p.automated {
		e.Automation, e.Signals = event.Automated, event.SignalScannerAgent
	}
	if p.blocked {
		e.Type, e.Rule = event.Blocked, "link:"+e.Customer+"/"+e.Link
	}
	e.IP = networkAddress(p.network, p.address)
	return e
}

// networkAddress returns an address in the n-th network: three quarters are IPv4.
func networkAddress(n uint32, address uint8) string {
	if n%4 == 3 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, byte(n >> 16), byte(n >> 8), byte(n), 15: address}).String()
	}
	return netip.AddrFrom4([4]byte{byte(20 + n>>16), byte(n >> 8), byte(n), address}).String()
}

// merge puts events that are in the order of their times among others.
func merge(base iter.Seq[*event.Event], more []*event.Event) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		next := 0
		for e := range base {
			for ; next < len(more) && !more[next].OccurredAt.After(e.OccurredAt); next++ {
				if !yield(more[next]) {
					return
				}
			}
			if !yield(e) {
				return
			}
		}
		for _, e := range more[next:] {
			if !yield(e) {
				return
			}
		}
	}
}

// The generated day is what its comment says.
func TestNewsletterIsOrdinary(t *testing.T) {
	testsize.Medium(t)
	clicks, repeated, automated, morning := 0, 0, 0, 0
	seen := map[string]bool{}
	first, last := time.Time{}, time.Time{}
	for e := range newsletter(50_000, 1) {
		clicks++
		if seen[e.ID] {
			repeated++
		}
		seen[e.ID] = true
		if e.Automation == event.Automated {
			automated++
		}
		if at := e.OccurredAt.Sub(sendTime); at > 2*time.Hour && at < 4*time.Hour {
			morning++
		}
		if first.IsZero() {
			first = e.OccurredAt
		}
		last = e.OccurredAt
	}
	if clicks < 50_000 || repeated < 100 || automated < 5000 || morning < clicks/5 || last.Sub(first) < 10*time.Hour {
		t.Errorf("%d clicks, %d repeated, %d automated, %d in the morning, over %v", clicks, repeated, automated, morning, last.Sub(first))
	}
	if math.Abs(float64(clicks-50_000)) > 5000 {
		t.Errorf("%d clicks", clicks)
	}
}

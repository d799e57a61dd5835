package watch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// small are tables that are made in no time, for tests of a few events.
var small = sizes{seen: 1 << 10, judge: 1 << 20, links: 1 << 10, recipients: 1 << 10}

// with returns the defaults but for a change.
func with(change func(*Config)) Config {
	c := DefaultConfig()
	change(&c)
	return c
}

func watcher(t testing.TB, c Config, size sizes) *Watcher {
	t.Helper()
	w, err := newWatcher(c, size)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// An ordinary day raises nothing.
func TestNewsletterRaisesNothing(t *testing.T) {
	testsize.Large(t)
	w := watcher(t, DefaultConfig(), full)
	for e := range newsletter(newsletterClicks, 1) {
		alerts, _ := w.Add(e)
		for _, a := range alerts {
			t.Errorf("%s %s: %s", a.Kind, a.Subject, a.Summary())
		}
	}
	s := w.Stats()
	t.Logf("%+v", s)
	if s.Events < newsletterClicks || s.Repeated < s.Events/400 || s.Verdicts < s.Events/20 {
		t.Errorf("%+v", s)
	}
}

var abuseTime = sendTime.Add(3 * time.Hour) // in the morning peak

// clicks returns n clicks from abuseTime on, one every so often.
func clicks(n int, every time.Duration, make func(i int, e *event.Event)) []*event.Event {
	var events []*event.Event
	for i := range n {
		e := &event.Event{
			ID: fmt.Sprintf("019cbbbb-0000-7000-8000-%012x", i), Type: event.Click, OccurredAt: abuseTime.Add(time.Duration(i) * every), SentAt: sendTime,
			KeyID: "1", Host: "links.example.com", Customer: "acme", Campaign: "phish", Recipient: "mallory", Link: "posted",
			Destination: "https://www.acme.example/", Method: "GET", Automation: event.Human, IP: networkAddress(1<<21+uint32(i), 1),
		}
		make(i, e)
		events = append(events, e)
	}
	return events
}

var hijacked = strings.Fields("hijacked0 hijacked1 hijacked10 hijacked11 hijacked2 hijacked3 hijacked4 hijacked5 hijacked6 hijacked7 hijacked8 hijacked9")

// Each pattern of abuse, in an ordinary morning, is found within a minute, once,
// and nothing else is.
func TestAbuse(t *testing.T) {
	testsize.Large(t)
	for _, test := range []struct {
		name   string
		events []*event.Event
		want   Alert // Kind, Subject, Rule, Customer; what is seen at least
	}{
		{
			"a posted link",
			clicks(200, 2*time.Second, func(int, *event.Event) {}),
			Alert{Kind: SharedLink, Subject: "link:acme/posted", Rule: "link:acme/posted", Customer: "acme", Seen: Seen{Clicks: 20, Networks: 20, Addresses: 20}},
		},
		{
			"a posted link, IPv6",
			clicks(200, 2*time.Second, func(i int, e *event.Event) { e.IP = fmt.Sprintf("2001:db8:%x::1", i+1) }),
			Alert{Kind: SharedLink, Subject: "link:acme/posted", Rule: "link:acme/posted", Customer: "acme", Seen: Seen{Clicks: 20, Networks: 20, Addresses: 20}},
		},
		{
			"a link that a whole campus clicks",
			clicks(300, time.Second/2, func(i int, e *event.Event) { e.IP = fmt.Sprintf("192.0.%d.%d", i%3, i%250) }),
			Alert{Kind: SharedLink, Subject: "link:acme/posted", Rule: "link:acme/posted", Customer: "acme", Seen: Seen{Clicks: 60, Networks: 3, Addresses: 60}},
		},
		{
			"a posted mail of many links",
			clicks(300, time.Second, func(i int, e *event.Event) { e.Link = fmt.Sprintf("posted%d", i%30) }),
			Alert{Kind: SharedRecipient, Subject: "recipient:acme/mallory", Rule: "recipient:acme/mallory", Customer: "acme", Seen: Seen{Clicks: 30, Networks: 30, Addresses: 30}},
		},
		{
			"a mailing whose destination was blocked",
			clicks(600, time.Second/2, func(i int, e *event.Event) {
				e.Recipient, e.Link = fmt.Sprint("v", i), fmt.Sprint("l", i)
				if i%5 > 0 {
					e.Type, e.Rule = event.Blocked, "host:evil.example"
				}
			}),
			Alert{Kind: BlockedShare, Subject: "campaign:acme/phish", Customer: "acme", Seen: Seen{Clicks: 20, Blocked: 18, Recipients: 18, ByRule: "host:evil.example"}},
		},
		{
			"a mailing that is blocked already",
			clicks(600, time.Second/2, func(i int, e *event.Event) {
				e.Recipient, e.Link = fmt.Sprint("v", i), fmt.Sprint("l", i)
				e.Type, e.Rule = event.Blocked, "campaign:acme/phish"
			}),
			Alert{Kind: BlockedShare, Subject: "campaign:acme/phish", Customer: "acme", Seen: Seen{Clicks: 20, Blocked: 20, Recipients: 18, ByRule: "campaign:acme/phish"}},
		},
		{
			"a customer of whom many mailings are blocked",
			clicks(600, time.Second/2, func(i int, e *event.Event) {
				e.Customer, e.Campaign = "quiet", fmt.Sprint("c", i%100)
				e.Recipient, e.Link = fmt.Sprint("v", i), fmt.Sprint("l", i)
				e.Type, e.Rule = event.Blocked, "host:evil.example"
			}),
			Alert{Kind: BlockedShare, Subject: "customer:quiet", Customer: "quiet", Seen: Seen{Clicks: 20, Blocked: 18, Recipients: 18, ByRule: "host:evil.example"}},
		},
		{
			"a phishing kit sent from hijacked accounts",
			clicks(60, 5*time.Second, func(i int, e *event.Event) {
				e.Customer, e.Recipient, e.Link = fmt.Sprint("hijacked", i%16), fmt.Sprint("v", i), fmt.Sprint("l", i)
				e.Destination = "https://Login.Evil.example./kit"
			}),
			Alert{Kind: SpreadingHost, Subject: "host:login.evil.example", Rule: "host:login.evil.example", Seen: Seen{Clicks: 12, Networks: 12, Recipients: 5, Customers: hijacked}},
		},
		{
			"a phishing kit with a subdomain for each victim",
			clicks(60, 5*time.Second, func(i int, e *event.Event) {
				e.Customer, e.Recipient, e.Link = fmt.Sprint("hijacked", i%16), fmt.Sprint("v", i), fmt.Sprint("l", i)
				e.Destination = fmt.Sprintf("https://v%d.evil.example/kit", i)
			}),
			Alert{Kind: SpreadingHost, Subject: "host:evil.example", Rule: "host:evil.example", Seen: Seen{Clicks: 12, Networks: 12, Recipients: 5, Customers: hijacked}},
		},
		{
			"a phishing kit on an address",
			clicks(60, 5*time.Second, func(i int, e *event.Event) {
				e.Customer, e.Recipient, e.Link = fmt.Sprint("hijacked", i%16), fmt.Sprint("v", i), fmt.Sprint("l", i)
				e.Destination = "http://192.0.2.7/kit"
			}),
			Alert{Kind: SpreadingHost, Subject: "host:192.0.2.7", Rule: "host:192.0.2.7", Seen: Seen{Clicks: 12, Networks: 12, Recipients: 5, Customers: hijacked}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := watcher(t, DefaultConfig(), small)
			var got []Alert
			for e := range merge(newsletter(10_000, 2), test.events) {
				alerts, _ := w.Add(e)
				got = append(got, alerts...)
			}
			if len(got) != 1 {
				t.Fatalf("%d alerts: %+v", len(got), got)
			}
			a := got[0]
			if late := a.At.Sub(abuseTime); late < 0 || late > time.Minute {
				t.Errorf("found after %v", late)
			}
			if a.Since.After(a.At) || a.Since.Before(abuseTime.Add(-w.config.HostWindow)) {
				t.Errorf("since %v", a.Since)
			}
			s, least := a.Seen, test.want.Seen // recipients are an estimate, with a seed of each run
			if a.Kind != test.want.Kind || a.Subject != test.want.Subject || a.Rule != test.want.Rule || a.Customer != test.want.Customer || s.ByRule != least.ByRule ||
				s.Clicks < least.Clicks || s.Networks < least.Networks || s.Addresses < least.Addresses || s.Blocked < least.Blocked || s.Recipients < least.Recipients ||
				!slices.Equal(s.Customers, least.Customers) {
				t.Errorf("got  %+v\nwant %+v", a, test.want)
			}
		})
	}
}

// What looks like abuse and is none.
func TestNoAlert(t *testing.T) {
	for name, change := range map[string]func(i int, e *event.Event){
		"monitoring":             func(i int, e *event.Event) { e.Customer = "_probe" },
		"not tracked":            func(i int, e *event.Event) { e.Untracked, e.Recipient, e.Link, e.IP = true, "", "", "" },
		"no recipient":           func(i int, e *event.Event) { e.Recipient = "" },
		"opens":                  func(i int, e *event.Event) { e.Type = event.Open },
		"verdicts":               func(i int, e *event.Event) { e.Type, e.About = event.Verdict, "x" },
		"scanners":               func(i int, e *event.Event) { e.Automation = event.Automated },
		"blocked already":        func(i int, e *event.Event) { e.Rule, e.RedirectedTo = "link:acme/posted", "https://a.example" },
		"addresses are not kept": func(i int, e *event.Event) { e.IP = "" },
		"one person, many times": func(i int, e *event.Event) { e.IP = "192.0.2.1" },
		"a /64 each":             func(i int, e *event.Event) { e.IP = fmt.Sprintf("2001:db8::%x:0:0:0:1", i%50) },
		"too few networks":       func(i int, e *event.Event) { e.IP = networkAddress(uint32(i)%19, 1) },
		"slow":                   func(i int, e *event.Event) { e.OccurredAt = abuseTime.Add(time.Duration(i) * time.Minute) },
		"one event, again":       func(i int, e *event.Event) { e.ID = "x" },
		"a known host":           func(i int, e *event.Event) { e.Customer, e.Destination = fmt.Sprint(i), "https://www.known.example/" },
		"an old host":            func(i int, e *event.Event) { e.Customer, e.Destination = fmt.Sprint(i), "https://old.example/" },
		"one of the first hour":  func(i int, e *event.Event) { e.Customer, e.Destination = fmt.Sprint(i), "https://early.example/" },
		"a host with a rule": func(i int, e *event.Event) {
			e.Customer, e.Rule, e.Type = fmt.Sprint(i), "url:x.example/", event.Blocked
		},
		"a program hammering": func(i int, e *event.Event) { e.Type, e.Rule = event.Blocked, "link:acme/posted" },
		"usual share": func(i int, e *event.Event) {
			e.Customer, e.Type = "half", []event.Type{event.Click, event.Blocked}[i%2]
			e.Rule, e.Recipient = "host:x.example", fmt.Sprint(i)
		},
		"a share of few": func(i int, e *event.Event) {
			if e.Recipient, e.Link = fmt.Sprint(i), fmt.Sprint(i); i < 15 {
				e.Type, e.Rule = event.Blocked, "host:x.example"
			}
		},
		"a small share": func(i int, e *event.Event) {
			if e.Recipient, e.Link = fmt.Sprint(i), fmt.Sprint(i); i%6 == 5 {
				e.Type, e.Rule = event.Blocked, "host:x.example"
			}
		},
		"blocked addresses": func(i int, e *event.Event) {
			e.Recipient, e.Link, e.Type, e.Rule = fmt.Sprint(i), fmt.Sprint(i), event.Blocked, "ip:192.0.2.0/24"
		},
		"blocked programs": func(i int, e *event.Event) {
			e.Recipient, e.Link, e.Type, e.Rule = fmt.Sprint(i), fmt.Sprint(i), event.Blocked, "agent:badbot"
		},
		"blocked, but not who and by what": func(i int, e *event.Event) { e.Recipient, e.Link, e.Type = "", "", event.Blocked },
		"blocked, but not who": func(i int, e *event.Event) {
			e.Recipient, e.Link, e.Type, e.Rule = "", "", event.Blocked, "host:x.example"
		},
		"blocked, all links of an anonymous mailing": func(i int, e *event.Event) {
			e.Untracked, e.Recipient, e.Link, e.Type, e.Rule = true, "", fmt.Sprint("an_", i), event.Blocked, "host:x.example"
		},
		"links numbered by their template": func(i int, e *event.Event) { e.Link, e.Recipient = "cta", fmt.Sprint("r", i) },
		"trial accounts from one address": func(i int, e *event.Event) {
			e.Customer, e.Destination, e.IP = fmt.Sprint("trial", i), "https://x.example/", "192.0.2.1"
			e.Recipient, e.Link = fmt.Sprint("r", i), fmt.Sprint("l", i)
		},
		"trial accounts that ask for headers": func(i int, e *event.Event) {
			e.Customer, e.Destination, e.Method = fmt.Sprint("trial", i), "https://x.example/", "HEAD"
			e.Recipient, e.Link = fmt.Sprint("r", i), fmt.Sprint("l", i)
		},
		"trial accounts without recipients": func(i int, e *event.Event) {
			e.Customer, e.Destination, e.Recipient = fmt.Sprint("trial", i), "https://x.example/", ""
		},
		"a form of a platform": func(i int, e *event.Event) {
			e.Customer, e.Destination = fmt.Sprint(i), "https://docs.google.com/forms/x"
		},
		"a platform's own name": func(i int, e *event.Event) { e.Customer, e.Destination = fmt.Sprint(i), "https://github.io/" },
		"no destination host":   func(i int, e *event.Event) { e.Customer, e.Destination = fmt.Sprint(i), "javascript:0" },
		"destinations of nobody": func(i int, e *event.Event) {
			e.Customer, e.Recipient, e.Link, e.Destination = "", fmt.Sprint(i), fmt.Sprint(i), "https://x.example"
		},
		"before all time":               func(i int, e *event.Event) { e.OccurredAt = time.Unix(-int64(i), 0) },
		"the address is not an address": func(i int, e *event.Event) { e.IP = fmt.Sprint("x", i) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watcher(t, with(func(c *Config) { c.KnownHosts = []string{"Known.Example."} }), small)
			// Four days of a host, of a usual share and of one that was there first.
			before := clicks(400, 15*time.Minute, func(i int, e *event.Event) {
				e.ID = fmt.Sprint("before", i)
				e.Customer, e.Recipient, e.Link, e.Destination = "half", fmt.Sprint(i), fmt.Sprint(i), "https://old.example/"
				e.OccurredAt = e.OccurredAt.Add(-100 * time.Hour)
				if i%2 == 0 {
					e.Type, e.Rule = event.Blocked, "host:x.example"
				}
				if i == 1 {
					e.Destination = "https://early.example/"
				}
			})
			for _, e := range append(before, clicks(100, 500*time.Millisecond, change)...) {
				if alerts, _ := w.Add(e); len(alerts) > 0 {
					t.Fatalf("%+v", alerts)
				}
			}
		})
	}
}

// What one customer clicks makes nobody forget that a host is known.
func TestFlush(t *testing.T) {
	testsize.Large(t)
	w := watcher(t, DefaultConfig(), small)
	n := 0
	visit := func(i int, after time.Duration, customer, host string) {
		e := clicks(1, 0, func(_ int, e *event.Event) {
			e.ID, e.Customer, e.Destination = fmt.Sprint(host, customer, i), customer, "https://"+host+"/"
			e.OccurredAt, e.IP = abuseTime.Add(after), networkAddress(uint32(i), 1)
			e.Recipient, e.Link = fmt.Sprint(host, i), fmt.Sprint(host, i)
		})[0]
		w.moveOn(e.OccurredAt.Unix())
		n += len(w.hostOf(e, e.OccurredAt.Unix(), nil))
	}
	for i := range 1440 {
		visit(i, time.Duration(i)*10*time.Minute, fmt.Sprint("c", i%20), "docs.partner.example")
	}
	after := 1440 * 10 * time.Minute
	for i := range 33_000 {
		visit(i, after+time.Duration(i)*10*time.Millisecond, "mallory", fmt.Sprintf("s%d.mallory%d.example", i, i))
	}
	if len := w.hosts.entries.Len(); len > 200 {
		t.Errorf("one customer brought %d hosts", len)
	}
	after += time.Hour
	for i := range 20 {
		visit(2000+i, after+time.Duration(i)*time.Minute, fmt.Sprint("c", i), "docs.partner.example")
	}
	// Nor do many: what left the table is known.
	for i := range maxHosts + 500 {
		visit(i, after+time.Hour, fmt.Sprint("crowd", i/50), fmt.Sprintf("crowd%d.example", i))
	}
	for i := range 12 {
		visit(3000+i, after+2*time.Hour, fmt.Sprint("c", i), "crowd3.example")
	}
	if n != 0 {
		t.Errorf("%d alerts", n)
	}
	for i := range 12 {
		visit(4000+i, after+2*time.Hour, fmt.Sprint("c", i), "evil.example")
	}
	if n != 1 {
		t.Errorf("%d alerts about a host that is new", n)
	}
}

// The first hour teaches what is there; without it, it does not.
func TestLearning(t *testing.T) {
	for learning, want := range map[time.Duration]int{time.Hour: 0, 0: 1, time.Second: 1} {
		w := watcher(t, with(func(c *Config) { c.Learning = learning }), small)
		n := 0
		for _, e := range clicks(100, time.Second, func(i int, e *event.Event) {
			e.Customer, e.Destination = fmt.Sprint("c", i), "https://new.example/"
			if i == 0 {
				e.Destination = "https://first.example/"
				e.OccurredAt = e.OccurredAt.Add(-5 * time.Second)
			}
		}) {
			alerts, _ := w.Add(e)
			n += len(alerts)
		}
		if n != want {
			t.Errorf("learning %v: %d alerts, want %d", learning, n, want)
		}
	}
}

// An event that comes late, or after a replay, does not end learning; that of an
// hour of events does.
func TestLearningOldEvent(t *testing.T) {
	old := func(age time.Duration) *event.Event {
		return clicks(1, 0, func(i int, e *event.Event) {
			e.ID, e.OccurredAt, e.Destination = "old", abuseTime.Add(-age), "https://other.example/"
		})[0]
	}
	// Of many customers; the hour's are the first.
	to := func(host string, after time.Duration) []*event.Event {
		return clicks(12, time.Second, func(i int, e *event.Event) {
			e.ID, e.OccurredAt = fmt.Sprint(host, i), e.OccurredAt.Add(after)
			e.Customer, e.Recipient, e.Link, e.Destination = fmt.Sprint("c", i), fmt.Sprint(host, i), fmt.Sprint(host, i), "https://"+host+"/"
		})
	}
	hour := clicks(61, time.Minute, func(i int, e *event.Event) {
		e.ID, e.Recipient, e.Link, e.Destination = fmt.Sprint("hour", i), fmt.Sprint("hour", i), fmt.Sprint("hour", i), "https://hour.example/"
	})
	for _, age := range []time.Duration{time.Second, 50 * time.Minute, 2 * time.Hour, 10 * 24 * time.Hour} {
		for _, first := range []bool{true, false} {
			w := watcher(t, DefaultConfig(), small)
			early := to("well-known.example", time.Minute)
			events := slices.Concat(hour[:1], []*event.Event{old(age)}, early)
			if first {
				events = slices.Concat([]*event.Event{old(age)}, hour[:1], early)
			}
			for _, e := range append(events, hour[1:]...) {
				if alerts, _ := w.Add(e); len(alerts) > 0 {
					t.Errorf("an event of %v ago, first %v: %+v", age, first, alerts)
				}
			}
			n := 0
			for _, e := range to("evil.example", 61*time.Minute) {
				alerts, _ := w.Add(e)
				n += len(alerts)
			}
			if n != 1 {
				t.Errorf("an event of %v ago, first %v: %d alerts after learning", age, first, n)
			}
		}
	}
}

// An alert stands as long as it goes on, and is raised again only after Repeat and
// after it was calm.
func TestRepeat(t *testing.T) {
	testsize.Medium(t)
	w := watcher(t, DefaultConfig(), small)
	at := abuseTime
	network := uint32(0)
	wave := func(networks int, every time.Duration) (alerts int) {
		t.Helper()
		for range networks {
			network++
			at = at.Add(every)
			e := clicks(1, 0, func(i int, e *event.Event) {
				e.ID, e.OccurredAt, e.IP = fmt.Sprint(network), at, networkAddress(network, 1)
			})[0]
			a, _ := w.Add(e)
			alerts += len(a)
		}
		return alerts
	}
	for i, step := range []struct {
		pause    time.Duration
		networks int
		every    time.Duration
		want     int
	}{
		{0, 19, time.Second, 0},
		{0, 30, time.Second, 1},
		{0, 2000, 10 * time.Second, 0},             // for hours
		{10 * time.Minute, 30, time.Second, 0},     // it never fell below half
		{20 * time.Minute, 9, time.Second, 0},      // calm
		{0, 30, time.Second, 1},                    // and back, more than an hour after the first
		{20 * time.Minute, 30, time.Second, 0},     // calm, but not for an hour
		{2 * time.Hour, 19, time.Second, 0},        // not enough
		{0, 1, time.Second, 1},                     // enough
		{30 * time.Minute, 5, time.Second, 0},      // calm
		{2 * time.Hour, 25, 20 * time.Second, 1},   // and again
		{2 * time.Hour, 100, 100 * time.Second, 0}, // trickling: nine in a window
	} {
		at = at.Add(step.pause)
		if got := wave(step.networks, step.every); got != step.want {
			t.Errorf("step %d: %d alerts, want %d", i, got, step.want)
		}
	}
}

// Events that come in any order are counted where they belong.
func TestOutOfOrder(t *testing.T) {
	events := clicks(40, 20*time.Second, func(i int, e *event.Event) {})
	slices.Reverse(events)
	w := watcher(t, DefaultConfig(), small)
	n := 0
	for _, e := range events {
		alerts, _ := w.Add(e)
		n += len(alerts)
	}
	if n != 1 {
		t.Errorf("%d alerts", n)
	}
	late := clicks(30, time.Second, func(i int, e *event.Event) {
		e.ID, e.Link, e.OccurredAt = fmt.Sprint("late", i), "late", e.OccurredAt.Add(-2*time.Hour)
	})
	for _, e := range late {
		if alerts, _ := w.Add(e); len(alerts) > 0 {
			t.Errorf("two hours late: %+v", alerts)
		}
	}
	if w.Stats().Late != 30 {
		t.Errorf("%+v", w.Stats())
	}
}

// Among millions of links that are clicked once or twice each, one that was posted
// is found.
func TestCrowded(t *testing.T) {
	links := 1_500_000
	if testing.Short() || newsletterClicks < 1_000_000 {
		links = 150_000
	}
	s := newSpread(15*time.Minute, 20, 60, linkCells)
	const posted = 0x123456789abcdef
	found := 0
	subject := uint64(1)
	for i := range links {
		at := int64(1_800_000_000 + i*600/links) // ten minutes
		subject = subject*6364136223846793005 + 1442695040888963407
		for n := range uint32(1 + i%3) {
			if seen, ok := s.add(subject, subject, n*2654435761+uint32(i), uint32(i), at, at); ok && seen.networks > 3 {
				t.Fatalf("%+v", seen)
			}
		}
		if i%(links/100) == 0 { // one each six seconds
			n := uint32(i / (links / 100))
			if seen, ok := s.add(posted, posted, n*2654435761, n, at, at); ok && seen.networks >= 20 && found == 0 {
				found = int(n) + 1
			} else if ok && seen.networks > int(n)+1 {
				t.Fatalf("click %d: %+v", n+1, seen)
			}
		}
	}
	if found < 20 || found > 35 {
		t.Errorf("found with click %d", found)
	}
	t.Logf("found with click %d", found)
}

func TestConfig(t *testing.T) {
	if _, err := New(DefaultConfig()); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Window = time.Second }, "Window is 1s, and has to be from 1m0s to 24h0m0s"},
		{func(c *Config) { c.LinkNetworks = 1 }, "LinkNetworks is 1, and has to be from 2 to 250"},
		{func(c *Config) { c.RecipientNetworks = 1000 }, "RecipientNetworks is 1000, and has to be from 2 to 250"},
		{func(c *Config) { c.BlockedShare = 2 }, "BlockedShare is 2, and has to be more than 0 and at most 1"},
		{func(c *Config) { c.BlockedRise = 0.5 }, "BlockedRise is 0.5, and has to be from 1 to 1000"},
		{func(c *Config) { c.ShareWindow = 2 * time.Hour }, "ShareWindow is 2h0m0s, and has to be from 1m0s to 1h0m0s"},
		{func(c *Config) { c.HostCustomers = 51 }, "HostCustomers is 51, and has to be from 2 to 50"},
		{func(c *Config) { c.KnownHosts = []string{"https://a.example"} }, `KnownHosts holds "https://a.example": `},
		{func(c *Config) { c.KnownHosts = []string{""} }, `KnownHosts holds "": `},
		{func(c *Config) { c.Repeat = -1 }, "Repeat is -1ns, and has to be from 1m0s to 1000h0m0s"},
		{func(c *Config) { c.Learning = -1 }, "Learning is -1ns, and has to be from 0s to 1000h0m0s"},
	} {
		_, err := New(with(test.change))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}

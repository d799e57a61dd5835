package watch

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// visits makes clicks of words such as "a@0.5" (link a, half a second after
// sendTime), each with its own word as event_id. A word may name another
// recipient before a slash and end in ! if it is automated.
func visitsOf(t testing.TB, words string) []*event.Event {
	t.Helper()
	var events []*event.Event
	for _, word := range strings.Fields(words) {
		e := &event.Event{
			ID: word, Type: event.Click, KeyID: "7", Host: "links.example.com", Customer: "acme", Campaign: "spring26", Recipient: "r83jf",
			SentAt: sendTime, Automation: event.Human, IP: "192.0.2.1", Destination: "https://example.com/",
		}
		rest, automated := strings.CutSuffix(word, "!")
		if automated {
			e.Automation = event.Automated
		}
		if recipient, after, ok := strings.Cut(rest, "/"); ok {
			e.Recipient, rest = recipient, after
		}
		link, at, _ := strings.Cut(rest, "@")
		seconds, err := time.ParseDuration(at + "s")
		if err != nil {
			t.Fatal(err)
		}
		e.Link, e.OccurredAt = link, sendTime.Add(seconds)
		events = append(events, e)
	}
	return events
}

func verdictsOf(j *Judge, events []*event.Event) (verdicts []*event.Event) {
	for _, e := range events {
		verdicts = append(verdicts, j.Add(e)...)
	}
	return verdicts
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		visits string
		want   string // event_id=signals, in order of event_id
	}{
		{"a@0 b@1 c@2", "a@0=burst b@1=burst c@2=burst"},
		{"a@0 b@1 c@2.000001", ""},
		{"a@0 b@0 c@0 d@0", "a@0=burst b@0=burst c@0=burst d@0=burst"},
		{"a@0 b@0", ""},
		{"a@0 a@1 a@1.5 b@2", ""},
		{"a@0 a@1 b@1.5 c@1.7 a@3", "a@0=burst a@1=burst a@3=burst b@1.5=burst c@1.7=burst"},
		{"a@0 b@1.5 c@3 d@3.4", "b@1.5=burst c@3=burst d@3.4=burst"},
		{"a@0 x/b@0 y/c@0", ""},
		{"x/a@0 y/a@0 x/b@1 y/b@1 x/c@2 y/c@3.5", "x/a@0=burst x/b@1=burst x/c@2=burst"},
		{"c@2 b@1 a@0", "a@0=burst b@1=burst c@2=burst"},
		{"a@0 c@2 b@1", "a@0=burst b@1=burst c@2=burst"},
		// Those that are known to be automated count, and need no verdict.
		{"a@0! b@1! c@2", "c@2=burst"},
		{"a@0! b@1! c@2!", ""},
		// The trap.
		{"a@0 hp_x@60", "a@0=honeypot"},
		{"a@0 hp_x@60.1", ""},
		{"hp_x@0 a@60", "a@60=honeypot"},
		{"hp_x@0 a@60.1 b@59", "b@59=honeypot"},
		{"hp_x@0! a@0.5 b@1", "a@0.5=honeypot b@1=honeypot,burst"},
		{"x/hp_x@0 a@1", ""},
		{"a@0 b@10 a@20 hp_x@30 c@40 c@90.1", "a@0=honeypot a@20=honeypot b@10=honeypot c@40=honeypot"},
		{"hp_x@0 hp_y@1", ""},
		// One verdict each.
		{"a@0 b@1 c@2 d@3 e@4 hp_x@5", "a@0=burst b@1=burst c@2=burst d@3=burst e@4=burst"},
	} {
		for name, order := range map[string]func([]*event.Event){
			"":           func([]*event.Event) {},
			" backwards": slices.Reverse[[]*event.Event],
			" shuffled": func(events []*event.Event) {
				rand.New(rand.NewPCG(1, 2)).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
			},
			" twice": func([]*event.Event) {},
		} {
			events := visitsOf(t, test.visits)
			order(events)
			if name == " twice" {
				events = slices.Repeat(events, 2)
			}
			got, marked := map[string]string{}, map[string]bool{}
			for _, v := range verdictsOf(newJudge(1<<16, maphash.MakeSeed()), events) {
				if marked[v.About] {
					t.Errorf("%s%s: two verdicts about %s", test.visits, name, v.About)
				}
				marked[v.About] = true
				got[v.About] = v.Signals.String()
			}
			var list []string
			for _, about := range slices.Sorted(maps.Keys(got)) {
				list = append(list, about+"="+got[about])
			}
			// In another order another sign may be found first.
			have, want := strings.Join(list, " "), test.want
			if name == " backwards" || name == " shuffled" {
				unsigned := func(s string) string {
					return strings.NewReplacer("=honeypot,burst", "", "=burst", "", "=honeypot", "").Replace(s)
				}
				have, want = unsigned(have), unsigned(want)
			}
			if have != want {
				t.Errorf("%s%s:\n got %s\nwant %s", test.visits, name, have, want)
			}
		}
	}
}

// A verdict made of what is remembered is the one that the event itself makes.
func TestVerdictIsOfTheEvent(t *testing.T) {
	events := visitsOf(t, "a@0 b@0.000001 c@1.9")
	events[0].ID = "019df254-8fdb-7c1e-9a34-5f0c6b1d2e3f"
	events[1].ID = "019DF254-8FDB-7C1E-9A34-5F0C6B1D2E3F" // written by somebody else
	events[1].SentAt = time.Time{}
	events[1].Type = event.Blocked
	events[2].Automation = ""
	verdicts := slices.Collect(Verdicts(slices.Values(events)))
	if len(verdicts) != 3 {
		t.Fatalf("%d verdicts", len(verdicts))
	}
	for i, v := range verdicts {
		want := event.NewVerdict(events[i], event.SignalBurst)
		if got := string(v.AppendJSON(nil)); got != string(want.AppendJSON(nil)) {
			t.Errorf("got  %s\nwant %s", got, want.AppendJSON(nil))
		}
	}
}

// Who has no part in it.
func TestJudgeIgnores(t *testing.T) {
	for name, change := range map[string]func(e *event.Event){
		"opens":          func(e *event.Event) { e.Type = event.Open },
		"verdicts":       func(e *event.Event) { e.Type = event.Verdict },
		"not tracked":    func(e *event.Event) { e.Untracked = true },
		"no recipient":   func(e *event.Event) { e.Recipient = "" },
		"no link":        func(e *event.Event) { e.Link = "" },
		"monitoring":     func(e *event.Event) { e.Customer = "_probe" },
		"other mailings": func(e *event.Event) { e.Campaign = e.Link },
		"no link's name": func(e *event.Event) { e.Host = strings.Repeat("x", 256) + e.Link },
	} {
		events := visitsOf(t, "a@0 b@0 c@0")
		for _, e := range events {
			change(e)
		}
		for v := range Verdicts(slices.Values(events)) {
			t.Errorf("%s: %s", name, v.AppendJSON(nil))
		}
	}
}

// Whatever the ring has room for, what is found is what a slow judge finds that
// forgets the same clicks.
func TestRing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	j := newJudge(4096, maphash.MakeSeed()) // some 30 clicks
	var all []*event.Event
	about := map[string]bool{}
	for i := range 20_000 {
		e := visitsOf(t, fmt.Sprintf("r%d/l%d@%d", r.IntN(8), r.IntN(4), i/2))[0]
		e.ID = fmt.Sprintf("%0*d", 1+r.IntN(60), i)
		all = append(all, e)
		verdicts := j.Add(e)
		for _, v := range verdicts {
			if about[v.About] {
				t.Fatalf("click %d: a second verdict about %s", i, v.About)
			}
			about[v.About] = true
		}
		// Itself and the two before: always remembered.
		if i >= 2 {
			same := true
			links := map[string]bool{}
			for _, e := range all[i-2:] {
				same = same && e.Recipient == all[i].Recipient
				links[e.Link] = true
			}
			if same && len(links) == 3 {
				for _, e := range all[i-2:] {
					if !about[e.ID] {
						t.Fatalf("click %d: no verdict about %s", i, e.ID)
					}
				}
			}
		}
	}
	// And no verdict without a reason.
	for i, e := range all {
		if !about[e.ID] {
			continue
		}
		reason := false
		for start := max(0, i-10); start <= i && !reason; start++ {
			links := map[string]bool{}
			for _, other := range all[start:min(len(all), start+10)] {
				if other.Recipient == e.Recipient && !other.OccurredAt.Before(all[start].OccurredAt) && other.OccurredAt.Sub(all[start].OccurredAt) <= burstWithin {
					links[other.Link] = true
				}
			}
			reason = len(links) >= 3
		}
		if !reason {
			t.Errorf("a verdict about %s without a reason", e.ID)
		}
	}
	if len(about) < 1000 {
		t.Errorf("%d verdicts", len(about))
	}
}

// A program that requests one link for ever costs a bounded time, and hides
// nothing that comes in the same moment.
func TestHammering(t *testing.T) {
	testsize.Large(t)
	j := NewJudge()
	n := 0
	for i := range 20_000 {
		e := visitsOf(t, "a@1")[0]
		e.ID = fmt.Sprint(i)
		n += len(j.Add(e))
	}
	for _, e := range visitsOf(t, "b@1 c@1") {
		n += len(j.Add(e))
	}
	if n < 200 || n > 300 {
		t.Errorf("%d verdicts", n)
	}
}

func TestUUID(t *testing.T) {
	const s = "019df254-8fdb-7c1e-9a34-5f0c6b1d2e3f"
	if b, ok := packUUID(s); !ok || formatUUID(b[:]) != s {
		t.Errorf("%v %v", b, ok)
	}
	for _, s := range []string{"", s[1:], s + "0", strings.ToUpper(s), "g" + s[1:], strings.ReplaceAll(s, "-", "0")} {
		if _, ok := packUUID(s); ok {
			t.Errorf("%q", s)
		}
	}
}

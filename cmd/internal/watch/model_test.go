package watch

import (
	"fmt"
	"math/rand"
	"os"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// A mailbox is one-to-one mail: each click has a customer of its own choice, a
// recipient and a link of its own, and a host by Zipf's law. It is natural traffic at
// its worst for the watcher, since every host has as many customers as clicks.
type mailbox struct {
	rate, customers, hosts, days int
}

var mailboxes = []mailbox{
	{5, 5_000, 100_000, 5},
	{20, 20_000, 200_000, 3},
	{100, 50_000, 400_000, 2},
}

// alertsOf goes through a mailbox and returns the alerts of each day. Twenty
// taken-over accounts begin to link to one host in the last hour; found is how long
// after that it is, or -1.
func (m mailbox) alertsOf(t *testing.T, seed int64) (alerts []int, found time.Duration) {
	r := rand.New(rand.NewSource(seed))
	zipf := rand.NewZipf(r, 1.05, 20, uint64(m.hosts-1))
	w := watcher(t, DefaultConfig(), small)
	begin := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	alerts, found = make([]int, m.days), -1
	total := m.rate * 86_400 * m.days
	attack := total - m.rate*3600
	step := time.Second / time.Duration(m.rate)
	e := &event.Event{Type: event.Click, Automation: event.Human}
	var raised []Alert
	for i := range total {
		at := begin.Add(time.Duration(i) * step)
		e.OccurredAt, e.Destination = at, fmt.Sprintf("https://h%d.example/", zipf.Uint64())
		e.Customer = fmt.Sprint("c", r.Intn(m.customers))
		e.IP = fmt.Sprintf("%d.%d.%d.7", r.Intn(200)+1, r.Intn(256), r.Intn(256))
		e.Recipient = fmt.Sprint("r", i)
		w.moveOn(at.Unix())
		raised = w.hostOf(e, at.Unix(), raised[:0])
		alerts[i/(86_400*m.rate)] += len(raised)
		if since := at.Sub(begin.Add(time.Duration(attack) * step)); since >= 0 && i%(3*m.rate) == 0 && found < 0 && since < 10*time.Minute {
			e.Customer = fmt.Sprint("hijacked", i/(3*m.rate)%20)
			e.Destination = "https://login.evil.test/"
			if len(w.hostOf(e, at.Unix(), nil)) > 0 {
				found = since
			}
		}
	}
	return alerts, found
}

// Natural traffic raises at most three alerts a day once it is warm, and an attack in
// its midst is found within two minutes. WATCH_MODEL=1 goes through all of it.
func TestMailboxes(t *testing.T) {
	testsize.Large(t)
	for _, m := range mailboxes {
		if os.Getenv("WATCH_MODEL") == "" {
			m.rate, m.days = min(m.rate, 5), 2
		}
		alerts, found := m.alertsOf(t, 1)
		t.Logf("%d clicks/s, %d customers, %d hosts: alerts a day %v, found after %v", m.rate, m.customers, m.hosts, alerts, found)
		for day, n := range alerts[1:] {
			if n > 3 {
				t.Errorf("%+v: %d alerts on day %d", m, n, day+1)
			}
		}
		if found < 0 || found > 2*time.Minute {
			t.Errorf("%+v: the attack is found after %v", m, found)
		}
	}
}

package redirect

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
)

// A person objects from one mail. From then on the clicks and opens of every mail
// name nobody, of other people they do, and the person can unsubscribe and take it
// back.
func TestObjection(t *testing.T) {
	for _, rules := range []string{"none", "unreadable", "read"} {
		t.Run(rules, func(t *testing.T) {
			p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
				switch rules {
				case "unreadable":
					o.Rules, o.Unavailable = unreadable(t), Allow
				case "read":
					o.Rules = rulesOf(t, `{"kind":"recipient","value":"acme/other","action":"untracked"}`)
				}
			})
			do := func(method string, kind linkcore.Kind, customer, recipient, campaign, body string) (*httptest.ResponseRecorder, []*event.Event) {
				t.Helper()
				r := httptest.NewRequest(method, "http://"+host+"/", strings.NewReader(body))
				r.RequestURI = p.target(t, kind, linkcore.Fields{Customer: customer, Campaign: campaign, Recipient: recipient})
				r.Header.Set("User-Agent", "Mozilla/5.0")
				w := httptest.NewRecorder()
				p.ServeHTTP(w, r)
				return w, p.sink.take()
			}
			recorded := func(kind linkcore.Kind, customer, recipient string) string {
				t.Helper()
				_, events := do("GET", kind, customer, recipient, "first", "")
				if len(events) != 1 {
					t.Fatalf("%d events", len(events))
				}
				if e := events[0]; e.Untracked != (e.Recipient == "" && e.IP == "" && e.UserAgent == "" && e.Link == "") {
					t.Errorf("%s: untracked is %v, and the event is %+v", kind, e.Untracked, e)
				}
				return events[0].Recipient
			}
			page := func(want string) {
				t.Helper()
				w, events := do("GET", linkcore.Privacy, "acme", "r1", "second", "")
				if len(events) != 0 || w.Code != 200 || !strings.Contains(w.Body.String(), want) {
					t.Errorf("%d and %d events, without %q: %s", w.Code, len(events), want, w.Body)
				}
				if got := w.Header().Get("Content-Security-Policy"); got != contentSecurity[0] {
					t.Errorf("Content-Security-Policy is %q", got)
				}
			}
			wish := func(body string, want event.Type) {
				t.Helper()
				w, events := do("POST", linkcore.Privacy, "acme", "r1", "second", body)
				if w.Code != 200 || len(events) != 1 {
					t.Fatalf("%s: %d, %d events", body, w.Code, len(events))
				}
				e := events[0]
				if e.Type != want || e.Customer != "acme" || e.Campaign != "second" || e.Recipient != "r1" || e.Link == "" || e.KeyID == "" {
					t.Errorf("%s: %+v", body, e)
				}
				if e.IP != "" || e.UserAgent != "" || e.AcceptLanguage != "" || e.Query != "" || e.Label != "" {
					t.Errorf("%s: the event says something of the device: %+v", body, e)
				}
			}

			page("Stop tracking me")
			if recorded(linkcore.Click, "acme", "r1") != "r1" {
				t.Error("tracked before the objection: no")
			}
			wish("Tracking=Stop", event.Objection)
			page("Allow tracking again")
			for _, kind := range []linkcore.Kind{linkcore.Click, linkcore.Open} {
				if recorded(kind, "acme", "r1") != "" {
					t.Errorf("%s is recorded after the objection", kind)
				}
				if recorded(kind, "acme", "r2") != "r2" || recorded(kind, "other", "r1") != "r1" {
					t.Errorf("%s of others is not recorded", kind)
				}
			}
			if _, events := do("POST", linkcore.Unsubscribe, "acme", "r1", "first", oneClickBody); len(events) != 1 || events[0].Recipient != "r1" {
				t.Errorf("the unsubscribe is %v", events)
			}
			wish("Tracking=Stop", event.Objection) // twice is once
			wish("Tracking=Allow", event.ObjectionWithdrawn)
			page("Stop tracking me")
			if recorded(linkcore.Click, "acme", "r1") != "r1" {
				t.Error("tracked after the withdrawal: no")
			}
			wish("Tracking=Allow&Tracking=Stop", event.Objection) // what is unclear is an objection
			page("Allow tracking again")
		})
	}
}

// What holds no wish is refused, and unsubscribes and objections are not each
// other's.
func TestObjectionRefused(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	for _, test := range []struct {
		name, method string
		kind         linkcore.Kind
		recipient    string
		body         string
		status       int
		events       int
		cause        error
	}{
		{"empty", "POST", linkcore.Privacy, "r1", "", 400, 0, ErrTracking},
		{"another value", "POST", linkcore.Privacy, "r1", "Tracking=Yes", 400, 0, ErrTracking},
		{"unsubscribing", "POST", linkcore.Privacy, "r1", oneClickBody, 400, 0, ErrTracking},
		{"objecting by the wrong link", "POST", linkcore.Unsubscribe, "r1", "Tracking=Stop", 400, 0, ErrOneClick},
		{"another method", "PUT", linkcore.Privacy, "r1", "Tracking=Stop", 405, 0, ErrMethod},
		{"by a click link", "POST", linkcore.Click, "r1", "Tracking=Stop", 405, 0, ErrMethod},
		{"nobody", "POST", linkcore.Privacy, "", "Tracking=Stop", 200, 0, nil},
		{"HEAD", "HEAD", linkcore.Privacy, "r1", "", 200, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "http://"+host+"/", strings.NewReader(test.body))
			r.RequestURI = p.target(t, test.kind, linkcore.Fields{Customer: "acme", Recipient: test.recipient})
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if events := p.sink.take(); w.Code != test.status || len(events) != test.events {
				t.Errorf("%d and %d events", w.Code, len(events))
			}
			if test.cause != nil {
				if err := <-p.causes; !errors.Is(err, test.cause) {
					t.Errorf("the cause is %v, want %v", err, test.cause)
				}
			}
			if p.objected(&linkcore.Link{Fields: linkcore.Fields{Customer: "acme", Recipient: test.recipient}}, time.Now()) {
				t.Error("it counts as an objection")
			}
		})
	}
}

// Objections are kept for an hour, and no more of them than there is room for.
func TestObjectionsAreBounded(t *testing.T) {
	var o objections
	link := func(i int) *linkcore.Link {
		return &linkcore.Link{Fields: linkcore.Fields{Customer: "acme", Recipient: fmt.Sprint(i)}}
	}
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	all := map[person]time.Time{}
	for i := range maxObjections {
		all[person{"acme", fmt.Sprint(i)}] = start.Add(time.Duration(i) * time.Millisecond)
	}
	o.taken.Store(&all)
	now := start.Add(maxObjections * time.Millisecond)
	o.remember(link(maxObjections), now)
	if n := len(*o.taken.Load()); n != maxObjections || o.objected(link(0), now) || !o.objected(link(1), now) || !o.objected(link(maxObjections), now) {
		t.Errorf("%d are kept; the oldest: %v, the next: %v, the last: %v", n, o.objected(link(0), now), o.objected(link(1), now), o.objected(link(maxObjections), now))
	}
	if !o.objected(link(maxObjections), now.Add(objectionLife-1)) || o.objected(link(maxObjections), now.Add(objectionLife)) {
		t.Error("it does not last an hour")
	}
	o.remember(link(-1), now.Add(2*objectionLife))
	if n := len(*o.taken.Load()); n != 1 {
		t.Errorf("%d are kept after two hours, want 1", n)
	}
	o.forget(link(-1))
	if o.taken.Load() != nil {
		t.Error("none are left, and they still cost")
	}
}

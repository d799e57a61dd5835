// Package blocklisttest is the suite of tests that every backend of a blocklist
// passes: what the contracts of [blocklist.Store] and [blocklist.Source] and
// BLOCKLIST.md say, as far as it is the same for all of them.
package blocklisttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
)

// A Fixture is a backend without rules, and a hand that edits what it holds.
type Fixture struct {
	Backend blocklist.Backend

	// Write writes a document by hand, in place of what it wrote under the same
	// id before. The fields are as in BLOCKLIST.md, times of type time.Time.
	Write func(id string, fields map[string]any)

	// Remove removes the document that the backend wrote for a rule, as a TTL
	// policy does.
	Remove func(rule blocklist.Rule)
}

// Run runs the suite. Each test opens a fixture of its own, which ends with it.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"Store", testStore},
		{"Writers", testWriters},
		{"Follow", testFollow},
		{"Times", testTimes},
		{"Expired", testExpired},
		{"Hand", testHand},
		{"Several", testSeveral},
		{"Future", testFuture},
		{"Count", testCount},
		{"Load", testLoad},
		{"Canceled", testCanceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// rule makes a rule of "KIND:VALUE".
func rule(t *testing.T, s string) blocklist.Rule {
	t.Helper()
	r, err := blocklist.ParseRule(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// list returns all rules that the backend understands by their ids.
func list(t *testing.T, store blocklist.Store) map[string]blocklist.Rule {
	t.Helper()
	rules, _, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]blocklist.Rule{}
	for _, r := range rules {
		if _, ok := byID[r.ID]; ok {
			t.Errorf("two documents have the id %s", r.ID)
		}
		byID[r.ID] = r
	}
	return byID
}

// A follower is an endpoint's copy of the rules.
type follower struct {
	t     *testing.T
	cache *blocklist.Cache
}

type unclosed struct{ blocklist.Source }

func (unclosed) Close() error { return nil }

// follow loads a copy.
func follow(t *testing.T, source blocklist.Source) *follower {
	t.Helper()
	o := blocklist.DefaultOptions()
	o.Refresh = 0
	f := &follower{t, blocklist.NewCache(unclosed{source}, o)}
	t.Cleanup(func() { f.cache.Close() })
	f.refresh()
	return f
}

func (f *follower) refresh() {
	f.t.Helper()
	refreshed := f.cache.RefreshIfDue()
	if refreshed == nil {
		f.t.Fatal("the last refresh failed")
	}
	<-refreshed
	if n := f.cache.Stats().RefreshFailures; n != 0 {
		f.t.Fatalf("%d refreshes failed", n)
	}
}

func request(host string, now time.Time) *blocklist.Request {
	return &blocklist.Request{
		Link: &linkcore.Link{Destination: "https://" + host + "/", Fields: linkcore.Fields{Customer: "acme", Recipient: "r1"}},
		Now:  now,
	}
}

// decide decides a click on a link of a customer that leads to a host.
func (f *follower) decide(host string, now time.Time) blocklist.Decision {
	f.t.Helper()
	d, known := f.cache.Decide(f.t.Context(), request(host, now))
	if !known {
		f.t.Fatal("the rules are not known")
	}
	return d
}

// want checks which of the hosts are blocked now.
func (f *follower) want(hosts map[string]bool) {
	f.t.Helper()
	for host, want := range hosts {
		if d := f.decide(host, time.Now()); (d.Action == blocklist.Block) != want {
			f.t.Errorf("%s is decided %+v, want that it is blocked: %v", host, d, want)
		}
	}
}

// testStore writes, lists and lifts.
func testStore(t *testing.T, f Fixture) {
	ctx, store := t.Context(), f.Backend
	byName := func() map[string]blocklist.Rule {
		t.Helper()
		rules := map[string]blocklist.Rule{}
		for id, r := range list(t, store) {
			if id != r.DocumentID() {
				t.Errorf("rule %s has the id %s", r, id)
			}
			rules[r.String()] = r
		}
		return rules
	}
	about := func(at, want time.Time) bool { return at.Sub(want).Abs() < time.Minute }
	now := time.Now()
	starts, expires := now.Add(time.Hour).Truncate(time.Microsecond), now.Add(2*time.Hour).Truncate(time.Microsecond)

	// One rule that cannot be written keeps all from being written.
	broken := blocklist.Rule{Kind: blocklist.Host, Value: "*"}
	var wrong *linkcore.FieldError
	if err := store.Put(ctx, rule(t, "host:a.example"), broken); !errors.As(err, &wrong) || wrong.Field != "value" {
		t.Errorf("Put: %v", err)
	}
	if err := store.Put(ctx, blocklist.Rule{Kind: blocklist.Host, Value: "a.example", ExpiresAt: now.Add(-time.Second)}); !errors.As(err, &wrong) || wrong.Field != "expires_at" {
		t.Errorf("Put: %v", err)
	}
	if _, err := store.Lift(ctx, broken); !errors.As(err, &wrong) {
		t.Errorf("Lift: %v", err)
	}

	if err := store.Put(ctx,
		blocklist.Rule{Kind: blocklist.Host, Value: "A.example", Reason: "phishing", CreatedBy: "ann@example.com"},
		blocklist.Rule{Kind: blocklist.URL, Value: "https://b.example/%7e", Action: blocklist.Redirect, Target: "https://bücher.example/", StartsAt: starts, ExpiresAt: expires},
		blocklist.Rule{Kind: blocklist.Recipient, Value: "acme/r1", Action: blocklist.Untracked},
		blocklist.Rule{Kind: blocklist.Host, Value: "c.example", Reason: "first"},
		blocklist.Rule{Kind: blocklist.Host, Value: "C.example", Reason: "last"},
	); err != nil {
		t.Fatal(err)
	}
	rules := byName()
	if len(rules) != 4 {
		t.Fatalf("rules %v", rules)
	}
	a := rules["host:a.example"]
	if a.Action != blocklist.Block || a.Reason != "phishing" || a.CreatedBy != "ann@example.com" || !about(a.CreatedAt, now) || !about(a.UpdatedAt, now) || a.Deleted || !a.StartsAt.IsZero() || !a.ExpiresAt.IsZero() {
		t.Errorf("rule %+v", a)
	}
	b := rules["url:b.example/~"]
	if b.Action != blocklist.Redirect || b.Target != "https://xn--bcher-kva.example/" || !b.StartsAt.Equal(starts) || !b.ExpiresAt.Equal(expires) {
		t.Errorf("rule %+v", b)
	}
	if r := rules["recipient:acme/r1"]; r.Action != blocklist.Untracked {
		t.Errorf("rule %+v", r)
	}
	if r := rules["host:c.example"]; r.Reason != "last" {
		t.Errorf("rule %+v", r)
	}

	// Written again: created_at stays, everything else is new.
	if err := store.Put(ctx, blocklist.Rule{Kind: blocklist.Host, Value: "a.example", Reason: "malware"}, blocklist.Rule{Kind: blocklist.URL, Value: "b.example/~"}); err != nil {
		t.Fatal(err)
	}
	rules = byName()
	if again := rules["host:a.example"]; !again.CreatedAt.Equal(a.CreatedAt) || !again.UpdatedAt.After(a.UpdatedAt) || again.Reason != "malware" || again.CreatedBy != "" {
		t.Errorf("rule %+v, before %+v", again, a)
	}
	if again := rules["url:b.example/~"]; again.Action != blocklist.Block || again.Target != "" || !again.StartsAt.IsZero() || !again.ExpiresAt.IsZero() {
		t.Errorf("rule %+v", again)
	}

	// Lifted, and known to be missing.
	missing, err := store.Lift(ctx, blocklist.Rule{Kind: blocklist.Host, Value: "A.EXAMPLE"}, rule(t, "host:nowhere.example"), rule(t, "host:a.example"))
	if err != nil || len(missing) != 1 || missing[0].String() != "host:nowhere.example" {
		t.Errorf("Lift: %v, %v", missing, err)
	}
	if a := byName()["host:a.example"]; !a.Deleted || !about(a.ExpiresAt, now.Add(blocklist.LiftedFor)) || a.Reason != "malware" {
		t.Errorf("rule %+v", a)
	}
	// What was lifted does not stand, and what never was neither.
	standing, err := store.Standing(ctx, rule(t, "host:a.example"), blocklist.Rule{Kind: blocklist.Host, Value: "C.example"}, rule(t, "recipient:acme/r1"), rule(t, "key:none"))
	names := map[string]blocklist.Action{}
	for _, r := range standing {
		names[r.String()] = r.Action
	}
	if want := map[string]blocklist.Action{"host:c.example": blocklist.Block, "recipient:acme/r1": blocklist.Untracked}; err != nil || !maps.Equal(names, want) {
		t.Errorf("Standing: %v, %v; want %v", names, err, want)
	}
	if _, err := store.Standing(ctx, broken); !errors.As(err, &wrong) {
		t.Errorf("Standing: %v", err)
	}
	if missing, err := store.Lift(ctx, rule(t, "host:a.example")); err != nil || len(missing) != 1 {
		t.Errorf("Lift of a lifted rule: %v, %v", missing, err)
	}
	// And written anew.
	if err := store.Put(ctx, rule(t, "host:a.example")); err != nil {
		t.Fatal(err)
	}
	if again := byName()["host:a.example"]; again.Deleted || !again.ExpiresAt.IsZero() || !again.CreatedAt.After(a.CreatedAt) {
		t.Errorf("rule %+v", again)
	}
	if err := store.Put(ctx); err != nil {
		t.Errorf("Put of nothing: %v", err)
	}

	// What an endpoint reads of it.
	endpoint := follow(t, store)
	endpoint.want(map[string]bool{"a.example": true, "c.example": true, "nowhere.example": false})
	if d := endpoint.decide("other.example", now); !d.Untracked {
		t.Errorf("decided %+v", d)
	}
	if s := endpoint.cache.Stats(); s.Rules != 4 || s.Documents != 4 {
		t.Errorf("stats %+v", s)
	}
}

// testWriters lets several write at once: no rule is lost.
func testWriters(t *testing.T, f Fixture) {
	const writers = 4
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if err := f.Backend.Put(t.Context(), blocklist.Rule{Kind: blocklist.Host, Value: fmt.Sprintf("h%d.example", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rules := list(t, f.Backend); len(rules) != writers {
		t.Errorf("%d rules, want %d", len(rules), writers)
	}
}

// testFollow has a copy follow what is written, lifted, and written by hand.
func testFollow(t *testing.T, f Fixture) {
	put := func(r blocklist.Rule) {
		t.Helper()
		if err := f.Backend.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	put(rule(t, "host:a.example"))
	endpoint := follow(t, f.Backend)
	endpoint.want(map[string]bool{"a.example": true, "b.example": false, "hand.example": false})

	put(rule(t, "host:b.example"))
	if _, err := f.Backend.Lift(t.Context(), rule(t, "host:a.example")); err != nil {
		t.Fatal(err)
	}
	f.Write("hand", map[string]any{"kind": "host", "value": "HAND.example.", "updated_at": time.Now()})
	endpoint.refresh()
	endpoint.want(map[string]bool{"a.example": false, "b.example": true, "hand.example": true})

	// Written anew, changed, and lifted by hand.
	put(rule(t, "host:a.example"))
	put(blocklist.Rule{Kind: blocklist.Host, Value: "b.example", Action: blocklist.Redirect, Target: "https://elsewhere.example/"})
	f.Write("hand", map[string]any{"kind": "host", "value": "HAND.example.", "updated_at": time.Now(), "deleted": true, "expires_at": time.Now().Add(blocklist.LiftedFor)})
	endpoint.refresh()
	endpoint.want(map[string]bool{"a.example": true, "b.example": false, "hand.example": false})
	if d := endpoint.decide("b.example", time.Now()); d.Action != blocklist.Redirect || d.Target != "https://elsewhere.example/" {
		t.Errorf("decided %+v", d)
	}
}

// testTimes: a rule begins and ends at its time to the microsecond, without a
// refresh.
func testTimes(t *testing.T, f Fixture) {
	starts := time.Now().Add(time.Hour).Truncate(time.Second).Add(123457 * time.Microsecond)
	ends := starts.Add(time.Hour)
	if err := f.Backend.Put(t.Context(), blocklist.Rule{Kind: blocklist.Host, Value: "a.example", StartsAt: starts, ExpiresAt: ends}); err != nil {
		t.Fatal(err)
	}
	endpoint := follow(t, f.Backend)
	for _, test := range []struct {
		at   time.Time
		want blocklist.Action
	}{
		{starts.Add(-time.Microsecond), ""},
		{starts, blocklist.Block},
		{ends.Add(-time.Microsecond), blocklist.Block},
		{ends, ""},
	} {
		if d := endpoint.decide("a.example", test.at); d.Action != test.want {
			t.Errorf("%v after the beginning it is decided %+v, want %q", test.at.Sub(starts), d, test.want)
		}
	}
}

// testExpired: a rule that has expired does nothing, is written anew, and may
// vanish at any time.
func testExpired(t *testing.T, f Fixture) {
	ctx := t.Context()
	past := time.Now().Add(-time.Hour)
	hosts := []string{"gone.example", "put.example"}
	var rules []blocklist.Rule
	for _, host := range hosts {
		r := rule(t, "host:"+host)
		f.Write(r.DocumentID(), map[string]any{"kind": "host", "value": host, "updated_at": past, "expires_at": past})
		rules = append(rules, r)
	}
	endpoint := follow(t, f.Backend)
	endpoint.want(map[string]bool{hosts[0]: false, hosts[1]: false})
	if got := list(t, f.Backend); len(got) != len(hosts) {
		t.Errorf("rules %v: those that have expired are listed until they are gone", got)
	}
	if standing, err := f.Backend.Standing(ctx, rules...); err != nil || len(standing) != 0 {
		t.Errorf("Standing: %v, %v", standing, err)
	}
	f.Remove(rules[0])
	if err := f.Backend.Put(ctx, rules[1]); err != nil {
		t.Error(err)
	}
	endpoint.refresh()
	endpoint.want(map[string]bool{hosts[0]: false, hosts[1]: true})
	follow(t, f.Backend).want(map[string]bool{hosts[0]: false, hosts[1]: true})
}

// testHand reads what people write by hand: what cannot be understood is reported
// and keeps nothing else from working.
func testHand(t *testing.T, f Fixture) {
	now := time.Now()
	fields := func(of ...any) map[string]any {
		m := map[string]any{"kind": "host", "value": "x.example", "updated_at": now}
		for i := 0; i < len(of); i += 2 {
			m[of[i].(string)] = of[i+1]
		}
		return m
	}
	f.Write("fine", fields("value", "Fine.example.", "reason", "kept", "color", "red"))
	f.Write("odd but fine", fields("value", "odd.example", "reason", 7, "created_by", []string{"x"}, "created_at", true, "target", "nonsense", "action", nil))
	f.Write("without updated_at", map[string]any{"kind": "host", "value": "undated.example"})
	f.Write("port", map[string]any{"kind": "url", "value": "HTTPS://U.example:443/%7Eb#c", "updated_at": now})
	refused := map[string]map[string]any{
		"kind":       fields("kind", "domain"),
		"value":      fields("value", 7),
		"action":     fields("action", "untracked"),
		"target":     fields("action", "redirect"),
		"starts_at":  fields("starts_at", "tomorrow"),
		"expires_at": fields("expires_at", 1),
		"deleted":    fields("deleted", "true"),
	}
	for field, document := range refused {
		f.Write("refused "+field, document)
	}
	rules, skipped, err := f.Backend.List(t.Context())
	if err != nil || len(rules) != 4 {
		t.Errorf("rules %v, %v", rules, err)
	}
	var told []string
	for _, s := range skipped {
		var wrong *linkcore.FieldError
		if !errors.As(s, &wrong) || s.Where == "" {
			t.Errorf("skipped: %v", s)
			continue
		}
		told = append(told, wrong.Field)
	}
	if slices.Sort(told); !slices.Equal(told, slices.Sorted(maps.Keys(refused))) {
		t.Errorf("skipped: %v", skipped)
	}
	endpoint := follow(t, f.Backend)
	endpoint.want(map[string]bool{"fine.example": true, "odd.example": true, "undated.example": true, "x.example": false})
	if s := endpoint.cache.Stats(); s.Rules != 4 || s.Skipped != len(refused) {
		t.Errorf("stats %+v", s)
	}

	// A rule is lifted however its value was written, and keeps its other fields.
	missing, err := f.Backend.Lift(t.Context(), rule(t, "host:fine.example"), rule(t, "url:u.example/~b"), rule(t, "ip:192.0.2.1"))
	if err != nil || len(missing) != 1 || missing[0].String() != "ip:192.0.2.1" {
		t.Errorf("Lift: missing %v, %v", missing, err)
	}
	endpoint.refresh()
	endpoint.want(map[string]bool{"fine.example": false, "odd.example": true})
	for _, r := range list(t, f.Backend) {
		if lifted := r.Value == "fine.example" || r.Kind == blocklist.URL; r.Deleted != lifted {
			t.Errorf("rule %+v", r)
		}
		if r.Value == "fine.example" && r.Reason != "kept" {
			t.Errorf("rule %+v", r)
		}
	}
}

// testSeveral: of several documents for one value a block wins, then the newest;
// those out of force do not take part, and all are lifted at once.
func testSeveral(t *testing.T, f Fixture) {
	now := time.Now()
	redirect := func(id, target string, updated time.Time, of ...any) {
		m := map[string]any{"kind": "host", "value": "a.example", "action": "redirect", "target": "https://" + target + "/", "updated_at": updated}
		for i := 0; i < len(of); i += 2 {
			m[of[i].(string)] = of[i+1]
		}
		f.Write(id, m)
	}
	redirect("1", "old.example", now.Add(-2*time.Hour))
	redirect("2", "new.example", now.Add(-time.Hour))
	redirect("3", "older.example", now.Add(-3*time.Hour))
	redirect("4", "soon.example", now, "starts_at", now.Add(time.Hour))
	redirect("5", "expired.example", now, "expires_at", now.Add(-time.Minute))
	redirect("6", "lifted.example", now, "deleted", true)
	endpoint := follow(t, f.Backend)
	if d := endpoint.decide("a.example", time.Now()); d.Target != "https://new.example/" {
		t.Errorf("decided %+v, want the newest", d)
	}
	f.Write("7", map[string]any{"kind": "host", "value": "a.example", "updated_at": now.Add(-10 * time.Second)})
	endpoint.refresh()
	endpoint.want(map[string]bool{"a.example": true})

	if missing, err := f.Backend.Lift(t.Context(), rule(t, "host:a.example")); err != nil || len(missing) != 0 {
		t.Errorf("Lift: missing %v, %v", missing, err)
	}
	endpoint.refresh()
	if d := endpoint.decide("a.example", now.Add(2*time.Hour)); d.Action != "" {
		t.Errorf("decided %+v after all were lifted", d)
	}
}

// testFuture: an updated_at ahead counts as the time when it was first read, so
// what is written later wins.
func testFuture(t *testing.T, f Fixture) {
	redirect := func(id, target string, updated time.Time) {
		f.Write(id, map[string]any{"kind": "host", "value": "a.example", "action": "redirect", "target": "https://" + target + "/", "updated_at": updated})
	}
	redirect("ahead", "ahead.example", time.Now().Add(1000*time.Hour))
	endpoint := follow(t, f.Backend)
	if d := endpoint.decide("a.example", time.Now()); d.Target != "https://ahead.example/" {
		t.Errorf("decided %+v", d)
	}
	redirect("later", "later.example", time.Now())
	endpoint.refresh()
	if d := endpoint.decide("a.example", time.Now()); d.Target != "https://later.example/" {
		t.Errorf("decided %+v, want what was written later", d)
	}
}

// testCount counts what has not expired, understood or not, or says that there
// is no need.
func testCount(t *testing.T, f Fixture) {
	past := rule(t, "host:past.example")
	f.Write(past.DocumentID(), map[string]any{"kind": "host", "value": past.Value, "expires_at": time.Now().Add(-time.Minute)})
	f.Write("odd", map[string]any{"kind": 7})
	if err := f.Backend.Put(t.Context(), rule(t, "host:a.example"), rule(t, "host:lifted.example"), blocklist.Rule{Kind: blocklist.Host, Value: "soon.example", StartsAt: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Backend.Lift(t.Context(), rule(t, "host:lifted.example")); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"with", "without"} {
		n, err := f.Backend.Count(t.Context(), time.Now())
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip("this backend always knows what changed")
		}
		if err != nil || n != 4 {
			t.Errorf("Count %s the document that has expired: %d, %v, want 4", what, n, err)
		}
		f.Remove(past)
	}
}

// testLoad: a load begins with what cannot be asked for and goes on where it broke
// off, and until it has ended, single documents say what holds.
func testLoad(t *testing.T, f Fixture) {
	ctx := t.Context()
	if err := f.Backend.Put(ctx, rule(t, "host:a.example"), rule(t, "host:b.example"), rule(t, "host:c.example"), rule(t, "host:lifted.example"),
		rule(t, "ip:192.0.2.0/24"), rule(t, "agent:badbot")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Backend.Lift(ctx, rule(t, "host:lifted.example")); err != nil {
		t.Fatal(err)
	}
	read := func(place string) (documents []blocklist.Document) {
		t.Helper()
		whole, err := f.Backend.Read(ctx, time.Time{}, place, func(d blocklist.Document) { documents = append(documents, d) })
		if err != nil || !whole {
			t.Fatalf("Read: whole %v, %v", whole, err)
		}
		return documents
	}
	all := read("")
	documents, err := f.Backend.Get(ctx, []string{rule(t, "host:a.example").DocumentID(), rule(t, "host:lifted.example").DocumentID(), rule(t, "host:none.example").DocumentID()})
	if errors.Is(err, errors.ErrUnsupported) {
		if len(all) != 6 || all[0].Place != "" {
			t.Errorf("%d documents, the first with the place %q", len(all), all[0].Place)
		}
		return // nothing can be asked for, so there is no order either
	}
	got := map[string]bool{}
	for _, d := range documents {
		r, err := d.Rule()
		if err != nil {
			t.Error(err)
		}
		got[r.String()] = r.Deleted
	}
	if want := map[string]bool{"host:a.example": false, "host:lifted.example": true}; err != nil || !maps.Equal(got, want) {
		t.Errorf("Get: %v, %v; want %v", got, err, want)
	}
	for i, d := range all[:2] {
		if r, _ := d.Rule(); r.Kind != blocklist.IP && r.Kind != blocklist.Agent || d.Place != "" {
			t.Errorf("document %d of a load is %s, with the place %q", i, r, d.Place)
		}
	}
	all = all[2:]
	for i, d := range all {
		rest := read(d.Place)
		if len(all) != 6 || len(rest) != len(all)-i-1 || len(rest) > 0 && rest[0].ID != all[i+1].ID {
			t.Errorf("behind document %d of %d there are %d", i, len(all), len(rest))
		}
	}
}

// testCanceled: a context that has ended ends every call.
func testCanceled(t *testing.T, f Fixture) {
	r := rule(t, "host:a.example")
	if err := f.Backend.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Read": func() error { _, err := f.Backend.Read(ctx, time.Time{}, "", func(blocklist.Document) {}); return err },
		"Get": func() error {
			_, err := f.Backend.Get(ctx, []string{r.DocumentID()})
			return err
		},
		"Put":      func() error { return f.Backend.Put(ctx, r) },
		"Standing": func() error { _, err := f.Backend.Standing(ctx, r); return err },
		"Lift":     func() error { _, err := f.Backend.Lift(ctx, r); return err },
		"List":     func() error { _, _, err := f.Backend.List(ctx); return err },
	} {
		if err := call(); err == nil {
			t.Errorf("%s did not fail", name)
		}
	}
	if r := list(t, f.Backend)[r.DocumentID()]; r.Deleted {
		t.Error("the rule was lifted")
	}
}

package blocklist

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
)

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	// Old enough to be taken as settled.
	at := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// read returns "id error" of what a source yields, without the ids that values
// make.
func readAll(t testing.TB, s Source, since time.Time) (documents []Document, whole bool) {
	t.Helper()
	whole, err := s.Read(t.Context(), since, func(d Document) { documents = append(documents, d) })
	if err != nil {
		t.Fatal(err)
	}
	return documents, whole
}

func TestFileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	writeFile(t, path, "\xEF\xBB\xBF"+`{"kind":"host","value":"A.example","updated_at":"2026-05-01T12:00:00+02:00"}
not JSON

null
[1]
{"kind":"host","value":"b.example","expires_at":"tomorrow"}
{"kind":"host","value":"c.example","deleted":true}`+"\r"+`
{"kind":"host","value":"a.example","action":"redirect","target":"https://x.example/"}
`+`{"reason":"`+strings.Repeat("x", maxLine)+`","kind":"host","value":"d.example"}
{"kind":"host","value":"e.example"}
{"kind":"host","value":"f.exam`)
	source, err := OpenSource("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	documents, whole := readAll(t, source, time.Time{})
	if !whole {
		t.Error("not whole")
	}
	type line struct{ where, rule, field string }
	var got []line
	for _, d := range documents {
		r, err := d.Rule()
		var ruleErr *RuleError
		if errors.As(err, &ruleErr) {
			got = append(got, line{d.Where, "", ruleErr.Field})
		} else {
			got = append(got, line{d.Where, r.String(), ""})
		}
	}
	want := []line{{"line 1", "host:a.example", ""}, {"line 2", "", "line"}, {"line 4", "", "line"}, {"line 5", "", "line"},
		{"line 6", "", "expires_at"}, {"line 7", "host:c.example", ""}, {"line 8", "host:a.example", ""}, {"line 9", "", "line"},
		{"line 10", "host:e.example", ""}, {"line 11", "", "line"}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if r, _ := documents[0].Rule(); !r.UpdatedAt.Equal(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("updated_at %v", r.UpdatedAt)
	}
	a := ruleOf(t, "host:a.example").DocumentID()
	if documents[0].ID != a || documents[6].ID != a+"-000002" {
		t.Errorf("ids %q and %q", documents[0].ID, documents[6].ID)
	}

	// Nothing is read again until the file changes.
	if documents, whole := readAll(t, source, time.Now()); len(documents) != 0 || whole {
		t.Errorf("%d documents of a file that did not change, whole %v", len(documents), whole)
	}
	if documents, whole := readAll(t, source, time.Time{}); len(documents) != 10 || !whole {
		t.Errorf("%d documents, whole %v", len(documents), whole)
	}
	writeFile(t, path, `{"kind":"host","value":"a.example"}`)
	if documents, whole := readAll(t, source, time.Now()); len(documents) != 1 || !whole {
		t.Errorf("%d documents, whole %v", len(documents), whole)
	}
	// A file that changed a moment ago may change again within the same tick
	// of the file system's clock.
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, whole := readAll(t, source, time.Now()); !whole {
			t.Error("a file that changed a moment ago was not read")
		}
	}

	// A file that is gone is a failure, not an empty list.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Read(t.Context(), time.Now(), func(Document) {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	writeFile(t, path, "{}")
	if _, err := source.Read(ctx, time.Time{}, func(Document) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
	if _, err := source.Count(t.Context(), time.Now()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Count: %v", err)
	}
}

func TestFileCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	writeFile(t, path, `{"kind":"host","value":"a.example"}`+"\n"+`{"kind":"host","val`)
	source, err := OpenSource("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCache(source, Options{Refresh: time.Millisecond})
	defer c.Close()
	refresh := func() {
		t.Helper()
		for {
			if ch := c.RefreshIfDue(); ch != nil {
				<-ch
				return
			}
		}
	}
	refresh()
	wantBlocked(t, c, "a.example", true)
	if s := c.Stats(); s.Rules != 1 || s.Skipped != 1 {
		t.Errorf("stats %+v", s)
	}
	before := c.current.Load().index
	refresh()
	if c.current.Load().index != before {
		t.Error("the index changed though the file did not")
	}
	store, err := OpenStore("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), ruleOf(t, "host:b.example")); err != nil {
		t.Fatal(err)
	}
	refresh()
	wantBlocked(t, c, "a.example", true)
	wantBlocked(t, c, "b.example", true)
	if _, err := store.Lift(t.Context(), ruleOf(t, "host:a.example")); err != nil {
		t.Fatal(err)
	}
	refresh()
	wantBlocked(t, c, "a.example", false)
	wantBlocked(t, c, "b.example", true)
}

func TestFileStore(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "rules.jsonl")
	store, err := OpenStore("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.List(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List without a file: %v", err)
	}
	if _, err := store.Lift(t.Context(), ruleOf(t, "host:a.example")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lift without a file: %v", err)
	}
	testStore(t, store)

	// What is no rule stays as it is, and what is not touched too.
	odd := "{\"kind\" : \"host\", \"value\":\"Keep.example\", \"color\":\"red\"}\r\nnot JSON <&>\n"
	writeFile(t, path, odd+`{"kind":"host","value":"old.example","expires_at":"2020-01-01T00:00:00Z"}`+"\n"+`{"kind":"host","value":"last.example"}`)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), Rule{Kind: URL, Value: "https://new.example/?a&b", Reason: "<phishing>"}); err != nil {
		t.Fatal(err)
	}
	got := readFile(t, path)
	if !strings.HasPrefix(got, odd+`{"kind":"host","value":"last.example"}`+"\n"+`{"kind":"url","value":"new.example/?a&b","action":"block","reason":"<phishing>","created_at":"`) {
		t.Errorf("file:\n%s", got)
	}
	if strings.Contains(got, "old.example") {
		t.Error("an expired rule was kept")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// Two lines of one rule, written by hand, are one afterwards, or none.
	writeFile(t, path, strings.Repeat(`{"kind":"host","value":"TWICE.example","created_at":"2026-01-02T03:04:05Z","reason":"old"}`+"\n", 2))
	if err := store.Put(t.Context(), ruleOf(t, "host:twice.example")); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, path); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"created_at":"2026-01-02T03:04:05Z"`) || strings.Contains(got, "old") {
		t.Errorf("file:\n%s", got)
	}
	writeFile(t, path, strings.Repeat(`{"kind":"host","value":"TWICE.example","reason":"old"}`+"\n", 2))
	if missing, err := store.Lift(t.Context(), ruleOf(t, "host:twice.example")); err != nil || len(missing) != 0 {
		t.Errorf("Lift: %v, %v", missing, err)
	}
	if got := readFile(t, path); strings.Count(got, `"deleted":true`) != 2 || strings.Count(got, "old") != 2 {
		t.Errorf("file:\n%s", got)
	}

	// A line that is too long for an endpoint is not cut.
	long := `{"reason":"` + strings.Repeat("x", maxLine) + `"}` + "\n"
	writeFile(t, path, long)
	if err := store.Put(t.Context(), ruleOf(t, "host:a.example")); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, path); !strings.HasPrefix(got, long) {
		t.Error("a long line was changed")
	}

	// Nothing is left lying about.
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "rules.jsonl" && e.Name() != "rules.jsonl.lock" {
			t.Errorf("left behind: %s", e.Name())
		}
	}

	// A symbolic link stays one.
	link := filepath.Join(folder, "link.jsonl")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := NewFile(link).Put(t.Context(), ruleOf(t, "host:linked.example")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if got := readFile(t, path); !strings.Contains(got, "linked.example") {
		t.Error("the file that the link leads to was not written")
	}

	// Nowhere to write.
	err = NewFile(filepath.Join(folder, "missing", "rules.jsonl")).Put(t.Context(), ruleOf(t, "host:a.example"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put into a missing folder: %v", err)
	}
}

// TestFileWriters lets many write at once, in one process and without knowing
// of each other.
func TestFileWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f := NewFile(path)
			for j := range 5 {
				if err := f.Put(t.Context(), ruleOf(t, fmt.Sprintf("host:h%d-%d.example", i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	// Whoever reads meanwhile never sees half a file.
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		_, skipped, err := NewFile(path).List(t.Context())
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(skipped) != 0 {
			t.Fatalf("skipped %v, %v", skipped, err)
		}
	}
	rules, _, err := NewFile(path).List(t.Context())
	if err != nil || len(rules) != 40 {
		t.Errorf("%d rules, %v, want 40", len(rules), err)
	}
}

// Who waits for another writer of the same process does so until the context ends.
func TestWritersWait(t *testing.T) {
	writers <- struct{}{}
	defer func() { <-writers }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	f := NewFile(filepath.Join(t.TempDir(), "rules.jsonl"))
	if _, err := f.Add(ctx, Rule{Kind: Host, Value: "evil.example", Action: Block}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait, or not for so long: %v", err)
	}
}

func TestOpen(t *testing.T) {
	folder := t.TempDir()
	writeFile(t, filepath.Join(folder, "rules.jsonl"), "")
	for url, want := range map[string]bool{
		"none":                              true,
		"file:" + folder + "/rules.jsonl":   true,
		"file:" + folder + "/missing.jsonl": false,
		"file:" + folder:                    false,
		"file:":                             false,
		"":                                  false,
		"rules.jsonl":                       false,
		"firestore://project/(default)/blocklist":  true,
		"firestore://example.com:project/db/rules": true,
		"firestore://project/blocklist":            false,
		"firestore://project/db/a/b":               false,
		"firestore:///db/blocklist":                false,
		"firestore://project//blocklist":           false,
		"firestore://project/db/":                  false,
		"firestore://project/db/..":                false,
		"pubsub://project/topic":                   false,
	} {
		source, err := OpenSource(url)
		if (err == nil) != want || url == "none" && source != nil {
			t.Errorf("OpenSource(%q) = %v, %v", url, source, err)
		}
		if source != nil {
			if err := source.Close(); err != nil {
				t.Errorf("%q: Close: %v", url, err)
			}
		}
	}
	if _, err := OpenStore("none"); err == nil {
		t.Error("OpenStore(none) succeeded")
	}
	if _, err := OpenStore("file:" + folder + "/missing.jsonl"); err != nil {
		t.Error(err)
	}
}

// testStore checks what both stores promise. The store must be empty.
func testStore(t *testing.T, store Store) {
	t.Helper()
	ctx := t.Context()
	source := store.(Source)
	list := func() map[string]Rule {
		t.Helper()
		rules, skipped, err := store.List(ctx)
		if err != nil || len(skipped) != 0 {
			t.Fatalf("List: skipped %v, %v", skipped, err)
		}
		byName := map[string]Rule{}
		for _, r := range rules {
			if _, ok := byName[r.String()]; ok {
				t.Errorf("rule %s is there twice", r)
			}
			if r.ID != r.DocumentID() {
				t.Errorf("rule %s has the id %s", r, r.ID)
			}
			byName[r.String()] = r
		}
		return byName
	}
	about := func(at, want time.Time) bool { return at.Sub(want).Abs() < time.Minute }
	now := time.Now()
	starts, expires := now.Add(time.Hour).Truncate(time.Microsecond), now.Add(2*time.Hour).Truncate(time.Microsecond)

	// One rule that cannot be written keeps all from being written.
	var ruleErr *RuleError
	if err := store.Put(ctx, ruleOf(t, "host:a.example"), Rule{Kind: Host, Value: "*"}); !errors.As(err, &ruleErr) || ruleErr.Field != "value" {
		t.Errorf("Put: %v", err)
	}
	if err := store.Put(ctx, Rule{Kind: Host, Value: "a.example", ExpiresAt: now.Add(-time.Second)}); !errors.As(err, &ruleErr) || ruleErr.Field != "expires_at" {
		t.Errorf("Put: %v", err)
	}
	if _, err := store.Lift(ctx, Rule{Kind: Host, Value: "*"}); !errors.As(err, &ruleErr) {
		t.Errorf("Lift: %v", err)
	}

	if err := store.Put(ctx,
		Rule{Kind: Host, Value: "A.example", Reason: "phishing", CreatedBy: "ann@example.com"},
		Rule{Kind: URL, Value: "https://b.example/%7e", Action: Redirect, Target: "https://bücher.example/", StartsAt: starts, ExpiresAt: expires},
		Rule{Kind: Recipient, Value: "acme/r1", Action: Untracked},
		Rule{Kind: Host, Value: "c.example", Reason: "first"},
		Rule{Kind: Host, Value: "C.example", Reason: "last"},
	); err != nil {
		t.Fatal(err)
	}
	rules := list()
	if len(rules) != 4 {
		t.Fatalf("rules %v", rules)
	}
	a := rules["host:a.example"]
	if a.Action != Block || a.Reason != "phishing" || a.CreatedBy != "ann@example.com" || !about(a.CreatedAt, now) || !about(a.UpdatedAt, now) || a.Deleted || !a.StartsAt.IsZero() || !a.ExpiresAt.IsZero() {
		t.Errorf("rule %+v", a)
	}
	b := rules["url:b.example/~"]
	if b.Action != Redirect || b.Target != "https://xn--bcher-kva.example/" || !b.StartsAt.Equal(starts) || !b.ExpiresAt.Equal(expires) {
		t.Errorf("rule %+v", b)
	}
	if r := rules["recipient:acme/r1"]; r.Action != Untracked {
		t.Errorf("rule %+v", r)
	}
	if r := rules["host:c.example"]; r.Reason != "last" {
		t.Errorf("rule %+v", r)
	}

	// Written again: created_at stays, everything else is new.
	if err := store.Put(ctx, Rule{Kind: Host, Value: "a.example", Reason: "malware"}, Rule{Kind: URL, Value: "b.example/~"}); err != nil {
		t.Fatal(err)
	}
	rules = list()
	if again := rules["host:a.example"]; !again.CreatedAt.Equal(a.CreatedAt) || !again.UpdatedAt.After(a.UpdatedAt) || again.Reason != "malware" || again.CreatedBy != "" {
		t.Errorf("rule %+v, before %+v", again, a)
	}
	if again := rules["url:b.example/~"]; again.Action != Block || again.Target != "" || !again.StartsAt.IsZero() || !again.ExpiresAt.IsZero() {
		t.Errorf("rule %+v", again)
	}

	// Lifted, and known to be missing.
	missing, err := store.Lift(ctx, Rule{Kind: Host, Value: "A.EXAMPLE"}, Rule{Kind: Host, Value: "nowhere.example"}, Rule{Kind: Host, Value: "a.example"})
	if err != nil || len(missing) != 1 || missing[0].String() != "host:nowhere.example" {
		t.Errorf("Lift: %v, %v", missing, err)
	}
	rules = list()
	if a := rules["host:a.example"]; !a.Deleted || !about(a.ExpiresAt, now.Add(24*time.Hour)) || a.Reason != "malware" {
		t.Errorf("rule %+v", a)
	}
	// What stands is neither lifted nor missing.
	standing, err := store.Standing(ctx, Rule{Kind: Host, Value: "a.example"}, Rule{Kind: Host, Value: "C.example"}, Rule{Kind: Recipient, Value: "acme/r1"}, Rule{Kind: Key, Value: "none"})
	names := map[string]Action{}
	for _, r := range standing {
		names[r.String()] = r.Action
	}
	if want := map[string]Action{"host:c.example": Block, "recipient:acme/r1": Untracked}; err != nil || !maps.Equal(names, want) {
		t.Errorf("Standing: %v, %v; want %v", names, err, want)
	}
	if _, err := store.Standing(ctx, Rule{Kind: Host, Value: "*"}); !errors.As(err, &ruleErr) {
		t.Errorf("Standing: %v", err)
	}
	if missing, err := store.Lift(ctx, Rule{Kind: Host, Value: "a.example"}); err != nil || len(missing) != 1 {
		t.Errorf("Lift of a lifted rule: %v, %v", missing, err)
	}
	// And written anew.
	if err := store.Put(ctx, Rule{Kind: Host, Value: "a.example"}); err != nil {
		t.Fatal(err)
	}
	if again := list()["host:a.example"]; again.Deleted || !again.ExpiresAt.IsZero() || !again.CreatedAt.After(a.CreatedAt) {
		t.Errorf("rule %+v", again)
	}
	if err := store.Put(ctx); err != nil {
		t.Errorf("Put of nothing: %v", err)
	}

	// What an endpoint reads of it.
	c := NewCache(nopCloser{source}, Options{})
	defer c.Close()
	<-c.RefreshIfDue()
	wantBlocked(t, c, "a.example", true)
	x, err := c.Index(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Decide(&Request{Link: &linkcore.Link{Fields: linkcore.Fields{Customer: "acme", Recipient: "r1"}}, Now: now}).Untracked {
		t.Error("not untracked")
	}
	if s := c.Stats(); s.Rules != 4 || s.Documents != 4 {
		t.Errorf("stats %+v", s)
	}
}

type nopCloser struct{ Source }

func (nopCloser) Close() error { return nil }

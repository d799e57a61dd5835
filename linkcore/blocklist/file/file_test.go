package file

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/blocklisttest"
	"example.com/linktracker/linkcore/lines"
)

// ruleOf makes a rule of "KIND:VALUE".
func ruleOf(t testing.TB, s string) blocklist.Rule {
	t.Helper()
	r, err := blocklist.ParseRule(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

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

// readAll returns what a source yields.
func readAll(t testing.TB, s *File, since time.Time) (documents []blocklist.Document, whole bool) {
	t.Helper()
	whole, err := s.Read(t.Context(), since, "", func(d blocklist.Document) { documents = append(documents, d) })
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
`+`{"reason":"`+strings.Repeat("x", lines.Limit)+`","kind":"host","value":"d.example"}
{"kind":"host","value":"e.example"}
{"kind":"host","value":"f.exam`)
	source, err := Open(path)
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
		var ruleErr *linkcore.FieldError
		if errors.As(err, &ruleErr) {
			got = append(got, line{d.Where, "", ruleErr.Field})
		} else {
			got = append(got, line{d.Where, r.String(), ""})
		}
	}
	want := []line{{"", "host:a.example", ""}, {"line 2", "", "line"}, {"line 4", "", "line"}, {"line 5", "", "line"},
		{"line 6", "", "expires_at"}, {"", "host:c.example", ""}, {"", "host:a.example", ""}, {"line 9", "", "line"},
		{"", "host:e.example", ""}, {"line 11", "", "line"}}
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
	if _, err := source.Read(t.Context(), time.Now(), "", func(blocklist.Document) {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	writeFile(t, path, "{}")
	if _, err := source.Read(ctx, time.Time{}, "", func(blocklist.Document) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
	if _, err := source.Count(t.Context(), time.Now()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Count: %v", err)
	}
}

// TestUnchanged: a copy stays what it is while the file does.
func TestUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	writeFile(t, path, `{"kind":"host","value":"a.example"}`+"\n"+`{"kind":"host","val`)
	source, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o := blocklist.DefaultOptions()
	o.Refresh = 0
	c := blocklist.NewCache(source, o)
	defer c.Close()
	refresh := func(rules, skipped int, blocked string) {
		t.Helper()
		<-c.RefreshIfDue()
		d, known := c.Decide(t.Context(), &blocklist.Request{Link: &linkcore.Link{Destination: "https://" + blocked + "/"}, Now: time.Now()})
		if s := c.Stats(); s.Rules != rules || s.Skipped != skipped || !known || d.Action != blocklist.Block {
			t.Errorf("stats %+v, decided %+v, known %v", s, d, known)
		}
	}
	for range 3 {
		refresh(1, 1, "a.example")
	}
	writeFile(t, path, `{"kind":"host","value":"b.example"}`+"\n")
	refresh(1, 0, "b.example")
}

// TestSuite is what every backend passes.
func TestSuite(t *testing.T) {
	blocklisttest.Run(t, func(t *testing.T) blocklisttest.Fixture {
		path := filepath.Join(t.TempDir(), "rules.jsonl")
		writeFile(t, path, "")
		// edit replaces the file, without the lines that go.
		edit := func(gone func(line string) bool, line string) {
			t.Helper()
			var lines []string
			for l := range strings.Lines(readFile(t, path)) {
				if !gone(l) {
					lines = append(lines, l)
				}
			}
			writeFile(t, path+".new", strings.Join(lines, "")+line)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
		hand := map[string]string{} // lines by id
		return blocklisttest.Fixture{
			Backend: New(path),
			Write: func(id string, fields map[string]any) {
				t.Helper()
				line, err := json.Marshal(fields)
				if err != nil {
					t.Fatal(err)
				}
				before := hand[id]
				hand[id] = string(line) + "\n"
				edit(func(l string) bool { return l == before }, hand[id])
			},
			Remove: func(r blocklist.Rule) {
				t.Helper()
				edit(func(l string) bool { return strings.Contains(l, `"`+r.Value+`"`) }, "")
			},
		}
	})
}

func TestFileStore(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "rules.jsonl")
	store := New(path)
	if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open without a file: %v", err)
	}
	if _, err := Open(folder); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Open of a folder: %v", err)
	}
	if _, _, err := store.List(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List without a file: %v", err)
	}
	if _, err := store.Lift(t.Context(), ruleOf(t, "host:a.example")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lift without a file: %v", err)
	}

	// What is not a rule stays as it is, and what is not touched too.
	odd := "{\"kind\" : \"host\", \"value\":\"Keep.example\", \"color\":\"red\"}\r\nnot JSON <&>\n"
	writeFile(t, path, odd+`{"kind":"host","value":"old.example","expires_at":"2020-01-01T00:00:00Z"}`+"\n"+`{"kind":"host","value":"last.example"}`)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), blocklist.Rule{Kind: blocklist.URL, Value: "https://new.example/?a&b", Reason: "<phishing>"}); err != nil {
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
	long := `{"reason":"` + strings.Repeat("x", lines.Limit) + `"}` + "\n"
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
	if err := New(link).Put(t.Context(), ruleOf(t, "host:linked.example")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if got := readFile(t, path); !strings.Contains(got, "linked.example") {
		t.Error("the file that the link leads to was not written")
	}

	// Nowhere to write.
	err = New(filepath.Join(folder, "missing", "rules.jsonl")).Put(t.Context(), ruleOf(t, "host:a.example"))
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
			f := New(path)
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
		_, skipped, err := New(path).List(t.Context())
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(skipped) != 0 {
			t.Fatalf("skipped %v, %v", skipped, err)
		}
	}
	rules, _, err := New(path).List(t.Context())
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
	f := New(filepath.Join(t.TempDir(), "rules.jsonl"))
	if err := f.Put(ctx, blocklist.Rule{Kind: blocklist.Host, Value: "evil.example", Action: blocklist.Block}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait, or not for so long: %v", err)
	}
}

// BenchmarkLoad is what it takes to follow the rules of a file, from the start.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "rules.jsonl")
			f, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			w := bufio.NewWriter(f)
			for i := range n {
				line, err := AppendLine(nil, blocklist.Rule{
					Kind: blocklist.Host, Value: fmt.Sprintf("host-%d.example", i), Action: blocklist.Block,
					Reason: "phishing", CreatedBy: "abuse@example.com", CreatedAt: time.Now(), UpdatedAt: time.Now(),
				})
				if err != nil {
					b.Fatal(err)
				}
				w.Write(line)
			}
			if err := errors.Join(w.Flush(), f.Close()); err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				c := blocklist.NewCache(New(path), blocklist.DefaultOptions())
				<-c.RefreshIfDue()
				if got := c.Stats().Rules; got != n {
					b.Fatalf("%d rules", got)
				}
				c.Close()
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N)/1e9, "CPU-s/load")
		})
	}
}

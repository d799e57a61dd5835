package file

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
)

// hang makes open(2) of a file wait, as on a file system that hangs, by a lease
// on it that is not given back before release is called. Nobody else may have
// the file open.
func hang(t *testing.T, path string) (release func()) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	lease := func(kind uintptr) error {
		_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, file.Fd(), syscall.F_SETLEASE, kind)
		if errno != 0 {
			return errno
		}
		return nil
	}
	if err := lease(syscall.F_WRLCK); err != nil {
		t.Skip("this file system gives no leases:", err)
	}
	return func() { lease(syscall.F_UNLCK) }
}

// TestHangs has a copy live through a file system that hangs.
func TestHangs(t *testing.T) {
	testsize.Large(t)
	t.Parallel() // it waits for seconds to pass
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	writeFile(t, path, `{"kind":"host","value":"a.example"}`+"\n")
	source, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o := blocklist.DefaultOptions()
	o.Refresh = 0
	c := blocklist.NewCache(source, o)
	decide := func(host string) blocklist.Action {
		t.Helper()
		d, known := c.Decide(t.Context(), &blocklist.Request{Link: &linkcore.Link{Destination: "https://" + host + "/"}, Now: time.Now()})
		if !known {
			t.Fatal("the rules are not known")
		}
		return d.Action
	}
	<-c.RefreshIfDue()
	if got := decide("a.example"); got != blocklist.Block {
		t.Fatalf("decided %q", got)
	}
	release := hang(t, path)
	defer release()

	// The refresh is given up, and a new instance does not wait for it either.
	refreshed := c.RefreshIfDue()
	another, err := Open(path)
	if err != nil {
		t.Errorf("Open: %v", err)
	} else {
		another.Close()
	}
	<-refreshed
	if got := c.Stats().RefreshFailures; got != 1 {
		t.Errorf("%d failures, want 1", got)
	}
	if got := decide("a.example"); got != blocklist.Block {
		t.Errorf("the copy is not in use: decided %q", got)
	}

	// Once it answers, what was left behind ends, and reading goes on.
	release()
	writeFile(t, path+".new", `{"kind":"host","value":"b.example"}`+"\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for decide("b.example") == "" {
		if refreshed := c.RefreshIfDue(); refreshed != nil {
			<-refreshed
		} else {
			<-ticker.C
		}
	}

	release = hang(t, path)
	defer release()
	if c.RefreshIfDue() == nil {
		t.Fatal("no refresh is due")
	}
	if err := c.Close(); err == nil {
		t.Error("Close does not tell that a refresh has not ended")
	}
}

// TestPipe checks that what is not a file is refused without opening it, which
// would wait for somebody to write.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	store := New(path)
	rule := blocklist.Rule{Kind: blocklist.Host, Value: "a.example"}
	for name, call := range map[string]func() error{
		"Open": func() error { _, err := Open(path); return err },
		"Read": func() error {
			_, err := store.Read(t.Context(), time.Time{}, "", func(blocklist.Document) {})
			return err
		},
		"List": func() error { _, _, err := store.List(t.Context()); return err },
		"Put":  func() error { return store.Put(t.Context(), rule) },
		"Lift": func() error { _, err := store.Lift(t.Context(), rule); return err },
	} {
		returned := make(chan error, 1)
		go func() { returned <- call() }()
		select {
		case err := <-returned:
			if err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s waits for somebody to write", name)
		}
	}
}

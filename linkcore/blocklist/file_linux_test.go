package blocklist

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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

func TestFileHangs(t *testing.T) {
	t.Parallel() // it waits for seconds to pass
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	writeFile(t, path, `{"kind":"host","value":"a.example"}`+"\n")
	source, err := OpenSource("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	var book logBook
	c := NewCache(source, Options{Refresh: time.Millisecond, MaxAge: time.Millisecond, Wait: time.Minute, Log: book.logger()})
	c.quiet = 1
	<-c.RefreshIfDue()
	wantBlocked(t, c, "a.example", true)
	release := hang(t, path)
	defer release()

	<-c.begin(true).done
	if got := c.Stats().RefreshFailures; got != 1 {
		t.Errorf("%d failures, want 1", got)
	}
	if got := book.lines(slog.LevelError); len(got) != 1 {
		t.Errorf("logged %q, want one line", got)
	}
	start := time.Now()
	wantBlocked(t, c, "a.example", true)
	if d := time.Since(start); d >= time.Minute {
		t.Errorf("a request waited %v", d)
	}

	// A new instance does not wait for it either.
	start = time.Now()
	another, err := OpenSource("file:" + path)
	if d := time.Since(start); err != nil || d < checkTime {
		t.Errorf("OpenSource: %v after %v", err, d)
	} else {
		another.Close()
	}

	release()
	for !blocked(t, c, "https://b.example/") {
		f := c.begin(true)
		writeFile(t, path+".new", `{"kind":"host","value":"b.example"}`+"\n")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		<-f.done
	}

	release = hang(t, path)
	defer release()
	f := c.begin(true)
	if err := c.Close(); err == nil {
		t.Error("Close waited for the file")
	}
	<-f.done
}

// TestPipe checks that what is no file is refused without opening it, which
// would wait for somebody to write.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	store := NewFile(path)
	rule := Rule{Kind: Host, Value: "a.example"}
	for name, call := range map[string]func() error{
		"OpenSource": func() error { _, err := OpenSource("file:" + path); return err },
		"Read": func() error {
			_, err := store.Read(t.Context(), time.Time{}, func(Document) {})
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
			if err == nil || !strings.Contains(err.Error(), "no regular file") {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s waits for somebody to write", name)
		}
	}
}

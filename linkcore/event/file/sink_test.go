package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
)

func numbered(i int) *event.Event {
	return &event.Event{ID: fmt.Sprint(i), Type: event.Click, OccurredAt: time.Unix(1_790_000_000, 0), Host: "links.example.com", Customer: "acme", UserAgent: "agent"}
}

func messages(events ...*event.Event) (all []event.Message) {
	for _, e := range events {
		all = append(all, e.Message())
	}
	return all
}

func openFile(t *testing.T, path string) *Sink {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFileSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clicks.jsonl")
	// Two sinks are two processes as far as the file is concerned.
	const writers, each = 8, 50
	sinks := []*Sink{openFile(t, path), openFile(t, path)}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := sinks[w%2].Publish(t.Context(), messages(numbered(w*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range sinks {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if ids := fileIDs(t, path); len(ids) != writers*each {
		t.Errorf("%d events in the file, want %d", len(ids), writers*each)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: events name people", info.Mode())
	}
}

// fileIDs returns the ids in a file in which every line must be an event.
func fileIDs(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ids := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		e, err := (&event.Received{Data: lines.Bytes()}).Event()
		if err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		ids[e.ID] = true
	}
	return ids
}

func TestFileSinkAppends(t *testing.T) {
	for _, test := range []struct{ name, before, want string }{
		{"new", "", ""},
		{"whole line", "{}\n", "{}\n"},
		{"half a line", `{"event_id":"12`, `{"event_id":"12` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "clicks.jsonl")
			if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			s := openFile(t, path)
			if err := s.Publish(t.Context(), messages(numbered(1))); err != nil {
				t.Fatal(err)
			}
			s.Close(t.Context())
			got, _ := os.ReadFile(path)
			if want := test.want + string(numbered(1).AppendJSON(nil)) + "\n"; string(got) != want {
				t.Errorf("the file holds %q, want %q", got, want)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	s := openFile(t, "/dev/full")
	defer s.Close(t.Context())
	if err := s.Publish(t.Context(), messages(numbered(1))); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error %v on a full disk", err)
	}
}

// limited takes a number of bytes and is full then, until it is given more.
type limited struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("full")

func (l *limited) Write(b []byte) (int, error) {
	n, _ := l.Buffer.Write(b[:min(len(b), l.room)])
	l.room -= n
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

// An event that is written once there is room again does not continue the line
// that was cut short.
func TestTornLine(t *testing.T) {
	w := &limited{room: 10}
	s := New(w)
	for _, room := range []int{10, 0, 1} { // half a line, nothing, only a line's end
		w.room = room
		if err := s.Publish(t.Context(), messages(numbered(1))); !errors.Is(err, errFull) {
			t.Fatalf("error %v with room for %d bytes", err, room)
		}
	}
	w.room = 1 << 20
	for i := 2; i <= 3; i++ {
		if err := s.Publish(t.Context(), messages(numbered(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n")
	for i, want := range []string{string(numbered(2).AppendJSON(nil)), string(numbered(3).AppendJSON(nil))} {
		if got := lines[len(lines)-2+i]; got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}

type shortWriter struct{}

func (shortWriter) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestShortWrite(t *testing.T) {
	s := New(shortWriter{})
	if err := s.Publish(t.Context(), messages(numbered(1))); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v, want %v", err, io.ErrShortWrite)
	}
}

// A pipe that nobody reads keeps nobody longer than the context says.
func TestStuckPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	s := New(w)
	e := numbered(1)
	e.Destination = strings.Repeat("x", 1<<20) // more than a pipe holds
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := s.Publish(ctx, messages(e)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
		}
		cancel()
	}
}

type gatedWriter struct {
	once        sync.Once
	begun, gate chan struct{}
	bytes.Buffer
}

func (w *gatedWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	<-w.gate
	return w.Buffer.Write(b)
}

// A write that was given up may end later, with the bytes that it had.
func TestGivenUpWriteKeepsItsLine(t *testing.T) {
	w := &gatedWriter{begun: make(chan struct{}), gate: make(chan struct{})}
	slow, other := New(w), New(io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-w.begun; cancel() }()
	if err := slow.Publish(ctx, messages(numbered(1))); err == nil {
		t.Fatal("it was not given up")
	}
	for i := range 100 {
		other.Publish(t.Context(), messages(numbered(2+i)))
	}
	close(w.gate)
	if err := slow.Publish(t.Context(), nil); err != nil { // waits for its turn
		t.Fatal(err)
	}
	if want := string(numbered(1).AppendJSON(nil)) + "\n"; w.String() != want {
		t.Errorf("written %s", &w.Buffer)
	}
}

package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
)

func click() *event.Event {
	e := numbered(1)
	e.Destination, e.Signals, e.Automation = "https://example.com/?a=1&b=%22", event.SignalHead, event.Automated
	return e
}

func TestReceiveFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clicks.jsonl")
	content := string(click().AppendJSON(nil)) + "\n\n  \nnot json\r\n" + strings.Repeat("x", lines.Limit+1) + "\n" + `{"last":1}`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := Receive(t.Context(), path, event.ReceiveOptions{}, func(m *event.Received) {
		m.Ack()
		m.Nack()
		text := string(m.Data)
		if len(text) > 10 {
			text = "long"
		}
		if m.Err != nil {
			text = m.Err.Error()
		}
		got = append(got, fmt.Sprintf("%d %s", m.Line, text))
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 long", "4 not json", "5 this is not an event: line 5 is longer than 1048576 bytes", `6 {"last":1}`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A file is followed as it grows, line by whole line, is cut short and replaced.
func TestReceiveFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clicks.jsonl")
	appendTo := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	appendTo("old\n")
	ctx, stop := context.WithCancel(t.Context())
	received, done, ready := make(chan string, 10), make(chan error, 1), make(chan struct{})
	go func() {
		o := event.ReceiveOptions{Follow: true, FromEnd: true, Ready: func() { close(ready) }}
		done <- Receive(ctx, path, o, func(r *event.Received) { received <- string(r.Data) })
	}()
	<-ready
	want := func(text string) {
		t.Helper()
		select {
		case got := <-received:
			if got != text {
				t.Errorf("got %q, want %q", got, text)
			}
		case err := <-done:
			t.Fatal("ended instead: ", err)
		}
	}
	appendTo("one\ntw")
	want("one")
	appendTo("o\n")
	want("two")

	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	appendTo("3\n")
	want("3")

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo("four\nfive\n")
	want("four")
	want("five")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// However a file is kept, it holds the same event.
func TestReceiveForms(t *testing.T) {
	bare := string(click().AppendJSON(nil))
	spilled := strings.TrimSpace(string(event.AppendSpilled(nil, click(), time.Now(), "failed")))
	quoted, err := json.Marshal(spilled)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, bare+"\n")
	z.Close()
	for name, content := range map[string]string{
		"bare": bare, "marked": "\uFEFF" + bare + "\r\n", "gzip": zipped.String(), "spilled": spilled, "array": "[" + bare + "]",
		"entry": `{"jsonPayload":` + spilled + `}`, "entry with text": `{"textPayload":` + string(quoted) + `}`, "entry of an event": `{"jsonPayload":` + bare + `}`,
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		count := 0
		err := Receive(t.Context(), path, event.ReceiveOptions{}, func(m *event.Received) {
			count++
			if e, err := m.Event(); err != nil || string(e.AppendJSON(nil)) != bare {
				t.Errorf("%s: %v", name, err)
			}
		})
		if err != nil || count != 1 {
			t.Errorf("%s: %d messages, %v", name, count, err)
		}
		if name == "gzip" {
			if err := Receive(t.Context(), path, event.ReceiveOptions{Follow: true, FromEnd: true}, func(*event.Received) {}); !errors.Is(err, lines.ErrCompressed) {
				t.Errorf("followed: %v", err)
			}
		}
	}
}

// What a line of a file costs, reading it as an event included.
func BenchmarkReceiveFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "clicks.jsonl")
	line := append(click().AppendJSON(nil), '\n')
	if err := os.WriteFile(path, bytes.Repeat(line, 1000), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Receive(b.Context(), path, event.ReceiveOptions{}, func(m *event.Received) {
			if _, err := m.Event(); err != nil {
				b.Error(err)
			}
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}

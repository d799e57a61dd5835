package replay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/linktracker/linkcore/event"
)

// sink counts what it takes, by id.
type sink struct {
	answer func(taken int) error

	mu    sync.Mutex
	taken map[string]int
}

func (s *sink) Publish(_ context.Context, messages []event.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answer(len(s.taken)); err != nil {
		return err
	}
	s.taken[messages[0].Event.ID]++
	return nil
}

func (s *sink) Batching() event.Batching    { return event.Batching{} }
func (s *sink) Close(context.Context) error { return nil }

// start makes a file of spilled events and what replays it to a sink.
func start(t *testing.T, events int, answer func(taken int) error) (s *sink, replay func(context.Context) (*Result, error)) {
	path := filepath.Join(t.TempDir(), "log")
	var b strings.Builder
	for n := range events {
		fmt.Fprintf(&b, `{"message":"event spilled","reason":"failed","event":{"event_id":"%d","event_type":"click","occurred_at":"2026-05-04T09:32:01Z"}}`+"\n", n)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s = &sink{answer: answer, taken: map[string]int{}}
	return s, func(ctx context.Context) (*Result, error) {
		r := New(Options{
			Sink: s, Clicks: "here", Explain: func(err error) error { return err },
			Warn: func(string, ...any) {}, Progress: func(int, int) {},
		})
		err := r.File(ctx, path, path+".cursor")
		return r.Result(), err
	}
}

// Stopped, a replay goes on where it was, and nothing comes twice.
func TestInterrupted(t *testing.T) {
	const events = 1500
	ctx, cancel := context.WithCancel(t.Context())
	s, replay := start(t, events, func(taken int) error {
		if taken == 700 {
			cancel()
		}
		return nil
	})
	first, err := replay(ctx)
	n := len(s.taken)
	if !errors.Is(err, context.Canceled) || n <= 700 || n >= events || first.Replayed().Events != n {
		t.Errorf("%d events were taken: %+v, %v", n, first.Replayed(), err)
	}
	second, err := replay(t.Context())
	if err != nil || second.Replayed().Events != events-n || second.Before != n {
		t.Errorf("after %d: %+v, %v", n, second, err)
	}
	for id, taken := range s.taken {
		if taken != 1 {
			t.Errorf("event %s came %d times", id, taken)
		}
	}
	if len(s.taken) != events {
		t.Errorf("%d events of %d came", len(s.taken), events)
	}
}

// A topic that takes nothing is not asked for ever.
func TestAllRefused(t *testing.T) {
	asked := 0
	_, replay := start(t, MaxRefused+3*Window, func(int) error { asked++; return event.ErrRefused })
	r, err := replay(t.Context())
	if want := fmt.Sprintf("%d events were refused", MaxRefused); err == nil || !strings.HasPrefix(err.Error(), want) || asked >= MaxRefused+Window+1 || r.Refused != asked {
		t.Errorf("asked %d times, refused %d: %v", asked, r.Refused, err)
	}
}

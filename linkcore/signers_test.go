package linkcore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// KEYS.md shows the code that runs here.
func TestKeysShowsSigners(t *testing.T) {
	source, err := os.ReadFile("example_signers_test.go")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("KEYS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "\n// signers keeps ")
	code, _, ok := strings.Cut(code, "\n// A backend follows ")
	if !ok || !strings.Contains(string(document), "```go\n// signers keeps "+strings.TrimSpace(code)+"\n```\n") {
		t.Error("KEYS.md does not show what example_signers_test.go holds")
	}
}

// Senders get the old key while a call runs or fails, and no two calls run.
func TestSigners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		calls, running := 0, 0
		slow, fail, id := time.Duration(0), false, "1"
		s := &signers{Base: "https://links.example.com", Read: func(ctx context.Context) (string, []byte, error) {
			mu.Lock()
			calls++
			if running++; running > 1 {
				t.Error("two calls run")
			}
			mu.Unlock()
			defer func() { mu.Lock(); running--; mu.Unlock() }()
			select {
			case <-time.After(slow):
			case <-ctx.Done():
				return "", nil, ctx.Err()
			}
			if fail {
				return "", nil, errors.New("unavailable")
			}
			return id, bytes.Repeat([]byte("ZXhh"), 11), nil
		}}
		// hundred asks a hundred times at once, and wants a key or an error,
		// after a time.
		hundred := func(key string, after time.Duration) {
			t.Helper()
			var senders sync.WaitGroup
			for range 100 {
				senders.Go(func() {
					begin := time.Now()
					signer, err := s.get(t.Context())
					if waited := time.Since(begin); waited != after || (err == nil) != (key != "") || err == nil && signer.Key() != key {
						t.Errorf("after %v: %v, %v; want %q after %v", waited, signer, err, key, after)
					}
				})
			}
			senders.Wait()
		}
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			if calls != n {
				t.Errorf("%d calls, want %d", calls, n)
			}
		}

		// The first call is waited for; if it fails, the next one is made at once.
		slow, fail = time.Second, true
		hundred("", time.Second)
		want(1)
		fail = false
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.get(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("a sender who gave up: %v", err)
		}
		hundred("1", time.Second)
		want(2)

		// For ten minutes nothing is read, then once, while the old key signs.
		id = "2"
		time.Sleep(10*time.Minute - 2*time.Second)
		hundred("1", 0)
		want(2)
		time.Sleep(2 * time.Second)
		hundred("1", 0)
		want(3)
		time.Sleep(2 * time.Second)
		hundred("2", 0)
		want(3)

		// A call that hangs is ended, and made again after a minute.
		slow = time.Hour
		time.Sleep(10 * time.Minute)
		hundred("2", 0)
		time.Sleep(11 * time.Second)
		hundred("2", 0)
		want(4)
		time.Sleep(time.Minute)
		hundred("2", 0)
		want(5)
		time.Sleep(11 * time.Second)
	})
}

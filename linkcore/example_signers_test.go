package linkcore_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"example.com/linktracker/linkcore"
)

// signers keeps the signer of the version that signs for ten minutes: a rotation
// moves the alias, and every backend follows. One call at a time reads it, and
// no sender waits for that call but for the first: while it runs, and for a
// minute each time it fails, the old key is still good.
type signers struct {
	// Read returns the version's number and what it holds.
	Read func(context.Context) (id string, content []byte, err error)
	Base string // https://links.example.com

	mu      sync.Mutex // never held during a call
	signer  *linkcore.Signer
	err     error // of the last call
	due     time.Time
	reading chan struct{} // closed when the call in flight has ended; nil: none is
}

func (s *signers) get(ctx context.Context) (*linkcore.Signer, error) {
	s.mu.Lock()
	if s.reading == nil && !time.Now().Before(s.due) {
		s.reading = make(chan struct{})
		go s.refresh(context.WithoutCancel(ctx), s.reading)
	}
	signer, reading := s.signer, s.reading
	s.mu.Unlock()
	if signer != nil {
		return signer, nil
	}
	select {
	case <-reading:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signer == nil {
		return nil, s.err
	}
	return s.signer, nil
}

func (s *signers) refresh(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	signer, err := s.read(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.signer, s.due = signer, time.Now().Add(10*time.Minute)
	} else if s.signer != nil {
		s.due = time.Now().Add(time.Minute)
	}
	s.err, s.reading = err, nil
	close(done)
}

func (s *signers) read(ctx context.Context) (*linkcore.Signer, error) {
	id, content, err := s.Read(ctx)
	if err != nil {
		return nil, err
	}
	secret, err := linkcore.DecodeSecret(string(content))
	if err != nil {
		return nil, err
	}
	ring, err := linkcore.NewKeyRing(map[string][]byte{id: secret})
	if err != nil {
		return nil, err
	}
	return ring.Signer(s.Base, id)
}

// A backend follows the key that signs. Read stands in for Secret Manager, whose
// call KEYS.md shows.
func Example_signers() {
	s := &signers{
		Base: "https://links.example.com",
		Read: func(context.Context) (string, []byte, error) {
			return "7", bytes.Repeat([]byte("ZXhh"), 11), nil
		},
	}
	signer, err := s.get(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(signer.Host(), signer.Key())
	// Output: links.example.com 7
}

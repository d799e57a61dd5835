package main

import (
	"context"
	"errors"

	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// How much longer than its deadline a connection may live.
const sweepInterval = time.Second

// sweptListener accepts connections whose deadlines arm no timers: a sweep
// closes those that are past one. net/http moves five deadlines a request, none
// of which is ever met by a client that is not to be let go, and a timer for
// each is a thirtieth of what a click costs.
type sweptListener struct {
	*net.TCPListener
	start time.Time // deadlines count from here, by the monotonic clock

	mu    sync.Mutex
	conns map[*sweptConn]struct{}
}

// sweepDeadlines returns a listener for the connections of l, which are swept
// every interval until ctx ends.
func sweepDeadlines(ctx context.Context, l *net.TCPListener, interval time.Duration) *sweptListener {
	s := &sweptListener{TCPListener: l, start: time.Now(), conns: map[*sweptConn]struct{}{}}
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.sweep()
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

func (s *sweptListener) sweep() {
	now := int64(time.Since(s.start))
	var late []*sweptConn
	s.mu.Lock()
	for c := range s.conns {
		if min(c.readBy.Load(), c.writeBy.Load()) < now {
			late = append(late, c)
		}
	}
	s.mu.Unlock()
	// Many may be late at once, and others must not wait to be accepted.
	for _, c := range late {
		c.Close() // ends the read or the write that waits
	}
}

func (s *sweptListener) Accept() (net.Conn, error) {
	conn, err := s.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c := &sweptConn{TCPConn: conn, listener: s}
	c.readBy.Store(never)
	c.writeBy.Store(never)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	return c, nil
}

// sweptConn is closed within a sweep of its deadline; net.Conn would let the
// read or the write fail and stay open. net/http closes it then, too.
type sweptConn struct {
	*net.TCPConn
	listener        *sweptListener
	readBy, writeBy atomic.Int64 // ns after listener.start
}

const never = math.MaxInt64

func (c *sweptConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.TCPConn.Close()
}

// SetDeadline sets both, as net/http does before it lets go of a connection.
func (c *sweptConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline passes on what takes effect at once, as net/http has it: a
// time gone by ends the read that waits, and the zero time takes that back.
func (c *sweptConn) SetReadDeadline(t time.Time) error {
	by := t.Sub(c.listener.start)
	if by <= 0 {
		c.readBy.Store(never)
		return c.TCPConn.SetReadDeadline(t)
	}
	c.readBy.Store(int64(by))
	return nil
}

func (c *sweptConn) SetWriteDeadline(t time.Time) error {
	by := int64(t.Sub(c.listener.start))
	if t.IsZero() {
		by = never
	}
	c.writeBy.Store(by)
	return nil
}

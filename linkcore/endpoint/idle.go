package endpoint

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// How often at most it is logged that there are no file descriptors left.
const descriptorsInterval = time.Minute

// idleListener closes the connections that have been idle for longest when none
// can be accepted for lack of file descriptors: otherwise whoever opens many
// and keeps them keeps everybody else out until they time out.
type idleListener struct {
	net.Listener
	log   *slog.Logger
	start time.Time

	mu     sync.Mutex
	conns  map[*idleConn]struct{}
	logged time.Time
}

// idleConn knows since when it has waited for a request.
type idleConn struct {
	net.Conn
	listener *idleListener
	since    atomic.Int64 // nanoseconds after listener.start; 0: it is not idle
}

func closeIdle(l net.Listener, log *slog.Logger) *idleListener {
	return &idleListener{Listener: l, log: log, start: time.Now(), conns: map[*idleConn]struct{}{}}
}

// Accept returns the error of a lack of descriptors, too: net/http waits some
// milliseconds then, and tries again.
func (l *idleListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.makeRoom(err)
	}
	if err != nil {
		return nil, err
	}
	c := &idleConn{Conn: conn, listener: l}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	return c, nil
}

// makeRoom closes an eighth of the connections that are idle.
func (l *idleListener) makeRoom(cause error) {
	type idle struct {
		*idleConn
		since int64
	}
	var all []idle
	l.mu.Lock()
	for c := range l.conns {
		if since := c.since.Load(); since != 0 {
			all = append(all, idle{c, since})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b idle) int { return cmp.Compare(a.since, b.since) })
	all = all[:(len(all)+7)/8]
	for _, c := range all {
		c.Close()
	}
	if now := time.Now(); now.Sub(l.logged) >= descriptorsInterval {
		l.logged = now
		l.log.Error("connections cannot be accepted for lack of file descriptors, so those idle for longest are closed; logged once a minute: raise the limit (ulimit -n, or LimitNOFILE), or have a proxy in front bound the connections of a client",
			"error", cause.Error(), "closed", len(all))
	}
}

// connState is the server's hook.
func (l *idleListener) connState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*idleConn)
	switch {
	case !ok:
	case state == http.StateIdle:
		c.since.Store(int64(time.Since(l.start)))
	default:
		c.since.Store(0)
	}
}

func (c *idleConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A client is let go when net/http's timeouts say so, whatever it is slow with.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	const (
		short = 100 * time.Millisecond
		long  = time.Second
	)
	request := func(method, path string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\n", method, path)
	}
	dial := func(t *testing.T, change func(*http.Server)) (net.Conn, *sweptListener) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		swept := sweepDeadlines(t.Context(), l.(*net.TCPListener), 10*time.Millisecond)
		server := &http.Server{
			ReadHeaderTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/body":
					io.Copy(io.Discard, r.Body)
				case "/held":
					w.WriteHeader(http.StatusFound)
					http.NewResponseController(w).Flush()
					select {
					case <-time.After(3 * short):
					case <-r.Context().Done():
						panic(http.ErrAbortHandler)
					}
				case "/hijacked":
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					time.Sleep(3 * short) // longer than its deadlines were
					io.WriteString(conn, "still here")
				case "/endless":
					for block := make([]byte, 1<<20); ; {
						if _, err := w.Write(block); err != nil {
							return
						}
					}
				}
			}),
		}
		change(server)
		go server.Serve(swept)
		t.Cleanup(func() { server.Close() })
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn, swept
	}

	for _, c := range []struct {
		name, send string
		change     func(*http.Server)
	}{
		{"says nothing", "", func(s *http.Server) { s.ReadHeaderTimeout = short }},
		{"header without an end", "GET / HTTP/1.1\r\nX: y", func(s *http.Server) { s.ReadHeaderTimeout = short }},
		{"second header without an end", request("GET", "/") + "\r\nGET / HTTP", func(s *http.Server) { s.ReadHeaderTimeout = short }},
		{"idle", request("GET", "/") + "\r\n", func(s *http.Server) { s.IdleTimeout = short }},
		{"body without an end", request("POST", "/body") + "Content-Length: 9\r\n\r\nx", func(s *http.Server) { s.ReadTimeout = short }},
		{"answer not read", request("GET", "/endless") + "\r\n", func(s *http.Server) { s.WriteTimeout = short }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			conn, swept := dial(t, c.change)
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			left := func() int {
				swept.mu.Lock()
				defer swept.mu.Unlock()
				return len(swept.conns)
			}
			waitFor(t, "the connection to be accepted", func() bool { return left() == 1 || time.Since(start) > short })
			waitFor(t, "the connection to be closed", func() bool { return left() == 0 })
			if took := time.Since(start); took < short {
				t.Errorf("let go after %v, before its deadline", took)
			}
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
		})
	}

	t.Run("busy", func(t *testing.T) {
		t.Parallel()
		inTime(t, long, func() error {
			conn, _ := dial(t, func(s *http.Server) {
				s.ReadHeaderTimeout, s.IdleTimeout, s.ReadTimeout, s.WriteTimeout = long, long, long, long
			})
			answers := bufio.NewReader(conn)
			// Together longer than any of the deadlines, and each well within it.
			for start := time.Now(); time.Since(start) < long+long/2; {
				if _, err := io.WriteString(conn, request("GET", "/held")+"\r\n"); err != nil {
					return err
				}
				response, err := http.ReadResponse(answers, nil)
				if err != nil {
					return err
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					return err
				}
			}
			return nil
		})
	})

	t.Run("held for longer than a header may take", func(t *testing.T) {
		t.Parallel()
		inTime(t, short, func() error {
			conn, _ := dial(t, func(s *http.Server) { s.ReadHeaderTimeout, s.IdleTimeout = short, short })
			if _, err := io.WriteString(conn, request("GET", "/held")+"Connection: close\r\n\r\n"); err != nil {
				return err
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !bytes.HasSuffix(answer, []byte("\r\n0\r\n\r\n")) {
				return fmt.Errorf("%q, %v", answer, err)
			}
			return nil
		})
	})

	t.Run("idle for longer than an answer may take", func(t *testing.T) {
		t.Parallel()
		inTime(t, short, func() error {
			conn, _ := dial(t, func(s *http.Server) { s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout = short, short, short })
			answers := bufio.NewReader(conn)
			for range 2 {
				if _, err := io.WriteString(conn, request("GET", "/")+"\r\n"); err != nil {
					return err
				}
				if _, err := http.ReadResponse(answers, nil); err != nil {
					return err
				}
				time.Sleep(3 * short)
			}
			return nil
		})
	})

	t.Run("taken over by a handler", func(t *testing.T) {
		t.Parallel()
		inTime(t, short, func() error {
			conn, _ := dial(t, func(s *http.Server) { s.ReadTimeout, s.WriteTimeout = short, short })
			if _, err := io.WriteString(conn, request("GET", "/hijacked")+"\r\n"); err != nil {
				return err
			}
			if said, err := io.ReadAll(conn); err != nil || string(said) != "still here" {
				return fmt.Errorf("%q, %v", said, err)
			}
			return nil
		})
	})
}

// inTime wants that a client which keeps its deadlines is served. One that a busy
// machine makes miss them is rightly let go, and tries again: the machine is busy
// if a goroutine beside it has to wait for its turn for a good part of a deadline.
func inTime(t *testing.T, deadline time.Duration, client func() error) {
	t.Helper()
	for begin := time.Now(); ; {
		var late atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		var watch sync.WaitGroup
		watch.Go(func() {
			const turn = 5 * time.Millisecond
			for last := time.Now(); ctx.Err() == nil; last = time.Now() {
				time.Sleep(turn)
				if time.Since(last) > deadline/4 {
					late.Store(true)
				}
			}
		})
		err := client()
		cancel()
		watch.Wait()
		if err == nil {
			return
		}
		if !late.Load() || time.Since(begin) > 2*time.Minute {
			t.Fatal(err)
		}
	}
}

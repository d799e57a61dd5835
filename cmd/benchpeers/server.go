package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A server is a peer that runs, with the processes that it has started.
type server struct {
	cmd     *exec.Cmd
	address string // host:port
	output  buffer
	ended   chan struct{}
}

// buffer holds the end of what a process wrote.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.b.Len() > 64<<10 {
		b.b.Reset()
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts the peer on the server's core, in a process group of its own.
func (p *peer) start(ctx context.Context, b *bench) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	args, environment, err := p.command(b, port)
	if err != nil {
		return nil, err
	}
	s := &server{
		cmd:     exec.CommandContext(ctx, "taskset", append([]string{"-c", serverCore}, args...)...),
		address: "127.0.0.1:" + port,
		ended:   make(chan struct{}),
	}
	s.cmd.Env = append(os.Environ(), append(environment, "PORT="+port)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

func (s *server) stop() {
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.ended
}

// processes yields the fields of /proc/PID/stat after the program's name, of
// each process of the group.
func (s *server) processes(yield func(pid string, stat []string)) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		line := string(data)
		fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
		if len(fields) > 12 && fields[2] == strconv.Itoa(s.cmd.Process.Pid) {
			yield(filepath.Base(filepath.Dir(file)), fields)
		}
	}
}

// tick is the unit of /proc's processor times, the same on every Linux that Go
// runs on.
const tick = 10 * time.Millisecond

// cpu returns the processor time that the server has used, in user and kernel.
func (s *server) cpu() (total time.Duration) {
	s.processes(func(_ string, stat []string) {
		for _, field := range stat[11:13] {
			ticks, _ := strconv.ParseInt(field, 10, 64)
			total += time.Duration(ticks) * tick
		}
	})
	return total
}

// resident returns the server's resident memory in bytes, what its processes
// share counted once for each.
func (s *server) resident() (total int64) {
	s.processes(func(pid string, _ []string) {
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		for line := range strings.Lines(string(status)) {
			var kib int64
			if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
				total += kib << 10
			}
		}
	})
	return total
}

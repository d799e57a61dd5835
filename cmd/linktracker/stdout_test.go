package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"

	"example.com/linktracker/linkcore"
)

// A standard output that nobody reads any more, as of a log collector that
// hangs: clicks go on, held responses end, rules are followed and the server
// stops, though nothing can be logged.
func TestStuckStandardOutput(t *testing.T) {
	testsize.Large(t)
	t.Parallel()
	keys, ring := keyFolder(t)
	rules := filepath.Join(t.TempDir(), "rules")
	address := refusing(t)
	_, port, _ := net.SplitHostPort(address)
	s := command(t, nil, "LINK_KEYS="+keys, "CLICKS=pubsub://p/t", "PUBSUB_EMULATOR_HOST="+hanging(t), "DELIVERY_TIMEOUT=300ms",
		"BLOCKLIST=file:"+rules, "BLOCKLIST_REFRESH=200ms", "PORT="+port)
	s.address = address
	writeRules := func(text string) {
		t.Helper()
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeRules("")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	s.Cmd.Stdout = write
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { s.Wait(); close(exited) }()
	t.Cleanup(func() { s.Process.Kill(); <-exited })
	waitFor(t, "the server", func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	fillPipe(t, write)

	target := link(t, ring, linkcore.Fields{}, "https://bad.example/", linkcore.Options{})
	// Three wait for their delivery, and each of the four for a log that takes
	// nothing: they end all the same.
	for range 4 {
		if status, _ := s.get(t, target); status != http.StatusFound {
			t.Errorf("status %d", status)
		}
	}
	writeRules("no rule\n" + `{"kind":"host","value":"bad.example"}` + "\n")
	waitFor(t, "the rule to be followed", func() bool {
		status, _ := s.headers(t, target)
		return status == http.StatusGone
	})
	s.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(2 * time.Minute):
		t.Error("SIGTERM does not end it")
	}
}

// fillPipe writes into a pipe until it takes nothing any more.
func fillPipe(t *testing.T, w *os.File) {
	t.Helper()
	fd := int(w.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := syscall.Write(fd, []byte{' '}); err != nil {
			break
		}
	}
	// As the server has it.
	if err := syscall.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
)

// The metrics page has an address of its own, counts what the links' port
// answers, and ends with the program, also while a collector stays connected.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	keys, ring := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:clicks", "BLOCKLIST=none", "ADMIN_ADDRESS=127.0.0.1:0")
	waitFor(t, "the metrics page", func() bool { return len(s.log("serving metrics")) == 1 })
	address := s.log("serving metrics")[0]["address"].(string)
	if address == s.address || !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("the metrics page is at %s, links at %s", address, s.address)
	}
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	if status, _ := s.get(t, target); status != http.StatusFound {
		t.Errorf("status %d", status)
	}
	response, err := httpClient.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !strings.Contains(string(page), "\nredirects 1\n") || !strings.Contains(string(page), "\nfirst_byte_us_count 1\n") {
		t.Errorf("%v\n%s", err, page)
	}
	if status, _ := s.get(t, "/metrics"); status != http.StatusNotFound {
		t.Errorf("/metrics at the links' address: %d", status)
	}
	response, err = httpClient.Get("http://" + address + target)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("a link at the metrics page's address: %s", response.Status)
	}

	idle, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("the metrics page is still there")
	}
}

func TestNoMetricsPage(t *testing.T) {
	keys, _ := keyFolder(t)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:clicks", "BLOCKLIST=none")
	s.stop(t)
	if lines := s.log("serving metrics"); len(lines) > 0 {
		t.Errorf("%v", lines)
	}
}

func TestMetricsAddressInUse(t *testing.T) {
	keys, _ := keyFolder(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := command(t, nil, "LINK_KEYS="+keys, "BLOCKLIST=none", "CLICKS=stdout", "ADMIN_ADDRESS="+listener.Addr().String())
	if s.Run(); s.ProcessState.ExitCode() != 1 || !strings.HasPrefix(s.stderr.String(), "linktracker: ADMIN_ADDRESS: ") {
		t.Errorf("%v: %s", s.ProcessState, s.stderr.String())
	}
}

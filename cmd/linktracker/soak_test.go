package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/testsize"
)

// TestSoak clicks at a constant rate while rules change, and counts exactly what
// was answered and what arrived. It is short here; make soak lets it run:
//
//	make soak SOAK=5m RATE=1000
//
// There, what it takes and gives back is looked at in the second and in the last
// quarter: memory and goroutines that grow between them are a leak.
func TestSoak(t *testing.T) {
	testsize.Large(t)
	duration, rate := 2*time.Second, 200
	if s := os.Getenv("SOAK"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil || duration < 2*time.Second {
			t.Fatalf("SOAK=%s: give a duration of 2s or more", s)
		}
		rate = 1000
	}
	if s := os.Getenv("SOAK_RATE"); s != "" {
		var err error
		if rate, err = strconv.Atoi(s); err != nil || rate < 1 {
			t.Fatalf("SOAK_RATE=%s: give clicks a second", s)
		}
	}
	l, topic := newLedgerTopic(t)
	emulatortest.Firestore(t)
	rulesURL := "firestore://" + emulatortest.Project(t) + "/(default)/blocklist"
	keys, ring := keyFolder(t)
	vitals := filepath.Join(t.TempDir(), "vitals")
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS="+topic, "BLOCKLIST="+rulesURL, "BLOCKLIST_UNAVAILABLE=allow", "BLOCKLIST_REFRESH=500ms", "DELIVERY=background", "LINKTRACKER_TEST_VITALS="+vitals)
	waitFor(t, "the first load", func() bool { return len(s.log("blocklist loaded")) == 1 })

	var targets []string
	for i := range 100 {
		targets = append(targets, link(t, ring, linkcore.Fields{Customer: "acme", Campaign: "soak", Recipient: fmt.Sprint("r", i)},
			fmt.Sprintf("https://host-%d.example.com/offers?id=%d", i%10, i), linkcore.Options{}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	ruled := make(chan ruleChanges)
	go func() { ruled <- changeRules(ctx, t, l, s, rulesURL, targets[3]) }()
	l.load(ctx, rate, func() string { return s.address }, targets...)
	changes := <-ruled
	l.wantAll(t, 100, s)
	l.mu.Lock()
	blocked, repeated := 0, 0
	for _, status := range l.answered {
		if status == http.StatusGone {
			blocked++
		} else if status != http.StatusFound {
			t.Errorf("status %d", status)
		}
	}
	for _, n := range l.ids {
		repeated += n - 1
	}
	l.mu.Unlock()
	if changes.n == 0 || blocked == 0 {
		t.Errorf("%d rules were written and lifted, and %d clicks blocked", changes.n, blocked)
	}
	t.Logf("%d rules written and lifted, each followed after %v at most; %d clicks blocked; %d events delivered more than once", changes.n, changes.slowest.Round(time.Millisecond), blocked, repeated)
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if os.Getenv("SOAK") != "" {
		checkVitals(t, vitals)
	}
}

type ruleChanges struct {
	n       int
	slowest time.Duration
}

// changeRules writes and lifts a rule, as fast as the server follows.
func changeRules(ctx context.Context, t *testing.T, l *ledger, s *server, rulesURL, target string) (c ruleChanges) {
	store, err := endpoint.OpenStore(rulesURL)
	if err != nil {
		t.Error(err)
		return c
	}
	defer store.Close()
	rule, err := blocklist.ParseRule("host:host-3.example.com")
	if err != nil {
		t.Error(err)
		return c
	}
	for ctx.Err() == nil {
		for _, want := range []int{http.StatusGone, http.StatusFound} {
			if want == http.StatusGone {
				err = store.Put(context.WithoutCancel(ctx), rule)
			} else {
				_, err = store.Lift(context.WithoutCancel(ctx), rule)
			}
			if err != nil {
				t.Error(err)
				return c
			}
			written := time.Now()
			for l.click(s.address, target) != want {
				if time.Since(written) > 2*time.Minute {
					t.Errorf("a rule is not followed: want %d", want)
					return c
				}
				time.Sleep(20 * time.Millisecond) // between looks at another process
			}
			c.slowest = max(c.slowest, time.Since(written))
		}
		c.n++
	}
	return c
}

// writeVitals writes what the process takes, once a tenth of a second.
func writeVitals(path string) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	for range time.Tick(100 * time.Millisecond) {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		status, _ := os.ReadFile("/proc/self/status")
		resident := 0
		for line := range strings.Lines(string(status)) {
			fmt.Sscanf(line, "VmRSS: %d kB", &resident)
		}
		files, _ := os.ReadDir("/proc/self/fd")
		fmt.Fprintln(f, runtime.NumGoroutine(), memory.HeapInuse>>10, resident, len(files))
	}
}

// checkVitals compares the medians of the second and of the last quarter.
func checkVitals(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var columns [4][]int
	for line := range strings.Lines(string(data)) {
		var v [4]int
		if n, _ := fmt.Sscan(line, &v[0], &v[1], &v[2], &v[3]); n == len(v) {
			for i := range v {
				columns[i] = append(columns[i], v[i])
			}
		}
	}
	n := len(columns[0])
	if n < 8 {
		t.Fatalf("%d lines of vitals", n)
	}
	median := func(values []int) int {
		values = slices.Sorted(slices.Values(values))
		return values[len(values)/2]
	}
	for i, c := range []struct {
		name  string
		slack int
	}{{"goroutines", 64}, {"heap in use, KiB", 8 << 10}, {"resident, KiB", 12 << 10}, {"open files", 64}} {
		early, late := median(columns[i][n/4:n/2]), median(columns[i][3*n/4:])
		t.Logf("%s: median of the second quarter %d, of the last %d, largest %d", c.name, early, late, slices.Max(columns[i]))
		if late > early+early/5+c.slack {
			t.Errorf("%s grew from %d to %d", c.name, early, late)
		}
	}
}

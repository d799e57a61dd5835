package event

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A log whose output is read by nobody delays whoever logs once, for a second.
func TestLogIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var out output
		lines := NewLineWriter(writerFunc(func(b []byte) (int, error) {
			<-release
			return out.Write(b)
		}))
		log := slog.New(slog.NewJSONHandler(lines, nil))
		start := time.Now()
		for range 100 {
			log.Info("stuck")
		}
		if took := time.Since(start); took != patience {
			t.Errorf("took %v", took)
		}
		if _, err := lines.Write([]byte("x\n")); !errors.Is(err, errStuck) {
			t.Errorf("error %v", err)
		}
		close(release)
		synctest.Wait()
		log.Info("read again")
		if all := strings.Join(out.writes, ""); strings.Count(all, "stuck") != 1 || strings.Count(all, "read again") != 1 {
			t.Errorf("written: %s", all)
		}
	})
}

// All that share a file see that a line of another was cut.
func TestLinesAfterACutOne(t *testing.T) {
	var out strings.Builder
	full := true
	lines := NewLineWriter(writerFunc(func(b []byte) (int, error) {
		if full {
			full = false
			n, _ := out.Write(b[:len(b)/2])
			return n, io.ErrShortWrite
		}
		return out.Write(b)
	}))
	log := slog.New(slog.NewJSONHandler(lines, nil))
	d := NewDelivery(sinkFunc(down), DeliveryOptions{Mode: Background, Spill: lines})
	log.Info("cut")
	d.Deliver(numbered(1))
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.Info("whole")
	all := strings.Split(out.String(), "\n")
	if len(all) != 4 || strings.Contains(all[0], "cut\"}") {
		t.Fatalf("%q", all)
	}
	if spilled, err := ParseSpilled([]byte(all[1])); err != nil || spilled.Event.ID != "1" {
		t.Errorf("%q: %v", all[1], err)
	}
	if NewLineWriter(lines) != lines {
		t.Error("a writer of lines is made anew")
	}
}

package lines

import (
	"errors"
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
		w := NewWriter(writerFunc(func(b []byte) (int, error) {
			<-release
			return out.Write(b)
		}))
		log := slog.New(slog.NewJSONHandler(w, nil))
		start := time.Now()
		for range 100 {
			log.Info("stuck")
		}
		if took := time.Since(start); took != patience {
			t.Errorf("took %v", took)
		}
		if _, err := w.Write([]byte("x\n")); !errors.Is(err, ErrStuck) {
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

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// output is a writer that notes each write.
type output struct{ writes []string }

func (o *output) Write(b []byte) (int, error) {
	o.writes = append(o.writes, string(b))
	return len(b), nil
}

package endpoint

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
)

// The platform kills a process 10 seconds after SIGTERM, and the server may take
// one of them for its metrics. Whatever does not end, a stop does: a server
// whose requests do not, a log and a sink that take nothing.
func TestStopTimeout(t *testing.T) {
	for _, test := range []struct {
		name  string
		stuck bool // nobody reads standard output, where events and the log go
		held  int  // clicks whose responses wait for their events
		busy  int  // requests that never end
	}{
		{"nothing to do", false, 0, 0},
		{"requests that do not end", false, 0, 3},
		{"stuck output", true, 0, 0},
		{"stuck output, held clicks", true, 50, 0},
		{"all of it", true, 50, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				folder := t.TempDir()
				if err := os.WriteFile(filepath.Join(folder, "1"), []byte("RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc="), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := ParseConfig(getenv("LINK_KEYS", folder, "DELIVERY_TIMEOUT", "10m"))
				if err != nil {
					t.Fatal(err)
				}
				output := &pipe{stuck: make(chan struct{})}
				if !test.stuck {
					close(output.stuck)
				}
				e, err := New(t.Context(), c, output)
				if err != nil {
					t.Fatal(err)
				}
				signer, err := e.keys.Signer("https://links.example.com", "1")
				if err != nil {
					t.Fatal(err)
				}
				for range test.held {
					tracked, err := signer.Sign(linkcore.Fields{}, "https://example.com/", linkcore.Options{})
					if err != nil {
						t.Fatal(err)
					}
					r := httptest.NewRequest("GET", "http://links.example.com/", nil)
					r.RequestURI = strings.TrimPrefix(tracked.URL, "https://links.example.com")
					go e.ServeHTTP(httptest.NewRecorder(), r)
				}
				synctest.Wait()
				e.inFlight.Add(int64(test.busy))

				start := time.Now()
				var waited time.Duration
				e.Stop(func(ctx context.Context) error {
					if test.busy == 0 {
						return e.Drain(ctx)
					}
					<-ctx.Done()
					waited = time.Since(start)
					return ctx.Err()
				})
				took := time.Since(start)
				const platform, metrics = 10 * time.Second, time.Second
				if StopTimeout > platform-metrics {
					t.Errorf("StopTimeout is %v", StopTimeout)
				}
				if took > StopTimeout {
					t.Errorf("it took %v, and has %v", took, StopTimeout)
				}
				// Who is answered late is waited for, as long as there is the time.
				if test.busy > 0 && (waited < 5*time.Second || took < waited) {
					t.Errorf("requests had %v of %v", waited, took)
				}
				if test.stuck {
					close(output.stuck)
				}
			})
		})
	}
}

// A pipe takes nothing while it is stuck.
type pipe struct{ stuck chan struct{} }

func (p *pipe) Write(b []byte) (int, error) {
	select {
	case <-p.stuck:
		return len(b), nil
	case <-time.After(time.Hour):
		return 0, io.ErrClosedPipe
	}
}

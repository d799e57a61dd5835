package main

import (
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/linktracker/linkcore/testsize"
)

// Verbs that can receive nothing say so at once and in the end, in their own
// words, and never that there were no events.
func TestNothingReceived(t *testing.T) {
	testsize.Large(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, address := range map[string]string{"refused": "127.0.0.1:1", "silent": silent.Addr().String()} {
		t.Setenv("PUBSUB_EMULATOR_HOST", address)
		var verbs sync.WaitGroup // they wait, each in its own time
		for _, test := range []struct {
			args string
			code int // 0: it is interrupted
			end  string
		}{
			{"watch --from pubsub://p/subscriptions/crm", 0, "linkctl: nothing was received in "},
			{"tail --clicks pubsub://p/t --timeout 3s", exitNo, "linkctl: receive from t of the project p: "},
			{"report pubsub://p/t --for 3s", exitNo, "linkctl: receive from t of the project p: "},
			{"report pubsub://p/subscriptions/crm --wait 1s", exitNo, "linkctl: drain the subscription crm of the project p: "},
			{"replay pubsub://p/subscriptions/crm --clicks file:" + filepath.Join(t.TempDir(), "replayed.jsonl") + " --wait 1s", exitNo, "linkctl: drain the subscription crm of the project p: "},
		} {
			b := newBench(t)
			verbs.Go(func() {
				s := b.start("linkctl: warning: nothing can be received from pubsub://p/", strings.Fields(test.args)...)
				want := test.code
				if want == 0 {
					want = exitInterrupted
					s.cancel()
				}
				code := s.end()
				said := s.stderr.String()
				if code != want || !strings.Contains(said, test.end) || strings.Contains(said, "rpc error") || strings.Contains(said, "0 events") || strings.Contains(said, "could not be removed") ||
					!strings.Contains(said, ": see whether the emulator runs that PUBSUB_EMULATOR_HOST=") {
					t.Errorf("%s %s: exit code %d: %s", name, test.args, code, said)
				}
			})
		}
		verbs.Wait()
	}
}

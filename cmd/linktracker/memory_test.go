package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"

	"example.com/linktracker/linkcore"
)

// slowPublisher is a Pub/Sub that takes its time for each call.
type slowPublisher struct {
	pubsubpb.UnimplementedPublisherServer
	takes time.Duration
	taken atomic.Int64 // messages
}

func (p *slowPublisher) Publish(ctx context.Context, request *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	select {
	case <-time.After(p.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.taken.Add(int64(len(request.Messages)))
	return &pubsubpb.PublishResponse{MessageIds: make([]string, len(request.Messages))}, nil
}

func newSlowPublisher(t *testing.T, takes time.Duration) (p *slowPublisher, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &slowPublisher{takes: takes}
	g := grpc.NewServer()
	pubsubpb.RegisterPublisherServer(g, p)
	go g.Serve(listener)
	t.Cleanup(g.Stop)
	return p, listener.Addr().String()
}

// peak returns the most memory that the process has had resident, in MB.
func (s *server) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.Process.Pid), "status"))
	if err != nil {
		t.Skip("there is no /proc to read the peak of memory from:", err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Skip("/proc does not say the peak of memory")
	}
	kB, _ := strconv.Atoi(string(found[1]))
	return kB * 1024 / 1e6
}

// clickAll clicks a link on so many connections at once, with these further
// header lines, as long as there are more clicks to be made.
func clickAll(t *testing.T, address string, connections int, target, header string, more func() bool) {
	t.Helper()
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", target, header)
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			reader := bufio.NewReader(conn)
			for more() {
				if _, err := io.WriteString(conn, request); err != nil {
					t.Error(err)
					return
				}
				response, err := http.ReadResponse(reader, nil)
				if err != nil || response.StatusCode != http.StatusFound {
					t.Errorf("%v, %v", response, err)
					return
				}
				io.Copy(io.Discard, response.Body)
			}
		})
	}
	wg.Wait()
}

// However large headers are and however slow Pub/Sub is, memory is bounded and
// each event is published or spilled.
func TestLargeHeaders(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes several times the memory")
	}
	keys, ring := keyFolder(t)
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for _, agent := range []int{1_500, 55_000} {
		t.Run(strconv.Itoa(agent), func(t *testing.T) {
			const clicks, most = 16_000, 200
			pubsub, address := newSlowPublisher(t, 4500*time.Millisecond)
			s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=pubsub://p/t", "BLOCKLIST=none", "DELIVERY=background", "PUBSUB_EMULATOR_HOST="+address)
			var begun atomic.Int64
			clickAll(t, s.address, 24, target, "User-Agent: "+strings.Repeat("x", agent)+"\r\n", func() bool { return begun.Add(1) <= clicks })
			waitFor(t, "each event to be safe", func() bool {
				return int(pubsub.taken.Load())+len(s.log("event spilled")) >= clicks
			})
			peak := s.peak(t)
			t.Logf("%d MB at most; %d events were published, %d spilled", peak, pubsub.taken.Load(), len(s.log("event spilled")))
			if peak > most {
				t.Errorf("%d MB, want %d at most", peak, most)
			}
		})
	}
}

// Whoever requests one link from many connections has his own events spilled, and
// not other people's.
func TestOneLoudClient(t *testing.T) {
	testsize.Large(t)
	keys, ring := keyFolder(t)
	_, address := newSlowPublisher(t, 60*time.Millisecond)
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=pubsub://p/t", "BLOCKLIST=none", "DELIVERY=hold", "HOLD_MAX=40",
		"DELIVERY_TIMEOUT=10m", "PUBSUB_EMULATOR_HOST="+address)
	loud := link(t, ring, linkcore.Fields{Recipient: "loud"}, "https://example.com/", linkcore.Options{})
	quiet := link(t, ring, linkcore.Fields{Recipient: "quiet"}, "https://example.com/", linkcore.Options{})
	marks := strings.Repeat(`"`, 2000)
	spilled := func(recipient string) (n int) {
		for _, line := range s.log("event spilled") {
			if event, _ := line["event"].(map[string]any); event["recipient"] == recipient {
				n++
			}
		}
		return n
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		clickAll(t, s.address, 80, loud, "User-Agent: "+marks+"\r\nReferer: "+marks+"\r\nAccept-Language: "+marks+"\r\n", func() bool { return !done.Load() })
	})
	waitFor(t, "more clicks than there are places", func() bool { return spilled("loud") > 40 })
	const clicks = 60
	left := clicks
	clickAll(t, s.address, 1, quiet, "", func() bool { left--; return left >= 0 })
	done.Store(true)
	wg.Wait()
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := spilled("quiet"); n > clicks/10 {
		t.Errorf("%d of %d events of somebody else were spilled, beside %d", n, clicks, spilled("loud"))
	} else {
		t.Logf("%d of %d events of somebody else were spilled, beside %d", n, clicks, spilled("loud"))
	}
}

package watch

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// Events of an ordinary day, from their JSON on: what one core does.
func BenchmarkAdd(b *testing.B) {
	var lines [][]byte
	for e := range newsletter(100_000, 3) {
		lines = append(lines, e.AppendJSON(nil))
	}
	w := watcher(b, DefaultConfig(), full)
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		e := &event.Event{}
		if err := e.UnmarshalJSON(lines[i%len(lines)]); err != nil {
			b.Fatal(err)
		}
		if i >= len(lines) {
			// Again, as other people's on another day.
			e.ID = strconv.Itoa(i)
			e.OccurredAt = e.OccurredAt.AddDate(0, 0, i/len(lines))
		}
		w.Add(e)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// Ten million links of as many recipients in the 200 seconds that 50,000 a second
// take, every third clicked a second time from elsewhere.
func BenchmarkTenMillionLinks(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(GCPercent))
	b.ReportAllocs()
	for range b.N {
		w := watcher(b, DefaultConfig(), full)
		manyLinks(w, 10_000_000)
		reportMemory(b, w)
	}
}

func manyLinks(w *Watcher, links int) {
	e := event.Event{
		Type: event.Click, KeyID: "1", Host: "links.example.com", Customer: "acme", Campaign: "spring26",
		Destination: "https://example.com/", Automation: event.Human,
	}
	for i := range links {
		e.Recipient, e.Link = fmt.Sprintf("r%d", i), fmt.Sprintf("l%d", i)
		e.OccurredAt = sendTime.Add(time.Duration(i) * 20 * time.Microsecond)
		e.Customer, e.Campaign = fmt.Sprintf("customer%d", i%20_000), fmt.Sprintf("campaign%d", i%200_000)
		e.Destination = fmt.Sprintf("https://www.host%d.example/", i%100_000)
		for n := range 1 + i%3/2 {
			e.ID = fmt.Sprintf("019caaaa-0000-7000-%04x-%012x", n, i)
			e.IP = networkAddress(uint32(i*2+n), 1)
			w.Add(&e)
		}
	}
}

func reportMemory(b *testing.B, w *Watcher) {
	b.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(residentPeak())/(1<<20), "peak-RSS-MiB")
	runtime.KeepAlive(w)
}

// residentPeak returns the most memory that the process had, in bytes; 0 where
// the system does not tell.
func residentPeak() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib << 10
		}
	}
	return 0
}

// The same in small: memory does not grow with the number of links.
func TestMemoryIsBounded(t *testing.T) {
	testsize.Large(t)
	defer debug.SetGCPercent(debug.SetGCPercent(GCPercent))
	w := watcher(t, DefaultConfig(), full)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	manyLinks(w, 100_000)
	before := live()
	manyLinks(w, newsletterClicks/2)
	after := live()
	t.Logf("%d MiB, then %d MiB", before>>20, after>>20)
	if after > before+before/4 || after > 130<<20 {
		t.Errorf("%d MiB, then %d MiB", before>>20, after>>20)
	}
	runtime.KeepAlive(w)
}

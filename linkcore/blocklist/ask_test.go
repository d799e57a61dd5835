package blocklist

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/linktracker/linkcore"
)

// slowly returns a collection that can be asked for documents, and whose load takes
// a second a document.
func slowly(t testing.TB, rules ...string) *collection {
	source := newCollection(t, rules...)
	source.byID, source.slow = true, time.Second
	return source
}

// asked returns for how many documents the collection was asked since it was last
// called, in each call.
func (c *collection) asked() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	gets := c.gets
	c.gets = nil
	return gets
}

// TestAsk asks for what the tools write, of every kind that has an id, and not for
// what it knows.
func TestAsk(t *testing.T) {
	kinds := map[string]string{
		"link:acme/l1":                     "block",
		"url:shop.example.com/a/b?c=d&e=f": "block",
		"prefix:shop.example.com/a":        "block",
		"prefix:shop.example.com/":         "block",
		"recipient:acme/r1":                "block",
		"recipient:acme/r1 untracked":      "untracked",
		"recipient:acme/r1 untracked id=" + Rule{Value: "acme/r1"}.ObjectionID(): "untracked",
		"campaign:acme/spring redirect":                                          "redirect",
		"customer:acme":                                                          "block",
		"host:shop.example.com":                                                  "block",
		"host:com":                                                               "block",
		"key:3":                                                                  "block",
		"host:example.com starts=1h":                                             "",
		"host:example.com lifted expires=24h":                                    "",
		"host:example.com expires=-1s":                                           "",
		"host:example.com id=by-hand":                                            "", // has to be loaded
		"ip:192.0.2.0/24":                                                        "", // likewise
		"agent:badbot":                                                           "",
		"host:shop.example.org":                                                  "",
		"link:other/l1":                                                          "",
		"prefix:shop.example.com/a/b?c=d&e=f/g/h":                                "",
	}
	for rule, want := range kinds {
		synctest.Test(t, func(t *testing.T) {
			atNoon()
			source := slowly(t, "host:a.example", "host:b.example", rule)
			c, _ := startCache(t, source, DefaultOptions())
			for i := range 3 {
				r := request()
				r.Now = time.Now()
				start := time.Now()
				d, known := c.Decide(t.Context(), r)
				got := string(d.Action)
				if d.Untracked {
					got += "untracked"
				}
				if got != want || !known || time.Since(start) != 0 {
					t.Errorf("%s: decided %+v, known %v after %v, want %q", rule, d, known, time.Since(start), want)
				}
				if gets := source.asked(); i > 0 && len(gets) > 0 || i == 0 && (len(gets) != 1 || gets[0] < 10) {
					t.Errorf("%s: click %d asked for %v documents", rule, i, gets)
				}
			}
			// Another link of the same mailing to the same host.
			r := request()
			r.Link.Link, r.Link.Recipient = "l2", "r2"
			c.Decide(t.Context(), r)
			if gets := source.asked(); !slices.Equal(gets, []int{3}) {
				t.Errorf("%s: another link asked for %v documents", rule, gets)
			}
			<-c.Ready()
			source.asked()
			c.Decide(t.Context(), request())
			if gets := source.asked(); len(gets) > 0 || c.asks.answers != nil {
				t.Errorf("%s: asked for %v documents though the copy is whole", rule, gets)
			}
		})
	}
}

// TestAskAgain: an answer counts as long as changes take to be followed.
func TestAskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := slowly(t)
		for i := range 100 {
			source.put(t, fmt.Sprintf("host:h%d.example", i))
		}
		c, _ := startCache(t, source, DefaultOptions())
		wantBlocked(t, c, "later.example", false)
		source.put(t, "host:later.example")
		time.Sleep(DefaultOptions().Refresh + 1)
		wantBlocked(t, c, "later.example", true)
		source.put(t, "host:later.example lifted expires=24h")
		wantBlocked(t, c, "later.example", true)
		time.Sleep(DefaultOptions().Refresh + 1)
		wantBlocked(t, c, "later.example", false)
		if s := c.Stats(); !s.Loading {
			t.Errorf("stats %+v: the copy is whole, and the test shows nothing", s)
		}
	})
}

// TestPart: of what has arrived of a load only blocks count, and they do so at once;
// what was asked for is newer.
func TestPart(t *testing.T) {
	for _, denied := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			atNoon()
			source := slowly(t, "host:blocked.example id=1", "ip:192.0.2.0/24 id=2", "host:led.example redirect id=3",
				"customer:acme untracked id=4", "host:over.example expires=1s id=5", "host:sixth.example id=6", "host:seventh.example id=7", "host:eighth.example id=8", "host:last.example id=9")
			source.denied = denied
			c, book := startCache(t, source, DefaultOptions())
			decideAt := func(host string) (Decision, bool) {
				return c.Decide(t.Context(), &Request{Link: &linkcore.Link{Destination: "https://" + host + "/", Fields: linkcore.Fields{Customer: "acme"}},
					Address: netip.MustParseAddr("198.51.100.1"), Now: time.Now()})
			}
			time.Sleep(7*time.Second + 500*time.Millisecond) // six are published
			for host, want := range map[string]Action{"blocked.example": Block, "led.example": "", "over.example": "", "sixth.example": Block, "last.example": ""} {
				d, known := decideAt(host)
				if d.Action != want || d.Untracked || known == denied {
					t.Errorf("denied %v, %s: decided %+v, known %v, want %q", denied, host, d, known, want)
				}
			}
			if d, _ := c.Decide(t.Context(), &Request{Link: &linkcore.Link{}, Address: netip.MustParseAddr("192.0.2.1"), Now: time.Now()}); d.Rule != "ip:192.0.2.0/24" {
				t.Errorf("decided %+v", d)
			}
			if got := book.lines(slog.LevelWarn); (len(got) == 1) != denied {
				t.Errorf("denied %v: logged %q", denied, got)
			}
			<-c.Ready()
			synctest.Wait()
			for host, want := range map[string]Action{"blocked.example": Block, "led.example": Redirect, "last.example": Block, "other.example": ""} {
				if d, known := decideAt(host); d.Action != want || !known || !d.Untracked {
					t.Errorf("%s: decided %+v, known %v, want %q", host, d, known, want)
				}
			}
			if c.partial.Load() != nil {
				t.Error("the part is kept though the copy is whole")
			}
		})
	}
}

// TestAsksAreBounded has many links clicked at once and for long.
func TestAsksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := slowly(t)
		for i := range 100 {
			source.put(t, fmt.Sprintf("host:h%d.example", i))
		}
		source.late = 10 * time.Millisecond
		c, _ := startCache(t, source, DefaultOptions())
		unknown := 0
		const seconds, clicks = 30, 1500
		for range seconds {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for range clicks {
				wg.Go(func() {
					time.Sleep(rand.N(time.Second))
					_, known := decide(t, c, fmt.Sprintf("https://%d.example/", rand.Uint64()))
					mu.Lock()
					defer mu.Unlock()
					if !known {
						unknown++
					}
				})
			}
			wg.Wait()
		}
		asked := 0
		gets := source.asked()
		for _, n := range gets {
			asked += n
			if n > mostAsked {
				t.Errorf("one call asked for %d documents", n)
			}
		}
		if most := mostReads + readsAgain*(seconds+1); asked > most || asked < most*9/10 {
			t.Errorf("asked for %d documents in %d s, want nearly %d", asked, seconds, most)
		}
		if len(gets) > (seconds+1)*100 || unknown == 0 || unknown == seconds*clicks {
			t.Errorf("%d calls, %d of %d clicks unknown", len(gets), unknown, seconds*clicks)
		}
		if n := len(c.asks.answers); n > mostAnswers {
			t.Errorf("%d answers are kept", n)
		}
	})
}

// TestAnswerIsLate: the click does not wait for it, and the next one has it.
func TestAnswerIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := slowly(t, "host:a.example", "host:b.example")
		source.late = 300 * time.Millisecond
		c, _ := startCache(t, source, DefaultOptions())
		start := time.Now()
		if d, known := decide(t, c, "https://b.example/"); d.Action != "" || known || time.Since(start) != DefaultOptions().Wait {
			t.Errorf("decided %+v, known %v after %v", d, known, time.Since(start))
		}
		time.Sleep(100 * time.Millisecond)
		start = time.Now()
		if d, known := decide(t, c, "https://b.example/"); d.Action != Block || !known || time.Since(start) != 0 {
			t.Errorf("decided %+v, known %v after %v", d, known, time.Since(start))
		}
	})
}

// TestInTime: clicks can rely on a source that has answered several calls soon, and no
// longer once one is late, fails or hangs.
func TestInTime(t *testing.T) {
	for _, test := range []struct {
		name          string
		fault         func(*collection)
		inTime, heard bool
	}{
		{"soon", func(c *collection) { c.late = 50 * time.Millisecond }, true, true},
		{"late", func(c *collection) { c.late = 51 * time.Millisecond }, false, true},
		{"refusing", func(c *collection) { c.denied = true }, false, true},
		{"hanging", func(c *collection) { c.late = time.Hour }, false, true},
		{"silent", func(c *collection) { c.hang = true }, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			source := slowly(t)
			for i := range 100 {
				source.put(t, fmt.Sprintf("host:h%d.example", i))
			}
			if test.name == "silent" {
				test.fault(source)
			}
			c, _ := startCache(t, source, DefaultOptions())
			time.Sleep(2500 * time.Millisecond) // a probe comes each second
			if c.Stats().InTime {
				t.Errorf("%s: in time after two calls", test.name)
			}
			time.Sleep(time.Second)
			if s := c.Stats(); s.InTime != (test.name != "silent") || s.Heard != (test.name != "silent") {
				t.Errorf("%s: %+v", test.name, s)
			}
			source.mu.Lock()
			test.fault(source)
			source.mu.Unlock()
			time.Sleep(time.Second)
			if s := c.Stats(); s.InTime != test.inTime || s.Heard != test.heard || !s.Loading {
				t.Errorf("%s: %+v", test.name, s)
			}
		})
	}
}

// TestNobodyWaitsForSilence: a source that hangs is waited for during the first
// seconds, by each request as long as it may be, and one that refuses by none.
func TestNobodyWaitsForSilence(t *testing.T) {
	for _, fault := range []string{"hangs", "refuses", "refuses to be asked"} {
		synctest.Test(t, func(t *testing.T) {
			source := slowly(t, "host:a.example", "host:b.example", "host:c.example")
			switch fault {
			case "hangs":
				source.hang = true
			case "refuses":
				source.err = fmt.Errorf("connection refused")
			default:
				source.denied = true
			}
			c, book := startCache(t, source, DefaultOptions())
			waited := 0
			for range 3000 { // 30 s and as long as they wait
				start := time.Now()
				_, known := decide(t, c, "https://x.example/")
				if known && fault == "hangs" {
					t.Error("what hangs is known")
				}
				if d := time.Since(start); d > DefaultOptions().Wait {
					t.Fatalf("%s: a request waited %v", fault, d)
				} else if d > 0 {
					waited++
				}
				time.Sleep(10 * time.Millisecond)
			}
			want := 0
			switch fault {
			case "hangs":
				want = int(silence/(DefaultOptions().Wait+10*time.Millisecond)) + 1
			case "refuses to be asked":
				want = 1 // for the load, at its beginning
			}
			if waited != want {
				t.Errorf("%s: %d requests waited, want %d", fault, waited, want)
			}
			if got := book.lines(slog.LevelWarn); len(got) != 1 || !strings.Contains(got[0], "cannot be asked") {
				t.Errorf("%s: logged %q", fault, got)
			}
			// It works again, which is found out without anybody waiting.
			source.mu.Lock()
			source.hang, source.err, source.denied = false, nil, false
			source.mu.Unlock()
			time.Sleep(2 * time.Minute)
			wantBlocked(t, c, "a.example", true)
		})
	}
}

// TestWaitIsTheInstances: without documents by id requests wait for the first load,
// all until the same moment, and not once it has passed.
func TestWaitIsTheInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newCollection(t)
		for i := range 100 {
			source.put(t, fmt.Sprintf("host:h%d.example", i))
		}
		source.slow = 100 * time.Millisecond
		c, _ := startCache(t, source, DefaultOptions())
		var wg sync.WaitGroup
		begin := time.Now()
		for at := time.Duration(0); at < time.Second; at += 50 * time.Millisecond {
			wg.Go(func() {
				time.Sleep(at)
				start := time.Now()
				_, known := decide(t, c, "https://x.example/")
				if want := max(DefaultOptions().Wait-start.Sub(begin), 0); known || time.Since(start) != want {
					t.Errorf("after %v a request waited %v, want %v; known %v", at, time.Since(start), want, known)
				}
			})
		}
		wg.Wait()
	})
}

// TestLoadsConverge: a load goes on where it broke off, at once as long as it gets
// on, and is given more time each time that it heard nothing.
func TestLoadsConverge(t *testing.T) {
	t.Run("broken off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			atNoon()
			source := slowly(t)
			for i := range 25 {
				source.put(t, fmt.Sprintf("host:h%d.example id=%02d", i, i))
			}
			source.set("99", map[string]any{"kind": "odd"})
			source.cut = 10
			c, book := startCache(t, source, DefaultOptions())
			time.Sleep(15 * time.Second)
			source.put(t, "host:new.example id=03a") // behind where the load is
			<-c.Ready()
			if d := time.Since(noon); d != 28*time.Second {
				t.Errorf("loaded in %v, want a second a document and one after each break", d)
			}
			wantLog(t, source, "all 26, all 16, all 6")
			for _, host := range []string{"h0.example", "h10.example", "h24.example"} {
				wantBlocked(t, c, host, true)
			}
			time.Sleep(30 * time.Second) // a refresh
			wantBlocked(t, c, "new.example", true)
			if s := c.Stats(); s.Documents != 27 || s.Skipped != 1 || s.RefreshFailures != 2 {
				t.Errorf("stats %+v", s)
			}
			if got := book.lines(slog.LevelError); len(got) != 1 || !strings.Contains(got[0], "cannot be read whole") {
				t.Errorf("logged %q", got)
			}
			if got := book.lines(slog.LevelWarn); len(got) != 1 {
				t.Errorf("logged %q", got)
			}
		})
	})
	t.Run("silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source := newCollection(t, "host:a.example", "host:b.example")
			source.slow = 65 * time.Second
			c, book := startCache(t, source, DefaultOptions())
			<-c.Ready()
			// 10, 20 and 40 s were too short, 80 are not.
			if got := c.Stats().RefreshFailures; got != 3 {
				t.Errorf("%d failures, want 3", got)
			}
			wantBlocked(t, c, "b.example", true)
			if got := book.lines(slog.LevelError); len(got) != 2 { // at the first, and a minute later
				t.Errorf("logged %q", got)
			}
		})
	})
	t.Run("changed meanwhile", func(t *testing.T) {
		// A source that cannot go on begins anew, and what has gone by then is gone.
		synctest.Test(t, func(t *testing.T) {
			source := newCollection(t, "host:a.example id=1", "host:b.example id=2", "host:c.example id=3")
			source.cut = 2
			c, _ := startCache(t, source, DefaultOptions())
			source.remove("1")
			<-c.Ready()
			wantBlocked(t, c, "a.example", false)
			wantBlocked(t, c, "c.example", true)
		})
	})
}

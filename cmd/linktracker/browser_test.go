package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cdptarget "github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// What recipients see and do, in Chromium with the endpoint as a process.
func TestBrowser(t *testing.T) {
	testsize.Large(t)
	browser := openBrowser(t)
	// Alone, since it measures.
	t.Run("Held", func(t *testing.T) {
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(protocol, func(t *testing.T) {
				t.Parallel()
				testHeld(t, browser, protocol)
			})
		}
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T, context.Context)
	}{
		{"Back", testBack}, {"Twice", testTwice}, {"Prefetch", testPrefetch},
		{"Pixel", testPixel}, {"Keyboard", testKeyboard}, {"Pages", testPages},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, browser)
		})
	}
}

// openBrowser starts Chromium, or skips the test. It knows no hosts but those
// that end in .example, which are all on this machine.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" && os.Getenv("REQUIRE_BROWSER") == "1" {
		t.Fatal("REQUIRE_BROWSER=1, but there is no chromium in the PATH")
	} else if program == "" {
		t.Skip("needs Chromium: install the package chromium; REQUIRE_BROWSER=1 makes its absence a failure")
	}
	server := httptest.NewTLSServer(nil)
	key := sha256.Sum256(server.Certificate().RawSubjectPublicKeyInfo)
	server.Close()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.UserDataDir(filepath.Join(t.TempDir(), "browser")),
		chromedp.NoSandbox, chromedp.DisableGPU,
		// Trusted, since Chromium caches nothing where it overlooks an error.
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
		// A headless browser names itself, and would be taken for a scanner.
		chromedp.UserAgent("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		// IgnoreDuplicateNavs is off because other browsers have no such thing:
		// see testTwice.
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,IgnoreDuplicateNavs,OptimizationHints,MediaRouter"),
		chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1, MAP * ~NOTFOUND"),
	)
	ctx, cancelAll := context.WithTimeout(context.Background(), 2*time.Minute)
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
		cancelTab()
		cancel()
		cancelAll()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	return ctx
}

// internet is what the browser finds under names that end in .example: links
// at links.example, the mail that they are in at mail.example, and where they
// lead at all others.
type internet struct {
	*server
	signer *linkcore.Signer
	origin func(host string) string // scheme, host and port
	mail   func() string            // the HTML that mail.example shows
	slow   chan struct{}            // paths that begin with /slow are answered once it is closed

	mu     sync.Mutex
	visits []visit // to destinations
}

// A visit is a request for a destination.
type visit struct {
	at       time.Time
	path     string
	referrer string
}

// newInternet starts the endpoint and the rest. The protocol is that of the
// browser and the links' host: HTTP/1.1 is spoken with the process itself,
// HTTP/2 over TLS with a front, as on Cloud Run, whose client breaks a request
// off when the browser does.
func newInternet(t *testing.T, protocol string, environment ...string) *internet {
	t.Helper()
	n := &internet{slow: make(chan struct{})}
	keys, ring := keyFolder(t)
	proxies := "TRUSTED_PROXIES=0"
	if protocol == "HTTP/2" {
		proxies = "TRUSTED_PROXIES=1"
	}
	n.server = start(t, nil, append([]string{"LINK_KEYS=" + keys, "CLICKS=file:clicks", "BLOCKLIST=none", proxies}, environment...)...)

	front := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", n.address, r.In.Host
		r.SetXForwarded()
	}}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, _ := net.SplitHostPort(r.Host)
		switch {
		case host == "links.example":
			front.ServeHTTP(w, r)
		case r.URL.Path == "/favicon.ico":
			http.NotFound(w, r)
		case host == "mail.example":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "<!doctype html><title>mail</title>"+n.mail())
		default:
			n.arrive(r)
			if strings.HasPrefix(r.URL.Path, "/slow") {
				select {
				case <-n.slow:
				case <-r.Context().Done():
				}
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "<!doctype html><title>destination</title><p>You have arrived at "+html.EscapeString(host+":"+port))
		}
	}))
	web.Config.ErrorLog = log.New(io.Discard, "", 0) // the browser breaks connections off
	if protocol == "HTTP/2" {
		web.EnableHTTP2 = true
		web.StartTLS()
	} else {
		web.Start()
	}
	t.Cleanup(web.Close)
	_, webPort, _ := net.SplitHostPort(web.Listener.Addr().String())
	_, linksPort, _ := net.SplitHostPort(n.address)
	n.origin = func(host string) string {
		switch {
		case protocol == "HTTP/2":
			return "https://" + host + ":" + webPort
		case host == "links.example":
			return "http://" + host + ":" + linksPort
		}
		return "http://" + host + ":" + webPort
	}
	var err error
	if n.signer, err = ring.Signer(n.origin("links.example"), ""); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *internet) arrive(r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.visits = append(n.visits, visit{time.Now(), r.URL.Path, r.Referer()})
}

// visited returns the visits to a path, so far.
func (n *internet) visited(path string) (found []visit) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range n.visits {
		if v.path == path {
			found = append(found, v)
		}
	}
	return found
}

// link returns a link that was sent an hour ago to a path at shop.example.
func (n *internet) link(t *testing.T, path string) string {
	t.Helper()
	return n.sign(t, n.origin("shop.example")+path, linkcore.Options{})
}

func (n *internet) sign(t *testing.T, destination string, o linkcore.Options) string {
	t.Helper()
	tracked, err := n.signer.Sign(linkcore.Fields{Customer: "acme", Recipient: "r1", Sent: time.Now().Add(-time.Hour)}, destination, o)
	if err != nil {
		t.Fatal(err)
	}
	return tracked.URL
}

// show has mail.example show HTML.
func (n *internet) show(html string) { n.mail = func() string { return html } }

// noted is what the tests ask of an event.
type noted struct {
	ID         string   `json:"event_id"`
	Type       string   `json:"event_type"`
	Automation string   `json:"automation"`
	Signals    []string `json:"signals"`
	Referrer   string   `json:"referer"`
	Target     string   `json:"destination"`
}

// end stops the endpoint and returns all its events, after a look at what holds
// for every test: ids are told apart, and no destination was told the link.
func (n *internet) end(t *testing.T) (events []noted) {
	t.Helper()
	if code, _ := n.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile(filepath.Join(n.folder, "clicks"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		var event noted
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if ids[event.ID] {
			t.Errorf("two events have the id %s", event.ID)
		}
		ids[event.ID] = true
		events = append(events, event)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range n.visits {
		if v.referrer != "" && !strings.HasPrefix(v.referrer, n.origin("shop.example")) {
			t.Errorf("%s was told that the visitor came from %q", v.path, v.referrer)
		}
	}
	return events
}

// wantEvents compares the events' types and classes.
func wantEvents(t *testing.T, events []noted, want ...string) {
	t.Helper()
	var got []string
	for _, e := range events {
		got = append(got, e.Type+" "+e.Automation)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the events are %q, want %q", got, want)
	}
}

// tab is a tab of a window of its own, which shares nothing with others.
type tab struct {
	*testing.T
	ctx context.Context
}

func newTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	// The tab lives as long as the context of the first call.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	b := &tab{t, ctx}
	b.do(chromedp.EmulateViewport(1280, 800))
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

func call[P, R any](b *tab, command cdp.Command[P, R], parameters P) R {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	result, err := chromedp.Call(ctx, command, parameters)
	if err != nil {
		b.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

func evaluate[T any](b *tab, script string) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	result, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.Fatalf("%.60s: %v", script, err)
	}
	return result
}

func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
}

// click clicks with the mouse, and does not wait for what comes of it.
func (b *tab) click(selector string) {
	b.Helper()
	b.do(b.clickOn(selector))
}

// clickOn finds out where to click, which cannot be asked while the tab is on
// its way to another page.
func (b *tab) clickOn(selector string) chromedp.Action[chromedp.Void] {
	b.Helper()
	at := evaluate[[]float64](b, fmt.Sprintf(`(e => {
		e.scrollIntoView();
		const box = e.getBoundingClientRect();
		return [box.x + box.width / 2, box.y + box.height / 2];
	})(document.querySelector(%q))`, selector))
	return chromedp.MouseClickXY(at[0], at[1])
}

// press presses a key.
func (b *tab) press(key string) {
	b.Helper()
	b.do(chromedp.KeyEvent(key))
}

// waitAt waits until the tab shows a whole page under a URL.
func (b *tab) waitAt(prefix string) {
	b.Helper()
	var at string
	waitFor(b.T, prefix, func() bool {
		state, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.readyState + " " + location.href`))
		at = state
		return err == nil && strings.HasPrefix(at, "complete "+prefix)
	})
}

// history returns the URLs that the tab's back and forward buttons know.
func (b *tab) history() (urls []string, current int) {
	b.Helper()
	history := call(b, page.GetNavigationHistory, cdp.Empty{})
	for _, entry := range history.Entries {
		urls = append(urls, entry.URL)
	}
	return urls, int(history.CurrentIndex)
}

// travel presses the back button, or the forward button.
func (b *tab) travel(steps int64) {
	b.Helper()
	history := call(b, page.GetNavigationHistory, cdp.Empty{})
	// NavigateBack waits for a load, and what the browser has kept alive is not
	// loaded again.
	call(b, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex+steps].ID})
}

// With a Pub/Sub that hangs every response is held, and the browser is at the
// destination long before its response ends.
//
// Chromium 156 follows a redirect as soon as it has its headers. What it does
// with the response that has not ended depends on the protocol. In HTTP/2 it
// resets the stream at once. In HTTP/1.1 it reads on, for 5 s at most, in the
// hope to use the connection again, and closes it then. Meanwhile the connection
// counts among the six that it opens to a host: the seventh click within that
// time waits for the first of the held responses to end, or for those 5 s. This
// is seen only where a browser speaks HTTP/1.1 to the endpoint, Pub/Sub hangs,
// and somebody clicks seven times in 5 s; fronts speak HTTP/2.
func testHeld(t *testing.T, browser context.Context, protocol string) {
	const clicks, connections, hold = 8, 6, 3 * time.Second
	n := newInternet(t, protocol, "CLICKS=pubsub://p/t", "DELIVERY_TIMEOUT="+hold.String(), "PUBSUB_EMULATOR_HOST="+hanging(t))
	var mail strings.Builder
	for i := range clicks {
		fmt.Fprintf(&mail, `<p><a id="a%d" target="_blank" href="%s">link %[1]d</a>`, i, html.EscapeString(n.link(t, fmt.Sprintf("/%d", i))))
	}
	n.show(mail.String())
	b := newTab(t, browser)
	b.open(n.origin("mail.example"))

	var click []chromedp.Action[chromedp.Void]
	for i := range clicks {
		click = append(click, b.clickOn(fmt.Sprintf("#a%d", i)))
	}
	clicked := make([]time.Time, clicks)
	for i := range clicks {
		clicked[i] = time.Now()
		b.do(click[i])
	}
	waitFor(t, "all responses to end", func() bool { return len(n.spilledIDs(t)) == clicks })
	if code, _ := n.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	arrived, ended := make([]time.Time, clicks), make([]time.Time, clicks)
	for i := range clicks {
		path := fmt.Sprintf("/%d", i)
		waitFor(t, "the arrival at "+path, func() bool { return len(n.visited(path)) > 0 })
		arrived[i] = n.visited(path)[0].at
		for _, line := range n.log("event spilled") {
			event, _ := line["event"].(map[string]any)
			written, _ := line["time"].(string)
			if strings.HasSuffix(fmt.Sprint(event["destination"]), path) {
				var err error
				if ended[i], err = time.Parse(time.RFC3339Nano, written); err != nil {
					t.Fatal(err)
				}
			}
		}
		if ended[i].IsZero() {
			t.Fatalf("click %d was not spilled", i)
		}
	}
	places := clicks
	if protocol == "HTTP/1.1" {
		places = connections
	}
	var took, held []time.Duration // held: those of clicks that were made while the first was held
	for i := range clicks {
		took = append(took, arrived[i].Sub(clicked[i]).Round(time.Millisecond))
		if clicked[i].After(ended[0]) || i >= places {
			continue
		}
		held = append(held, took[i])
		if !arrived[i].Before(ended[i]) {
			t.Errorf("click %d arrived %v after its response had ended", i, arrived[i].Sub(ended[i]))
		}
	}
	t.Logf("%s, held for %v: clicks arrived after %v, the first %d while all their responses were held", protocol, hold, took, len(held))
	if len(held) == 0 {
		t.Error("no click was made while the first was held")
	}
	if !arrived[0].Before(ended[0]) {
		t.Errorf("the first click arrived %v after its response had ended", arrived[0].Sub(ended[0]))
	}
}

// The back button leads from the destination to the mail: the link is in no
// history, and going back and forth makes no event.
func testBack(t *testing.T, browser context.Context) {
	n := newInternet(t, "HTTP/2")
	mail, destination := n.origin("mail.example")+"/", n.origin("shop.example")+"/there"
	tracked := html.EscapeString(n.link(t, "/there"))
	// The mail tells everybody its address; the link must not.
	n.show(`<p><a id="here" referrerpolicy="unsafe-url" href="` + tracked + `">here</a> <a id="new" rel="opener" target="_blank" href="` + tracked + `">in a new tab</a>`)
	b := newTab(t, browser)
	b.open(mail)
	before, _ := b.history()

	b.click("#here")
	b.waitAt(destination)
	if referrer := evaluate[string](b, "document.referrer"); referrer != "" {
		t.Errorf("document.referrer is %q", referrer)
	}
	after, current := b.history()
	if want := append(slices.Clone(before), destination); !slices.Equal(after, want) || current != len(after)-1 {
		t.Errorf("the history is %q, want %q", after, want)
	}
	if length := evaluate[int](b, "history.length"); length != len(after) {
		t.Errorf("history.length is %d, want %d", length, len(after))
	}
	b.travel(-1)
	b.waitAt(mail)
	b.travel(1)
	b.waitAt(destination)
	b.do(chromedp.Reload())
	b.waitAt(destination)
	b.travel(-1)
	b.waitAt(mail)

	opened := chromedp.WaitNewTarget(b.ctx, isPage)
	b.click("#new")
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(<-opened))
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	other := &tab{t, ctx}
	other.waitAt(destination)
	if urls, _ := other.history(); !slices.Equal(urls, []string{destination}) {
		t.Errorf("the history of the new tab is %q", urls)
	}
	if referrer := evaluate[string](other, "document.referrer"); referrer != "" {
		t.Errorf("document.referrer in the new tab is %q", referrer)
	}
	b.waitAt(mail)

	events := n.end(t)
	wantEvents(t, events, "click human", "click human")
	if len(events) == 2 && events[0].Referrer != mail {
		t.Errorf("the mail told its address, and the event's referer is %q", events[0].Referrer)
	}
}

// Two clicks are two events, whatever the browser keeps: two on a link whose
// destination takes its time, a click again after the back button, two quick
// ones into new tabs. Responses end at once here, for a browser keeps no part of
// one that it has broken off.
//
// Chromium itself drops a click that repeats, within 3 s, the navigation that is
// still under way in the same tab (its feature IgnoreDuplicateNavs, measured with
// version 156: clicks 0.1 s to 2.5 s apart were one request, 4 s apart two).
// There the double click is one event, since there is one request. Here the
// feature is off, as in browsers that have none.
func testTwice(t *testing.T, browser context.Context) {
	n := newInternet(t, "HTTP/2", "DELIVERY=background")
	mail := n.origin("mail.example") + "/"
	n.show(`<p><a id="slow" href="` + html.EscapeString(n.link(t, "/slow")) + `">slow</a>
		<p><a id="again" href="` + html.EscapeString(n.link(t, "/again")) + `">again</a>
		<p><a id="new" target="_blank" href="` + html.EscapeString(n.link(t, "/new")) + `">new tab</a>`)
	b := newTab(t, browser)
	b.open(mail)

	// The second click comes when the first one has left: Chromium gives up what
	// has not.
	click := b.clickOn("#slow")
	for i := range 2 {
		b.do(click)
		waitFor(t, "the destination to be asked", func() bool { return len(n.visited("/slow")) == i+1 })
	}
	close(n.slow)
	b.waitAt(n.origin("shop.example") + "/slow")
	b.travel(-1)
	b.waitAt(mail)

	for range 2 {
		b.click("#again")
		b.waitAt(n.origin("shop.example") + "/again")
		b.travel(-1)
		b.waitAt(mail)
	}

	b.click("#new")
	b.click("#new")
	waitFor(t, "two new tabs", func() bool { return len(n.visited("/new")) == 2 })
	wantEvents(t, n.end(t), slices.Repeat([]string{"click human"}, 6)...)
}

// clicks returns how many events the clicks file holds so far.
func (n *internet) clicks(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.folder, "clicks"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(content), "\n")
}

func isPage(i *cdptarget.Info) bool { return i.Type == "page" }

// A page that has the browser fetch links before anybody clicks on them makes
// automated events; the clicks themselves are human ones, and ask again: Chromium
// 156 follows no redirect when it prefetches by speculation rules.
func testPrefetch(t *testing.T, browser context.Context) {
	n := newInternet(t, "HTTP/2", "DELIVERY=background")
	mail := n.origin("mail.example") + "/"
	linked, ruled := n.link(t, "/linked"), n.link(t, "/ruled")
	rules, err := json.Marshal(map[string]any{"prefetch": []any{map[string]any{"source": "list", "urls": []string{ruled}, "eagerness": "immediate"}}})
	if err != nil {
		t.Fatal(err)
	}
	n.show(`<link rel="prefetch" href="` + html.EscapeString(linked) + `">
		<script type="speculationrules">` + string(rules) + `</script>
		<p><a id="linked" href="` + html.EscapeString(linked) + `">linked</a>
		<p><a id="ruled" href="` + html.EscapeString(ruled) + `">ruled</a>`)
	b := newTab(t, browser)
	b.open(mail)
	waitFor(t, "both to be fetched", func() bool { return n.clicks(t) == 2 })
	for _, id := range []string{"linked", "ruled"} {
		b.click("#" + id)
		b.waitAt(n.origin("shop.example") + "/" + id)
		b.travel(-1)
		b.waitAt(mail)
	}
	events := n.end(t)
	wantEvents(t, events, "click automated", "click automated", "click human", "click human")
	for i, e := range events {
		if want := []string{"prefetch"}; i < 2 && !slices.Equal(e.Signals, want) {
			t.Errorf("the signals of %s are %q, want %q", e.Target, e.Signals, want)
		}
	}
}

// The pixel is a picture of one point, and each showing of the mail an event.
func testPixel(t *testing.T, browser context.Context) {
	n := newInternet(t, "HTTP/2")
	n.show(`<p>Hello.</p><img id="pixel" alt="" src="` + html.EscapeString(n.sign(t, "", linkcore.Options{Kind: linkcore.Open})) + `">`)
	b := newTab(t, browser)
	for shown := range 2 {
		b.open(n.origin("mail.example"))
		size := evaluate[[]int](b, `(e => [e.complete, e.naturalWidth, e.naturalHeight].map(Number))(document.querySelector("#pixel"))`)
		if !slices.Equal(size, []int{1, 1, 1}) {
			t.Errorf("complete, width and height are %v", size)
		}
		waitFor(t, "the event", func() bool { return n.clicks(t) > shown })
	}
	wantEvents(t, n.end(t), "open human", "open human")
}

// One can unsubscribe and object to tracking by keyboard alone, without scripts, and
// at a zoom of 200 %, and hears what happened.
func testKeyboard(t *testing.T, browser context.Context) {
	n := newInternet(t, "HTTP/2")
	unsubscribe := n.sign(t, "", linkcore.Options{Kind: linkcore.Unsubscribe})
	b := newTab(t, browser)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for i, key := range []string{kb.Enter, " "} {
		width := int64(1280)
		if i == 1 {
			width = 640 // what zoom does to a window of 1280×800
			call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 400, DeviceScaleFactor: 2})
		}
		b.open(unsubscribe)
		b.wantHeard("Do you want to unsubscribe?", "Unsubscribe")
		b.press(kb.Tab)
		focus := evaluate[struct {
			Tag, Style     string
			Visible        bool
			Width, Offset  string
			Contrast       float64
			Top, Bottom, H float64
		}](b, `(() => {`+colours+`
			const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
			return {
				tag: e.localName, visible: e.matches(":focus-visible"), style: style.outlineStyle, width: style.outlineWidth, offset: style.outlineOffset,
				contrast: contrast(rgba(style.outlineColor), ground(e.parentElement)), top: box.top, bottom: box.bottom, h: innerHeight,
			};
		})()`)
		if focus.Tag != "button" || !focus.Visible {
			t.Fatalf("after Tab the focus is on %+v", focus)
		}
		if width, _ := strconv.ParseFloat(strings.TrimSuffix(focus.Width, "px"), 64); focus.Style == "none" || width < 2 || focus.Contrast < 3 {
			t.Errorf("the focus is not seen well: %+v", focus)
		}
		if focus.Top < 0 || focus.Bottom > focus.H {
			t.Errorf("the button is not in sight: %+v", focus)
		}
		b.wantFits("unsubscribe", width)
		b.photograph(fmt.Sprintf("focus-%d", i))
		b.press(key)
		waitFor(t, "the event", func() bool { return n.clicks(t) == i+1 })
		b.waitAt(unsubscribe)
		b.wantHeard("You have unsubscribed", "")
		b.wantFits("unsubscribed", width)
		// Nothing was fetched into the history: back is the question again.
		b.travel(-1)
		b.waitAt(unsubscribe)
	}
	privacy := n.sign(t, "", linkcore.Options{Kind: linkcore.Privacy})
	b.open(privacy)
	b.wantHeard("Tracking in these emails", "Stop tracking me")
	b.press(kb.Tab)
	b.press(kb.Enter)
	waitFor(t, "the objection", func() bool { return n.clicks(t) == 3 })
	b.waitAt(privacy)
	b.wantHeard("Tracking has been stopped", "Allow tracking again")
	wantEvents(t, n.end(t), "unsubscribe human", "unsubscribe human", "objection human")
}

// wantHeard looks at what a screen reader gets to know: the language, the title,
// which is said first when a page has been loaded, one heading in the main
// landmark that says the same, and what can be pressed.
func (b *tab) wantHeard(title, button string) {
	b.Helper()
	if language := evaluate[string](b, "document.documentElement.lang"); language != "en" {
		b.Errorf("%s: the language is %q", title, language)
	}
	heard := map[string][]string{}
	for _, node := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		var role, name string
		json.Unmarshal(node.Role.Value, &role)
		if node.Name != nil {
			json.Unmarshal(node.Name.Value, &name)
		}
		heard[role] = append(heard[role], name)
	}
	want := map[string][]string{"RootWebArea": {title}, "heading": {title}, "main": {""}, "button": {button}}
	if button == "" {
		delete(want, "button")
	}
	for role := range want {
		if !slices.Equal(heard[role], want[role]) {
			b.Errorf("%s: a screen reader finds %s %q, want %q", title, role, heard[role], want[role])
		}
	}
}

// wantFits looks whether the page is no wider than the window. (On a phone
// innerWidth grows with what is too wide.)
func (b *tab) wantFits(what string, width int64) {
	b.Helper()
	if wide := evaluate[int64](b, "document.documentElement.scrollWidth"); wide > width {
		b.Errorf("%s: %d wide in a window of %d", what, wide, width)
	}
}

// colours are functions that compute the contrast of WCAG 2.2.
const colours = `
	const rgba = s => { const n = s.match(/[\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
	const over = (a, b) => a.map((v, i) => i == 3 ? 1 : v * a[3] + b[i] * (1 - a[3]));
	const ground = e => {
		const own = rgba(getComputedStyle(e).backgroundColor);
		return own[3] == 1 ? own : over(own, e.parentElement ? ground(e.parentElement) : [255, 255, 255, 1]);
	};
	const luminance = c => {
		const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const contrast = (a, b) => {
		const [x, y] = [luminance(over(a, b)), luminance(b)];
		return (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
	};`

// photograph writes a picture into the folder SCREENSHOTS, for people to look at.
func (b *tab) photograph(name string) {
	b.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	shot := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	if err := os.WriteFile(filepath.Join(folder, name+".png"), shot.Data, 0o600); err != nil {
		b.Fatal(err)
	}
}

// Every page, as it is answered, can be read: in dark and light, on the smallest
// phones and on desktops, with text of double size.
func testPages(t *testing.T, browser context.Context) {
	rules := filepath.Join(t.TempDir(), "rules.jsonl")
	if err := os.WriteFile(rules, []byte(`{"kind":"host","value":"blocked.example"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newInternet(t, "HTTP/2", "BLOCKLIST=file:"+rules)
	unavailable := newInternet(t, "HTTP/2", "BLOCKLIST=firestore://p/(default)/blocklist", "BLOCKLIST_UNAVAILABLE=deny",
		"FIRESTORE_EMULATOR_HOST="+hanging(t), "BLOCKLIST_WAIT=0s", "BLOCKLIST_START_WAIT=0s", "DELIVERY_TIMEOUT=500ms")
	waitFor(t, "the rules", func() bool { return len(n.log("blocklist loaded")) == 1 })
	window := newTab(t, browser)
	click, unsubscribe, privacy := n.link(t, "/"), n.sign(t, "", linkcore.Options{Kind: linkcore.Unsubscribe}), n.sign(t, "", linkcore.Options{Kind: linkcore.Privacy})
	token := func(url string) string { return strings.TrimPrefix(url, n.origin("links.example")+"/") }
	unsubscribe, privacy = unsubscribe+"?also="+token(privacy), privacy+"?also="+token(unsubscribe)
	for i, p := range []struct {
		name, method, url, fields string // fields of a form, which makes it a POST
		status                    int64
		buttons                   int
	}{
		{"unsubscribe", "", unsubscribe, "", 200, 1},
		{"unsubscribed", "POST", unsubscribe, `<input name="List-Unsubscribe" value="One-Click">`, 200, 0},
		{"not unsubscribed", "POST", unsubscribe, `<input name="other">`, 400, 1},
		{"tracked", "", privacy, "", 200, 1},
		{"stopped", "POST", privacy, `<input name="Tracking" value="Stop">`, 200, 1},
		{"untracked", "", privacy, "", 200, 1},
		{"not stopped", "POST", privacy, `<input name="other">`, 400, 1},
		{"allowed", "POST", privacy, `<input name="Tracking" value="Allow">`, 200, 1},
		{"blocked", "", n.sign(t, "https://blocked.example/", linkcore.Options{}), "", 410, 0},
		{"not found", "", n.origin("links.example") + "/nothing", "", 404, 0},
		{"method", "POST", click, "", 405, 0},
		{"unavailable", "", unavailable.link(t, "/"), "", 503, 0},
	} {
		t.Run(p.name, func(t *testing.T) {
			b := &tab{t, window.ctx}
			language := []string{"de", "pl", "fr"}[i%3]
			call(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language}})
			var response *network.Response
			var err error
			if p.method == "" {
				response, err = chromedp.Run(b.ctx, chromedp.NavigateResponse(p.url))
			} else {
				n.show(`<form method="post" action="` + html.EscapeString(p.url) + `">` + p.fields + `<button>go</button></form>`)
				b.open(n.origin("mail.example"))
				response, err = chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS("button")))
			}
			if err != nil {
				t.Fatal(err)
			}
			if response.Status != p.status {
				t.Fatalf("status %d, want %d", response.Status, p.status)
			}
			if got := evaluate[string](b, "document.documentElement.lang"); got != language {
				t.Errorf("the language is %q, want %q", got, language)
			}
			b.look(p.name, p.buttons)
			if cookies := call(b, network.GetCookies, network.GetCookiesParams{}).Cookies; len(cookies) > 0 {
				t.Errorf("cookies: %v", cookies)
			}
		})
	}
	n.end(t)
}

// look looks at a page in every way that people do.
func (b *tab) look(name string, buttons int) {
	b.Helper()
	script := `(() => {` + colours + `
		const elements = Array.from(document.body.querySelectorAll("*"));
		const texts = elements.filter(e => Array.from(e.childNodes).some(n => n.nodeType == 3 && n.data.trim()));
		const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; };
		return {
			texts: texts.map(e => ({ text: e.textContent.trim(), contrast: contrast(rgba(getComputedStyle(e).color), ground(e)), box: box(e), size: parseFloat(getComputedStyle(e).fontSize) })),
			buttons: elements.filter(e => e.localName == "button").map(e => ({ text: e.textContent, contrast: contrast(ground(e), ground(e.parentElement)), box: box(e) })),
			ground: luminance(ground(document.querySelector("main"))),
				moving: document.getAnimations().length + elements.filter(e => !/^0s(, 0s)*$/.test(getComputedStyle(e).transitionDuration)).length,
		};
	})()`
	type element struct {
		Text           string
		Contrast, Size float64
		Box            [4]float64 // left, right, width, height
	}
	type sight struct {
		Texts, Buttons []element
		Ground         float64
		Moving         int
	}
	lowest := 21.0
	for _, scheme := range []string{"light", "dark"} {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		for _, screen := range []struct {
			name          string
			width, height int64
			mobile        bool
			text          int64 // its size in pixels
		}{
			{"phone", 390, 844, true, 16},
			{"desktop", 1280, 800, false, 16},
			{"narrow", 320, 568, true, 16},
			{"narrow, double text", 320, 568, true, 32},
		} {
			call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: screen.width, Height: screen.height, DeviceScaleFactor: 1, Mobile: screen.mobile})
			call(b, page.SetFontSizes, page.SetFontSizesParams{FontSizes: &page.FontSizes{Standard: screen.text}})
			where := fmt.Sprintf("%s, %s, %s", name, scheme, screen.name)
			b.photograph(strings.ReplaceAll(strings.ReplaceAll(where, ", ", "-"), " ", "-"))
			b.wantFits(where, screen.width)
			s := evaluate[sight](b, script)
			if len(s.Texts) < 2 || len(s.Buttons) != buttons {
				b.Fatalf("%s: %d texts, %d buttons", where, len(s.Texts), len(s.Buttons))
			}
			for _, e := range s.Texts {
				lowest = min(lowest, e.Contrast)
				if e.Contrast < 4.5 {
					b.Errorf("%s: the contrast of %q is %.2f", where, e.Text, e.Contrast)
				}
				if e.Size < float64(screen.text)*.9 {
					b.Errorf("%s: %q has letters of %v pixels", where, e.Text, e.Size)
				}
				if e.Box[0] < 0 || e.Box[1] > float64(screen.width) {
					b.Errorf("%s: %q goes from %v to %v", where, e.Text, e.Box[0], e.Box[1])
				}
			}
			for _, e := range s.Buttons {
				if e.Box[2] < 44 || e.Box[3] < 44 {
					b.Errorf("%s: the button has %v×%v pixels", where, e.Box[2], e.Box[3])
				}
				if e.Contrast < 3 {
					b.Errorf("%s: the button's contrast to its ground is %.2f", where, e.Contrast)
				}
			}
			if dark := s.Ground < .1; dark != (scheme == "dark") {
				b.Errorf("%s: the ground has the luminance %.2f", where, s.Ground)
			}
			if s.Moving > 0 {
				b.Errorf("%s: something moves", where)
			}
		}
	}
	b.Logf("%s: the lowest contrast of a text is %.2f", name, lowest)
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "forced-colors", Value: "active"}},
	})
	if border := evaluate[string](b, `Array.from(document.querySelectorAll("button"), e => getComputedStyle(e).borderStyle).join()`); buttons == 1 && border != "solid" {
		b.Errorf("%s: with forced colours the button's border is %q", name, border)
	}
}

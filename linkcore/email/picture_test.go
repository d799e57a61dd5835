package email_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"example.com/linktracker/linkcore/email"
	"example.com/linktracker/linkcore/testsize"
)

// A shownPart is an HTML part of the corpus, before and after.
type shownPart struct {
	name               string
	before, end, top   string // with the pixel at the end and at the top
	pixelEnd, pixelTop string // its link
}

// The HTML of the corpus in a browser: the picture is the same pixel for pixel,
// at the width of a desktop and of a phone, with pixel and honeypot; every link
// is the one that the browser saw in the mail before, leads there when it is
// clicked, and its event names it.
func TestPicture(t *testing.T) {
	testsize.Large(t)
	path := browser(t)
	e := startEndpoint(t)
	parts := shownParts(t, e)
	s := startInternet(t, e, parts)
	ctx := s.openBrowser(t, path)

	clicked := map[string]*click{} // by link
	setScreen(t, ctx, desktop)
	for _, p := range parts {
		before := s.show(t, ctx, p.name, "before")
		picture, links := before.picture(t), before.links(t)
		after := s.show(t, ctx, p.name, "end")
		comparePictures(t, p.name+" on a desktop", picture, after.picture(t))
		s.click(t, e, after, links, clicked)
	}
	setScreen(t, ctx, phone)
	phones := 0
	for i := range parts {
		p := &parts[i]
		// On a phone, those that look different there.
		if !strings.Contains(p.before, `name="viewport"`) && !strings.Contains(p.before, "@media") && len(p.before) < 8<<10 {
			p.pixelTop = ""
			continue
		}
		phones++
		before := s.show(t, ctx, p.name, "before")
		picture := before.picture(t)
		after := s.show(t, ctx, p.name, "top")
		comparePictures(t, p.name+" on a phone", picture, after.picture(t))
	}
	t.Logf("%d mails on a desktop, %d on a phone, %d links clicked", len(parts), phones, len(clicked))

	e.stop()
	opened := map[string]int{}
	for _, event := range e.events(t) {
		switch event.Type {
		case "open":
			opened[event.Link]++
		case "click":
			c := clicked[event.Link]
			if c == nil || c.destination != event.Destination {
				t.Errorf("the event of link %s says %q, which is not what the browser clicked on", event.Link, event.Destination)
				continue
			}
			c.times--
		}
	}
	for link, c := range clicked {
		if c.times != 0 {
			t.Errorf("link %s, to %s, has %d events too few", link, c.destination, c.times)
		}
	}
	for _, p := range parts {
		for _, pixel := range []string{p.pixelEnd, p.pixelTop} {
			if pixel != "" && opened[pixel] != 1 {
				t.Errorf("%s was opened once, its pixel %s says %d times", p.name, pixel, opened[pixel])
			}
		}
	}
}

// browser finds Chromium, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("REQUIRE_BROWSER") == "1" {
		t.Fatal("REQUIRE_BROWSER=1, but there is no chromium in the PATH")
	}
	t.Skip("needs Chromium: install the package chromium; REQUIRE_BROWSER=1 makes its absence a failure")
	return ""
}

// shownParts rewrites the corpus, once with the pixel at the end and once at
// the top, and returns the HTML parts that are shown.
func shownParts(t *testing.T, e *runningEndpoint) (all []shownPart) {
	t.Helper()
	rewrite := func(m corpusMail, place email.Pixel) email.Result {
		rewriter, err := email.New(email.Options{
			Signer: signerOf(t, e.keys, linksHost), Keys: e.keys,
			Pixel: place, PixelSigner: signerOf(t, e.keys, pixelHost), Honeypot: "https://honey.example/",
			OneTime: email.Track,
		})
		if err != nil {
			t.Fatal(err)
		}
		result, err := rewriter.Rewrite(mailFields, m.bytes)
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		return result
	}
	for _, m := range readCorpus(t) {
		if len(m.bytes) > 100<<10 {
			continue // the newsletter's layout over and over: it would take a tenth of the time
		}
		end, top := rewrite(m, email.PixelEnd), rewrite(m, email.PixelTop)
		pixel := func(r email.Result) string {
			if authorityAndTarget := strings.TrimPrefix(r.Pixel, "https://"+pixelHost); authorityAndTarget != "" {
				link, err := e.keys.Verify(pixelHost, authorityAndTarget)
				if err != nil {
					t.Fatalf("%s: the pixel %q: %v", m.name, r.Pixel, err)
				}
				return link.Fields.Link
			}
			return ""
		}
		if !m.isMessage() {
			if strings.HasSuffix(m.name, ".html") {
				all = append(all, shownPart{m.name, string(m.bytes), string(end.Output), string(top.Output), pixel(end), pixel(top)})
			}
			continue
		}
		before, _ := splitMessage(t, m.bytes)
		partsEnd, _ := splitMessage(t, end.Output)
		partsTop, _ := splitMessage(t, top.Output)
		for i := range before {
			if before[i].mediaType != "text/html" || before[i].attached() || len(before[i].body) == 0 {
				continue
			}
			charset := encodingOf(t, &before[i])
			all = append(all, shownPart{
				name:     m.name + "-" + before[i].path,
				before:   toUTF8(t, charset, before[i].decode(t)),
				end:      toUTF8(t, charset, partsEnd[i].decode(t)),
				top:      toUTF8(t, charset, partsTop[i].decode(t)),
				pixelEnd: pixel(end), pixelTop: pixel(top),
			})
		}
	}
	if len(all) < 35 {
		t.Fatalf("the corpus has %d parts of HTML", len(all))
	}
	return all
}

// mailboxHost is where the browser reads mails.
const mailboxHost = "mailbox.example"

// internet is every host that the browser knows: the mailbox, the endpoint and,
// under all other names, servers that answer nothing, but remember who came.
type internet struct {
	mailbox       *httptest.Server // and the endpoint
	secure, plain net.Listener     // all others
	arrived       chan string      // URLs that links led to

	version atomic.Value // which of a mail's versions the mailbox shows
}

func startInternet(t *testing.T, e *runningEndpoint, parts []shownPart) *internet {
	t.Helper()
	s := &internet{arrived: make(chan string, 1)}
	mails := map[string]shownPart{}
	for _, p := range parts {
		mails["/"+p.name] = p
	}
	s.mailbox = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != mailboxHost {
			e.handler.ServeHTTP(w, r)
			return
		}
		p, ok := mails[r.RequestURI]
		if !ok {
			http.NotFound(w, r)
			return
		}
		// As mail clients do: no scripts, and nothing from elsewhere, except
		// for the pixel.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data: https://"+pixelHost+"; frame-src https: http:")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, map[string]string{"before": p.before, "end": p.end, "top": p.top}[s.version.Load().(string)])
	}))
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return listener
	}
	s.plain, s.secure = listen(), tls.NewListener(listen(), s.mailbox.TLS)
	var servers sync.WaitGroup
	servers.Go(func() { s.serve("http", s.plain) })
	servers.Go(func() { s.serve("https", s.secure) })
	t.Cleanup(func() {
		s.mailbox.Close()
		s.plain.Close()
		s.secure.Close()
		servers.Wait()
	})
	return s
}

// serve reads requests as they are: net/http refuses some targets that links
// may have. The answer lets the browser stay where it is.
func (s *internet) serve(scheme string, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			reader := textproto.NewReader(bufio.NewReader(conn))
			for {
				line, err := reader.ReadLine()
				if err != nil {
					return
				}
				header, err := reader.ReadMIMEHeader()
				if err != nil {
					return
				}
				host := header.Get("Host")
				if strings.HasSuffix(host, ".com") {
					return // what the browser asks its maker
				}
				target := strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1")
				s.arrived <- scheme + "://" + host + target
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		}()
	}
}

// openBrowser starts a browser for which there is no other network.
func (s *internet) openBrowser(t *testing.T, path string) context.Context {
	t.Helper()
	rules := fmt.Sprintf("MAP %[1]s %[4]s, MAP %[2]s %[4]s, MAP %[3]s %[4]s, MAP *:80 %[5]s, MAP * %[6]s",
		mailboxHost, linksHost, pixelHost, s.mailbox.Listener.Addr(), s.plain.Addr(), s.secure.Addr())
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(t.TempDir(), "browser")),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,IgnoreDuplicateNavs,IsolateOrigins,site-per-process,SpareRendererForSitePerProcess,OptimizationHints,MediaRouter"),
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.Flag("allow-running-insecure-content", true), // links to http
		chromedp.Flag("host-resolver-rules", rules),
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

// The screens that mails are read on. A mail must be loaded for its screen:
// Chromium does not lay everything out anew when the screen changes.
var (
	desktop = emulation.SetDeviceMetricsOverrideParams{Width: 800, Height: 768, DeviceScaleFactor: 1}
	phone   = emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 844, DeviceScaleFactor: 1, Mobile: true}
)

func setScreen(t *testing.T, ctx context.Context, screen emulation.SetDeviceMetricsOverrideParams) {
	t.Helper()
	if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, screen); err != nil {
		t.Fatal(err)
	}
}

// shownMail is a mail that the browser shows.
type shownMail struct {
	ctx  context.Context
	name string
}

func (s *internet) show(t *testing.T, ctx context.Context, name, version string) shownMail {
	t.Helper()
	s.version.Store(version)
	if err := chromedp.Do(ctx, chromedp.Navigate("https://"+mailboxHost+"/"+name)); err != nil {
		t.Fatalf("%s, %s: %v", name, version, err)
	}
	return shownMail{ctx, name}
}

// links returns where the browser says that the links of the mail lead.
func (m *shownMail) links(t *testing.T) []string {
	t.Helper()
	links, err := chromedp.Run(m.ctx, chromedp.Evaluate[[]string](`Array.from(document.links, a => a.href)`))
	if err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	return links
}

// picture returns the whole mail as PNG, in pieces from top to bottom.
func (m *shownMail) picture(t *testing.T) (pieces [][]byte) {
	t.Helper()
	layout, err := chromedp.Call(m.ctx, page.GetLayoutMetrics, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	const highest = 8000 // what is higher than a texture can be is not drawn
	yes := true
	size := layout.CSSContentSize
	for y := 0.0; y < size.Height; y += highest {
		shot, err := chromedp.Call(m.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
			CaptureBeyondViewport: &yes, OptimizeForSpeed: &yes,
			Clip: &page.Viewport{X: 0, Y: y, Width: size.Width, Height: min(size.Height-y, highest), Scale: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, shot.Data)
	}
	return pieces
}

// comparePictures compares what was drawn. The pixel is transparent and takes
// no room, so not even its place may differ.
func comparePictures(t *testing.T, name string, before, after [][]byte) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%s: the mail's height changed", name)
		return
	}
	for i := range before {
		if bytes.Equal(before[i], after[i]) {
			continue
		}
		a, errA := png.Decode(bytes.NewReader(before[i]))
		b, errB := png.Decode(bytes.NewReader(after[i]))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.Bounds() != b.Bounds() {
			t.Errorf("%s: the mail had %v and has %v", name, a.Bounds().Max, b.Bounds().Max)
			return
		}
		different, first := 0, image.Point{}
		for y := range a.Bounds().Dy() {
			for x := range a.Bounds().Dx() {
				if a.At(x, y) != b.At(x, y) {
					if different == 0 {
						first = image.Pt(x, y)
					}
					different++
				}
			}
		}
		if different > 0 {
			t.Errorf("%s: %d pixels differ, the first at %v in piece %d", name, different, first, i)
		}
	}
}

// A click is what was clicked on, and how often: what is not closed in broken
// HTML can be there twice.
type click struct {
	destination string
	times       int
}

// click clicks every tracked link of the mail. Each must be signed for where the
// browser saw it lead before, and get there.
func (s *internet) click(t *testing.T, e *runningEndpoint, m shownMail, before []string, clicked map[string]*click) {
	t.Helper()
	var indices, positions []int // of tracked links, in the mail and in before
	var destinations []string
	n := 0
	for i, href := range m.links(t) {
		target, ok := strings.CutPrefix(href, "https://"+linksHost)
		if !ok {
			if n >= len(before) || before[n] != href {
				t.Errorf("%s: link %d is %s and was another", m.name, n+1, href)
				return
			}
			n++
			continue
		}
		link, err := e.keys.Verify(linksHost, target)
		if err != nil {
			t.Errorf("%s: link %d, %s: %v", m.name, n+1, href, err)
			return
		}
		if strings.HasPrefix(link.Fields.Link, "hp_") {
			continue
		}
		indices, positions = append(indices, i), append(positions, n)
		destinations = append(destinations, link.Destination)
		if clicked[link.Fields.Link] == nil {
			clicked[link.Fields.Link] = &click{destination: link.Destination}
		}
		clicked[link.Fields.Link].times++
		n++
	}
	if n != len(before) {
		t.Errorf("%s: it had %d links and has %d", m.name, len(before), n)
		return
	}
	for i, url := range m.normalize(t, destinations) {
		if was := before[positions[i]]; url != was {
			t.Errorf("%s: link %d led to %s and is signed for %s", m.name, positions[i]+1, was, url)
		}
	}

	// The mail stays where it is: links open in a frame.
	m.evaluate(t, `document.documentElement.append(Object.assign(document.createElement("iframe"), { name: "away", width: 1, height: 1 }))`)
	for i, index := range indices {
		want, _, _ := strings.Cut(before[positions[i]], "#")
		m.evaluate(t, fmt.Sprintf(`(link => { link.target = "away"; link.click() })(document.links[%d])`, index))
		select {
		case url := <-s.arrived:
			if url != want {
				t.Errorf("%s: link %d led to %s and leads to %s", m.name, positions[i]+1, want, url)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s: link %d, to %s, leads nowhere", m.name, positions[i]+1, want)
		}
	}
}

// normalize returns URLs as the browser writes them.
func (m *shownMail) normalize(t *testing.T, urls []string) []string {
	t.Helper()
	list, err := json.Marshal(append([]string{}, urls...))
	if err != nil {
		t.Fatal(err)
	}
	normal, err := chromedp.Run(m.ctx, chromedp.Evaluate[[]string](string(list)+`.map(url => new URL(url).href)`))
	if err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	return normal
}

func (m *shownMail) evaluate(t *testing.T, script string) {
	t.Helper()
	if err := chromedp.Do(m.ctx, chromedp.Evaluate[chromedp.Void](script)); err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
}

package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"example.com/linktracker/linkcore/event"
)

// samples are reports of all sorts.
func samples(t *testing.T) map[string]*Report {
	t.Helper()
	random := rand.New(rand.NewPCG(10, 11))
	mailing := func(n int, campaigns int) string {
		var events []*event.Event
		for i := range n {
			events = append(events, click(i, math.Exp(random.NormFloat64()*1.9+8), func(e *event.Event) {
				e.Campaign = fmt.Sprintf("mailing-%03d", random.IntN(campaigns))
				switch random.IntN(8) {
				case 0:
					e.Automation = event.Automated
				case 1:
					e.Automation = event.Suspect
				case 2:
					e.Untracked, e.Recipient, e.Link = true, "", ""
				case 3:
					e.Type, e.Rule = event.Blocked, "host:phish.example"
				}
			}))
		}
		return linesOf(events...)
	}
	hostile := ""
	for i, words := range hostileWords {
		hostile += linesOf(
			click(i, float64(i), func(e *event.Event) {
				e.Customer, e.Campaign, e.Link, e.Destination, e.Rule, e.RedirectedTo = words, words+"1", words, words, words, words
			}),
			click(100+i, float64(i), func(e *event.Event) { e.Type, e.Rule = event.Blocked, words }),
		)
	}
	sparse := linesOf(click(1, -3600, nil), click(2, 90*86400, nil))
	return map[string]*Report{
		"none":          reportOf(t, Options{}),
		"one":           reportOf(t, Options{}, linesOf(click(1, 60, nil))),
		"one open":      reportOf(t, Options{}, linesOf(click(1, 60, func(e *event.Event) { e.Type, e.Destination = event.Open, "" }))),
		"one campaign":  reportOf(t, Options{}, mailing(2000, 1)),
		"200 campaigns": reportOf(t, Options{}, mailing(5000, 200)),
		"hostile":       reportOf(t, Options{Customer: ""}, hostile, "\x00<script>\n"),
		"sparse":        reportOf(t, Options{Since: sentAt.Add(-time.Hour * 24)}, sparse),
		"nothing sent": reportOf(t, Options{}, linesOf(click(1, 60, func(e *event.Event) {
			e.SentAt, e.Link, e.Destination = time.Time{}, "", ""
		}))),
	}
}

var hostileWords = []string{
	`"><script>alert(1)</script>`,
	`</td></tr></table><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`javascript:alert(1)`,
	`{{.}}</title></style><svg onload=alert(1)>`,
	"a\x00b\x1b[31mc\u202egnp.exe\u2066\u200b",
	strings.Repeat("W", 2000),
	"https://example.com/" + strings.Repeat("long-without-end", 200),
	"مرحبا بالعالم",
	"Z" + strings.Repeat("\u0300", 500),
	"<!--", "]]>", "&lt;b&gt;", "\r\n\t ", "-", strings.Repeat("👩‍👩‍👧‍👦", 50),
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever a report holds, its page is well formed, runs nothing, loads nothing,
// leads nowhere, and says in words what its charts show.
func TestPage(t *testing.T) {
	allowed := map[string]bool{}
	for name := range strings.FieldsSeq(`html head meta title style body main header h1 h2 h3 p dl div dt dd section ul li span
		figure figcaption svg desc line rect g text table thead tbody tr th td details summary strong footer`) {
		allowed[name] = true
	}
	for name, r := range samples(t) {
		page := pageOf(t, r)
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		var references []string
		count := map[string]int{}
		columns := -1
		for n := range root.Descendants() {
			if n.Type == html.CommentNode {
				t.Errorf("%s: a comment: %s", name, n.Data)
			}
			if n.Type != html.ElementNode {
				continue
			}
			count[n.Data]++
			if !allowed[n.Data] {
				t.Errorf("%s: an element <%s>", name, n.Data)
			}
			for _, a := range n.Attr {
				switch {
				case strings.HasPrefix(a.Key, "on"), a.Key == "href", a.Key == "src", a.Key == "style", a.Key == "xlink:href":
					t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
				case a.Key == "id":
					if ids[a.Val] {
						t.Errorf("%s: the id %s is there twice", name, a.Val)
					}
					ids[a.Val] = true
				case a.Key == "aria-labelledby":
					references = append(references, strings.Fields(a.Val)...)
				}
			}
			switch n.Data {
			case "svg":
				hidden := attribute(n, "aria-hidden") == "true"
				if !hidden && (attribute(n, "role") != "img" || n.FirstChild == nil) {
					t.Errorf("%s: a picture without words", name)
				}
			case "thead":
				columns = 0
				for c := range n.FirstChild.ChildNodes() {
					if c.Data == "th" {
						columns++
					}
				}
			case "tr":
				cells := 0
				for c := range n.ChildNodes() {
					if c.Data == "th" || c.Data == "td" {
						cells++
					}
				}
				if cells != columns {
					t.Errorf("%s: a row of %d cells in a table of %d columns", name, cells, columns)
				}
			}
		}
		for _, id := range references {
			if !ids[id] {
				t.Errorf("%s: there is no id %s", name, id)
			}
		}
		if count["h1"] != 1 || count["title"] < 1 || count["main"] != 1 {
			t.Errorf("%s: %v", name, count)
		}
		// A table beside each chart.
		if count["figure"] != count["details"] && name != "200 campaigns" {
			t.Errorf("%s: %d charts and %d tables of them", name, count["figure"], count["details"])
		}
		for _, forbidden := range []string{"http-equiv=\"refresh\"", "@import", "url(", "<script", "ZgotmplZ", "NaN", "%!", "\x00", "\u202e"} {
			if strings.Contains(page, forbidden) {
				t.Errorf("%s: the page has %q", name, forbidden)
			}
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func TestPageSays(t *testing.T) {
	s := samples(t)
	for name, wants := range map[string][]string{
		"none":          {"No events", "There are no clicks to show.", "Read: 0 events."},
		"one":           {"4 May 2026, 09:31 UTC", "acme / spring26", "Half of the clicks by people came within about", "Each bar is 1 minute"},
		"one campaign":  {"acme / mailing-000", "Not tracked", "A closer look", "Rules at work", "host:phish.example"},
		"200 campaigns": {"acme: 200 campaigns", "180 other campaigns", "The next 180 campaigns"},
		"hostile":       {`a\x00b\x1b[31mc\u202egnp.exe\u2066\u200b`, "&lt;script&gt;alert(1)", "…", "1 line could not be read"},
		"sparse":        {"asked for: from 3 May 2026, 09:30 UTC", "Each bar is 1 day", "before it was sent", "30 d or more"},
		"nothing sent":  {"No link that was clicked says when it was sent.", "No click names its destination.", "No click names its link."},
	} {
		page := pageOf(t, s[name])
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q in the page", name, want)
			}
		}
	}
}

// The numbers of a stacked bar add up to its height.
func TestBars(t *testing.T) {
	c := &chart{}
	c.bars([]Counts{{Human: 30, Untracked: 10, Suspect: 5, Automated: 55}, {}, {Human: 1}}, []string{"a", "b", "c"}, []class{classHuman, classUntracked, classSuspect, classAutomated})
	if len(c.Bars) != 2 || len(c.Rows) != 3 || c.Bars[0].Tip != "a: human 30, not tracked 10, suspect 5, automated 55" {
		t.Fatalf("%+v", c)
	}
	top, _ := strconv.ParseFloat(c.Bars[0].Parts[3].Y, 64)
	tick, _ := strconv.ParseFloat(c.Y[len(c.Y)-1].At, 64)
	if c.Y[len(c.Y)-1].Label != "100" || top != tick {
		t.Errorf("100 clicks reach to %v, and the tick of %s is at %v", top, c.Y[len(c.Y)-1].Label, tick)
	}
}

func TestWords(t *testing.T) {
	for seconds, want := range map[float64]string{1: "1 second", 1.2: "1 second", 45: "45 seconds", 60: "1 minute", 90: "1.5 minutes", 2280: "38 minutes", 3600: "1 hour", 30600: "8.5 hours", 90_000: "25 hours", 200_000: "2.3 days", 2_000_000: "23 days"} {
		if got := spell(seconds); got != want {
			t.Errorf("%v seconds are %s, not %s", seconds, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := count(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
	for s, want := range map[string]string{"": "", "a": "a", "abcde": "abc…", "a\n\xff": `a\n\xff`, "é": "é"} {
		if got := clean(s, 3); got != want {
			t.Errorf("%q becomes %q, not %q", s, got, want)
		}
	}
}

// Contrast as WCAG 2.2 asks for: 4.5 for text, 3 for what a chart shows.
func TestContrast(t *testing.T) {
	luminance := func(hex string) float64 {
		if len(hex) == 4 {
			hex = "#" + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:3], 2) + strings.Repeat(hex[3:4], 2)
		}
		n, err := strconv.ParseUint(hex[1:], 16, 24+1)
		if err != nil {
			t.Fatal(err)
		}
		part := func(c uint64) float64 {
			v := float64(c&255) / 255
			if v <= .04045 {
				return v / 12.92
			}
			return math.Pow((v+.055)/1.055, 2.4)
		}
		return .2126*part(n>>16) + .7152*part(n>>8) + .0722*part(n)
	}
	roots := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(pageSource, -1)
	if len(roots) != 3 {
		t.Fatalf("%d sets of colours", len(roots))
	}
	for i, root := range roots {
		colours := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z]+): (#[0-9a-f]+);`).FindAllStringSubmatch(root[1], -1) {
			colours[m[1]] = m[2]
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"text", "card", 7}, {"text", "ground", 7}, {"quiet", "card", 4.5}, {"quiet", "ground", 4.5},
			{"human", "card", 3}, {"untracked", "card", 3}, {"suspect", "card", 3}, {"automated", "card", 3},
		} {
			a, b := luminance(colours[pair.front]), luminance(colours[pair.back])
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < pair.least {
				t.Errorf("set %d: %s on %s has %.2f, less than %v", i+1, pair.front, pair.back, ratio, pair.least)
			}
		}
	}
}

// In a browser nothing is wider than the screen, and no two labels of an axis
// touch.
func TestBrowser(t *testing.T) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("REQUIRE_BROWSER") == "1" {
			t.Fatal("there is no Chromium")
		}
		t.Skip("there is no Chromium: install it to see the pages in a browser")
	}
	dir := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(dir, "browser")),
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"),
	)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancelTab := chromedp.NewContext(ctx)
	defer cancelTab()
	defer func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("closing the browser: %v", err)
		}
	}()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	const look = `(() => {
		const problems = [];
		const wide = document.documentElement.scrollWidth;
		if (wide > innerWidth) {
			problems.push('it is ' + wide + ' wide');
		}
		for (const e of document.querySelectorAll('td, th, h1, h2, p, summary')) {
			const box = e.getBoundingClientRect();
			if (box.width > 1 && (box.right > innerWidth + 1 || box.left < -1)) {
				problems.push('<' + e.tagName + '> ' + e.textContent.slice(0, 30) + ' goes from ' + box.left + ' to ' + box.right);
			}
		}
		for (const axis of document.querySelectorAll('.chart g.wide, .chart g.narrow')) {
			const boxes = Array.from(axis.querySelectorAll('text'), e => e.getBoundingClientRect()).filter(b => b.width > 0);
			boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
				if (a.left < b.right + 2 && b.left < a.right + 2 && a.top < b.bottom - 2 && b.top < a.bottom - 2) {
					problems.push('labels touch in ' + axis.textContent);
				}
			}));
			for (const b of boxes) {
				if (b.right > innerWidth || b.left < 0) {
					problems.push('a label leaves the page in ' + axis.textContent);
				}
			}
		}
		return problems.slice(0, 5).join('; ');
	})()`
	for name, r := range samples(t) {
		// With all that can be opened open.
		page := strings.ReplaceAll(pageOf(t, r), "<details>", "<details open>")
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".html")
		if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(ctx, chromedp.Navigate("file://"+file)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, width := range []int64{320, 390, 768, 961, 1280} {
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			problems, err := chromedp.Run(ctx, chromedp.Evaluate[string](look))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if problems != "" {
				t.Errorf("%s, %d wide: %s", name, width, problems)
			}
		}
	}
}

package email

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// newsletter is an HTML mail of about so many bytes with so many links, as
// builders of mails write them: nested tables with styles on everything.
func newsletter(bytes, links int) []byte {
	const row = `<tr><td align="left" class="row" style="font-size:0px;padding:10px 25px;word-break:break-word;"><div style="font-family:Ubuntu, Helvetica, Arial, sans-serif;font-size:13px;line-height:1;text-align:left;color:#000000;">Lorem ipsum dolor sit amet &mdash; consetetur.</div></td></tr>` + "\n"
	var b strings.Builder
	b.WriteString(`<!doctype html><html xmlns:v="urn:schemas-microsoft-com:vml"><head><title>News</title><style>` + strings.Repeat("p{margin:0}\n", 50) + "</style></head><body>\n")
	for i := range links {
		fmt.Fprintf(&b, `<!--[if mso | IE]><table role="presentation" border="0" cellpadding="0" cellspacing="0"><tr><td><![endif]--><a class="button" href="https://shop.example.com/products/%d?lang=en&amp;ref=mail&amp;size=m" style="color:#fff;text-decoration:none" target="_blank">Product <b>number %d</b></a>`+"\n", i, i)
		for b.Len() < (i+1)*bytes/links {
			b.WriteString(row)
		}
	}
	b.WriteString("</body></html>\n")
	return []byte(b.String())
}

// 100 KB with 60 links take 0.47 ms and 1,119 allocations at best, and 1.4 ms
// while other programs keep both cores busy (EPYC, two cores).
func BenchmarkHTML(b *testing.B) {
	_, o := setup(b)
	o.Pixel = PixelEnd
	for _, c := range []struct{ size, links int }{{10_000, 60}, {100_000, 60}, {1_000_000, 60}, {100_000, 0}} {
		b.Run(fmt.Sprintf("%dKB-%dlinks", c.size/1000, c.links), func(b *testing.B) {
			w := mustNew(b, o)
			var src []byte
			if c.links > 0 {
				src = newsletter(c.size, c.links)
			} else {
				src = []byte(strings.ReplaceAll(string(newsletter(c.size, 60)), "href=", "name="))
			}
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.HTML(someone, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAllocationsFollowLinks(t *testing.T) {
	testsize.Medium(t)
	if testing.CoverMode() != "" {
		t.Skip("counting allocations needs code without counters")
	}
	_, o := setup(t)
	w := mustNew(t, o)
	count := func(size, links int) float64 {
		src := newsletter(size, links)
		return testing.AllocsPerRun(3, func() {
			if _, err := w.HTML(someone, src); err != nil {
				t.Fatal(err)
			}
		})
	}
	small, large := count(10_000, 10), count(1_000_000, 10)
	// A hundred times the text. The race detector empties pools at random.
	if large > small*1.5 {
		t.Errorf("10 links take %.0f allocations in 10 KB and %.0f in 1 MB", small, large)
	}
	if twice := count(1_000_000, 20); twice > 2.2*large {
		t.Errorf("20 links take %.0f allocations, 10 take %.0f", twice, large)
	}
}

// A message takes at most about 4 times its own size, the result included, in each
// encoding; beyond that, only links take memory.
func TestMemoryOfMessages(t *testing.T) {
	testsize.Large(t)
	if testing.CoverMode() != "" {
		t.Skip("counting allocations needs code without counters")
	}
	w := mailing(t, Options{Pixel: PixelEnd})
	html := newsletter(1_000_000, 45)
	for encoding, body := range map[transferEncoding][]byte{
		"8bit":          html,
		quotedPrintable: encodeQuotedPrintable(html, "\n"),
		base64Encoding:  spliceBase64(nil, nil, []edit{{text: string(html)}}, "\n"),
	} {
		for _, charset := range []string{"utf-8", "iso-8859-1", "iso-2022-jp"} {
			src := append([]byte("From: a@example.com\nMIME-Version: 1.0\nContent-Type: text/html; charset="+charset+"\nContent-Transfer-Encoding: "+string(encoding)+"\n\n"), body...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := w.Message(testFields, src)
			runtime.ReadMemStats(&after)
			if err != nil || len(destinations(r)) != 45 {
				t.Fatal(len(destinations(r)), err)
			}
			times := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(src))
			t.Logf("%s, %s: %.1f times", encoding, charset, times)
			if times > 4.5 {
				t.Errorf("%s, %s: a message of %d bytes takes %.1f times as many", encoding, charset, len(src), times)
			}
		}
	}
}

// Time grows with the length of a mail and with nothing else, also for shapes
// that are made to let it grow with the square.
func TestHostileShapes(t *testing.T) {
	testsize.Medium(t)
	_, o := setup(t)
	o.Pixel, o.Honeypot = PixelTop, "https://e.com/trap"
	o.SkipURLs = []string{"https://*a*b*c*d"}
	o.UTM = []Parameter{{"utm_source", "x"}}
	w := mustNew(t, o)
	attributes := func(n int) string {
		var b strings.Builder
		for i := range n / 7 {
			fmt.Fprintf(&b, " x%05d", i)
		}
		return b.String()
	}
	for name, shape := range map[string]func(n int) string{
		"nesting":                  func(n int) string { return strings.Repeat("<div>", n/5) },
		"open links":               func(n int) string { return strings.Repeat("<a href=x>", n/10) },
		"less-than signs":          func(n int) string { return strings.Repeat("<", n) },
		"end tag beginnings":       func(n int) string { return strings.Repeat("</", n/2) },
		"comment beginnings":       func(n int) string { return strings.Repeat("<!--", n/4) },
		"comments that do not end": func(n int) string { return "<!--" + strings.Repeat("->--!", n/5) },
		"conditional comments":     func(n int) string { return strings.Repeat("<!--[if mso]>", n/13) },
		"conditions without end":   func(n int) string { return strings.Repeat("<!--[if -->", n/11) },
		"quotes":                   func(n int) string { return strings.Repeat(`<a href="`, n/9) },
		"apostrophes without end":  func(n int) string { return "<a href='" + strings.Repeat(`"x"=`, n/4) },
		"equals signs":             func(n int) string { return "<a " + strings.Repeat("= ", n/2) + ">" },
		"attributes":               func(n int) string { return "<a" + attributes(n) + ">" },
		"attributes, then tags":    func(n int) string { return "<a" + attributes(n/2) + ">" + strings.Repeat("<b>", n/6) },
		"markers":                  func(n int) string { return "<a href=x" + strings.Repeat(" data-notrack", n/13) + ">" },
		"white space":              func(n int) string { return "<a data-notrack" + strings.Repeat(" ", n) + ">" },
		"spaces before markers":    func(n int) string { return "<a" + strings.Repeat(strings.Repeat(" ", 50)+"data-notrack", n/62) + ">" },
		"script beginnings":        func(n int) string { return "<script><!--" + strings.Repeat("<script></script ", n/17) },
		"raw text without end":     func(n int) string { return strings.Repeat("<style></styl", n/13) },
		"references":               func(n int) string { return `<a href="` + strings.Repeat("&amp", n/4) + `">` },
		"long references":          func(n int) string { return `<a href="&` + strings.Repeat("a", n) + `">` },
		"digits":                   func(n int) string { return `<a href="` + strings.Repeat("&#1", n/3) + strings.Repeat("1", n/2) + `">` },
		"one URL":                  func(n int) string { return `<a href="https://e.com/` + strings.Repeat("/../a", n/5) + `">` },
		"one relative URL":         func(n int) string { return `<base href=http://b.com><a href="` + strings.Repeat("a/../", n/5) + `">` },
		"placeholders":             func(n int) string { return `<a href="https://e.com/` + strings.Repeat("[[*|%%", n/6) + `">` },
		"labels of a host":         func(n int) string { return `<a href="https://` + strings.Repeat("a.", n/2) + `">` },
		"parameters":               func(n int) string { return `<a href="https://e.com/?` + strings.Repeat("&;%75", n/5) + `">` },
		"text":                     func(n int) string { return `<a href="https://e.com/">` + strings.Repeat(" www.", n/5) },
		"text in pieces":           func(n int) string { return `<a href="https://e.com/">` + strings.Repeat("<b>  ", n/5) },
		"alternative texts":        func(n int) string { return `<a href="https://e.com/"><img` + strings.Repeat(" alt=x", n/6) + `>` },
		"body tags":                func(n int) string { return strings.Repeat("<body>", n/6) },
		"revealed bodies":          func(n int) string { return strings.Repeat("<!--[if x]><!--></body>", n/23) },
		"a long base": func(n int) string {
			return "<base href=http://b.com/" + strings.Repeat("a", n/2) + "/>" + strings.Repeat("<a href=b>", n/20)
		},
		"bases":                      func(n int) string { return strings.Repeat("<base href=x>", n/13) },
		"pictures that may be pixel": func(n int) string { return strings.Repeat("<img src=http://a.b.c/o1.>", n/26) },
		"NUL":                        func(n int) string { return `<a href="` + strings.Repeat("\x00"+strings.Repeat("x", 63), n/64) + `">` },
		"SVG":                        func(n int) string { return strings.Repeat("<svg><title/>", n/13) },
	} {
		t.Run(name, func(t *testing.T) {
			checkLinear(t, 4_000, shape, func(src []byte) error {
				_, err := w.HTML(someone, src)
				return err
			})
		})
	}
}

// checkLinear compares the times that work takes for the shape of n bytes and for
// that of 32 times as many: it takes about 32 times as long, and 1,024 times if that
// is squared. A machine that does something else gets more tries.
func checkLinear(t *testing.T, n int, shape func(n int) string, work func(src []byte) error) {
	t.Helper()
	took := func(n int) time.Duration {
		src := []byte(shape(n))
		start := time.Now()
		if err := work(src); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	const times, tries = 32, 5
	small := took(n)
	large := took(times * n)
	for range tries - 1 {
		if large < 200*small || large < 100*time.Millisecond {
			return
		}
		small, large = max(small, took(n)), min(large, took(times*n))
	}
	t.Errorf("%d bytes take %v, %d take %v", n, small, times*n, large)
}

func TestTenMegabytes(t *testing.T) {
	testsize.Large(t)
	ring, o := setup(t)
	r := mustHTML(t, mustNew(t, o), string(newsletter(10_000_000, 5)))
	if len(r.Links) != 5 {
		t.Fatalf("%d links", len(r.Links))
	}
	for _, l := range r.Links {
		checkLink(t, ring, l.Tracked, l.Destination)
	}
}

// What signing takes of it.
func BenchmarkSign60(b *testing.B) {
	_, o := setup(b)
	f := someone
	f.Link = "1-a1b2c3d4e5f"
	b.ReportAllocs()
	for b.Loop() {
		for range 60 {
			if _, err := o.Signer.Sign(f, "https://shop.example.com/products/1?lang=en&ref=mail&size=m", linkcore.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

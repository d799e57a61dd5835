package redirect

import (
	"bytes"
	"encoding/binary"
	"html"
	"image"
	"image/gif"
	"image/png"
	"math"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
)

// english returns a page as whoever sends no Accept-Language sees it.
func english(p page) []byte {
	return translations[0].makePages(record.Options{ClientIP: record.FullIP})[p].body
}

// TestPages: each is small, whole, asks nobody for anything and has what a
// screen reader looks for, in every language.
func TestPages(t *testing.T) {
	for _, translation := range translations {
		tag := translation.tag.String()
		for i, page := range translation.makePages(record.Options{ClientIP: record.FullIP, CountryHeader: "X-Country"}) {
			linked := page
			if page.beside != "" {
				linked = page.linked("/p1.token/?also=u1.token/")
			}
			for _, a := range []answer{page, linked} {
				checkPage(t, tag, pages[i].texts, pages[i].form, &a)
			}
		}
	}
}

func checkPage(t *testing.T, tag, name string, form *form, a *answer) {
	t.Helper()
	name = tag + " " + name
	s := string(a.body)
	if len(s) > 6144 || a.length[0] != strconv.Itoa(len(s)) {
		t.Errorf("%s: %d bytes, and it says %s", name, len(s), a.length)
	}
	for _, want := range []string{
		"<!doctype html>", `<html lang="` + tag + `">`, `<meta charset="utf-8">`, `name="viewport"`,
		`<meta name="color-scheme" content="light dark">`, "<title>", "prefers-color-scheme: dark",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("%s: no %s", name, want)
		}
	}
	for _, tag := range []string{"<main>", "</main>", "<h1>", "</html>"} {
		if strings.Count(s, tag) != 1 {
			t.Errorf("%s: %d times %s", name, strings.Count(s, tag), tag)
		}
	}
	if bad := regexp.MustCompile(`(?i)<script|src=|href="[^/]|href="//|url\(|@import|action=|\bon[a-z]+=|style="|\{\{|https?:|<p[^>]*></p>`).FindString(s); bad != "" {
		t.Errorf("%s: has %s", name, bad)
	}
	if a.language[0] != tag {
		t.Errorf("%s: Content-Language is %q", name, a.language)
	}
	want := 0
	if form != nil {
		want = 1
		if field := `name="` + form.name + `" value="` + form.value + `"`; strings.Count(s, field) != 1 {
			t.Errorf("%s: no %s", name, field)
		}
	}
	if strings.Count(s, "<button") != want || strings.Count(s, `<form method="post">`) != want || strings.Count(s, "<input") != want {
		t.Errorf("%s: it has not %d forms", name, want)
	}
}

// Every language has every text, and none that no page shows. A text is no markup
// and has no placeholder.
func TestTexts(t *testing.T) {
	var tags []string
	for _, translation := range translations {
		tags = append(tags, translation.tag.String())
		shown := ""
		for _, o := range []record.Options{{ClientIP: record.FullIP, CountryHeader: "X-Country"}, {ClientIP: record.TruncatedIP}} {
			for _, page := range translation.makePages(o) {
				shown += string(page.body) + page.beside
			}
		}
		for key, text := range translation.texts {
			if translations[0].texts[key] == "" || !strings.Contains(shown, html.EscapeString(text)) {
				t.Errorf("%s: no page shows %s", translation.tag, key)
			}
			if strings.ContainsAny(text, "<>{}%&\n\t") || text != strings.TrimSpace(text) || strings.Contains(text, "  ") {
				t.Errorf("%s: %s is %q", translation.tag, key, text)
			}
		}
		for key := range translations[0].texts {
			if translation.texts[key] == "" {
				t.Errorf("%s: there is no %s", translation.tag, key)
			}
		}
	}
	if want := []string{"en", "de", "es", "fr", "it", "nl", "pl", "pt"}; len(tags) != len(want) || tags[0] != "en" || !slices.Equal(slices.Sorted(slices.Values(tags)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the languages are %q", tags)
	}
}

// Nobody is told that more is recorded than is.
func TestPageSaysWhatIsRecorded(t *testing.T) {
	for _, test := range []struct {
		o                           record.Options
		address, truncated, country bool
	}{
		{record.Options{}, true, false, false},
		{record.Options{ClientIP: record.TruncatedIP}, false, true, false},
		{record.Options{ClientIP: record.NoIP, CountryHeader: "X-Country"}, false, false, true},
	} {
		p := newParts(t, delivery.Hold, func(_ *parts, o *Options) {
			recorder, err := record.NewRecorder(test.o)
			check(t, err)
			o.Recorder = recorder
		})
		w := httptest.NewRecorder()
		p.ServeHTTP(w, request("GET", p.target(t, linkcore.Privacy, linkcore.Fields{Recipient: "r1"})))
		for text, want := range map[string]bool{
			"<li>your IP address</li>": test.address, "<li>part of your IP address</li>": test.truncated,
			"<li>the country": test.country, "<li>which link": true, "<li>what your browser": true,
		} {
			if strings.Contains(w.Body.String(), text) != want {
				t.Errorf("%+v: %s is there: %v", test.o, text, !want)
			}
		}
	}
}

func TestLanguage(t *testing.T) {
	p := newParts(t, delivery.Hold, nil)
	long := strings.Repeat("zz,", 80)
	for _, test := range []struct{ accept, want string }{
		{"", "en"}, {"*", "en"}, {"de", "de"}, {"de-CH,de;q=0.9,en;q=0.8", "de"}, {"fr-CA", "fr"}, {"PT-br", "pt"},
		{"es-419,es;q=0.9", "es"}, {"it;q=0.1,nl;q=0.9", "nl"}, {"ja,pl;q=0.5", "pl"}, {"ja", "en"}, {"ja,en;q=0.9,fr;q=0.8", "en"},
		{"gsw", "de"}, {"de;q=0,fr", "fr"}, {"x", "en"}, {"de;q=x", "en"}, {"\xff\x00", "en"}, {strings.Repeat("-", 1000), "en"},
		{"x-y-z-, it", "it"},
		{"fr," + long, "fr"}, // the beginning counts
		{long + "fr", "en"},  // and what is behind the bound does not
		{strings.Repeat("f", 1000), "en"},
	} {
		for _, target := range []string{"/nothing", p.target(t, linkcore.Unsubscribe, linkcore.Fields{}), p.target(t, linkcore.Click, linkcore.Fields{})} {
			r := request("GET", target)
			r.Header["Accept-Language"] = []string{test.accept}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			wantHeaders := pageHeaders("Content-Language", test.want)
			if w.Code == 302 {
				wantHeaders = headers("Location", destination)
			} else if !strings.Contains(w.Body.String(), `<html lang="`+test.want+`">`) {
				t.Errorf("%.40q: %.60s, want %s", test.accept, w.Body, test.want)
			}
			checkHeaders(t, w.Header(), wantHeaders)
		}
	}
}

// A page leads to the page beside it where the link holds its token, and that was
// signed for the same person. The events know nothing of it.
func TestPagesBeside(t *testing.T) {
	for _, prefix := range []string{"", "/t"} {
		p := newParts(t, delivery.Hold, func(_ *parts, o *Options) { o.Prefix = prefix })
		token := func(kind linkcore.Kind, recipient string) string {
			return strings.Trim(p.target(t, kind, linkcore.Fields{Customer: "acme", Recipient: recipient}), "/")
		}
		sealed, err := p.signer.Seal(linkcore.Fields{Customer: "acme", Recipient: "r1"}, "", linkcore.Options{Kind: linkcore.Privacy})
		check(t, err)
		u, pr, box := token(linkcore.Unsubscribe, "r1"), token(linkcore.Privacy, "r1"), strings.Trim(strings.TrimPrefix(sealed.URL, "https://"+host), "/")
		for _, test := range []struct{ name, target, beside, query string }{
			{"unsubscribe", "/" + u + "/?also=" + pr + "/", "/" + pr + "/?also=" + u + "/", ""},
			{"privacy", "/" + pr + "/?also=" + u + "/", "/" + u + "/?also=" + pr + "/", ""},
			{"sealed", "/" + u + "/?also=" + box + "/", "/" + box + "/?also=" + u + "/", ""},
			{"from sealed", "/" + box + "/?also=" + u, "/" + u + "/?also=" + box + "/", ""},
			{"with more", "/" + u + "/label?utm=1&amp;also=" + pr + "&x", "/" + pr + "/?also=" + u + "/", "utm=1&x"},
			{"query form", "/?id=" + u + "/&also=" + pr + "/", "/" + pr + "/?also=" + u + "/", ""},
			{"none", "/" + u + "/", "", ""},
			{"the same kind", "/" + u + "/?also=" + u + "/", "", ""},
			{"a click", "/" + u + "/?also=" + token(linkcore.Click, "r1"), "", ""},
			{"somebody else's", "/" + u + "/?also=" + token(linkcore.Privacy, "r2") + "/", "", ""},
			{"forged", "/" + u + "/?also=" + pr[:len(pr)-2] + "AA/", "", ""},
			{"markup", "/" + u + "/?also=" + pr + "\"><b>/", "", ""},
			{"elsewhere", "/" + u + "/?also=\\evil.example?id=" + pr + "/", "", ""},
			{"elsewhere again", "/" + u + "/?also=//evil.example/" + pr + "/", "", ""},
		} {
			if prefix != "" && strings.HasPrefix(test.target, "/?") {
				continue
			}
			for method, body := range map[string]string{"GET": "", "POST": oneClickBody + "&Tracking=Allow"} {
				r := httptest.NewRequest(method, "http://"+host+"/", strings.NewReader(body))
				r.Header.Set("Content-Type", urlencoded)
				r.RequestURI = prefix + test.target
				w := httptest.NewRecorder()
				p.ServeHTTP(w, r)
				href, count := "", 0
				if _, rest, ok := strings.Cut(w.Body.String(), `href="`); ok {
					href, _, _ = strings.Cut(rest, `"`)
					count = 1 + strings.Count(rest, "href=")
				}
				want := test.beside
				if want != "" {
					want = prefix + want
				}
				if w.Code != 200 || href != want || count > 1 || w.Header().Get("Content-Length") != "" && w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
					t.Errorf("%s %s: %d, it leads %d times to %q, want %q", method, test.name, w.Code, count, href, want)
				}
				for _, e := range p.sink.take() {
					if e.Type == event.Unsubscribe && e.Query != test.query {
						t.Errorf("%s: the event has the query %q, want %q", test.name, e.Query, test.query)
					}
				}
			}
		}
	}
}

// TestContrast: all text has the contrast of WCAG's level AA, 4.5, in light and
// dark.
func TestContrast(t *testing.T) {
	light, dark, ok := strings.Cut(layout, "prefers-color-scheme: dark")
	if !ok {
		t.Fatal("no dark colours")
	}
	for name, css := range map[string]string{"light": light, "dark": dark} {
		color := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]+);`).FindAllStringSubmatch(css, -1) {
			color[m[1]] = luminance(t, m[2])
		}
		for _, pair := range [][2]string{
			{"text", "card"}, {"quiet", "card"}, {"on-accent", "accent"}, {"on-accent", "accent-strong"}, {"accent", "card"}, {"card", "quiet"}, {"card", "text"},
		} {
			a, b := color[pair[0]], color[pair[1]]
			if contrast := (max(a, b) + .05) / (min(a, b) + .05); contrast < 4.5 {
				t.Errorf("%s: %s on %s: %.2f", name, pair[0], pair[1], contrast)
			}
		}
	}
}

// luminance is WCAG's relative luminance.
func luminance(t *testing.T, hex string) (l float64) {
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		check(t, err)
		c := float64(n) / 255
		if c <= .04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+.055)/1.055, 2.4)
		}
		l += weight * c
	}
	return l
}

func TestPixel(t *testing.T) {
	if len(pixel) != 43 {
		t.Errorf("%d bytes", len(pixel))
	}
	picture, err := gif.Decode(bytes.NewReader(pixel))
	check(t, err)
	if picture.Bounds() != image.Rect(0, 0, 1, 1) {
		t.Errorf("size %v", picture.Bounds())
	}
	if _, _, _, alpha := picture.At(0, 0).RGBA(); alpha != 0 {
		t.Error("not transparent")
	}
}

func TestIcon(t *testing.T) {
	var sizes []int
	count := int(binary.LittleEndian.Uint16(icon[4:]))
	for i := range count {
		entry := icon[6+16*i:]
		length, offset := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
		picture, err := png.Decode(bytes.NewReader(icon[offset : offset+length]))
		check(t, err)
		if size := picture.Bounds().Size(); size.X != int(entry[0]) || size.Y != int(entry[1]) {
			t.Errorf("%v is announced as %d×%d", size, entry[0], entry[1])
		}
		sizes = append(sizes, int(entry[0]))
	}
	if !slices.Equal(sizes, []int{16, 32, 48}) {
		t.Errorf("sizes %v", sizes)
	}
}

package redirect

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/gif"
	"image/png"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var pages = map[string][]byte{
	"404": invalidPage, "410": blockedPage, "unsubscribe": unsubscribePage, "unsubscribed": unsubscribedPage,
	"400": notUnsubscribedPage, "405": methodPage, "503": unavailablePage,
	"tracked": trackedPage, "untracked": untrackedPage, "stopped": stoppedPage, "allowed": allowedPage, "not stopped": notStoppedPage, "nameless": namelessPage,
}

// TestPages: each is small, whole, asks nobody for anything and has what a
// screen reader looks for.
func TestPages(t *testing.T) {
	for name, page := range pages {
		s := string(page)
		if len(s) > 4096 {
			t.Errorf("%s: %d bytes", name, len(s))
		}
		for _, want := range []string{
			"<!doctype html>", `<html lang="en">`, `<meta charset="utf-8">`, `name="viewport"`,
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
		if bad := regexp.MustCompile(`(?i)<script|src=|href=|url\(|@import|action=|\bon[a-z]+=|style="|\{\{|https?:`).FindString(s); bad != "" {
			t.Errorf("%s: has %s", name, bad)
		}
		buttons := strings.Count(s, "<button>")
		posts := strings.Count(s, `<form method="post">`)
		field, want := "", 1
		switch name {
		case "unsubscribe", "400":
			field = `name="List-Unsubscribe" value="One-Click"`
		case "tracked", "allowed", "not stopped":
			field = `name="Tracking" value="Stop"`
		case "untracked", "stopped":
			field = `name="Tracking" value="Allow"`
		default:
			field, want = "<input", 0
		}
		if buttons != want || posts != want || strings.Count(s, field) != want {
			t.Errorf("%s: %d buttons, %d forms", name, buttons, posts)
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
			{"text", "card"}, {"quiet", "card"}, {"on-accent", "accent"}, {"on-accent", "accent-strong"}, {"accent", "card"},
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

package email

import (
	"bytes"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
)

func TestPlaces(t *testing.T) {
	ring, o := setup(t)
	o.Honeypot = "https://e.com/trap"
	for _, c := range []struct{ name, in, top, end string }{
		{"document", "<!doctype html><html><head><title>x</title></head><body class=x>\nHi</body></html>\n",
			"<!doctype html><html><head><title>x</title></head><body class=x>⟦pixel⟧\nHi⟦honeypot⟧</body></html>\n",
			"<!doctype html><html><head><title>x</title></head><body class=x>\nHi⟦honeypot⟧⟦pixel⟧</body></html>\n"},
		{"the last </body>", "<body>1</body><p>2</body>3</html>",
			"<body>⟦pixel⟧1</body><p>2⟦honeypot⟧</body>3</html>", "<body>1</body><p>2⟦honeypot⟧⟦pixel⟧</body>3</html>"},
		{"no body tags", "<!doctype html><html><head><meta charset=utf-8><style>p{}</style></head>\n<p>x</p></html>",
			"<!doctype html><html><head><meta charset=utf-8><style>p{}</style></head>\n⟦pixel⟧<p>x</p>⟦honeypot⟧</html>",
			"<!doctype html><html><head><meta charset=utf-8><style>p{}</style></head>\n<p>x</p>⟦honeypot⟧⟦pixel⟧</html>"},
		{"byte order mark", "\uFEFF<!doctype html><html><body>Hi", "\uFEFF<!doctype html><html><body>⟦pixel⟧Hi⟦honeypot⟧", "\uFEFF<!doctype html><html><body>Hi⟦honeypot⟧⟦pixel⟧"},
		{"fragment", "Hi <b>you</b>", "⟦pixel⟧Hi <b>you</b>⟦honeypot⟧", "Hi <b>you</b>⟦honeypot⟧⟦pixel⟧"},
		{"doctype only", "<!doctype html>\nHi", "<!doctype html>⟦pixel⟧\nHi⟦honeypot⟧", "<!doctype html>\nHi⟦honeypot⟧⟦pixel⟧"},
		{"noscript in the head", "<head><noscript><style>p{}</style></noscript></head><p>", "<head><noscript><style>p{}</style></noscript></head>⟦pixel⟧<p>⟦honeypot⟧", "<head><noscript><style>p{}</style></noscript></head><p>⟦honeypot⟧⟦pixel⟧"},
		{"empty body", "<html><head></head></body></html>", "<html><head></head>⟦pixel⟧⟦honeypot⟧</body></html>", "<html><head></head>⟦honeypot⟧⟦pixel⟧</body></html>"},
		{"empty", "", "⟦pixel⟧⟦honeypot⟧", "⟦honeypot⟧⟦pixel⟧"},
		{"body for Outlook and body for others", "<!--[if mso]><body class=m><![endif]-->\n<!--[if !mso]><!--><body class=n><!--<![endif]-->\nHi\n<!--[if !mso]><!--></body><!--<![endif]--><!--[if mso]></body><![endif]-->",
			"<!--[if mso]><body class=m><![endif]-->\n<!--[if !mso]><!--><body class=n><!--<![endif]-->⟦pixel⟧\nHi\n⟦honeypot⟧<!--[if !mso]><!--></body><!--<![endif]--><!--[if mso]></body><![endif]-->",
			"<!--[if mso]><body class=m><![endif]-->\n<!--[if !mso]><!--><body class=n><!--<![endif]-->\nHi\n⟦honeypot⟧⟦pixel⟧<!--[if !mso]><!--></body><!--<![endif]--><!--[if mso]></body><![endif]-->"},
		{"ghost table behind the body tag", "<body><!--[if mso]><table><tr><td><![endif]-->Hi</body>", "<body>⟦pixel⟧<!--[if mso]><table><tr><td><![endif]-->Hi⟦honeypot⟧</body>", "<body><!--[if mso]><table><tr><td><![endif]-->Hi⟦honeypot⟧⟦pixel⟧</body>"},
		{"</body> in a comment", "<body>Hi<!-- </body> -->you", "<body>⟦pixel⟧Hi<!-- </body> -->you⟦honeypot⟧", "<body>Hi<!-- </body> -->you⟦honeypot⟧⟦pixel⟧"},
		{"cut in a tag", "<body>Hi <a href='x", "<body>⟦pixel⟧Hi ⟦honeypot⟧<a href='x", "<body>Hi ⟦honeypot⟧⟦pixel⟧<a href='x"},
		{"cut in a comment", "<body>Hi <!-- </body>", "<body>⟦pixel⟧Hi ⟦honeypot⟧<!-- </body>", "<body>Hi ⟦honeypot⟧⟦pixel⟧<!-- </body>"},
		{"cut in raw text", "<body>Hi <style class=x>p{}</body>", "<body>⟦pixel⟧Hi ⟦honeypot⟧<style class=x>p{}</body>", "<body>Hi ⟦honeypot⟧⟦pixel⟧<style class=x>p{}</body>"},
		{"cut behind a raw text's tag", "Hi <title>", "⟦pixel⟧Hi ⟦honeypot⟧<title>", "Hi ⟦honeypot⟧⟦pixel⟧<title>"},
		{"cut in a raw text's end tag", "Hi <title>x</title ", "⟦pixel⟧Hi ⟦honeypot⟧<title>x</title ", "Hi ⟦honeypot⟧⟦pixel⟧<title>x</title "},
		{"cut behind </", "Hi </", "⟦pixel⟧Hi ⟦honeypot⟧</", "Hi ⟦honeypot⟧⟦pixel⟧</"},
		{"cut in the head", "<html><head><title>x", "<html><head>⟦pixel⟧⟦honeypot⟧<title>x", "<html><head>⟦honeypot⟧⟦pixel⟧<title>x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for pixel, want := range map[Pixel]string{PixelTop: c.top, PixelEnd: c.end} {
				o.Pixel = pixel
				w := mustNew(t, o)
				r := mustHTML(t, w, c.in)
				got := legible(t, ring, r)
				if c.top == strings.Replace(c.end, "⟦honeypot⟧⟦pixel⟧", "⟦pixel⟧⟦honeypot⟧", 1) {
					got = strings.Replace(got, "⟦honeypot⟧⟦pixel⟧", "⟦pixel⟧⟦honeypot⟧", 1)
					want = strings.Replace(want, "⟦honeypot⟧⟦pixel⟧", "⟦pixel⟧⟦honeypot⟧", 1)
				}
				if got != want {
					t.Errorf("%s:\ngot  %s\nwant %s", pixel, got, want)
				}
				if again := mustHTML(t, w, string(r.Output)); !bytes.Equal(again.Output, r.Output) {
					t.Errorf("%s: rewriting again makes\n%s of\n%s", pixel, again.Output, r.Output)
				}
			}
		})
	}
}

func TestTraps(t *testing.T) {
	ring, o := setup(t)
	for _, form := range []linkcore.Form{linkcore.PathForm, linkcore.QueryForm} {
		for _, sealed := range []bool{false, true} {
			o.Form, o.Sealed, o.Pixel, o.Honeypot = form, sealed, PixelEnd, "https://Trap.example/ü"
			var err error
			if o.PixelSigner, err = ring.Signer("https://pixel.example", "1"); err != nil {
				t.Fatal(err)
			}
			w := mustNew(t, o)
			r := mustHTML(t, w, `<p>Hi`)
			open := checkLink(t, ring, r.Pixel, "")
			if open.Kind != linkcore.Open || open.Host != "pixel.example" || !strings.HasPrefix(open.Fields.Link, "0-") || open.Recipient != "r1" {
				t.Errorf("the pixel is %+v", open)
			}
			trap := checkLink(t, ring, r.Honeypot, "https://Trap.example/%C3%BC")
			if trap.Kind != linkcore.Click || !strings.HasPrefix(trap.Fields.Link, "hp_") || trap.Recipient != "r1" || trap.Host != "links.example.com" {
				t.Errorf("the honeypot is %+v", trap)
			}
			if again := mustHTML(t, w, string(r.Output)); !bytes.Equal(again.Output, r.Output) {
				t.Errorf("rewriting again makes %s of %s", again.Output, r.Output)
			}
		}
	}
	o.Pixel, o.Honeypot = NoPixel, ""
	if r := mustHTML(t, mustNew(t, o), `<p>Hi`); string(r.Output) != `<p>Hi` {
		t.Errorf("without being asked: %s", r.Output)
	}
}

func TestWarnings(t *testing.T) {
	ring, o := setup(t)
	var err error
	if o.Signer, err = ring.Signer("http://x.run.app", "1"); err != nil {
		t.Fatal(err)
	}
	o.Pixel = PixelEnd
	small := mustHTML(t, mustNew(t, o), `<a href="https://e.com/"><a href="https://e.com/">`)
	if len(small.Warnings) != 2 || len(small.Links[0].Warnings) > 0 {
		t.Errorf("of the base URL: %q, %q", small.Warnings, small.Links[0].Warnings)
	}
	_, o = setup(t)
	for _, c := range []struct {
		size  int
		pixel Pixel
		want  string
	}{
		{101_000, PixelEnd, ""},
		{101_900, PixelEnd, "Gmail clips a mail at 102 KB, and what is behind is not seen; the pixel neither: put it at the top"}, // by the pixel itself
		{101_900, NoPixel, ""},
		{110_000, NoPixel, "the HTML has 110 KB: Gmail clips a mail at 102 KB, and what is behind is not seen"},
		{110_000, PixelTop, "and what is behind is not seen"},
	} {
		o.Pixel = c.pixel
		r := mustHTML(t, mustNew(t, o), strings.Repeat("0123456789", c.size/10))
		if got := strings.Join(r.Warnings, "\n"); c.want == "" && got != "" || !strings.HasSuffix(got, c.want) && !strings.Contains(got, c.want) {
			t.Errorf("%d bytes, pixel %s: %q", c.size, c.pixel, got)
		}
	}
}

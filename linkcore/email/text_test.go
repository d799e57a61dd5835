package email

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// TestFindURLs marks each URL that is found as «URL», and as ‹URL› if it is
// found and left alone.
func TestFindURLs(t *testing.T) {
	for _, want := range []string{
		// Sentences.
		"See «https://example.com/a».", "See «https://example.com/a», then", "«https://example.com»!", "«http://example.com/»?", "Is it «https://example.com/a»?",
		"«https://example.com/a»...", "«https://example.com/a»; b", "«https://example.com/a»:", "\"«https://example.com/a»\"", "'«https://example.com/a»'", "'«https://example.com/a»'b'",
		"«https://example.com/it's»", "*«https://example.com/a»*", "**«https://example.com/a»**", "_«https://example.com/a»_", "«https://youtu.be/abc_»", "«https://youtu.be/abc-» x", "`«https://example.com/a»`",
		"«https://example.com/»", "«https://example.com/a/».", "«https://example.com/a=»", "«https://example.com/a&b»", "«https://example.com/#»", "«https://example.com/100%»",
		"a:«https://example.com»", "x=«https://example.com»", "•«https://example.com»", "...«https://example.com»", "-«https://example.com»",
		"«HTTPS://EXAMPLE.COM/A»", "«hTTp://example.com»",
		// Brackets.
		"(«https://example.com/a»)", "(see «https://example.com/a».)", "«https://en.wikipedia.org/wiki/Go_(game)»", "(«https://en.wikipedia.org/wiki/Go_(game)»)", "(«https://en.wikipedia.org/wiki/Go_(game)»).",
		"«https://example.com/a_(b)_(c)»,", "[«https://example.com/a»]", "[text](«https://example.com/a»)", "[text](«https://example.com/a_(b)»)", "[«https://example.com/a»](«https://example.com/b»)",
		"«https://example.com/?a[]=1&b[0]=2»", "{«https://example.com/a»}", "«https://example.com/a»(b c)", "«https://example.com/{id}/x»", "«https://example.com/a»)b", "«https://[::1]:8080/a»", "«https://example.com/a»[1 b",
		// What only a host ends would go on once there is a path.
		"‹https://example.com›(a)", "«https://example.com»(the site)", "‹https://example.com›[1]", "‹https://example.com›!b", "‹https://example.com›,b", "«https://example.com», b",
		// Angle brackets.
		"<«https://example.com/a.»>", "<«https://example.com/a» b", "<URL:«https://example.com/a,»>", "<url:«http://example.com/»>", "Example<«https://example.com»>", "<a href=\"«https://example.com/a»\">",
		"<«https://example.com/a»\"b>", "<«https://example.com/»({x y}) z>", "<‹https://example.com/a›\n> b>", "<‹https://example.com›\nfoo>",
		// Several.
		"«https://a.example»,«https://b.example»", "«https://a.example/x»|«https://b.example»", "«https://a.example» | «https://b.example»", "«https://example.com/?u=https://b.example/x»", "«https://example.com/https://b.example»",
		"«https://a.example/»;«http://b.example/»", "«https://maps.example/?q=a|b»",
		// Schemes and hosts.
		"ftp://example.com/https://example.com/", "git+https://example.com/a", "xhttps://example.com", "://example.com", "https://", "https:// example.com", "whatsapp://send?text=https://example.com/a", "mailto:a@example.com", "javascript:alert(1)",
		"«www.example.com»", "«www.example.com/a?b».", "(«www.example.co.uk»)", "Web:«www.example.com»", "<«www.example.com»>", "«WWW.EXAMPLE.COM»", "a.www.example.com", "me@www.example.com", "www.example", "www.", "www.a@example.com", "ftp://www.example.com", "/www.example.com", "wwww.example.com", "www.1.2", "www..com", "«www.example.com:8080/a»", "«www.bücher.example»",
		// Other languages.
		"«https://de.wikipedia.org/wiki/Köln»", "«https://ru.example/путь»", "«https://bücher.example/ü?q=é»", "„«https://example.com/a»“", "«https://example.com/a»”", "«https://example.com/a»…", "«https://example.com/a»。次", "（«https://example.com/a»）", "「«https://example.com/a»」",
		"詳細は«https://example.com/a»", "‹https://example.com/aをご覧ください›", "‹https://example.com/をご覧ください› x", "<«https://ja.wikipedia.org/wiki/東京»>", "«https://例え.テスト/»", "‹https://example.com에서›", "‹https://example.com/›’s b", "‹https://example.com/a›—which", "«https://example.com/a» — which", "‹https://example.com/🎉›", "«https://example.com/a»\u00a0b", "«https://example.com/a»\u200bb", "«https://example.com/a»\u3000b",
		"«https://example.com/\xfcber» b",
		// Placeholders belong to the URL.
		"«https://example.com/?u={{ id }}».", "«https://example.com/{% if a %}b{% endif %}/c»", "«https://example.com/*|EMAIL ADDRESS|*», a", "«https://example.com/[[first name]]»", "«https://example.com/%%id%%»", "«https://{{host}}/a»", "«https://example.com/{{{a b}}}/c»", "‹https://example.com/›{{a b", "<«https://example.com/?a={{ b }}»>",
		// Entities that a careless program left.
		"&lt;«https://example.com/a»&gt;", "&quot;«https://example.com/a»&quot;.", "«https://example.com/?a=1&amp;b=2»",
		// Control characters.
		"«https://example.com/a»\x00b", "«https://example.com/a»\tb", "«https://example.com/a»\r\nb", "\\«https://example.com/a»\\", "«https://example.com/a»\x7f",
		"", "no link", "http", "w", "www",
	} {
		src := strings.NewReplacer("«", "", "»", "", "‹", "", "›", "").Replace(want)
		var got strings.Builder
		at := 0
		for u := range findURLs([]byte(src)) {
			left, right := "«", "»"
			if u.problem != "" {
				left, right = "‹", "›"
			}
			fmt.Fprintf(&got, "%s%s%s%s", src[at:u.start], left, src[u.start:u.end], right)
			at = u.end
		}
		got.WriteString(src[at:])
		if got.String() != want {
			t.Errorf("%q\nfinds %q\nwant  %q", src, got.String(), want)
		}
	}
}

func TestFindURLsInAngleBrackets(t *testing.T) {
	for _, c := range []struct{ in, url string }{
		{"<https://example.com/a\nb>", "https://example.com/ab"},
		{"<https://example.com/a\r\n  b/c \r\n\td>", "https://example.com/ab/cd"},
		{"<URL:http://example.com/a?\nb=c.>", "http://example.com/a?b=c."},
		{"<www.example.com/a>", "http://www.example.com/a"},
	} {
		var urls []string
		for u := range findURLs([]byte(c.in)) {
			urls = append(urls, u.url)
			if u.problem != "" {
				t.Errorf("%q: %s", c.in, u.problem)
			}
		}
		if len(urls) != 1 || urls[0] != c.url {
			t.Errorf("%q: %q, want %q", c.in, urls, c.url)
		}
	}
	for _, in := range []string{
		"<https://example.com/a\n\nb>",               // a paragraph ends
		"<https://example.com\n/a>",                  // the host may go on
		"<https://example.com/a\nhttps://b.example>", // another begins
		"<https://example.com/a\nb c>",
	} {
		for u := range findURLs([]byte(in)) {
			if strings.HasPrefix(u.url, "https://example.com") && u.problem != problemBroken {
				t.Errorf("%q: %+v", in, u)
			}
		}
	}
}

// A text that is made to be slow must not be.
func TestFindURLsLinear(t *testing.T) {
	testsize.Medium(t)
	for _, unit := range []string{"https://", "https://a/(", "(www.a", "www.a:", "<https://a/", "<https://a/\n", "{{", "https://a/{{", "*|", "https://a/!", "[[https://a/", "://", "http://a,", "https://a/\xe3\x81\x82", "&gt;", "www.a@"} {
		t.Run(unit, func(t *testing.T) {
			checkLinear(t, 1_000, func(n int) string { return strings.Repeat(unit, n/len(unit)) }, func(src []byte) error {
				for range findURLs(src) {
				}
				return nil
			})
		})
	}
}

func TestText(t *testing.T) {
	w := mailing(t, Options{})
	src := "Hello,\r\n\r\nsee https://example.com/a (or www.example.com).\r\n> https://example.com/a\r\nhttps://example.com/{{id}}\r\n-- \r\nme <https://example.org/>\r\n"
	r, err := w.Text(testFields, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	checkTracked(t, "text", src, r)
	if len(r.Links) != 5 {
		t.Fatalf("%d links: %+v", len(r.Links), r.Links)
	}
	for i, want := range []struct {
		line        int
		destination string
	}{{3, "https://example.com/a"}, {3, "http://www.example.com"}, {4, "https://example.com/a"}, {5, ""}, {7, "https://example.org/"}} {
		l := r.Links[i]
		if l.Line != want.line || l.Destination != want.destination || l.Position != i+1 || l.Part != "text" {
			t.Errorf("link %d: %+v, want %+v", i+1, l, want)
		}
	}
	if r.Links[0].ID == r.Links[2].ID {
		t.Error("two links to the same place share an id")
	}
	again, err := w.Text(testFields, r.Output)
	if err != nil || !bytes.Equal(again.Output, r.Output) {
		t.Errorf("rewriting it again changes it: %v", err)
	}
}

func TestTextLineLength(t *testing.T) {
	w := mailing(t, Options{})
	url := "https://example.com/"
	for _, c := range []struct {
		name    string
		src     string
		tracked int
		longest int
	}{
		{"short", strings.Repeat("word ", 20) + url, 1, maxLine},
		{"nearly full", strings.Repeat("x", 900) + " " + url + "\n" + url + "\n", 1, maxLine},
		{"second does not fit", strings.Repeat("x", 820) + " " + url + " " + url + "\n", 1, maxLine},
		{"ends in CRLF", strings.Repeat("x", 900) + " " + url + "\r\n" + url, 1, maxLine},
		{"was longer before", strings.Repeat("x", 1500) + " " + url + "\n", 1, 2000},
	} {
		r, err := w.Text(testFields, []byte(c.src))
		if err != nil {
			t.Fatal(err)
		}
		tracked := 0
		for i, l := range r.Links {
			if l.Action == ActionTracked {
				tracked++
			} else if l.Reason != problemLine {
				t.Errorf("%s: %s", c.name, l.Reason)
			}
			if l.Position != i+1 {
				t.Errorf("%s: link %d has position %d", c.name, i+1, l.Position)
			}
		}
		if tracked != c.tracked {
			t.Errorf("%s: %d links are tracked, want %d", c.name, tracked, c.tracked)
		}
		for line := range bytes.Lines(r.Output) {
			if n := len(bytes.TrimRight(line, "\r\n")); n > c.longest {
				t.Errorf("%s: a line has %d bytes", c.name, n)
			}
		}
		checkTracked(t, c.name, c.src, r)
	}
}

func TestTextRefused(t *testing.T) {
	w := mailing(t, Options{})
	for _, c := range []struct {
		src string
		err error
	}{
		{"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhttps://example.com\n-----BEGIN PGP SIGNATURE-----\n", ErrSigned},
		{"Hi\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n", ErrEncrypted},
		{"> -----BEGIN PGP MESSAGE-----\n", nil},
		{"Write -----BEGIN PGP SIGNED MESSAGE----- first\n", nil},
	} {
		if _, err := w.Text(testFields, []byte(c.src)); !errors.Is(err, c.err) {
			t.Errorf("%q: %v", c.src, err)
		}
	}
	if _, err := w.Text(linkcore.Fields{Link: "x"}, nil); err == nil {
		t.Error("a link is taken for all links")
	}
}

func TestFlowed(t *testing.T) {
	w := mailing(t, Options{})
	for _, c := range []struct {
		name  string
		delSp bool
		src   string
		want  string // with each destination in «» where its link stands
	}{
		{"soft break after a URL", false, "see https://example.com/a \r\nand more\r\n", "see «https://example.com/a» \r\nand more\r\n"},
		{"not broken without DelSp", false, "https://example.com/a \r\nb\r\n", "«https://example.com/a» \r\nb\r\n"},
		{"broken with DelSp", true, "see https://example.com/a \r\nb now\r\n", "see «https://example.com/ab» now\r\n"},
		{"over three lines", true, "<https://exam \r\nple.com/a \r\nb>\r\n", "<«https://example.com/ab»>\r\n"},
		{"LF", true, "https://example.com/a \nb\nhttps://example.com/c\n", "«https://example.com/ab»\n«https://example.com/c»\n"},
		{"a word's space before the soft break", true, "https://example.com/a  \r\nb\r\n", "«https://example.com/a»  \r\nb\r\n"},
		{"stuffed", true, "https://example.com/a \r\n b\r\n", "«https://example.com/ab»\r\n"},
		{"quoted", true, "> https://example.com/a \r\n> b\r\n", "> «https://example.com/ab»\r\n"},
		{"quoted twice", true, ">> https://example.com/a \r\n>> b\r\n", ">> «https://example.com/ab»\r\n"},
		{"other depth", true, "> https://example.com/a \r\nb\r\n", "> «https://example.com/a» \r\nb\r\n"},
		{"signature", true, "https://example.com/a \r\n-- \r\nhttps://example.com/b\r\n", "«https://example.com/a» \r\n-- \r\n«https://example.com/b»\r\n"},
		{"signature is not a soft break", true, "-- \r\nhttps://example.com/b\r\n", "-- \r\n«https://example.com/b»\r\n"},
		{"end of text", true, "https://example.com/a ", "«https://example.com/a» "},
		{"end after soft break", true, "https://example.com/a \r\n", "«https://example.com/a» \r\n"},
		{"empty", true, "", ""},
	} {
		parameters := "; format=flowed"
		if c.delSp {
			parameters += "; DelSp=yes"
		}
		head := "From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8" + parameters + "\r\n\r\n"
		r, err := w.Message(testFields, []byte(head+c.src))
		if err != nil {
			t.Fatal(err)
		}
		got := string(r.Output)
		for _, l := range r.Links {
			got = strings.Replace(got, l.Tracked, "«"+l.Destination+"»", 1)
		}
		if got != head+c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got[min(len(got), len(head)):], c.want)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{
		"see https://example.com/a (or www.example.com).", "<https://example.com/a\r\n b>", "https://example.com(a) 'https://b.example'c", "https://例え.テスト/をご覧", "https://a.example/{{ x }}*|y z|*[[q]]", "> https://a \r\n> b\r\n-- \r\n", strings.Repeat("x", 900) + " https://example.com/",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	w := mailing(f, Options{})
	f.Fuzz(func(t *testing.T, src []byte, delSp bool) {
		rewrite := func(src []byte) (Result, []edit) {
			m, err := w.newMail(testFields)
			if err != nil {
				t.Fatal(err)
			}
			format := textFormat{delSp: delSp, bounded: true}
			m.lookAheadText(src, format)
			edits, err := m.text(src, "text", format)
			if err != nil {
				t.Fatal(err)
			}
			return m.result(apply(src, edits)), edits
		}
		r, edits := rewrite(src)
		restored := r.Output
		for i := len(edits) - 1; i >= 0; i-- {
			// Every edit is a link of the report, in order.
			n := len(restored)
			at := bytes.LastIndex(restored, []byte(edits[i].text))
			if at < 0 {
				t.Fatalf("the link %q is not in %q", edits[i].text, r.Output)
			}
			restored = append(append(append(make([]byte, 0, n), restored[:at]...), src[edits[i].start:edits[i].end]...), restored[at+len(edits[i].text):]...)
		}
		if !bytes.Equal(restored, src) {
			t.Fatalf("%q\nbecomes %q\nwhich is %q without its links", src, r.Output, restored)
		}
		checkLinks(t, r)
		if again, edits := rewrite(r.Output); len(edits) > 0 {
			t.Fatalf("%q\nbecomes %q\nand then %q", src, r.Output, again.Output)
		}
	})
}

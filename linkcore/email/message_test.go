package email

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// crlf gives a message in a test's source the line ends of mail.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// leaf is a part as another library reads it.
type leaf struct {
	mediaType  string
	attachment bool
	header     []string // raw fields
	content    string   // decoded, text in UTF-8
}

// readWithLibrary reads a message with go-message, from the entities that are
// no multiparts.
func readWithLibrary(t testing.TB, src []byte) (leaves []leaf, ok bool) {
	t.Helper()
	entity, err := message.ReadWithOptions(bytes.NewReader(src), &message.ReadOptions{MaxHeaderBytes: -1})
	if entity == nil || err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return nil, false
	}
	ok = true
	err = entity.Walk(func(_ []int, e *message.Entity, err error) error {
		if e == nil || err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
			ok = false
			return err
		}
		var l leaf
		for fields := e.Header.Fields(); fields.Next(); {
			raw, err := fields.Raw()
			if err != nil {
				return err
			}
			l.header = append(l.header, string(raw))
		}
		l.mediaType, _, _ = e.Header.ContentType()
		if strings.HasPrefix(l.mediaType, "multipart/") {
			leaves = append(leaves, l)
			return nil
		}
		disposition, _, _ := e.Header.ContentDisposition()
		l.attachment = disposition == "attachment"
		content, err := io.ReadAll(e.Body)
		if err != nil {
			ok = false
		}
		l.content = string(content)
		leaves = append(leaves, l)
		return nil
	})
	return leaves, ok && err == nil
}

// checkWithLibrary compares source and output, as another library reads them.
// In the texts each tracked link is put back first.
func checkWithLibrary(t testing.TB, name string, src []byte, r Result) {
	t.Helper()
	before, ok := readWithLibrary(t, src)
	if !ok {
		t.Fatalf("%s: go-message does not read the source", name)
	}
	after, ok := readWithLibrary(t, r.Output)
	if !ok || len(after) != len(before) {
		t.Fatalf("%s: go-message does not read the output:\n%s", name, r.Output)
	}
	for i := range before {
		header := slices.DeleteFunc(slices.Clone(after[i].header), func(field string) bool { return !slices.Contains(before[i].header, field) })
		missing := slices.DeleteFunc(slices.Clone(before[i].header), func(field string) bool {
			return slices.Contains(header, field) || strings.HasPrefix(field, "Content-Transfer-Encoding:")
		})
		if len(missing) > 0 {
			t.Errorf("%s: header fields changed: %q", name, missing)
		}
		content := after[i].content
		for _, l := range r.Links {
			if l.Action == ActionTracked {
				content = strings.Replace(content, l.Tracked, l.Found, 1)
				content = strings.Replace(content, strings.ReplaceAll(l.Tracked, "&", "&amp;"), l.Found, 1)
			}
		}
		if content != before[i].content {
			t.Errorf("%s: part %d (%s) differs:\n%q\n%q", name, i, before[i].mediaType, before[i].content, content)
		}
	}
}

func rewriteMessage(t testing.TB, o Options, src string) Result {
	t.Helper()
	w := mailing(t, o)
	r, err := w.Message(testFields, []byte(src))
	if err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	checkLinks(t, r)
	again, err := w.Message(testFields, r.Output)
	if err != nil || !bytes.Equal(again.Output, r.Output) {
		t.Errorf("rewriting it again makes %q\nof %q: %v", again.Output, r.Output, err)
	}
	return r
}

// destinations lists what is tracked: part, line and destination.
func destinations(r Result) (all []string) {
	for _, l := range r.Links {
		if l.Action == ActionTracked {
			all = append(all, fmt.Sprintf("%s:%d %s", l.Part, l.Line, l.Destination))
		}
	}
	return all
}

const alternative = `From: News <news@example.com>
To: reader@example.org
Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=
X-Odd :  kept   as it is	
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer=_1"

Preamble with https://example.com/preamble
--outer=_1
Content-Type: multipart/alternative;
 boundary="outer=_1b"

--outer=_1b  
Content-Type: text/plain; charset=utf-8

Text: https://example.com/text.
--outer=_1b
Content-Type: text/x-amp-html

<a href="https://example.com/amp">a</a>

--outer=_1b
Content-Type: multipart/related; boundary="r"

--r
Content-Type: TEXT/HTML; charset="utf-8"
Content-Transfer-Encoding: Quoted-Printable

<p>=C3=BC <a class=3D"b" href=3D"https://example.com/h=
tml?a=3d1">link</a>
--outer
--r
Content-Type: image/png
Content-Transfer-Encoding: base64
Content-ID: <a>

aHR0cHM6Ly9leGFtcGxlLmNvbS8=
--r--
epilogue https://example.com/
--outer=_1b--
--outer=_1
Content-Type: text/html; charset=utf-8
Content-Disposition: attachment; filename="a.html"

<a href="https://example.com/attachment">a</a>
--outer=_1
Content-Type: text/plain; name="notes.txt"

https://example.com/file
--outer=_1
Content-Type: text/plain
Content-Disposition: inline

inline https://example.com/inline
--outer=_1
Content-Type: message/rfc822

From: other@example.com
Content-Type: text/plain

https://example.com/forwarded
--outer=_1
Content-Disposition: x-unknown

https://example.com/unknown
--outer=_1--

Epilogue https://example.com/epilogue
`

func TestMessageParts(t *testing.T) {
	want := []string{
		"text/plain 1.1:1 https://example.com/text",
		"text/x-amp-html 1.2:1 https://example.com/amp",
		"text/html 1.3.1:1 https://example.com/html?a=1",
		"text/plain 4:1 https://example.com/inline",
	}
	for name, src := range map[string]string{
		"LF": alternative, "CRLF": crlf(alternative),
		"mbox": "From news@example.com Thu Jan  1 00:00:00 2026\n" + alternative,
		"cut":  alternative[:strings.Index(alternative, "--outer=_1\nContent-Type: message")],
	} {
		r := rewriteMessage(t, Options{}, src)
		if got := destinations(r); !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", name, got, want)
		}
		if cut := strings.Contains(strings.Join(r.Warnings, "\n"), "may have been cut"); cut != (name == "cut") || !strings.Contains(strings.Join(r.Warnings, "\n"), "text/plain 3 is left alone: it is taken for a file") {
			t.Errorf("%s: %q", name, r.Warnings)
		}
		// Everything but the lines with links is the same.
		restored := string(r.Output)
		for _, l := range r.Links {
			if l.Part != "text/html 1.3.1" {
				restored = strings.Replace(restored, l.Tracked, l.Found, 1)
			}
		}
		before, after := "<p>=C3=BC <a class=3D\"b\" href=3D\"", "\">link</a>"
		start := strings.Index(restored, before) + len(before)
		end := start + strings.Index(restored[start:], after)
		restored = restored[:start] + src[strings.Index(src, before)+len(before):strings.Index(src, after)] + strings.TrimPrefix(restored[end:], "")
		restored = strings.Replace(restored, "=\r\n\">link", "\">link", 1)
		if restored != src {
			t.Errorf("%s: other bytes changed:\n%s", name, restored)
		}
		if name != "mbox" && name != "cut" {
			checkWithLibrary(t, name, []byte(src), r)
		}
	}
}

// An anonymous mailing is the same for all, and an untracked one stays as it
// is.
// The parts that were not chosen keep each byte.
func TestMessageChosenParts(t *testing.T) {
	for _, test := range []struct {
		parts      Parts
		html, text bool // tracked
	}{{"", true, true}, {AllParts, true, true}, {HTMLParts, true, false}, {TextParts, false, true}} {
		r := rewriteMessage(t, Options{Parts: test.parts, Pixel: PixelEnd}, alternative)
		out := string(r.Output)
		if strings.Contains(out, "Text: https://example.com/text.\n") == test.text {
			t.Errorf("parts %q: the text is tracked: %v", test.parts, !test.text)
		}
		if strings.Contains(out, `<a href="https://example.com/amp">a</a>`) == test.html || strings.Contains(out, "<img") != test.html {
			t.Errorf("parts %q: the HTML is tracked: %v\n%s", test.parts, !test.html, out)
		}
	}
}

func TestMessageTracking(t *testing.T) {
	a := rewriteMessage(t, Options{Tracking: Anonymous}, alternative)
	b := rewriteMessage(t, Options{Tracking: Anonymous}, alternative)
	if !bytes.Equal(a.Output, b.Output) || len(destinations(a)) != 4 {
		t.Error("two anonymous mails differ")
	}
	if r := rewriteMessage(t, Options{Tracking: Off, Pixel: PixelEnd}, alternative); string(r.Output) != alternative {
		t.Error("tracking is off and the mail changed")
	}
}

// The pixel stands in the last HTML part that is shown.
func TestMessagePixel(t *testing.T) {
	src := crlf(`From: a@example.com
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html

<html><body>one</body></html>
--b
Content-Type: text/html; charset=iso-2022-jp
Content-Transfer-Encoding: base64

` + base64.StdEncoding.EncodeToString([]byte("<html><body>\x1b$BF|K\\\x1b(B</body></html>")) + `
--b
Content-Type: text/html; charset=x-unknown

<html><body>three</body></html>
--b
Content-Type: text/html
Content-Disposition: attachment

<html><body>four</body></html>
--b--
`)
	r := rewriteMessage(t, Options{Pixel: PixelEnd, Honeypot: "https://example.com/trap"}, src)
	leaves, ok := readWithLibrary(t, r.Output)
	if !ok {
		// The unknown charset is not read; the others are.
		t.Log("go-message reports the unknown charset")
	}
	if r.Pixel == "" || r.Honeypot == "" || len(r.Warnings) != 1 {
		t.Errorf("pixel %q, honeypot %q, warnings %q", r.Pixel, r.Honeypot, r.Warnings)
	}
	for i, l := range leaves {
		if has := strings.Contains(l.content, "<img"); has != (i == 2) {
			t.Errorf("part %d: %q", i, l.content)
		}
	}
}

func TestTransferEncodings(t *testing.T) {
	const link = "https://example.com/page?a=1&b=2"
	long := strings.Repeat("0123456789", 95)
	html := func(s string) string { return "<p>" + s + "<a href='" + link + "'>x</a></p>\n" }
	encode := func(s string, width int) string {
		s = base64.StdEncoding.EncodeToString([]byte(s))
		var lines []string
		for ; len(s) > width; s = s[width:] {
			lines = append(lines, s[:width])
		}
		return strings.Join(append(lines, s), "\n") + "\n"
	}
	text := strings.Repeat("Lorem ipsum dolor sit amet.\n", 20) + html("")
	for _, c := range []struct {
		name, encoding, body string
		longest              int      // of the output's lines
		same                 []string // what it holds as it was
		becomes              string   // transfer encoding
	}{
		{"none", "", html("a"), 998, []string{"<p>a<a href='"}, ""},
		{"7bit", "7bit", html("a") + html("b"), 998, []string{"<p>b<a href='"}, "7bit"},
		{"8bit", "8BIT", html("ü") + "b\xff\n", 998, []string{"<p>ü<a href='", "b\xff\n"}, "8BIT"},
		{"binary", " binary ", html(long), 1200, []string{long}, "binary"},
		{"7bit too long", "7bit", "short ü = \x7f\n\n \t\n" + html(long) + "trailing \n", 76, []string{"short =C3=BC =3D =7F\n\n =09\n", "trailing=20\n"}, "quoted-printable"},
		{"none too long", "", html(long), 76, nil, "quoted-printable"},
		{"long elsewhere", "8bit", long + long + "\n" + html("a"), 2000, []string{long}, "8bit"},
		{"quoted-printable", "quoted-printable", "<p>=C3=bC soft =\nbreak = x =3 =zz\t \n<a href=3D'https://example.co=\nm/page?a=3D1&b=\n=3D2'>x</a> trailing=20\nand blank  \nend=", 76, []string{"<p>=C3=bC soft =\nbreak = x =3 =zz\t \n<a href=3D'", " trailing=20\nand blank  \nend="}, "quoted-printable"},
		{"quoted-printable, not encoded", "quoted-printable", html("="), 1200, []string{"<p>=<a href='"}, "quoted-printable"},
		{"quoted-printable, long line", "quoted-printable", "<a href='" + link + "'>x</a>" + long, 1000, []string{long}, "quoted-printable"},
		{"base64", "base64", encode(text, 76), 76, []string{encode(text, 76)[:500]}, "base64"},
		{"base64, 60 wide", "BASE64", encode(text, 60), 60, []string{encode(text, 60)[:500]}, "BASE64"},
		{"base64, 61 wide", "base64", encode(text, 61), 61, nil, "base64"},
		{"base64, one line", "base64", encode(text, 10000), 76, nil, "base64"},
		{"base64, one short line", "base64", encode(html(""), 10000), 76, nil, "base64"},
		{"base64, indented and spaced", "base64", " " + strings.ReplaceAll(encode(text, 40), "\n", " \n\t") + "\n\n", 76, nil, "base64"},
	} {
		for _, eol := range []string{"\n", "\r\n"} {
			head := "From: a@example.com\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n"
			if c.encoding != "" {
				head += "Content-Transfer-Encoding:" + c.encoding + "\n"
			}
			src := strings.ReplaceAll(head+"\n"+c.body, "\n", eol)
			r := rewriteMessage(t, Options{}, src)
			if got := destinations(r); len(got) != strings.Count(c.body, link) && len(got) != 1 {
				t.Errorf("%s: %q", c.name, got)
				continue
			}
			for _, same := range c.same {
				if !bytes.Contains(r.Output, []byte(strings.ReplaceAll(same, "\n", eol))) {
					t.Errorf("%s: %q is gone:\n%q", c.name, same, r.Output)
				}
			}
			for line := range bytes.Lines(r.Output) {
				if n := len(bytes.TrimRight(line, "\r\n")); n > c.longest {
					t.Errorf("%s: a line has %d bytes", c.name, n)
				}
				if (eol == "\r\n") != bytes.HasSuffix(line, []byte("\r\n")) && bytes.HasSuffix(line, []byte("\n")) {
					t.Errorf("%s: the line end of %q is not that of the message", c.name, line)
				}
			}
			parsed, err := message.Read(bytes.NewReader(r.Output))
			if got := parsed.Header.Get("Content-Transfer-Encoding"); err != nil || got != strings.TrimSpace(c.becomes) {
				t.Errorf("%s: the transfer encoding is %q (%v)", c.name, got, err)
			}
			if c.name != "quoted-printable" && c.name != "quoted-printable, not encoded" {
				// The library refuses bad escapes.
				checkWithLibrary(t, c.name, []byte(src), r)
			}
		}
	}
}

// How quoted-printable is read, and that what is spliced in reads as meant.
func TestQuotedPrintable(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"a=3Db=3d", "a=b="}, {"a=\nb=\r\nc= \t\nd", "abcd"}, {"a \nb\t\r\nc  ", "a\nb\r\nc"}, {"a =\nb", "a b"}, {"=", ""}, {"= ", ""}, {"=4", "=4"}, {"=G0=", "=G0"}, {"==41", "=A"}, {"=\r", "=\r"}, {"\x00\xff", "\x00\xff"}, {"", ""},
	} {
		if got := decodedQP([]byte(c.raw)); string(got) != c.want {
			t.Errorf("%q is read as %q, want %q", c.raw, got, c.want)
		}
		decoded := []byte(c.want)
		for start := 0; start <= len(decoded); start++ {
			for end := start; end <= len(decoded); end++ {
				if start > 0 && decoded[start-1] == '\r' || end > 0 && decoded[end-1] == '\r' {
					continue // within a line end
				}
				edits := []edit{{start: start, end: end, text: "https://e.example/=ü?" + strings.Repeat("x", 150) + " "}}
				out := spliceQuotedPrintable([]byte(c.raw), edits, "\n")
				if got := decodedQP(out); !bytes.Equal(got, apply(decoded, edits)) {
					t.Errorf("%q[%d:%d] becomes %q", c.raw, start, end, out)
				}
			}
		}
	}
}

// Lines that quoted-printable makes begin with nothing that has a meaning on
// the way.
func TestQuotedPrintableLineStart(t *testing.T) {
	for column := range 80 {
		text := strings.Repeat("x", column) + strings.Repeat(".-", 60)
		out := spliceQuotedPrintable(nil, []edit{{start: 0, end: 0, text: text}}, "\r\n")
		if got := decodedQP(out); string(got) != text {
			t.Errorf("%q becomes %q", text, out)
		}
		for line := range bytes.Lines(out) {
			if line[0] == '.' || line[0] == '-' {
				t.Errorf("the line %q", line)
			}
		}
	}
}

func FuzzQuotedPrintable(f *testing.F) {
	f.Add("a=3Db=\n c \t\n=zz", 1, 3, "https://example.com/=?x ")
	f.Fuzz(func(t *testing.T, raw string, start, end int, text string) {
		decoded := decodedQP([]byte(raw))
		if start < 0 || end < start || end > len(decoded) {
			return
		}
		out := spliceQuotedPrintable([]byte(raw), []edit{{start: start, end: end, text: text}}, "\r\n")
		_ = decodedQP(out)
		whole := encodeQuotedPrintable(decoded, "\n")
		if !bytes.Equal(decodedQP(whole), decoded) {
			t.Errorf("%q is encoded as %q", decoded, whole)
		}
		for line := range bytes.Lines(whole) {
			if len(bytes.TrimSuffix(line, []byte("\n"))) > maxEncodedLine {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
	})
}

func TestCharsets(t *testing.T) {
	for _, c := range []struct {
		name  string
		words string // what the charset is for
		host  bool   // it has the letters of an international URL
	}{
		{"us-ascii", "plain", false}, {"", "plain", false}, {"utf-8", "日本語 Grüße", true}, {"UTF8", "日本語", true},
		{"iso-8859-1", "Grüße “x”", true}, {"ISO-8859-15", "Grüße €", true}, {"iso-8859-2", "Žluťoučký", false}, {"iso-8859-5", "Привет", false}, {"iso-8859-7", "Γειά", false}, {"iso-8859-8-i", "שלום", false},
		{"windows-1250", "Žluťoučký", false}, {"windows-1251", "Привет", false}, {"windows-1252", "Grüße €", true}, {"cp1252", "Grüße", true}, {"windows-1255", "שלום", false}, {"windows-1256", "سلام", false}, {"windows-1257", "Ačiū", false},
		{"koi8-r", "Привет", false}, {"koi8-u", "Привіт", false}, {"macintosh", "Grüße", true},
		{"shift_jis", "日本語ソ表", false}, {"cp932", "日本語", false}, {"iso-2022-jp", "日本語ソ表", false}, {"euc-jp", "日本語", false},
		{"gb2312", "简体中文", false}, {"gbk", "简体中文", false}, {"gb18030", "简体中文😀", false}, {"hz-gb-2312", "简体中文", false}, {"big5", "繁體中文功許", false}, {"euc-kr", "한국어", false}, {"ks_c_5601-1987", "한국어", false},
		{"utf-16", "日本語", true}, {"utf-16le", "日本語", true}, {"utf-16be", "日本語", true}, {"tis-620", "ภาษาไทย", false},
	} {
		html := c.words + "<a title=\"" + c.words + "\" href=\"https://example.com/a\">" + c.words + "</a>" + c.words + "<a href=https://example.com/b>x</a>\r\n" + c.words + "\r\n"
		want := []string{"https://example.com/a", "https://example.com/b"}
		if c.host {
			html += "<a href='https://example.com/ü'>" + c.words + "</a>"
			want = append(want, "https://example.com/%C3%BC")
			if strings.Contains(c.words, "日本語") && !strings.Contains(c.words, "ü") {
				html = strings.Replace(html, "ü", "日", 1)
				want[2] = "https://example.com/%E6%97%A5"
			}
		}
		var e encoding.Encoding
		switch strings.ToLower(c.name) {
		case "utf-16", "utf-16le":
			e = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
		case "utf-16be":
			e = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
		case "hz-gb-2312", "cp932":
			known, _ := charsetOf(c.name, nil)
			e = known.encoding
		case "", "us-ascii":
			e = unicode.UTF8
		default:
			var err error
			if e, err = htmlindex.Get(c.name); err != nil {
				t.Fatal(err)
			}
		}
		encoded, err := e.NewEncoder().String(html)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, transfer := range []string{"8bit", "quoted-printable", "base64"} {
			raw := encoded
			switch {
			case transfer == "quoted-printable":
				raw = string(encodeQuotedPrintable([]byte(encoded), "\r\n"))
			case transfer == "base64":
				raw = base64.StdEncoding.EncodeToString([]byte(encoded))
			case strings.HasPrefix(strings.ToLower(c.name), "utf-16"):
				continue
			}
			parameter := ""
			if c.name != "" {
				parameter = "; charset=\"" + c.name + "\""
			}
			src := "From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/html" + parameter + "\r\nContent-Transfer-Encoding: " + transfer + "\r\n\r\n" + raw
			name := c.name + " " + transfer
			r := rewriteMessage(t, Options{Pixel: PixelEnd}, src)
			var got []string
			for _, l := range r.Links {
				got = append(got, l.Destination)
			}
			if !slices.Equal(got, want) || len(r.Warnings) > 0 {
				t.Errorf("%s: %q, %q", name, got, r.Warnings)
				continue
			}
			// Read it back as the charset's decoder does.
			body := r.Output[bytes.Index(r.Output, []byte("\r\n\r\n"))+4:]
			decoded, ok := map[string]transferEncoding{"8bit": identity, "quoted-printable": quotedPrintable, "base64": base64Encoding}[transfer].decode(body)
			reads, err := e.NewDecoder().Bytes(decoded)
			if !ok || err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			restored := string(reads)
			for _, l := range r.Links {
				restored = strings.Replace(restored, l.Tracked, l.Found, 1)
			}
			restored = restored[:strings.Index(restored, "<img")] + restored[strings.LastIndex(restored, ">")+1:]
			restored = strings.TrimPrefix(restored, "\uFEFF")
			if restored != html && restored+"\r\n" != html {
				t.Errorf("%s:\n%q\n%q", name, restored, html)
			}
		}
	}
}

// What can't be read for certain keeps its bytes, and the report says so.
func TestMessageLeftAlone(t *testing.T) {
	const body = "\nhttps://example.com/a <a href=\"https://example.com/a\">x</a>\n"
	const head = "From: a@example.com\nMIME-Version: 1.0\n"
	for _, c := range []struct{ name, src, warning string }{
		{"unknown charset", head + "Content-Type: text/html; charset=x-nobody\n" + body, `charset "x-nobody" is not known`},
		{"UTF-7", head + "Content-Type: text/plain; charset=utf-7\n" + body, `charset "utf-7" is not known`},
		{"unknown transfer encoding", head + "Content-Type: text/html\nContent-Transfer-Encoding: x-uuencode\n" + body, `"x-uuencode" is not known`},
		{"base64 that is none", head + "Content-Type: text/html\nContent-Transfer-Encoding: base64\n" + body, "not valid base64"},
		{"base64 with a footer", head + "Content-Type: text/html\nContent-Transfer-Encoding: base64\n\naHR0cHM6Ly9leGFtcGxlLmNvbS8=\n--\nfooter\n", "not valid base64"},
		{"base64 that was cut", head + "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naHR0cHM6Ly9leGFtcGxlLmNvbS8\n", "not valid base64"},
		{"no boundary", head + "Content-Type: multipart/mixed\n\n--b\n" + body + "--b--\n", "without a boundary"},
		{"empty boundary", head + "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n" + body + "----\n", "without a boundary"},
		{"two types", head + "Content-Type: text/html\nContent-Type: text/plain\n" + body, "several Content-Type fields that differ"},
		{"two transfer encodings", head + "Content-Type: text/html\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: quoted-printable\n" + body, "several Content-Transfer-Encoding"},
		{"no media type", head + "Content-Type: html\n" + body, "not a media type"},
		{"boundary of the outer", head + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=b\n\n--b--\n", "boundary of one that it is in"},
		{"part's header is none", head + "Content-Type: multipart/mixed; boundary=b\n\n--b\nhttps//example.com without a header\n" + body + "--b--\n", "line 6 of the message is neither"},
		{"other type", head + "Content-Type: text/calendar\n" + body, ""},
		{"attachment", head + "Content-Type: text/html\nContent-Disposition: ATTACHMENT\n" + body, ""},
		{"bad disposition", head + "Content-Type: text/html\nContent-Disposition: attachment; filename=a b.html\n" + body, ""},
		{"attached message", head + "Content-Type: message/rfc822\n\nFrom: b@example.com\nContent-Type: text/html\n" + body, ""},
		{"digest", head + "Content-Type: multipart/digest; boundary=b\n\n--b\n\nFrom: b@example.com\n" + body + "--b--\n", ""},
		{"certificates", head + "Content-Type: application/pkcs7-mime; smime-type=certs-only\n" + body, ""},
		{"header without body", head, ""},
		{"HTML without an empty line", head + "Content-Type: text/html\n", ""},
		{"header without line end", "From: a@example.com", ""},
		{"boundary is a prefix", head + "Content-Type: multipart/mixed; boundary=b\n\n--bb\n" + body + "--bb--\n", "without its closing boundary"},
		{"nothing behind the header", head + "Content-Type: multipart/mixed; boundary=b\n\n", "without its closing boundary"},
		{"empty parts", head + "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\n\n\n--b--\n", ""},
	} {
		for _, src := range []string{c.src, crlf(c.src)} {
			r := rewriteMessage(t, Options{Pixel: PixelEnd}, src)
			if string(r.Output) != src {
				t.Errorf("%s: it changed:\n%s", c.name, r.Output)
			}
			if warnings := strings.Join(withoutPixelWarning(r), "\n"); !strings.Contains(warnings, c.warning) || (warnings == "") != (c.warning == "") {
				t.Errorf("%s: warnings %q, want %q", c.name, warnings, c.warning)
			}
		}
	}
}

// withoutPixelWarning returns the warnings but for the one that the pixel, which was
// asked for, found no place.
func withoutPixelWarning(r Result) []string {
	return slices.DeleteFunc(r.Warnings, func(s string) bool { return strings.HasPrefix(s, "the pixel is left out: ") })
}

// What is broken and can be read all the same is tracked.
func TestMessageTolerant(t *testing.T) {
	const body = "\n<a href=\"https://example.com/a\">x</a>\n"
	const head = "From: a@example.com\nMIME-Version: 1.0\n"
	part := "Content-Type: text/html\n" + body
	for name, src := range map[string]string{
		"comment":                   head + "Content-Type: text/html; charset=us-ascii (plain)\n" + body,
		"unquoted boundary":         head + "Content-Type: multipart/mixed; boundary=----=_Part_1\n\n------=_Part_1\n" + part + "------=_Part_1--\n",
		"boundary with spaces":      head + "Content-Type: multipart/mixed; boundary=\"a b:c\"\n\n--a b:c\n" + part + "--a b:c--\n",
		"boundary in parts":         head + "Content-Type: multipart/mixed; boundary*0=\"a\"; boundary*1=\"b\"\n\n--ab\n" + part + "--ab--\n",
		"boundary of hyphens and =": head + "Content-Type: multipart/mixed; boundary=\"===============123==\"\n\n--===============123==\n" + part + "--===============123==--\n",
		"blanks behind":             head + "Content-Type: multipart/mixed; boundary=b\n\n--b \t\n" + part + "--b-- \n",
		"escaped quote":             head + "Content-Type: multipart/mixed; boundary=\"b\\\"c\"\n\n--b\"c\n" + part + "--b\"c--\n",
		"parameter twice":           head + "Content-Type: text/html; charset=utf-8; charset=utf-8\n" + body,
		"open quote":                head + "Content-Type: text/html; charset=\"utf-8\n" + body,
		"folded":                    head + "Content-Type:\n\ttext/html;\n charset=utf-8\n" + body,
		"the same type twice":       head + "Content-Type: text/html\nContent-Type:  text/html \n" + body,
		"upper case":                head + "CONTENT-TYPE: TEXT/HTML; CHARSET=UTF-8\n" + body,
		"8-bit header":              head + "Subject: Gr\xfc\xdfe\nContent-Type: text/html\n" + body,
		"space before colon":        head + "Content-Type : text/html\n" + body,
		"wrong charset":             head + "Content-Type: text/html; charset=utf-8\n" + body + "\xff\xfe",
		"NUL bytes":                 head + "Content-Type: text/html\n" + body + "\x00\x00",
		"8-bit as ASCII":            head + "Content-Type: text/html; charset=us-ascii\n" + body + "ü",
		"name of the only part":     head + "Content-Type: text/html; name=\"mail.html\"\n" + body,
		"prefix of another":         head + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n" + part + "--bb--\n--b--\n",
		"inner never closed":        head + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n" + part + "--b--\n",
		"cut in the part":           head + "Content-Type: multipart/mixed; boundary=b\n\n--b\n" + part,
		"no part but the text":      head + "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhttps://example.com/a\n--b--",
		"obsolete, without MIME":    "From: a@example.com\n\nhttps://example.com/a",
		"format parameter":          head + "Content-Type: text/html; charset=utf-8; format=flowed; delsp=yes\n" + body,
		"encoding with parameter":   head + "Content-Type: text/html\nContent-Transfer-Encoding: 8bit;\n" + body,
	} {
		for _, src := range []string{src, crlf(src)} {
			r := rewriteMessage(t, Options{}, src)
			if len(r.Links) != 1 || r.Links[0].Destination != "https://example.com/a" {
				t.Errorf("%s: %+v, %q", name, r.Links, r.Warnings)
				continue
			}
			if restored := bytes.Replace(r.Output, []byte(r.Links[0].Tracked), []byte("https://example.com/a"), 1); string(restored) != src {
				t.Errorf("%s: other bytes changed: %q", name, restored)
			}
		}
	}
}

// A change that would read differently than meant is not made: the part stays
// as it was, and its links are in no report.
func TestMessageNotWritten(t *testing.T) {
	src := "From: a@example.com\nContent-Type: text/html; charset=iso-2022-jp\n\n<a href='https://example.com/a'>x</a>\x1b$BF|K\\"
	r := rewriteMessage(t, Options{Pixel: PixelEnd}, src)
	if string(r.Output) != src || len(r.Links) != 0 || len(r.Warnings) != 2 || !strings.Contains(r.Warnings[0], `charset "iso-2022-jp" can't be written`) {
		t.Errorf("a pixel where the charset is in another state: %q\n%+v, %q", r.Output, r.Links, r.Warnings)
	}

	// At some column the soft break behind the pixel would make a delimiter of
	// what follows.
	left := 0
	for column := range maxEncodedLine {
		src := "From: a@example.com\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat(" ", column) + "<body>--b\n<a href=3Dhttps://example.com/a>x</a>\n--b--\n"
		// Not rewritten again: whether a line breaks there depends on what is
		// random in the link.
		r, err := mailing(t, Options{Pixel: PixelTop}).Message(testFields, []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(r.Links) == 1 && len(r.Warnings) == 0:
			checkWithLibraryHas(t, r.Output, "--b")
		case string(r.Output) == src && len(r.Links) == 0 && len(r.Warnings) == 2 && strings.Contains(r.Warnings[0], "can't be changed for certain"):
			left++
		default:
			t.Errorf("column %d: %q\n%+v, %q", column, r.Output, r.Links, r.Warnings)
		}
	}
	if left == 0 {
		t.Error("no column makes a delimiter: the test tests nothing")
	}
}

// checkWithLibraryHas checks that the message has one part, with the text.
func checkWithLibraryHas(t *testing.T, src []byte, text string) {
	t.Helper()
	leaves, ok := readWithLibrary(t, src)
	if !ok || len(leaves) != 2 || !strings.Contains(leaves[1].content, text) {
		t.Errorf("%q is read as %+v", src, leaves)
	}
}

// Bytes that are not of the charset make no destination.
func TestMessageWrongCharset(t *testing.T) {
	for _, charset := range []string{"utf-8", "shift_jis", "iso-2022-jp", "euc-kr", "big5"} {
		src := "From: a@example.com\nContent-Type: text/html; charset=" + charset + "\n\n<a href='https://example.com/\xff\xff'>x</a><a href='https://example.com/b'>y</a>\n"
		r := rewriteMessage(t, Options{}, src)
		if len(r.Links) != 2 || r.Links[0].Action != ActionSkipped || r.Links[1].Action != ActionTracked {
			t.Errorf("%s: %+v, %q", charset, r.Links, r.Warnings)
		}
	}
}

func TestMessageRefused(t *testing.T) {
	const head = "From: a@example.com\nMIME-Version: 1.0\n"
	nested := func(depth int) string {
		var b strings.Builder
		b.WriteString(head + "Content-Type: multipart/mixed; boundary=b0\n\n")
		for i := 1; i < depth; i++ {
			fmt.Fprintf(&b, "--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i-1, i)
		}
		fmt.Fprintf(&b, "--b%d\n\nhttps://example.com/a\n", depth-1)
		for i := depth - 1; i >= 0; i-- {
			fmt.Fprintf(&b, "--b%d--\n", i)
		}
		return b.String()
	}
	parts := func(n int) string {
		return head + "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nhttps://example.com/a\n", n) + "--b--\n"
	}
	for _, c := range []struct {
		name, src string
		err       error
	}{
		{"multipart/signed", head + "Content-Type: multipart/signed; boundary=b\n\n--b\n\na\n--b\nContent-Type: application/pgp-signature\n\n\n--b--\n", ErrSigned},
		{"signed, without boundary", head + "Content-Type: multipart/signed\n\n", ErrSigned},
		{"signed within", head + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/signed; boundary=c\n\n--c\n\na\n--c--\n--b--\n", ErrSigned},
		{"multipart/encrypted", head + "Content-Type: multipart/encrypted; boundary=b\n\n--b\n\na\n--b--\n", ErrEncrypted},
		{"S/MIME encrypted", head + "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\nContent-Disposition: attachment\n\nMI\n", ErrEncrypted},
		{"S/MIME signed", head + "Content-Type: application/x-pkcs7-mime; smime-type=signed-data\n\nMI\n", ErrSigned},
		{"PGP inline", head + "\n-----BEGIN PGP MESSAGE-----\n", ErrEncrypted},
		{"PGP inline, base64", head + "Content-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte("Hi\n-----BEGIN PGP SIGNED MESSAGE-----\n")) + "\n", ErrSigned},
		{"100 deep", nested(100), nil},
		{"101 deep", nested(101), ErrTooDeep},
		{"1000 deep", nested(1000), ErrTooDeep},
		{"1000 parts", parts(1000), nil},
		{"10001 parts", parts(10001), ErrTooManyParts},
		{"long header", head + "X: " + strings.Repeat("x", maxHeader) + "\n\n", ErrHeaderTooLong},
		{"long header in many lines", head + strings.Repeat("X: y\n", maxHeader/5) + "\n", ErrHeaderTooLong},
		{"no header", "\nhttps://example.com/\n", ErrMalformed},
		{"empty", "", ErrMalformed},
		{"text", "Hello world\n", ErrMalformed},
		{"header without an empty line", head + "https is not a field\n", ErrMalformed},
		{"begins with a space", " From: a@example.com\n", ErrMalformed},
		{"CR alone", strings.ReplaceAll(head+"\nhttps://example.com/\n", "\n", "\r"), ErrMalformed},
	} {
		r, err := mailing(t, Options{}).Message(testFields, []byte(c.src))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err != nil && r.Output != nil {
			t.Errorf("%s: there is an output in spite of the error", c.name)
		}
	}
}

func TestMessageSignatureWarning(t *testing.T) {
	for _, name := range []string{"DKIM-Signature", "ARC-Message-Signature", "DomainKey-Signature"} {
		src := name + ": v=1\nFrom: a@example.com\n\n"
		if r := rewriteMessage(t, Options{}, src+"https://example.com/\n"); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "sign after rewriting") {
			t.Errorf("%s: %q", name, r.Warnings)
		}
		if r := rewriteMessage(t, Options{}, src+"nothing changes\n"); len(r.Warnings) != 0 {
			t.Errorf("%s: %q", name, r.Warnings)
		}
	}
}

func TestListUnsubscribe(t *testing.T) {
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("mailing "), 4)})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ring.Signer("http://links.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	const one = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\n"
	for _, c := range []struct {
		name   string
		o      Options
		header string
		want   string // what is added, with URL for the link
		warns  bool
	}{
		{"not asked", Options{}, "", "", false},
		{"link", Options{ListUnsubscribe: true}, "", "List-Unsubscribe: <URL>\n" + one, false},
		{"link and address", Options{ListUnsubscribe: true, UnsubscribeMailto: "u@example.com"}, "", "List-Unsubscribe: <URL>,\n <mailto:u@example.com>\n" + one, false},
		{"link and mailto", Options{ListUnsubscribe: true, UnsubscribeMailto: "mailto:u@example.com?subject=a%20b"}, "", "List-Unsubscribe: <URL>,\n <mailto:u@example.com?subject=a%20b>\n" + one, false},
		{"sealed", Options{ListUnsubscribe: true, Sealed: true}, "", "List-Unsubscribe: <URL>\n" + one, false},
		{"query form", Options{ListUnsubscribe: true, Form: linkcore.QueryForm}, "", "List-Unsubscribe: <URL>\n" + one, false},
		{"anonymous", Options{ListUnsubscribe: true, Tracking: Anonymous}, "", "List-Unsubscribe: <URL>\n" + one, false},
		{"not tracked", Options{ListUnsubscribe: true, Tracking: Off}, "", "List-Unsubscribe: <URL>\n" + one, false},
		{"http", Options{ListUnsubscribe: true, Signer: plain}, "", "List-Unsubscribe: <URL>\n", true},
		{"both are there", Options{ListUnsubscribe: true}, "List-Unsubscribe: <https://example.com/u>\n" + one, "", false},
		{"only the link is there", Options{ListUnsubscribe: true}, "List-unsubscribe: <mailto:u@example.com>\n", "", true},
		{"only Post is there", Options{ListUnsubscribe: true}, one, "List-Unsubscribe: <URL>\n", false},
	} {
		for _, eol := range []string{"\n", "\r\n"} {
			for _, end := range []string{"\n\nhttps://example.com/a\n", "\n\n", "\n", ""} {
				lines := func(s string) string { return strings.ReplaceAll(s, "\n", eol) }
				head := lines(c.header + "From: a@example.com" + end[:min(1, len(end))])
				src := head + lines(end[min(1, len(end)):])
				r := rewriteMessage(t, c.o, src)
				added := string(r.Output[len(head) : len(r.Output)-(len(src)-len(head))])
				if len(r.Links) > 0 && r.Links[0].Tracked != "" {
					added = string(r.Output[len(head) : len(r.Output)-(len(src)-len(head))-len(r.Links[0].Tracked)+len(r.Links[0].Found)])
				}
				start, stop := strings.IndexByte(added, '<')+1, strings.IndexByte(added, '>')
				if start > 0 {
					url := added[start:stop]
					authority, target, err := linkcore.SplitURL(url)
					if err != nil {
						t.Fatal(err)
					}
					link, err := ring.Verify(authority, target)
					if err != nil || link.Kind != linkcore.Unsubscribe || link.Recipient != testFields.Recipient || strings.HasPrefix(link.Fields.Link, "an_") {
						t.Errorf("%s: %s is %+v, %v", c.name, url, link, err)
					}
					added = added[:start] + "URL" + added[stop:]
				}
				if end == "" {
					if c.want != "" && eol == "\r\n" {
						continue // the header has no line end to go by
					}
					added = strings.TrimPrefix(added, eol)
				}
				if added != lines(c.want) {
					t.Errorf("%s: %q is added, want %q", c.name, added, lines(c.want))
				}
				warns := slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "List-Unsubscribe") })
				if warns != c.warns {
					t.Errorf("%s: %q", c.name, r.Warnings)
				}
			}
		}
	}
	for _, address := range []string{"u", "@", "u@", "@example.com", "a b@example.com", "u@example.com\r\nBcc: x@example.com", "<u@example.com>", "u@example.com,v@example.com", "ü@example.com", "mailto:", "u@" + strings.Repeat("x", 600)} {
		w := mailing(t, Options{ListUnsubscribe: true, UnsubscribeMailto: address})
		if r, err := w.Message(testFields, []byte("From: a@example.com\n\n")); err == nil {
			t.Errorf("%q is taken: %q", address, r.Output)
		}
	}
	r, err := mailing(t, Options{ListUnsubscribe: true}).Message(linkcore.Fields{}, []byte("From: a@example.com\n\n"))
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "names no recipient") {
		t.Errorf("%v, %q", err, r.Warnings)
	}
}

// TestOwnUnsubscribeLinks leaves the links alone by which the sender's own pages
// unsubscribe, so that neither a rule of the blocklist nor a parameter is in
// anybody's way.
func TestOwnUnsubscribeLinks(t *testing.T) {
	const own = "https://shop.example/u?id=1&t=ab"
	for _, c := range []struct {
		header string
		base   string
		href   string // as it stands in the HTML
		left   bool
	}{
		{"<" + own + ">", "", "https://shop.example/u?id=1&amp;t=ab", true},
		{"<" + own + ">", "", own, true},
		{"<" + own + ">", "", "https&#58;//shop.example&#x2F;u?id=1&amp;t=ab", true},
		{"<" + own + ">", "", " HTTPS://Shop.Example:443/u?id=%31&amp;t=ab#now ", true},
		{"<" + own + ">", "", "https://shop.example/x/../u?id=1&amp;t=ab", true},
		{"<" + own + ">", "https://shop.example/2026/", "../u?id=1&amp;t=ab", true},
		{"<" + own + ">", "https://shop.example/2026/", "//shop.example/u?id=1&amp;t=ab", true},
		{"<" + own + ">", "https://other.example/", "/u?id=1&amp;t=ab", false},
		{"<" + own + ">", "", "https://shop.example/u?id=2&amp;t=ab", false},
		{"<" + own + ">", "", "https://shop.example/U?id=1&amp;t=ab", false},
		{"<" + own + ">", "", "https://shop.example/u?id=1%26t=ab", false},
		{"<" + own + ">", "", "http://shop.example/u?id=1&amp;t=ab", false},
		{"<https://shop.example/ü nter?a={b}>", "", "https://shop.example/%c3%bcnter?a=%7Bb%7D", true},
		{"<https://shop.example>", "", "https://shop.example/", true},
		{"<https://bücher.example/u>", "", "https://xn--bcher-kva.example/u", true},
		{"<mailto:u@shop.example?subject=x>,\n <" + own + ">", "", own, true},
		{"<https://a.example/u>, <" + own + ">", "", own, true},
		{"(by mail \\) <https://shop.example/>) <mailto:u@shop.example>,\n\t(on the web (now)) <" + own + ">", "", own, true},
		{"(see <https://shop.example/>) <" + own + ">", "", "https://shop.example/", false},
		{"<https://shop.example\n /u?id=1\n &t=ab>", "", own, true},
		{"<https://shop.example/a(b,c)>, <" + own + ">", "", "https://shop.example/a(b,c)", true},
		{own, "", own, true},
		{"https://a.example/u, " + own, "", own, true},
		{"=?utf-8?q?=3Chttps=3A//shop=2Eexample/u=3F?=\n =?utf-8?q?id=3D1=26t=3Dab=3E?=", "", own, true},
		{"<https://shop.example/u?id=1&amp;t=ab>", "", own, true},
		{"<%unsubscribe_url%>", "https://shop.example/", "%unsubscribe_url%", true},
		{"<{{unsubscribe}}>", "", "{{unsubscribe}}", true},
		{"<mailto:u@shop.example>", "", own, false},
		{"<https://shop.example/open", "", own, false},
		{"<" + own + ">\nList-Unsubscribe: <https://a.example/u>", "", "https://a.example/u", true},
	} {
		base := ""
		if c.base != "" {
			base = `<base href="` + c.base + `">`
		}
		body := base + `<a href="` + c.href + `">stop</a> <a href="https://shop.example/news">news</a>` + "\n"
		src := crlf("From: a@shop.example\nList-Unsubscribe: " + c.header + "\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n" + body)
		for _, o := range []Options{{}, {UTM: []Parameter{{"utm_source", "n"}}, Placeholders: true, ListUnsubscribe: true}} {
			r := rewriteMessage(t, o, src)
			l := r.Links[0]
			if left := l.Action == ActionSkipped && strings.Contains(l.Reason, "List-Unsubscribe"); left != c.left {
				t.Errorf("%q, %q: %s, %q", c.header, c.href, l.Action, l.Reason)
			}
			if c.left && !strings.Contains(string(r.Output), `<a href="`+c.href+`">`) {
				t.Errorf("%q: %q was changed: %s", c.header, c.href, r.Output)
			}
			if r.Links[1].Action != ActionTracked {
				t.Errorf("%q: %+v", c.header, r.Links[1])
			}
		}
	}

	// In text, and in HTML that is not a message.
	r := rewriteMessage(t, Options{}, crlf("From: a@shop.example\nList-Unsubscribe: <"+own+">\n\nNews: https://shop.example/news\nStop: https://shop.example/u?id=1&t=ab.\n"))
	if len(r.Links) != 2 || r.Links[0].Action != ActionTracked || !strings.Contains(r.Links[1].Reason, "List-Unsubscribe") {
		t.Errorf("%+v", r.Links)
	}
	w := mailing(t, Options{UnsubscribeURLs: []string{"https://Shop.example:443/u?id=*", "*{stop}", "https://*.shop.example/out"}, UTM: []Parameter{{"utm_source", "n"}}})
	for _, c := range []struct {
		href string
		left bool
	}{
		{"https://shop.example/u?id=1", true},
		{"https://shop.example/%75?id=%22a%22#x", true},
		{"u?id=7", true},
		{"{stop}", true},
		{"https://www.shop.example/out", true},
		{"https://shop.example/u", false},
		{"https://shop.example/news", false},
	} {
		r, err := w.HTML(testFields, []byte(`<base href="https://shop.example/"><a href="`+c.href+`">x</a>`))
		if err != nil {
			t.Fatal(err)
		}
		if l := r.Links[0]; (l.Action == ActionSkipped && strings.Contains(l.Reason, "the sender's own unsubscribe link")) != c.left {
			t.Errorf("%s: %+v", c.href, l)
		}
	}
	if r, err := w.Text(testFields, []byte("https://shop.example/u?id=1 https://shop.example/news")); err != nil || r.Links[0].Action != ActionSkipped || r.Links[1].Action != ActionTracked {
		t.Errorf("%+v, %v", r.Links, err)
	}
}

func TestRewriteTells(t *testing.T) {
	const html, text, mail = "html", "text", "text/plain 1"
	w := mailing(t, Options{})
	const unclear, notText, malformed = "unclear", "not text", "malformed"
	failures := map[string]error{unclear: ErrUnclear, notText: ErrNotText, malformed: ErrMalformed}
	for _, c := range []struct{ src, part string }{
		{"\uFEFFFrom: a@example.com\n\nhttps://e.example/", mail},
		{"\n\r\nSubject: x\nTo: y\n\nhttps://e.example/", mail},
		{"\uFEFF\nFrom a@b Thu\nFrom: a@example.com\n\nhttps://e.example/", mail},
		{"From: a@example.com\n\nhttps://e.example/", mail},
		{"Subject: x\nTo: y\n\nhttps://e.example/", mail},
		{"MIME-Version: 1.0\r\n\r\nhttps://e.example/", mail},
		{"From a@b Thu\nFrom: a@example.com\n\nhttps://e.example/", mail},
		{"X-Long: a\n b\nReceived: x\n\nhttps://e.example/", mail},
		{"From: Berlin\n\nhttps://e.example/", text},
		{"Note: from a to b\nFrom: a@example.com is the sender\nhttps://e.example/\n", malformed},
		{"Hello: x\n\nhttps://e.example/", text},
		{"Hello\nFrom: a@example.com\nTo: b\n\nhttps://e.example/", text},
		{"<!DOCTYPE html><a href='https://e.example/'>x</a>", html},
		{"\n\n <a href='https://e.example/'>x</a>", html},
		{"\uFEFF<html><a href=https://e.example/>", html},
		{"<?xml version='1.0'?><a href=https://e.example/>", html},
		{"<!-- --><a href=https://e.example/>", html},
		{"Hi, <a href='https://e.example/'>x</a>", html},
		{"Hi, <b>you</b>: <A class=x\nHREF = 'https://e.example/'>x</a>", html},
		{"Hi, <a href='https://e.example/'>x</a> [y](https://e.example/)", unclear},
		{"<div align=center>\n\n[x](https://e.example/)", unclear},
		{"# Hi\n[x](https://e.example/)", text},
		{"A link begins with <a> and ends with </a>: https://e.example/", text},
		{"h\x00t\x00t\x00p\x00s\x00:\x00/\x00/\x00", notText},
		{"\xff\xfeh\x00", notText},
		{"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00 https://e.example/", notText},
		{"{{> header}}\n<p><A HREF=https://e.example/>x</A>", html},
		{"<https://e.example/> is a site", text},
		{"if a <b then </ https://e.example/ a</x>", text},
		{"https://e.example/", text},
	} {
		r, err := w.Rewrite(testFields, []byte(c.src))
		if failure := failures[c.part]; failure != nil {
			if !errors.Is(err, failure) {
				t.Errorf("%q: %v, want %v", c.src, err, failure)
			}
			continue
		}
		if err != nil || len(r.Links) != 1 || r.Links[0].Part != c.part {
			t.Errorf("%q: %+v, %v; want %s", c.src, r.Links, err, c.part)
		}
	}
	r, err := w.Rewrite(testFields, []byte("Hi, <a href='https://e.example/'>x</a>"))
	if err != nil || !strings.Contains(strings.Join(r.Warnings, ""), "was taken for HTML, since it holds <a href=") {
		t.Errorf("%q, %v", r.Warnings, err)
	}
	utf16 := []byte("<\x00a\x00 \x00h\x00r\x00e\x00f\x00=\x00")
	for name, as := range map[string]func(linkcore.Fields, []byte) (Result, error){"HTML": w.HTML, "Text": w.Text} {
		if _, err := as(testFields, utf16); !errors.Is(err, ErrNotText) {
			t.Errorf("UTF-16 as %s: %v", name, err)
		}
	}
	if r, err := w.Rewrite(testFields, nil); err != nil || len(r.Output) > 0 {
		t.Error(r, err)
	}
}

// A message takes time in proportion to its size, however it is made: if it
// were to the square of it, each of these would take minutes.
func TestMessageLinear(t *testing.T) {
	testsize.Medium(t)
	const head = "From: a@example.com\nMIME-Version: 1.0\n"
	const html = head + "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: "
	w := mailing(t, Options{})
	for name, shape := range map[string]struct{ head, unit, end string }{
		"boundary lines":   {head + "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n", "--c\n", ""},
		"one line":         {head + "Content-Type: text/plain\n\n", "x", ""},
		"spaces in QP":     {html + "quoted-printable\n\n", " ", "x"},
		"links in a line":  {head + "\n", "https://example.com/a ", ""},
		"links in QP":      {html + "quoted-printable\n\n", "<a href=http://a.example>", ""},
		"unclosed innards": {head + "Content-Type: multipart/mixed; boundary=b\n\n", "--b\nContent-Type: multipart/mixed; boundary=c\n\n", ""},
		"parameters":       {head + "Content-Type: text/html", "; a=b=c", "\n\n"},
		"continued header": {head, " x\n", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			checkLinear(t, 4_000, func(n int) string { return shape.head + strings.Repeat(shape.unit, n/len(shape.unit)) + shape.end }, func(src []byte) error {
				_, err := w.Message(testFields, src)
				return err
			})
		})
	}
}

// largeMessage returns an HTML message of about 10 MB.
func largeMessage(encoding transferEncoding) []byte {
	body := []byte(strings.Repeat(strings.Repeat("<p>\xe4 words words words words words words words\n", 200)+"<a href=\"https://example.com/a\">x</a>\n", 1000))
	switch encoding {
	case quotedPrintable:
		body = encodeQuotedPrintable(body, "\n")
	case base64Encoding:
		body = []byte(base64.StdEncoding.EncodeToString(body))
	}
	return append([]byte("From: a@example.com\nMIME-Version: 1.0\nContent-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: "+encoding+"\n\n"), body...)
}

func TestMessageLarge(t *testing.T) {
	testsize.Large(t)
	src := largeMessage(base64Encoding)
	r, err := mailing(t, Options{}).Message(testFields, src)
	if err != nil || len(destinations(r)) != 1000 {
		t.Fatalf("%d links, %v", len(destinations(r)), err)
	}
}

// Measured on two cores of a virtual machine that had other work: 10 MB with
// 1,000 links take 130 ms in 8bit, 189 ms in quoted-printable and 158 ms in
// base64, ISO-8859-1 each.
func BenchmarkMessage(b *testing.B) {
	w := mailing(b, Options{})
	for _, c := range []struct {
		name string
		src  []byte
	}{
		{"alternative", []byte(alternative)},
		{"8bit", largeMessage(identity)},
		{"quoted-printable", largeMessage(quotedPrintable)},
		{"base64", largeMessage(base64Encoding)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.src)))
			for b.Loop() {
				if _, err := w.Message(testFields, c.src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		alternative, crlf(alternative),
		"From: a@example.com\nContent-Type: text/html; charset=iso-2022-jp\nContent-Transfer-Encoding: base64\n\nGyRCRnxLXBsoQjxhIGhyZWY9aHR0cDovL2EuYi8+eDwvYT4=\n",
		"From: a@example.com\nContent-Type: text/plain; format=flowed; delsp=yes; charset=utf-16le\nContent-Transfer-Encoding: quoted-printable\n\nh=00t=00t=00p=00:=00/=00/=00a=00.=00b=00\n",
		"From: a@example.com\nContent-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/html\nContent-Disposition: attachment\n\n<a href=http://a.b/>\n--b\n\nwww.example.com\n--b--\n",
		"From: a@example.com\n\n" + strings.Repeat("x", 950) + " https://example.com/\n",
		"From: a@example.com\n\n<data-privacy-link> https://a.b/ data-privacy-link\n",
		"From: a@example.com\nContent-Type: text/html\n\n<a data-privacy-link =x><a href data-privacy-link><a data-privacy-link data-privacy-link=href=x href=https://a.b/><a x data-privacy-link",
	} {
		f.Add([]byte(s))
	}
	w := mailing(f, Options{Pixel: PixelEnd, ListUnsubscribe: true})
	f.Fuzz(func(t *testing.T, src []byte) {
		r, err := w.Message(testFields, src)
		if err != nil {
			return
		}
		checkLinks(t, r)
		again, err := w.Message(testFields, r.Output)
		if err != nil || !bytes.Equal(again.Output, r.Output) {
			t.Fatalf("%q\nbecomes %q\nand then %q: %v", src, r.Output, again.Output, err)
		}
		// Every part that is not shown has the same bytes, with its header.
		_, before, _ := walk(src, mboxLine(src))
		_, after, _ := walk(r.Output, mboxLine(r.Output))
		if len(before.leaves) != len(after.leaves) {
			t.Fatalf("%q\nbecomes %q\nwhich has other parts", src, r.Output)
		}
		for i, e := range before.leaves {
			out := after.leaves[i]
			if e.parent != nil && !e.shown() && !bytes.Equal(src[e.header.start:e.end], r.Output[out.header.start:out.end]) {
				t.Fatalf("%q\nbecomes %q: part %s changed", src, r.Output, e.name())
			}
		}
		// And what another library takes for attachments has too.
		theirs, ok := readWithLibrary(t, src)
		if !ok {
			return
		}
		changed, ok := readWithLibrary(t, r.Output)
		if !ok || len(theirs) != len(changed) {
			t.Fatalf("%q\nbecomes %q\nwhich the library does not read in the same way", src, r.Output)
		}
		for i := range theirs {
			if theirs[i].attachment && theirs[i].content != changed[i].content {
				t.Fatalf("%q\nbecomes %q: part %d changed", src, r.Output, i)
			}
		}
	})
}

func decodedQP(raw []byte) []byte {
	decoded, _ := quotedPrintable.decode(raw)
	return decoded
}

package email

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"example.com/linktracker/linkcore"
)

// htmlSeeds are what HTML may hold that is easily taken wrongly.
var htmlSeeds = []string{
	`<!doctype html><html><head><title>x</title></head><body><p>Hi <a href="https://e.com/?a=1&amp;b=2&copy=3">you</a></body></html>`,
	`<a href=https://e.com/ data-notrack><A HREF='https://e.com/x'/><a/href="https://e.com/"/x==y =z><a href>`,
	`<!--[if mso]><v:roundrect href="https://e.com/"><center>x</center></v:roundrect><![endif]--><!--[if !mso]><!--><a href="https://f.com/">y</a><!--<![endif]-->`,
	`<base href="//b.com/dir/"><a href=" x/../y?q#f "><a href="{{url}}"><svg><title/><a xlink:href="https://e.com/"></svg>`,
	`<script><!-- <script></script> --></script><style></styles></style><textarea></textarea x><plaintext></plaintext>`,
	`<!--><!---><!--x--!><!-- --!-><!-- ---><!----!>--><!x><?y></z></><a <b><`,
	"<a hr\x00ef='&#0;&#x80;&#99999999;&notit;&not=;&amp&semi;'\r\n\f><img alt=x src='https://l.e.com/o1.a.b.c.0-abcdefghijk..AAAAAAAAAAAAAAAAAAAAAA/'>",
	`<noscript><a href="https://e.com/"></noscript><a data-notrack data-notrack="x"href="https://e.com/"><a clicktracking=off href="http://e.com">`,
	`<body><!--[if mso]><![endif]--><a href="https://bit.ly/x">www.bank.com</a><map><area href="https://e.com/?token=abcdefgh"></map></body></html>`,
	`<script><!--><script></script><a href="https://e.com/">`, `<script><!-- <script/</script/--></script x>`, `<title>&lt;</title >x</TITLE>`, "<a href='x&#xd\r\n\r'>", "<!doctype", "<!-", "</a", "<a\u00a0b>",
}

// FuzzScan compares the tokens and the attributes with those of
// golang.org/x/net/html.
func FuzzScan(f *testing.F) {
	for _, seed := range htmlSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		got, want := ourTokens(t, src), theirTokens(src)
		if got != want {
			t.Errorf("%q:\ngot\n%s\nwant\n%s", src, got, want)
		}
	})
}

func ourTokens(t *testing.T, src []byte) string {
	var b strings.Builder
	kinds := map[tokenKind]string{textToken: "text", rawToken: "text", startToken: "start", endToken: "end", commentToken: "comment"}
	s := scanner{src: src}
	at, last := 0, ""
	for {
		token, ok := s.next()
		if !ok {
			break
		}
		if token.start != at || token.end <= token.start {
			t.Fatalf("a token at %d, the one before ended at %d", token.start, at)
		}
		at = token.end
		if !token.complete {
			fmt.Fprintf(&b, "%d cut\n", token.start)
			break
		}
		kind := kinds[token.kind]
		if kind != "text" || last != "text" {
			fmt.Fprintf(&b, "%d %s\n", token.start, kind)
		}
		last = kind
		if token.kind == startToken {
			seen := map[string]bool{}
			list := attributes{src: src, at: token.nameEnd}
			for list.next() {
				name := strings.ReplaceAll(string(src[list.name:list.nameEnd]), "\x00", "\uFFFD")
				lower := []byte(name)
				for i, c := range lower {
					lower[i] = toLower(c)
				}
				name = string(lower)
				if !seen[name] {
					fmt.Fprintf(&b, "  %q=%q\n", name, decodeAttribute(newlines(src[list.value:list.valueEnd])))
				}
				seen[name] = true
			}
		}
	}
	return b.String()
}

// newlines makes line feeds of line ends, as is done before anything is decoded;
// in URLs neither matters.
func newlines(raw []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
}

func theirTokens(src []byte) string {
	var b strings.Builder
	z := html.NewTokenizer(bytes.NewReader(src))
	at, last := 0, ""
	for {
		kind := z.Next()
		start := at
		at += len(z.Raw())
		raw := src[start:at]
		name := ""
		switch kind {
		case html.ErrorToken:
			if start < len(src) {
				fmt.Fprintf(&b, "%d cut\n", start)
			}
			return b.String()
		case html.TextToken:
			name = "text"
		case html.StartTagToken, html.SelfClosingTagToken:
			name = "start"
		case html.EndTagToken:
			name = "end"
		default:
			name = "comment"
			if _, complete := commentEnd(raw, min(4, len(raw))); bytes.HasPrefix(raw, []byte("<!--")) && !complete || raw[len(raw)-1] != '>' {
				fmt.Fprintf(&b, "%d cut\n", start)
				return b.String()
			}
		}
		if name != "text" || last != "text" {
			fmt.Fprintf(&b, "%d %s\n", start, name)
		}
		last = name
		if name == "start" {
			tag, more := z.TagName()
			if string(tag) == "noscript" {
				z.NextIsNotRawText()
			}
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				fmt.Fprintf(&b, "  %q=%q\n", key, value)
			}
		}
	}
}

// FuzzHTML rewrites anything: nothing panics, every byte outside of the edits
// stays, every tracked link leads to its destination, and rewriting again
// changes nothing.
func FuzzHTML(f *testing.F) {
	for i, seed := range htmlSeeds {
		f.Add([]byte(seed), uint8(i*5))
	}
	ring, base := setup(f)
	f.Fuzz(func(t *testing.T, src []byte, options uint8) {
		o := base
		o.Pixel = PixelEnd // leaves a trace of the first run in every mail
		if options&1 != 0 {
			o.Pixel = PixelTop
		}
		if options&2 != 0 {
			o.Form = linkcore.QueryForm
		}
		o.Sealed = options&4 != 0
		o.Placeholders = options&8 != 0
		o.Labels = options&16 != 0
		o.OneTime = Track
		if options&32 != 0 {
			o.UTM = []Parameter{{"utm_source", "x y"}}
			o.Honeypot = "https://e.com/trap"
		}
		w := mustNew(t, o)

		m, err := w.newMail(someone)
		if err != nil {
			t.Fatal(err)
		}
		edits, err := m.html(readPage(src, false), "html", lastHTML)
		if err != nil {
			t.Fatal(err)
		}
		first := m.result(apply(src, edits))
		at := 0
		for _, e := range edits {
			if e.start < at || e.end < e.start || e.end > len(src) {
				t.Fatalf("the edits overlap or are in no order: %+v", edits)
			}
			at = e.end
		}
		tracked := 0
		for _, l := range first.Links {
			if l.Action == ActionTracked {
				tracked++
				checkLink(t, ring, l.Tracked, l.Destination)
			}
		}
		written := 0
		for _, e := range edits {
			if e.text != "" && e.end > e.start {
				written++
			}
		}
		if tracked != written {
			t.Errorf("%d links are tracked, and %d attributes written", tracked, written)
		}
		if first.Pixel == "" {
			return // the input has one of its own
		}

		second, err := w.HTML(someone, first.Output)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(second.Output, first.Output) {
			t.Errorf("rewriting again makes\n%q of\n%q of\n%q", second.Output, first.Output, src)
		}
		// As the first tokenizer sees it, too: the links are where they were.
		if got, want := hrefs(second.Links, false), hrefs(first.Links, true); !strings.HasPrefix(got, want) && o.Honeypot == "" {
			t.Errorf("the links were\n%s and are\n%s", want, got)
		}
	})
}

func hrefs(links []Link, tracked bool) string {
	var b strings.Builder
	for _, l := range links {
		if tracked && l.Action == ActionTracked {
			fmt.Fprintln(&b, l.Tracked)
		} else {
			fmt.Fprintln(&b, l.Found)
		}
	}
	return b.String()
}

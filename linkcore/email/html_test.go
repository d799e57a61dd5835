package email

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
)

// setup is a key ring, and options with a signer of it.
func setup(t testing.TB) (*linkcore.KeyRing, Options) {
	t.Helper()
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("test"), 8)})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	return ring, Options{Signer: signer, Keys: ring}
}

func mustNew(t testing.TB, o Options) *Rewriter {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var someone = linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1", Sent: time.Unix(1767225600, 0)}

func mustHTML(t testing.TB, w *Rewriter, src string) Result {
	t.Helper()
	r, err := w.HTML(someone, []byte(src))
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return r
}

// legible writes a result with the destinations in place of the tracked links,
// each of which it verifies.
func legible(t testing.TB, ring *linkcore.KeyRing, r Result) string {
	t.Helper()
	output := string(r.Output)
	for _, l := range r.Links {
		if l.Action != ActionTracked {
			continue
		}
		checkLink(t, ring, l.Tracked, l.Destination)
		output = strings.Replace(output, strings.ReplaceAll(l.Tracked, "&", "&amp;"), "⟦"+l.Destination+"⟧", 1)
	}
	if r.Pixel != "" {
		output = strings.Replace(output, pixel(r.Pixel), "⟦pixel⟧", 1)
	}
	if r.Honeypot != "" {
		output = strings.Replace(output, honeypot(r.Honeypot), "⟦honeypot⟧", 1)
	}
	return output
}

func checkLink(t testing.TB, ring *linkcore.KeyRing, url, destination string) linkcore.Link {
	t.Helper()
	authority, target, err := linkcore.SplitURL(url)
	if err != nil {
		t.Fatal(err)
	}
	link, err := ring.Verify(authority, target)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	if link.Destination != destination || link.Repair != linkcore.RepairNone {
		t.Errorf("%s leads to %s (repair %s), want %s", url, link.Destination, link.Repair, destination)
	}
	return link
}

func TestHTML(t *testing.T) {
	ring, o := setup(t)
	w := mustNew(t, o)
	for _, c := range []struct{ name, in, want string }{
		// Attributes as the HTML standard reads them.
		{"double quotes", `<a href="https://e.com/x">x</a>`, `<a href="⟦https://e.com/x⟧">x</a>`},
		{"single quotes", `<a href='https://e.com/x'>x</a>`, `<a href='⟦https://e.com/x⟧'>x</a>`},
		{"no quotes", `<a href=https://e.com/x>x</a>`, `<a href=⟦https://e.com/x⟧>x</a>`},
		{"no quotes, slash at the end", `<a href=https://e.com/>x</a>`, `<a href=⟦https://e.com/⟧>x</a>`},
		{"upper case", `<A HREF="HTTPS://E.com/X">x</A>`, `<A HREF="⟦HTTPS://E.com/X⟧">x</A>`},
		{"spaces around =", "<a href\n = \t\"https://e.com/\">x</a>", "<a href\n = \t\"⟦https://e.com/⟧\">x</a>"},
		{"single quote in the value", `<a href="https://e.com/Jack's!3m1">x</a>`, `<a href="⟦https://e.com/Jack's!3m1⟧">x</a>`},
		{"duplicate href, the first wins", `<a href="https://e.com/1" href="https://e.com/2">`, `<a href="⟦https://e.com/1⟧" href="https://e.com/2">`},
		{"slash between", `<a/href="https://e.com/"/title=x>`, `<a/href="⟦https://e.com/⟧"/title=x>`},
		{"no space between", `<a class="x"href="https://e.com/"id=y>`, `<a class="x"href="⟦https://e.com/⟧"id=y>`},
		{"> in a value", `<a title="a>b" href="https://e.com/">`, `<a title="a>b" href="⟦https://e.com/⟧">`},
		{"href in a value", `<a title=' href="https://no.example/"' href="https://e.com/?href=https://f.com/">`, `<a title=' href="https://no.example/"' href="⟦https://e.com/?href=https://f.com/⟧">`},
		{"href without value", `<a href>x</a>`, `<a href>x</a>`},
		{"href without value, at the end", `<a href=>x</a>`, `<a href=>x</a>`},
		{"name begins with =", `<a =href="https://e.com/">`, `<a =href="https://e.com/">`},
		{"other names", `<a data-href="https://e.com/" hrefx="https://e.com/" xhref="https://e.com/">`, `<a data-href="https://e.com/" hrefx="https://e.com/" xhref="https://e.com/">`},
		{"NUL in the name", "<a hr\x00ef=\"https://e.com/\">", "<a hr\x00ef=\"https://e.com/\">"},
		{"NUL in the value", "<a href=\"https://e.com/\x00\">", "<a href=\"⟦https://e.com/%EF%BF%BD⟧\">"},
		{"other elements", `<link href="https://e.com/"><abbr href="https://e.com/"><img src="https://e.com/"><form action="https://e.com/">`, `<link href="https://e.com/"><abbr href="https://e.com/"><img src="https://e.com/"><form action="https://e.com/">`},
		{"area", `<map><area alt="x" href="https://e.com/"></map>`, `<map><area alt="x" href="⟦https://e.com/⟧"></map>`},
		{"SVG", `<svg><title/><a xlink:href="https://e.com/1"><a xlink:href="https://e.com/2" href="https://e.com/3"></svg><a xlink:href="https://e.com/4">`, `<svg><title/><a xlink:href="⟦https://e.com/1⟧"><a xlink:href="https://e.com/2" href="⟦https://e.com/3⟧"></svg><a xlink:href="https://e.com/4">`},

		// Character references.
		{"&amp;", `<a href="https://e.com/?a=1&amp;b=2">`, `<a href="⟦https://e.com/?a=1&b=2⟧">`},
		{"bare &", `<a href="https://e.com/?a=1&b=2">`, `<a href="⟦https://e.com/?a=1&b=2⟧">`},
		{"no reference before =", `<a href="https://e.com/?a=1&copy=2&reg=3&not=4&amp=5">`, `<a href="⟦https://e.com/?a=1&copy=2&reg=3&not=4&amp=5⟧">`},
		{"no reference before a letter", `<a href="https://e.com/?a&copyx&section=1&notit;">`, `<a href="⟦https://e.com/?a&copyx&section=1&notit;⟧">`},
		{"reference without semicolon", `<a href="https://e.com/?a&amp">`, `<a href="⟦https://e.com/?a&⟧">`},
		{"doubly escaped", `<a href="https://e.com/?a=1&amp;amp;b=2">`, `<a href="⟦https://e.com/?a=1&amp;b=2⟧">`},
		{"numeric references", `<a href="https:&#x2F;&#47;e.com/&#63;a=1&#38b=2&#038;c=3">`, `<a href="⟦https://e.com/?a=1&b=2&c=3⟧">`},
		{"other references", `<a href="https://e&period;com&sol;&eacute;&semi;">`, `<a href="⟦https://e.com/%C3%A9;⟧">`},

		// URLs.
		{"white space", "<a href=\" \r\n https://e.com/a\n\tb \x01\">", `<a href="⟦https://e.com/ab⟧">`},
		{"space within", `<a href="https://e.com/a b?c d#e f">`, `<a href="⟦https://e.com/a%20b?c%20d#e%20f⟧">`},
		{"without scheme", `<a href="//e.com/x">`, `<a href="⟦https://e.com/x⟧">`},
		{"base", `<base href="https://b.com/dir/page?q"><base href="https://no.example/"><a href="x/./../y?z#f"><a href="?q2"><a href="/r"><a href="//c.com/"><a href="../../up">`,
			`<base href="https://b.com/dir/page?q"><base href="https://no.example/"><a href="⟦https://b.com/dir/y?z#f⟧"><a href="⟦https://b.com/dir/page?q2⟧"><a href="⟦https://b.com/r⟧"><a href="⟦https://c.com/⟧"><a href="⟦https://b.com/up⟧">`},
		{"base behind the link, without path", `<a href="x"><a href="?y"><base href=http://b.com>`, `<a href="⟦http://b.com/x⟧"><a href="⟦http://b.com/?y⟧"><base href=http://b.com>`},
		{"base without scheme", `<base href="//b.com/"><a href="x"><a href="//c.com">`, `<base href="//b.com/"><a href="⟦https://b.com/x⟧"><a href="⟦https://c.com⟧">`},
		{"base that is of no use", `<base href="/dir/"><a href="x"><a href="//c.com/">`, `<base href="/dir/"><a href="x"><a href="⟦https://c.com/⟧">`},
		{"first base empty", `<base target=_blank><base href=""><base href="https://b.com/"><a href="x">`, `<base target=_blank><base href=""><base href="https://b.com/"><a href="x">`},
		{"international", `<a href="https://bücher.example/ü?ö">`, `<a href="⟦https://xn--bcher-kva.example/%C3%BC?%C3%B6⟧">`},
		{"characters that must stay", `<a href="https://e.com/s?f[0]=a:2&f[1]=b%20c+d|e">`, `<a href="⟦https://e.com/s?f[0]=a:2&f[1]=b%20c+d|e⟧">`},

		// What is not markup.
		{"comment", `<!-- <a href="https://e.com/"> --><a href="https://f.com/">`, `<!-- <a href="https://e.com/"> --><a href="⟦https://f.com/⟧">`},
		{"comments that end early", `<!--><a href="https://e.com/1"><!---><a href="https://e.com/2"><!--x--!><a href="https://e.com/3"><!-- <!-- --><a href="https://e.com/4">`,
			`<!--><a href="⟦https://e.com/1⟧"><!---><a href="⟦https://e.com/2⟧"><!--x--!><a href="⟦https://e.com/3⟧"><!-- <!-- --><a href="⟦https://e.com/4⟧">`},
		{"raw text", `<style>a:after{content:'<a href="https://e.com/">'}</style><script>"<a href='https://e.com/'>"</script><title><a href="https://e.com/"></title><textarea><a href="https://e.com/"></textarea><xmp><a href="https://e.com/"></xmp><iframe><a href="https://e.com/"></iframe ><a href="https://f.com/">`,
			`<style>a:after{content:'<a href="https://e.com/">'}</style><script>"<a href='https://e.com/'>"</script><title><a href="https://e.com/"></title><textarea><a href="https://e.com/"></textarea><xmp><a href="https://e.com/"></xmp><iframe><a href="https://e.com/"></iframe ><a href="⟦https://f.com/⟧">`},
		{"raw text that ends nowhere else", `<style></styles></style x></style><a href="https://f.com/">`, `<style></styles></style x></style><a href="⟦https://f.com/⟧">`},
		{"script in a comment in a script", `<script><!-- <script></script><a href="https://e.com/"> --></script><a href="https://f.com/">`, `<script><!-- <script></script><a href="https://e.com/"> --></script><a href="⟦https://f.com/⟧">`},
		{"plaintext", `<plaintext><a href="https://e.com/"></plaintext>`, `<plaintext><a href="https://e.com/"></plaintext>`},
		{"noscript is markup to mail clients", `<noscript><a href="https://e.com/"></noscript>`, `<noscript><a href="⟦https://e.com/⟧"></noscript>`},
		{"declarations", `<!DOCTYPE html "<a href='https://e.com/'"><?x <a href="https://e.com/"><a href="https://f.com/">`, `<!DOCTYPE html "<a href='https://e.com/'"><?x <a href="https://e.com/"><a href="⟦https://f.com/⟧">`},
		{"less-than signs", `1 < 2 <3 <- </ a href="https://e.com/"><a href="https://f.com/">`, `1 < 2 <3 <- </ a href="https://e.com/"><a href="⟦https://f.com/⟧">`},
		{"end tag with attributes", `</a href="https://e.com/">`, `</a href="https://e.com/">`},

		// Outlook.
		{"conditional comment", `<!--[if mso]><v:roundrect href="https://e.com/?a=1&amp;b=2" style="x"><w:anchorlock/><center>Go</center></v:roundrect><a href='https://e.com/3'><![endif]-->`,
			`<!--[if mso]><v:roundrect href="⟦https://e.com/?a=1&b=2⟧" style="x"><w:anchorlock/><center>Go</center></v:roundrect><a href='⟦https://e.com/3⟧'><![endif]-->`},
		{"shapes", `<!--[IF gte mso 9]><v:rect href=https://e.com/1><V:Shape HREF="https://e.com/2"><v:oval href="https://e.com/3"><v:image href="https://e.com/4"><v:fill href="https://e.com/5"><![endif]-->`,
			`<!--[IF gte mso 9]><v:rect href=⟦https://e.com/1⟧><V:Shape HREF="⟦https://e.com/2⟧"><v:oval href="⟦https://e.com/3⟧"><v:image href="⟦https://e.com/4⟧"><v:fill href="https://e.com/5"><![endif]-->`},
		{"revealed", `<!--[if !mso]><!--><a href="https://e.com/1">x</a><!--<![endif]--><![if !mso]><a href="https://e.com/2">x</a><![endif]>`,
			`<!--[if !mso]><!--><a href="⟦https://e.com/1⟧">x</a><!--<![endif]--><![if !mso]><a href="⟦https://e.com/2⟧">x</a><![endif]>`},
		{"conditional comment that never ends", `<!--[if mso]><a href="https://e.com/">`, `<!--[if mso]><a href="⟦https://e.com/⟧">`},
		{"base in a conditional comment", `<!--[if mso]><base href="https://b.com/"><![endif]--><a href="x">`, `<!--[if mso]><base href="https://b.com/"><![endif]--><a href="x">`},

		// Truncated.
		{"cut in the value", `<a href="https://e.com/1">x</a><a href="https://e.com/2`, `<a href="⟦https://e.com/1⟧">x</a><a href="https://e.com/2`},
		{"cut before >", `<a href="https://e.com/2"`, `<a href="https://e.com/2"`},
		{"cut in the quote", `<a href=">`, `<a href=">`},
		{"cut in a comment", `<!-- <a href="https://e.com/">`, `<!-- <a href="https://e.com/">`},
		{"cut behind <", `<`, `<`},
		{"cut behind </", `</`, `</`},
		{"empty", ``, ``},

		// The marker that is ours goes, with its white space.
		{"data-notrack", `<a data-notrack href="https://e.com/">`, `<a href="https://e.com/">`},
		{"data-notrack at the end", `<a href=https://e.com/ data-notrack>`, `<a href=https://e.com/>`},
		{"data-notrack with value", "<a class=x\n  data-notrack = \"1\"\n  href=https://e.com/>", "<a class=x\n  href=https://e.com/>"},
		{"data-notrack twice", `<a data-notrack DATA-NOTRACK=1 href="https://e.com/">`, `<a href="https://e.com/">`},
		{"data-notrack keeps neighbours apart", `<a data-notrack="1"href="https://e.com/">`, `<a href="https://e.com/">`},
		{"data-notrack before a slash", `<a href=https://e.com/ data-notrack/>`, `<a href=https://e.com/ />`},
		{"data-notrack between slashes", `<a/data-notrack/href="https://e.com/">`, `<a//href="https://e.com/">`},
		{"data-notrack before =", `<a href data-notrack="" =https://e.com/>`, `<a href data-notrack="" =https://e.com/>`},
		{"data-notrack elsewhere", `<p data-notrack><a href="https://e.com/" data-notes>`, `<p data-notrack><a href="⟦https://e.com/⟧" data-notes>`},
		{"data-notrack on a link that is none", `<a data-notrack href="mailto:x@e.com">`, `<a href="mailto:x@e.com">`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustHTML(t, w, c.in)
			if got := legible(t, ring, r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if again := mustHTML(t, w, string(r.Output)); len(r.Links) > 0 && strings.Contains(c.want, "⟦") && !bytes.Equal(again.Output, r.Output) {
				t.Errorf("rewriting again makes\n%s of\n%s", again.Output, r.Output)
			}
		})
	}
}

// Links below a path that an endpoint is mounted under are recognised.
func TestMountedEndpoint(t *testing.T) {
	ring, o := setup(t)
	var err error
	if o.Signer, err = ring.Signer("https://example.com/go/to/the/links", "1"); err != nil {
		t.Fatal(err)
	}
	for _, form := range []linkcore.Form{linkcore.PathForm, linkcore.QueryForm} {
		o.Form = form
		w := mustNew(t, o)
		r := mustHTML(t, w, `<a href="https://e.com/a/b/c?d=/e/f">`)
		if !strings.HasPrefix(r.Links[0].Tracked, "https://example.com/go/to/the/links/") {
			t.Errorf("%+v", r.Links)
		}
		if again := mustHTML(t, w, string(r.Output)); !bytes.Equal(again.Output, r.Output) {
			t.Errorf("rewriting again makes %s of %s", again.Output, r.Output)
		}
	}
}

// The query form has = in it, so that a value without quotes gets them.
func TestHTMLQuotesWhereNeeded(t *testing.T) {
	ring, o := setup(t)
	o.Form = linkcore.QueryForm
	for _, sealed := range []bool{false, true} {
		o.Sealed = sealed
		w := mustNew(t, o)
		for in, want := range map[string]string{
			`<a href=https://e.com/>`:           `<a href="⟦https://e.com/⟧">`,
			`<a href=https://e.com/ id=x>`:      `<a href="⟦https://e.com/⟧" id=x>`,
			`<a href='https://e.com/?a&amp;b'>`: `<a href='⟦https://e.com/?a&b⟧'>`,
			`<a href="https://e.com/">`:         `<a href="⟦https://e.com/⟧">`,
		} {
			r := mustHTML(t, w, in)
			if got := legible(t, ring, r); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if again := mustHTML(t, w, string(r.Output)); !bytes.Equal(again.Output, r.Output) {
				t.Errorf("rewriting again makes %s of %s", again.Output, r.Output)
			}
		}
	}
	o.Form = linkcore.PathForm
	r := mustHTML(t, mustNew(t, o), `<a href=https://e.com/>`)
	if got, want := legible(t, ring, r), `<a href="⟦https://e.com/⟧">`; got != want {
		t.Errorf("a sealed link ends in a slash: got %s, want %s", got, want)
	}
}

func TestLeftAlone(t *testing.T) {
	ring, o := setup(t)
	o.SkipHosts = []string{"skip.example", "*.below.example", "Bücher.example"}
	o.SkipURLs = []string{"https://e.com/account/*", "*/logout"}
	w := mustNew(t, o)
	other, err := ring.Signer("https://other.example/mounted/here", "1")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(kind linkcore.Kind, destination string) string {
		tracked, err := other.Sign(linkcore.Fields{}, destination, linkcore.Options{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		return tracked.URL
	}
	seal, err := other.Seal(linkcore.Fields{}, "https://e.com/", linkcore.Options{Form: linkcore.QueryForm})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ href, reason string }{
		{"", "it is empty"},
		{" \n ", "it is empty"},
		{"#top", "a place in the mail itself"},
		{"mailto:a@example.com?subject=x&amp;body=https://e.com/", "scheme mailto:"},
		{"MAILTO:a@example.com", "scheme MAILTO:"},
		{"tel:+123", "scheme tel:"}, {"sms:+123", "scheme sms:"}, {"cid:x", "scheme cid:"},
		{"data:text/html,x", "scheme data:"}, {"javascript:void(0)", "scheme javascript:"}, {"java\nscript:void(0)", "scheme javascript:"},
		{"ftp://e.com/", "scheme ftp:"}, {"whatsapp://send?text=x", "scheme whatsapp:"},
		{"page.html", "relative"}, {"/page", "relative"}, {"?x", "relative"}, {"www.example.com", "relative"},
		{"{{url}}", "placeholder {{url}}"}, {"https://e.com/?u={{ user.id }}", "placeholder {{ user.id }}"},
		{"{% url 'x' %}", "placeholder {% url 'x' %}"}, {"*|UNSUB|*", "placeholder *|UNSUB|*"}, {"https://e.com/[[id]]", "placeholder [[id]]"},
		{"https://e.com/%%unsubscribe%%", "placeholder %%unsubscribe%%"}, {"%%=RedirectTo(@x)=%%", "placeholder"}, {"{{ url_for(", "placeholder {{ url_for("},
		{"{{{raw}}}", "placeholder {{{raw}}"},
		{sign(linkcore.Click, "https://e.com/"), "tracked already"},
		{sign(linkcore.Unsubscribe, ""), "tracked already"},
		{sign(linkcore.Open, ""), "tracked already"},
		{seal.URL, "tracked already"},
		{strings.Replace(sign(linkcore.Click, "https://e.com/"), "https://", "//", 1), "tracked already"},
		{"https://user@e.com/", "user name or password"},
		{"https:\\\\e.com\\x", "must begin with http"},
		{"https://e.com\\@f.com/", "backslash"},
		{"https://e.com/a\\b", "backslash"},
		{"https:e.com", "must begin with http"},
		{"https://", "has no host"}, {"http:///e.com", "has no host"},
		{"https://e.com:99999/", "port"}, {"https://0x7f.1/", "IPv4"}, {"https://e .com/", "space"},
		{"https://e.com/\xff", "UTF-8"},
		{"https://e.com/" + strings.Repeat("x", 8000), "makes a tracked URL of"},
		{"https://skip.example/", "host is one to skip"}, {"https://SKIP.example.:443/", "host is one to skip"}, {"https://a.b.below.example/", "host is one to skip"}, {"https://xn--bcher-kva.example/", "host is one to skip"},
		{"https://E.com/account/x?y", "matches the pattern https://e.com/account/*"}, {"https://e.com/x/logout", "matches the pattern */logout"},
	} {
		in := `<a id=x href="` + c.href + `">text</a>`
		r := mustHTML(t, w, in)
		if string(r.Output) != in {
			t.Errorf("%s becomes %s", in, r.Output)
		}
		if len(r.Links) != 1 || r.Links[0].Action != ActionSkipped || !strings.Contains(r.Links[0].Reason, c.reason) || r.Links[0].Tracked != "" {
			t.Errorf("%s: %+v, want the reason %q", in, r.Links, c.reason)
		}
	}
	for _, href := range []string{"https://skip.example.com/", "https://below.example/", "https://e.com/account", "https://e.com/logout/", "https://e.com/%20", "https://e.com/%7B%7Bx", "https://e.com/*|", "https://e.com/100%%", "https://e.com/a[[0]", strings.Replace(sign(linkcore.Click, "https://e.com/"), "e.com", "f.com", 1)} {
		if r := mustHTML(t, w, `<a href="`+href+`">`); r.Links[0].Action != ActionTracked {
			t.Errorf("%s: %+v", href, r.Links)
		}
	}
}

func TestOptOut(t *testing.T) {
	_, o := setup(t)
	w := mustNew(t, o)
	for _, attribute := range []string{
		`clicktracking="off"`, `clicktracking=off`, `CLICKTRACKING='OFF'`, `data-pm-no-track`, `data-pm-no-track="true"`,
		`disable-tracking=true`, `disable-tracking`, `data-skip-click`, `data-skip-click="true"`,
	} {
		in := `<a ` + attribute + ` href="https://e.com/">x</a>`
		if r := mustHTML(t, w, in); string(r.Output) != in || !strings.HasPrefix(r.Links[0].Reason, "it opts out with ") {
			t.Errorf("%s becomes %s: %+v", in, r.Output, r.Links)
		}
	}
	for _, attribute := range []string{`clicktracking="on"`, `clicktracking=on clicktracking=off`, `disable-tracking="false"`, `title="data-notrack"`} {
		if r := mustHTML(t, w, `<a `+attribute+` href="https://e.com/">x</a>`); r.Links[0].Action != ActionTracked {
			t.Errorf("%s: %+v", attribute, r.Links)
		}
	}
}

func TestReport(t *testing.T) {
	_, o := setup(t)
	r := mustHTML(t, mustNew(t, o), "<p>\n<a href='mailto:x@e.com'>Mail</a>\n<a href='https://e.com/?a=1&amp;b=2#f'>\n See &amp; <b>act</b>&nbsp;<img alt='n&ouml;w' src=x> <br>here</a>\n<!--[if mso]>\n<v:rect href='https://e.com/'>Out<![endif]-->")
	if len(r.Links) != 3 {
		t.Fatalf("%+v", r.Links)
	}
	for i, want := range []Link{
		{Position: 1, Part: "html", Line: 2, Found: "mailto:x@e.com", Text: "Mail", Action: ActionSkipped, Reason: "links of the scheme mailto: are not tracked"},
		{Position: 2, Part: "html", Line: 3, Found: "https://e.com/?a=1&b=2#f", Text: "See & act nöw here", Action: ActionTracked, Destination: "https://e.com/?a=1&b=2#f", Warnings: []string{string(linkcore.WarnFragment)}},
		{Position: 3, Part: "html", Line: 6, Found: "https://e.com/", Text: "Out", Action: ActionTracked, Destination: "https://e.com/"},
	} {
		got := r.Links[i]
		if got.Action == ActionTracked && (len(got.ID) != len("2-a1b2c3d4e5f") || !strings.HasPrefix(got.ID, fmt.Sprint(want.Position, "-")) || got.Tracked == "") {
			t.Errorf("the link is named %q: %s", got.ID, got.Tracked)
		}
		got.ID, got.Tracked = "", ""
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if first, second := r.Links[1].ID, r.Links[2].ID; first[2:] != second[2:] {
		t.Errorf("links of one mail have different random parts: %s, %s", first, second)
	}
	long := mustHTML(t, mustNew(t, o), "<a href='https://e.com/'>"+strings.Repeat("ü", 10000)+"</a>")
	if text := long.Links[0].Text; len(text) > maxVisibleText+len("…") || !strings.HasPrefix(text, "üüü") || !strings.HasSuffix(text, "ü…") {
		t.Errorf("the text is %q", text)
	}
}

// No two mails share a link, and the fields are those that were given.
func TestLinksOfMails(t *testing.T) {
	ring, o := setup(t)
	w := mustNew(t, o)
	seen := map[string]bool{}
	for range 3 {
		r := mustHTML(t, w, `<a href="https://e.com/"><a href="https://e.com/">`)
		for _, l := range r.Links {
			link := checkLink(t, ring, l.Tracked, "https://e.com/")
			if seen[link.Fields.Link] {
				t.Errorf("%s is used twice", link.Fields.Link)
			}
			seen[link.Fields.Link] = true
			link.Fields.Link = ""
			if link.Sent = link.Sent.UTC(); !link.Sent.Equal(someone.Sent) || link.Recipient != "r1" || link.Campaign != "spring26" || link.Customer != "acme" {
				t.Errorf("%+v", link.Fields)
			}
		}
	}
	f := someone
	f.Link = "x"
	if _, err := w.HTML(f, nil); err == nil || !strings.Contains(err.Error(), "link must be empty") {
		t.Errorf("a link is taken: %v", err)
	}
	f = someone
	f.Campaign = "spring 26"
	if r, err := w.HTML(f, []byte(`<a href="https://e.com/">`)); err == nil || !strings.Contains(err.Error(), "campaign") || r.Output != nil {
		t.Errorf("a campaign with a space is taken: %v", err)
	}
}

func TestAnonymous(t *testing.T) {
	ring, o := setup(t)
	o.Tracking = Anonymous
	o.Pixel = PixelEnd
	o.Honeypot = "https://e.com/trap"
	o.Form = linkcore.QueryForm
	o.Labels = true
	w := mustNew(t, o)
	const in = `<a href="https://e.com/1">Dear Ann</a><a href="https://e.com/1">y</a>`
	first := mustHTML(t, w, in)
	another := someone
	another.Recipient = "r2"
	another.Sent = another.Sent.Add(time.Minute)
	second, err := mustNew(t, o).HTML(another, []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Output, second.Output) {
		t.Errorf("two mails of the mailing differ:\n%s\n%s", first.Output, second.Output)
	}
	if first.Honeypot != "" {
		t.Error("there is a honeypot")
	}
	ids := map[string]bool{}
	for _, url := range []string{first.Links[0].Tracked, first.Links[1].Tracked, first.Pixel} {
		authority, target, _ := linkcore.SplitURL(url)
		link, err := ring.Verify(authority, target)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(link.Fields.Link, "an_") || link.Recipient != "" || !link.Sent.IsZero() || link.Campaign != "spring26" || ids[link.Fields.Link] {
			t.Errorf("%s: %+v", url, link.Fields)
		}
		if strings.Contains(link.Label, "ann") {
			t.Errorf("the label %s names the recipient", link.Label)
		}
		ids[link.Fields.Link] = true
	}
	if again := mustHTML(t, w, string(first.Output)); !bytes.Equal(again.Output, first.Output) {
		t.Error("rewriting again changes it")
	}
	o.Sealed = true
	if _, err := New(o); err == nil {
		t.Error("anonymous links are sealed, so that each is unlike all others")
	}
}

func TestTrackingOff(t *testing.T) {
	_, o := setup(t)
	o.Tracking = Off
	o.Pixel = PixelEnd
	o.Honeypot = "https://e.com/trap"
	o.OneTime = Refuse
	r := mustHTML(t, mustNew(t, o), `<body><a href="https://e.com/?token=abcdef">x</a><a data-notrack href="https://e.com/">`)
	if got, want := string(r.Output), `<body><a href="https://e.com/?token=abcdef">x</a><a data-notrack href="https://e.com/">`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if r.Pixel+r.Honeypot != "" || len(r.Links) != 2 || r.Links[0].Reason != "tracking is off" {
		t.Errorf("%+v", r)
	}
}

func TestLabels(t *testing.T) {
	ring, o := setup(t)
	o.Labels = true
	for _, c := range []struct {
		sealed bool
		form   linkcore.Form
		html   string
		want   string
	}{
		{false, linkcore.PathForm, "See our <b>offers</b>!", ""},
		{false, linkcore.QueryForm, "See our <b>offers</b>!", "see-our-offers"},
		{true, linkcore.PathForm, "See our offers", "see-our-offers"},
		{true, linkcore.QueryForm, "See our offers", "see-our-offers"},
		{false, linkcore.QueryForm, "<img alt='Größe / Size' src=x>", "gr%C3%B6%C3%9Fe-size"},
		{false, linkcore.QueryForm, "../-/c1.a.b.c.d..e?x#y%00", "c1-a-b-c-d-e-x-y-00"},
		{false, linkcore.QueryForm, "\u202e!!!", ""},
		{false, linkcore.QueryForm, strings.Repeat("wort ", 50), "wort-wort-wort-wort-wort-wort-wort-wort"},
	} {
		o.Sealed, o.Form = c.sealed, c.form
		r := mustHTML(t, mustNew(t, o), `<a href="https://e.com/">`+c.html+`</a>`)
		if link := checkLink(t, ring, r.Links[0].Tracked, "https://e.com/"); link.Label != c.want {
			t.Errorf("%s: the label is %q, want %q", c.html, link.Label, c.want)
		}
		if len(r.Links[0].Warnings) > 0 {
			t.Errorf("%s: %q", c.html, r.Links[0].Warnings)
		}
	}
}

func TestChoices(t *testing.T) {
	_, o := setup(t)
	for _, c := range []struct {
		name string
		html string
		set  func(*Options, Choice)
		word string
		def  Action
	}{
		{"visible URL", `<a href="https://e.com/x">https://e.com/x</a>`, func(o *Options, c Choice) { o.VisibleURL = c }, "once tracked, leads to links.example.com", ActionTracked},
		{"visible host of another", `<a href="https://e.com/x">www.bank.com</a>`, func(o *Options, c Choice) { o.VisibleURL = c }, "what phishing looks like", ActionTracked},
		{"shortener", `<a href="https://bit.ly/x">x</a>`, func(o *Options, c Choice) { o.Shorteners = c }, "link shortener bit.ly", ActionTracked},
		{"one-time link", `<a href="https://e.com/password/reset?x">x</a>`, func(o *Options, c Choice) { o.OneTime = c }, "one-time link", ActionSkipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, choice := range []Choice{"", Track, Skip, Refuse} {
				o := o
				if choice != "" {
					c.set(&o, choice)
				}
				r, err := mustNew(t, o).HTML(someone, []byte(c.html))
				if choice == Refuse {
					refused, ok := err.(*RefusedError)
					if !ok || !strings.Contains(err.Error(), c.word) || refused.Line != 1 || r.Output != nil {
						t.Errorf("refuse: %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				want := c.def
				switch choice {
				case Track:
					want = ActionTracked
				case Skip:
					want = ActionSkipped
				}
				l := r.Links[0]
				if l.Action != want {
					t.Errorf("%q: %s, want %s", choice, l.Action, want)
				}
				if said := l.Reason + strings.Join(l.Warnings, ""); !strings.Contains(said, c.word) {
					t.Errorf("%q: the report says %q", choice, said)
				}
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	ring, good := setup(t)
	other, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("else"), 8)})
	if err != nil {
		t.Fatal(err)
	}
	deep, err := ring.Signer("https://links.example.com/a/b/c/d/e", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		set  func(*Options)
	}{
		{"not recognised", func(o *Options) { o.Keys = other }},
		{"not recognised", func(o *Options) { o.PixelSigner = deep }},
		{"signer", func(o *Options) { o.Signer = nil }},
		{"key ring", func(o *Options) { o.Keys = nil }},
		{"form", func(o *Options) { o.Form = "x" }},
		{"tracking", func(o *Options) { o.Tracking = "x" }},
		{"parts", func(o *Options) { o.Parts = "x" }},
		{"pixel", func(o *Options) { o.Pixel = "x" }},
		{"shorteners", func(o *Options) { o.Shorteners = "x" }},
		{"UTM", func(o *Options) { o.UTM = []Parameter{{"", "x"}} }},
		{"skip hosts", func(o *Options) { o.SkipHosts = []string{"https://e.com/"} }},
		{"skip hosts", func(o *Options) { o.SkipHosts = []string{"e.com/*"} }},
		{"only hosts", func(o *Options) { o.OnlyHosts = []string{"*."} }},
		{"skip URLs", func(o *Options) { o.SkipURLs = []string{"e.com/x"} }},
		{"unsubscribe URLs", func(o *Options) { o.UnsubscribeURLs = []string{"e.com/x"} }},
		{"honeypot", func(o *Options) { o.Honeypot = "e.com" }},
	} {
		o := good
		c.set(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestOnlyHosts(t *testing.T) {
	ring, o := setup(t)
	o.OnlyHosts = []string{"e.com", "*.e.com"}
	r := mustHTML(t, mustNew(t, o), `<a href="https://e.com/"><a href="https://x.e.com/"><a href="https://f.com/">`)
	if got, want := legible(t, ring, r), `<a href="⟦https://e.com/⟧"><a href="⟦https://x.e.com/⟧"><a href="https://f.com/">`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPlaceholdersOnRequest(t *testing.T) {
	ring, o := setup(t)
	o.Placeholders = true
	r := mustHTML(t, mustNew(t, o), `<a href="https://e.com/?u={{ user.id }}&x=%%y%%"><a href="{{url}}">`)
	if got, want := legible(t, ring, r), `<a href="⟦https://e.com/?u={{%20user.id%20}}&x=%%y%%⟧"><a href="{{url}}">`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What was left alone by a marker that is gone stays so.
func TestRewritingAgain(t *testing.T) {
	_, o := setup(t)
	o.Pixel = PixelTop
	o.Honeypot = "https://e.com/trap"
	w := mustNew(t, o)
	const in = `<body><a data-notrack href="https://e.com/1">x</a><a href="https://e.com/2">x</a></body>`
	first := mustHTML(t, w, in)
	again := mustHTML(t, w, string(first.Output))
	if !bytes.Equal(again.Output, first.Output) {
		t.Errorf("rewriting again makes\n%s of\n%s", again.Output, first.Output)
	}
	if again.Pixel != "" || again.Honeypot != "" || !slices.ContainsFunc(again.Links, func(l Link) bool {
		return l.Found == "https://e.com/1" && strings.Contains(l.Reason, "rewritten before")
	}) {
		t.Errorf("%+v", again)
	}
	// For another recipient it is another mail, in which a forwarded one stands.
	f := someone
	f.Recipient = "r2"
	other, err := w.HTML(f, first.Output)
	if err != nil {
		t.Fatal(err)
	}
	if other.Links[0].Action != ActionTracked || other.Links[1].Action != ActionSkipped || other.Pixel == "" || other.Honeypot == "" {
		t.Errorf("%+v", other)
	}
}

func TestLookAhead(t *testing.T) {
	_, o := setup(t)
	w := mustNew(t, o)
	m, err := w.newMail(someone)
	if err != nil {
		t.Fatal(err)
	}
	m.lookAhead(readPage([]byte(`<base href="https://e.com/"><a data-notrack href=" reset&amp;x ">`), false))
	for _, c := range []struct {
		f    found
		want Action
	}{
		{found{url: "https://e.com/reset&x", plain: true}, ActionSkipped},
		{found{url: "https://e.com/reset&x"}, ActionTracked},
		{found{url: "https://e.com/other", plain: true}, ActionTracked},
		{found{url: "https://e.com/other", plain: true, problem: "no end"}, ActionSkipped},
	} {
		if _, err := m.judge(c.f); err != nil {
			t.Fatal(err)
		}
		if l := m.report.Links[len(m.report.Links)-1]; l.Action != c.want {
			t.Errorf("%+v: %+v", c.f, l)
		}
	}
}

func TestAMP(t *testing.T) {
	ring, o := setup(t)
	o.Pixel, o.Honeypot = PixelEnd, "https://e.com/trap"
	m, err := mustNew(t, o).newMail(someone)
	if err != nil {
		t.Fatal(err)
	}
	const in = `<!doctype html><html ⚡4email><body><a href="https://e.com/">x</a><!--[if mso]><a href="https://e.com/"><![endif]--><v:rect href="https://e.com/"><a [href]="u" href="https://e.com/2">x</a></body></html>`
	edits, err := m.html(readPage([]byte(in), true), "amp", ampHTML)
	if err != nil {
		t.Fatal(err)
	}
	got := legible(t, ring, m.result(apply([]byte(in), edits)))
	if want := strings.NewReplacer(`<a href="https://e.com/">x`, `<a href="⟦https://e.com/⟧">x`, "https://e.com/2", "⟦https://e.com/2⟧").Replace(in); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

package email

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding/korean"
)

// Opt-outs of other products' templates count, and stay in the mail; Postal's in the
// scheme, and this project's own, go.
func TestOptOutsOfOthers(t *testing.T) {
	for html, want := range map[string]string{
		`<a ses:no-track href="https://e.com/">x</a>`:                         "",
		`<a data-msys-clicktrack="0" href="https://e.com/">x</a>`:             "",
		`<a data-msys-clicktrack="1" href="https://e.com/">x</a>`:             "tracked",
		`<a mc:disable-tracking href="https://e.com/">x</a>`:                  "",
		`<a mautic:disable-tracking=true href="https://e.com/">x</a>`:         "",
		`<a data-mautic-disable-tracking="false" href="https://e.com/">x</a>`: "tracked",
		`<a class="btn untracked" href="https://e.com/">x</a>`:                "",
		`<a class="mktNoTrack" href="https://e.com/">x</a>`:                   "",
		`<a class="tracked" href="https://e.com/">x</a>`:                      "tracked",
		`<a data-no-track href="https://e.com/">x</a>`:                        "",
		`<a no-track="true" href="https://e.com/">x</a>`:                      "",
		`<a data-disable-tracking href="https://e.com/">x</a>`:                "",
		`<a data-do-not-track="1" href="https://e.com/">x</a>`:                "",
		`<a clicktracking="false" href="https://e.com/">x</a>`:                "",
		`<a data-click-track="no" href="https://e.com/">x</a>`:                "",
		`<a track="off" href="https://e.com/">x</a>`:                          "",
		`<a data-link-tracking=off href="https://e.com/">x</a>`:               "",
		`<a track href="https://e.com/">x</a>`:                                "tracked",
		`<a data-track="click" href="https://e.com/">x</a>`:                   "tracked",
		`<a data-tracking-id=0 href="https://e.com/">x</a>`:                   "tracked",
		`<a title="no track" href="https://e.com/">x</a>`:                     "tracked",
		`<a href="HTTPS+notrack://e.com/?a&amp;b">x</a>`:                      `<a href="HTTPS://e.com/?a&amp;b">x</a>`,
	} {
		r, err := mailing(t, Options{}).HTML(testFields, []byte(html))
		if want == "" {
			want = html
		}
		if tracked := r.Links[0].Action == ActionTracked; err != nil || tracked != (want == "tracked") || !tracked && string(r.Output) != want {
			t.Errorf("%s: %s, %+v, %v", html, r.Output, r.Links, err)
		}
	}
	r, err := mailing(t, Options{}).Text(testFields, []byte("Go to http+notrack://e.com/a or https://e.com/b"))
	if err != nil || !strings.HasPrefix(string(r.Output), "Go to http://e.com/a or https://links.example.com/") {
		t.Errorf("%s, %v", r.Output, err)
	}
	message := "From: a@example.com\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nhttps://e.com/\n" +
		"--b\nContent-Type: text/html\n\n<a href=https+notrack://e.com/>x</a>\n--b--\n"
	if r, err = mailing(t, Options{}).Message(testFields, []byte(message)); err != nil || string(r.Output) != strings.Replace(message, "+notrack", "", 1) {
		t.Errorf("the text part of a link that opts out: %s, %v", r.Output, err)
	}
}

// A parameter more would break the signature of a URL.
func TestNoParameterForSignedURLs(t *testing.T) {
	o := Options{UTM: []Parameter{{"utm_source", "n"}}}
	for url, signed := range map[string]bool{
		"https://b.s3.example/f?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=abcdef01": true,
		"https://s.example/f?GoogleAccessId=x&Expires=1&Signature=abc":                     true,
		"https://s.example/f?X-Goog-Signature=abc":                                         true,
		"https://x.cloudfront.example/f?Expires=1&Signature=abc~&Key-Pair-Id=K":            true,
		"https://st.blob.example/c/f?sv=2022&sig=abc%3D":                                   true,
		"https://l.example/verify-order/1?expires=1&signature=0a1b2c":                      true,
		"https://i.example/a.png?w=1&hmac=0a1b2c":                                          true,
		"https://e.com/?design=abcdef&signal=abcdef":                                       false,
		"https://c.example/a?md5=abcDEF0123456789abcd_w&expires=1700000000":                true,
		"https://c.example/a?e=1700000000&key=0123456789abcdef0123456789abcdef":            true,
		"https://c.example/a?auth_key=1700000000-0-0-0123456789abcdef0123456789abcdef":     true,
		"https://c.example/a?hdntl=exp=17~acl=/*~hmac=abc":                                 true,
		"https://i.example/a.png?w=1&s=0123456789abcdef0123456789abcdef":                   true,
		"https://c.example/a?request_sig=abcdef":                                           true,
		"https://e.com/?sig=":                                                              false,
		"https://e.com/?s=shoes&exp=1700000000":                                            false,
		"https://e.com/?e=3&h=200&id=0123456789abcdef0123456789abcdef":                     false,
		"https://e.com/?eid=0123456789abcdef0123456789abcdef":                              false,
	} {
		r, err := mailing(t, o).HTML(testFields, []byte(`<a href="`+url+`">x</a>`))
		if err != nil || r.Links[0].Action != ActionTracked {
			t.Fatalf("%s: %+v, %v", url, r.Links, err)
		}
		l := r.Links[0]
		if added := strings.Contains(l.Destination, "utm_source"); added == signed || signed != strings.Contains(strings.Join(l.Warnings, ""), "it is signed") {
			t.Errorf("%s: %s, %q", url, l.Destination, l.Warnings)
		}
	}
}

// Which parts with a file's name are shown, and which of the others the report names.
func TestNamedParts(t *testing.T) {
	const link = "<a href=https://e.com/>x</a>"
	part := func(header string) string { return "--b\n" + header + "\n\n" + link + "\n" }
	for _, test := range []struct {
		multipart, header string
		tracked, warned   bool
	}{
		{"alternative", `Content-Type: text/html; name="body.html"`, true, false},
		{"alternative", "Content-Type: text/html\nContent-Disposition: inline; filename=body.html", true, false},
		{"alternative", "Content-Type: text/html\nContent-Disposition: \"inline\"", true, false},
		{"alternative", "Content-Type: text/html\nContent-Disposition: attachment", false, false},
		{"mixed", `Content-Type: text/html; name="body.html"`, false, true},
		{"mixed", "Content-Type: text/html\nContent-Disposition: inline; filename=body.html", false, true},
		{"mixed", "Content-Type: text/html\nContent-Disposition: other", false, true},
		{"mixed", "Content-Type: text/html; name=a.html\nContent-Disposition: attachment; filename=a.html", false, false},
		{"related; start=root", "Content-Type: text/html; name=body.html\nContent-ID: <root>", true, false},
		{"related; start=\"<root>\"", "Content-Type: text/html; name=body.html\nContent-ID: <root>", true, false},
	} {
		src := "From: a@example.com\nMIME-Version: 1.0\nContent-Type: multipart/" + test.multipart + "; boundary=b\n\n--b\n\nfirst\n" + part(test.header) + "--b--\n"
		r, err := mailing(t, Options{}).Message(testFields, []byte(src))
		warned := strings.Contains(strings.Join(r.Warnings, ""), "text/html 2 is left alone: it is taken for a file")
		if err != nil || (len(r.Links) == 1) != test.tracked || warned != test.warned {
			t.Errorf("%s, %s: %d links, %q, %v", test.multipart, test.header, len(r.Links), r.Warnings, err)
		}
	}
}

// What programs write around the names of encodings.
func TestNamesOfEncodings(t *testing.T) {
	const link = `<a href="https://e.com/ä">x</a>`
	for _, header := range []string{
		"Content-Type: text/html; charset=utf_8", "Content-Type: text/html; charset=latin-1", "Content-Type: text/html; charset=unknown-8bit",
		"Content-Type: text/html; charset='utf-8'", `Content-Type: text/html; charset="utf-8;"`,
		"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit (as it is)",
		"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: (a (nested)) 8bit;",
	} {
		r, err := mailing(t, Options{}).Message(testFields, []byte("From: a@example.com\nMIME-Version: 1.0\n"+header+"\n\n"+link))
		if err != nil || len(r.Links) != 1 || r.Links[0].Action != ActionTracked {
			t.Errorf("%s: %+v, %q, %v", header, r.Links, r.Warnings, err)
		}
	}
}

// ISO-2022-KR is read, and only the link in it changes.
func TestISO2022KR(t *testing.T) {
	euc, err := korean.EUCKR.NewEncoder().String("안녕하세요")
	if err != nil {
		t.Fatal(err)
	}
	shifted := "\x0E" + strings.Map(func(c rune) rune { return c & 0x7F }, latin1(euc)) + "\x0F"
	before, after := "\x1B$)C"+shifted+` <a href="`, `">`+shifted+"</a>\n\x0E"+shifted[1:]+"\n"
	const header = "From: a@example.com\nMIME-Version: 1.0\nContent-Type: text/html; charset=iso-2022-kr\n\n"
	r, err := mailing(t, Options{}).Message(testFields, []byte(header+before+"https://e.com/"+after))
	if err != nil || len(r.Links) != 1 || r.Links[0].Text != "안녕하세요" || string(r.Output) != header+before+r.Links[0].Tracked+after {
		t.Errorf("%q, %+v, %q, %v", r.Output, r.Links, r.Warnings, err)
	}
}

// latin1 returns a character for each byte.
func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

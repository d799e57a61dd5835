package email

import (
	"strings"
	"testing"
)

func TestAddParameters(t *testing.T) {
	utm := []Parameter{{"utm_source", "news letter"}, {"utm_campaign", "50%&ü=+"}}
	const source, campaign = "utm_source=news%20letter", "utm_campaign=50%25%26%C3%BC%3D%2B"
	for in, want := range map[string]string{
		"https://e.com":                                   "https://e.com?" + source + "&" + campaign,
		"https://e.com/x#top":                             "https://e.com/x?" + source + "&" + campaign + "#top",
		"https://e.com/?":                                 "https://e.com/?" + source + "&" + campaign,
		"https://e.com/?a=1&a=%20+&b":                     "https://e.com/?a=1&a=%20+&b&" + source + "&" + campaign,
		"https://e.com/?a&#x?y":                           "https://e.com/?a&" + source + "&" + campaign + "#x?y",
		"https://e.com/?utm_source=mine":                  "https://e.com/?utm_source=mine&" + campaign,
		"https://e.com/?UTM_Source=&x":                    "https://e.com/?UTM_Source=&x&" + campaign,
		"https://e.com/?x;utm_source=1":                   "https://e.com/?x;utm_source=1&" + campaign,
		"https://e.com/?utm%5Fsource=mine&utm_campaign":   "https://e.com/?utm%5Fsource=mine&utm_campaign",
		"https://e.com/?xutm_source=1":                    "https://e.com/?xutm_source=1&" + source + "&" + campaign,
		"https://e.com/utm_source=1":                      "https://e.com/utm_source=1?" + source + "&" + campaign,
		"https://e.com/#?utm_source=1":                    "https://e.com/?" + source + "&" + campaign + "#?utm_source=1",
		"https://e.com/?a%zz=%":                           "https://e.com/?a%zz=%&" + source + "&" + campaign,
		"https://e.com/?q=https://f.com/?utm_source=1&b?": "https://e.com/?q=https://f.com/?utm_source=1&b?&" + source + "&" + campaign,
	} {
		if got := addParameters(in, utm); got != want {
			t.Errorf("%s becomes\n%s, want\n%s", in, got, want)
		}
		if again := addParameters(want, utm); again != want {
			t.Errorf("adding twice makes %s", again)
		}
	}
	if got := addParameters("https://e.com/#x", nil); got != "https://e.com/#x" {
		t.Errorf("without parameters: %s", got)
	}
}

func TestUTMInMails(t *testing.T) {
	ring, o := setup(t)
	o.UTM = []Parameter{{"utm_source", "mail"}}
	r := mustHTML(t, mustNew(t, o), `<a href="https://e.com/?a=1&amp;b=2#c"><a href="mailto:x@e.com"><a data-skip-click href="https://e.com/">`)
	if got, want := legible(t, ring, r), `<a href="⟦https://e.com/?a=1&b=2&utm_source=mail#c⟧"><a href="mailto:x@e.com"><a data-skip-click href="https://e.com/">`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The examples of RFC 3986, section 5.4, but for those with a scheme.
func TestResolve(t *testing.T) {
	for reference, want := range map[string]string{
		"g": "http://a/b/c/g", "./g": "http://a/b/c/g", "g/": "http://a/b/c/g/", "/g": "http://a/g", "//g": "http://g",
		"?y": "http://a/b/c/d;p?y", "g?y": "http://a/b/c/g?y", "g#s": "http://a/b/c/g#s", "g?y#s": "http://a/b/c/g?y#s",
		";x": "http://a/b/c/;x", "g;x?y#s": "http://a/b/c/g;x?y#s",
		".": "http://a/b/c/", "./": "http://a/b/c/", "..": "http://a/b/", "../": "http://a/b/", "../g": "http://a/b/g",
		"../..": "http://a/", "../../g": "http://a/g", "../../../g": "http://a/g", "/./g": "http://a/g", "/../g": "http://a/g",
		"g.": "http://a/b/c/g.", ".g": "http://a/b/c/.g", "..g": "http://a/b/c/..g", "./../g": "http://a/b/g",
		"./g/.": "http://a/b/c/g/", "g/./h": "http://a/b/c/g/h", "g/../h": "http://a/b/c/h", "g;x=1/../y": "http://a/b/c/y",
		"g?y/../x": "http://a/b/c/g?y/../x", "g#s/../x": "http://a/b/c/g#s/../x",
	} {
		if got, ok := resolve("http://a/b/c/d;p?q#f", reference); !ok || got != want {
			t.Errorf("%s: %s, want %s", reference, got, want)
		}
	}
	if got, _ := resolve("https://a?q/x", "g"); got != "https://a/g" {
		t.Errorf("base without path: %s", got)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, url string
		want         bool
	}{
		{"https://e.com/", "https://e.com/", true},
		{"https://e.com/", "https://e.com/x", false},
		{"HTTPS://E.com/A*", "https://E.COM/Ab/c?d", true},
		{"https://e.com/A*", "https://e.com/ab", false},
		{"https://e.com/*/x?*=1", "https://e.com/a/b/x?y=1", true},
		{"https://e.com/*/x?*=1", "https://e.com/a/b/x?y=12", false},
		{"https://e.com/ab*ab", "https://e.com/ab", false},
		{"*", "https://e.com/", true},
		{"**reset**", "https://e.com/reset", true},
		{"*://*.e.com/*", "https://x.e.com/y", true},
		{"*://*.e.com/*", "https://e.com/y", false},
		{"*a*b*", "https://e.org/xbxa", false},
	} {
		p, err := newPatterns("", []string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := p[0].match(lowerAuthority(c.url)); got != c.want {
			t.Errorf("%s, %s: %t", c.pattern, c.url, got)
		}
	}
}

func TestOneTime(t *testing.T) {
	for _, url := range []string{
		"https://e.com/reset?token=abcdef123", "https://e.com/?reset_password_token=xyzxyz", "https://e.com/x?a=1&accessToken=xyzxyz", "https://e.com/#access_token=xyzxyz", "https://e.com/a?otp=123456",
		"https://e.com/__/auth/action?mode=resetPassword&oobCode=ABCabc", "https://e.com/wp-login.php?action=rp&key=x&login=y",
		"https://e.com/password/reset", "https://e.com/users/password/edit", "https://e.com/Reset-Password", "https://e.com/reset_password.php?x=1", "https://e.com/magic-link/abc",
		"https://e.com/verify/8f14e45fceea167a5a36dedd4bea2543", "https://e.com/confirm/x/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "https://e.com/login/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x1",
	} {
		if oneTime(url) == "" {
			t.Errorf("%s is not seen", url)
		}
	}
	for _, url := range []string{
		"https://e.com/", "https://e.com", "https://e.com/shop?code=SPRING26", "https://e.com/?token=1", "https://e.com/?token", "https://e.com/?tokens=abcdef123", "https://e.com/login", "https://e.com/blog/password-tips",
		"https://e.com/verify/how-to-set-up-2fa-in-2026", "https://e.com/auth/introduction-to-passkeys", "https://e.com/a/8f14e45fceea167a5a36dedd4bea2543", "https://e.com/?utm_source=abcdef&id=8f14e45fceea167a5a36dedd4bea2543", "https://e.com/?action=buy",
		"https://e.com/" + strings.Repeat("x", 100) + "/reset",
	} {
		if sign := oneTime(url); sign != "" {
			t.Errorf("%s is taken for one: %s", url, sign)
		}
	}
}

func TestShorteners(t *testing.T) {
	if len(shorteners) < 100 {
		t.Fatalf("there are %d", len(shorteners))
	}
	for host, want := range map[string]bool{"bit.ly": true, "x.page.link": true, "www.tinyurl.com": true, "notbit.ly": false, "bit.ly.example": false, "example.com": false, "ly": false} {
		if shorteners.match(host) != want {
			t.Errorf("%s: %t", host, !want)
		}
	}
	for host := range shorteners {
		host = strings.TrimPrefix(host, "*.")
		if hostOf("https://"+host+"/") != host {
			t.Errorf("%s is not a host as destinations have them", host)
		}
	}
}

func TestShownHost(t *testing.T) {
	for text, want := range map[string]string{
		"https://Example.com/x?y": "example.com", "http://example.com:80": "example.com", "www.example.com": "www.example.com", "example.com": "example.com", "shop.example.co.uk/x": "shop.example.co.uk",
		"Visit https://example.com/now!": "example.com", "(www.example.com)": "www.example.com", "<https://example.com>": "example.com", "example.com.": "example.com", "exam\u00ADple\u200B.com": "example.com", "bücher.de": "xn--bcher-kva.de",
		"HTTPS://1.2.3.4/": "1.2.3.4", "see example.com": "",
		"": "", "Read more": "", "Mr. Smith": "", "Node.js": "", "3.50": "", "a@example.com": "", "index.html": "", "v1.2.3": "", "com": "", "…": "", "www.": "",
	} {
		if got := shownHost(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	_, o := setup(t)
	w := mustNew(t, o)
	for in, warned := range map[string]bool{
		`<a href="https://shop.other.com/">shop.other.com</a>`:                                          true,
		`<a href="https://e.com/">links.example.com</a>`:                                                false, // as the tracked link
		`<a href="https://www.example.com/">www.<b>example</b>.com</a>`:                                 false, // of the same owner
		`<a href="https://e.com/">Our shop</a>`:                                                         false,
		`<a href="https://e.com/"><img alt="e.com" src="x"></a>`:                                        true,
		`<a href="https://e.com/">See <!--[if mso]><a href="https://e.com/">x</a><![endif]-->e.com</a>`: false,
	} {
		r := mustHTML(t, w, in)
		if got := len(r.Links[0].Warnings) > 0; got != warned {
			t.Errorf("%s: %q", in, r.Links[0].Warnings)
		}
	}
}

package linkcore

import (
	"errors"
	"strings"
	"testing"
)

func TestParseDestination(t *testing.T) {
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	host253 := strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)
	for _, c := range []struct {
		in   string
		want Destination
	}{
		{"https://example.com", Destination{"https", "example.com", "", ""}},
		{"HtTp://EXAMPLE.com./A", Destination{"HtTp", "EXAMPLE.com.", "", "/A"}},
		{"http://a_b-.-c:00080?x", Destination{"http", "a_b-.-c", "00080", "?x"}},
		{"http://a:65535#f", Destination{"http", "a", "65535", "#f"}},
		{"https://" + host253, Destination{"https", host253, "", ""}},
		{"https://" + host253 + ".", Destination{"https", host253 + ".", "", ""}},
		{"https://xn--bcher-kva.example/", Destination{"https", "xn--bcher-kva.example", "", "/"}},
		{"https://192.0.2.255/", Destination{"https", "192.0.2.255", "", "/"}},
		{"https://1.2.3.4a/", Destination{"https", "1.2.3.4a", "", "/"}},
		{"https://0x.example/", Destination{"https", "0x.example", "", "/"}},
		{"https://256.example/", Destination{"https", "256.example", "", "/"}},
		{"https://[2001:db8::1]:8443/x", Destination{"https", "[2001:db8::1]", "8443", "/x"}},
		{"https://[::]", Destination{"https", "[::]", "", ""}},
		{"https://[::ffff:192.0.2.1]/", Destination{"https", "[::ffff:192.0.2.1]", "", "/"}},
		{"https://[1:2:3:4:5:6:7::]/", Destination{"https", "[1:2:3:4:5:6:7::]", "", "/"}},
		{"https://e.com/100%/%zz?a[]={|}^`\"<>'", Destination{"https", "e.com", "", "/100%/%zz?a[]={|}^`\"<>'"}},
		{"https://e.com/x:y@z", Destination{"https", "e.com", "", "/x:y@z"}},
	} {
		if got, err := ParseDestination(c.in); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.in, got, err)
		}
	}
	for _, in := range []string{
		"", "https", "https:", "https:/", "https://", "https:///x", "https://?x", "https://#", "https://:80/",
		"ftp://example.com", "javascript:alert(1)", "//example.com", "example.com", " https://example.com", "httpss://e.com", "httq://e.com",
		"https:\\\\example.com", "https://example.com\\@evil.example", "https://e.com/\\", "https://e.com/a b", "https://e.com/\n", "https://e.com/\x00", "https://e.com/\x7f", "https://e.com/\x80", "https://e.com/ü",
		"https://user@example.com", "https://user:pw@example.com/", "https://%65vil.example/", "https://e!.com", "https://e.com,evil.example/",
		"https://" + label64 + ".com", "https://" + host253 + "b", "https://.", "https://.com", "https://a..b", "https://a.b..", "https://e.com..",
		"https://xn--", "https://a.XN--.com", "https://xn--a-.com", "https://a.xN--bcher-.com/",
		"https://1", "https://1.2.3", "https://1.2.3.4.5", "https://1.2.3.256", "https://01.2.3.4", "https://1.2.3.4.", "https://0x7f.1", "https://0x7f000001", "https://e.0Xg", "https://1..3.4", "https://4294967296",
		"https://[::1", "https://[]", "https://[1.2.3.4]", "https://[::1%25eth0]", "https://[::1%eth0]", "https://[1:2:3:4:5:6:7:8::]", "https://[12345::]", "https://[::1]x", "https://[v1.a]", "https://::1/", "https://[::01.2.3.4]", "https://[::1]]",
		"https://e.com:", "https://e.com:/", "https://e.com:65536", "https://e.com:000080", "https://e.com:8o", "https://e.com:-1", "https://e.com:80:80", "https://[::1]:", "https://e.com:80x",
	} {
		if got, err := ParseDestination(in); err == nil {
			t.Errorf("%q is taken for %+v", in, got)
		} else if !errors.Is(err, ErrDestination) {
			t.Errorf("%q: %v is not an ErrDestination", in, err)
		}
	}
}

func TestNormalizeDestination(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"HTTPS://EXAMPLE.com/%7e", "HTTPS://EXAMPLE.com/%7e"},
		{"https://example.com/a`{b}^\"<c>'|[d]", "https://example.com/a%60%7Bb%7D%5E%22%3Cc%3E'|[d]"},
		{"https://example.com?a`{b}^\"<c>'|[d]?", "https://example.com?a`{b}^%22%3Cc%3E%27|[d]?"},
		{"https://example.com#a`{b}^\"<c>'|[d]?#", "https://example.com#a%60{b}^%22%3Cc%3E'|[d]?#"},
		{"https://example.com/it's?it's#it's", "https://example.com/it's?it%27s#it's"},
		{"https://bücher.example/{ü}?'ü'", "https://xn--bcher-kva.example/%7B%C3%BC%7D?%27%C3%BC%27"},
		{"https://example.com/100%/%zz/%2f/./..//?%", "https://example.com/100%/%zz/%2f/./..//?%"},
		{"https://Bücher.example/", "https://xn--bcher-kva.example/"},
		{"https://bücher.example:8443/ü?q=✓#é", "https://xn--bcher-kva.example:8443/%C3%BC?q=%E2%9C%93#%C3%A9"},
		{"https://straße.example", "https://xn--strae-oqa.example"},
		{"https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/"},
		{"https://[::1]/ü", "https://[::1]/%C3%BC"},
		{"https://example.com./ü", "https://example.com./%C3%BC"},
		{"https://a_b.example/ü", "https://a_b.example/%C3%BC"},
	} {
		if got, err := NormalizeDestination(c.in); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{
		"ü", "//ü.example", "https://ü.example:x/", "https://\xff.example/", "https://e.com/\xff", "https://ü user@e.com/", "https://ü.example/ x", "mailto:ü@example.com",
		"https://\u202e.example/", "https://ü@evil.example/", "https://xn--\u00fc.example/", "https://①②⑦.0.0.1.2/",
		"https://a／b.example/", "https://a？b.example/", "https://a＃b.example/", "https://a：80/", "https://a℀b.example/", "https://a＠b.example/", "https://a＼b.example/", "https://a％2fb.example/", "https://［::1］/",
	} {
		if got, err := NormalizeDestination(in); err == nil {
			t.Errorf("%q becomes %s", in, got)
		} else if !errors.Is(err, ErrDestination) {
			t.Errorf("%q: %v is not an ErrDestination", in, err)
		}
	}
}

// Whoever signs is told what is wrong, and not what follows from it.
func TestDestinationErrors(t *testing.T) {
	const userInfo = "the destination has a user name or password, which destinations cannot have"
	for _, c := range []struct{ in, want string }{
		{"https://user:pw@example.com/", userInfo},
		{"https://user:80@example.com/", userInfo},
		{"https://user@example.com", userInfo},
		{"https://@example.com", userInfo},
		{"https://:pw@example.com", userInfo},
		{"https://a..b@example.com?q", userInfo},
		{"https://1.2@example.com#f", userInfo},
		{"https://us%65r@example.com/", userInfo},
		{"https://[::1]@example.com/", userInfo},
		{"https://user:pw@[::1]/", userInfo},
		{"https://üser:pw@example.com/", userInfo},
		{"https://user:pässword@example.com/", userInfo},
		{"https://user:pw@example.com/ü", userInfo},
		{"https://example.com:pw/@", errPort.Error()},
		{"https://e!.com/?a@b", errHostByte.Error()},
		{"https://example.com:80x#@", errRest.Error()},
		{"https:///@", errNoHost.Error()},
	} {
		if _, err := NormalizeDestination(c.in); !errors.Is(err, ErrDestination) || err.Error() != c.want {
			t.Errorf("%s: %v", c.in, err)
		}
	}
}

func TestNormalizeHost(t *testing.T) {
	host253 := strings.Repeat("a.", 126) + "b"
	for _, c := range []struct{ in, want string }{
		{"links.example.com", "links.example.com"},
		{"LINKS.Example.COM", "links.example.com"},
		{"links.example.com.", "links.example.com"},
		{"links.example.com:", "links.example.com"},
		{"links.example.com.:8443", "links.example.com"},
		{"a_b-c.1", "a_b-c.1"},
		{"127.0.0.1:8080", "127.0.0.1"},
		{"-", "-"},
		{host253, host253},
		{host253 + ".:80", host253},
	} {
		if got, err := NormalizeHost(c.in); err != nil || got != c.want {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
	}
	for _, in := range []string{"", ".", ":80", "..", "a..b", ".a", "a..", "a b", "a,b", "[::1]", "[::1]:80", "a:b", "a:80:80", "a:8o", "ü", "a/b", "a@b", "a%2eb", "a\x00", host253 + "c"} {
		if got, err := NormalizeHost(in); err == nil {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

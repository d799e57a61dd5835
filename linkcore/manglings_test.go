package linkcore_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// What mail gateways, clients and text processors do to a link on its way to
// the browser: each is written after the public description of its format, and
// returns the URL that is asked for in the end. Links that are wrapped come out
// of the wrapping as the gateway's own documented decoding gives them. What does
// not arrive is what FORMAT.md calls beyond repair: a fragment that was decoded
// is the browser's own, and slashes that were merged cannot be told apart.
var manglings = []struct {
	name string
	// What arrives in the two clear forms and in the sealed one, of a thousand.
	path, query, sealed int
	mangle              func(string) string
}{
	{"none", 1000, 1000, 1000, func(s string) string { return s }},

	{"Microsoft SafeLinks", 1000, 1000, 1000, func(s string) string {
		return parameter("https://eur01.safelinks.protection.outlook.com/?url="+lowerHex(url.QueryEscape(s))+"&data=05%7C02%7C&sdata=x%3D&reserved=0", "url")
	}},
	{"SafeLinks, decoded once more", 934, 934, 1000, func(s string) string { return decode(s) }},
	{"Proofpoint v2", 1000, 1000, 1000, proofpointV2},
	{"Proofpoint v3", 1000, 1000, 1000, proofpointV3},
	{"Barracuda", 1000, 1000, 1000, func(s string) string {
		return parameter("https://linkprotect.cudasvc.com/url?a="+url.QueryEscape(s)+"&c=E,1,x&typo=1", "a")
	}},
	{"Mimecast, kept as a browser writes it", 1000, 1000, 1000, asBrowserWrites},
	{"Cisco Secure Email, in the path", 1000, 1000, 1000, func(s string) string {
		wrapped := "https://secure-web.cisco.com/1abc/" + url.QueryEscape(s)
		return decode(wrapped[strings.LastIndexByte(wrapped, '/')+1:])
	}},
	{"Trend Micro, base64", 1000, 1000, 1000, func(s string) string {
		b, _ := base64.URLEncoding.DecodeString(base64.URLEncoding.EncodeToString([]byte(s)))
		return string(b)
	}},
	{"SafeLinks inside Proofpoint v2 inside Barracuda", 1000, 1000, 1000, func(s string) string {
		return parameter("https://x.example/?a="+url.QueryEscape(proofpointV2(parameter("https://y.example/?url="+url.QueryEscape(s), "url"))), "a")
	}},

	{"HTML, escaped once and not decoded", 1000, 1000, 1000, html.EscapeString},
	{"HTML, escaped twice and decoded once", 1000, 1000, 1000, func(s string) string {
		return html.UnescapeString(html.EscapeString(html.EscapeString(s)))
	}},
	{"quoted-printable, there and back", 1000, 1000, 1000, func(s string) string {
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		decoded, _ := io.ReadAll(quotedprintable.NewReader(&b))
		return string(decoded)
	}},
	{"quoted-printable that nobody decoded, lines joined", 1000, 1000, 1000, func(s string) string {
		return strings.ReplaceAll(encodedPrintable(s), "=\r\n", "")
	}},
	{"quoted-printable that nobody decoded, = left at line ends", 0, 0, 0, func(s string) string {
		return strings.ReplaceAll(encodedPrintable(s), "=\r\n", "=")
	}},
	{"flowed text, a space at every 72nd place", 1000, 1000, 1000, func(s string) string { return every(72, s, "%20") }},
	{"wrapped text, line ends that browsers remove", 1000, 1000, 1000, func(s string) string {
		return strings.NewReplacer("\r", "", "\n", "").Replace(every(72, s, "\r\n"))
	}},

	{"a full stop behind it", 1000, 1000, 1000, func(s string) string { return s + "." }},
	{"a bracket and a comma behind it", 1000, 1000, 1000, func(s string) string { return s + ")," }},
	{"&gt; behind it", 1000, 1000, 1000, func(s string) string { return s + "&gt;" }},
	{"quotation mark and bracket, encoded", 1000, 1000, 1000, func(s string) string { return s + "%22%3E" }},
	{"the slash at its end cut off", 1000, 1000, 1000, func(s string) string { return strings.TrimSuffix(s, "/") }},

	{"host in upper case", 1000, 1000, 1000, func(s string) string { return strings.Replace(s, base, strings.ToUpper(base), 1) }},
	{"host with port and final dot", 1000, 1000, 1000, func(s string) string { return strings.Replace(s, base, base+".:443", 1) }},
	{"parameters added, UTM", 1000, 1000, 1000, func(s string) string {
		return added(s, "utm_source=newsletter&utm_medium=email&utm_campaign=x")
	}},
	{"parameters added, fbclid", 1000, 1000, 1000, func(s string) string { return added(s, "fbclid=IwAR0x") }},
	{"parameters added, ampersand without a question mark", 1000, 1000, 1000, func(s string) string { return s + "&mc_eid=1" }},
	{"a fragment added", 1000, 1000, 1000, func(s string) string { return s + "#:~:text=x" }},
	{"decoded", 934, 934, 1000, decode},
	{"decoded, but for what ends a path", 1000, 1000, 1000, func(s string) string {
		return strings.NewReplacer("%3A", ":", "%2F", "/", "%3D", "=", "%26", "&").Replace(s)
	}},
	{"encoded once more", 1000, 1000, 1000, func(s string) string { return strings.ReplaceAll(s, "%", "%25") }},
	{"hex digits in lower case", 1000, 1000, 1000, lowerHex},
	{"decoded, // cleaned to /", 900, 900, 1000, func(s string) string {
		decoded := decode(s)
		return decoded[:8] + strings.ReplaceAll(decoded[8:], "//", "/")
	}},

	{"decoded, and parameters added", 303, 568, 1000, func(s string) string { return added(decode(s), "utm_source=x") }},
	{"all in lower case", 0, 0, 0, strings.ToLower},
	{"cut off before its last character", 0, 0, 1000, func(s string) string { return s[:len(s)-1] }},
}

const base = "links.example.com"

// shapes is how many shapes destinations have; they come in turn.
const shapes = 30

// destinations makes a thousand URLs of the shapes that senders' links have.
func destinations() []string {
	r := rand.New(rand.NewPCG(2026, 11))
	word := func() string {
		return [...]string{"spring", "angebot", "über", "Größe", "納品", "foto", "a-b", "v1.2", "50%", "caffè", "Old~New", "x_y", "it's", "(neu)", "q*", "1+1"}[r.IntN(16)]
	}
	number := func() string { return fmt.Sprint(r.IntN(1_000_000)) }
	token := func() string {
		b := make([]byte, 9+r.IntN(60))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return [...]*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawURLEncoding}[r.IntN(3)].EncodeToString(b)
	}
	makers := [shapes]func() string{
		func() string { return "https://shop.example/" },
		func() string { return "https://shop.example" },
		func() string { return "HTTPS://Shop.Example:8443/" + url.PathEscape(word()) },
		func() string {
			return "https://shop.example/p/" + number() + "?utm_source=mail&utm_campaign=" + url.QueryEscape(word())
		},
		func() string { return "https://shop.example/c/" + word() + "/" + word() + ".html" },
		func() string { return "https://www.müller.example/" + word() + "?größe=" + word() },
		func() string { return "https://video.example/watch?v=" + token()[:11] + "&t=42s&list=PL" + number() },
		func() string {
			return "https://maps.example/maps/place/" + url.QueryEscape(word()+" "+word()) + "/@46.9,7.4,17z/data=!3m1!4b1!4m5"
		},
		func() string { return "https://wiki.example/wiki/" + word() + "_(" + word() + ")" },
		func() string {
			return "https://files.example/sites/x/Shared%20Documents/" + url.PathEscape(word()) + ".pdf?csf=1&web=1&e=" + token()[:6]
		},
		func() string { return "https://login.example/reset?token=" + url.QueryEscape(token()) },
		func() string { return "https://login.example/reset?token=" + token() },
		func() string {
			return "https://pay.example/i/" + token() + "?next=" + url.QueryEscape("https://shop.example/a?b="+word()+"&c=1")
		},
		func() string { return "https://survey.example/s?id=" + number() + ";lang=de;u=" + number() },
		func() string { return "https://api.example/v1//double//slash/../up/./here?x=//y" },
		func() string {
			return "https://cal.example/e?dates=20261121T090000Z/20261121T100000Z&text=" + url.QueryEscape(word())
		},
		func() string { return "https://search.example/?q=" + url.QueryEscape(word()+" & "+word()) + "&hl=de" },
		func() string { return "https://shop.example/?a[]=1&a[]=2&b={" + number() + "}|x" },
		func() string { return "https://shop.example/s?amp;x=1&copy=2&lt=3&reg=4&amp=5" },
		func() string { return "https://shop.example/encoded?u=%252F%2526%25253D&v=%2B+%20" },
		func() string { return "https://shop.example/percent?off=50%&sum=100%25" },
		func() string { return "https://10.1.2.3:8080/intranet?id=" + number() },
		func() string { return "https://[2001:db8::1]/v6/" + number() },
		func() string {
			return "http://old.example/index.php?page=" + url.QueryEscape(word()) + "&sid=" + number()
		},
		func() string { return "https://shop.example/ends/with/dot." },
		func() string { return "https://shop.example/ends?with=equals==" },
		func() string { return "https://app.example/#/route/" + number() + "?tab=1" },
		func() string { return "https://docs.example/page#" + url.PathEscape(word()) },
		func() string { return "https://shop.example/?url=https://links.example.com/c1.a&id=c9.b" },
		func() string { return "https://shop.example/long/" + strings.Repeat(number()+"/", 40) },
	}
	all := make([]string, 1000)
	for i := range all {
		all[i] = makers[i%shapes]()
	}
	return all
}

// After no mangling does a link lead elsewhere, and what arrives always or never
// does so: tried with a link of each shape.
func TestManglings(t *testing.T) {
	testsize.Medium(t)
	mangled(t, destinations()[:shapes])
}

// TestManglingsCounted counts of a thousand links, in each form, how many lead to
// their destination after each mangling.
//
//	LARGE=1 go test -run ManglingsCounted -v ./linkcore
//
// prints the table of MANGLINGS.md.
func TestManglingsCounted(t *testing.T) {
	testsize.Large(t)
	table := mangled(t, destinations())
	t.Log("\n" + table)
	document, err := os.ReadFile("MANGLINGS.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), table) {
		t.Error("the table of MANGLINGS.md differs: copy the one above")
	}
}

// mangled mangles links to each destination in every way, and returns the table
// of how many arrive.
func mangled(t *testing.T, all []string) string {
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://"+base, "")
	if err != nil {
		t.Fatal(err)
	}
	fields := linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"}
	forms := []struct {
		name string
		sign func(string) (linkcore.Tracked, error)
	}{
		{"path", func(d string) (linkcore.Tracked, error) { return signer.Sign(fields, d, linkcore.Options{}) }},
		{"query", func(d string) (linkcore.Tracked, error) {
			return signer.Sign(fields, d, linkcore.Options{Form: linkcore.QueryForm, Label: "offer"})
		}},
		{"sealed", func(d string) (linkcore.Tracked, error) { return signer.Seal(fields, d, linkcore.Options{}) }},
	}
	type signed struct{ url, destination string }
	links := make([][]signed, len(forms))
	for i, form := range forms {
		for _, d := range all {
			tracked, err := form.sign(d)
			if err != nil {
				t.Fatalf("%s: %v", d, err)
			}
			want, err := linkcore.NormalizeDestination(d)
			if err != nil {
				t.Fatal(err)
			}
			links[i] = append(links[i], signed{tracked.URL, want})
		}
	}
	var table strings.Builder
	table.WriteString("| on its way the link was | path form | query form | sealed |\n| --- | ---: | ---: | ---: |\n")
	for _, m := range manglings {
		fmt.Fprintf(&table, "| %s |", m.name)
		for i, form := range forms {
			arrived := 0
			for _, l := range links[i] {
				authority, target := asked(m.mangle(l.url))
				link, err := ring.Verify(authority, target)
				switch {
				case err != nil:
				case link.Destination != l.destination:
					t.Fatalf("%s, %s: %s leads to %s", m.name, form.name, l.destination, link.Destination)
				default:
					arrived++
				}
			}
			fmt.Fprintf(&table, " %d |", arrived)
			// A few links tell nothing of what some survive and others do not.
			want := []int{m.path, m.query, m.sealed}[i] * len(all) / 1000
			if arrived != want && (len(all) == 1000 || want == 0 || want == len(all)) {
				t.Errorf("%s, %s form: %d of %d arrive, want %d", m.name, form.name, arrived, len(all), want)
			}
		}
		table.WriteByte('\n')
	}
	return table.String()
}

// asked returns what a browser sends for a URL: the authority, and the target
// without the fragment, with what may not stand in a request line encoded.
func asked(rawURL string) (authority, target string) {
	rest := rawURL[strings.Index(rawURL, "://")+len("://"):]
	rest, _, _ = strings.Cut(rest, "#")
	i := strings.IndexAny(rest, "/?")
	if i < 0 {
		return rest, "/"
	}
	var b strings.Builder
	for _, c := range []byte(rest[i:]) {
		if c <= ' ' || c >= 0x7F || c == '"' || c == '<' || c == '>' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	if target = b.String(); target[0] != '/' {
		target = "/" + target
	}
	return rest[:i], target
}

func parameter(rawURL, name string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		panic(err)
	}
	return u.Query().Get(name)
}

var escaped = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// decode decodes once what can be decoded.
func decode(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(hex string) string {
		decoded, _ := url.PathUnescape(hex)
		return decoded
	})
}

func lowerHex(s string) string {
	return escaped.ReplaceAllStringFunc(s, strings.ToLower)
}

// proofpointV2 writes % as -, and / as _, in a URL that is percent-encoded but
// for what is common in URLs; and reads it again.
func proofpointV2(s string) string {
	encoded := strings.NewReplacer("-", "-2D", "_", "-5F", "%", "-25", "?", "-3F", "=", "-3D", "&", "-26", ":", "-3A", "/", "_", "#", "-23", "+", "-2B", "*", "-2A", "!", "-21", "'", "-27", "(", "-28", ")", "-29", ";", "-3B", "~", "-7E").Replace(s)
	return decode(strings.NewReplacer("-", "%", "_", "/").Replace(encoded))
}

// proofpointV3 replaces what is not common in URLs by *, runs of it by ** and a
// letter for their length, keeps the bytes in base64 behind it, and puts them
// back.
func proofpointV3(s string) string {
	var masked strings.Builder
	var kept []byte
	for _, c := range []byte(s) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?@&=%", c) >= 0 {
			masked.WriteByte(c)
			continue
		}
		masked.WriteByte('*')
		kept = append(kept, c)
	}
	wrapped := "https://urldefense.com/v3/__" + masked.String() + "__;" + base64.RawURLEncoding.EncodeToString(kept) + "!!x$"
	inner, _, _ := strings.Cut(strings.TrimPrefix(wrapped, "https://urldefense.com/v3/__"), "__;")
	return regexp.MustCompile(`\*`).ReplaceAllStringFunc(inner, func(string) string {
		c := kept[0]
		kept = kept[1:]
		return string([]byte{c})
	})
}

// asBrowserWrites writes a URL as the URL standard's parser gives it back.
func asBrowserWrites(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	u.Host = strings.ToLower(u.Host)
	return u.String()
}

func encodedPrintable(s string) string {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func every(n int, s, separator string) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + separator)
		s = s[n:]
	}
	return b.String() + s
}

func added(s, parameters string) string {
	if strings.Contains(s, "?") {
		return s + "&" + parameters
	}
	return s + "?" + parameters
}

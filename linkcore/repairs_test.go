package linkcore

import (
	"errors"
	"strings"
	"testing"
)

// What was done to a link on its way is undone, or the link is invalid; it never
// leads elsewhere.
func TestRepairs(t *testing.T) {
	signer := testSigner(t, "https://links.example.com")
	ring := &KeyRing{}
	ring.keys.Store(&map[string]*key{"1": signer.key})
	const destination = "https://shop.example/list.html?a=1&b=2"
	fields := Fields{Customer: "acme", Recipient: "r83jf", Link: "cta"}
	make := func(o Options, seal bool) string {
		sign := signer.Sign
		if seal {
			sign = signer.Seal
		}
		tracked, err := sign(fields, destination, o)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(tracked.URL, "https://links.example.com")
	}
	path, query := make(Options{}, false), make(Options{Form: QueryForm, Label: "go"}, false)
	sealed, sealedQuery := make(Options{}, true), make(Options{Form: QueryForm, Label: "go"}, true)
	replace := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%s is not in %s", old, s)
		}
		return strings.Replace(s, old, new, 1)
	}
	const dead Repair = ""
	for _, c := range []struct {
		name, target string
		repair       Repair // of what leads to the destination
	}{
		{"parameters without a question mark", path + "&utm_source=x", RepairTrailing},
		{"path parameter", path + ";jsessionid=1", RepairTrailing},
		{"path parameter, query form", query + ";jsessionid=1", RepairTrailing},
		{"entity", path + "&nbsp;", RepairTrailing},
		{"raw fragment", path + "#x", RepairTrailing},
		{"text and parameters", path + "|more&a=1?b=2", RepairTrailing},
		{"a tag, as browsers write it", path + "%3Cbr%3E", RepairTrailing},
		{"an attribute, as browsers write it", query + "%22%20class=%22x", RepairTrailing},
		{"slash and parameters, query form", query + "/?utm_source=x", RepairTrailing},
		{"a path", path + "/more", dead},
		{"a letter", path + "x", dead},
		{"an escaped delimiter", path + "%23x", dead},

		{"%3F", replace(query, "?", "%3F"), RepairDelimiters},
		{"%3F, sealed", replace(sealedQuery, "?", "%3F"), RepairDelimiters},
		{"%3F and parameters", replace(query, "?", "%3f") + "?utm_source=x", RepairTrailing},
		{"%26", replace(query, "&", "%26"), RepairDelimiters},
		{"&amp%3B", replace(query, "&", "&amp%3B"), RepairDelimiters},
		{"&#38;", replace(query, "&", "&#38;"), RepairDelimiters},
		{"%3D", replace(replace(query, "id=", "id%3D"), "url=", "url%3D"), RepairDelimiters},
		{"3d", replace(replace(query, "id=", "id=3d"), "url=", "url=3d"), RepairDelimiters},
		{"all", replace(replace(replace(query, "?id=", "%3Fid%3D"), "&url=", "%26amp%3Burl%3D"), "/go", "//go"), RepairDelimiters},
		{"=c1 decoded", replace(query, "id=c1", "id%C1"), RepairDelimiters},
		{"url before id, %26", "/go?url=" + query[strings.Index(query, "url=")+4:] + "%26id=" + query[len("/go?id="):strings.Index(query, "&")], RepairDelimiters},

		{"space in the token", path[:20] + "%20" + path[20:], RepairWhitespace},
		{"spaces in the token", path[:9] + "%20%20" + path[9:30] + "%09" + path[30:], RepairWhitespace},
		{"space before the token", "/%20" + path[1:], RepairWhitespace},
		{"soft line break", path[:20] + "=%0D%0A" + path[20:], RepairWhitespace},
		{"soft line break, query form", query[:30] + "=%0A" + query[30:], RepairWhitespace},
		{"line end in a box", sealed[:76] + "%0D%0A" + sealed[76:], RepairWhitespace},
		{"line end in a box, query form", sealedQuery[:76] + "%0D%0A" + sealedQuery[76:], RepairWhitespace},
		{"token and destination wrapped", path[:20] + "%20" + path[20:70] + "%20" + path[70:], RepairWhitespace},
		{"space within an escape", replace(query, "%3F", "%3%20F"), RepairWhitespace},
		{"a dot doubled", replace(path, "acme.", "acme.."), RepairDot},
		{"a dot of a run doubled", replace(path, "..r83jf", "...r83jf"), RepairDot},
		{"a dot of a box doubled", replace(sealed, "s1.", "s1.."), RepairDot},
		{"a dot doubled, query form", replace(query, "acme.", "acme.."), RepairDot},
		{"a dot doubled behind a break", replace(path, "acme.", "acme=%0D%0A.."), RepairDot},
		{"a dot swallowed at a break", replace(path, "c1.acme", "c1=%0D%0Aacme"), RepairDot},
		{"a dot swallowed beside a dot", replace(path, "..r83jf", ".r83jf"), RepairDot},
		{"a dot of the destination doubled", replace(path, "shop.", "shop.."), RepairDot},
		{"a dot swallowed without a trace", replace(path, "c1.acme", "c1acme"), dead},
		{"two dots doubled", replace(replace(path, "c1.", "c1.."), "r83jf.", "r83jf.."), dead},

		{"an escape in the token", replace(path, "acme", "ac%6De"), dead},
		{"an escaped token", replace(query, "id=c", "id=%63"), dead},
		{"padding", replace(path, "/https", "==/https"), dead},
		{"slashes", "//" + path, RepairNone},
		{"dot segments", "/././/." + path, RepairNone},
		{"parent segment", "/.." + path, dead},
		{"reserved", "//-" + path, dead},
		{"reserved, wrapped", "/-/%20" + query, dead},
		{"another destination", replace(path, "a%3D1", "a%3D2") + "&x", dead},
		{"another field", replace(path, "c1.acme", "c1..acmf"), dead},
	} {
		link, err := ring.Verify("links.example.com", c.target)
		switch {
		case c.repair == dead && err == nil:
			t.Errorf("%s: %s verifies as %+v", c.name, c.target, link)
		case c.repair != dead && (err != nil || link.Destination != destination || link.Repair != c.repair || link.Customer != "acme" || link.Recipient != "r83jf"):
			t.Errorf("%s: %s: %+v, %v, want %s", c.name, c.target, link, err, c.repair)
		}
	}
}

// A link that is valid as received keeps its meaning, whatever else could be
// read in its target.
func TestRepairsComeLast(t *testing.T) {
	signer := testSigner(t, "https://links.example.com")
	ring := &KeyRing{}
	ring.keys.Store(&map[string]*key{"1": signer.key})
	sign := func(destination string, o Options) string {
		tracked, err := signer.Sign(Fields{}, destination, o)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(tracked.URL, "https://links.example.com")
	}
	one, other := sign("https://one.example/", Options{Form: QueryForm}), sign("https://other.example/", Options{Form: QueryForm})
	_, parameters, _ := strings.Cut(other, "?")
	for _, target := range []string{
		one + "%26" + parameters,
		one + "&amp%3B" + parameters,
		"/%3F" + parameters + one[1:],
		sign("https://one.example/", Options{}) + "?" + parameters,
		sign("https://one.example/", Options{}) + "%3F" + parameters,
	} {
		link, err := ring.Verify("links.example.com", target)
		if err == nil && link.Destination != "https://one.example/" {
			t.Errorf("%s leads to %s", target, link.Destination)
		}
	}
}

// A request makes twelve tags and opened boxes at most, whatever is repaired.
func TestRepairsAreBounded(t *testing.T) {
	long := strings.Repeat("=%2526amp%253B%252541http:/x..%20", 20)
	for _, target := range []string{
		"/c1.a...x.1.AAAAAAAAAAAAAAAAAAAAAA/https://e.com/" + long + ")))?x",
		"/c1..a...x.1.AAAAAAAAAAAAAAAAAAAAAA/https://e.com/" + long + ")))?x",
		"/c1.a.b.x..AAAAAAAAAAAAAAAAAAAAAA/https://e.com/" + long + ")))?x",
		"/?id%3Dc1..a...x.1.AAAAAAAAAAAAAAAAAAAAAA%26url=https://e.com/" + long,
	} {
		parsed, err := ParseTarget("links.example.com", target)
		if err != nil {
			t.Fatal(err)
		}
		signer := testSigner(t, "https://links.example.com")
		ring := &KeyRing{}
		ring.keys.Store(&map[string]*key{"1": signer.key})
		tags := maxTags
		if _, err := ring.verifyTarget("links.example.com", parsed, &tags); err == nil || tags != 0 {
			t.Errorf("%s: %v, %d of %d tags left", target, err, tags, maxTags)
		}
	}
}

func TestWarnPercent(t *testing.T) {
	signer := testSigner(t, "https://links.example.com")
	for destination, want := range map[string]bool{
		"https://e.com/50%": true, "https://e.com/%zz": true, "https://e.com/?%4": true, "https://e.com/%25#%": true,
		"https://e.com/%25": false, "https://e.com/%2f?%7B": false, "https://e.com/ü": false,
	} {
		tracked, err := signer.Sign(Fields{}, destination, Options{})
		if err != nil {
			t.Fatal(errors.New(destination))
		}
		got := false
		for _, w := range tracked.Warnings {
			got = got || w == WarnPercent
		}
		if got != want {
			t.Errorf("%s: warned %v", destination, got)
		}
	}
}

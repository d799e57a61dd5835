package main

import (
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/lines"
	"example.com/linktracker/linkcore/testsize"
)

// The vectors of the format, as far as a line of text can hold them.
type vectors struct {
	Keys  map[string]string
	Valid []struct {
		Kind, Host, Target, Key, Destination string
		Sealed                               bool
		Fields                               struct{ Customer, Campaign, Recipient, Link string }
	}
	Repaired []struct{ Host, Target, Destination, Repair string }
	Invalid  []struct{ Host, Target, Why string }
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	content, err := os.ReadFile("../../linkcore/testdata/link-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(content, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// asLine returns the vector's URL, if its target is an origin-form one that
// survives on a line of text.
func asLine(host, target string) (string, bool) {
	line := "https://" + host + target
	ok := strings.HasPrefix(target, "/") && !strings.ContainsFunc(line, func(r rune) bool { return r == '#' || unicode.IsSpace(r) }) &&
		host != "" && !strings.ContainsAny(host, "/?#") && len(line) <= lines.Limit
	return line, ok
}

func inspectAll(t *testing.T, b *bench, lines []string) []inspection {
	t.Helper()
	got := b.run(strings.Join(lines, "\n"), "inspect", "--json")
	if got.stderr != "" {
		t.Fatal(got.stderr)
	}
	all := make([]inspection, 0, len(lines))
	for line := range strings.Lines(got.stdout) {
		var i inspection
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, i)
	}
	if len(all) != len(lines) {
		t.Fatalf("%d answers to %d links", len(all), len(lines))
	}
	return all
}

func TestInspectVectors(t *testing.T) {
	testsize.Medium(t)
	v := readVectors(t)
	b := newBench(t)
	b.set("LINK_BASE_URL", "")
	for id, secret := range v.Keys {
		writeFile(t, b.get("LINK_KEYS")+"/"+id, secret)
	}

	var lines []string
	var at []int
	for n, vector := range v.Valid {
		if line, ok := asLine(vector.Host, vector.Target); ok {
			lines, at = append(lines, line), append(at, n)
		}
	}
	if len(lines) < 400 {
		t.Fatalf("only %d valid vectors fit on a line", len(lines))
	}
	for n, i := range inspectAll(t, b, lines) {
		want := v.Valid[at[n]]
		if !i.good() || i.Kind[:1] != want.Kind || i.Sealed != want.Sealed || i.Key != want.Key || i.Destination != want.Destination ||
			i.Customer != want.Fields.Customer || i.Campaign != want.Fields.Campaign || i.Recipient != want.Fields.Recipient || i.Link != want.Fields.Link {
			t.Errorf("%s: %+v", lines[n], i)
		}
	}

	lines, at = nil, nil
	for n, vector := range v.Repaired {
		if line, ok := asLine(vector.Host, vector.Target); ok {
			lines, at = append(lines, line), append(at, n)
		}
	}
	if len(lines) < 400 {
		t.Fatalf("only %d repaired vectors fit on a line", len(lines))
	}
	for n, i := range inspectAll(t, b, lines) {
		want := v.Repaired[at[n]]
		if !i.good() || i.Destination != want.Destination || string(i.Repair) != want.Repair {
			t.Errorf("%s: %+v", lines[n], i)
		}
	}

	lines, at = nil, nil
	for n, vector := range v.Invalid {
		if line, ok := asLine(vector.Host, vector.Target); ok {
			lines, at = append(lines, line), append(at, n)
		}
	}
	if len(lines) < 400 {
		t.Fatalf("only %d invalid vectors fit on a line", len(lines))
	}
	for n, i := range inspectAll(t, b, lines) {
		if i.good() || i.Verified == nil || i.Reason == "" {
			t.Errorf("%s (%s): %+v", lines[n], v.Invalid[at[n]].Why, i)
		}
	}
}

func TestInspect(t *testing.T) {
	b := newBench(t)
	good := "https://links.example.com/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https%3A%2F%2Fexample.com"
	const parts = `  form         path
  kind         click
  host         links.example.com
  key          1
  customer     acme
  link         xr1YhNga3Cc
  sent         1970-01-01T00:00:01Z
  destination  https://example.com
`
	const untried = "  verified     not tried: without a key ring (--keys, LINK_KEYS) anyone may have made it\n"
	shortened := strings.Replace(good, "91A/", "91/", 1)
	for _, test := range []struct {
		name    string
		url     string
		flags   []string
		without bool // keys
		code    int
		want    string
	}{
		{name: "verifies", url: good, want: good + "\n" + parts + "  repair       none\n  verified     yes, with key 1\n"},
		{name: "well formed", url: good, without: true, want: good + "\n" + parts + "  well formed  yes\n" + untried},
		{name: "surrounded", url: `<a href=3D"` + good + `" class="x">`, want: good + "\n" + parts + "  repair       none\n  verified     yes, with key 1\n"},
		{name: "surrounded by brackets", url: "see <" + good + "> and go", want: good + "\n" + parts + "  repair       none\n  verified     yes, with key 1\n"},
		{name: "added and trailing", url: good + ".?utm_source=mail", want: good + ".?utm_source=mail\n" + parts +
			"  added query  utm_source=mail\n  repair       trailing\n  verified     yes, with key 1\n"},
		{name: "changed", url: good + "x", code: exitNo,
			want: good + "x\n" + strings.Replace(parts, "  destination  https://example.com", "  destination  https://example.comx", 1) +
				"  verified     no: " + linkcore.ErrTag.Error() + "\n"},
		{name: "cut", url: shortened, code: exitNo,
			want: shortened + "\n  host         links.example.com\n  problem      the first path segment is not a token: its tag has not 22 characters of base64url: it was cut, or something was added to it\n  verified     no: " + linkcore.ErrNotLink.Error() + "\n"},
		{name: "cut, without keys", url: shortened, without: true, code: exitNo,
			want: shortened + "\n  host         links.example.com\n  problem      the first path segment is not a token: its tag has not 22 characters of base64url: it was cut, or something was added to it\n  well formed  no\n" + untried},
		{name: "unknown key", url: strings.Replace(good, "/c1.", "/c9.", 1), code: exitNo,
			want: strings.Replace(good, "/c1.", "/c9.", 1) + "\n" + strings.Replace(parts, "key          1", "key          9", 1) +
				"  verified     no: the key that the token names is not in the key ring, which has 1\n"},
		{name: "other host", url: strings.Replace(good, "links.", "www.", 1), code: exitNo,
			want: strings.Replace(good, "links.", "www.", 1) + "\n" + strings.Replace(parts, "links.", "www.", 1) +
				"  verified     no: the host was changed: the link was made for links.example.com\n"},
		{name: "no URL", url: "hello", code: exitNo,
			want: "hello\n  problem      a tracked URL begins with https:// or http://\n  well formed  no\n" + untried},
		{name: "hostile", url: "https://links.example.com/\x1b[2J\u202Ex?\xff", without: true, code: exitNo,
			want: `https://links.example.com/\x1b[2J\u202ex?\xff` + "\n  host         links.example.com\n  problem      the first path segment is not a token: it begins with \"\\x1b\", not with the kind c, o, u, p or s\n  well formed  no\n" + untried},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &bench{t, b.environ}
			if test.without {
				b.set("LINK_KEYS", "")
			}
			got := b.run("", "inspect", test.url)
			if without := regexp.MustCompile(`(?m)^  rule  .*\n`).ReplaceAllString(got.stdout, ""); got.code != test.code || without != test.want {
				t.Errorf("exits with %d\n%s\nwant\n%s", got.code, without, test.want)
			}
			b.want(got, "\n"+test.url+"\r\n", "inspect")
		})
	}

	// JSON is for programs, and for the eyes of whoever tries it.
	if got := b.run("", "inspect", "--json", "https://links.example.com/\u009b2J\x7f\u202e\U000E0001é"); !strings.Contains(got.stdout, `https://links.example.com/\u009b2J\u007f\u202e\udb40\udc01é"`) {
		t.Errorf("%q", got.stdout)
	}

	// Several are told apart by a blank line, and one that is bad is enough.
	got := b.run("", "inspect", good, shortened, good)
	if got.code != exitNo || strings.Count(got.stdout, "\n\nhttps://") != 2 {
		t.Errorf("exits with %d\n%s", got.code, got.stdout)
	}
	got = b.run(good+"\n"+strings.Repeat("x", lines.Limit+1)+"\n"+good+"\n", "inspect", "--json")
	if got.code != exitNo || strings.Count(got.stdout, `"verified":true`) != 2 || !strings.Contains(got.stdout, `"problems":["line 2: is longer than 1048576 bytes"]`) {
		t.Errorf("exits with %d\n%s", got.code, got.stdout)
	}
}

func TestInspectSealed(t *testing.T) {
	b := newBench(t)
	sealed := strings.TrimSpace(b.succeed("", "seal", "--customer", "acme", "--recipient", "r83jf", "--link", "l", "--exact-link", "--sent", "2026-07-31T09:00:00Z",
		"--metadata", `{"variant": "b"}`, "--label", "sale", "https://example.com/pricing"))
	const box = "  box          67 bytes of content\n  label        sale\n"
	b.want(outcome{code: exitYes, stdout: sealed + `
  form         path
  kind         click, sealed
  host         links.example.com
  key          1
  customer     acme
  recipient    r83jf
  link         l
  sent         2026-07-31T09:00:00Z
  destination  https://example.com/pricing
  metadata     {"variant": "b"}
` + box + `  repair       none
  verified     yes, with key 1
  rule         link:acme/l
  rule         url:https://example.com/pricing
  rule         customer:acme
  rule         host:example.com
`}, "", "inspect", sealed)

	b.set("LINK_KEYS", "")
	b.want(outcome{code: exitYes, stdout: sealed + `
  form         path
  kind         sealed: a key is needed to see more
  host         links.example.com
  key          1
` + box + `  well formed  yes
  verified     not tried: without a key ring (--keys, LINK_KEYS) anyone may have made it
`}, "", "inspect", sealed)
}

// What the desk asks first: what is inside, which rules are in force, and which
// could be written.
func TestInspectRules(t *testing.T) {
	b := newBench(t)
	link := strings.TrimSpace(b.succeed("", "sign", "--customer", "acme", "--campaign", "c1", "--recipient", "r1", "--link", "l", "--exact-link", "https://www.Phish.example/x?a=1"))
	wrapped := "https://l.facebook.com/l.php?u=" + url.QueryEscape(link)
	b.succeed("", "block", "host:phish.example", "--by", "desk")
	got := b.succeed("", "inspect", wrapped)
	if !strings.Contains(got, "\n  inside       Facebook\n") || !regexp.MustCompile(`\n  in force     host:phish.example: blocked, written \S+Z by desk\n  rule         link:acme/l
  rule         'url:https://www.Phish.example/x\?a=1'
  rule         campaign:acme/c1
  rule         customer:acme
  rule         host:www.phish.example\n$`).MatchString(got) {
		t.Error(got)
	}
	const choice = `is a link: did you mean link:acme/l, 'url:https://www.Phish.example/x?a=1', campaign:acme/c1, customer:acme or host:www.phish.example? (linkctl block --help explains)`
	for _, pasted := range []string{link, wrapped} {
		if got := b.run("", "block", pasted); got.code != exitUsage || !strings.Contains(got.stderr, choice) {
			t.Errorf("%+v", got)
		}
	}
	if got := b.run("", "unblock", "https://phish.example/x"); got.code != exitUsage || !strings.Contains(got.stderr, "did you mean url:https://phish.example/x or host:phish.example?") {
		t.Errorf("%+v", got)
	}
	// One that was forged, one that is broken, and an address.
	forged := strings.Replace(link, "acme", "other", 1)
	for _, none := range []string{forged, "https://links.example.com/x", "hello"} {
		if got := b.run("", "inspect", none); strings.Contains(got.stdout, "  rule  ") || got.code != exitNo {
			t.Errorf("%s: %s", none, got.stdout)
		}
	}
	if got := b.run("", "inspect", "http://192.0.2.7/x"); !strings.HasSuffix(got.stdout, "  rule         url:http://192.0.2.7/x\n  rule         host:192.0.2.7\n") || got.stderr != "" {
		t.Errorf("%+v", got)
	}
	// The rest is said without a blocklist too.
	b.set("BLOCKLIST", "file:"+t.TempDir())
	if got := b.run(link+"\n"+link, "inspect"); got.code != exitYes || strings.Count(got.stderr, "linkctl: warning: the blocklist was not asked: ") != 1 {
		t.Errorf("%+v", got)
	}
}

// A link is found in what surrounds it, of which nothing becomes a part of it.
func TestInspectSurrounded(t *testing.T) {
	testsize.Medium(t)
	b := newBench(t)
	without := &bench{t, b.environ}
	without.set("LINK_KEYS", "")
	inspect := func(b *bench, text string) (i inspection) {
		t.Helper()
		if err := json.Unmarshal([]byte(b.run("", "inspect", "--json", text).stdout), &i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	const destination = "https://example.com/pricing?a=(1)"
	for _, verb := range []string{"sign", "seal"} {
		for _, kind := range []string{"click", "open", "unsubscribe", "privacy"} {
			for _, form := range []string{"path", "query"} {
				args := []string{verb, "--kind", kind, "--form", form}
				want, label := "", "sale"
				if verb == "sign" && kind == "click" && form == "path" {
					label = "" // it has no place for one
				} else {
					args = append(args, "--label", label)
				}
				if kind == "click" {
					args, want = append(args, destination), destination
				}
				link := strings.TrimSpace(b.succeed("", args...))
				for _, text := range []string{
					"LINK", "Click here: LINK today!", "LINK today!", "See (LINK), and come.", "See LINK.", "href=LINK>Pricing</a>", "<p>LINK</p>",
					"(LINK)...", "see LINK!!!! now", "[Pricing](LINK).", "'LINK', he said", "LINK\u00a0\u2026", "<a href=\"LINK\">a</a>",
				} {
					line := strings.ReplaceAll(text, "LINK", link)
					if i := inspect(b, line); !i.good() || i.Destination != want || i.Label != label || i.Query != "" {
						t.Errorf("%s: %+v", line, i)
					}
					if i := inspect(without, line); !i.good() || verb == "sign" && i.Destination != want || i.Label != label || i.Query != "" {
						t.Errorf("%s, without keys: %+v", line, i)
					}
				}
				// A line break within the link is mended.
				if want != "" && verb == "sign" {
					wrapped := strings.Replace(link, "pric", "pr ic", 1)
					if i := inspect(b, "go to "+wrapped); !i.good() || i.Destination != want || i.Repair != linkcore.RepairWhitespace {
						t.Errorf("%s: %+v", wrapped, i)
					}
				}
				// One that is bad stays so, and is told apart from what follows it.
				other := strings.Replace(link, "links.", "www.", 1)
				if i := inspect(b, "see "+other+" today!"); i.good() || i.URL != other || !strings.Contains(i.Reason, "the link was made for links.example.com") {
					t.Errorf("%s: %+v", other, i)
				}
			}
		}
	}
}

// Where the handler is mounted under a path, its links begin with that path.
func TestInspectUnderPath(t *testing.T) {
	b := newBench(t)
	b.set("LINK_BASE_URL", "https://links.example.com/t/x/")
	for _, form := range []string{"path", "query"} {
		link := b.succeed("", "sign", "--form", form, "https://example.com/")
		if !strings.HasPrefix(link, "https://links.example.com/t/x/") {
			t.Errorf("signed %s", link)
		}
		if got := b.run(link, "inspect"); got.code != exitYes || got.stderr != "" {
			t.Errorf("inspect exits with %d\n%s%s", got.code, got.stdout, got.stderr)
		}
	}
	// Any other path is none of ours.
	link := strings.Replace(b.succeed("", "sign", "https://example.com/"), "/t/x/", "/t/xy/", 1)
	if got := b.run(link, "inspect"); got.code != exitNo {
		t.Errorf("inspect exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// Whatever stands on a line, inspect answers with lines that a terminal prints
// as they are, and never says yes without a tag that matches.
func FuzzInspect(f *testing.F) {
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": make([]byte, 32)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("https://links.example.com/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https%3A%2F%2Fexample.com", "")
	f.Add("https://links.example.com/t?id=s1.xxxx/", "/t")
	f.Add("href=\"http://x/\x1b\"", "/")
	f.Fuzz(func(t *testing.T, text, prefix string) {
		k := &checker{ring: ring, host: "links.example.com", prefix: strings.TrimSuffix(prefix, "/")}
		report := k.inspect(text)
		if report.good() {
			t.Fatalf("%q verifies", text)
		}
		var out strings.Builder
		tool := newTool(&out)
		if err := report.writeTo(tool); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			for _, r := range strings.TrimSuffix(line, "\n") {
				if !unicode.IsPrint(r) {
					t.Fatalf("%q is printed as %q", text, line)
				}
			}
		}
		if err := tool.writeJSON(report); err != nil {
			t.Fatal(err)
		}
	})
}

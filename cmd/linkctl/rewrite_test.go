package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
)

// The same mail in the three types.
const (
	testText = "Prices: https://example.com/pricing?a=1&b=2.\r\nHelp: mailto:help@example.com\r\n"
	testHTML = "<!doctype html>\n<p>Look at the <a href=\"https://example.com/pricing?a=1&amp;b=2\">prices</a>,\nor <a href='mailto:help@example.com'>ask</a>.</p>\n"

	testMessage = "From: Acme <news@acme.example>\r\nTo: r1@recipient.example\r\nSubject: Prices\r\nDate: Fri, 20 Mar 2026 08:00:00 +0000\r\n" +
		"Message-ID: <1@acme.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\n" + testText +
		"--b\r\nContent-Type: text/html\r\n\r\n" + testHTML + "\r\n--b--\r\n"
)

var trackedURL = regexp.MustCompile(`https://[a-z.]*links\.example\.com/[^"'\s<>]*[A-Za-z0-9/]`)

// untrack puts the destinations back, as they stand in HTML or in text, and
// returns the links that were there.
func untrack(t *testing.T, b *bench, mail string) (string, []linkcore.Link) {
	t.Helper()
	var links []linkcore.Link
	mail = trackedURL.ReplaceAllStringFunc(mail, func(url string) string {
		link := verify(t, b, strings.ReplaceAll(url, "&amp;", "&"))
		links = append(links, link)
		return link.Destination
	})
	return mail, links
}

func TestRewrite(t *testing.T) {
	const destination = "https://example.com/pricing?a=1&b=2"
	for _, test := range []struct {
		name, mail string
		links      int
	}{{"text", testText, 1}, {"html", testHTML, 1}, {"message", testMessage, 2}} {
		b := newBench(t)
		file := filepath.Join(t.TempDir(), "mail")
		writeFile(t, file, test.mail)
		for _, args := range [][]string{
			{file},
			{"--type", test.name, file},
			{"--form", "query", "--sealed", file},
			{},
			{"-"},
			{"--type", test.name, "-"},
		} {
			stdin := ""
			if len(args) == 0 || args[len(args)-1] == "-" {
				stdin = test.mail
			}
			before := time.Now().Truncate(time.Second)
			out := b.succeed(stdin, append([]string{"rewrite", "--customer", "acme", "--campaign", "spring26", "--recipient", "r1", "--sent", "now"}, args...)...)
			plain, links := untrack(t, b, out)
			if want := strings.ReplaceAll(test.mail, "&amp;", "&"); plain != want {
				t.Errorf("%s %q: all but the links is\n%s\nwant\n%s", test.name, args, plain, want)
			}
			if len(links) != test.links {
				t.Fatalf("%s %q: %d links in\n%s", test.name, args, len(links), out)
			}
			for i, link := range links {
				if link.Destination != destination || link.Customer != "acme" || link.Campaign != "spring26" || link.Recipient != "r1" ||
					link.Sent.Before(before) || link.Sealed != slices.Contains(args, "--sealed") {
					t.Errorf("%s %q: %+v", test.name, args, link)
				}
				for _, other := range links[:i] {
					if link.Link == other.Link {
						t.Errorf("%s %q: two links are both %s", test.name, args, link.Link)
					}
				}
			}
			// Again, nothing changes.
			if again := b.succeed(out, "rewrite", "--recipient", "r1"); again != out {
				t.Errorf("%s %q: rewritten again it is\n%s", test.name, args, again)
			}
		}
	}
}

// What a flag says arrives in the mail.
func TestRewriteOptions(t *testing.T) {
	for _, test := range []struct {
		args    string // split at spaces
		html    string
		has     string // regular expression
		hasNot  string
		warning string
	}{
		{args: "--utm utm_source=news --utm utm_medium=e,mail", html: `<a href="https://example.com/?utm_medium=x">x</a>`, has: `%3Futm_medium%3Dx%26utm_source%3Dnews`, hasNot: `e%2Cmail|e%252Cmail`},
		{args: "--skip-host example.org --skip-host *.example.net", html: `<a href="https://example.org/">x</a><a href="https://a.example.net/">x</a><a href="https://example.com/">x</a>`, has: `"https://example.org/".*"https://a.example.net/".*"https://links\.`},
		{args: "--only-host example.org", html: `<a href="https://example.org/">x</a><a href="https://example.com/">x</a>`, has: `"https://links\..*"https://example.com/"`},
		{args: "--unsubscribe-url https://example.com/u?id=* --unsubscribe-url https://example.com/stop --utm utm_source=n", html: `<a href="https://example.com/u?id=1">x</a><a href="https://example.com/stop">x</a><a href="https://example.com/b">x</a>`, has: `"https://example.com/u\?id=1".*"https://example.com/stop".*"https://links\.`},
		{args: "--skip-url https://example.com/a*", html: `<a href="https://example.com/abc">x</a><a href="https://example.com/b">x</a>`, has: `"https://example.com/abc".*"https://links\.`},
		{html: `<a href="https://example.com/{{name}}">x</a>`, has: `"https://example.com/{{name}}"`},
		{args: "--placeholders", html: `<a href="https://example.com/{{name}}">x</a>`, has: `"https://links\.example\.com/.*name`},
		{args: "--tracking off --pixel end", html: `<a href="https://example.com/">x</a>`, has: `^<a href="https://example.com/">x</a>\n$`},
		{args: "--tracking anonymous --recipient r1 --sent now", html: `<a href="https://example.com/">x</a>`, has: `/c1\.\.\.\.an_[^.]*\.\.`},
		{args: "--pixel end", html: `<body><p>x</p></body>`, has: `<p>x</p><img [^>]*https://links\.example\.com/o1\.`},
		{args: "--pixel top --pixel-base-url https://pixel.links.example.com", html: `<body><p>x</p></body>`, has: `<img [^>]*https://pixel\.links\.example\.com/o1\..*<p>x</p>`},
		{args: "--honeypot https://example.com/trap", html: `<body><p>x</p></body>`, has: `<p>x</p>.*/c1\.\.\.\.hp_[^/]*/https%3A%2F%2Fexample.com%2Ftrap`},
		{args: "--labels --form query", html: `<a href="https://example.com/">Spring sale</a>`, has: `(?i)https://links\.example\.com/[^?"]*spring[^?"]*\?id=c1`},
		{args: "", html: `<a href="https://example.com/">https://example.org/</a>`, has: `"https://links\.`, warning: "https://example.com/: "},
		{args: "--visible-url skip", html: `<a href="https://example.com/">https://example.org/</a>`, has: `"https://example.com/"`},
		{args: "", html: `<a href="https://bit.ly/x">x</a>`, has: `"https://links\.`, warning: "https://bit.ly/x: "},
		{args: "--shorteners skip", html: `<a href="https://bit.ly/x">x</a>`, has: `"https://bit.ly/x"`},
		{args: "", html: `<a href="https://example.com/reset-password?token=8d1f0c2a9b7e4f63a5">x</a>`, has: `"https://example.com/reset-password`},
		{args: "--one-time track", html: `<a href="https://example.com/reset-password?token=8d1f0c2a9b7e4f63a5">x</a>`, has: `"https://links\.`, warning: "https://example.com/reset-password?token=8d1f0c2a9b7e4f63a5: "},
		{args: "--signing-key 2 --base-url http://links.example.com", html: `<a href="https://example.com/">x</a><a href="https://example.com/a">y</a>`, has: `"http://links\.example\.com/c2`, warning: string(linkcore.WarnHTTP)},
	} {
		b := newBench(t)
		writeFile(t, filepath.Join(b.get("LINK_KEYS"), "2"), strings.Repeat("A", 43))
		b.set("LINK_SIGNING_KEY", "1")
		got := b.run(test.html+"\n", append([]string{"rewrite"}, strings.Fields(test.args)...)...)
		if got.code != exitYes || !regexp.MustCompile("(?s)"+test.has).MatchString(got.stdout) || test.hasNot != "" && regexp.MustCompile(test.hasNot).MatchString(got.stdout) {
			t.Errorf("%s: exits with %d\n%s%s", test.args, got.code, got.stdout, got.stderr)
		}
		if test.warning == "" && got.stderr != "" || strings.Count(got.stderr, test.warning) > 1 || !strings.Contains(got.stderr, test.warning) {
			t.Errorf("%s %s: warns %q, want one of %q", test.args, test.html, got.stderr, test.warning)
		}
	}
}

func TestRewriteListUnsubscribe(t *testing.T) {
	b := newBench(t)
	out := b.succeed(testMessage, "rewrite", "--recipient", "r1", "--list-unsubscribe", "--unsubscribe-mailto", "leave@acme.example")
	header, _, _ := strings.Cut(out, "\r\n\r\n")
	header = strings.ReplaceAll(header, "\r\n ", " ")
	for _, want := range []string{`(?m)^List-Unsubscribe: .*<https://links\.example\.com/u1\.\.\.r1\.[^>]*>`, `(?m)^List-Unsubscribe: .*<mailto:leave@acme\.example`, `(?m)^List-Unsubscribe-Post: List-Unsubscribe=One-Click\r?$`} {
		if !regexp.MustCompile(want).MatchString(header) {
			t.Errorf("the header has no %s:\n%s", want, header)
		}
	}
}

// A field that was asked for and has no place is not left out silently.
func TestRewriteNoHeader(t *testing.T) {
	b := newBench(t)
	for _, mail := range []string{testHTML, testText} {
		got := b.run(mail, "rewrite", "--recipient", "r1", "--list-unsubscribe")
		if got.code != exitYes || !trackedURL.MatchString(got.stdout) || got.stderr != "linkctl: warning: List-Unsubscribe is left out: it is a header field, and this is not a whole message\n" {
			t.Errorf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
		}
	}
}

func TestRewriteReport(t *testing.T) {
	b := newBench(t)
	args := []string{"rewrite", "--campaign", "spring26", "--recipient", "r1", "--pixel", "end"}

	// The table is on standard error, where it can stand beside the mail.
	got := b.run(testHTML, append(args, "--report")...)
	table := regexp.MustCompile(`^#  PART  LINE  ACTION   FOUND +LINK +REASON
1  html  2     tracked  https://example.com/pricing\?a=1&b=2  1-[A-Za-z0-9_-]{11}  -
2  html  3     skipped  mailto:help@example.com +-  +[^\n]*[a-z]
1 tracked, 1 left alone, a pixel
$`)
	if got.code != exitYes || !table.MatchString(got.stderr) || !strings.Contains(got.stdout, "<img ") {
		t.Errorf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if explicit := b.run(testHTML, append(args, "--report=table")...); !table.MatchString(explicit.stderr) {
		t.Errorf("--report=table is another table:\n%s", explicit.stderr)
	}

	// A dry run writes no mail; its report is the result.
	output := filepath.Join(t.TempDir(), "out")
	got = b.run(testHTML, append(args, "--dry-run", "--output", output)...)
	if got.code != exitYes || !table.MatchString(got.stdout) || got.stderr != "" {
		t.Errorf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if _, err := os.Stat(output); !os.IsNotExist(err) {
		t.Errorf("a dry run wrote a mail: %v", err)
	}

	var report rewriteReport
	parse := func(line string) {
		t.Helper()
		report = rewriteReport{}
		if err := json.Unmarshal([]byte(line), &report); err != nil || strings.Count(line, "\n") != 1 {
			t.Fatalf("%v: %s", err, line)
		}
	}
	got = b.run(testHTML, append(args, "--report=json")...)
	parse(got.stderr)
	_, links := untrack(t, b, got.stdout)
	if report.Tracked != 1 || report.Skipped != 1 || len(report.Links) != 2 || len(links) != 2 ||
		report.Links[0].ID != links[0].Link || report.Links[0].Destination != links[0].Destination || verify(t, b, report.Links[0].Tracked).Link != links[0].Link ||
		verify(t, b, report.Pixel).Link != links[1].Link || report.Links[1].Reason == "" {
		t.Errorf("%+v", report)
	}
	parse(b.succeed(testHTML, append(args, "--dry-run", "--report=json")...))
	if report.Tracked != 1 {
		t.Errorf("%+v", report)
	}
	// Lists are never null, and warnings are in the report alone.
	if got := b.run("Nothing here.\n", "rewrite", "--report=json"); got.code != exitYes || got.stdout != "Nothing here.\n" || got.stderr != `{"tracked":0,"skipped":0,"opens":{"tracking":"full","by":"mailing"},"clicks":{"tracking":"full","by":"mailing"},"warnings":[],"links":[]}`+"\n" {
		t.Errorf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	got = b.run(`<a href="https://bit.ly/x">x</a>`, "rewrite", "--report=json")
	parse(got.stderr)
	if len(report.Links) != 1 || len(report.Links[0].Warnings) == 0 {
		t.Errorf("%+v", report)
	}
	got = b.run(`<a href="https://example.com/#a">x</a><a href="https://bit.ly/x">x</a><a href="https://example.com/#b">x</a>`, "rewrite")
	if want := "linkctl: warning: 2 links, the first in html, line 1: https://example.com/#a: " + string(linkcore.WarnFragment) + "\n"; !strings.HasPrefix(got.stderr, want) || strings.Count(got.stderr, "\n") != 2 {
		t.Errorf("warnings are\n%swant\n%s", got.stderr, want)
	}
	got = b.run(`<a href="https://bit.ly/x">x</a>`, "rewrite", "--report")
	if !strings.Contains(got.stderr, "\nwarning: html, line 1: https://bit.ly/x: ") || strings.Contains(got.stderr, "linkctl:") {
		t.Errorf("the table is\n%s", got.stderr)
	}
}

func TestRewriteOutput(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	rewritten := func(name string) bool {
		t.Helper()
		content, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		plain, links := untrack(t, b, string(content))
		return len(links) == 1 && plain == strings.ReplaceAll(testHTML, "&amp;", "&")
	}

	writeFile(t, path("in.html"), testHTML)
	b.want(outcome{code: exitYes}, "", "rewrite", "--output", path("out.html"), path("in.html"))
	if !rewritten("out.html") {
		t.Error("--output holds another mail")
	}
	if content, _ := os.ReadFile(path("in.html")); string(content) != testHTML {
		t.Error("the mail that was read has changed")
	}
	// A long file that was there is gone as a whole, its permissions stay.
	writeFile(t, path("old.html"), strings.Repeat("old ", 1000))
	if err := os.Chmod(path("old.html"), 0o640); err != nil {
		t.Fatal(err)
	}
	b.want(outcome{code: exitYes}, "", "rewrite", "-o", path("old.html"), path("in.html"))
	if info, err := os.Stat(path("old.html")); err != nil || !rewritten("old.html") || runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("the file that was there: %v, %v", info.Mode(), err)
	}
	// The mail itself.
	b.want(outcome{code: exitYes}, "", "rewrite", "-o", path("in.html"), path("in.html"))
	if !rewritten("in.html") {
		t.Error("rewritten in place it is another mail")
	}
	// What a symbolic link leads to; the link stays.
	if err := os.Symlink("out.html", path("link.html")); err == nil {
		writeFile(t, path("out.html"), "old")
		b.want(outcome{code: exitYes}, testHTML, "rewrite", "-o", path("link.html"))
		if info, err := os.Lstat(path("link.html")); err != nil || info.Mode()&os.ModeSymlink == 0 || !rewritten("out.html") {
			t.Errorf("the symbolic link became %v, %v", info.Mode(), err)
		}
	}
	// A device stays one.
	if info, err := os.Stat("/dev/null"); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		b.want(outcome{code: exitYes}, testHTML, "rewrite", "-o", "/dev/null")
		if info, err := os.Stat("/dev/null"); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			t.Fatalf("/dev/null became %v, %v", info.Mode(), err)
		}
	}
	if out := b.succeed(testHTML, "rewrite", "-o", "-"); !trackedURL.MatchString(out) {
		t.Errorf("-o - printed %s", out)
	}

	// A full disk.
	if _, err := os.Stat("/dev/full"); err == nil {
		if got := b.run(testHTML, "rewrite", "-o", "/dev/full"); got.code != exitNo || !strings.HasPrefix(got.stderr, "linkctl: write /dev/full: ") {
			t.Errorf("exits with %d: %s", got.code, got.stderr)
		}
	}

	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			t.Errorf("%s was left", entry.Name())
		}
	}
}

// Where a mail cannot be rewritten or written, nothing is written over.
func TestRewriteFails(t *testing.T) {
	const old = "the mail of before"
	signed := "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\nMIME-Version: 1.0\r\nFrom: a@b.example\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nhttps://example.com/\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
	for _, test := range []struct {
		name   string
		stdin  string
		args   string // split at spaces; DIR is the folder
		code   int
		stderr string
	}{
		{"a signed message", signed, "--output DIR/out", exitNo, "standard input: "},
		{"a link that is refused", `<a href="https://bit.ly/x">x</a>`, "--shorteners refuse --output DIR/out", exitNo, "standard input: html, line 1: https://bit.ly/x "},
		{"no such mail", "", "--output DIR/out DIR/missing.eml", exitNo, "read the mail: open "},
		{"a directory as mail", "", "--output DIR/out DIR", exitNo, "read DIR"},
		{"an empty mail", " \n", "--output DIR/out", exitUsage, "no mail: standard input is empty (linkctl rewrite --help explains)"},
		{"a field that is none", testHTML, "--customer a.b --output DIR/out", exitUsage, "--customer has a character other than A-Z a-z 0-9 _ - (linkctl rewrite --help explains)"},
		{"a format in place of the file", "", "--report json --output DIR/out", exitUsage, "there is no file json: if the report's format is meant, write --report=json (linkctl rewrite --help explains)"},
		{"no folder", testHTML, "--output DIR/missing/out", exitNo, "write DIR/missing/out: "},
		{"a folder", testHTML, "--output DIR", exitNo, "write DIR: it is a directory: give the name of a file"},
		{"two mails", "", "--output DIR/out DIR/out DIR/out", exitUsage, "\"DIR/out\" is too much: linkctl rewrite takes one argument, FILE (linkctl rewrite --help explains)"},
		{"no output", testHTML, "--output=", exitUsage, "--output is empty: leave it out for standard output (linkctl rewrite --help explains)"},
		{"type", testHTML, "--type eml --output DIR/out", exitUsage, `--type "eml": give message, html, text or auto (linkctl rewrite --help explains)`},
		{"report", testHTML, "--report=csv --output DIR/out", exitUsage, `--report "csv": give table or json (linkctl rewrite --help explains)`},
		{"tracking", testHTML, "--tracking some --output DIR/out", exitUsage, `tracking: "some" is unknown: full, anonymous or off (linkctl rewrite --help explains)`},
		{"tracking of a variable that is not set", testHTML, "--tracking= --output DIR/out", exitUsage, "--tracking is empty: leave it out, or give a value (linkctl rewrite --help explains)"},
		{"anonymous and sealed", testHTML, "--tracking anonymous --sealed --output DIR/out", exitUsage, "tracking: anonymous links can't be sealed"},
		{"utm without a value", testHTML, "--utm utm_source --output DIR/out", exitUsage, `--utm "utm_source": give a name and a value, such as utm_source=news (linkctl rewrite --help explains)`},
		{"utm with an empty value", testHTML, "--utm utm_source= --output DIR/out", exitUsage, `--utm "utm_source=": the value is empty (linkctl rewrite --help explains)`},
		{"utm without utm_", testHTML, "--utm source=news --output DIR/out", exitUsage, `--utm "source=news": the name is written as it is to stand in the URL: utm_source=news (linkctl rewrite --help explains)`},
		{"mailto alone", testHTML, "--unsubscribe-mailto a@b.example --output DIR/out", exitUsage, "--unsubscribe-mailto names an address in addition: give --list-unsubscribe too (linkctl rewrite --help explains)"},
		{"base of no pixel", testHTML, "--pixel-base-url https://pixel.example --output DIR/out", exitUsage, "--pixel-base-url is for the picture of --pixel: give --pixel end or --pixel top too (linkctl rewrite --help explains)"},
		{"base of the pixel", testHTML, "--pixel end --pixel-base-url pixel.example --output DIR/out", exitUsage, "--pixel-base-url: base URL must begin with https:// (linkctl rewrite --help explains)"},
		{"honeypot", testHTML, "--honeypot ftp://x --output DIR/out", exitUsage, "honeypot: "},
		{"host", testHTML, "--skip-host https://x/ --output DIR/out", exitUsage, "skip hosts: "},
		{"sent", testHTML, "--sent soon --output DIR/out", exitUsage, `--sent "soon": give a time such as 2026-07-31T09:00:00Z, or now (linkctl rewrite --help explains)`},
		{"base URL", testHTML, "--base-url= --output DIR/out", exitUsage, "the base URL of the links is not set: give --base-url or set LINK_BASE_URL (linkctl rewrite --help explains)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "out"), old)
			got := b.run(test.stdin, append([]string{"rewrite"}, strings.Fields(strings.ReplaceAll(test.args, "DIR", dir))...)...)
			if want := "linkctl: " + strings.ReplaceAll(test.stderr, "DIR", dir); got.code != test.code || got.stdout != "" || !strings.HasPrefix(got.stderr, want) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exits with %d\n%s%s\nwant %d\n%s", got.code, got.stdout, got.stderr, test.code, want)
			}
			if content, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(content) != old {
				t.Errorf("the file holds %q, %v", content, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("the folder holds %v, %v", entries, err)
			}
		})
	}
}

// A folder that cannot be written to keeps the file.
func TestRewriteReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	writeFile(t, path, "old")
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if f, err := os.Create(filepath.Join(dir, "probe")); err == nil {
		f.Close()
		t.Skip("this user writes to read-only folders")
	}
	got := newBench(t).run(testHTML, "rewrite", "--output", path)
	if content, err := os.ReadFile(path); got.code != exitNo || !strings.HasPrefix(got.stderr, "linkctl: write "+path+": ") || err != nil || string(content) != "old" {
		t.Errorf("exits with %d: %s\n%s, %v", got.code, got.stderr, content, err)
	}
}

func TestRewriteInput(t *testing.T) {
	b := newBench(t)
	const most = 1 << 20
	if content, err := readAtMost(strings.NewReader(strings.Repeat("x", most)), most); err != nil || len(content) != most {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	if content, err := readAtMost(strings.NewReader(strings.Repeat("x", most+1)), most); err == nil || err.Error() != "it has more than 1 MiB, which no mail has" || content != nil {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	var stdout, stderr bytes.Buffer
	if terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0); err == nil {
		defer terminal.Close()
		if code := run(t.Context(), []string{"rewrite"}, terminal, &stdout, &stderr, b.environ); code != exitUsage || stdout.Len() > 0 || stderr.String() != "linkctl: no mail: give a file, or the mail on standard input (linkctl rewrite --help explains)\n" {
			t.Errorf("exits with %d: %s%s", code, stdout.String(), stderr.String())
		}
		stderr.Reset()
	}
	if code := run(t.Context(), []string{"rewrite"}, brokenReader{}, &stdout, &stderr, b.environ); code != exitNo || stdout.Len() > 0 || stderr.String() != "linkctl: read standard input: input/output error\n" {
		t.Errorf("exits with %d: %s%s", code, stdout.String(), stderr.String())
	}
	stderr.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"rewrite"}, stuckReader{}, &stdout, &stderr, b.environ); code != exitInterrupted || stdout.Len() > 0 || stderr.String() != "linkctl: interrupted\n" {
		t.Errorf("exits with %d: %s%s", code, stdout.String(), stderr.String())
	}
}

// Half a mail on a full disk is an error, with and without a report.
func TestRewriteOutputFails(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{{"rewrite"}, {"rewrite", "--report"}, {"rewrite", "--dry-run"}, {"rewrite", "--dry-run", "--report=json"}} {
		for _, mail := range []string{testHTML, testHTML + strings.Repeat("<p>More.</p>\n", 10_000)} {
			var stderr bytes.Buffer
			code := run(t.Context(), args, strings.NewReader(mail), brokenWriter{}, &stderr, b.environ)
			if code != exitNo || stderr.String() != "linkctl: write standard output: no space left on device\n" {
				t.Errorf("linkctl %q exits with %d: %s", args, code, stderr.String())
			}
		}
	}
}

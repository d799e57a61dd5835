package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"example.com/linktracker/linkcore/testsize"
)

const readme = "../../README.md"

var (
	fenced  = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	linked  = regexp.MustCompile(`\]\(([^)#]+)(?:#([^)]*))?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	targets = regexp.MustCompile("`make ([a-z-]+)`|(?m)^(?:\\$ )?make ([a-z-]+)")
)

// TestReadme holds the README to its length, its commands to what a test can run,
// and what it names to what there is.
func TestReadme(t *testing.T) {
	text := read(t, readme)
	if n := strings.Count(text, "\n"); n > 200 {
		t.Errorf("the README has %d lines; it may have 200: move what is longer beside the code", n)
	}
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		switch {
		case block[1] == "mermaid", block[1] == "console":
		case block[1] == "sh" && strings.Contains(block[2], "gcloud "):
		default:
			t.Errorf("neither run by TestReadmeRuns nor in need of an account:\n%s", block[0])
		}
	}
	makefiles := read(t, "../../Makefile") + read(t, "../../terraform/deploy.mk")
	for _, m := range targets.FindAllStringSubmatch(text, -1) {
		if name := m[1] + m[2]; !strings.Contains(makefiles, "\n"+name+":") {
			t.Errorf("make %s is not a target", name)
		}
	}
}

// TestDocuments has every link between the project's documents lead to a file,
// and to a heading where it names one.
func TestDocuments(t *testing.T) {
	for _, document := range documents(t) {
		for _, m := range linked.FindAllStringSubmatch(read(t, document), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			path := filepath.Join(filepath.Dir(document), m[1])
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", document, err)
			} else if m[2] != "" && !anchors(read(t, path))[m[2]] {
				t.Errorf("%s: %s has no heading #%s", document, m[1], m[2])
			}
		}
	}
}

func documents(t *testing.T) []string {
	var all []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".terraform" || d.Name() == "node_modules"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			all = append(all, path)
		}
		return nil
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	return all
}

// anchors returns the fragments that GitHub gives a document's headings.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				b.WriteRune(r)
			}
		}
		all[b.String()] = true
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// varying is what differs between two runs of the same command.
var varying = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`), "TIME"},
	{regexp.MustCompile(`"seconds_since_sent":[\d.]+`), `"seconds_since_sent":N`},
	{regexp.MustCompile(`\d+(\.\d+)?s after`), "N after"},
	{regexp.MustCompile(`"event_id":"[^"]*"`), `"event_id":"ID"`},
	{regexp.MustCompile(`"user_agent":"curl/[^"]*"`), `"user_agent":"curl"`},
	{regexp.MustCompile(`"link":"[\w-]{11}"`), `"link":"ID"`},
	{regexp.MustCompile(`(?m)^  link  .*`), "  link ID"},
	{regexp.MustCompile(`\.[\w-]{11}\.[0-9a-z]{6}\.[\w-]{22}/`), ".ID.SENT.TAG/"},
	{regexp.MustCompile(`(?m) (\d+)-[\w-]{11}$`), " $1-ID"},
	{regexp.MustCompile(` +`), " "}, // a table's columns
}

func settled(s string) string {
	for _, v := range varying {
		s = v.is.ReplaceAllString(s, v.as)
	}
	return strings.TrimSpace(s)
}

// shows reports whether a document's lines are those that a command printed, in
// which a line of … stands for any.
func shows(document, printed string) bool {
	var pattern strings.Builder
	for line := range strings.Lines(settled(document) + "\n") {
		if line == "…\n" {
			pattern.WriteString(`(?:.*\n)*`)
		} else {
			pattern.WriteString(regexp.QuoteMeta(line))
		}
	}
	return regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(settled(printed) + "\n")
}

func TestShows(t *testing.T) {
	for _, test := range []struct {
		document, printed string
		want              bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
		{"…\nb\n", "a\na\nb\n", true},
		{"a\n…\n", "a\n", true},
		{"a\n…\nc\n", "a\nb\n", false},
		{"host:a.example  2026-12-01T04:24:29Z\n", "host:a.example 2027-01-01T00:00:00Z\n", true},
		{"", "a warning\n", false},
	} {
		if got := shows(test.document, test.printed); got != test.want {
			t.Errorf("%q shows %q: %v", test.document, test.printed, got)
		}
	}
}

// TestReadmeRuns runs the README's commands that need no account, from top to
// bottom in one shell and in a folder of their own, and compares what they print
// with what it shows.
func TestReadmeRuns(t *testing.T) {
	testsize.Large(t)
	folder, home := t.TempDir(), "/home/you/linktracker"
	for _, name := range []string{"Makefile", "go.mod", "go.sum", "cmd", "linkcore", "terraform"} {
		path, err := filepath.Abs("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	type step struct{ command, shown string }
	var steps []step
	for _, block := range fenced.FindAllStringSubmatch(read(t, readme), -1) {
		if block[1] != "console" {
			continue
		}
		for line := range strings.Lines(block[2]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: strings.TrimSpace(command)})
			} else if len(steps) == 0 {
				t.Fatalf("a block that begins without a command: %s", line)
			} else {
				steps[len(steps)-1].shown += line
			}
		}
	}
	if len(steps) < 10 || steps[0].command != "make run" {
		t.Fatalf("the README begins with %v", steps[:min(len(steps), 1)])
	}

	// GOFLAGS has the folder's path take no part in what is built, so that the
	// next run finds it built already.
	environment := []string{"PORT=" + port, "GOFLAGS=-trimpath", "PWD=" + folder}
	for _, variable := range os.Environ() {
		switch name, _, _ := strings.Cut(variable, "="); name {
		case "LINK_KEYS", "LINK_BASE_URL", "LINK_SIGNING_KEY", "BLOCKLIST", "CLICKS", "PORT", "GOFLAGS", "PWD":
		default:
			environment = append(environment, variable)
		}
	}
	compare := func(s step, printed string) {
		t.Helper()
		printed = strings.NewReplacer(folder, home, ":"+port, ":8080").Replace(printed)
		if !shows(s.shown, printed) {
			t.Errorf("the README shows other lines:\n$ %s\n%s", s.command, printed)
		}
	}

	server := exec.Command("bash", "-c", steps[0].command)
	server.Dir, server.Env = folder, environment
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = server.Stdout
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-server.Process.Pid, syscall.SIGTERM)
		server.Wait()
	})
	started := ""
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		started += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "Ctrl-C stops it.") {
			break
		}
	}
	compare(steps[0], started)
	go func() {
		for lines.Scan() { // so that the server never waits for a reader
		}
	}()

	const mark = "=== end of step "
	var script strings.Builder
	for i, s := range steps[1:] {
		fmt.Fprintf(&script, "%s\n[ $? = 0 ] || echo FAILED\necho '%s%d'\n", strings.ReplaceAll(s.command, ":8080", ":"+port), mark, i+1)
	}
	shell := exec.Command("bash", "-c", script.String())
	shell.Dir, shell.Env = folder, environment
	printed, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for i, s := range steps[1:] {
		var mine []byte
		mine, printed, _ = bytes.Cut(printed, fmt.Appendf(nil, "%s%d\n", mark, i+1))
		compare(s, string(mine))
	}
}

// freePort returns a port that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

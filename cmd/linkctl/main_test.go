package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// beTool makes the test binary the program itself, for tests that need a real
// process.
const beTool = "LINKCTL_TEST_BE_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(beTool) != "" {
		main()
	}
	// Tests that are parallel wait for emulators and timeouts; they do not need a
	// processor each.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		flag.Set(f.Name, "8")
	}
	os.Exit(m.Run())
}

// An outcome is what a run of the tool did.
type outcome struct {
	code           int
	stdout, stderr string
}

// A bench runs the tool with an environment of its own.
type bench struct {
	t       *testing.T
	environ []string
}

// newBench makes a bench with a key ring of one key, a base URL and an empty
// rules file.
func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	ring := filepath.Join(dir, "ring")
	if err := os.Mkdir(ring, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(ring, "1"), testSecret)
	rules := filepath.Join(dir, "rules.jsonl")
	writeFile(t, rules, "")
	return &bench{t, []string{
		"LINK_KEYS=" + ring,
		"LINK_BASE_URL=https://links.example.com",
		"BLOCKLIST=file:" + rules,
		"USER=abuse",
	}}
}

// testSecret is key 1 of the format's test vectors.
const testSecret = "RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc="

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) get(name string) string {
	return (&tool{environ: b.environ}).getenv(name)
}

func (b *bench) set(name, value string) {
	rest := slices.DeleteFunc(slices.Clone(b.environ), func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
	b.environ = append(rest, name+"="+value)
}

// processEnviron is the environment of a process that is the tool. The race
// detector would let each sleep for a second in the end, and a coverage build
// complain.
func (b *bench) processEnviron() []string {
	return append(b.environ[:len(b.environ):len(b.environ)], beTool+"=1", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR="+b.t.TempDir())
}

// run runs the tool with something on standard input.
func (b *bench) run(stdin string, args ...string) outcome {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(b.t.Context(), args, strings.NewReader(stdin), &stdout, &stderr, b.environ)
	if strings.Contains(stdout.String()+stderr.String(), testSecret[:20]) {
		b.t.Errorf("linkctl %q printed the secret", args)
	}
	// On a slow machine any call of a store may say what it waits for.
	said := regexp.MustCompile(`(?m)^waiting for the blocklist, .*\n`).ReplaceAllString(stderr.String(), "")
	return outcome{code, stdout.String(), said}
}

// want runs the tool and checks all that it did.
func (b *bench) want(want outcome, stdin string, args ...string) {
	b.t.Helper()
	if got := b.run(stdin, args...); got != want {
		b.t.Errorf("linkctl %q:\n got %d\n%s%s\nwant %d\n%s%s", args,
			got.code, got.stdout, got.stderr, want.code, want.stdout, want.stderr)
	}
}

// succeed runs the tool, which must exit with 0 and no complaint but that the
// blocklist is new, and returns
// its output.
func (b *bench) succeed(stdin string, args ...string) string {
	b.t.Helper()
	got := b.run(stdin, args...)
	if got.code != exitYes || strings.Contains(strings.ReplaceAll(got.stderr, newHere, ""), "linkctl:") {
		b.t.Fatalf("linkctl %q exits with %d: %s", args, got.code, got.stderr)
	}
	return got.stdout
}

// What cannot be understood is one line on standard error, nothing on standard
// output, exit code 2.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   string // split at spaces
		unset  string
		stderr string
	}{
		{args: "sing", stderr: `there is no verb "sing": did you mean sign? (linkctl --help explains)`},
		{args: "keys lost", stderr: `there is no verb "lost": did you mean list? (linkctl keys --help explains)`},
		{args: "help nothing", stderr: `there is no verb and no topic "nothing" (linkctl help --help explains)`},
		{args: "sign --keyz x https://example.com", stderr: `unknown flag: --keyz: did you mean --keys? (linkctl sign --help explains)`},
		{args: "block --expire 3d host:a.example", stderr: `unknown flag: --expire: did you mean --expires? (linkctl block --help explains)`},
		{args: "keys list extra", stderr: `"extra" is too much: linkctl keys list takes no arguments (linkctl keys list --help explains)`},
		{args: "rules extra", stderr: `"extra" is too much: linkctl rules takes no arguments (linkctl rules --help explains)`},
		{args: "completion tcsh", stderr: `there is no verb "tcsh": linkctl completion has bash, fish, powershell, zsh (linkctl completion --help explains)`},
		{args: "rewrite a b", stderr: `"b" is too much: linkctl rewrite takes one argument, FILE (linkctl rewrite --help explains)`},
		{args: "block --force=maybe host:a.example", stderr: `--force "maybe": give true or false (linkctl block --help explains)`},
		{args: "block --timeout 1x --wait x host:a.example", stderr: `--timeout "1x": give a time such as 30s, 72h or 7d (linkctl block --help explains)`},
		{args: "doctor --probes many", stderr: `--probes "many": give a whole number (linkctl doctor --help explains)`},
		{args: "keys list", unset: "LINK_KEYS", stderr: `the key ring is not set: give --keys or set LINK_KEYS (linkctl keys list --help explains)`},
		{args: "keys new", unset: "LINK_KEYS", stderr: `the key ring is not set: give --keys or set LINK_KEYS (linkctl keys new --help explains)`},
		{args: "keys new --id A", stderr: `--id "A": a key's id is 1 to 16 of a-z 0-9 (linkctl keys new --help explains)`},
		{args: "keys new --id=", stderr: `--id "": a key's id is 1 to 16 of a-z 0-9 (linkctl keys new --help explains)`},
		{args: "keys new --id ../x", stderr: `--id "../x": a key's id is 1 to 16 of a-z 0-9 (linkctl keys new --help explains)`},
		{args: "keys new --id 12345678901234567", stderr: `--id "12345678901234567": a key's id is 1 to 16 of a-z 0-9 (linkctl keys new --help explains)`},
		{args: "keys new --print --id x", stderr: `--print writes to no key ring: leave --keys and --id out (linkctl keys new --help explains)`},
		{args: "sign https://example.com", unset: "LINK_BASE_URL", stderr: `the base URL of the links is not set: give --base-url or set LINK_BASE_URL (linkctl sign --help explains)`},
		{args: "sign https://example.com", unset: "LINK_KEYS", stderr: `the key ring is not set: give --keys or set LINK_KEYS (linkctl sign --help explains)`},
		{args: "sign --base-url links.example.com https://example.com", stderr: `base URL must begin with https:// (linkctl sign --help explains)`},
		{args: "sign --signing-key 2 https://example.com", stderr: `signing key "2" is not in the key ring, which has 1 (linkctl sign --help explains)`},
		{args: "sign --kind tap https://example.com", stderr: `--kind "tap": give click, open, unsubscribe or privacy (linkctl sign --help explains)`},
		{args: "sign --form short https://example.com", stderr: `--form "short": give path or query (linkctl sign --help explains)`},
		{args: "sign --sent yesterday https://example.com", stderr: `--sent "yesterday": give a time such as 2026-07-31T09:00:00Z, or now (linkctl sign --help explains)`},
		{args: "sign --sent 1970-01-01T00:00:00Z https://example.com", stderr: `--sent "1970-01-01T00:00:00Z": give a time such as 2026-07-31T09:00:00Z, or now (linkctl sign --help explains)`},
		{args: "sign --sent= https://example.com", stderr: `--sent "": give a time such as 2026-07-31T09:00:00Z, or now (linkctl sign --help explains)`},
		{args: "sign --customer a.b https://example.com", stderr: `--customer has a character other than A-Z a-z 0-9 _ - (linkctl sign --help explains)`},
		{args: "sign --link= https://example.com", stderr: `--link is empty: leave it out for a random id (linkctl sign --help explains)`},
		{args: "sign --exact-link https://example.com", stderr: `--exact-link is about --link: give --link too (linkctl sign --help explains)`},
		{args: "sign --link a --exact-link https://example.com https://example.com", stderr: `--exact-link names one link, and there are several destinations: leave it out, or sign them one by one (linkctl sign --help explains)`},
		{args: "sign --kind open https://example.com", stderr: `a link of kind open has no destination: leave "https://example.com" out (linkctl sign --help explains)`},
		{args: "sign", stderr: `no destinations: standard input is empty (linkctl sign --help explains)`},
		{args: "sign --metadata {} https://example.com", stderr: `unknown flag: --metadata (linkctl sign --help explains)`},
		{args: "seal --metadata [] https://example.com", stderr: `--metadata must be a JSON object, from { to } (linkctl seal --help explains)`},
		{args: "inspect", stderr: `no URLs: standard input is empty (linkctl inspect --help explains)`},
		{args: "inspect --base-url https:// https://example.com", stderr: `the base URL "https://" is not a URL such as https://links.example.com (linkctl inspect --help explains)`},
		{args: "block host:a.example", unset: "BLOCKLIST", stderr: `the blocklist is not set: give --blocklist or set BLOCKLIST (linkctl block --help explains)`},
		{args: "rules --blocklist none", stderr: `the blocklist (--blocklist, BLOCKLIST): none holds no rules to read or write (linkctl rules --help explains)`},
		{args: "rules --blocklist firestore://a/b", stderr: `the blocklist (--blocklist, BLOCKLIST): "firestore://a/b" is not of the form firestore://PROJECT/DATABASE/COLLECTION, file:PATH or none (linkctl rules --help explains)`},
		{args: "rules --kind hosts", stderr: `--kind "hosts": give one of link, url, prefix, recipient, campaign, customer, host, key, ip, agent (linkctl rules --help explains)`},
		{args: "block", stderr: `no rules: standard input is empty (linkctl block --help explains)`},
		{args: "unblock", stderr: `no rules: standard input is empty (linkctl unblock --help explains)`},
		{args: "block example.com", stderr: `"example.com": kind is missing: a rule is written KIND:VALUE, such as host:example.com (linkctl block --help explains)`},
		{args: "block hosts:example.com", stderr: `"hosts:example.com": kind "hosts" is unknown: it is one of link, url, prefix, recipient, campaign, customer, host, key, ip, agent (linkctl block --help explains)`},
		{args: "block host:", stderr: `"host:": value is empty (linkctl block --help explains)`},
		{args: "block --expires soon host:a.example", stderr: `--expires "soon": give a time such as 2026-07-31T09:00:00Z, or how long from now, such as 72h or 30d (linkctl block --help explains)`},
		{args: "block --expires 2020-01-01T00:00:00Z host:a.example", stderr: `--expires 2020-01-01T00:00:00Z has passed (linkctl block --help explains)`},
		{args: "block --starts 2h --expires 2h host:a.example", stderr: `--expires `},
		{args: "block --redirect https://b.example --untracked customer:x", stderr: `a rule does one thing: give --redirect or --untracked, not both (linkctl block --help explains)`},
		{args: "block --redirect= host:a.example", stderr: `host:a.example: target is missing: a redirect needs an absolute http(s) URL (linkctl block --help explains)`},
		{args: "block --redirect ftp://b.example host:a.example", stderr: `host:a.example: target "ftp://b.example" is not a URL to send people to: `},
		{args: "block --redirect https://www.a.example/ended host:a.example", stderr: `host:a.example: the rule matches its own target https://www.a.example/ended: give --redirect another URL (linkctl block --help explains)`},
		{args: "block --untracked host:a.example", stderr: `host:a.example: action untracked is for the kinds link, recipient, campaign, customer (linkctl block --help explains)`},
		{args: "block host:com", stderr: `host:com: it is every host that ends in .com; if you mean it, say --force (linkctl block --help explains)`},
	} {
		b := newBench(t)
		complete := b.environ
		if test.unset != "" {
			b.set(test.unset, "")
		}
		got := b.run("", strings.Fields(test.args)...)
		b.environ = complete
		if got.code != exitUsage || got.stdout != "" || !strings.HasPrefix(got.stderr, "linkctl: "+test.stderr) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("linkctl %s:\n got %d %s%s\nwant 2 linkctl: %s", test.args, got.code, got.stdout, got.stderr, test.stderr)
		}
		if rules := b.succeed("", "rules"); rules != "" {
			t.Errorf("linkctl %s wrote %s", test.args, rules)
		}
		if keys := strings.Count(b.succeed("", "keys", "list"), "\n"); keys != 2 {
			t.Errorf("linkctl %s left %d lines of keys", test.args, keys)
		}
	}
}

// A group of verbs without a verb shows the manual, where a script that lost
// its verb does not take it for a result.
func TestNoVerb(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{nil, {"keys"}, {"completion"}} {
		got := b.run("", args...)
		if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, "Verbs:") {
			t.Errorf("linkctl %q exits with %d\n%s\n%s", args, got.code, got.stdout, got.stderr)
		}
	}
}

// commands yields every command of the tool.
func commands(t *testing.T) []*cobra.Command {
	root := (&tool{}).rootCommand()
	all := []*cobra.Command{root}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].Commands()...)
	}
	return all
}

// Help is a manual, on standard output, by both ways.
func TestHelp(t *testing.T) {
	b := newBench(t)
	for _, c := range commands(t) {
		path := strings.Fields(c.CommandPath())[1:]
		if c.Name() == "help" {
			continue
		}
		manual := b.succeed("", append([]string{"help"}, path...)...)
		if !strings.HasPrefix(manual, c.Long) || len(c.Long) < 200 && path[0] != "completion" {
			t.Errorf("help %q begins %.100s", path, manual)
		}
		if c.Runnable() && !c.HasSubCommands() && (c.Example == "" || !strings.Contains(manual, "Usage:\n  linkctl ")) {
			t.Errorf("help %q has no example or no usage", path)
		}
		if flag := b.succeed("", append(path, "--help")...); flag != manual {
			t.Errorf("%q --help is another text", path)
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 84 {
				t.Errorf("help %q has a line of %d characters: %s", path, len(line), line)
			}
		}
	}
}

// Whoever reads results with a program finds --json at every verb that prints some.
func TestJSON(t *testing.T) {
	b := newBench(t)
	link := strings.TrimSpace(b.succeed("", "sign", "https://example.com"))
	for _, test := range []struct{ args, want string }{
		{"sign --link l --exact-link https://example.com/", `{"url":"https://links.example.com/c1`},
		{"seal https://example.com/", `{"url":"https://links.example.com/s1.`},
		{"inspect " + link, `{"url":"` + link + `"`},
		{"keys new --id json", `{"id":"json","file":"`},
		{"keys list", `{"id":"`},
		{"verp make --return-path bounces.example.com --signing-key 1 r1", `{"recipient":"r1","address":"`},
		{"block host:a.example", `{"kind":"host","value":"a.example"`},
		{"rules", `{"kind":"host","value":"a.example"`},
		{"unblock host:a.example", `{"rule":"host:a.example","state":"lifted"}`},
	} {
		args := strings.Fields(test.args)
		if args[0] == "sign" || args[0] == "seal" {
			args = append(args, "--signing-key", "1")
		}
		got := b.succeed("", append(args, "--json")...)
		if !strings.HasPrefix(got, test.want) || !json.Valid([]byte(strings.Split(got, "\n")[0])) {
			t.Errorf("%s --json: %s", test.args, got)
		}
	}
}

func TestVersion(t *testing.T) {
	if got := newBench(t).succeed("", "--version"); !regexp.MustCompile(`^linkctl \S+ go1\.\S+\n$`).MatchString(got) {
		t.Errorf("%q", got)
	}
}

func TestCompletion(t *testing.T) {
	b := newBench(t)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if script := b.succeed("", "completion", shell); !strings.Contains(script, "linkctl") {
			t.Errorf("completion %s prints %.100s", shell, script)
		}
	}
	for _, test := range []struct{ args, want string }{
		{"sign --form ", "path\nquery\n"},
		{"sign --kind ", "click\nopen\nunsubscribe\nprivacy\n"},
		{"block ho", "link:\nurl:\n"},
		{"help ke", "keys\tMake secrets"},
		{"help keys ", "list\tList the key ring's keys"},
	} {
		got := b.run("", strings.Split("__complete "+test.args, " ")...)
		if got.code != exitYes || !strings.HasPrefix(got.stdout, test.want) {
			t.Errorf("completion of %q: %s", test.args, got.stdout)
		}
	}
}

// brokenWriter is a full disk.
type brokenWriter struct{}

var errFull = errors.New("no space left on device")

func (brokenWriter) Write([]byte) (int, error) { return 0, errFull }

func TestOutputFails(t *testing.T) {
	b := newBench(t)
	b.succeed("", "block", "host:a.example")
	for _, args := range [][]string{
		{"keys", "new", "--print"},
		{"keys", "list"},
		{"keys", "list", "--json"},
		{"sign", "https://example.com"},
		{"inspect", "https://links.example.com/"},
		{"inspect", "--json", "https://links.example.com/"},
		{"verp", "make", "--return-path", "example.com", "r1"},
		{"verp", "check", "a@example.com"},
		{"verp", "check", "--json", "a@example.com"},
		{"rules"},
		{"rules", "--json"},
		{"block", "host:b.example"},
		{"unblock", "host:a.example"},
		{"replay", "--dry-run", "-"},
		{"report"},
		{"report", "--json"},
		{"forget", "--yes", "acme/r1"},
		{"help"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), brokenWriter{}, &stderr, b.environ)
		if code != exitNo || !strings.HasPrefix(stderr.String(), "linkctl: write standard output: no space left on device\n") {
			t.Errorf("linkctl %q exits with %d: %s", args, code, stderr.String())
		}
	}
}

// Whoever types the command without arguments is told what is missing instead of
// looking at a cursor.
func TestTerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("this machine has no terminals: ", err)
	}
	defer terminal.Close()
	for verb, what := range map[string]string{"sign": "destinations", "seal": "destinations", "inspect": "URLs", "block": "rules", "unblock": "rules"} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{verb}, terminal, &stdout, &stderr, newBench(t).environ)
		want := "linkctl: no " + what + ": give them as arguments, or one a line on standard input (linkctl " + verb + " --help explains)\n"
		if code != exitUsage || stdout.Len() > 0 || stderr.String() != want {
			t.Errorf("linkctl %s exits with %d: %s%s", verb, code, stdout.String(), stderr.String())
		}
	}
}

// stuckReader never has anything.
type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { select {} }

func TestInterrupted(t *testing.T) {
	for _, verb := range []string{"sign", "inspect", "block", "unblock"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stdout, stderr bytes.Buffer
		code := run(ctx, []string{verb}, stuckReader{}, &stdout, &stderr, newBench(t).environ)
		if code != exitInterrupted || stdout.Len() > 0 || stderr.String() != "linkctl: interrupted\n" {
			t.Errorf("linkctl %s exits with %d: %s%s", verb, code, stdout.String(), stderr.String())
		}
	}
}

// A real process, with real signals: what was signed before Ctrl-C is there.
func TestSignal(t *testing.T) {
	b := newBench(t)
	c := exec.Command(os.Args[0], "sign")
	c.Env = b.processEnviron()
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	defer watchdog.Stop()
	io.WriteString(stdin, "https://example.com/a\n")
	line := make([]byte, 1024)
	n, err := stdout.Read(line)
	if err != nil || !strings.HasSuffix(string(line[:n]), "%2Fa\n") {
		t.Errorf("the first link is %q, %v", line[:n], err)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(stdout)
	err = c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || len(rest) > 0 || stderr.String() != "linkctl: interrupted\n" {
		t.Errorf("after the signal: %v, %q, %q", err, rest, stderr.String())
	}
}

// The examples of every manual work as they stand, in a shell, one after the
// other.
func TestExamples(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	bin := t.TempDir()
	if err := os.Symlink(must(filepath.Abs(os.Args[0])), filepath.Join(bin, "linkctl")); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	// The cloud's tools are not for tests; this one takes what it is given.
	script := "#!/bin/sh\ntest \"$(wc -c)\" = 45\n"
	if err := os.WriteFile(filepath.Join(bin, "gcloud"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	emulator := regexp.MustCompile(`firestore://[^']*`)
	topic := regexp.MustCompile(`pubsub://\S*`)
	hosts := regexp.MustCompile(`https://(links|go)\.\S*`)
	for _, c := range commands(t) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			base := "" // of the endpoint that the examples check
			dir := filepath.Dir(b.get("LINK_KEYS"))
			environ := append(b.processEnviron(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir)
			if c.Name() == "rules" {
				b.succeed("", "block", "host:phish.example")
			}
			writeFile(t, filepath.Join(dir, "message.eml"), testMessage)
			environ = append(environ, "CLICKS=file:clicks.jsonl")
			if c.Name() == "report" || c.Name() == "forget" {
				writeFile(t, filepath.Join(dir, "clicks.jsonl"), reportEvents)
				newWarehouse(t, b)
				environ = append(environ, "BIGQUERY_EMULATOR_HOST="+b.get("BIGQUERY_EMULATOR_HOST"))
			}
			if c.Name() == "affected" {
				writeFile(t, filepath.Join(dir, "clicks.jsonl"), `{"event_id":"1","event_type":"click","occurred_at":"`+stamp(time.Now())+`","destination":"https://phish.example/login"}`+"\n")
			}
			if c.Name() == "tail" {
				keepClicking(t, filepath.Join(dir, "clicks.jsonl"))
			}
			if c.Name() == "watch" {
				writeFile(t, filepath.Join(dir, "clicks.jsonl"), postedLink(30))
			}
			writeFile(t, filepath.Join(dir, "spilled.jsonl"), spilledLine(1, ""))
			if c.Name() == "doctor" {
				b.set("CLICKS", "file:"+filepath.Join(dir, "clicks.jsonl"))
				base = serveEndpoint(t, b)
				environ = append(environ, "LINK_BASE_URL="+base)
			}
			for line := range strings.Lines(c.Example) {
				line = strings.TrimSpace(line)
				// Nobody presses Ctrl-C here.
				line = strings.ReplaceAll(line, "linkctl tail", "linkctl tail --count 1")
				if strings.HasPrefix(line, "linkctl watch") && !strings.Contains(line, "--from") {
					line += " --from file:clicks.jsonl"
				}
				// What is written to Firestore is tested against its emulator.
				line = emulator.ReplaceAllString(line, "file:rules.jsonl")
				if base != "" {
					line = hosts.ReplaceAllString(line, base)
				}
				// So is what goes over Pub/Sub.
				line = topic.ReplaceAllString(line, "file:clicks.jsonl")
				command := exec.Command(shell, "-c", line)
				command.Dir, command.Env = dir, environ
				var stdout, stderr bytes.Buffer
				command.Stdout, command.Stderr = &stdout, &stderr
				err := command.Run()
				if strings.Contains(line, "inspect https://links.example.com/c1.acme") {
					// The format's own example, whose key is nowhere.
					if err == nil || !strings.Contains(stdout.String(), "\n  destination  https://example.com/\n") {
						t.Errorf("%s: %v\n%s%s", line, err, stdout.String(), stderr.String())
					}
					continue
				}
				if err != nil || strings.Contains(strings.ReplaceAll(stderr.String(), newHere, ""), "linkctl:") {
					t.Errorf("%s: %v\n%s", line, err, stderr.String())
				}
				if !strings.Contains(line, "gcloud") && !strings.Contains(line, "> ") && !strings.Contains(line, "--output") && stdout.Len() == 0 {
					t.Errorf("%s printed nothing", line)
				}
			}
		})
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// newTool makes a tool of which a test uses parts.
func newTool(stdout io.Writer) *tool {
	return &tool{stdin: strings.NewReader(""), stdout: bufio.NewWriter(stdout), stderr: io.Discard, now: time.Now}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/advice"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/lines"
	"example.com/linktracker/linkcore/testsize"
)

// written is what block says of where the rules are.
func (b *bench) written(rules ...string) string {
	place, isFile := strings.CutPrefix(b.get("BLOCKLIST"), "file:")
	if !isFile {
		place += " on the emulator at " + os.Getenv("FIRESTORE_EMULATOR_HOST")
	}
	if len(rules) > 1 {
		return fmt.Sprintf("%d rules written to %s\n", len(rules), place)
	}
	if !isFile {
		rule, err := blocklist.ParseRule(rules[0])
		if err != nil {
			b.t.Fatal(err)
		}
		place += ", document " + rule.DocumentID()
	}
	return "1 rule written to " + place + "\n"
}

// lifted is what unblock says.
func (b *bench) lifted(rules string) string {
	return strings.Replace(b.written("", ""), "2 rules written to", rules+" lifted in", 1)
}

// newHere is the warning of what may be a slip.
const newHere = "linkctl: warning: no rules were there before: is this the blocklist that the endpoints read (their BLOCKLIST)?\n"

// onEach runs a test on each kind of blocklist.
func onEach(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("file", func(t *testing.T) { test(t, newBench(t)) })
	t.Run("firestore", func(t *testing.T) {
		emulatortest.Firestore(t)
		b := newBench(t)
		b.set("BLOCKLIST", "firestore://"+emulatortest.Project(t)+"/(default)/blocklist")
		test(t, b)
	})
}

// decide asks what an endpoint would do about a click on a link.
func decide(t *testing.T, b *bench, link linkcore.Link) blocklist.Decision {
	t.Helper()
	source, err := endpoint.OpenSource(b.get("BLOCKLIST"))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	options := blocklist.DefaultOptions()
	options.Wait = 10 * time.Second
	cache := blocklist.NewCache(source, options)
	defer cache.Close()
	<-cache.RefreshIfDue()
	d, known := cache.Decide(t.Context(), &blocklist.Request{Link: &link, Now: time.Now()})
	if !known {
		t.Fatal("the rules are not known")
	}
	return d
}

func TestBlocklist(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b *bench) {
		first := b.written("host", "url")
		if strings.HasPrefix(b.get("BLOCKLIST"), "firestore:") {
			first += newHere
		}
		b.want(outcome{exitYes, "host:phish.example: blocked\nurl:xn--bcher-kva.example/a: blocked\n", first},
			"", "block", "--reason", "phishing, ticket 4711", "host:PHISH.example.", "url:HTTPS://bücher.example:443/x/../a", "host:phish.example")
		b.want(outcome{exitYes, "prefix:example.com/offer: redirected to https://example.com/ended from 2020-01-01T00:00:00Z until 2999-01-01T00:00:00Z\n", b.written("prefix:example.com/offer")},
			"", "block", "--redirect", "https://example.com/ended", "--starts", "2020-01-01T01:00:00+01:00", "--expires", "2999-01-01T00:00:00Z", "--by", "crm", "prefix:https://example.com/offer")
		b.want(outcome{exitYes, "recipient:acme/r83jf: not tracked\n", b.written("recipient:acme/r83jf")}, "", "block", "--untracked", "recipient:acme/r83jf")

		// What is written is what an endpoint does.
		for destination, want := range map[string]blocklist.Decision{
			"https://www.phish.example/x":      {Action: blocklist.Block, Rule: "host:phish.example"},
			"https://xn--bcher-kva.example/a":  {Action: blocklist.Block, Rule: "url:xn--bcher-kva.example/a"},
			"https://example.com/offer/1":      {Action: blocklist.Redirect, Rule: "prefix:example.com/offer", Target: "https://example.com/ended"},
			"https://example.com/offering?x=1": {},
		} {
			if got := decide(t, b, linkcore.Link{Kind: linkcore.Click, Destination: destination}); got != want {
				t.Errorf("%s: %+v", destination, got)
			}
		}
		untracked := linkcore.Link{Kind: linkcore.Click, Destination: "https://example.com/"}
		untracked.Customer, untracked.Recipient = "acme", "r83jf"
		if got := decide(t, b, untracked); got.Action != "" || !got.Untracked {
			t.Errorf("untracked: %+v", got)
		}

		lines := strings.Split(b.succeed("", "rules"), "\n")
		host, _ := os.Hostname()
		for n, want := range []string{
			"RULE                         ACTION     STATE  STARTS                EXPIRES               CREATED               BY",
			"url:xn--bcher-kva.example/a  block      live   -                     -                     20",
			"prefix:example.com/offer     redirect   live   2020-01-01T00:00:00Z  2999-01-01T00:00:00Z  20",
			"recipient:acme/r83jf         untracked  live   -                     -                     20",
			"host:phish.example           block      live   -                     -                     20",
			"",
		} {
			if !strings.HasPrefix(lines[n], want) {
				t.Errorf("line %d of the rules is\n%s, not\n%s", n, lines[n], want)
			}
		}
		if by := "  abuse@" + host + "  "; !strings.Contains(lines[4], by) || !strings.HasSuffix(lines[4], "  phishing, ticket 4711") {
			t.Errorf("no %q in %s", by, lines[4])
		}

		// As JSON, filtered.
		var rule struct {
			Kind, Value, Action, Target, Reason string
			CreatedBy                           string     `json:"created_by"`
			CreatedAt                           *time.Time `json:"created_at"`
			UpdatedAt                           *time.Time `json:"updated_at"`
			ExpiresAt                           *time.Time `json:"expires_at"`
			Deleted                             bool
		}
		if err := json.Unmarshal([]byte(b.succeed("", "rules", "--json", "--kind", "prefix", "--value", "EXAMPLE.com/")), &rule); err != nil {
			t.Fatal(err)
		}
		if rule.CreatedAt == nil || time.Since(*rule.CreatedAt) > time.Hour || rule.UpdatedAt == nil ||
			rule.Kind != "prefix" || rule.Value != "example.com/offer" || rule.Action != "redirect" || rule.Target != "https://example.com/ended" ||
			rule.CreatedBy != "crm" || rule.Reason != "" || rule.Deleted || !rule.ExpiresAt.Equal(time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%+v", rule)
		}
		b.want(outcome{exitNo, "", "linkctl: no rule fits\n"}, "", "rules", "--value", "nothing.example")
		b.want(outcome{exitNo, "", "linkctl: no rule fits\n"}, "", "rules", "--kind", "ip", "--json")

		// A rule is changed by writing it again.
		b.succeed("", "block", "host:phish.example", "--reason", "second")
		if got := b.succeed("", "rules", "--kind", "host"); strings.Count(got, "\n") != 2 || !strings.Contains(got, "second") {
			t.Errorf("after the change:\n%s", got)
		}

		// But not an objection into a block, nor a block into an objection, by chance.
		replaced := "linkctl: nothing was written: recipient:acme/r83jf is there already (not tracked), and there is one rule of each name: block the links of that name one by one, or replace it with --force\n"
		b.want(outcome{exitNo, "", replaced}, "", "block", "--expires", "1h", "recipient:acme/new", "recipient:acme/r83jf")
		b.want(outcome{exitNo, "", replaced}, "", "block", "--redirect", "https://example.com/", "recipient:acme/r83jf")
		b.want(outcome{exitYes, "recipient:acme/r83jf: not tracked\n", b.written("recipient:acme/r83jf")}, "", "block", "--untracked", "recipient:acme/r83jf", "--by", "abuse")
		b.want(outcome{exitYes, "recipient:acme/r83jf: blocked\n", b.written("recipient:acme/r83jf")}, "", "block", "--force", "recipient:acme/r83jf")
		b.want(outcome{exitNo, "", "linkctl: nothing was written: recipient:acme/r83jf is there already (blocked), and there is one rule of each name: lift that one first (linkctl unblock), or replace it with --force\n"},
			"", "block", "--untracked", "recipient:acme/r83jf")
		b.succeed("", "unblock", "recipient:acme/r83jf")
		b.succeed("", "block", "--untracked", "recipient:acme/r83jf")

		// A copy is a blocklist.
		b.want(outcome{exitYes, "host:phish.example: lifted\n", b.lifted("1 rule")}, "", "unblock", "host:Phish.EXAMPLE")
		if got := decide(t, b, linkcore.Link{Kind: linkcore.Click, Destination: "https://phish.example/"}); got.Action != "" {
			t.Errorf("lifted, and still %+v", got)
		}
		dump := b.succeed("", "rules", "--all", "--json")
		file := filepath.Join(t.TempDir(), "copy.jsonl")
		writeFile(t, file, dump)
		if again := b.succeed("", "rules", "--all", "--json", "--blocklist", "file:"+file); again != dump {
			t.Errorf("the copy is\n%s\nof\n%s", again, dump)
		}
		if got := b.succeed("", "rules", "--all"); strings.Count(got, "\n") != 5 || !strings.Contains(got, "host:phish.example           block      lifted") {
			t.Errorf("with what was lifted:\n%s", got)
		}
		if got := b.succeed("", "rules"); strings.Count(got, "\n") != 4 {
			t.Errorf("without what was lifted:\n%s", got)
		}

		// Of several, those that exist are lifted.
		b.want(outcome{exitNo, "recipient:acme/r83jf: lifted\n", "linkctl: host:phish.example: there is no such rule\nlinkctl: key:none: there is no such rule\n" + b.lifted("1 rule")},
			"# a list\n\nhost:phish.example\nrecipient:acme/r83jf\nkey:none\n", "unblock")
		// And can come back.
		b.succeed("", "block", "host:phish.example")
		b.want(outcome{exitYes, "host:phish.example: lifted\n", b.lifted("1 rule")}, "", "unblock", "host:phish.example")
	})
}

// All rules of a list are checked before any is written, and all that is wrong
// is said at once.
func TestBlockList(t *testing.T) {
	onEach(t, func(t *testing.T, b *bench) {
		list := "# a feed\n\nhost:a.example\n  ip:198.51.100.7/24 \nhost:b example\nagent:Go\n" + strings.Repeat("x", lines.Limit+1) + "\nhost:c.example"
		for _, verb := range []string{"block", "unblock"} {
			got := b.run(list, verb)
			lines := strings.Split(got.stderr, "\n")
			if got.code != exitUsage || got.stdout != "" || !strings.HasPrefix(lines[0], `linkctl: line 5: "host:b example": value `) {
				t.Errorf("%s exits with %d\n%s%s", verb, got.code, got.stdout, got.stderr)
			}
			want := "linkctl: line 6: agent:go: it is shorter than 4 bytes, so it is part of very many user agents; if you mean it, say --force\n" +
				"linkctl: line 7: is longer than 1048576 bytes\n" +
				"linkctl: 3 of 6 rules were refused, so nothing was written (linkctl block --help explains)\n"
			if verb == "unblock" {
				want = "linkctl: line 7: is longer than 1048576 bytes\n" +
					"linkctl: 2 of 6 rules were refused, so nothing was written (linkctl unblock --help explains)\n"
			}
			if rest := strings.Join(lines[1:], "\n"); rest != want {
				t.Errorf("%s complains\n%s", verb, got.stderr)
			}
			b.want(outcome{exitYes, "", "there are no rules\n"}, "", "rules")
		}
		want := b.written("a", "ip", "c")
		if strings.HasPrefix(b.get("BLOCKLIST"), "firestore:") {
			want += newHere
		}
		b.want(outcome{exitYes, "host:a.example: blocked\nip:198.51.100.0/24: blocked\nhost:c.example: blocked\n", want},
			"# a feed\n\nhost:a.example\n  ip:198.51.100.7/24 \n\r\nhost:c.example", "block")
	})
}

// A feed of many thousands is written in batches.
func TestBlockMany(t *testing.T) {
	testsize.Large(t)
	t.Parallel()
	b := newBench(t)
	var list strings.Builder
	for i := range putBatch + 10 {
		fmt.Fprintf(&list, "host:h%d.example\n", i)
	}
	got := b.run(list.String(), "block", "--expires", "30d")
	if got.code != exitYes || strings.Count(got.stdout, " until ") != putBatch+10 || got.stderr != b.written(make([]string, putBatch+10)...) {
		t.Errorf("exits with %d, %d lines, %s", got.code, strings.Count(got.stdout, "\n"), got.stderr)
	}
	got = b.run(list.String()+"host:other.example\n", "unblock")
	if got.code != exitNo || strings.Count(got.stdout, ": lifted\n") != putBatch+10 || got.stderr != "linkctl: host:other.example: there is no such rule\n"+b.lifted("5010 rules") {
		t.Errorf("exits with %d, %d lines, %s", got.code, strings.Count(got.stdout, "\n"), got.stderr)
	}
}

func TestTooWide(t *testing.T) {
	for _, test := range []struct {
		rule string
		wide string // what the complaint holds; empty: the rule is narrow enough
	}{
		{"host:com", "every host that ends in .com"},
		{"host:COM.", "every host that ends in .com"},
		{"host:localhost", "every host that ends in .localhost"},
		{"host:co.uk", "co.uk is a public suffix"},
		{"host:github.io", "github.io is a public suffix"},
		{"host:公司.cn", "is a public suffix"},
		{"host:example.com", ""},
		{"host:example.co.uk", ""},
		{"host:someone.github.io", ""},
		{"host:192.0.2.1", ""},
		{"host:[2001:db8::1]", ""},
		{"ip:0.0.0.0/0", "wider than a /8"},
		{"ip:10.0.0.0/7", "wider than a /8"},
		{"ip:::ffff:0.0.0.0/96", "wider than a /8"},
		{"ip:::ffff:10.0.0.0/103", "wider than a /8"},
		{"ip:::ffff:10.0.0.0/104", ""},
		{"ip:10.0.0.0/8", ""},
		{"ip:192.0.2.1", ""},
		{"ip:::/0", "wider than a /16"},
		{"ip:2000::/3", "wider than a /16"},
		{"ip:2001::/16", ""},
		{"ip:2001:db8::1", ""},
		{"agent:bot", "shorter than 4 bytes"},
		{"agent:Mozilla", "such as Chrome on Windows"},
		{"agent:like gecko", "such as Chrome on Windows"},
		{"agent:iPhone", "such as Safari on an iPhone"},
		{"agent:android", "such as Chrome on Android"},
		{"agent:firefox", "such as Firefox on Windows"},
		{"agent:badbot", ""},
		{"agent:python-requests", ""},
		{"key:1", "every link that was ever signed"},
		{"url:https://com/", ""},
		{"prefix:https://example.com", ""},
		{"customer:a", ""},
		{"campaign:/x", ""},
	} {
		b := newBench(t)
		got := b.run("", "block", test.rule)
		if test.wide == "" {
			if got.code != exitYes {
				t.Errorf("block %s exits with %d: %s", test.rule, got.code, got.stderr)
			}
			continue
		}
		if got.code != exitUsage || !strings.Contains(got.stderr, test.wide) || !strings.Contains(got.stderr, "say --force") {
			t.Errorf("block %s exits with %d: %s", test.rule, got.code, got.stderr)
		}
		if got := b.run("", "block", "--redirect", "https://example.com/", test.rule); got.code != exitUsage {
			t.Errorf("block --redirect %s exits with %d: %s", test.rule, got.code, got.stderr)
		}
		b.succeed("", "block", "--force", test.rule)
		b.succeed("", "unblock", test.rule)
	}
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 7, 31, 9, 0, 0, 123, time.UTC)
	for value, want := range map[string]string{
		"72h":                       "2026-08-03T09:00:00Z",
		"30d":                       "2026-08-30T09:00:00Z",
		"90m":                       "2026-07-31T10:30:00Z",
		"36500d":                    "2126-07-07T09:00:00Z",
		"2026-12-24T18:00:00+01:00": "2026-12-24T17:00:00Z",
		"":                          "", "d": "", "-1d": "", "-1h": "", "0h": "", "0d": "", "1.5d": "", "36501d": "", "99999999d": "", "2w": "", "tomorrow": "", "2026-12-24": "",
	} {
		at, err := parseWhen("expires", value, now)
		if got := stamp(at); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", value, got, err)
		}
	}
}

// Documents that people write by hand may hold anything, and a terminal obeys
// some of it.
func TestRulesByHand(t *testing.T) {
	b := newBench(t)
	path := strings.TrimPrefix(b.get("BLOCKLIST"), "file:")
	writeFile(t, path, `{"kind":"host","value":"A.example","reason":"\u001b[2Jline\nline"}
nonsense
{"kind":"host","value":""}
{"kind":"agent","value":"badbot","expires_at":"2020-01-01T00:00:00Z"}
{"kind":"host","value":"later.example","starts_at":"2999-01-01T00:00:00Z"}
`)
	const a = "host:a.example      block   live     -                     "
	got := b.run("", "rules")
	want := `RULE                ACTION  STATE    STARTS                REASON
` + a + `\x1b[2Jline\nline
host:later.example  block   waiting  2999-01-01T00:00:00Z  -
`
	if got.code != exitYes || got.stdout != want {
		t.Errorf("exits with %d\n%s", got.code, got.stdout)
	}
	if strings.Count(got.stderr, "linkctl: warning: not understood, so it does nothing: ") != 2 || strings.Count(got.stderr, "\n") != 2 {
		t.Errorf("complains\n%s", got.stderr)
	}
	if got := b.run("", "rules", "--all"); strings.Count(got.stdout, "\n") != 4 || !strings.Contains(got.stdout, "  expired  ") {
		t.Errorf("with what has expired:\n%s", got.stdout)
	}
	b.want(outcome{exitYes, "host:a.example: lifted\n", b.lifted("1 rule")}, "", "unblock", "host:a.example")
}

// A Firestore that is down costs a moment, and one that never answers can be
// left with Ctrl-C.
func TestFirestoreFails(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"rules"}, {"block", "host:a.example"}, {"unblock", "host:a.example"}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t)
		b.set("BLOCKLIST", "firestore://p/(default)/blocklist")
		b.set("FIRESTORE_EMULATOR_HOST", listener.Addr().String())
		start := func() (*exec.Cmd, *bytes.Buffer) {
			// Nothing here takes long; should it, the test fails in time.
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			t.Cleanup(cancel)
			c := exec.CommandContext(ctx, os.Args[0], args...)
			var output bytes.Buffer
			c.Env, c.Stdout, c.Stderr = b.processEnviron(), &output, &output
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			return c, &output
		}

		c, output := start()
		if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		connection, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		c.Wait()
		connection.Close()
		listener.Close()
		if c.ProcessState.ExitCode() != exitInterrupted || output.String() != "linkctl: interrupted\n" {
			t.Errorf("linkctl %q, interrupted, exits with %d: %s", args, c.ProcessState.ExitCode(), output)
		}

		c, output = start()
		c.Wait()
		if c.ProcessState.ExitCode() != exitNo || strings.Count(output.String(), "\n") != 1 || !strings.Contains(output.String(), "connection re") { // refused or reset
			t.Errorf("linkctl %q, without Firestore, exits with %d: %s", args, c.ProcessState.ExitCode(), output)
		}
	}
}

// A blocklist that cannot be reached or written is one line that says so.
func TestBlocklistFails(t *testing.T) {
	b := newBench(t)
	missing := "file:" + filepath.Join(t.TempDir(), "none", "rules.jsonl")
	for _, args := range [][]string{{"rules"}, {"block", "host:a.example"}, {"unblock", "host:a.example"}} {
		got := b.run("", append(args, "--blocklist", missing)...)
		if got.code != exitNo || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "no such file or directory") {
			t.Errorf("linkctl %q exits with %d: %s%s", args, got.code, got.stdout, got.stderr)
		}
	}
}

// What the account may lack is the least that does.
func TestDeniedRules(t *testing.T) {
	denied := fmt.Errorf("listing rules: %w", status.Error(codes.PermissionDenied, "Missing or insufficient permissions."))
	for role, service := range map[string]advice.Service{"viewer": readingRules, "user": writingRules} {
		want := "listing rules: Missing or insufficient permissions: your account needs the role roles/datastore." + role + " on this project"
		if got := service.Explain(denied).Error(); got != want {
			t.Errorf("%s", got)
		}
	}
}

// A Firestore that takes connections and never answers: what is waited for is
// said.
func TestFirestoreSilent(t *testing.T) {
	testsize.Large(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("FIRESTORE_EMULATOR_HOST", l.Addr().String())
	b := newBench(t)
	b.set("BLOCKLIST", "firestore://p/(default)/blocklist")
	for _, args := range [][]string{{"rules"}, {"block", "host:a.example"}, {"unblock", "host:a.example"}} {
		s := b.start("waiting for the blocklist, firestore://p/(default)/blocklist on the emulator at "+l.Addr().String()+"\n", args...)
		s.cancel()
		if code := s.end(); code != exitInterrupted {
			t.Errorf("%q: exit code %d: %s", args, code, s.stderr)
		}
	}
}

// A blocklist that held nothing before may be a slip.
func TestBlockSomewhereNew(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	t.Chdir(dir)
	b.set("BLOCKLIST", "file:"+filepath.Join(dir, "typo.jsonl"))
	want := b.written("host:a.example")
	b.set("BLOCKLIST", "file:typo.jsonl")
	b.want(outcome{exitYes, "host:a.example: blocked\n", want + newHere}, "", "block", "host:a.example")
	b.want(outcome{exitYes, "host:a.example: blocked\n", want}, "", "block", "host:a.example")
}

// Without a name in the environment the system's is used.
func TestWhoami(t *testing.T) {
	for _, environ := range [][]string{nil, {"LOGNAME=log"}, {"USER=user", "LOGNAME=log"}} {
		who := (&tool{environ: environ}).whoami()
		name, host, ok := strings.Cut(who, "@")
		if !ok || name == "" || host == "" {
			t.Errorf("%q is %q", environ, who)
		}
	}
}

func TestTable(t *testing.T) {
	var lines table
	lines.row("A", "EMPTY", "LONGHEAD", "C")
	lines.row("x", "", "1", "")
	lines.row("größer", "", "2", "c")
	var out bytes.Buffer
	if err := lines.writeTo(&out); err != nil || out.String() != "A       LONGHEAD  C\nx       1         -\ngrößer  2         c\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
}

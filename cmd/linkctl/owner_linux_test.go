package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/linktracker/linkcore/testsize"
)

// What root writes with sudo stays with its owner, who can read it and write it
// again.
func TestOwnerStays(t *testing.T) {
	testsize.Medium(t)
	if os.Geteuid() != 0 {
		t.Skip("only root writes the files of others")
	}
	const somebody = 1000
	folder, err := os.MkdirTemp("", "linkctl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := func(name string) string { return filepath.Join(folder, name) }
	linkctl := path("linkctl")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", executable, linkctl).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	asSomebody := func(args ...string) (string, error) {
		c := exec.Command(linkctl, args...)
		c.Env, c.Dir = append(os.Environ(), beTool+"=1", "HOME="+folder), folder
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody, Groups: []uint32{2000}}}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for _, name := range []string{"rules.jsonl", "spilled.jsonl.cursor", "mail.html", "report.html"} {
		writeFile(t, path(name), "")
		if err := errors.Join(os.Chown(path(name), somebody, 2000), os.Chmod(path(name), 0o600)); err != nil {
			t.Skip(err)
		}
	}
	writeFile(t, path("spilled.jsonl.cursor"), `{"clicks":"","offset":0,"sha256":""}`)
	writeFile(t, path("spilled.jsonl"), spilledLine(1, ""))
	if err := os.Chown(folder, somebody, somebody); err != nil {
		t.Skip(err)
	}

	b := newBench(t)
	rules := "file:" + path("rules.jsonl")
	b.succeed("", "block", "--blocklist", rules, "host:evil.example")
	b.succeed("", "keys", "new", "--keys", path("ring"))
	b.succeed("", "replay", "--clicks", "file:"+path("clicks.jsonl"), path("spilled.jsonl"))
	b.succeed(testHTML, "rewrite", "--output", path("mail.html"))
	b.run("", "report", "--output", path("report.html"), path("spilled.jsonl"))
	for name, want := range map[string]string{
		"rules.jsonl": "1000:2000 -rw-------", "rules.jsonl.lock": "1000:2000 -rw-------", "ring": "1000:1000 drwx------", "ring/k1": "1000:1000 -rw-------",
		"spilled.jsonl.cursor": "1000:2000 -rw-------", "mail.html": "1000:2000 -rw-------", "report.html": "1000:2000 -rw-------",
	} {
		info, err := os.Stat(path(name))
		if err != nil {
			t.Error(err)
			continue
		}
		s := info.Sys().(*syscall.Stat_t)
		if got := fmt.Sprintf("%d:%d %v", s.Uid, s.Gid, info.Mode()); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, args := range [][]string{
		{"rules", "--blocklist", rules}, {"block", "--blocklist", rules, "host:worse.example"},
		{"keys", "list", "--keys", path("ring")}, {"keys", "new", "--keys", path("ring")},
	} {
		if out, err := asSomebody(args...); err != nil {
			t.Errorf("linkctl %q as the owner: %v: %s", args, err, out)
		}
	}
}

// What a writer of rules leaves that is killed the next one takes away.
func TestBlockKilled(t *testing.T) {
	testsize.Medium(t)
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	rules := "file:" + filepath.Join(folder, "rules.jsonl")
	c := exec.Command(strace, "-f", "-o", filepath.Join(t.TempDir(), "trace"), "-e", "trace=fsync", "-e", "inject=fsync:signal=KILL",
		executable, "block", "--blocklist", rules, "host:evil.example")
	c.Env = append(os.Environ(), beTool+"=1")
	if out, err := c.CombinedOutput(); err == nil || strings.Contains(string(out), "ptrace") {
		t.Skipf("strace may not kill: %v, %s", err, out)
	}
	left := func() (names []string) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
	if got := left(); !slices.Equal(got, []string{".linktracker-0.tmp", "rules.jsonl.lock"}) {
		t.Fatalf("killed, it left %q", got)
	}
	// It warns that the file was not there.
	if got := newBench(t).run("", "block", "--blocklist", rules, "host:evil.example"); got.code != exitYes {
		t.Fatalf("the next: %+v", got)
	}
	if got := left(); !slices.Equal(got, []string{"rules.jsonl", "rules.jsonl.lock"}) {
		t.Errorf("after the next: %q", got)
	}
}

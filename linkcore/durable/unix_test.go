//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process of its own does what DURABLE_DO says, for tests that trace it, kill it
// or run it as somebody else.
func TestMain(m *testing.M) {
	path := os.Getenv("DURABLE_PATH")
	var err error
	switch os.Getenv("DURABLE_DO") {
	case "":
		os.Exit(m.Run())
	case "create":
		err = CreateFile(path, []byte("secret"), 0o600)
	case "write":
		err = WriteFile(path, []byte("new"), 0o600)
	case "mkdir":
		err = Mkdir(path, 0o700)
	case "read":
		_, err = os.ReadFile(path)
	case "lock":
		_, err = Lock(context.Background(), path)
	case "stop": // in the middle of writing
		if stopped, err = prepare(path, 0o600); err == nil {
			fmt.Println("writing")
			os.Stdin.Read(make([]byte, 1)) // until it is killed
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var stopped *pending // a file that nobody refers to is closed

func command(t *testing.T, do, path string, before ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(before, self)
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), "DURABLE_DO="+do, "DURABLE_PATH="+path)
	return c
}

// What the kernel is asked for, in order.
func TestSystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(fsync|rename|link|mkdir)[a-z0-9]*\((?:AT_FDCWD[^,]*, |\d+<([^>]*)>)?(?:"([^"]*)")?`)
	for _, test := range []struct {
		do, name string
		want     []string
	}{
		{"create", "key", []string{"fsync .linktracker-0.tmp", "link .linktracker-0.tmp", "fsync ."}},
		{"write", "key", []string{"fsync .linktracker-0.tmp", "rename .linktracker-0.tmp", "fsync ."}},
		{"mkdir", "ring", []string{"mkdir ring", "fsync ."}},
	} {
		trace := filepath.Join(t.TempDir(), "trace")
		c := command(t, test.do, filepath.Join(folder, test.name), strace, "-f", "-y", "-o", trace, "-e", "trace=/^(fsync|rename|link|mkdir)")
		if out, err := c.CombinedOutput(); err != nil {
			if strings.Contains(string(out), "ptrace") {
				t.Skipf("strace may not trace: %s", out)
			}
			t.Fatalf("%s: %v: %s", test.do, err, out)
		}
		var got []string
		for line := range strings.Lines(read(t, trace)) {
			if m := call.FindStringSubmatch(line); m != nil {
				if name, err := filepath.Rel(folder, m[2]+m[3]); err == nil && !strings.HasPrefix(name, "..") {
					got = append(got, m[1]+" "+name)
				}
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q in\n%s", test.do, got, test.want, read(t, trace))
		}
	}
}

// What a killed writer left the next one removes, whatever it writes in the folder;
// what belongs to a living one stays.
func TestLeftover(t *testing.T) {
	folder := t.TempDir()
	start := func() *exec.Cmd {
		t.Helper()
		c := command(t, "stop", filepath.Join(folder, "file"))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		if _, err := out.Read(make([]byte, 7)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	living, dying := start(), start()
	if got := names(t, folder); !slices.Equal(got, []string{".linktracker-0.tmp", ".linktracker-1.tmp"}) {
		t.Fatalf("two writers have %q", got)
	}
	dying.Process.Kill()
	dying.Wait()
	if err := CreateFile(filepath.Join(folder, "another"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(t, folder); !slices.Equal(got, []string{".linktracker-0.tmp", "another"}) {
		t.Errorf("after one was killed: %q", got)
	}
	living.Process.Kill()
	living.Wait()
	// What only has such a name stays.
	if err := os.Mkdir(filepath.Join(folder, ".linktracker-3.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("another", filepath.Join(folder, ".linktracker-4.tmp")); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(t, folder); !slices.Equal(got, []string{".linktracker-3.tmp", ".linktracker-4.tmp", "another", "file"}) {
		t.Errorf("after both were: %q", got)
	}
}

const somebody = 1000

// needRoot also makes a folder that somebody else can use.
func needRoot(t *testing.T) (folder string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root writes the files of others")
	}
	folder, err := os.MkdirTemp("", "durable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Chown(folder, somebody, somebody); err != nil {
		t.Skip(err)
	}
	return folder
}

// asSomebody does something as a user who is not root.
func asSomebody(t *testing.T, do, path string) (string, error) {
	t.Helper()
	// The test's own folder is root's alone.
	self := filepath.Join(filepath.Dir(path), "self.test")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(executable); err != nil || os.WriteFile(self, content, 0o755) != nil {
		t.Fatal(err)
	}
	defer os.Remove(self)
	c := command(t, do, path)
	c.Path, c.Args[0], c.Dir = self, self, filepath.Dir(path)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	out, err := c.CombinedOutput()
	return string(out), err
}

func owner(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %v", s.Uid, s.Gid, info.Mode())
}

// Root who writes a file leaves it, and what is new, to its owner.
func TestOwner(t *testing.T) {
	folder := needRoot(t)
	path := func(name string) string { return filepath.Join(folder, name) }
	if err := errors.Join(os.WriteFile(path("rules"), nil, 0o600), os.Chown(path("rules"), somebody, 2000), os.Chmod(path("rules"), 0o640)); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(t.Context(), path("rules"))
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := errors.Join(WriteFile(path("rules"), []byte("x"), 0o600), Mkdir(path("ring"), 0o700), CreateFile(path("ring/1"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"rules": "1000:2000 -rw-r-----", "rules.lock": "1000:2000 -rw-r-----",
		"ring": "1000:1000 drwx------", "ring/1": "1000:1000 -rw-------",
	} {
		if got := owner(t, path(name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for do, name := range map[string]string{"read": "rules", "lock": "rules"} {
		if out, err := asSomebody(t, do, path(name)); err != nil {
			t.Errorf("%s of %s as its owner: %v: %s", do, name, err, out)
		}
	}

	// A lock that is root's can be taken; the owner of a folder gets nothing that
	// he led root to.
	if err := errors.Join(os.Chown(path("rules.lock"), 0, 0), os.Chmod(path("rules.lock"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := asSomebody(t, "lock", path("rules")); err != nil {
		t.Errorf("root's lock: %v: %s", err, out)
	}
	if err := errors.Join(os.Remove(path("rules.lock")), os.Symlink(path("target"), path("rules.lock"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), path("rules")); err == nil {
		t.Error("a lock is made where a symbolic link leads")
	}
	if _, err := os.Lstat(path("target")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link's target: %v", err)
	}
}

// Who may not keep the owner changes nothing, and says why.
func TestOwnerRefused(t *testing.T) {
	folder := needRoot(t)
	path := filepath.Join(folder, "rules")
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o666), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	out, err := asSomebody(t, "write", path)
	if err == nil || !strings.Contains(out, path+" belongs to user 0 and group 0, which this user may not give to the new file: run it as that user, as with sudo -u '#0'") {
		t.Errorf("%v: %s", err, out)
	}
	if read(t, path) != "old" || !slices.Equal(names(t, folder), []string{"rules"}) {
		t.Errorf("became %q beside %q", read(t, path), names(t, folder))
	}
	if out, err := asSomebody(t, "lock", path); err == nil || !strings.Contains(out, "belongs to user 0") || !slices.Equal(names(t, folder), []string{"rules"}) {
		t.Errorf("the lock: %v: %s; %q", err, out, names(t, folder))
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that is held was given: %v", err)
	}
	unlock()
	if unlock, err = Lock(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	unlock()
}

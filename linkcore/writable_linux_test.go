package linkcore

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/linktracker/linkcore/testsize"
)

// openLogged opens a key ring and returns what it logs.
func openLogged(t *testing.T, directory string) string {
	t.Helper()
	var log bytes.Buffer
	if _, err := OpenKeyRing(directory, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	return log.String()
}

func TestKeyRingOthersCanWriteTo(t *testing.T) {
	for _, c := range []struct {
		directory, file os.FileMode
		warns           string // the paths below the folder, "." for itself
	}{
		{0o700, 0o600, ""},
		{0o755, 0o644, ""},
		{0o775, 0o600, "."},
		{0o777, 0o600, "."},
		{os.ModeSticky | 0o777, 0o600, "."},
		{0o700, 0o620, "1"},
		{0o700, 0o602, "1"},
		{0o770, 0o666, ". 1"},
	} {
		directory := filepath.Join(t.TempDir(), "keys")
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		writeKey(t, directory, "1", base64.StdEncoding.EncodeToString(secretA))
		for path, mode := range map[string]os.FileMode{directory: c.directory, filepath.Join(directory, "1"): c.file} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		log := openLogged(t, directory)
		want := strings.Fields(c.warns)
		if strings.Count(log, "level=WARN") != len(want) {
			t.Errorf("%v, %v: %s", c.directory, c.file, log)
		}
		for _, name := range want {
			if path := filepath.Join(directory, name); !strings.Contains(log, "chmod go-w "+path+"\"") {
				t.Errorf("%v, %v: nothing about %s in %s", c.directory, c.file, path, log)
			}
		}
	}
}

// A mounted secret is open by its mode, and nobody can write to it.
func TestKeyRingOnReadOnlyMount(t *testing.T) {
	testsize.Medium(t)
	if directory := os.Getenv("LINKCORE_TEST_MOUNT"); directory != "" {
		if err := syscall.Mount("keys", directory, "tmpfs", 0, "mode=1777"); err != nil {
			t.Skip("cannot mount: ", err)
		}
		writeKey(t, directory, "1", base64.StdEncoding.EncodeToString(secretA))
		if log := openLogged(t, directory); !strings.Contains(log, "level=WARN") {
			t.Errorf("no warning while it can be written to: %s", log)
		}
		if err := syscall.Mount("keys", directory, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "mode=1777"); err != nil {
			t.Fatal(err)
		}
		if log := openLogged(t, directory); log != "" {
			t.Errorf("read-only: %s", log)
		}
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-test.run=^TestKeyRingOnReadOnlyMount$", "-test.v")
	command.Env = append(os.Environ(), "LINKCORE_TEST_MOUNT="+t.TempDir())
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := command.CombinedOutput()
	if strings.Contains(string(out), "--- SKIP") || err != nil && len(out) == 0 {
		t.Skipf("a mount of one's own is not possible here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

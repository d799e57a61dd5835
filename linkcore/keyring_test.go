package linkcore

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	secretA = bytes.Repeat([]byte{0xFB}, 32)
	secretB = bytes.Repeat([]byte{0xFE}, 33)
)

func writeKey(t *testing.T, directory, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenKeyRing(t *testing.T) {
	std, url := base64.StdEncoding.EncodeToString(secretA), base64.RawURLEncoding.EncodeToString(secretB)
	for _, c := range []struct {
		name, file, content, problem string
	}{
		{"standard alphabet, padded", "1", std, ""},
		{"not padded", "1", strings.TrimRight(std, "="), ""},
		{"URL alphabet", "2026a", url, ""},
		{"white space around", "1", "\r\n\t " + std + " \n", ""},
		{"long", "1", base64.StdEncoding.EncodeToString(make([]byte, 1000)), ""},
		{"empty", "1", "", "empty"},
		{"white space only", "1", " \n", "empty"},
		{"short", "1", base64.StdEncoding.EncodeToString(secretA[:31]), "31 bytes"},
		{"not base64", "1", "correct horse battery staple correct horse battery staple", "not base64"},
		{"both alphabets", "1", "+_" + std[2:], "not base64"},
		{"two lines", "1", std[:20] + "\n" + std[20:], "one line"},
		{"wrong padding", "1", std + "=", "padding"},
		{"too long", "1", strings.Repeat("A", 65<<10), "64 KiB"},
		{"upper-case name", "Key", std, "not a key id"},
		{"name of 17 characters", "aaaaaaaaaaaaaaaaa", std, "not a key id"},
		{"name with a dot", "a.txt", std, "not a key id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			directory := t.TempDir()
			writeKey(t, directory, c.file, c.content)
			_, err := OpenKeyRing(directory, nil)
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Fatalf("alone: %v, want %q", err, c.problem)
			}
			if err != nil && len(c.content) > 10 && strings.Contains(err.Error(), strings.TrimSpace(c.content)[:8]) {
				t.Errorf("the error quotes the secret: %v", err)
			}
			writeKey(t, directory, "good", std)
			writeKey(t, directory, ".hidden", "nonsense")
			var log bytes.Buffer
			ring, err := OpenKeyRing(directory, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			if c.problem == "" {
				if ids := ring.IDs(); len(ids) != 2 || ring.Failures() != 0 {
					t.Errorf("loaded %v with %d failures", ids, ring.Failures())
				}
				return
			}
			if ids := ring.IDs(); len(ids) != 1 || ids[0] != "good" || ring.Failures() != 1 {
				t.Errorf("loaded %v with %d failures", ids, ring.Failures())
			}
			if !strings.Contains(ring.Problems()[c.file], c.problem) || !strings.Contains(log.String(), c.problem) {
				t.Errorf("problems %v, log %s", ring.Problems(), log.String())
			}
		})
	}
}

// Pipes and folders in the directory must not stop the start, let alone hang it.
func TestOpenKeyRingOddFiles(t *testing.T) {
	directory := t.TempDir()
	writeKey(t, directory, "1", base64.StdEncoding.EncodeToString(secretA))
	if err := os.Mkdir(filepath.Join(directory, "2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(directory, "3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(directory, "4")); err != nil {
		t.Fatal(err)
	}
	// A secret volume's files are links into a folder whose name begins with dots.
	if err := os.Mkdir(filepath.Join(directory, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeKey(t, directory, "..data/5", base64.StdEncoding.EncodeToString(secretB))
	if err := os.Symlink("..data/5", filepath.Join(directory, "5")); err != nil {
		t.Fatal(err)
	}
	ring, err := OpenKeyRing(directory, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ring.IDs(), " "); got != "1 5" || len(ring.Problems()) != 3 {
		t.Errorf("keys %s, problems %v", got, ring.Problems())
	}
	if _, err := OpenKeyRing(filepath.Join(directory, "missing"), nil); err == nil {
		t.Error("a missing directory opens")
	}
}

func TestKeyRingRefresh(t *testing.T) {
	directory := t.TempDir()
	writeKey(t, directory, "1", base64.StdEncoding.EncodeToString(secretA))
	ring, err := OpenKeyRing(directory, nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	tracked, err := signer.Sign(Fields{}, "https://example.com/", Options{})
	if err != nil {
		t.Fatal(err)
	}
	verifies := func() bool {
		_, err := ring.Verify("links.example.com", strings.TrimPrefix(tracked.URL, "https://links.example.com"))
		return err == nil
	}
	step := func(name string, wantIDs string, wantError bool, wantVerifies bool) {
		t.Helper()
		if err := ring.Refresh(); (err != nil) != wantError {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(ring.IDs(), " "); got != wantIDs || verifies() != wantVerifies {
			t.Errorf("%s: keys %s, old link verifies: %v", name, got, verifies())
		}
	}
	writeKey(t, directory, "2", base64.StdEncoding.EncodeToString(secretB))
	step("a key is added", "1 2", false, true)
	if _, err := ring.Signer("https://links.example.com", ""); err == nil {
		t.Error("with two keys, a signer was made without naming one")
	}
	writeKey(t, directory, "1", "overwritten")
	step("a loaded key is not read again", "1 2", false, true)
	os.Remove(filepath.Join(directory, "1"))
	step("a key is dropped", "2", false, false)
	os.Remove(filepath.Join(directory, "2"))
	step("the last key stays", "2", true, false)
	os.RemoveAll(directory)
	step("the directory is gone", "2", true, false)
	if ring.Failures() != 2 {
		t.Errorf("%d failures", ring.Failures())
	}
}

func TestKeyRingRefreshIfDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		writeKey(t, directory, "1", base64.StdEncoding.EncodeToString(secretA))
		ring, err := OpenKeyRing(directory, nil)
		if err != nil {
			t.Fatal(err)
		}
		writeKey(t, directory, "2", base64.StdEncoding.EncodeToString(secretB))
		time.Sleep(59 * time.Second)
		if ring.RefreshIfDue() != nil {
			t.Error("refreshed before a minute has passed")
		}
		time.Sleep(time.Second)
		done := ring.RefreshIfDue()
		if done == nil {
			t.Fatal("not refreshed after a minute")
		}
		<-done
		if len(ring.IDs()) != 2 {
			t.Errorf("keys %v", ring.IDs())
		}
		synctest.Wait()
		if ring.RefreshIfDue() != nil {
			t.Error("refreshed twice")
		}

		// All who ask while a refresh is in flight may wait for it.
		time.Sleep(time.Minute)
		ring.mu.Lock()
		done = ring.RefreshIfDue()
		again := ring.RefreshIfDue()
		ring.mu.Unlock()
		<-done
		if again != done {
			t.Error("who asks while a refresh is in flight gets no channel to wait for it")
		}
	})
}

// Alerts stand on these lines: each is written once, at its level.
func TestKeyRingLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		writeKey(t, directory, "1", base64.StdEncoding.EncodeToString(secretA))
		writeKey(t, directory, "2", "broken")
		var log bytes.Buffer
		ring, err := OpenKeyRing(directory, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == "error" {
					return slog.Attr{}
				}
				return a
			},
		})))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name     string
			change   func()
			listings int
			want     string
		}{
			{"opened", func() {}, 3, "level=ERROR msg=\"key skipped\" key_id=2\n"},
			{"a key is added", func() { writeKey(t, directory, "3", base64.StdEncoding.EncodeToString(secretB)) }, 3, "level=INFO msg=\"key loaded\" key_id=3\n"},
			{"a key is removed", func() { os.Remove(filepath.Join(directory, "1")) }, 3, "level=WARN msg=\"key dropped, its file is gone: its links are invalid from now on\" key_id=1\n"},
			{"the folder is removed", func() { os.RemoveAll(directory) }, 1, "level=ERROR msg=\"key ring not refreshed, the keys in use stay\"\n"},
		} {
			step.change()
			for range step.listings {
				time.Sleep(keyRingRefresh)
				<-ring.RefreshIfDue()
			}
			if got := log.String(); got != step.want {
				t.Errorf("%s: logged\n%swant\n%s", step.name, got, step.want)
			}
			log.Reset()
		}
	})
}

func TestNewKeyRing(t *testing.T) {
	for name, secrets := range map[string]map[string][]byte{
		"no secret":  {},
		"short":      {"1": secretA[:31]},
		"wrong name": {"A": secretA},
		"no name":    {"": secretA},
	} {
		if _, err := NewKeyRing(secrets); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ring, err := NewKeyRing(map[string][]byte{"1": secretA})
	if err != nil {
		t.Fatal(err)
	}
	if ring.RefreshIfDue() != nil || ring.Refresh() != nil {
		t.Error("a ring made of secrets has something to refresh")
	}
}

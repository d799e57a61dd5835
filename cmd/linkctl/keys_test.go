package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestKeysNew(t *testing.T) {
	b := newBench(t)
	ring := filepath.Join(t.TempDir(), "ring")
	path := func(name string) string { return filepath.Join(ring, name) }
	wrote := func(id string) string {
		return "wrote " + path(id) + "; give it to every endpoint before anything signs with it\n"
	}

	b.want(outcome{exitYes, "k1\n", wrote("k1")}, "", "keys", "new", "--keys", ring)
	b.want(outcome{exitYes, "k2\n", wrote("k2")}, "", "keys", "new", "--keys", ring)
	b.want(outcome{exitYes, "2026a\n", wrote("2026a")}, "", "keys", "new", "--keys", ring, "--id", "2026a")

	seen := map[string]bool{}
	for _, id := range []string{"k1", "k2", "2026a"} {
		info, err := os.Stat(path(id))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("key %s: %v, %v", id, info.Mode(), err)
		}
		content, _ := os.ReadFile(path(id))
		secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(content)))
		if err != nil || len(secret) != 32 || seen[string(secret)] {
			t.Errorf("key %s holds %d bytes, %v, seen: %v", id, len(secret), err, seen[string(secret)])
		}
		seen[string(secret)] = true
	}

	// Nothing is overwritten.
	before, _ := os.ReadFile(path("2026a"))
	b.want(outcome{exitNo, "", "linkctl: key 2026a exists: nothing was changed; choose another --id\n"},
		"", "keys", "new", "--keys", ring, "--id", "2026a")
	if after, _ := os.ReadFile(path("2026a")); string(after) != string(before) {
		t.Error("a key was overwritten")
	}

	// The number of a key that was taken out is not used again, and no number
	// that another one could be taken for.
	if err := os.Remove(path("k1")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path("007"), testSecret)
	writeFile(t, path(".99"), testSecret)
	b.want(outcome{exitYes, "k8\n", wrote("k8")}, "", "keys", "new", "--keys", ring)
	if err := os.Remove(path("k8")); err != nil {
		t.Fatal(err)
	}
	b.want(outcome{exitYes, "k9\n", wrote("k9")}, "", "keys", "new", "--keys", ring)
	b.want(outcome{exitYes, "20\n", wrote("20")}, "", "keys", "new", "--keys", ring, "--id", "20")
	if err := os.Remove(path("20")); err != nil {
		t.Fatal(err)
	}
	b.want(outcome{exitYes, "k21\n", wrote("k21")}, "", "keys", "new", "--keys", ring)
	b.want(outcome{exitYes, "k30\n", wrote("k30")}, "", "keys", "new", "--keys", ring, "--id", "k30")
	if err := os.Remove(path("k30")); err != nil {
		t.Fatal(err)
	}
	b.want(outcome{exitYes, "k31\n", wrote("k31")}, "", "keys", "new", "--keys", ring)
	// What an older version remembered.
	writeFile(t, path(".last"), "40\n")
	b.want(outcome{exitYes, "k41\n", wrote("k41")}, "", "keys", "new", "--keys", ring)
	writeFile(t, path(".last"), "x")
	b.want(outcome{exitNo, "", "linkctl: " + path(".last") + " holds no number: write into it the highest that a key of this ring ever had\n"},
		"", "keys", "new", "--keys", ring)
	if err := os.Remove(path(".last")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path("999999999999999"), testSecret)
	b.want(outcome{exitUsage, "", "linkctl: the key ring has no number left after 999999999999999: give --id (linkctl keys new --help explains)\n"},
		"", "keys", "new", "--keys", ring)

	got := b.run("", "keys", "new", "--keys", filepath.Join(ring, "k1", "deeper"))
	if got.code != exitNo || !strings.HasPrefix(got.stderr, "linkctl: make the key ring directory: ") {
		t.Errorf("a directory that cannot be made: %d %s", got.code, got.stderr)
	}
	got = b.run("", "keys", "new", "--keys", path("k2"))
	if got.code != exitNo || got.stderr != "linkctl: make the key ring directory: "+path("k2")+" is a file and not a folder\n" {
		t.Errorf("a directory that is a file: %d %s", got.code, got.stderr)
	}
}

// Whoever runs it at the same time gets another number.
func TestKeysNewAtOnce(t *testing.T) {
	ring := t.TempDir()
	var wg sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = makeKey(ring, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 20 {
		t.Errorf("20 keys have %d ids", n)
	}
}

func TestKeysNewPrint(t *testing.T) {
	b := newBench(t)
	first, second := b.succeed("", "keys", "new", "--print"), b.succeed("", "keys", "new", "--print")
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(first, "\n"))
	if err != nil || len(secret) != 32 || first == second {
		t.Errorf("%q, %q: %v", first, second, err)
	}
	if entries, _ := os.ReadDir(b.get("LINK_KEYS")); len(entries) != 1 {
		t.Errorf("the key ring has %d files", len(entries))
	}
}

func TestKeysList(t *testing.T) {
	b := newBench(t)
	ring := b.get("LINK_KEYS")
	path := func(name string) string { return filepath.Join(ring, name) }
	b.want(outcome{code: exitYes, stdout: "ID  FILE" + strings.Repeat(" ", len(path("1"))-4) + "  FINGERPRINT\n" +
		"1   " + path("1") + "  e1e090ee2d9d4f15\n"}, "", "keys", "list")

	writeFile(t, path("2"), "")
	writeFile(t, path("3"), "c2hvcnQ=")
	writeFile(t, path("4"), "!"+strings.TrimRight(testSecret, "="))
	// The same secret, written in the other alphabet, without padding.
	writeFile(t, path("copy"), strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(testSecret), "=")+"\r\n")
	writeFile(t, path("Upper"), testSecret)
	writeFile(t, path(".hidden"), "")
	got := b.run("", "keys", "list", "--json")
	want := `{"id":"1","file":"` + path("1") + `","fingerprint":"e1e090ee2d9d4f15"}
{"file":"` + path("2") + `","problem":"the file is empty: write the secret to it in base64"}
{"file":"` + path("3") + `","problem":"the secret has 5 bytes: 32 or more are needed, as ` + "`linkctl keys new`" + ` makes them"}
{"file":"` + path("4") + `","problem":"the secret is not base64"}
{"file":"` + path("Upper") + `","problem":"the file's name is not a key id, which is 1 to 16 characters of a-z and 0-9"}
{"id":"copy","file":"` + path("copy") + `","fingerprint":"e1e090ee2d9d4f15","problem":"it is the same secret as key 1"}
`
	if got.code != exitNo || got.stderr != "" || got.stdout != want {
		t.Errorf("exits with %d, %q\n got %s\nwant %s", got.code, got.stderr, got.stdout, want)
	}
	if got := b.run("", "keys", "list"); got.code != exitNo || strings.Count(got.stdout, "\n") != 7 {
		t.Errorf("exits with %d\n%s", got.code, got.stdout)
	}

	// The keys that load are good for signing all the same; the others are told.
	got = b.run("", "sign", "--signing-key", "1", "https://example.com")
	if got.code != exitYes || strings.Count(got.stdout, "\n") != 1 || strings.Count(got.stderr, "linkctl: warning: key file ") != 4 {
		t.Errorf("sign exits with %d, %s%s", got.code, got.stdout, got.stderr)
	}

	for dir, problem := range map[string]string{
		t.TempDir():                        "linkctl: no key in ",
		filepath.Join(t.TempDir(), "none"): "linkctl: list the key ring: open ",
	} {
		if got := b.run("", "keys", "list", "--keys", dir); got.code != exitNo || got.stdout != "" || !strings.HasPrefix(got.stderr, problem) {
			t.Errorf("exits with %d, %s%s", got.code, got.stdout, got.stderr)
		}
	}
}

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// names are those in a folder.
func names(t *testing.T, folder string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

// Syncs happen when they have to: of the contents while the old file is there, and
// of the folder when the new one is.
func TestOrder(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	var got []string
	defer func(old func(*os.File) error) { syncFile = old }(syncFile)
	syncFile = func(f *os.File) error {
		state := "nothing"
		if content, err := os.ReadFile(path); err == nil {
			state = string(content)
		} else if info, err := os.Stat(path); err == nil && info.IsDir() {
			state = "a folder"
		}
		what := "contents"
		if info, err := f.Stat(); err != nil {
			t.Error(err)
		} else if info.IsDir() {
			what = "folder"
		}
		got = append(got, what+" at "+state)
		return f.Sync()
	}
	for _, test := range []struct {
		name  string
		write func() error
		want  []string
	}{
		{"create", func() error { return CreateFile(path, []byte("one"), 0o600) }, []string{"contents at nothing", "folder at one"}},
		{"replace", func() error { return WriteFile(path, []byte("two"), 0o600) }, []string{"contents at one", "folder at two"}},
		{"write anew", func() error { os.Remove(path); return WriteFile(path, []byte("three"), 0o600) }, []string{"contents at nothing", "folder at three"}},
		{"make a folder", func() error { os.Remove(path); return Mkdir(path, 0o700) }, []string{"folder at a folder"}},
		{"make it again", func() error { return Mkdir(path, 0o700) }, []string{"folder at a folder"}},
	} {
		got = nil
		if err := test.write(); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: synced %q, want %q, %v", test.name, got, test.want, err)
		}
	}

	// A disk that does not take the contents leaves what was there.
	os.Remove(path)
	full := errors.New("no space left on device")
	for name, write := range map[string]func() error{
		"replace": func() error { return WriteFile(path, []byte("new"), 0o600) },
		"create":  func() error { return CreateFile(path+"2", []byte("new"), 0o600) },
	} {
		syncFile = (*os.File).Sync
		if err := WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		syncFile = func(*os.File) error { return full }
		if err := write(); !errors.Is(err, full) || read(t, path) != "old" || len(names(t, folder)) != 1 {
			t.Errorf("%s: %v, %q", name, err, names(t, folder))
		}
	}
}

func TestWriteFile(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	write := func(name, content string) {
		t.Helper()
		if err := WriteFile(path(name), []byte(content), 0o600); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	write("a", "1")
	if err := os.Chmod(path("a"), 0o664); err != nil {
		t.Fatal(err)
	}
	write("a", "2")
	if info, err := os.Stat(path("a")); err != nil || info.Mode() != 0o664 || read(t, path("a")) != "2" {
		t.Errorf("the mode became %v, %v", info.Mode(), err)
	}

	// Symbolic links stay, over several steps and to what is not there yet.
	if err := errors.Join(os.Mkdir(path("data"), 0o700), os.Symlink("data", path("..data")),
		os.Symlink("..data/rules", path("rules")), os.Symlink("missing", path("dangling")), os.Symlink("loop", path("loop"))); err != nil {
		t.Skip(err)
	}
	write("data/rules", "old")
	write("rules", "new")
	write("dangling", "made")
	if read(t, path("data/rules")) != "new" || read(t, path("missing")) != "made" {
		t.Error("a symbolic link leads elsewhere")
	}
	for _, name := range []string{"rules", "dangling"} {
		if info, err := os.Lstat(path(name)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s became %v, %v", name, info.Mode(), err)
		}
	}

	for name, want := range map[string]string{"loop": "too many symbolic links", "data": "is a directory: give the name of a file", "no/file": "does not exist: make it first", "a/b": "not a directory"} {
		for what, err := range map[string]error{"WriteFile": WriteFile(path(name), nil, 0o600), "CheckWrite": CheckWrite(path(name))} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %s", what, name, err, want)
			}
		}
	}
	before := names(t, folder)
	if err := errors.Join(CheckWrite(path("a")), CheckWrite(path("new"))); err != nil || !slices.Equal(names(t, folder), before) {
		t.Errorf("CheckWrite: %v, %q", err, names(t, folder))
	}
	if info, err := os.Stat(os.DevNull); err == nil && info.Mode()&fs.ModeCharDevice != 0 {
		if err := WriteFile(os.DevNull, []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
	}
}

func TestCreateFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "1")
	if err := CreateFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := CreateFile(path, []byte("other"), 0o600); !errors.Is(err, fs.ErrExist) || read(t, path) != "secret" {
		t.Errorf("again: %v", err)
	}
	if err := os.Symlink("nowhere", filepath.Join(folder, "link")); err == nil {
		if err := CreateFile(filepath.Join(folder, "link"), nil, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a symbolic link: %v", err)
		}
		os.Remove(filepath.Join(folder, "link"))
	}
	// Where files have one name.
	p, err := prepare(path+"2", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.createInPlace([]byte("secret"), 0o600); err != nil || read(t, path+"2") != "secret" {
		t.Error(err)
	}
	if err := p.createInPlace([]byte("other"), 0o600); !errors.Is(err, fs.ErrExist) || read(t, path+"2") != "secret" {
		t.Errorf("in place, again: %v", err)
	}
	p.close()
	if got := names(t, folder); !slices.Equal(got, []string{"1", "12"}) {
		t.Errorf("left %q", got)
	}
}

// Of many who make one file one does, and no writer disturbs another.
func TestAtOnce(t *testing.T) {
	folder := t.TempDir()
	var group sync.WaitGroup
	made := make(chan int, 100)
	for i := range 40 {
		group.Go(func() {
			if err := CreateFile(filepath.Join(folder, "one"), nil, 0o600); err == nil {
				made <- i
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			for range 10 {
				content := strings.Repeat("x", 1000)
				if err := WriteFile(filepath.Join(folder, "file"), []byte(content), 0o600); err != nil {
					t.Error(err)
				}
				if got := read(t, filepath.Join(folder, "file")); got != content {
					t.Errorf("half a file: %d bytes", len(got))
				}
			}
		})
	}
	group.Wait()
	if len(made) != 1 || !slices.Equal(names(t, folder), []string{"file", "one"}) {
		t.Errorf("made by %d; %q", len(made), names(t, folder))
	}
}

package linkcore_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore/testsize"
)

const module = "example.com/linktracker"

// rooms says what the packages of linkcore may import of each other, so that data
// goes one way: request, target, link, rules, answer, event, sink. A room for
// tests alone is not listed.
var rooms = map[string]string{
	"linkcore":                     "",
	"linkcore/advice":              "",
	"linkcore/durable":             "",
	"linkcore/lines":               "",
	"linkcore/environment":         "linkcore",
	"linkcore/event":               "linkcore",
	"linkcore/blocklist":           "linkcore",
	"linkcore/record":              "linkcore event",
	"linkcore/delivery":            "event lines",
	"linkcore/redirect":            "linkcore blocklist event record delivery",
	"linkcore/email":               "linkcore",
	"linkcore/event/file":          "event lines",
	"linkcore/event/pubsub":        "event advice",
	"linkcore/blocklist/file":      "linkcore blocklist durable lines",
	"linkcore/blocklist/firestore": "blocklist advice",
	"linkcore/endpoint":            "linkcore blocklist blocklist/file blocklist/firestore delivery environment event event/file event/pubsub lines record redirect",
}

// withoutGoogle are the rooms that drag no transport along.
var withoutGoogle = []string{"linkcore/event", "linkcore/blocklist", "linkcore/redirect", "linkcore/record", "linkcore/delivery", "linkcore/email"}

// backends are imported by linkcore/endpoint and by programs alone.
var backends = []string{"linkcore/event/file", "linkcore/event/pubsub", "linkcore/blocklist/file", "linkcore/blocklist/firestore"}

const mostOutside = 20 // packages outside of the standard library, golang.org/x and this module

type listedPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// look walks all folders with code, so that go test does not take a cached result
// for the test of changed code: it does not see what the go command reads.
func look(t *testing.T) {
	t.Helper()
	for _, folder := range []string{"..", ".", "../cmd"} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if folder == ".." && path != ".." && d.IsDir() {
				return fs.SkipDir
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// list returns what `go list` says of the packages of this module.
func list(t *testing.T) map[string]listedPackage {
	t.Helper()
	c := exec.Command("go", "list", "-json=ImportPath,Standard,Imports,Deps", "-deps", "./...")
	c.Dir = ".."
	output, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]listedPackage{}
	for d := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

func TestImports(t *testing.T) {
	testsize.Medium(t)
	look(t)
	packages := list(t)
	ours := func(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }
	outside := func(path string) bool {
		return !packages[path].Standard && !strings.HasPrefix(path, "golang.org/x/") && !strings.HasPrefix(path, module+"/") && path != module
	}

	for path, p := range packages {
		name, is := ours(path)
		if !is {
			continue
		}
		library := name == "linkcore" || strings.HasPrefix(name, "linkcore/")
		test := strings.HasSuffix(name, "test") || strings.HasPrefix(name, "linkcore/emulatortest/") || name == "linkcore/testsize"
		allowed, listed := rooms[name]
		if library && !test && !listed {
			t.Errorf("%s is in no row of the table", name)
		}
		for _, imported := range p.Imports {
			to, is := ours(imported)
			if !is {
				continue
			}
			if library && !test && !slices.Contains(strings.Fields(allowed), strings.TrimPrefix(to, "linkcore/")) {
				t.Errorf("%s imports %s", name, to)
			}
			if slices.Contains(backends, to) && name != "linkcore/endpoint" && !strings.HasPrefix(name, "cmd/") {
				t.Errorf("%s imports the backend %s: linkcore/endpoint and programs do", name, to)
			}
		}
	}

	for name := range rooms {
		p, ok := packages[module+"/"+name]
		if !ok {
			t.Errorf("there is no package %s", name)
			continue
		}
		var others []string
		for _, path := range p.Deps {
			if !outside(path) {
				continue
			}
			others = append(others, path)
			if slices.Contains(withoutGoogle, name) && (strings.HasPrefix(path, "cloud.google.com/") || strings.HasPrefix(path, "google.golang.org/")) {
				t.Errorf("%s depends on %s", name, path)
			}
		}
		if name == "linkcore" && len(others) > 0 || slices.Contains(withoutGoogle, name) && len(others) > mostOutside {
			t.Errorf("%s depends on %d packages of others: %q", name, len(others), others)
		}
	}
}

// TestProgramSizes holds how large a program becomes that uses a room: one that
// decodes an event, and one that embeds the handler with a sink of its own.
func TestProgramSizes(t *testing.T) {
	testsize.Medium(t)
	look(t)
	const most = 8_000_000 // bytes
	for _, name := range []string{"decode", "embed"} {
		program := filepath.Join(t.TempDir(), name)
		output, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/programs/"+name).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, output)
			continue
		}
		info, err := os.Stat(program)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", name, info.Size())
		if info.Size() > most {
			t.Errorf("%s has %d bytes, and may have %d", name, info.Size(), most)
		}
	}
}

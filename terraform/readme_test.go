package terraform_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	settings = regexp.MustCompile(`(?s)cat >>?terraform/\w+(?:\.auto)?\.tfvars <<END\n(.*?)\nEND\n`)
	setting  = regexp.MustCompile(`(?m)^(\w+) *=`)
	echoed   = regexp.MustCompile(`(?m)^echo "(\w+) *=`)
	read     = regexp.MustCompile(`terraform output (?:-raw |-json )?(\w+)|-chdir=terraform output (?:-raw |-json )?(\w+)`)
	linked   = regexp.MustCompile(`\]\(([a-z][\w./-]*)\)`)
	scripts  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	places   = regexp.MustCompile(`(?:\brm -\w+|--keys|--out-file)[ =](\S+)`)
	folder   = regexp.MustCompile(`^"\$(\w+)(?:/\w+)?"$`)
	made     = regexp.MustCompile(`make ([a-z][a-z-]+)\b`)
)

// TestREADME holds the README to what there is: variables, outputs, files and
// make's commands.
func TestREADME(t *testing.T) {
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)

	variables := declared(t, "variable")
	found := 0
	for _, block := range settings.FindAllStringSubmatch(text, -1) {
		for _, m := range setting.FindAllStringSubmatch(block[1], -1) {
			found++
			if !variables[m[1]] {
				t.Errorf("the README sets %s, which is not a variable", m[1])
			}
		}
	}
	for _, m := range echoed.FindAllStringSubmatch(text, -1) {
		if !variables[m[1]] {
			t.Errorf("the README sets %s, which is not a variable", m[1])
		}
	}
	if found < 10 {
		t.Errorf("only %d settings found in the README", found)
	}

	outputs := declared(t, "output")
	for _, m := range read.FindAllStringSubmatch(text, -1) {
		if name := m[1] + m[2]; !outputs[name] {
			t.Errorf("the README reads %s, which is not an output", name)
		}
	}
	for _, m := range linked.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("the README links to %s: %v", m[1], err)
		}
	}

	makefiles := ""
	for _, path := range []string{"../Makefile", "deploy.mk"} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		makefiles += string(content)
	}
	for _, m := range made.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(makefiles, "\n"+m[1]+":") && strings.Contains(text, "make "+m[1]+"`") {
			t.Errorf("the README says make %s, which is not a command", m[1])
		}
	}
}

// TestREADMELeavesFoldersAlone has every file that either README makes or removes in a
// folder that it made itself: one called keys may be the reader's key ring.
func TestREADMELeavesFoldersAlone(t *testing.T) {
	var content []byte
	for _, path := range []string{"README.md", "../README.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, text...)
	}
	found := 0
	for _, script := range scripts.FindAllStringSubmatch(string(content), -1) {
		for _, place := range places.FindAllStringSubmatch(script[1], -1) {
			found++
			if m := folder.FindStringSubmatch(place[1]); m == nil || !strings.Contains(script[1], m[1]+"=$(mktemp -d)\n") {
				t.Errorf("%s: no folder that was made by mktemp -d", place[0])
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d places found in the READMEs", found)
	}
}

// TestUpload lists what gcloud would send to the build, and builds it.
func TestUpload(t *testing.T) {
	slow(t)
	if _, err := exec.LookPath("gcloud"); err != nil {
		t.Skip("gcloud is missing")
	}
	list := exec.Command("gcloud", "meta", "list-files-for-upload", ".")
	list.Dir = ".."
	list.Env = append(os.Environ(), "CLOUDSDK_CONFIG="+t.TempDir())
	output, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := regexp.MustCompile(`^(go\.(mod|sum)|function\.go|(linkcore|cmd/internal/(version|watch)|cmd/(linkconsent|linktracker|linkwatch))/.*\.(go|html|ico|json|tsv|txt))$`)
	folder := t.TempDir()
	for _, file := range strings.Fields(string(output)) {
		if !needed.MatchString(file) || strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s is sent to the build", file)
		}
		content, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(folder, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", t.TempDir(), "./...")
	build.Dir = folder
	if output, err := build.CombinedOutput(); err != nil {
		t.Errorf("what is sent does not compile: %v\n%s", err, output)
	}
}

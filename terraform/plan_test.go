// Package terraform_test reads what Terraform plans and makes, and compares it
// with what the Go code expects and with the list of who may do what.
//
// Nothing here needs an account: terraform/check runs one file of tests/ and
// prints its plans and states as JSON, with the providers that it finds. That
// takes minutes, so these tests are skipped unless REQUIRE_TERRAFORM=1 is set,
// as `make terraform-check` does.
package terraform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A resource is one that a run plans or has applied.
type resource struct {
	Address string
	Mode    string
	Type    string
	Name    string
	Index   any
	Values  map[string]any // what a plan does not know is absent
}

// block returns the only block of that name.
func (r resource) block(t *testing.T, name string) map[string]any {
	t.Helper()
	return only(t, r.Address, r.Values, name)
}

func only(t *testing.T, address string, values map[string]any, name string) map[string]any {
	t.Helper()
	blocks, _ := values[name].([]any)
	if len(blocks) != 1 {
		t.Fatalf("%s has %d blocks %s, want one", address, len(blocks), name)
	}
	return blocks[0].(map[string]any)
}

// blocks returns all blocks of that name.
func blocks(values map[string]any, name string) []map[string]any {
	list, _ := values[name].([]any)
	var all []map[string]any
	for _, b := range list {
		all = append(all, b.(map[string]any))
	}
	return all
}

// text returns a string value, or "".
func text(values map[string]any, name string) string {
	s, _ := values[name].(string)
	return s
}

// slow skips a test that runs Terraform, unless that is asked for.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("REQUIRE_TERRAFORM") != "1" {
		t.Skip("this takes minutes: make terraform-check does it")
	}
}

// run executes one file of tests/ and returns the resources by the name of the
// file's run.
func run(t *testing.T, file string) map[string][]resource {
	t.Helper()
	slow(t)
	readAll(t)

	command := exec.Command("./check", "json", filepath.Join("tests", file))
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	runs, diagnostics, parseErr := parse(stdout)
	io.Copy(io.Discard, stdout)
	if err := command.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", file, err, diagnostics, stderr.String())
	}
	if parseErr != nil {
		t.Fatalf("%s: %v", file, parseErr)
	}
	return runs
}

// readAll opens every file that Terraform reads, so that go test does not take a
// cached result for the test of changed ones.
func readAll(t *testing.T) {
	t.Helper()
	for path, content := range configuration(t) {
		if len(content) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
}

// configuration returns all files but Terraform's own and the user's state.
func configuration(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".terraform" {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") || strings.Contains(d.Name(), ".tfstate") || strings.Contains(d.Name(), ".tfvars") {
			return nil
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A module is one in a state.
type module struct {
	Resources []struct {
		resource
		Values map[string]any
	}
	ChildModules []module `json:"child_modules"`
}

func (m module) all() []resource {
	var all []resource
	for _, r := range m.Resources {
		r.resource.Values = r.Values
		all = append(all, r.resource)
	}
	for _, child := range m.ChildModules {
		all = append(all, child.all()...)
	}
	return all
}

// parse reads what `terraform test -json -verbose` prints.
func parse(r io.Reader) (runs map[string][]resource, diagnostics string, err error) {
	runs = map[string][]resource{}
	for decoder := json.NewDecoder(r); ; {
		var line struct {
			Run  string `json:"@testrun"`
			Plan *struct {
				Changes []struct {
					resource
					Change struct{ After map[string]any }
				} `json:"resource_changes"`
			} `json:"test_plan"`
			State *struct {
				Root module `json:"root_module"`
			} `json:"test_state"`
			Diagnostic *struct{ Severity, Summary, Detail string }
		}
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return runs, diagnostics, nil
		} else if err != nil {
			return runs, diagnostics, err
		}
		switch {
		case line.Plan != nil:
			for _, change := range line.Plan.Changes {
				change.resource.Values = change.Change.After
				runs[line.Run] = append(runs[line.Run], change.resource)
			}
		case line.State != nil:
			runs[line.Run] = line.State.Root.all()
		case line.Diagnostic != nil:
			diagnostics += fmt.Sprintf("%s: %s: %s\n", line.Diagnostic.Severity, line.Diagnostic.Summary, line.Diagnostic.Detail)
		}
	}
}

// of returns the managed resources of a type.
func of(resources []resource, kind string) []resource {
	return slices.DeleteFunc(slices.Clone(resources), func(r resource) bool {
		return r.Mode != "managed" || r.Type != kind
	})
}

// named returns the only managed resource of that type and name.
func named(t *testing.T, resources []resource, kind, name string) resource {
	t.Helper()
	found := slices.DeleteFunc(of(resources, kind), func(r resource) bool { return r.Name != name })
	if len(found) != 1 {
		t.Fatalf("%d resources %s.%s, want one", len(found), kind, name)
	}
	return found[0]
}

var declaration = regexp.MustCompile(`(?m)^(resource|variable|output)\s+"(\w+)"(?:\s+"(\w+)")?`)

// declared returns what the root module's files declare: resources as
// TYPE.NAME, those of modules too, variables and outputs by name.
func declared(t *testing.T, what string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for path, content := range configuration(t) {
		module := what == "resource" && strings.HasPrefix(path, "modules/")
		if filepath.Dir(path) != "." && !module || filepath.Ext(path) != ".tf" {
			continue
		}
		for _, m := range declaration.FindAllStringSubmatch(content, -1) {
			if m[1] == what {
				names[strings.TrimSuffix(m[2]+"."+m[3], ".")] = true
			}
		}
	}
	return names
}

package terraform_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An installation is a copy of the module that is applied to a state on disk,
// which terraform test cannot show: in which order things happen, what a plan
// and a state hold as files, and what Terraform does after somebody else's
// change. It needs providers that ask nobody.
type installation struct {
	t      *testing.T
	folder string
	env    []string
}

func install(t *testing.T) *installation {
	t.Helper()
	slow(t)
	const offline = "../../shared/terraform-offline/install"
	if _, err := os.Stat(offline); err != nil {
		t.Skip("applying needs providers that ask nobody")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Fatal(err)
	}
	env, err := exec.Command("bash", "-c", `settings=$("$0") && eval "$settings" && env`, offline).Output()
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{t, t.TempDir(), []string{"TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1"}}
	for _, line := range strings.Split(string(env), "\n") {
		name, _, _ := strings.Cut(line, "=")
		if name != "TF_WORKSPACE" && name != "TF_DATA_DIR" && !strings.HasPrefix(name, "TF_VAR_") && !strings.HasPrefix(name, "TF_CLI_ARGS") {
			i.env = append(i.env, line)
		}
	}
	for path, content := range configuration(t) {
		module := strings.HasPrefix(path, "modules/")
		if filepath.Dir(path) != "." && !module || strings.HasSuffix(path, ".go") {
			continue
		}
		if module {
			if err := os.MkdirAll(filepath.Join(i.folder, filepath.Dir(path)), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if path == "keys.tf" {
			// These providers number nothing; tests/keys.tftest.hcl has this.
			const guard = "self.version == each.key"
			if !strings.Contains(content, guard) {
				t.Fatalf("%s does not hold %q", path, guard)
			}
			content = strings.Replace(content, guard, `self.version != ""`, 1)
		}
		write(t, filepath.Join(i.folder, path), 0o700, content)
	}
	i.terraform("init", "-backend=false", "-input=false")
	return i
}

// terraform runs one command, which must succeed.
func (i *installation) terraform(arguments ...string) []byte {
	i.t.Helper()
	output, err := i.try(arguments...)
	if err != nil {
		i.t.Fatalf("terraform %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

func (i *installation) try(arguments ...string) ([]byte, error) {
	command := exec.Command("terraform", arguments...)
	command.Dir = i.folder
	command.Env = i.env
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	return append(output, stderr.Bytes()...), err
}

// variables are given in full each time, as a file of them would.
type variables map[string]any

func with(v variables, name string, value any) variables {
	v = maps.Clone(v)
	v[name] = value
	return v
}

func (i *installation) set(v variables) {
	i.t.Helper()
	all := variables{
		"project_id":         "links-prod",
		"regions":            []string{"europe-west1", "us-east1"},
		"domains":            []string{},
		"accept_service_url": true,
	}
	maps.Copy(all, v)
	content, err := json.Marshal(all)
	if err != nil {
		i.t.Fatal(err)
	}
	write(i.t, filepath.Join(i.folder, "terraform.tfvars.json"), 0o600, string(content))
}

// A change is one that a plan holds.
type change struct {
	Address string
	Type    string
	Change  struct {
		Actions       []string
		Before, After map[string]any
	}
}

// plan returns the changes of resources with those variables.
func (i *installation) plan(v variables) []change {
	i.t.Helper()
	i.set(v)
	i.terraform("plan", "-input=false", "-no-color", "-out=tfplan")
	var plan struct {
		Changes []change `json:"resource_changes"`
	}
	if err := json.Unmarshal(i.terraform("show", "-json", "tfplan"), &plan); err != nil {
		i.t.Fatal(err)
	}
	return slices.DeleteFunc(plan.Changes, func(c change) bool {
		return slices.Contains([]string{"no-op", "read"}, c.Change.Actions[0])
	})
}

// apply applies the last plan and returns what was begun and ended, in order, as
// "apply_complete google_x.y".
func (i *installation) apply() (events []string) {
	i.t.Helper()
	i.noKey()
	for decoder := json.NewDecoder(bytes.NewReader(i.terraform("apply", "-json", "tfplan"))); ; {
		var line struct {
			Type string
			Hook struct{ Resource struct{ Addr string } }
		}
		if err := decoder.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			i.t.Fatal(err)
		}
		if line.Hook.Resource.Addr != "" {
			events = append(events, line.Type+" "+line.Hook.Resource.Addr)
		}
	}
	i.noKey()
	return events
}

// aKey is 32 bytes in base64.
var aKey = regexp.MustCompile(`[A-Za-z0-9+/_-]{43}=`)

// noKey looks for a key in the saved plan, in it as JSON, and in the state.
func (i *installation) noKey() {
	i.t.Helper()
	files := map[string][]byte{"terraform show -json tfplan": i.terraform("show", "-json", "tfplan")}
	plan, err := zip.OpenReader(filepath.Join(i.folder, "tfplan"))
	if err != nil {
		i.t.Fatal(err)
	}
	defer plan.Close()
	for _, file := range plan.File {
		if strings.HasPrefix(file.Name, "tfconfig/") || strings.HasPrefix(file.Name, ".terraform") {
			continue
		}
		r, err := file.Open()
		if err != nil {
			i.t.Fatal(err)
		}
		if files["tfplan:"+file.Name], err = io.ReadAll(r); err != nil {
			i.t.Fatal(err)
		}
	}
	if state, err := os.ReadFile(filepath.Join(i.folder, "terraform.tfstate")); err == nil {
		files["terraform.tfstate"] = state
	}
	for name, content := range files {
		if found := aKey.Find(content); found != nil {
			i.t.Errorf("%s holds what may be a key: %s", name, found)
		}
		if name == "terraform.tfstate" && bytes.Contains(content, []byte(`"random_bytes"`)) {
			i.t.Errorf("%s remembers random bytes", name)
		}
	}
}

// before fails unless the one event came before the other.
func before(t *testing.T, events []string, first, second string) {
	t.Helper()
	a, b := slices.Index(events, first), slices.Index(events, second)
	if a < 0 || b < 0 || a > b {
		t.Errorf("%q (%d) does not come before %q (%d) in\n%s", first, a, second, b, strings.Join(events, "\n"))
	}
}

// rotatePlan is what make rotate-plan prints.
func (i *installation) rotatePlan(plan string) string {
	i.t.Helper()
	command := exec.Command("make", "--no-print-directory", "-C", "..", "rotate-plan", "TERRAFORM_DIR="+i.folder, "PLAN="+plan)
	command.Env = i.env
	output, err := command.CombinedOutput()
	if err != nil {
		i.t.Fatalf("make rotate-plan: %v\n%s", err, output)
	}
	return string(output)
}

// TestLifecycle goes from nothing to a revoked key, a changed domain and a
// region that goes, in one state.
func TestLifecycle(t *testing.T) {
	i := install(t)
	settled := func(v variables) {
		t.Helper()
		if changes := i.plan(v); len(changes) > 0 {
			t.Errorf("after the apply the next plan still has %v", changes)
		}
	}

	// The rotation: what each apply does, and what is said of it before.
	for _, step := range []struct {
		variables variables
		plan      string // make rotate-plan PLAN=tfplan
		next      string // make rotate-plan afterwards
	}{
		{variables{}, "makes key 1", "set signing_version = 1 and apply"},
		{variables{"signing_version": 1}, "from no key to 1", "No rotation is under way"},
		{variables{"key_versions": 2, "signing_version": 1}, "makes key 2", "A rotation is under way"},
		{variables{"key_versions": 2, "signing_version": 2}, "from 1 to 2", "set key_versions = 3 and apply"},
		{variables{"key_versions": 2, "signing_version": 2, "bigquery": false}, "does nothing with the keys", "    1  verifies the links that it signed\n    2  signs"},
	} {
		i.plan(step.variables)
		if said := i.rotatePlan("tfplan"); !strings.Contains(said, step.plan) {
			t.Errorf("%v: of the plan it is said\n%s\nwithout %q", step.variables, said, step.plan)
		}
		i.apply()
		settled(step.variables)
		if said := i.rotatePlan(""); !strings.Contains(said, step.next) {
			t.Errorf("%v: after the apply it is said\n%s\nwithout %q", step.variables, said, step.next)
		}
	}

	// One apply unmounts first and disables after.
	revoked := variables{"key_versions": 2, "signing_version": 2, "revoked_versions": []int{1}}
	i.plan(revoked)
	if said := i.rotatePlan("tfplan"); !strings.Contains(said, "unmounts key 1 in every region and disables it after that") {
		t.Errorf("of the plan that revokes it is said\n%s", said)
	}
	events := i.apply()
	for _, region := range []string{"europe-west1", "us-east1"} {
		before(t, events, `apply_complete google_cloud_run_v2_service.endpoint["`+region+`"]`, `apply_start google_secret_manager_secret_version.key["1"]`)
	}
	settled(revoked)

	t.Run("deploy", func(t *testing.T) { i.deployed(t, revoked) })

	t.Run("filter", func(t *testing.T) { i.filter(t, revoked) })

	balanced := with(revoked, "domains", []string{"links.example.com", "go.example.org"})
	i.plan(balanced)
	i.apply()
	settled(balanced)
	t.Run("domains", func(t *testing.T) { i.domains(t, balanced) })

	// A region that goes leaves the balancer first.
	fewer := with(balanced, "regions", []string{"europe-west1"})
	i.plan(fewer)
	events = i.apply()
	before(t, events, `apply_complete google_compute_backend_service.endpoint["this"]`, `apply_start google_compute_region_network_endpoint_group.endpoint["us-east1"]`)
	before(t, events, `apply_complete google_compute_region_network_endpoint_group.endpoint["us-east1"]`, `apply_start google_cloud_run_v2_service.endpoint["us-east1"]`)
}

// deployed changes the state as a refresh does after gcloud run deploy, and
// looks at what Terraform would do about it.
func (i *installation) deployed(t *testing.T, v variables) {
	path := filepath.Join(i.folder, "terraform.tfstate")
	original, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer write(t, path, 0o600, string(original))
	edit := func(change func(service map[string]any)) {
		t.Helper()
		var state map[string]any
		if err := json.Unmarshal(original, &state); err != nil {
			t.Fatal(err)
		}
		for _, r := range state["resources"].([]any) {
			r := r.(map[string]any)
			if r["type"] == "google_cloud_run_v2_service" {
				for _, instance := range r["instances"].([]any) {
					change(instance.(map[string]any)["attributes"].(map[string]any))
				}
			}
		}
		content, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, 0o600, string(content))
	}
	template := func(service map[string]any) map[string]any {
		return service["template"].([]any)[0].(map[string]any)
	}
	container := func(service map[string]any) map[string]any {
		return template(service)["containers"].([]any)[0].(map[string]any)
	}
	const image = "europe-west1-docker.pkg.dev/links-prod/cloud-run-source-deploy/linktracker@sha256:aa"
	deploy := func(service map[string]any) {
		service["client"] = "gcloud"
		service["client_version"] = "528.0.0"
		service["build_config"] = []any{map[string]any{
			"name": "projects/42/locations/europe-west1/builds/1", "source_location": "gs://source/1.zip", "function_target": "Redirect",
			"image_uri": image, "base_image": "go126", "enable_automatic_updates": true, "worker_pool": nil,
			"environment_variables": nil, "service_account": "projects/links-prod/serviceAccounts/build",
		}}
		template(service)["labels"] = map[string]any{"client.knative.dev/nonce": "abc"}
		container(service)["image"] = image
		container(service)["base_image_uri"] = "europe-west1-docker.pkg.dev/serverless-runtimes/google-24/runtimes/go126"
		if service["name"] == "linktracker-consent" {
			service["default_uri_disabled"] = false
		}
	}

	edit(deploy)
	if changes := i.plan(v); len(changes) > 0 {
		t.Errorf("Terraform undoes a deploy: %v", changes)
	}

	// The next rotation keeps the image, and names no revision.
	edit(func(service map[string]any) {
		deploy(service)
		template(service)["revision"] = "linktracker-00007-abc"
	})
	seen := 0
	for _, c := range i.plan(with(v, "key_versions", 3)) {
		if !strings.HasPrefix(c.Address, "google_cloud_run_v2_service.endpoint") {
			continue
		}
		seen++
		if got := template(c.Change.After)["revision"]; got != nil {
			t.Errorf("%s: sends the revision's name %v", c.Address, got)
		}
		if got := container(c.Change.After)["image"]; got != image {
			t.Errorf("%s: goes back to the image %v", c.Address, got)
		}
	}
	if seen != 2 {
		t.Errorf("%d services get the new key, want 2", seen)
	}

	// Everything else that somebody changed by hand goes back.
	for name, change := range map[string]func(service map[string]any){
		"ingress":     func(service map[string]any) { service["ingress"] = "INGRESS_TRAFFIC_INTERNAL_ONLY" },
		"environment": func(service map[string]any) { container(service)["env"] = []any{} },
		"traffic": func(service map[string]any) {
			service["traffic"] = []any{map[string]any{"percent": 100, "revision": "linktracker-00007-abc", "tag": nil, "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"}}
		},
	} {
		edit(func(service map[string]any) {
			if service["name"] == "linktracker" {
				change(service)
			}
		})
		if changes := i.plan(v); len(changes) != 2 {
			t.Errorf("%s: %d changes, want one a service", name, len(changes))
		}
	}
}

// filter changes that of a push subscription. Google drops the rights to a
// subscription with it, so they are given again in the same apply.
func (i *installation) filter(t *testing.T, v variables) {
	push := func(filter string) variables {
		return with(v, "push_subscriptions", map[string]any{"scoring": map[string]any{"endpoint": "https://scoring.example.com", "filter": filter}})
	}
	i.plan(push(`attributes.event_type = "click"`))
	i.apply()
	var replaced []string
	for _, c := range i.plan(push(`attributes.event_type = "open"`)) {
		if len(c.Change.Actions) == 2 {
			replaced = append(replaced, c.Address)
		}
	}
	slices.Sort(replaced)
	want := []string{
		`google_pubsub_subscription.push["scoring"]`,
		`google_pubsub_subscription_iam_member.agent_dead_letter["push-scoring"]`,
		`terraform_data.delivering["push-scoring"]`,
	}
	if !slices.Equal(replaced, want) {
		t.Errorf("another filter replaces %v, want %v", replaced, want)
	}
}

// domains adds one, which touches no other, and takes one away, which is
// refused.
func (i *installation) domains(t *testing.T, v variables) {
	var created []string
	for _, c := range i.plan(with(v, "domains", []string{"links.example.com", "go.example.org", "click.example.net"})) {
		if strings.HasPrefix(c.Type, "google_monitoring_") {
			continue // watches the new domain
		}
		if !reflect.DeepEqual(c.Change.Actions, []string{"create"}) || !strings.Contains(c.Address, "click.example.net") {
			t.Errorf("adding a domain makes Terraform %s %s", c.Change.Actions, c.Address)
		}
		created = append(created, c.Type)
	}
	slices.Sort(created)
	if want := []string{"google_certificate_manager_certificate", "google_certificate_manager_certificate_map_entry", "google_certificate_manager_dns_authorization"}; !slices.Equal(created, want) {
		t.Errorf("adding a domain makes %v, want %v", created, want)
	}

	for _, rest := range [][]string{{"links.example.com"}, {}} {
		i.set(with(v, "domains", rest))
		if output, err := i.try("plan", "-input=false", "-no-color"); err == nil || !bytes.Contains(output, []byte("prevent_destroy")) {
			t.Errorf("with the domains %v: %v\n%s", rest, err, output)
		}
	}
}

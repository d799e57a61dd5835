package terraform_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/endpoint"
)

// An emergency is an installation whose regions answer as the test says: with a
// stand-in for gcloud that keeps services, versions and backends in files, and the
// rules in the Firestore emulator.
type emergency struct {
	t         *testing.T
	folder    string
	blocklist string
	linkctl   string
	seen      int // of the commands
}

var emergencyRegions = []string{"europe-west1", "us-east1", "asia-northeast1", "us-west1"}

func newEmergency(t *testing.T, linkctl string) *emergency {
	t.Helper()
	emulatortest.Firestore(t)
	e := &emergency{t: t, folder: t.TempDir(), linkctl: linkctl}
	e.blocklist = "firestore://" + emulatortest.Project(t) + "/linktracker-blocklist/blocklist"
	e.write("installation.json", `{"project": "links-prod", "service": "linktracker", "regions": "`+strings.Join(emergencyRegions, " ")+`", "blocklist": "`+e.blocklist+`"}`)
	e.write("secret.json", `{"versionAliases": {"signing": "4"}}`)
	e.write("version.json", `{"state": "ENABLED"}`)
	var groups []string
	for _, region := range emergencyRegions {
		e.service(region, "2", "3", "4")
		groups = append(groups, `{"group": "https://www.googleapis.com/compute/v1/projects/links-prod/regions/`+region+`/networkEndpointGroups/linktracker"}`)
	}
	e.write("backends.json", `{"backends": [`+strings.Join(groups, ",")+`]}`)
	write(t, filepath.Join(e.folder, "gcloud"), 0o700, emergencyGcloud)
	return e
}

func (e *emergency) write(name, content string) {
	e.t.Helper()
	write(e.t, filepath.Join(e.folder, name), 0o600, content)
}

func (e *emergency) service(region string, keys ...string) {
	e.t.Helper()
	var items []string
	for _, key := range keys {
		items = append(items, `{"key": "`+key+`", "path": "`+key+`"}`)
	}
	e.write(region+".json", `{"spec": {"template": {"spec": {"volumes": [{"name": "keys", "secret": {"secretName": "linktracker-keys", "items": [`+strings.Join(items, ",")+`]}}]}}},
		"status": {"latestReadyRevisionName": "r1", "latestCreatedRevisionName": "r1", "traffic": [{"latestRevision": true, "percent": 100, "revisionName": "r1"}]}}`)
}

// answers says how the API of a region does: "" as it should, "hangs", "fails",
// "late" (it is read, and a change never ends) or "stuck" (the new revision does
// not become ready).
func (e *emergency) answers(region, how string) { e.write("how-"+region, how) }

// make runs one command. It returns what was printed and what was changed since
// the last call, and whether all was done.
func (e *emergency) make(arguments ...string) (output string, commands []string, done bool) {
	e.t.Helper()
	command := exec.Command("make", append([]string{"--no-print-directory", "-C", "..", "TERRAFORM_DIR=" + e.folder, "LIMIT=10"}, arguments...)...)
	command.Env = append(os.Environ(), "FAKE="+e.folder, "LINKCTL="+e.linkctl, "PATH="+e.folder+":"+os.Getenv("PATH"))
	printed, err := command.CombinedOutput()
	content, _ := os.ReadFile(filepath.Join(e.folder, "commands"))
	all := strings.FieldsFunc(string(content), func(r rune) bool { return r == '\n' })
	commands, e.seen = all[e.seen:], len(all)
	return string(printed), commands, err == nil
}

// rules returns the rules that block.
func (e *emergency) rules() (blocking []string) {
	e.t.Helper()
	store, err := endpoint.OpenStore(e.blocklist)
	if err != nil {
		e.t.Fatal(err)
	}
	defer store.Close()
	standing, err := store.Standing(context.Background(), blocklist.Rule{Kind: "key", Value: "3"})
	if err != nil {
		e.t.Fatal(err)
	}
	for _, rule := range standing {
		blocking = append(blocking, rule.String())
	}
	return blocking
}

// recorded returns what the committed file says.
func (e *emergency) recorded() (revoked []int, drained []string) {
	e.t.Helper()
	content, err := os.ReadFile(filepath.Join(e.folder, "emergency.auto.tfvars.json"))
	if err != nil {
		return nil, nil
	}
	var file struct {
		Emergency struct {
			Revoked []int    `json:"revoked_versions"`
			Drained []string `json:"drained_regions"`
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		e.t.Fatal(err)
	}
	return file.Emergency.Revoked, file.Emergency.Drained
}

func (e *emergency) says(output string, wanted ...string) {
	e.t.Helper()
	for _, w := range wanted {
		if !strings.Contains(output, w) {
			e.t.Errorf("prints\n%s\nwithout %q", output, w)
		}
	}
}

const (
	unmount = "run services update linktracker --project links-prod --region %s --remove-secrets=/secrets/keys/3 --quiet"
	remount = "run services update linktracker --project links-prod --region %s --update-secrets=/secrets/keys/3=linktracker-keys:3 --quiet"
	disable = "secrets versions disable 3 --secret linktracker-keys --project links-prod --quiet"
)

func in(regions []string, command string) (commands []string) {
	for _, region := range regions {
		commands = append(commands, strings.Replace(command, "%s", region, 1))
	}
	slices.Sort(commands)
	return commands
}

func (e *emergency) ran(got, want []string) {
	e.t.Helper()
	got = slices.Sorted(slices.Values(got)) // regions are changed side by side
	slices.Sort(want)
	if !slices.Equal(got, want) {
		e.t.Errorf("runs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestEmergency revokes keys and drains regions while regions hang, fail and do
// not end.
func TestEmergency(t *testing.T) {
	slow(t)
	linkctl := filepath.Join(t.TempDir(), "linkctl")
	if output, err := exec.Command("go", "build", "-o", linkctl, "../cmd/linkctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for name, test := range map[string]func(t *testing.T, e *emergency){
		"revoke while three regions fail": func(t *testing.T, e *emergency) {
			e.answers("europe-west1", "hangs")
			e.answers("us-east1", "fails")
			e.answers("asia-northeast1", "late")
			output, commands, done := e.make("revoke", "KEY=3")
			if done {
				t.Error("it says that all was done")
			}
			e.says(output, "done    the rule key:3", "FAILED  europe-west1: cannot be read: no answer within 10 s", "FAILED  us-east1: cannot be read: ERROR: 503",
				"FAILED  asia-northeast1: not changed: no answer within 10 s", "done    us-west1 does not mount key 3", "stays enabled", "Run again: make revoke KEY=3\n")
			e.ran(commands, in([]string{"us-west1"}, unmount))
			if got := e.rules(); !slices.Equal(got, []string{"key:3"}) {
				t.Errorf("the rules are %v", got)
			}
			if revoked, _ := e.recorded(); !slices.Equal(revoked, []int{3}) {
				t.Errorf("recorded are %v", revoked)
			}

			// A second run does what is left, and disables last.
			for _, region := range emergencyRegions {
				e.answers(region, "")
			}
			e.answers("asia-northeast1", "stuck")
			output, commands, done = e.make("revoke", "KEY=3")
			if done {
				t.Error("it says that all was done while a region is at its old revision")
			}
			e.says(output, "FAILED  asia-northeast1: clicks still go to a revision from before")
			e.ran(commands, in(emergencyRegions[:3], unmount))

			e.answers("asia-northeast1", "")
			e.service("asia-northeast1", "2", "4")
			output, commands, done = e.make("revoke", "KEY=3")
			if !done {
				t.Errorf("a run with nothing in its way fails\n%s", output)
			}
			e.says(output, "done    version 3 of linktracker-keys is disabled", "add 3 to revoked_versions")
			e.ran(commands, []string{disable})

			output, commands, done = e.make("revoke", "KEY=3", "UNDO=1")
			if done {
				t.Error("a key that is disabled comes back")
			}
			e.says(output, "too late")
			e.ran(commands, nil)
		},
		"take a revocation back": func(t *testing.T, e *emergency) {
			e.answers("us-east1", "late")
			e.make("revoke", "KEY=3")
			output, commands, done := e.make("revoke", "KEY=3", "UNDO=1")
			if !done {
				t.Errorf("it fails\n%s", output)
			}
			e.ran(commands, in([]string{"europe-west1", "asia-northeast1", "us-west1"}, remount))
			if got := e.rules(); len(got) != 0 {
				t.Errorf("the rules are %v", got)
			}
			if revoked, _ := e.recorded(); len(revoked) != 0 {
				t.Errorf("recorded are %v", revoked)
			}
		},
		"keep the rule while a region does not mount the key again": func(t *testing.T, e *emergency) {
			e.make("revoke", "KEY=3")
			e.write("version.json", `{"state": "ENABLED"}`)
			e.answers("us-east1", "fails")
			output, _, done := e.make("revoke", "KEY=3", "UNDO=1")
			if done {
				t.Error("it says that all was done")
			}
			e.says(output, "FAILED  us-east1", "the rule key:3 stays", "Run again: make revoke KEY=3 UNDO=1\n")
			if got := e.rules(); !slices.Equal(got, []string{"key:3"}) {
				t.Errorf("the rules are %v", got)
			}
		},
		"only print": func(t *testing.T, e *emergency) {
			output, commands, done := e.make("revoke", "KEY=3", "DRY_RUN=1")
			if !done {
				t.Errorf("it fails\n%s", output)
			}
			e.says(output, "would   ", "block --blocklist", "--region us-west1 --remove-secrets=/secrets/keys/3", "would   gcloud secrets versions disable 3", "Nothing was changed.")
			e.ran(commands, nil)
			if got := e.rules(); len(got) != 0 {
				t.Errorf("the rules are %v", got)
			}
			if _, err := os.Stat(filepath.Join(e.folder, "emergency.auto.tfvars.json")); err == nil {
				t.Error("it writes the record")
			}
		},
		"a key that signs": func(t *testing.T, e *emergency) {
			e.write("secret.json", `{"versionAliases": {"signing": "3"}}`)
			output, commands, done := e.make("revoke", "KEY=3")
			if done {
				t.Error("it says that all was done")
			}
			e.says(output, "done    the rule key:3", "FAILED  key 3 signs", "SIGN_WITH=")
			e.ran(commands, nil)

			output, commands, done = e.make("revoke", "KEY=3", "SIGN_WITH=4")
			if !done {
				t.Errorf("it fails\n%s", output)
			}
			if len(commands) == 0 || commands[0] != "secrets update linktracker-keys --project links-prod --update-version-aliases=signing=4 --quiet" || commands[len(commands)-1] != disable {
				t.Errorf("another key does not sign first, or the version is not disabled last: %q", commands)
			}
		},
		"the only key": func(t *testing.T, e *emergency) {
			for _, region := range emergencyRegions {
				e.service(region, "3")
			}
			output, commands, done := e.make("revoke", "KEY=3")
			if done {
				t.Error("it says that all was done")
			}
			e.says(output, "key 3 is the only one there")
			e.ran(commands, nil)
		},
		"a rule that cannot be written": func(t *testing.T, e *emergency) {
			e.write("linkctl", "#!/bin/sh\necho no database >&2\nexit 1\n")
			os.Chmod(filepath.Join(e.folder, "linkctl"), 0o700)
			e.linkctl = filepath.Join(e.folder, "linkctl")
			output, commands, done := e.make("revoke", "KEY=3")
			if done {
				t.Error("it says that all was done")
			}
			e.says(output, "FAILED  write the rule key:3: no database", "Run again: make revoke KEY=3\n")
			e.ran(commands, append(in(emergencyRegions, unmount), disable))
		},
		"drain": func(t *testing.T, e *emergency) {
			const remove = "compute backend-services remove-backend linktracker --global --project links-prod --network-endpoint-group=linktracker --network-endpoint-group-region=us-east1 --quiet"
			e.answers("us-east1", "hangs")
			output, commands, done := e.make("drain", "REGION=us-east1", "DRY_RUN=1")
			if !done {
				t.Errorf("it fails\n%s", output)
			}
			e.ran(commands, nil)
			output, commands, done = e.make("drain", "REGION=us-east1")
			if !done {
				t.Errorf("it fails\n%s", output)
			}
			e.ran(commands, []string{remove})
			if _, drained := e.recorded(); !slices.Equal(drained, []string{"us-east1"}) {
				t.Errorf("recorded are %v", drained)
			}
			output, commands, done = e.make("drain", "REGION=us-east1")
			if !done {
				t.Errorf("a second time fails\n%s", output)
			}
			e.ran(commands, nil)

			output, commands, done = e.make("drain", "REGION=us-east1", "UNDO=1")
			if !done {
				t.Errorf("taking it back fails\n%s", output)
			}
			e.ran(commands, []string{strings.Replace(remove, "remove-backend", "add-backend", 1)})
			if _, drained := e.recorded(); len(drained) != 0 {
				t.Errorf("recorded are %v", drained)
			}
		},
		"drain the last region": func(t *testing.T, e *emergency) {
			e.write("backends.json", `{"backends": [{"group": "https://www.googleapis.com/compute/v1/projects/links-prod/regions/us-east1/networkEndpointGroups/linktracker"}]}`)
			output, commands, done := e.make("drain", "REGION=us-east1")
			if done {
				t.Error("it says that all was done")
			}
			e.says(output, "only region that gets clicks")
			e.ran(commands, nil)
		},
		"what is no key and no region": func(t *testing.T, e *emergency) {
			for _, arguments := range [][]string{{"revoke"}, {"revoke", "KEY=latest"}, {"drain"}, {"drain", "REGION=mars-north1"}} {
				_, commands, done := e.make(arguments...)
				if done {
					t.Errorf("make %v succeeds", arguments)
				}
				e.ran(commands, nil)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newEmergency(t, linkctl))
		})
	}
}

const emergencyGcloud = `#!/bin/bash
region=
for word; do
	[ "$last" != --region ] || region=$word
	last=$word
done
how=$(cat "$FAKE/how-$region" 2>/dev/null)
case $how in
hangs) exec sleep 600 ;;
fails) echo "ERROR: 503" >&2; exit 1 ;;
late) case $2$3 in servicesupdate) exec sleep 600 ;; esac ;;
esac
edit() { # FILE FILTER
	jq --arg region "$region" "$2" "$FAKE/$1" >"$FAKE/$1.new" && mv "$FAKE/$1.new" "$FAKE/$1"
}
case "$1 $2 $3" in
"run services describe") cat "$FAKE/$region.json"; exit ;;
"secrets describe "*) cat "$FAKE/secret.json"; exit ;;
"secrets versions describe") cat "$FAKE/version.json"; exit ;;
"compute backend-services describe") cat "$FAKE/backends.json"; exit ;;
esac
echo "$@" >>"$FAKE/commands"
case "$*" in
*--remove-secrets=*)
	[ "$how" = stuck ] && edit "$region.json" '.status.latestCreatedRevisionName = "r2"' && exit
	edit "$region.json" '.spec.template.spec.volumes[0].secret.items |= map(select(.path != "3"))' ;;
*--update-secrets=*) edit "$region.json" '.spec.template.spec.volumes[0].secret.items += [{key: "3", path: "3"}]' ;;
*" disable "*) edit version.json '.state = "DISABLED"' ;;
*" remove-backend "*) region=us-east1; edit backends.json '.backends |= map(select(.group | contains($region) | not))' ;;
esac
`

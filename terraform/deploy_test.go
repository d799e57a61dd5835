package terraform_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDeploy runs make with a gcloud that writes down what it was asked, and
// outputs as an apply leaves them.
func TestDeploy(t *testing.T) {
	const (
		image = "europe-west1-docker.pkg.dev/links-prod/cloud-run-source-deploy/linktracker@sha256:"
		base  = "europe-west1-docker.pkg.dev/serverless-runtimes/google-24/runtimes/go126"
		hello = "us-docker.pkg.dev/cloudrun/container/hello"
		build = " --build-service-account projects/links-prod/serviceAccounts/linktracker-build@links-prod.iam.gserviceaccount.com --quiet\n"
		in    = "run deploy linktracker --project links-prod --region "

		consent = "run deploy linktracker-consent --project links-prod --region europe-west1 --source . --clear-base-image" +
			" --set-build-env-vars GOOGLE_BUILDABLE=./cmd/linkconsent --default-url" + build
	)
	function := []revision{{image + "cc", base, "False"}, {image + "bb", base, "True"}, {image + "bb", base, "True"}, {image + "aa", base, "True"}, {hello, "", "True"}}
	server := []revision{{image + "bb", "", "True"}, {image + "aa", "", "True"}, {hello, "", "True"}}
	for name, c := range map[string]struct {
		arguments []string
		present   revision
		revisions []revision // the newest first
		commands  string     // those that change something
		output    string
		unwatched bool // there is no watcher, and nothing follows objections
		server    bool // Terraform's setting says so
		fails     bool
	}{
		"deploy": {
			arguments: []string{"deploy"},
			present:   function[1],
			commands: in + "europe-west1 --source . --function Redirect --base-image go126 --automatic-updates --clear-build-env-vars" + build +
				in + "us-east1 --image " + image + "bb --base-image " + base + " --quiet\n" +
				in + "asia-northeast1 --image " + image + "bb --base-image " + base + " --quiet\n" + consent,
		},
		"deploy the server": {
			arguments: []string{"deploy"},
			server:    true,
			present:   server[0],
			commands: in + "europe-west1 --source . --clear-base-image --set-build-env-vars GOOGLE_BUILDABLE=./cmd/linktracker" + build +
				in + "us-east1 --image " + image + "bb --clear-base-image --quiet\n" +
				in + "asia-northeast1 --image " + image + "bb --clear-base-image --quiet\n" + consent,
		},
		"deploy without the consumer of objections": {
			arguments: []string{"deploy"},
			server:    true,
			present:   server[0],
			unwatched: true,
			commands: in + "europe-west1 --source . --clear-base-image --set-build-env-vars GOOGLE_BUILDABLE=./cmd/linktracker" + build +
				in + "us-east1 --image " + image + "bb --clear-base-image --quiet\n" +
				in + "asia-northeast1 --image " + image + "bb --clear-base-image --quiet\n",
		},
		"deploy the server over the function": {
			arguments: []string{"deploy", "PROGRAM=server"},
			output:    "set program = \"server\" and apply",
			fails:     true,
		},
		"print a deploy": {
			arguments: []string{"deploy", "DRY_RUN=1"},
			output:    "--source . \\\n    --function Redirect \\\n    --base-image go126",
		},
		"roll back past what failed": {
			arguments: []string{"rollback"},
			present:   function[0],
			revisions: function,
			commands: in + "europe-west1 --image " + image + "bb --base-image " + base + " --quiet\n" +
				in + "us-east1 --image " + image + "bb --base-image " + base + " --quiet\n" +
				in + "asia-northeast1 --image " + image + "bb --base-image " + base + " --quiet\n",
			output: "every region is back at " + image + "bb",
		},
		// Terraform makes revisions too, of the same image.
		"roll back past an apply": {
			arguments: []string{"rollback"},
			present:   function[1],
			revisions: function[1:],
			commands: in + "europe-west1 --image " + image + "aa --base-image " + base + " --quiet\n" +
				in + "us-east1 --image " + image + "aa --base-image " + base + " --quiet\n" +
				in + "asia-northeast1 --image " + image + "aa --base-image " + base + " --quiet\n",
		},
		"roll back the server to an image": {
			arguments: []string{"rollback", "IMAGE=" + image + "aa"},
			present:   server[0],
			revisions: server,
			commands: in + "europe-west1 --image " + image + "aa --clear-base-image --quiet\n" +
				in + "us-east1 --image " + image + "aa --clear-base-image --quiet\n" +
				in + "asia-northeast1 --image " + image + "aa --clear-base-image --quiet\n",
		},
		"roll back to an image that never was": {
			arguments: []string{"rollback", "IMAGE=" + image + "ff"},
			present:   server[0],
			revisions: server,
			output:    "has the image " + image + "ff",
			fails:     true,
		},
		"roll back the first deploy": {
			arguments: []string{"rollback"},
			present:   server[1],
			revisions: server[1:],
			output:    "there was only the placeholder",
			fails:     true,
		},
		"roll back nothing": {
			arguments: []string{"rollback"},
			present:   server[2],
			revisions: server[2:],
			output:    "there is no image before",
			fails:     true,
		},
		"print a rollback": {
			arguments: []string{"rollback", "DRY_RUN=1"},
			present:   server[0],
			revisions: server,
			output:    "--image " + image + "aa",
		},
		"deploy the watcher": {
			arguments: []string{"deploy-watch"},
			commands: "builds submit . --project links-prod --region europe-west1 --config terraform/watch.build.yaml" +
				" --substitutions _IMAGE=europe-west1-docker.pkg.dev/links-prod/cloud-run-source-deploy/linktracker-watch:NOW" +
				" --gcs-source-staging-dir gs://run-sources-links-prod-europe-west1/linktracker-watch" +
				" --service-account projects/links-prod/serviceAccounts/linktracker-build@links-prod.iam.gserviceaccount.com --quiet\n" +
				"beta run worker-pools deploy linktracker-watch --project links-prod --region europe-west1" +
				" --image europe-west1-docker.pkg.dev/links-prod/cloud-run-source-deploy/linktracker-watch:NOW --quiet\n",
		},
		"print a deploy of the watcher": {
			arguments: []string{"deploy-watch", "DRY_RUN=1"},
			output:    "gcloud builds submit . \\\n    --project links-prod",
		},
		"deploy a watcher that is not there": {
			arguments: []string{"deploy-watch"},
			unwatched: true,
			output:    "set watch = { enabled = true } and apply first",
			fails:     true,
		},
		"rotate-plan": {
			arguments: []string{"rotate-plan"},
			output:    "Keys:\n    1  signs\n",
		},
		"without an apply": {
			arguments: []string{"rotate-plan", "TERRAFORM_DIR=" + t.TempDir()},
			output:    "apply there first",
			fails:     true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow(t)
			folder := t.TempDir()
			state := stateOfOutputs
			if c.unwatched {
				state = strings.Replace(state, `"linktracker-watch"`, `null`, 1)
				state = strings.Replace(state, `"linktracker-consent"`, `null`, 1)
			}
			if c.server {
				state = strings.Replace(state, `"program": "function"`, `"program": "server"`, 1)
			}
			write(t, filepath.Join(folder, "terraform.tfstate"), 0o600, state)
			write(t, filepath.Join(folder, "gcloud"), 0o700, fakeGcloud)
			write(t, filepath.Join(folder, "describe.json"), 0o600, `{"spec": {"template": `+c.present.json()+`}}`)
			var list []string
			for _, r := range c.revisions {
				list = append(list, r.json())
			}
			write(t, filepath.Join(folder, "list.json"), 0o600, "["+strings.Join(list, ",")+"]")

			command := exec.Command("make", append([]string{"--no-print-directory", "-C", "..", "TERRAFORM_DIR=" + folder}, c.arguments...)...)
			command.Env = append(os.Environ(), "FAKE="+folder, "PATH="+folder+":"+os.Getenv("PATH"), "CHECKPOINT_DISABLE=1")
			output, err := command.CombinedOutput()
			if (err != nil) != c.fails {
				t.Errorf("ends with %v\n%s", err, output)
			}
			if !strings.Contains(string(output), c.output) {
				t.Errorf("prints\n%s\nwithout\n%s", output, c.output)
			}
			installed, _ := os.ReadFile(filepath.Join(folder, "installation.json"))
			if deploys := c.arguments[0] == "deploy" && c.commands != ""; deploys != strings.Contains(string(installed), `"regions": "europe-west1 us-east1 asia-northeast1"`) {
				t.Errorf("what make revoke reads is %q", installed)
			}
			commands, _ := os.ReadFile(filepath.Join(folder, "commands"))
			commands = regexp.MustCompile(`:\d{8}t\d{6}z\b`).ReplaceAll(commands, []byte(":NOW"))
			if string(commands) != c.commands {
				t.Errorf("runs\n%s\nwant\n%s", commands, c.commands)
			}
		})
	}
}

// A revision is an image, its base image and whether it started.
type revision struct{ image, base, ready string }

// json is how gcloud prints a revision, or the template of one in a service.
func (r revision) json() string {
	annotations := `{}`
	if r.base != "" {
		annotations = `{"run.googleapis.com/base-images": "{\"linktracker\":\"` + r.base + `\"}"}`
	}
	return `{"metadata": {"annotations": ` + annotations + `}, "spec": {"containers": [{"image": "` + r.image + `"}]},
		"status": {"conditions": [{"type": "Ready", "status": "` + r.ready + `"}]}}`
}

const fakeGcloud = `#!/bin/sh
case "$1 $2 $3" in
"run services describe") cat "$FAKE/describe.json" ;;
"run revisions list") cat "$FAKE/list.json" ;;
*) echo "$@" >>"$FAKE/commands" ;;
esac
`

const stateOfOutputs = `{
	"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "6f1c2a5e-1111-2222-3333-444455556666",
	"outputs": {
		"deploy": {
			"value": {
				"base_image": "go126", "build_account": "linktracker-build@links-prod.iam.gserviceaccount.com",
				"placeholder": "us-docker.pkg.dev/cloudrun/container/hello", "project": "links-prod",
				"regions": "europe-west1 us-east1 asia-northeast1", "service": "linktracker",
				"watch": "linktracker-watch", "consent": "linktracker-consent", "program": "function",
				"blocklist": "firestore://links-prod/linktracker-blocklist/blocklist"
			},
			"type": ["object", {
				"base_image": "string", "build_account": "string", "placeholder": "string",
				"project": "string", "regions": "string", "service": "string", "watch": "string", "consent": "string",
				"program": "string", "blocklist": "string"
			}]
		},
		"rotation_plan": {"value": "Keys:\n    1  signs\n\nNo rotation is under way.", "type": "string"}
	},
	"resources": []
}
`

func write(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// Package emulatortest gives tests the official emulators of Firestore and
// Pub/Sub.
//
// A test calls [Firestore] or [PubSub], and [Project] for a project of its own:
//
//	emulatortest.Firestore(t)
//	client, err := firestore.NewClient(ctx, emulatortest.Project(t))
//
// The first test that asks starts the emulator on a free port; it serves every
// package of that `go test` run, and ends with the run however that ends.
// Where FIRESTORE_EMULATOR_HOST or PUBSUB_EMULATOR_HOST is set, that emulator
// is used and nothing is started.
//
// The emulators come with the Google Cloud CLI (`gcloud components install
// cloud-firestore-emulator pubsub-emulator`, or the Debian packages
// google-cloud-cli-firestore-emulator and google-cloud-cli-pubsub-emulator)
// and need Java. Where one is missing the test is skipped and says so; with
// REQUIRE_EMULATORS=1 it fails. A short run (go test -short) has no emulators.
//
// # How it works
//
// `go test ./...` runs one process a package, several at once. All of them
// find the same folder under the temporary directory, named after the process
// that owns the run: the go command, or the test itself where it was not
// started by the go command. A file lock there lets one process start the
// emulator and the others wait for its address. The emulator outlives each of
// them, so it is the child of a shell in a session of its own, which stops it
// when the owner is gone.
package emulatortest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// An emulator describes one of the emulators; its command and its state for
// this process.
type emulator struct {
	name     string // as in messages
	id       string // names its files in the state folder
	variable string // where client libraries look for its address
	folder   string // under the SDK's platform folder
	program  string // under folder
	install  string // what to tell who has not got it
	command  func(program, port string) []string

	once sync.Once
	host string
	err  error
}

var firestore = &emulator{
	name:     "Firestore emulator",
	id:       "firestore",
	variable: "FIRESTORE_EMULATOR_HOST",
	folder:   "cloud-firestore-emulator",
	program:  "cloud-firestore-emulator.jar",
	install:  "`gcloud components install cloud-firestore-emulator` or the package google-cloud-cli-firestore-emulator",
	command: func(program, port string) []string {
		return []string{"java", "-cp", program, "com.google.cloud.datastore.emulator.firestore.CloudFirestore",
			"start", "--host=127.0.0.1", "--port=" + port}
	},
}

var pubsub = &emulator{
	name:     "Pub/Sub emulator",
	id:       "pubsub",
	variable: "PUBSUB_EMULATOR_HOST",
	folder:   "pubsub-emulator",
	program:  "bin/cloud-pubsub-emulator",
	install:  "`gcloud components install pubsub-emulator` or the package google-cloud-cli-pubsub-emulator",
	command: func(program, port string) []string {
		return []string{program, "--host=127.0.0.1", "--port=" + port}
	},
}

// Firestore returns the address of a Firestore emulator, such as
// "127.0.0.1:40123", that serves for as long as the test runs.
// FIRESTORE_EMULATOR_HOST is set to it for the whole process, so parallel
// tests may call it. It skips or fails the test where there is no emulator, and
// skips it in a short run.
func Firestore(t testing.TB) string {
	t.Helper()
	return firestore.use(t)
}

// PubSub returns the address of a Pub/Sub emulator and sets
// PUBSUB_EMULATOR_HOST, as [Firestore] does.
func PubSub(t testing.TB) string {
	t.Helper()
	return pubsub.use(t)
}

// Project returns a project id that no other test has, so that tests that share
// an emulator do not see each other's documents and topics.
func Project(t testing.TB) string {
	t.Helper()
	var b [8]byte
	rand.Read(b[:])
	return "test-" + hex.EncodeToString(b[:])
}

// errMissing is wrapped by what keeps an emulator from being started on this
// machine at all; anything else is a failure.
var errMissing = errors.New("is missing")

func (e *emulator) use(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("the " + e.name + " is too large for a short run: make test uses it")
	}
	e.once.Do(func() {
		if e.host = os.Getenv(e.variable); e.host != "" {
			if c, err := net.DialTimeout("tcp", e.host, 5*time.Second); err != nil {
				e.err = fmt.Errorf("%s=%s: nothing answers there: %w", e.variable, e.host, err)
			} else {
				c.Close()
			}
			return
		}
		if e.host, e.err = e.shared(); e.err == nil {
			os.Setenv(e.variable, e.host)
		}
	})
	if e.err == nil {
		return e.host
	}
	if errors.Is(e.err, errMissing) && os.Getenv("REQUIRE_EMULATORS") != "1" {
		t.Skip(e.err)
	}
	t.Fatal(e.err)
	return ""
}

// shared returns the address of the run's emulator, and starts it if no other
// process of the run has.
func (e *emulator) shared() (string, error) {
	owner := findOwner()
	folder := folderOf(owner)
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	unlock, err := lock(filepath.Join(folder, e.id+".lock"))
	if err != nil {
		return "", fmt.Errorf("%s: %w", e.name, err)
	}
	defer unlock()
	if address, err := os.ReadFile(e.addressFile(folder)); err == nil && answers(string(address)) {
		return string(address), nil
	}
	program, err := e.find()
	if err != nil {
		return "", err
	}
	return e.start(owner, program)
}

func (e *emulator) addressFile(folder string) string {
	return filepath.Join(folder, e.id+".address")
}

// find returns the path of the emulator's program.
func (e *emulator) find() (string, error) {
	missing := func(what string) error {
		return fmt.Errorf("the %s %w: %s; install %s and a Java runtime, or set %s to one that runs",
			e.name, errMissing, what, e.install, e.variable)
	}
	root, err := sdkRoot()
	if err != nil {
		return "", missing(err.Error())
	}
	program := filepath.Join(root, "platform", e.folder, e.program)
	if _, err := os.Stat(program); err != nil {
		return "", missing("there is no " + program)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", missing("there is no java in PATH")
	}
	return program, nil
}

// sdkRoot returns the folder of the Google Cloud CLI. Asking gcloud takes more
// than a second, so the place next to its program is tried first.
var sdkRoot = sync.OnceValues(func() (string, error) {
	gcloud, err := exec.LookPath("gcloud")
	if err != nil {
		return "", errors.New("there is no gcloud in PATH")
	}
	if resolved, err := filepath.EvalSymlinks(gcloud); err == nil {
		root := filepath.Dir(filepath.Dir(resolved))
		if _, err := os.Stat(filepath.Join(root, "platform")); err == nil {
			return root, nil
		}
	}
	out, err := exec.Command(gcloud, "info", "--format=value(installation.sdk_root)").Output()
	if err != nil {
		return "", fmt.Errorf("gcloud does not say where it is installed: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

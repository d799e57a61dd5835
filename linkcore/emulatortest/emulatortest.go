// Package emulatortest gives tests the official emulators of Firestore and
// Pub/Sub.
//
// A test calls [Firestore] or [PubSub], and [Project] for a project of its own:
//
//	emulatortest.Firestore(t)
//	client, err := firestore.NewClient(ctx, emulatortest.Project(t))
//
// The first test of a process that asks starts the emulator on a free port, and
// it ends with the process however that ends. One for all packages costs less:
//
//	go run ./linkcore/emulatortest/share go test ./...
//
// is what make test does. Where FIRESTORE_EMULATOR_HOST or PUBSUB_EMULATOR_HOST
// is set, that emulator is used and nothing is started.
//
// The emulators come with the Google Cloud CLI (`gcloud components install
// cloud-firestore-emulator pubsub-emulator`, or the Debian packages
// google-cloud-cli-firestore-emulator and google-cloud-cli-pubsub-emulator)
// and need Java. Where one is missing the test is skipped and says so; with
// REQUIRE_EMULATORS=1 it fails. A short run (go test -short) has no emulators.
package emulatortest

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An emulator describes one of the emulators; its command and its state for
// this process.
type emulator struct {
	name     string // as in messages
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
	e.once.Do(e.connect)
	if e.err == nil {
		return e.host
	}
	if errors.Is(e.err, errMissing) && os.Getenv("REQUIRE_EMULATORS") != "1" {
		t.Skip(e.err)
	}
	t.Fatal(e.err)
	return ""
}

// Start starts both emulators for the processes that this one starts, which find
// them by their environment variables. One that is not installed is left out.
func Start() error {
	for _, e := range []*emulator{firestore, pubsub} {
		if e.once.Do(e.connect); e.err != nil && !errors.Is(e.err, errMissing) {
			return e.err
		}
	}
	return nil
}

// connect finds the emulator that the environment names, or starts one.
func (e *emulator) connect() {
	if e.host = os.Getenv(e.variable); e.host != "" {
		if !answers(e.host) {
			e.err = fmt.Errorf("%s=%s: no emulator answers there", e.variable, e.host)
		}
		return
	}
	program, err := e.find()
	for range portAttempts {
		if err != nil {
			break
		}
		if e.host, e.err = e.start(program); !errors.Is(e.err, errPortTaken) {
			break
		}
	}
	if e.err = cmp.Or(err, e.err); e.err == nil {
		os.Setenv(e.variable, e.host)
	}
}

const (
	// Emulators are ready within two seconds; a loaded machine may need longer.
	startTimeout = time.Minute
	// How often a free port was taken by someone else before it is given up.
	portAttempts = 5
)

var errPortTaken = errors.New("port is taken")

// untilClosed runs a command until it ends or its own standard input does, which is
// when the process is gone that holds the other end of the pipe.
const untilClosed = `exec 3<&0; "$@" </dev/null 3<&- & p=$!; { read _ <&3; kill -9 $p; } & exec 3<&-; wait $p`

// start starts the emulator on a free port and returns its address once it
// serves.
func (e *emulator) start(program string) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address = l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()
	log, err := os.CreateTemp("", "emulator")
	if err != nil {
		return "", err
	}
	defer log.Close()
	os.Remove(log.Name())
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	c := exec.Command("sh", append([]string{"-c", untilClosed, "sh"}, e.command(program, port)...)...)
	c.Stdin, c.Stdout, c.Stderr = r, log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the tests
	if err := c.Start(); err != nil {
		w.Close()
		return "", err
	}
	ended := make(chan struct{})
	go func() {
		c.Wait()
		close(ended)
		w.Close()
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; {
		problem := ""
		select {
		case <-ended:
			problem = "it ended"
		case <-tick.C:
			if time.Since(begin) > startTimeout {
				problem = "no answer within " + startTimeout.String()
			}
		}
		// The log is asked too: Pub/Sub's emulator does not end when it can't
		// listen, and what answers then is somebody else's.
		wrote := make([]byte, 1<<16)
		n, _ := log.ReadAt(wrote, 0)
		switch {
		case bytes.Contains(wrote[:n], []byte("Address already in use")):
			w.Close()
			return "", errPortTaken
		case problem != "":
			w.Close()
			return "", fmt.Errorf("the %s does not start: %s; it wrote:\n%s", e.name, problem, wrote[:n])
		case answers(address):
			return address, nil
		}
	}
}

// probe has no proxy: the emulators are on this machine.
var probe = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   5 * time.Second,
}

// answers reports whether an emulator answers at an address. Both say "Ok" to
// a plain request once they serve.
func answers(address string) bool {
	response, err := probe.Get("http://" + address + "/")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64))
	return strings.TrimSpace(string(body)) == "Ok"
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

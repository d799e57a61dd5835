//go:build linux

package emulatortest

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"
)

func TestEmulatorsAnswer(t *testing.T) {
	for _, test := range []struct {
		variable string
		use      func(testing.TB) string
	}{
		{"FIRESTORE_EMULATOR_HOST", Firestore},
		{"PUBSUB_EMULATOR_HOST", PubSub},
	} {
		t.Run(test.variable, func(t *testing.T) {
			host := test.use(t)
			if !answers(host) {
				t.Errorf("nothing answers at %s", host)
			}
			if got := os.Getenv(test.variable); got != host {
				t.Errorf("%s is %q, want %q", test.variable, got, host)
			}
			if again := test.use(t); again != host {
				t.Errorf("second call returns %s, first %s", again, host)
			}
		})
	}
}

// Every process of a run gets the emulator that the first one started.
func TestShared(t *testing.T) {
	host := PubSub(t)
	if _, err := os.Stat(pubsub.addressFile(folderOf(findOwner()))); err != nil {
		t.Skip("the emulator was there before this run")
	}
	// Without a command, it can only find what is there.
	other := &emulator{id: pubsub.id}
	if got, err := other.shared(); err != nil || got != host {
		t.Errorf("another process gets %q, %v; want %q", got, err, host)
	}
}

func TestEndsWithOwner(t *testing.T) {
	testsize.Medium(t)
	program, err := pubsub.find()
	if err != nil {
		PubSub(t) // skips or fails
		t.Skip(err)
	}
	owner := exec.Command("sleep", "600")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			owner.Process.Kill()
			owner.Wait()
		}
	}()
	folder := folderOf(owner.Process.Pid)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	address, err := pubsub.start(owner.Process.Pid, program)
	if err != nil {
		t.Fatal(err)
	}
	if !answers(address) {
		t.Fatal("the emulator does not answer")
	}

	// Not waited for yet: the owner is a zombie, as under a container's first
	// process that never waits.
	owner.Process.Kill()
	eventually(t, "the emulator is gone", func() bool { return refuses(address) })
	eventually(t, "the folder is gone", func() bool {
		_, err := os.Stat(folder)
		return errors.Is(err, os.ErrNotExist)
	})
	owner.Wait()
	killed = true
}

func TestPortTaken(t *testing.T) {
	testsize.Large(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// The other one answers as an emulator does.
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("Ok")) }))
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	for _, e := range []*emulator{firestore, pubsub} {
		t.Run(e.id, func(t *testing.T) {
			program, err := e.find()
			if err != nil {
				e.use(t) // skips or fails
				t.Skip(err)
			}
			owner := exec.Command("sleep", "600")
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { owner.Process.Kill(); owner.Wait() }()
			folder := folderOf(owner.Process.Pid)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			unlucky := &emulator{id: e.id, command: func(program, _ string) []string { return e.command(program, port) }}
			if _, err := unlucky.tryStart(owner.Process.Pid, program); !errors.Is(err, errPortTaken) {
				t.Errorf("start on a taken port: %v, want %v", err, errPortTaken)
			}
		})
	}
}

func TestProgramThatFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if err := os.Mkdir(folderOf(os.Getpid()), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := &emulator{id: "broken", command: func(string, string) []string {
		return []string{"sh", "-c", "echo no such option; exit 1"}
	}}
	_, err := broken.tryStart(os.Getpid(), "")
	if err == nil || !strings.Contains(err.Error(), "it ended") || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("error is %v; want one with what the program wrote", err)
	}
}

func TestMissing(t *testing.T) {
	absent := &emulator{name: "Absent emulator", folder: "absent", program: "absent", install: "it", variable: "ABSENT_HOST"}
	_, err := absent.find()
	if !errors.Is(err, errMissing) {
		t.Fatalf("error is %v, want one that is %v", err, errMissing)
	}
	for _, part := range []string{"Absent emulator is missing", "install it", "ABSENT_HOST"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestSkipOrFail(t *testing.T) {
	testsize.Medium(t)
	for _, test := range []struct {
		require string
		err     error
		want    string
	}{
		{"", errMissing, "skip"},
		{"0", errMissing, "skip"},
		{"1", errMissing, "fatal"},
		{"", errors.New("does not start"), "fatal"},
	} {
		t.Setenv("REQUIRE_EMULATORS", test.require)
		e := &emulator{}
		e.once.Do(func() { e.err = test.err })
		r := recorder{TB: t}
		func() {
			defer func() { recover() }()
			e.use(&r)
		}()
		if r.what != test.want {
			t.Errorf("REQUIRE_EMULATORS=%q, %v: %s, want %s", test.require, test.err, r.what, test.want)
		}
	}
}

// A recorder is a test that notes how it was ended.
type recorder struct {
	testing.TB
	what string
}

func (r *recorder) Helper()      {}
func (r *recorder) Skip(...any)  { r.what = "skip"; panic(r) }
func (r *recorder) Fatal(...any) { r.what = "fatal"; panic(r) }

func TestVariableIsUsed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTHER_EMULATOR_HOST", l.Addr().String())
	e := &emulator{variable: "OTHER_EMULATOR_HOST"}
	if host := e.use(t); host != l.Addr().String() {
		t.Errorf("host is %s, want %s", host, l.Addr())
	}
	l.Close()

	r := recorder{TB: t}
	func() {
		defer func() { recover() }()
		(&emulator{variable: "OTHER_EMULATOR_HOST"}).use(&r)
	}()
	if r.what != "fatal" {
		t.Errorf("with a variable that leads nowhere: %q, want fatal", r.what)
	}
}

func TestProject(t *testing.T) {
	a, b := Project(t), Project(t)
	if a == b {
		t.Errorf("twice the same project %s", a)
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`).MatchString(a) {
		t.Errorf("%q is no project id", a)
	}
}

func refuses(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// eventually polls: what it waits for is another process.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !condition(); <-tick.C {
		if time.Since(begin) > 2*time.Minute {
			t.Fatalf("not within 2 minutes: %s", what)
		}
	}
}

package emulatortest

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
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

// TestHolder starts an emulator, if it is told to, and waits for its own end.
func TestHolder(t *testing.T) {
	if os.Getenv("EMULATORTEST_HOLD") == "" {
		t.Skip("for TestEndsWithProcess")
	}
	os.Stdout.WriteString("address " + PubSub(t) + "\n")
	select {}
}

// An emulator ends with the process that started it, even if that is killed.
func TestEndsWithProcess(t *testing.T) {
	testsize.Medium(t)
	if _, err := pubsub.find(); err != nil {
		PubSub(t) // skips or fails
		t.Skip(err)
	}
	holder := exec.Command(os.Args[0], "-test.run", "^TestHolder$")
	holder.Env = append(os.Environ(), "EMULATORTEST_HOLD=1", pubsub.variable+"=")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "address ")
	if !ok || !answers(address) {
		t.Errorf("no emulator answers at %q: %v", line, err)
	}
	holder.Process.Kill()
	holder.Wait()
	// It is another process that ends, so this polls.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; <-tick.C {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		c.Close()
		if time.Since(begin) > 2*time.Minute {
			t.Fatal("the emulator is still there")
		}
	}
}

// Whoever holds the port, and answers as an emulator does, is not taken for it.
func TestPortTaken(t *testing.T) {
	testsize.Large(t)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("Ok")) }))
	defer other.Close()
	_, port, _ := net.SplitHostPort(other.Listener.Addr().String())
	for _, e := range []*emulator{firestore, pubsub} {
		t.Run(e.name, func(t *testing.T) {
			program, err := e.find()
			if err != nil {
				e.use(t) // skips or fails
				t.Skip(err)
			}
			unlucky := &emulator{command: func(program, _ string) []string { return e.command(program, port) }}
			if address, err := unlucky.start(program); !errors.Is(err, errPortTaken) {
				t.Errorf("start on a taken port: %s, %v; want %v", address, err, errPortTaken)
			}
		})
	}
}

func TestProgramThatFails(t *testing.T) {
	broken := &emulator{name: "broken one", command: func(string, string) []string {
		return []string{"sh", "-c", "echo no such option; exit 1"}
	}}
	_, err := broken.start("")
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
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("Ok\n")) }))
	t.Setenv("OTHER_EMULATOR_HOST", other.Listener.Addr().String())
	e := &emulator{variable: "OTHER_EMULATOR_HOST"}
	if host := e.use(t); host != other.Listener.Addr().String() {
		t.Errorf("host is %s, want %s", host, other.Listener.Addr())
	}
	other.Close()

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
		t.Errorf("%q is not a project id", a)
	}
}

package emulatortest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// supervisorVariable makes a test binary a supervisor instead. Its value is a
// supervision in JSON.
const supervisorVariable = "EMULATORTEST_SUPERVISE"

// A supervision is what a supervisor is told.
type supervision struct {
	Emulator string // emulator.id
	Program  string
	Owner    process
}

const (
	// Emulators are ready within two seconds; a loaded machine may need longer.
	startTimeout = 30 * time.Second
	// How long an emulator may take to end before it is killed.
	stopTimeout = 2 * time.Second
	// How often the supervisor looks whether the owner is there. It is no
	// relative of the owner, so nothing tells it.
	ownerInterval = 100 * time.Millisecond
	// How often a free port was taken by someone else before it is given up.
	portAttempts = 5
)

// A process is one process, not only its id, which may be given out again.
type process struct {
	ID    int
	Start string // what distinguishes it from others that had the id; empty if not known
}

// folder returns where the emulators of a run have their files.
func (p process) folder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("emulatortest-%d-%d-%s", os.Getuid(), p.ID, p.Start))
}

// lock takes the lock file at path, waiting for whoever has it. The lock ends
// with the process at the latest.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() { f.Close() }, nil
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

// startSupervisor starts a supervisor and returns when its emulator serves.
func (e *emulator) startSupervisor(owner process, program string) (address string, err error) {
	executable, err := os.Executable()
	if err != nil {
		return "", err
	}
	what, err := json.Marshal(supervision{Emulator: e.id, Program: program, Owner: owner})
	if err != nil {
		return "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	c := exec.Command(executable)
	// The race detector would sleep a second before it exits.
	c.Env = append(os.Environ(), supervisorVariable+"="+string(what), "GORACE=atexit_sleep_ms=0")
	c.Dir = owner.folder()
	// Standard streams stay /dev/null: go test waits until the test's own are
	// closed everywhere.
	c.ExtraFiles = []*os.File{w}
	// Ctrl-C in the terminal must not reach it: it has work to do then.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	w.Close()
	if err != nil {
		return "", fmt.Errorf("%s: %w", e.name, err)
	}
	go c.Wait()
	// More than it takes for a port that was free, so that what the supervisor
	// says of a failure arrives.
	r.SetReadDeadline(time.Now().Add(2 * startTimeout))
	answer, err := io.ReadAll(r)
	if err != nil {
		return "", fmt.Errorf("%s: no word from its supervisor: %w", e.name, err)
	}
	if address, ok := strings.CutPrefix(string(answer), "ready "); ok {
		return address, nil
	}
	return "", fmt.Errorf("%s does not start: %s", e.name, answer)
}

// init turns the test binary into a supervisor before anything else in it runs.
func init() {
	value := os.Getenv(supervisorVariable)
	if value == "" {
		return
	}
	os.Unsetenv(supervisorVariable)
	// The emulator must not have it: its reader waits for the end.
	syscall.CloseOnExec(3)
	answer := os.NewFile(3, "answer")
	if err := superviseFor(value, answer); err != nil {
		fmt.Fprint(answer, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func superviseFor(value string, answer *os.File) error {
	// A child made with Pdeathsig dies with the thread that made it.
	runtime.LockOSThread()
	var s supervision
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return err
	}
	for _, e := range []*emulator{firestore, pubsub} {
		if e.id == s.Emulator {
			return e.supervise(s, answer)
		}
	}
	return fmt.Errorf("no emulator is called %q", s.Emulator)
}

// supervise starts the emulator, tells its address, and stops it when the
// owner is gone.
func (e *emulator) supervise(s supervision, answer *os.File) error {
	var r *running
	var err error
	for range portAttempts {
		if r, err = e.start(s); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return err
	}
	folder := s.Owner.folder()
	temporary := e.addressFile(folder) + ".new"
	if err := errors.Join(os.WriteFile(temporary, []byte(r.address), 0o600), os.Rename(temporary, e.addressFile(folder))); err != nil {
		r.stop()
		return err
	}
	fmt.Fprint(answer, "ready ", r.address)
	answer.Close()

	tick := time.NewTicker(ownerInterval)
	defer tick.Stop()
	for s.Owner.alive() {
		select {
		case <-r.ended:
			// The folder stays, for its log says why; the next test that asks
			// finds no answer at the address and starts another.
			return nil
		case <-tick.C:
		}
	}
	r.stop()
	return os.RemoveAll(folder)
}

// A running emulator is a child of the supervisor.
type running struct {
	address string
	command *exec.Cmd
	ended   chan struct{} // closed when the process is gone
}

var errPortTaken = errors.New("port is taken")

// start starts the emulator on a free port and returns when it serves, or when
// the owner has gone.
func (e *emulator) start(s supervision) (*running, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	logName := filepath.Join(s.Owner.folder(), e.id+".log")
	log, err := os.Create(logName)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	arguments := e.command(s.Program, port)
	c := exec.Command(arguments[0], arguments[1:]...)
	c.Stdout, c.Stderr = log, log
	// A group of its own: Pub/Sub's program is a shell script that may have
	// children, and all of them must end.
	c.SysProcAttr = childAttributes()
	if err := c.Start(); err != nil {
		return nil, err
	}
	r := &running{address: net.JoinHostPort("127.0.0.1", port), command: c, ended: make(chan struct{})}
	go func() {
		c.Wait()
		close(r.ended)
	}()

	// The log is asked too: Pub/Sub's emulator does not end when it can't
	// listen, and what answers then is somebody else's.
	logged := func(text string) bool {
		b, err := os.ReadFile(logName)
		return err == nil && bytes.Contains(b, []byte(text))
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; {
		ended := false
		select {
		case <-r.ended:
			ended = true
		case <-tick.C:
		}
		problem := ""
		switch {
		case logged("Address already in use"):
			r.stop()
			return nil, errPortTaken
		case ended:
			problem = "it ended"
		case answers(r.address):
			return r, nil
		case !s.Owner.alive():
			problem = "the test run has ended"
		case time.Since(begin) > startTimeout:
			problem = "no answer within " + startTimeout.String()
		default:
			continue
		}
		r.stop()
		b, _ := os.ReadFile(logName)
		return nil, fmt.Errorf("%s; it wrote:\n%s", problem, b)
	}
}

// stop ends the emulator and everything that it started.
func (r *running) stop() {
	// While the leader has not been waited for, the id of the group is its own.
	group := -r.command.Process.Pid
	select {
	case <-r.ended:
		return
	default:
	}
	syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(stopTimeout):
		syscall.Kill(group, syscall.SIGKILL)
		<-r.ended
	}
}

// freePort returns a port that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

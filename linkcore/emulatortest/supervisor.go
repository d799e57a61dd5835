package emulatortest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// Emulators are ready within two seconds; a loaded machine may need longer.
	startTimeout = 30 * time.Second
	// How often a free port was taken by someone else before it is given up.
	portAttempts = 5
)

// supervise is the shell program that runs an emulator, $3 and what follows, until
// the process $1 is gone, and then removes the folder $2. A process that has ended
// and that its parent has not asked about is gone. Pub/Sub's program is a script
// that may have children, and all of them must end: they are the shell's group.
const supervise = `
owner=$1 folder=$2
shift 2
"$@" &
emulator=$!
trap : TERM
while kill -0 $owner && kill -0 $emulator; do
	case $(cat /proc/$owner/stat) in *") Z "*) break ;; esac
	sleep 0.1
done 2>/dev/null
kill -0 $emulator || exit # the folder stays, for its log says why
kill -TERM 0
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	kill -0 $emulator 2>/dev/null && sleep 0.1
done
rm -rf "$folder"
kill -KILL 0
`

// findOwner returns the process with whose end the emulators end. Without /proc
// there is no short way to tell whether the parent is the go command; each package
// has its own emulators then.
func findOwner() int {
	parent := os.Getppid()
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent)); strings.TrimSpace(string(name)) == "go" {
		return parent
	}
	return os.Getpid()
}

// folderOf returns where the emulators of a run have their files.
func folderOf(owner int) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("emulatortest-%d-%d", os.Getuid(), owner))
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

var errPortTaken = errors.New("port is taken")

// start starts the emulator on a free port, notes its address, and returns when it
// serves.
func (e *emulator) start(owner int, program string) (address string, err error) {
	for range portAttempts {
		if address, err = e.tryStart(owner, program); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err == nil {
		err = os.WriteFile(e.addressFile(folderOf(owner)), []byte(address), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("%s does not start: %w", e.name, err)
	}
	return address, nil
}

func (e *emulator) tryStart(owner int, program string) (address string, err error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	logName := filepath.Join(folderOf(owner), e.id+".log")
	log, err := os.Create(logName)
	if err != nil {
		return "", err
	}
	defer log.Close()
	c := exec.Command("/bin/sh", append([]string{"-c", supervise, "sh", strconv.Itoa(owner), folderOf(owner)}, e.command(program, port)...)...)
	c.Stdout, c.Stderr = log, log
	// Ctrl-C in the terminal must not reach it: it has work to do then.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() {
		c.Wait()
		close(ended)
	}()
	address = net.JoinHostPort("127.0.0.1", port)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; {
		problem := ""
		select {
		case <-ended:
			problem = "it ended"
		case <-tick.C:
		}
		wrote, _ := os.ReadFile(logName)
		switch {
		// Pub/Sub's emulator does not end when it can't listen, and what answers
		// then is somebody else's.
		case bytes.Contains(wrote, []byte("Address already in use")):
			return "", errPortTaken
		case problem == "" && answers(address):
			return address, nil
		case problem == "" && time.Since(begin) > startTimeout:
			problem = "no answer within " + startTimeout.String()
		}
		if problem != "" {
			return "", fmt.Errorf("%s; it wrote:\n%s", problem, wrote)
		}
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

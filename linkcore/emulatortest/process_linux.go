package emulatortest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// findOwner returns the process with whose end the emulators end.
func findOwner() (process, error) {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err == nil && strings.TrimSpace(string(name)) == "go" {
		if start, state := stat(parent); start != "" && state != 'Z' {
			return process{ID: parent, Start: start}, nil
		}
	}
	start, _ := stat(os.Getpid())
	if start == "" {
		return process{}, fmt.Errorf("/proc/%d/stat cannot be read", os.Getpid())
	}
	return process{ID: os.Getpid(), Start: start}, nil
}

// alive reports whether the process still runs. One that has ended but that
// its parent has not asked about does not.
func (p process) alive() bool {
	start, state := stat(p.ID)
	return start == p.Start && state != 'Z' && state != 'X'
}

// stat returns when a process started, in clock ticks since boot, and its
// state; see proc_pid_stat(5). Start is empty if there is no such process.
func stat(id int) (start string, state byte) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
	if err != nil {
		return "", 0
	}
	// The second field is the program's name in parentheses, with anything in it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return "", 0
	}
	return string(fields[19]), fields[0][0]
}

// childAttributes also has the kernel kill the emulator should the supervisor
// itself be killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

//go:build unix && !linux

package emulatortest

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// findOwner returns the test process: without /proc there is no short way to
// tell whether the parent is the go command. Each package has its own
// emulators then.
func findOwner() (process, error) {
	return process{ID: os.Getpid(), Start: strconv.FormatInt(time.Now().UnixNano(), 36)}, nil
}

// alive reports whether the process still runs.
func (p process) alive() bool {
	return syscall.Kill(p.ID, 0) == nil
}

func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// Share runs a command, such as go test, with both emulators for all of its
// processes:
//
//	go run ./linkcore/emulatortest/share go test ./...
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"example.com/linktracker/linkcore/emulatortest"
)

func main() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // the command has it too, and ends first
	err := emulatortest.Start()
	if err == nil {
		c := exec.Command(os.Args[1], os.Args[2:]...)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = c.Run()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(max(exit.ExitCode(), 1))
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "share:", err)
		os.Exit(1)
	}
}

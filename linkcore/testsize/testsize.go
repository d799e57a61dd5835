// Package testsize says which tests run when:
//
//	make check       go test -short: tests that call neither function
//	make test        go test: those that call Medium, too
//	make test-large  LARGE=1 go test: those that call Large
//
// A test that starts processes or emulators, or takes a second or more, begins
// with [Medium]. One that takes a minute, or waits for the clock of another
// process, begins with [Large]. The call is the test's first line: make
// test-large looks for it there.
package testsize

import (
	"os"
	"testing"
)

// Medium skips the test in a short run.
func Medium(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("too large for a short run: make test runs it")
	}
}

// Large skips the test unless LARGE=1.
func Large(t testing.TB) {
	t.Helper()
	if os.Getenv("LARGE") != "1" {
		t.Skip("too large for each run: make test-large (LARGE=1) runs it")
	}
}

//go:build !linux

package main

import (
	"os"
	"testing"
)

func openTerminal(t *testing.T, _ uint16) (master, slave *os.File) {
	t.Helper()
	t.Skip("terminals are made on Linux only")
	return nil, nil
}

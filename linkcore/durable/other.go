//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package durable

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

const keepsOpen = false

// Lock does nothing here: on these systems let one program write at a time.
func Lock(context.Context, string) (unlock func(), err error) { return func() {}, nil }

func lockTemporary(*os.File) bool { return true }

func removeLeftover(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}

func give(*os.File, string, fs.FileInfo, *os.File) error { return nil }

func giveFolder(string, *os.File) error { return nil }

func syncFolder(*os.File) error { return nil }

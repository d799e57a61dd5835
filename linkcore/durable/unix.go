//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// keepsOpen says that an open file can be renamed and removed; it has to stay open
// until then for the sake of its lock.
const keepsOpen = true

// Lock waits until no other program holds the lock of the file at path, or the
// context ends. The lock is the file path.lock, which it makes with the owner, the
// group and the mode of the file that it is for, and leaves there: whoever removed
// it would let two in that wait for different files. On systems without flock(2)
// it does nothing: there let one program write at a time.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if path, err = resolve(path); err != nil {
		return nil, err
	}
	file, err := openLock(path)
	if err != nil {
		return nil, err
	}
	for {
		err := flock(file)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("another program holds %s: %w", file.Name(), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// openLock opens the lock of a file, or makes it. It follows no symbolic link, and
// gives away only what it made: the folder may belong to somebody else than the
// user who runs this.
func openLock(path string) (*os.File, error) {
	name := path + ".lock"
	for {
		file, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrPermission) {
			file, err = os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0) // is enough for a lock
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		if file, err = createLock(path, name); !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
}

func createLock(path, name string) (*os.File, error) {
	folder, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	mode := fs.FileMode(0o644)
	of, err := os.Stat(path)
	if err == nil {
		mode = of.Mode().Perm()
	} else {
		of = nil
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	err = give(file, path, of, folder)
	if err == nil && of != nil {
		err = file.Chmod(mode)
	}
	if err != nil {
		file.Close()
		os.Remove(name)
		return nil, err
	}
	return file, nil
}

// flock takes the lock of an open file, or says that another has it.
func flock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// lockTemporary locks a temporary file that was just made. It returns false if
// another writer was faster, and removes the file.
func lockTemporary(file *os.File) bool {
	switch err := flock(file); err {
	case nil:
		return isNamed(file)
	case syscall.EWOULDBLOCK:
		return false
	default:
		return true // no locks here, for the others neither
	}
}

// removeLeftover returns whether the name is free, once it has removed the file of
// a writer that is dead. One that is locked has a living writer. As long as this
// one has the lock, the name cannot become another file's.
func removeLeftover(name string) bool {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer file.Close()
	return flock(file) == nil && isNamed(file) && os.Remove(name) == nil
}

// isNamed returns whether an open file still has its name.
func isNamed(file *os.File) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(file.Name())
	return err == nil && named.Mode().IsRegular() && os.SameFile(opened, named)
}

// give makes a new file belong to whom the file at path, which it replaces,
// belongs. If that is nil and root asks, it is whom the folder belongs to.
func give(file *os.File, path string, replaced fs.FileInfo, folder *os.File) error {
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	like := replaced
	if like == nil {
		if os.Geteuid() != 0 {
			return nil
		}
		if like, err = folder.Stat(); err != nil {
			return err
		}
	}
	have, want := mine.Sys().(*syscall.Stat_t), like.Sys().(*syscall.Stat_t)
	if have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	err = file.Chown(int(want.Uid), int(want.Gid))
	if errors.Is(err, fs.ErrPermission) {
		if replaced == nil {
			return nil // a root that may not give away
		}
		return fmt.Errorf("%s belongs to user %d and group %d, which this user may not give to the new file: run it as that user, as with sudo -u '#%d' (nothing was changed)",
			path, want.Uid, want.Gid, want.Uid)
	}
	return err
}

// giveFolder is give for a new folder.
func giveFolder(path string, parent *os.File) error {
	folder, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer folder.Close()
	return give(folder, path, nil, parent)
}

// syncFolder makes the disk keep the names in a folder. Some network file systems
// refuse it, and keep them without.
func syncFolder(folder *os.File) error {
	err := syncFile(folder)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

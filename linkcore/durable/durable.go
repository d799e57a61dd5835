// Package durable replaces files so that a power cut, a killed process or a full
// disk leaves the old file or the new one, whole.
//
// A new file is written under another name in the same folder and synced, takes
// the name, and then the folder is synced: without the last step a file system may
// forget the name although it kept the contents. See Pillai et al., "All File
// Systems Are Not Created Equal" (OSDI 2014).
//
// A file that is replaced keeps its owner, group and mode. Where this user may not
// give the owner or the group, nothing is changed and the error says so. Access
// control lists and other extended attributes are not kept. What root creates
// belongs to whom the folder belongs, so that sudo locks nobody out.
//
// A symbolic link stays one: the file that it leads to is replaced.
//
// The temporary files are named .linktracker-N.tmp. Whoever writes one holds a lock
// on it, so the next writer in the folder can tell what a killed one left, and
// removes it. Systems without flock(2) keep it.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

const (
	// How many writers may be at work in a folder at once.
	maxTemporaries = 1000

	// How many names in a row must be free to look for no more leftovers.
	sweptNames = 16
)

// syncFile is a variable for tests, which fail it and look when it is called.
var syncFile = (*os.File).Sync

// WriteFile replaces the file at path. One that does not exist is made with the
// mode perm before umask. A pipe or a device is written to as it is.
func WriteFile(path string, content []byte, perm fs.FileMode) error {
	p, err := prepare(path, perm)
	if err != nil {
		return err
	}
	if p.temporary == nil {
		return os.WriteFile(p.path, content, 0)
	}
	defer p.close()
	if err := p.write(content); err != nil {
		return err
	}
	if err := os.Rename(p.temporary.Name(), p.path); err != nil {
		return err
	}
	p.renamed = true
	return syncFolder(p.folder)
}

// CheckWrite reports why [WriteFile] cannot write to path, nil if it can. It
// changes nothing.
func CheckWrite(path string) error {
	p, err := prepare(path, 0o600)
	if err != nil {
		return err
	}
	if p.temporary != nil {
		p.close()
	}
	return nil
}

// CreateFile makes a file that must not exist, with the mode perm before umask.
// The error is fs.ErrExist if there is one, whoever made it.
func CreateFile(path string, content []byte, perm fs.FileMode) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	p, err := prepare(path, perm)
	if err != nil {
		return err
	}
	if p.temporary == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	defer p.close()
	if err := p.write(content); err != nil {
		return err
	}
	// Unlike a rename, a link never takes the place of a file.
	err = os.Link(p.temporary.Name(), p.path)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return p.createInPlace(content, perm) // this file system has no links
	}
	if err != nil {
		return err
	}
	// The secret of a key must not stay under a second name.
	if err := os.Remove(p.temporary.Name()); err != nil {
		return err
	}
	p.renamed = true
	return syncFolder(p.folder)
}

// Mkdir makes a folder with the mode perm before umask, unless there is one. Its
// parent must exist.
func Mkdir(path string, perm fs.FileMode) error {
	info, err := os.Stat(path)
	exists := err == nil
	if exists && !info.IsDir() {
		return fmt.Errorf("%s is a file and not a folder", path)
	}
	parent, err := openFolder(filepath.Dir(filepath.Clean(path)))
	if exists && errors.Is(err, fs.ErrPermission) {
		return nil // whoever made it could open its parent
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if !exists {
		if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		} else if err == nil {
			if err := giveFolder(path, parent); err != nil {
				return err
			}
		}
	}
	return syncFolder(parent) // also for one who made it and was killed before
}

// A pending file is one that is not yet in its place.
type pending struct {
	path      string   // without a symbolic link at its end
	temporary *os.File // nil: path is a pipe or a device
	folder    *os.File
	renamed   bool
}

// prepare does all that can fail but the writing.
func prepare(path string, perm fs.FileMode) (_ *pending, err error) {
	if path, err = resolve(path); err != nil {
		return nil, err
	}
	p := &pending{path: path}
	old, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		return nil, err
	case old.IsDir():
		return nil, errors.New("it is a directory: give the name of a file")
	case !old.Mode().IsRegular():
		return p, nil
	}
	if p.folder, err = openFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if old != nil {
		perm = 0o600 // until it has its owner
	}
	if p.temporary, err = createTemporary(filepath.Dir(path), perm); err != nil {
		return nil, err
	}
	if err := give(p.temporary, path, old, p.folder); err != nil {
		return nil, err
	}
	if old != nil {
		const all = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
		err = p.temporary.Chmod(old.Mode() & all)
	}
	return p, err
}

// write writes the contents, and sees to it that the disk has them.
func (p *pending) write(content []byte) error {
	if _, err := p.temporary.Write(content); err != nil {
		return err
	}
	if err := syncFile(p.temporary); err != nil {
		return err
	}
	if !keepsOpen {
		return p.temporary.Close()
	}
	return nil
}

// createInPlace is for file systems where a file has one name.
func (p *pending) createInPlace(content []byte, perm fs.FileMode) (err error) {
	f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(p.path)
		}
	}()
	if err := give(f, p.path, nil, p.folder); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := syncFile(f); err != nil {
		return err
	}
	return syncFolder(p.folder)
}

func (p *pending) close() {
	p.folder.Close()
	if p.temporary == nil {
		return
	}
	if !keepsOpen {
		p.temporary.Close()
	}
	if !p.renamed {
		os.Remove(p.temporary.Name()) // while it is locked
	}
	p.temporary.Close()
}

// resolve follows a symbolic link, also one that leads to no file yet.
func resolve(path string) (string, error) {
	for range 40 {
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link, or what opening it will tell
		}
		if !filepath.IsAbs(to) {
			folder, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return "", err
			}
			to = filepath.Join(folder, to)
		}
		path = to
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// openFolder opens a folder to sync it later.
func openFolder(path string) (*os.File, error) {
	folder, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the folder %s does not exist: make it first (%w)", path, errors.Unwrap(err))
	}
	return folder, err
}

// createTemporary makes and locks a temporary file, and removes what killed
// writers left.
func createTemporary(folder string, perm fs.FileMode) (*os.File, error) {
	var created *os.File
	free := 0
	for n := 0; n < maxTemporaries && free < sweptNames; n++ {
		name := filepath.Join(folder, ".linktracker-"+strconv.Itoa(n)+".tmp")
		switch {
		case !removeLeftover(name):
			free = 0 // a living writer's
			continue
		case created != nil:
			free++
			continue
		}
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		switch {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return nil, err
		case !lockTemporary(file):
			file.Close() // another writer takes it for a leftover, and removes it
		default:
			created = file
		}
	}
	if created == nil {
		return nil, fmt.Errorf("%d programs write in %s, or their .linktracker-*.tmp cannot be removed: remove them", maxTemporaries, folder)
	}
	return created, nil
}

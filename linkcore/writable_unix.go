//go:build darwin || freebsd || linux

package linkcore

import (
	"io/fs"
	"os"
	"syscall"
)

// writableByOthers reports whether a path's group or others can write to it. The
// mount of a secret is read-only, whatever its mode says.
func writableByOthers(path string) (fs.FileMode, bool) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o022 == 0 {
		return 0, false
	}
	var mount syscall.Statfs_t
	const readOnly = 1 // ST_RDONLY, MNT_RDONLY
	if syscall.Statfs(path, &mount) == nil && mount.Flags&readOnly != 0 {
		return 0, false
	}
	return info.Mode().Perm(), true
}

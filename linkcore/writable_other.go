//go:build !(darwin || freebsd || linux)

package linkcore

import "io/fs"

// writableByOthers knows nothing where the mode of a file does not say it.
func writableByOthers(string) (fs.FileMode, bool) { return 0, false }

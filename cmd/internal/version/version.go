// Package version says which version of the project a program is.
package version

import "runtime/debug"

// String returns the module's version, or the commit of a build from a checkout, and
// the version of Go.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " " + info.GoVersion
}

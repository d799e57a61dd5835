package main

import (
	"os"
	"os/user"
)

// whoami names who runs the program, for created_by.
func (t *tool) whoami() string {
	name := t.getenv("USER")
	if name == "" {
		name = t.getenv("LOGNAME")
	}
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

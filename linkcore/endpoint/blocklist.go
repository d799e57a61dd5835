package endpoint

import (
	"errors"
	"fmt"
	"strings"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/file"
	"example.com/linktracker/linkcore/blocklist/firestore"
)

// OpenSource opens the rules that a URL names, for who follows them:
//
//   - firestore://PROJECT/DATABASE/COLLECTION, with (default) for the default
//     database. Nothing is sent before the first Read.
//   - file:PATH, a file of JSON lines, which must exist; one whose file system
//     does not answer within a second is left for Read to find.
//   - none: a nil Source, of which [blocklist.NewCache] makes a cache without
//     rules.
func OpenSource(url string) (blocklist.Source, error) {
	if url == "none" {
		return nil, nil
	}
	if path, ok := rulesFile(url); ok {
		f, err := file.Open(path)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return openBlocklist(url)
}

// OpenStore opens the rules that a URL names, for who writes or lists them, as
// [OpenSource] does. A file need not exist; Put makes it.
func OpenStore(url string) (blocklist.Store, error) {
	if url == "none" {
		return nil, errors.New("none holds no rules to read or write")
	}
	return openBlocklist(url)
}

func openBlocklist(url string) (blocklist.Backend, error) {
	if path, ok := rulesFile(url); ok {
		return file.New(path), nil
	}
	if path, ok := strings.CutPrefix(url, "firestore://"); ok {
		if parts := strings.Split(path, "/"); len(parts) == 3 {
			collection, err := firestore.New(parts[0], parts[1], parts[2])
			if err != nil {
				return nil, err
			}
			return collection, nil
		}
	}
	return nil, fmt.Errorf("%q is not of the form firestore://PROJECT/DATABASE/COLLECTION, file:PATH or none", url)
}

func rulesFile(url string) (path string, ok bool) {
	path, ok = strings.CutPrefix(url, "file:")
	return path, ok && path != ""
}

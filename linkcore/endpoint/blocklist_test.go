package endpoint

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/file"
	"example.com/linktracker/linkcore/blocklist/firestore"
)

func TestOpenBlocklist(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "rules.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]bool{
		"none":                              true,
		"file:" + folder + "/rules.jsonl":   true,
		"file:" + folder + "/missing.jsonl": false,
		"file:" + folder:                    false,
		"file:":                             false,
		"":                                  false,
		"rules.jsonl":                       false,
		"firestore://project/(default)/blocklist":  true,
		"firestore://example.com:project/db/rules": true,
		"firestore://project/blocklist":            false,
		"firestore://project/db/a/b":               false,
		"firestore:///db/blocklist":                false,
		"firestore://project//blocklist":           false,
		"firestore://project/db/":                  false,
		"firestore://project/db/..":                false,
		"pubsub://project/topic":                   false,
	} {
		source, err := OpenSource(url)
		if (err == nil) != want || (source != nil) != (want && url != "none") {
			t.Errorf("OpenSource(%q) = %v, %v", url, source, err)
		}
		if source != nil {
			if err := source.Close(); err != nil {
				t.Errorf("%q: Close: %v", url, err)
			}
		}
	}
	if _, err := OpenStore("none"); err == nil {
		t.Error("OpenStore(none) succeeded")
	}
	if store, err := OpenStore("firestore://project/"); err == nil || store != nil {
		t.Errorf("OpenStore: %v, %v", store, err)
	}
	store, err := OpenStore("file:" + folder + "/missing.jsonl")
	if _, ok := store.(*file.File); err != nil || !ok {
		t.Errorf("OpenStore = %T, %v", store, err)
	}
	store, err = OpenStore("firestore://project/(default)/blocklist")
	if _, ok := store.(*firestore.Collection); err != nil || !ok {
		t.Errorf("OpenStore = %T, %v", store, err)
	}
}

func TestReady(t *testing.T) {
	const wait = 3 * time.Second
	for _, test := range []struct {
		name  string
		rules blocklist.Stats
		after time.Duration
	}{
		{"whole", blocklist.Stats{}, 0},
		{"silent", blocklist.Stats{Loading: true}, wait},
		{"refusing", blocklist.Stats{Loading: true, RefreshFailures: 1}, wait},
		{"in time", blocklist.Stats{Loading: true, Heard: true, InTime: true}, wait},
		{"late", blocklist.Stats{Loading: true, Heard: true}, mostStartWaits * wait},
	} {
		if isReady(test.rules, test.after-1, wait) && test.after > 0 || !isReady(test.rules, test.after, wait) {
			t.Errorf("%s: not ready from %v on", test.name, test.after)
		}
	}
	if !isReady(blocklist.Stats{Loading: true, Heard: true}, 0, 0) {
		t.Error("without a wait it is not ready at once")
	}
}

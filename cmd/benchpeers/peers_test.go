package main

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"
)

// Every peer that can be had here without a download does the job that it is
// measured by: the right Location for each link, no forged one, no blocked one,
// an event for each.
func TestPeersDoTheirJob(t *testing.T) {
	testsize.Large(t)
	b := &bench{folder: t.TempDir(), rules: 1000, connections: 4}
	var err error
	if b.links, err = makeLinks(b.folder); err != nil {
		t.Fatal(err)
	}
	if b.sink, err = newSink(); err != nil {
		t.Fatal(err)
	}
	defer b.sink.close()
	t.Chdir("../..") // from where the peers are built
	for _, p := range allPeers("") {
		t.Run(p.name, func(t *testing.T) {
			if strings.HasPrefix(p.name, "workerd") || strings.Contains(p.name, "unction") {
				t.Skip("takes long to get: make bench-peers checks it")
			}
			if strings.HasPrefix(p.name, "nginx") {
				if _, err := exec.LookPath("nginx"); err != nil {
					t.Skip("nginx is not installed")
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if err := p.install(ctx, b); err != nil {
				t.Fatal(err)
			}
			if err := p.check(ctx, b); err != nil {
				t.Fatal(err)
			}
		})
	}
}

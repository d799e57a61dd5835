package main

import (
	"crypto/md5"
	_ "embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
)

// secret is the key that all peers check links with. It protects nothing.
const secret = "RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc="

// linkCount is how many different links are asked for in turn.
const linkCount = 1000

//go:embed load.lua
var loadScript []byte

// links are the requests of the load: the same destinations for all peers.
type links struct {
	destinations []string
	tracked      []string // request targets
	nginx        []string // the same, with the tag that secure_link checks
	forged       string
	nginxForged  string
	blocked      string
}

func makeLinks(folder string) (l links, err error) {
	key, err := linkcore.DecodeSecret(secret)
	if err != nil {
		return l, err
	}
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": key})
	if err != nil {
		return l, err
	}
	signer, err := ring.Signer("http://127.0.0.1", "")
	if err != nil {
		return l, err
	}
	sign := func(recipient int, destination string) (string, error) {
		t, err := signer.Sign(linkcore.Fields{
			Customer: "acme", Campaign: "spring26", Recipient: fmt.Sprintf("r%05d", recipient), Sent: time.Now().Add(-time.Hour),
		}, destination, linkcore.Options{})
		return strings.TrimPrefix(t.URL, "http://127.0.0.1"), err
	}
	for i := range linkCount {
		destination := fmt.Sprintf("https://www.example.com/spring/offers/%05d?utm_source=newsletter&utm_medium=email&utm_campaign=spring26", i)
		target, err := sign(i, destination)
		if err != nil {
			return l, err
		}
		l.destinations = append(l.destinations, destination)
		l.tracked = append(l.tracked, target)
		// nginx takes the rest of a query's argument up to the next "&", undecoded.
		plain := strings.ReplaceAll(destination, "&", ";")
		tag := md5.Sum([]byte(secret + plain))
		l.nginx = append(l.nginx, "/r?s="+base64.RawURLEncoding.EncodeToString(tag[:])+"&u="+plain)
	}
	if l.blocked, err = sign(0, "https://"+blockedHost(77)+"/"); err != nil {
		return l, err
	}
	l.forged = strings.Replace(l.tracked[0], "00000%3F", "00001%3F", 1)
	l.nginxForged = strings.Replace(l.nginx[0], "/00000?", "/00001?", 1)
	for name, targets := range map[string][]string{"tracked": l.tracked, "nginx": l.nginx} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(strings.Join(targets, "\n")+"\n"), 0o600); err != nil {
			return l, err
		}
	}
	return l, os.WriteFile(filepath.Join(folder, "load.lua"), loadScript, 0o600)
}

// blockedHost is the host of the n-th rule; workerd/rules.js has the same.
func blockedHost(n int) string { return fmt.Sprintf("blocked-%d.example.net", n) }

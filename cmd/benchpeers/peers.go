package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed workerd nginx
var configurations embed.FS

// workerdVersion is the version of the npm package.
const workerdVersion = "1.20261117.1"

const bareName = "bare net/http, always the same 302"

// A peer is a server that is measured.
type peer struct {
	name string

	// What it does of the endpoint's job.
	checks, blocks bool
	held           bool               // a response ends when its event is acknowledged
	events         func(*bench) int64 // counts those that have arrived; nil: it makes none

	nginxLinks bool
	install    func(context.Context, *bench) error
	command    func(b *bench, port string) (args, environment []string, err error)

	saturated, paced []measurement
	started          []time.Duration
}

// allPeers returns what is measured, and the endpoint as the program beside has it,
// if one is named.
func allPeers(beside string) []*peer {
	toSink := func(b *bench) int64 { return b.sink.events.Load() }
	peers := []*peer{
		{name: bareName, install: build("bare"), command: run("bare", nil)},
		{
			name: "linktracker, events to a file in the background", checks: true, blocks: true, events: clicksInFile,
			install: build("linktracker"), command: run("linktracker", fileEnvironment),
		},
		{
			name: "linktracker, events to Pub/Sub in the background", checks: true, blocks: true, events: toSink,
			install: build("linktracker"), command: run("linktracker", pubsubEnvironment),
		},
		{
			name: "linktracker, events to Pub/Sub, held", checks: true, blocks: true, events: toSink, held: true,
			install: build("linktracker"), command: run("linktracker", heldEnvironment),
		},
		{name: "net/http, HMAC check and 302 only", checks: true, install: build("hmac"), command: run("hmac", secretEnvironment)},
		{name: "nginx, secure_link and 302 only", checks: true, nginxLinks: true, install: needs("nginx"), command: nginx},
		{name: "workerd, the whole job", checks: true, blocks: true, events: toSink, install: installWorkerd, command: workerd},
		{name: "Functions Framework, always the same 302", install: build("framework"), command: run("framework", nil)},
		{
			name: "linktracker as a function, events to Pub/Sub in the background", checks: true, blocks: true, events: toSink,
			install: build("function"), command: run("function", pubsubEnvironment),
		},
	}
	if beside == "" {
		return peers
	}
	for _, p := range peers {
		if !strings.HasPrefix(p.name, "linktracker, ") {
			continue
		}
		before := *p
		before.name = "before: " + p.name
		before.install = needs(beside)
		before.command = func(b *bench, port string) ([]string, []string, error) {
			_, environment, err := p.command(b, port)
			return []string{beside}, environment, err
		}
		peers = append(peers, &before)
	}
	return peers
}

// build builds a Go program as it is deployed.
func build(name string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		folder := "./cmd/benchpeers/" + name
		if name == "linktracker" {
			folder = "./cmd/linktracker"
		}
		program := filepath.Join(b.folder, name)
		if _, err := os.Stat(program); err == nil {
			return nil // another peer is the same program
		}
		out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, folder).CombinedOutput()
		if err != nil {
			return fmt.Errorf("go build %s, to be run from the project's folder: %w: %s", folder, err, out)
		}
		return nil
	}
}

func run(name string, environment func(*bench) []string) func(*bench, string) ([]string, []string, error) {
	return func(b *bench, _ string) ([]string, []string, error) {
		if environment == nil {
			return []string{filepath.Join(b.folder, name)}, nil, nil
		}
		return []string{filepath.Join(b.folder, name)}, environment(b), nil
	}
}

func needs(program string) func(context.Context, *bench) error {
	return func(context.Context, *bench) error {
		_, err := exec.LookPath(program)
		return err
	}
}

func secretEnvironment(*bench) []string { return []string{"SECRET=" + secret} }

// endpointEnvironment is all but the way to deliver.
func endpointEnvironment(b *bench, clicks string) []string {
	keys, rules := filepath.Join(b.folder, "keys"), filepath.Join(b.folder, "rules")
	os.Mkdir(keys, 0o700)
	os.WriteFile(filepath.Join(keys, "1"), []byte(secret), 0o600)
	if _, err := os.Stat(rules); err != nil {
		var lines bytes.Buffer
		for i := range b.rules {
			fmt.Fprintf(&lines, `{"kind":"host","value":"%s","action":"block","reason":"phishing"}`+"\n", blockedHost(i))
		}
		os.WriteFile(rules, lines.Bytes(), 0o600)
	}
	return []string{"LINK_KEYS=" + keys, "BLOCKLIST=file:" + rules, "CLICKS=" + clicks, "TRUSTED_PROXIES=0"}
}

// In the background is for a server whose processor is always there: responses
// are not held, so wrk's latency is that of the first byte.
func fileEnvironment(b *bench) []string {
	return append(endpointEnvironment(b, "file:"+filepath.Join(b.folder, "clicks")), "DELIVERY=background")
}

func pubsubEnvironment(b *bench) []string {
	return append(endpointEnvironment(b, "pubsub://benchmark/clicks"), "PUBSUB_EMULATOR_HOST="+b.sink.pubsub, "DELIVERY=background")
}

// heldEnvironment is the endpoint's default, which an instance needs that has its
// processor during requests only. There are places for more responses than wrk has
// connections, since an event that finds none is spilled, and would be missed.
func heldEnvironment(b *bench) []string {
	return append(endpointEnvironment(b, "pubsub://benchmark/clicks"), "PUBSUB_EMULATOR_HOST="+b.sink.pubsub,
		"DELIVERY=hold", "HOLD_MAX="+strconv.Itoa(2*b.connections+100))
}

// clicksInFile counts the lines of the file sink.
func clicksInFile(b *bench) (lines int64) {
	f, err := os.Open(filepath.Join(b.folder, "clicks"))
	if err != nil {
		return 0
	}
	defer f.Close()
	if b.clicks.offset, err = f.Seek(b.clicks.offset, io.SeekStart); err != nil {
		return b.clicks.lines
	}
	buffer := make([]byte, 1<<20)
	for {
		n, err := f.Read(buffer)
		b.clicks.offset += int64(n)
		b.clicks.lines += int64(bytes.Count(buffer[:n], []byte{'\n'}))
		if err != nil {
			return b.clicks.lines
		}
	}
}

// configure writes a peer's configuration with its placeholders filled in, and
// returns the folder.
func configure(b *bench, name, port string, values ...string) (string, error) {
	folder := filepath.Join(b.folder, name+"-"+port)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	replace := strings.NewReplacer(append(values, "PORT", port, "FOLDER", folder, "LINK_SECRET", secret)...)
	return folder, fs.WalkDir(configurations, name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := configurations.ReadFile(path)
		if err != nil {
			return err
		}
		content := string(data)
		if ext := filepath.Ext(path); ext == ".conf" || ext == ".capnp" {
			content = replace.Replace(content)
		}
		return os.WriteFile(filepath.Join(folder, entry.Name()), []byte(content), 0o600)
	})
}

func nginx(b *bench, port string) (args, environment []string, err error) {
	folder, err := configure(b, "nginx", port)
	return []string{"nginx", "-p", folder, "-c", filepath.Join(folder, "nginx.conf")}, nil, err
}

func installWorkerd(ctx context.Context, b *bench) error {
	if err := needs("npm")(ctx, b); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", b.folder, "workerd@"+workerdVersion)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install workerd: %w: %s", err, out)
	}
	return nil
}

func workerd(b *bench, port string) (args, environment []string, err error) {
	folder, err := configure(b, "workerd", port, "SINK_ADDRESS", b.sink.http, "RULES_COUNT", strconv.Itoa(b.rules))
	programs, _ := filepath.Glob(filepath.Join(b.folder, "node_modules/@cloudflare/workerd-*/bin/workerd"))
	if err == nil && len(programs) == 0 {
		err = errors.New("npm has installed no workerd for this platform")
	}
	if err != nil {
		return nil, nil, err
	}
	return []string{programs[0], "serve", filepath.Join(folder, "config.capnp")}, nil, nil
}

// targets is the file of the peer's request targets.
func (p *peer) targets(b *bench) string {
	if p.nginxLinks {
		return filepath.Join(b.folder, "nginx")
	}
	return filepath.Join(b.folder, "tracked")
}

// check has the peer show that it does its job.
func (p *peer) check(ctx context.Context, b *bench) error {
	s, err := p.start(ctx, b)
	if err != nil {
		return err
	}
	defer s.stop()
	targets, forged := b.links.tracked, b.links.forged
	if p.nginxLinks {
		targets, forged = b.links.nginx, b.links.nginxForged
	}
	if err := s.await(ctx, targets[0]); err != nil {
		return err
	}
	// A response without a length can wait for something after its headers.
	if response, err := s.get(targets[0]); err != nil || p.held != (response.ContentLength < 0) {
		return fmt.Errorf("held is %t, and the response %+v, %v", p.held, response, err)
	}
	if err := p.settle(b); err != nil {
		return err
	}
	var before int64
	if p.events != nil {
		before = p.events(b)
	}
	for i, target := range targets {
		location, err := s.location(target, http.StatusFound)
		want := b.links.destinations[i]
		if p.nginxLinks {
			location = strings.ReplaceAll(location, ";", "&")
		}
		if err != nil || p.checks && location != want {
			return fmt.Errorf("link %d leads to %q, %v; want %s", i, location, err, want)
		}
	}
	if p.checks {
		if _, err := s.location(forged, http.StatusNotFound); err != nil {
			return fmt.Errorf("a forged link: %w", err)
		}
	}
	want := int64(len(targets))
	if p.blocks {
		deadline := time.Now().Add(10 * time.Second)
		for {
			// The rules may still be loading.
			_, err := s.location(b.links.blocked, http.StatusGone)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("a blocked link: %w", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if p.events != nil {
		if err := p.settle(b); err != nil {
			return err
		}
		// Workerd publishes no event for a blocked click, the endpoint does.
		if got := p.events(b) - before; got < want {
			return fmt.Errorf("%d events of %d clicks", got, want)
		}
	}
	return nil
}

func (s *server) location(target string, status int) (string, error) {
	response, err := s.get(target)
	if err != nil {
		return "", err
	}
	if response.StatusCode != status {
		return "", fmt.Errorf("%s, want %d", response.Status, status)
	}
	return response.Header.Get("Location"), nil
}

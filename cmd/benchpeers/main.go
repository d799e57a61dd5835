// Benchpeers measures the endpoint beside other servers on this machine:
//
//	make bench-peers
//
// Each server runs on one core, and wrk with 32 connections on another, in
// rounds that alternate between the servers, so that other work on the machine
// affects all alike. First each server must show that it does its job: the right
// Location for every link, a refusal of a forged one, a page for a blocked one,
// and, after each round, exactly one event a request.
//
// It needs wrk and taskset, and nginx and npm (for workerd) to measure those. It
// leaves out a peer that it cannot get, and says so.
//
// It prints two tables. In the first each server is saturated: wrk sends the next
// request as soon as it has a response. In the second each server gets the same
// number of requests a second, -rate: only there do latencies compare, since a
// saturated server's latency is the length of its queue.
//
// The columns: the processor time of the server's processes by the operating
// system's accounting, in microseconds a request, and its ratio to bare net/http;
// requests a second; the latency until the response ends, which is that of the
// first byte where the response is not held; resident memory at the end of the
// load; the time from exec to the first redirect.
//
// The endpoint delivers its events in the background, or holds each response
// until its event is acknowledged, the default of the endpoint and of Terraform.
// A held response occupies its connection, so 32 saturated connections measure the
// acknowledgement; the processor idles, and few events share a call. To measure a
// busy instance, with as many connections as Terraform lets an instance have:
//
//	make bench-peers PEERS='-connections 250 -only Pub/Sub'
//
// To see what a change costs, build the program before it and measure both:
//
//	make bench-peers PEERS='-beside ../before/linktracker -only linktracker -rounds 11'
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var b bench
	flag.IntVar(&b.rounds, "rounds", 5, "rounds, of which the median counts")
	flag.DurationVar(&b.duration, "duration", 5*time.Second, "length of each peer's part of a round, at least 1s")
	flag.IntVar(&b.rate, "rate", 2000, "requests a second of the second table; 0: leave it out")
	flag.IntVar(&b.connections, "connections", 32, "connections that wrk keeps open")
	flag.IntVar(&b.rules, "rules", 100_000, "rules in the blocklist")
	flag.IntVar(&b.starts, "starts", 9, "starts from which the time to the first redirect is taken")
	flag.StringVar(&b.only, "only", "", "measure only the peers whose name contains this, and bare net/http")
	flag.StringVar(&b.beside, "beside", "", "a program built from another commit of cmd/linktracker, to be measured in the same rounds")
	flag.Parse()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchpeers:", err)
		os.Exit(1)
	}
}

type bench struct {
	rounds, connections, rules, starts, rate int
	duration                                 time.Duration
	only, beside                             string

	folder string
	links  links
	sink   *sink
	clicks struct{ offset, lines int64 } // of the file sink, counted so far
}

const (
	serverCore = "0"
	loadCore   = "1"
)

func (b *bench) run(ctx context.Context) (err error) {
	if runtime.NumCPU() < 2 {
		return errors.New("two cores are needed: one for the server and one for the load")
	}
	for _, program := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: install it (Debian: apt-get install wrk util-linux)", program)
		}
	}
	// This process acknowledges events, which belongs to the load.
	if out, err := exec.Command("taskset", "-a", "-p", "-c", loadCore, strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
		return fmt.Errorf("taskset: %w: %s", err, out)
	}
	if b.folder, err = os.MkdirTemp("", "benchpeers-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	if b.links, err = makeLinks(b.folder); err != nil {
		return err
	}
	if b.sink, err = newSink(); err != nil {
		return err
	}
	defer b.sink.close()

	var peers []*peer
	for _, p := range allPeers(b.beside) {
		if b.only != "" && p.name != bareName && !strings.Contains(p.name, b.only) {
			continue
		}
		if err := p.install(ctx, b); err != nil {
			fmt.Fprintf(os.Stderr, "left out: %s: %v\n", p.name, err)
			continue
		}
		if err := p.check(ctx, b); err != nil {
			return fmt.Errorf("%s does not do its job: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "ready: %s\n", p.name)
		peers = append(peers, p)
	}
	for round := range b.rounds {
		for _, p := range peers {
			for _, load := range []struct {
				rate     int
				measured *[]measurement
			}{{0, &p.saturated}, {b.rate, &p.paced}} {
				if load.measured == &p.paced && b.rate == 0 {
					continue
				}
				m, err := p.load(ctx, b, load.rate)
				if err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
				*load.measured = append(*load.measured, m)
				fmt.Fprintf(os.Stderr, "round %d: %7.1f µs CPU, %7.0f requests/s, p99 %6.2f ms: %s\n", round+1, m.cpu, m.rate, m.p99, p.name)
			}
		}
	}
	for range b.starts {
		for _, p := range peers {
			took, err := p.startToRedirect(ctx, b)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			p.started = append(p.started, took)
		}
	}
	b.print(peers)
	return nil
}

// print writes the tables as Markdown.
func (b *bench) print(peers []*peer) {
	fmt.Printf("%s, %s, %d cores; server on one core, wrk with %d connections on another; median of %d rounds of %v; %d rules.\n",
		time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), b.connections, b.rounds, b.duration, b.rules)
	fmt.Print("\nSaturated:\n\n| server | CPU, ratio to bare net/http | CPU, µs a request | requests/s | p50, ms | p99, ms | resident, MiB | exec to first redirect, ms |\n")
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	bare := measurement{cpu: math.NaN()}
	for _, p := range peers {
		m := median(p.saturated)
		if p.name == bareName {
			bare = m
		}
		slices.Sort(p.started)
		start := float64(p.started[len(p.started)/2].Microseconds()) / 1e3
		fmt.Printf("%s %.0f | %.0f |\n", m.row(p, bare), m.resident, start)
	}
	if b.rate == 0 {
		return
	}
	fmt.Printf("\nAt %d requests a second:\n\n| server | CPU, ratio to bare net/http | CPU, µs a request | requests/s | p50, ms | p99, ms |\n", b.rate)
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: |")
	bare = measurement{cpu: math.NaN()}
	for _, p := range peers {
		m := median(p.paced)
		if p.name == bareName {
			bare = m
		}
		fmt.Println(m.row(p, bare))
	}
}

// row returns the columns that both tables have.
func (m measurement) row(p *peer, bare measurement) string {
	return fmt.Sprintf("| %s | %.2f | %.1f | %.0f | %.2f | %.2f |", p.name, m.cpu/bare.cpu, m.cpu, m.rate, m.p50, m.p99)
}

// processor names the machine's processor.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// A measurement is one round of one server.
type measurement struct {
	cpu      float64 // µs a request
	rate     float64 // requests a second
	p50, p99 float64 // ms
	resident float64 // MiB
}

// median returns the median of each figure by itself.
func median(measured []measurement) measurement {
	middle := func(of func(measurement) float64) float64 {
		values := make([]float64, len(measured))
		for i, m := range measured {
			values[i] = of(m)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return measurement{
		cpu:      middle(func(m measurement) float64 { return m.cpu }),
		rate:     middle(func(m measurement) float64 { return m.rate }),
		p50:      middle(func(m measurement) float64 { return m.p50 }),
		p99:      middle(func(m measurement) float64 { return m.p99 }),
		resident: middle(func(m measurement) float64 { return m.resident }),
	}
}

// load puts one server under load for one round, of rate requests a second; 0: as
// many as it answers.
func (p *peer) load(ctx context.Context, b *bench, rate int) (m measurement, err error) {
	s, err := p.start(ctx, b)
	if err != nil {
		return m, err
	}
	defer s.stop()
	if err := s.await(ctx, b.target(p)); err != nil {
		return m, err
	}
	// The first second warms up: connections, caches, the garbage collector's goal.
	if _, err := b.wrk(ctx, s, p, rate, time.Second); err != nil {
		return m, err
	}
	if err := p.settle(b); err != nil {
		return m, err
	}
	var events int64
	if p.events != nil {
		events = p.events(b)
	}
	before := s.cpu()
	w, err := b.wrk(ctx, s, p, rate, b.duration)
	if err != nil {
		return m, err
	}
	if w.Requests == 0 || w.Errors != 0 {
		return m, fmt.Errorf("%d requests, %d errors", w.Requests, w.Errors)
	}
	// The server's work ends with its last event.
	if err := p.settle(b); err != nil {
		return m, err
	}
	m = measurement{
		cpu:      float64((s.cpu() - before).Nanoseconds()) / 1e3 / float64(w.Requests),
		rate:     float64(w.Requests) / (float64(w.Duration) / 1e6),
		p50:      float64(w.P50) / 1e3,
		p99:      float64(w.P99) / 1e3,
		resident: float64(s.resident()) / (1 << 20),
	}
	// wrk hangs up on as many requests as it has connections; the server has
	// answered some of them.
	if p.events != nil {
		if got := p.events(b) - events; got < w.Requests || got > w.Requests+int64(b.connections) {
			return m, fmt.Errorf("%d requests and %d events", w.Requests, got)
		}
	}
	return m, nil
}

// settle waits until no more events arrive.
func (p *peer) settle(b *bench) error {
	if p.events == nil {
		return nil
	}
	quiet := time.Now()
	for last := p.events(b); time.Since(quiet) < 300*time.Millisecond; {
		time.Sleep(20 * time.Millisecond)
		if now := p.events(b); now != last {
			last, quiet = now, time.Now()
		}
	}
	return nil
}

// wrkResult is what load.lua prints.
type wrkResult struct {
	Requests int64 // answered
	Duration int64 // µs
	Errors   int64
	P50, P99 int64 // µs
}

func (b *bench) wrk(ctx context.Context, s *server, p *peer, rate int, duration time.Duration) (w wrkResult, err error) {
	cmd := exec.CommandContext(ctx, "taskset", "-c", loadCore, "wrk", "-t1", "-c", strconv.Itoa(b.connections),
		"-d", fmt.Sprintf("%ds", int(max(duration, time.Second).Seconds())), "-s", filepath.Join(b.folder, "load.lua"), "http://"+s.address)
	cmd.Env = append(os.Environ(), "TARGETS="+p.targets(b), "RATE="+strconv.Itoa(rate))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if _, err := cmd.Output(); err != nil {
		return w, fmt.Errorf("wrk: %w: %s", err, stderr.Bytes())
	}
	if err := json.Unmarshal(stderr.Bytes(), &w); err != nil {
		return w, fmt.Errorf("wrk: %w: %s", err, stderr.Bytes())
	}
	return w, nil
}

// startToRedirect is the time from exec to the first redirect.
func (p *peer) startToRedirect(ctx context.Context, b *bench) (time.Duration, error) {
	begin := time.Now()
	s, err := p.start(ctx, b)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	err = s.await(ctx, b.target(p))
	return time.Since(begin), err
}

// await asks until the server redirects.
func (s *server) await(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		response, err := s.get(target)
		if err == nil && response.StatusCode == http.StatusFound {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %s", s.output.String())
		case <-ctx.Done():
			return cmp.Or(err, ctx.Err())
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// get asks for a target, on a connection of its own.
func (s *server) get(target string) (*http.Response, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}
	request, err := http.NewRequest("GET", "http://"+s.address, nil)
	if err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(target, "?")
	request.URL.Opaque = "//" + s.address + path // as it is, byte for byte
	request.URL.RawQuery = query
	request.Host = "127.0.0.1"
	response, err := transport.RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
	return response, err
}

// target returns the first of the peer's request targets.
func (b *bench) target(p *peer) string {
	if p.nginxLinks {
		return b.links.nginx[0]
	}
	return b.links.tracked[0]
}

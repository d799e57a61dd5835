package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/testsize"
)

// TestMain is the program itself where a test has started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("LINKTRACKER_TEST_MAIN") == "1" {
		if path := os.Getenv("LINKTRACKER_TEST_VITALS"); path != "" {
			go writeVitals(path)
		}
		main()
	}
	os.Exit(m.Run())
}

// server is the program as a process of its own.
type server struct {
	*exec.Cmd
	address string // host:port
	folder  string // its working folder
	stderr  output

	mu     sync.Mutex
	lines  []map[string]any // its log
	logged chan struct{}    // closed when standard output has ended
}

// output is a buffer that is read while a process still writes to it.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// start starts the server and waits until it listens.
func start(t testing.TB, args []string, environment ...string) *server {
	t.Helper()
	return startCommand(t, func(s *server) { s.Args = append(s.Args, args...) }, environment...)
}

// startCommand is start for a command that is changed before it runs.
func startCommand(t testing.TB, change func(*server), environment ...string) *server {
	t.Helper()
	s := command(t, nil, environment...)
	change(s)
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	listening := make(chan string, 1)
	go func() {
		defer close(s.logged)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var line map[string]any
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				line = map[string]any{"message": lines.Text()}
				// So it is written for people, after the time.
				if _, address, ok := strings.Cut(lines.Text(), "  listening  "); ok {
					line = map[string]any{"message": "listening", "address": address}
				}
			}
			s.mu.Lock()
			s.lines = append(s.lines, line)
			s.mu.Unlock()
			if line["message"] == "listening" {
				listening <- line["address"].(string)
			}
		}
	}()
	select {
	case address := <-listening:
		_, port, _ := net.SplitHostPort(address)
		s.address = net.JoinHostPort("127.0.0.1", port)
	case <-s.logged:
		s.Wait()
		t.Fatalf("the server ended: %v\n%s", s.ProcessState, s.stderr.String())
	case <-time.After(2 * time.Minute):
		t.Fatalf("the server does not listen\n%s", s.stderr.String())
	}
	return s
}

// command returns the server not yet started.
func command(t testing.TB, args []string, environment ...string) *server {
	t.Helper()
	testsize.Medium(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Cmd: exec.Command(program, args...), folder: t.TempDir(), logged: make(chan struct{})}
	s.Dir = s.folder
	s.Cmd.Stderr = &s.stderr
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if name != "PORT" && name != "GORACE" {
			s.Env = append(s.Env, e)
		}
	}
	s.Env = append(s.Env, "LINKTRACKER_TEST_MAIN=1", "PORT=0", "TRUSTED_PROXIES=0", "GORACE=atexit_sleep_ms=0")
	s.Env = append(s.Env, environment...)
	return s
}

// log returns the lines with a message, so far.
func (s *server) log(message string) (found []map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.lines {
		if line["message"] == message {
			found = append(found, line)
		}
	}
	return found
}

// stop sends SIGTERM and returns the exit code and how long the stop took. How
// long it may take is tested with the endpoint.
func (s *server) stop(t testing.TB) (int, time.Duration) {
	t.Helper()
	begin := time.Now()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.logged:
	case <-time.After(2 * time.Minute):
		s.Process.Kill()
		t.Error("it does not end")
		<-s.logged
	}
	var exit *exec.ExitError
	if err := s.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return s.ProcessState.ExitCode(), time.Since(begin)
}

// keyFolder makes a key ring with one key, and a signer for the server.
func keyFolder(t testing.TB) (folder string, ring *linkcore.KeyRing) {
	t.Helper()
	folder = t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "1"), []byte("RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := linkcore.OpenKeyRing(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	return folder, ring
}

// link returns the target of a link on the host 127.0.0.1.
func link(t testing.TB, ring *linkcore.KeyRing, f linkcore.Fields, destination string, o linkcore.Options) string {
	t.Helper()
	signer, err := ring.Signer("http://127.0.0.1", "")
	if err != nil {
		t.Fatal(err)
	}
	tracked, err := signer.Sign(f, destination, o)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(tracked.URL, "http://127.0.0.1")
}

var httpClient = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256},
	Timeout:       patience,
}

// headers returns the status and how long it took to arrive; a held response
// may be open for longer.
func (s *server) headers(t testing.TB, target string) (int, time.Duration) {
	t.Helper()
	begin := time.Now()
	response, err := httpClient.Get("http://" + s.address + target)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode, time.Since(begin)
}

// get returns the status and the Location once the response has ended.
func (s *server) get(t testing.TB, target string) (int, string) {
	t.Helper()
	response, err := httpClient.Get("http://" + s.address + target)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode, response.Header.Get("Location")
}

// post sends a form and returns the status.
func (s *server) post(t testing.TB, target, form string) int {
	t.Helper()
	response, err := httpClient.Post("http://"+s.address+target, "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode
}

func TestDev(t *testing.T) {
	s := start(t, []string{"--dev"})
	var found []string
	waitFor(t, "the link", func() bool {
		found = regexp.MustCompile(`http://localhost:\d+(/ck1\S+)\n`).FindStringSubmatch(s.stderr.String())
		return found != nil
	})
	request, _ := http.NewRequest("GET", "http://"+s.address, nil)
	request.URL.Opaque = found[1]
	request.Host = "localhost:1234"
	response, err := httpClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusFound || response.Header.Get("Location") != devDestination {
		t.Errorf("%s to %s", response.Status, response.Header.Get("Location"))
	}
	taken := command(t, []string{"--dev"}, "PORT="+s.address[strings.LastIndex(s.address, ":")+1:])
	if taken.Run(); taken.ProcessState.ExitCode() != 1 || !strings.Contains(taken.stderr.String(), "PORT=9090 make run") {
		t.Errorf("a port that is taken: %v %s", taken.ProcessState, taken.stderr.String())
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if all := fmt.Sprint(s.lines); strings.Count(all, "  click  GET  302  automated  acme/spring26  ") != 1 {
		t.Errorf("no line for people about the click: %s", all)
	}
	clicks, err := os.ReadFile(filepath.Join(s.folder, devFolder, "clicks.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var event map[string]any
	if err := json.Unmarshal(clicks, &event); err != nil || event["destination"] != devDestination || event["customer"] != "acme" {
		t.Errorf("clicks: %s, %v", clicks, err)
	}
	info, err := os.Stat(filepath.Join(s.folder, devFolder, "keys", "k1"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file is %v, %v", info.Mode(), err)
	}

	// Run again, it uses what is there.
	again := command(t, []string{"--dev"})
	before, _ := os.ReadFile(filepath.Join(s.folder, devFolder, "keys", "k1"))
	again.Dir = s.folder
	again.Cmd.Stdout = io.Discard
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	again.Process.Signal(syscall.SIGTERM)
	again.Wait()
	after, _ := os.ReadFile(filepath.Join(s.folder, devFolder, "keys", "k1"))
	if !bytes.Equal(before, after) {
		t.Error("the key was overwritten")
	}
}

// A shell with production's variables must neither sign with its key, nor follow
// its rules, nor publish to its topic.
func TestDevIgnoresProduction(t *testing.T) {
	keys, ring := keyFolder(t)
	production := t.TempDir()
	clicks, rules := filepath.Join(production, "clicks.jsonl"), filepath.Join(production, "rules.jsonl")
	if err := os.WriteFile(rules, []byte(`{"kind":"host","value":"example.com","action":"block"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, []string{"--dev"}, "LINK_KEYS="+keys, "BLOCKLIST=file:"+rules, "CLICKS=file:"+clicks)
	var found []string
	waitFor(t, "the link", func() bool {
		found = regexp.MustCompile(`http://localhost:\d+(/ck1\S+)\n`).FindStringSubmatch(s.stderr.String())
		return found != nil
	})
	if _, err := ring.Verify("localhost", found[1]); err == nil {
		t.Error("the link is signed with production's key")
	}
	request, _ := http.NewRequest("GET", "http://"+s.address, nil)
	request.URL.Opaque = found[1]
	request.Host = "localhost"
	response, err := httpClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusFound {
		t.Errorf("production's rule is followed: %s", response.Status)
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if content, err := os.ReadFile(clicks); len(content) > 0 {
		t.Errorf("production got %s, %v", content, err)
	}
	if content, err := os.ReadFile(filepath.Join(s.folder, devFolder, "clicks.jsonl")); len(content) == 0 {
		t.Errorf("the click is nowhere: %v", err)
	}
	for _, variable := range []string{"LINK_KEYS", "BLOCKLIST", "CLICKS"} {
		if strings.Count(s.stderr.String(), "linktracker: --dev ignores "+variable+" and uses ") != 1 {
			t.Errorf("no line about %s:\n%s", variable, s.stderr.String())
		}
	}
	if strings.Contains(s.stderr.String(), production) {
		t.Errorf("a command for production is shown:\n%s", s.stderr.String())
	}
}

// What can't be understood stops the start: exit code 2, one line.
func TestRefusesToStart(t *testing.T) {
	keys, _ := keyFolder(t)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct{ name, value, message string }{
		{"LINK_KEYS", missing, "no such file"},
		{"LINK_KEYS", t.TempDir(), "linkctl keys new"},
		{"BLOCKLIST", "mysql://x", "firestore://"},
		{"BLOCKLIST", "firestore://project", "firestore://"},
		{"CLICKS", "kafka://x", "pubsub://"},
		{"CLICKS", "pubsub://project", "pubsub://"},
		{"CLICKS", "file:" + missing + "/clicks", "does not exist"},
		{"CLICKS", "file:", "file:"},
		{"PORT", "http", "65535"},
		{"DELIVERY", "maybe", "hold, background"},
		{"ADMIN_ADDRESS", "0.0.0.0:9090", "127.0.0.1:9090"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Parallel()
			s := command(t, nil, "LINK_KEYS="+keys, "BLOCKLIST=none", "CLICKS=stdout", c.name+"="+c.value)
			err := s.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 {
				t.Errorf("%v, want exit code 2", err)
			}
			text := s.stderr.String()
			if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "linktracker: "+c.name+" ") || !strings.Contains(text, c.message) {
				t.Errorf("%q must be one line with %q", text, c.message)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"--help", 0, "CLICKS", ""},
		{"help", 0, "CLICKS", ""},
		{"--version", 0, "linktracker ", ""},
		{"--nonsense", 2, "", `linktracker: "--nonsense" is not understood`},
		{"dev", 2, "", "give --dev to try it"},
		{"--dev extra", 2, "", `linktracker: "--dev extra" is not understood`},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), func(string) string { return "" }, &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) || (stderr.Len() > 0) != (code != 0) {
			t.Errorf("linktracker %s: %d %s%s", c.args, code, stdout.String(), stderr.String())
		}
	}
}

func TestPortInUse(t *testing.T) {
	keys, _ := keyFolder(t)
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	s := command(t, nil, "LINK_KEYS="+keys, "BLOCKLIST=none", "CLICKS=stdout", "PORT="+port)
	if s.Run(); s.ProcessState.ExitCode() != 1 || !strings.Contains(s.stderr.String(), "PORT") {
		t.Errorf("%v: %s", s.ProcessState, s.stderr.String())
	}
}

// stat adds up a count over all stats lines.
func (s *server) stat(name string) (sum int) {
	for _, line := range s.log("stats") {
		n, _ := line[name].(float64)
		sum += int(n)
	}
	return sum
}

func (s *server) spilledIDs(t testing.TB) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for _, line := range s.log("event spilled") {
		event, _ := line["event"].(map[string]any)
		id, _ := event["event_id"].(string)
		if id == "" {
			t.Errorf("a spilled line without its event: %v", line)
		}
		ids[id] = true
	}
	return ids
}

func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between looks at another process
	}
}

// The names and the meaning of the stats line are a contract with the metrics
// that are made of it.
func TestStatsLine(t *testing.T) {
	keys, ring := keyFolder(t)
	rules := filepath.Join(t.TempDir(), "rules.jsonl")
	if err := os.WriteFile(rules, []byte(`{"kind":"customer","value":"bad"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, "LINK_KEYS="+keys, "CLICKS=file:clicks", "BLOCKLIST=file:"+rules)
	waitFor(t, "the rules", func() bool { return len(s.log("blocklist loaded")) == 1 })
	click := func(f linkcore.Fields) string {
		return link(t, ring, f, "https://example.com/?a=1", linkcore.Options{})
	}
	good := click(linkcore.Fields{})
	for _, target := range []string{
		good, good + ")", // the second one is recovered
		click(linkcore.Fields{Link: "an_1"}),
		click(linkcore.Fields{Customer: "bad"}),
		link(t, ring, linkcore.Fields{}, "", linkcore.Options{Kind: linkcore.Open}),
		"/nothing", "/nothing/either", strings.Replace(good, "%3D1", "%3D2", 1), "/robots.txt", "/-/live",
	} {
		s.get(t, target)
	}
	for _, wish := range []struct {
		kind linkcore.Kind
		form string
	}{
		{linkcore.Unsubscribe, "List-Unsubscribe=One-Click"},
		{linkcore.Privacy, "Tracking=Stop"}, {linkcore.Privacy, "Tracking=Stop"}, {linkcore.Privacy, "Tracking=Allow"},
	} {
		s.post(t, link(t, ring, linkcore.Fields{Recipient: "r1"}, "", linkcore.Options{Kind: wish.kind}), wish.form)
	}
	if code, _ := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	lines := s.log("stats")
	if len(lines) != 1 {
		t.Fatalf("%d stats lines", len(lines))
	}
	line := lines[0]
	for name, want := range map[string]float64{
		"redirects": 3, "opens": 1, "unsubscribes": 1, "objections": 2, "objections_withdrawn": 1, "blocked": 1, "invalid": 3, "untracked": 3, "recovered": 1,
		"delivered": 9, "spilled": 0, "refresh_failures": 0, "key_failures": 0, "rules": 1, "keys": 1, "held": 0,
	} {
		if got, ok := line[name].(float64); !ok || got != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	if age, ok := line["blocklist_age_seconds"].(float64); !ok || age < 0 || age > 60 {
		t.Errorf("blocklist_age_seconds is %v", line["blocklist_age_seconds"])
	}
	causes, _ := line["invalid_causes"].(map[string]any)
	if len(causes) != 2 || causes["not_link"] != 2.0 || causes["tag"] != 1.0 {
		t.Errorf("invalid_causes is %v", line["invalid_causes"])
	}
	firstByte, _ := line["first_byte_us"].(map[string]any)
	if firstByte["count"] != 9.0 || firstByte["le_1000000"] != 9.0 || firstByte["sum"] == nil {
		t.Errorf("first_byte_us is %v", line["first_byte_us"])
	}
	if line["severity"] != "INFO" || line["time"] == nil {
		t.Errorf("the line is %v", line)
	}
}

// When nobody reads the log any more, links go on working.
func TestClosedStandardOutput(t *testing.T) {
	keys, ring := keyFolder(t)
	address := refusing(t)
	_, port, _ := net.SplitHostPort(address)
	s := command(t, nil, "LINK_KEYS="+keys, "CLICKS=stdout", "BLOCKLIST=none", "PORT="+port)
	s.address = address
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Cmd.Stdout = write
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	write.Close()
	read.Close()
	waitFor(t, "the server", func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	target := link(t, ring, linkcore.Fields{}, "https://example.com/", linkcore.Options{})
	for range 5 {
		if status, _ := s.get(t, target); status != http.StatusFound {
			t.Errorf("status %d", status)
		}
	}
}

package endpoint_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	// The program below imports it, which is not seen from here otherwise.
	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"example.com/linktracker/linkcore/testsize"
)

// program is what the platform's build puts around a function.
const program = `package main

import (
	"log"
	"os"

	_ "example.com/linktracker"
	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

func main() {
	if err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}
`

var functionFolder string // empty until a test has the function built

var buildFunction = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "linktracker-function-")
	if err != nil {
		return "", err
	}
	functionFolder = folder
	source := filepath.Join(folder, "main.go")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(folder, "function")
	out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(functionFolder)
	os.Exit(code)
}

// function is a running function.
type function struct {
	*exec.Cmd
	address string
	stdout  bytes.Buffer
	stderr  bytes.Buffer
}

type vectors struct {
	Keys     map[string]string
	Valid    []struct{ Kind, Host, Target, Destination string }
	Invalid  []struct{ Why, Host, Target string }
	Repaired []struct{ Mangling, Host, Target, Destination string }
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("../testdata/link-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// startFunction starts the function as the platform does, with the vectors' keys.
func startFunction(t *testing.T, v vectors, environment ...string) *function {
	t.Helper()
	return startFunctionWith(t, v, 1024, environment...)
}

// startFunctionWith starts it with so many file descriptors.
func startFunctionWith(t *testing.T, v vectors, descriptors int, environment ...string) *function {
	t.Helper()
	testsize.Medium(t)
	binary, err := buildFunction()
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	for id, secret := range v.Keys {
		if err := os.WriteFile(filepath.Join(keys, id), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &function{Cmd: exec.Command("/bin/sh", "-c", fmt.Sprintf("ulimit -n %d && exec %s", descriptors, binary)), address: listener.Addr().String()}
	_, port, _ := net.SplitHostPort(f.address)
	listener.Close()
	f.Env = append(os.Environ(), "PORT="+port, "FUNCTION_TARGET=Redirect", "LINK_KEYS="+keys, "BLOCKLIST=none")
	f.Env = append(f.Env, environment...)
	f.Stdout, f.Stderr = &f.stdout, &f.stderr
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Process.Kill(); f.Wait() })
	deadline := time.Now().Add(2 * time.Minute)
	for {
		conn, err := net.Dial("tcp", f.address)
		if err == nil {
			conn.Close()
			return f
		}
		if time.Now().After(deadline) {
			t.Fatalf("the function does not listen: %v\n%s", err, f.stderr.String())
		}
		time.Sleep(time.Millisecond) // between attempts to connect
	}
}

// A client sends targets as they are, which net/http's would re-encode.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) get(t *testing.T, host, target string) *http.Response {
	t.Helper()
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	return response
}

// Every vector is answered by the function as by the server, with its headers: no
// ServeMux of the framework cleans a path or redirects before it.
func TestVectorsThroughTheFunction(t *testing.T) {
	testsize.Medium(t)
	v := loadVectors(t)
	clicks := filepath.Join(t.TempDir(), "clicks")
	f := startFunction(t, v, "CLICKS=file:"+clicks)
	c := dial(t, f.address)
	refused := func(target string) bool { _, err := url.ParseRequestURI(target); return err != nil }
	events := 0
	for _, e := range v.Valid {
		response := c.get(t, e.Host, e.Target)
		want := http.StatusOK
		if e.Kind == "c" {
			want = http.StatusFound
		}
		if response.StatusCode != want || e.Kind == "c" && response.Header.Get("Location") != e.Destination {
			t.Errorf("%s %s: %s to %q", e.Host, e.Target, response.Status, response.Header.Get("Location"))
		}
		if e.Kind != "u" {
			events++
		}
	}
	for _, e := range v.Repaired {
		// net/http refuses a path with a percent sign that begins no escape
		// before any handler sees it.
		if refused(e.Target) {
			other := dial(t, f.address)
			if response := other.get(t, e.Host, e.Target); response.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s: %s", e.Mangling, e.Target, response.Status)
			}
			continue
		}
		response := c.get(t, e.Host, e.Target)
		events++
		if response.StatusCode != http.StatusFound || response.Header.Get("Location") != e.Destination {
			t.Errorf("%s: %s: %s to %q", e.Mangling, e.Target, response.Status, response.Header.Get("Location"))
		}
	}
	for _, e := range v.Invalid {
		if e.Host == "" || strings.Contains(e.Host, ",") || refused(e.Target) {
			continue
		}
		response := c.get(t, e.Host, e.Target)
		if response.StatusCode != http.StatusNotFound || response.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s: %s to %q, %v", e.Why, e.Target, response.Status, response.Header.Get("Location"), response.Header)
		}
	}
	stop(t, f)
	if lines := countLines(t, clicks); lines != events {
		t.Errorf("%d events for %d clicks and opens", lines, events)
	}
}

// The function has the server's limits: whoever opens more connections than it may
// have, and keeps them, keeps nobody else out; and the log says what to do.
func TestFunctionWithoutDescriptors(t *testing.T) {
	v := loadVectors(t)
	f := startFunctionWith(t, v, 100, "CLICKS=stdout")
	for i := range 130 {
		if response := dial(t, f.address).get(t, "x", "/nothing"); response.StatusCode != http.StatusNotFound {
			t.Fatalf("connection %d: %s", i, response.Status)
		}
	}
	if response := dial(t, f.address).get(t, v.Valid[0].Host, v.Valid[0].Target); response.StatusCode != http.StatusFound {
		t.Errorf("a click gets %s", response.Status)
	}
	stop(t, f)
	if !strings.Contains(f.stdout.String(), "LimitNOFILE") {
		t.Error("the log does not say what to do")
	}
}

// stop sends SIGTERM and waits for exit code 0.
func stop(t *testing.T, f *function) {
	t.Helper()
	if err := f.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s%s", err, f.stdout.String(), f.stderr.String())
	}
	if !strings.Contains(f.stdout.String(), `"message":"stats"`) {
		t.Errorf("no stats line at the end: %s", f.stdout.String())
	}
}

func countLines(t *testing.T, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n"))
}

// A configuration that can't be understood stops the function with one line.
func TestFunctionRefusesItsConfiguration(t *testing.T) {
	testsize.Medium(t)
	binary, err := buildFunction()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "LINK_KEYS="+t.TempDir(), "BLOCKLIST=none", "CLICKS=stdout")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("%v, want exit code 2", err)
	}
	if text := string(out); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "linktracker: LINK_KEYS cannot be used: ") {
		t.Errorf("it prints %q", text)
	}
}

// The framework's main knows nothing of SIGTERM; the function does: every
// answered click is in the file or in the log, and the exit code is 0.
func TestFunctionTerminatesUnderLoad(t *testing.T) {
	v := loadVectors(t)
	clicks := filepath.Join(t.TempDir(), "clicks")
	f := startFunction(t, v, "CLICKS=file:"+clicks)
	const clients, perClient = 8, 200
	var answered atomic.Int64
	var wait sync.WaitGroup
	loaded := make(chan struct{})
	var once sync.Once
	for range clients {
		wait.Go(func() {
			conn, err := net.Dial("tcp", f.address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			in := bufio.NewReader(conn)
			for i := range perClient {
				if i == perClient/2 {
					once.Do(func() { close(loaded) })
				}
				if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", v.Valid[0].Target, v.Valid[0].Host); err != nil {
					return // the function has ended
				}
				response, err := http.ReadResponse(in, nil)
				if err != nil {
					return
				}
				if response.StatusCode == http.StatusFound {
					answered.Add(1)
				}
				io.Copy(io.Discard, response.Body)
			}
		})
	}
	<-loaded
	stop(t, f)
	wait.Wait()
	recorded := countLines(t, clicks) + strings.Count(f.stdout.String(), `"message":"event spilled"`)
	if n := int(answered.Load()); recorded < n || n < perClient {
		t.Errorf("%d clicks were answered and %d recorded", n, recorded)
	}
}

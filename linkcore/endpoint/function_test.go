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
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	// The program below imports it, which is not seen from here otherwise.
	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/endpoint"
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
		if e.Kind == "c" || e.Kind == "o" {
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

// Destinations that a decoder harms: those that are lost, when a gateway decodes a
// link once too often, are the same few through both programs: a fragment, which is
// the browser's own once it is decoded, and a dot segment, which browsers resolve.
func TestDecodedOnceTooOften(t *testing.T) {
	awkward := []string{
		"https://example.com/a%20b", "https://example.com/a%20b?x=1", "https://example.com/a%20b?x=%26y", "https://example.com/a?x=%26y",
		"https://example.com/a?x=%2By+z", "https://example.com/a?x=%3Dy&z=%2525", "https://example.com/?x=%23y", "https://example.com/a#b%20c",
		"https://en.wikipedia.org/wiki/Foo_(bar)", "https://en.wikipedia.org/wiki/Foo_(bar)?q=%20", "https://example.com/a'b?x=%26",
		"https://example.com/?q='it'&r=%26", "https://example.com/caf%C3%A9", "https://example.com/caf%C3%A9?q=%C3%BC%26", "https://example.com/café?q=ü",
		"https://example.com/x?redirect=https%3A%2F%2Fshop.example%2Fp%3Fa%3D1", "https://example.com/x?redirect=https://shop.example/p?a=1",
		"https://example.com/100%25?q=1", "https://example.com/?off=50%25&x=%26", "https://example.com/a|b", "https://example.com/a|b?r=%26", "https://example.com/?a|b",
		"https://example.com/a^b{c}?x=1", "https://example.com/a^b{c}?x=%20", "https://example.com/[x]", "https://example.com/a%2Fb", "https://example.com/a//b",
		"https://example.com/a/./b?x=1", "https://example.com/a!$&'()*+,;=:@b", "https://example.com/a!$&'()*+,;=:@b?x=%26", "https://example.com/p%3Fq",
		"https://example.com/p%23q?x=1", "https://example.com/%7Euser/?x=%7E", "https://shop.example/s%C3%BC%C3%9F?utm_campaign=Fr%C3%BChling%202026", "https://example.com/?x=%0D%0Ay",
	}
	if len(awkward) != 35 {
		t.Fatalf("%d destinations", len(awkward))
	}
	v := loadVectors(t)
	f := startFunction(t, v, "CLICKS=stdout")
	keys := t.TempDir()
	if err := os.WriteFile(filepath.Join(keys, "1"), []byte(v.Keys["1"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := endpoint.ParseConfig(func(name string) string {
		return map[string]string{"LINK_KEYS": keys, "BLOCKLIST": "none", "CLICKS": "stdout", "PORT": "0"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := endpoint.New(t.Context(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := c.Listen("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server := e.Server(c)
	go server.Serve(listener)
	defer e.Stop(server.Shutdown)
	ring, err := linkcore.OpenKeyRing(keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	programs := []struct{ name, address string }{{"server", listener.Addr().String()}, {"function", f.address}}
	for form, want := range map[linkcore.Form]int{linkcore.PathForm: 2, linkcore.QueryForm: 1} {
		for _, program := range programs {
			lost := 0
			for _, d := range awkward {
				tracked, err := signer.Sign(linkcore.Fields{}, d, linkcore.Options{Form: form})
				if err != nil {
					t.Fatal(err)
				}
				signed, err := linkcore.NormalizeDestination(d)
				if err != nil {
					t.Fatal(err)
				}
				target := asBrowserAsks(decodeOnce(strings.TrimPrefix(tracked.URL, "https://links.example.com")))
				response := dial(t, program.address).get(t, "links.example.com", target)
				switch location := response.Header.Get("Location"); {
				case location == signed:
				case location != "":
					t.Errorf("%s: %s leads to %s", program.name, signed, location)
				default:
					t.Logf("%s, form %v: %s is lost", program.name, form, d)
					lost++
				}
			}
			if lost != want {
				t.Errorf("%s, form %v: %d of 35 are lost, want %d", program.name, form, lost, want)
			}
		}
	}
}

// decodeOnce decodes every percent escape.
func decodeOnce(s string) string {
	return regexp.MustCompile(`%[0-9A-Fa-f]{2}`).ReplaceAllStringFunc(s, func(escape string) string {
		decoded, _ := url.PathUnescape(escape)
		return decoded
	})
}

// asBrowserAsks returns the request target of a URL, whose origin is left out, as
// the URL standard's parser writes it.
func asBrowserAsks(s string) string {
	s = strings.NewReplacer("\r", "", "\n", "", "\t", "").Replace(s)
	s, _, _ = strings.Cut(s, "#")
	path, query, asked := strings.Cut(s, "?")
	escape := func(s, more string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			if c <= ' ' || c >= 0x7F || strings.IndexByte(more, c) >= 0 {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	var segments []string
	for _, segment := range strings.Split(path, "/") {
		if segment == ".." && len(segments) > 1 {
			segments = segments[:len(segments)-1]
		} else if segment != "." {
			segments = append(segments, segment)
		}
	}
	target := escape(strings.Join(segments, "/"), "\"<>`^{}")
	if asked {
		target += "?" + escape(query, "\"<>'")
	}
	return target
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

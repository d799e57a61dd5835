package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/cmd/internal/doctor"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/emulatortest"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// serveEndpoint serves a real endpoint with the bench's settings on this
// machine, and returns its base URL.
func serveEndpoint(t *testing.T, b *bench) string {
	t.Helper()
	if path, ok := strings.CutPrefix(b.get("CLICKS"), "file:"); ok {
		if _, err := os.Stat(path); err != nil {
			writeFile(t, path, "")
		}
	}
	e := startEndpoint(t, b, io.Discard, "CLICKS="+b.get("CLICKS"), "BLOCKLIST="+b.get("BLOCKLIST"), "BLOCKLIST_REFRESH=1s", "TRUSTED_PROXIES=0")
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return server.URL
}

// doctorBench is a bench whose events go to a file.
func doctorBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.set("CLICKS", "file:"+filepath.Join(filepath.Dir(b.get("LINK_KEYS")), "clicks.jsonl"))
	return b
}

// busyMachine is what a test's machine may take beyond what it should.
const busyMachine = "--target=10s"

var checkNames = []string{"key-ring", "blocklist", "clicks", "dns", "connection", "http", "ready", "keys",
	"link-path", "link-query", "link-sealed", "forged", "headers", "first-byte", "held", "event", "clock", "rule"}

// The whole way through the emulators: link, endpoint, topic, event; rule,
// database, endpoint.
func TestDoctor(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	emulatortest.Firestore(t)
	client, project, clicks := newClicks(t)
	b := newBench(t)
	b.set("CLICKS", clicks)
	b.set("BLOCKLIST", "firestore://"+project+"/(default)/blocklist")
	b.set("LINK_BASE_URL", serveEndpoint(t, b))
	got := b.run("", "doctor", "--write-rule", "--probes", "5", busyMachine)
	// A busy machine holds responses for long, which is to look at.
	if got.code != exitYes || !regexp.MustCompile(`^1[67] ok, [01] to look at, 0 wrong, 1 not checked\n$`).MatchString(got.stderr) {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{
		`ok       key-ring     1 key: 1; 1 signs`,
		`ok       blocklist    0 rules, counted in \S+ m?s, those that were lifted within a day included`,
		`ok       clicks       a subscription for this check was made in \S+ m?s`,
		`http://127\.0\.0\.1:\d+`,
		`ok       dns          an address, no name`,
		`ok       connection   plain http, on this machine`,
		`skipped  http         not checked: the base URL is plain http itself`,
		`ok       ready        /-/ready answers 200`,
		`ok       keys         the endpoint knows the key 1`,
		`ok       link-path    302 to the destination, byte for byte`,
		`ok       link-query   302 to the destination, byte for byte`,
		`ok       link-sealed  302 to the destination, byte for byte`,
		`ok       forged       404 for a changed tag and for a changed destination`,
		`ok       headers      as they should be`,
		`ok       first-byte   p50 \S+ m?s, p95 \S+ m?s of 5 clicks, of which \S+ ms are the network; target 10\.0 s`,
		`(ok|warning) +held         the response ends after p50 \S+ m?s, p95 \S+ m?s.*`,
		`ok       event        3 events came, \S+ m?s, \S+ m?s, \S+ m?s after the click`,
		`ok       clock        its Date is right, its events' occurred_at is right`,
		`ok       rule         a new rule was followed after \S+ m?s`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(got.stdout) {
			t.Errorf("no line %s in\n%s", want, got.stdout)
		}
	}
	if names := subscriptionNames(t, client, project); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
	if rules := b.run("", "rules").stdout; rules != "" {
		t.Errorf("left: %s", rules)
	}
}

// Each finding is a JSON object a line, in a fixed order.
func TestDoctorJSON(t *testing.T) {
	b := doctorBench(t)
	b.set("LINK_BASE_URL", serveEndpoint(t, b))
	got := b.run("", "doctor", "--json", "--probes", "2", busyMachine)
	if got.code != exitYes || got.stderr != "" {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	var names []string
	for line := range strings.Lines(got.stdout) {
		var f doctor.Finding
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Check)
		if f.Check == "first-byte" && (f.Measured["clicks"] != 2 || f.Measured["p95"] < f.Measured["p50"] || f.Measured["p50"] <= 0) {
			t.Errorf("%v", f.Measured)
		}
	}
	if !slices.Equal(names, checkNames) {
		t.Errorf("%v", names)
	}
}

// A problem is exit code 1, and a name that does not exist is one.
func TestDoctorProblem(t *testing.T) {
	b := doctorBench(t)
	b.set("CLICKS", "")
	base := serveEndpoint(t, doctorBench(t))
	b.set("LINK_BASE_URL", "") // the flags are enough
	got := b.run("", "doctor", "--base-url", base, "--base-url", "https://nothing.invalid", "--probes", "1", busyMachine)
	if got.code != exitNo || !strings.HasSuffix(got.stderr, " 1 wrong, 18 not checked\n") {
		t.Errorf("exit code %d: %s\n%s", got.code, got.stderr, got.stdout)
	}
	for _, want := range []string{
		"\nskipped  clicks       not checked: give --clicks\n",
		"\nok       link-path    302 to the destination, byte for byte\n",
		"\nhttps://nothing.invalid\nproblem  dns          ", // why depends on the machine's own name server
		"\nskipped  connection   not checked: there is no address\n" +
			"skipped  http, ready, keys, link-path, link-query, link-sealed, forged, headers, first-byte, held, event, clock  not checked: there is no connection\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
}

// What hangs is a finding within its time: a database and a topic that take
// connections and say nothing.
func TestDoctorHanging(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	b := doctorBench(t)
	b.set("LINK_BASE_URL", serveEndpoint(t, b))
	c := exec.Command(os.Args[0], "doctor", "--probes", "1", "--timeout", "1s", busyMachine, "--write-rule",
		"--blocklist", "firestore://project/(default)/blocklist", "--clicks", "pubsub://project/clicks")
	c.Env = append(b.processEnviron(), "FIRESTORE_EMULATOR_HOST="+listener.Addr().String(), "PUBSUB_EMULATOR_HOST="+listener.Addr().String())
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); c.ProcessState.ExitCode() != exitNo {
		t.Errorf("%v: %s", err, stderr.String())
	}
	for _, want := range []string{
		"problem  blocklist    it did not answer within 1s -> see whether Firestore is reachable",
		"problem  clicks       no subscription could be made within 1s -> see whether Pub/Sub is reachable",
		"ok       link-path    302",
		"skipped  event        not checked: events cannot be read",
		"problem  rule         no rule can be written",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, stdout.String())
		}
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, test := range []struct{ args, stderr string }{
		{"doctor extra", `"extra" is too much: linkctl doctor takes no arguments`},
		{"doctor --base-url=", `"": base URL is missing`},
		{"doctor --base-url links.example.com", `"links.example.com": base URL must begin with https://`},
		{"doctor --probes 0", `--probes 0: give 1 or more`},
		{"doctor --target 0s", `--target 0s: give a time such as 20ms`},
		{"doctor --timeout 10ms", `--timeout 10ms: give 1s or more`},
	} {
		got := newBench(t).run("", strings.Fields(test.args)...)
		if got.code != exitUsage || got.stdout != "" || !strings.HasPrefix(got.stderr, "linkctl: "+test.stderr) {
			t.Errorf("%s: %d %s%s", test.args, got.code, got.stdout, got.stderr)
		}
	}
	b := newBench(t)
	b.set("LINK_BASE_URL", "")
	if got := b.run("", "doctor"); got.code != exitUsage || !strings.Contains(got.stderr, "give --base-url or set LINK_BASE_URL") {
		t.Errorf("%d %s", got.code, got.stderr)
	}
}

// Ctrl-C ends it, and the subscription goes.
func TestDoctorInterrupted(t *testing.T) {
	client, project, clicks := newClicks(t)
	b := newBench(t)
	b.set("CLICKS", clicks)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer hanging.Close()
	b.set("LINK_BASE_URL", hanging.URL)
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"doctor"}, strings.NewReader(""), &stdout, &stderr, b.environ); code != exitInterrupted {
		t.Errorf("exit code %d\n%s%s", code, stdout.String(), stderr.String())
	}
	if names := subscriptionNames(t, client, project); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

// The events of the doctor's links are of the customer that everyone leaves out.
func TestDoctorCustomer(t *testing.T) {
	f := eventFilter{}
	if f.keeps(&event.Event{Customer: linkcore.ProbeCustomer}) {
		t.Error("tail shows it")
	}
}

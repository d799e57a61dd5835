package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"
)

const servedMail = "From: a@example.com\nMIME-Version: 1.0\nContent-Type: text/html\n\n<a href=\"https://example.com/a\">x</a>\n"

// serving runs rewrite --serve, and returns where it is.
func serving(t *testing.T, b *bench, args ...string) (*session, string) {
	t.Helper()
	s := b.start("linkctl: serving at ", append([]string{"rewrite", "--serve", "127.0.0.1:0"}, args...)...)
	_, address, _ := strings.Cut(s.stderr.String(), "linkctl: serving at ")
	return s, strings.TrimSpace(address)
}

// The examples of EMAIL.md, in each language that this machine has.
func TestServeExamples(t *testing.T) {
	testsize.Medium(t)
	page, err := os.ReadFile("../../linkcore/email/EMAIL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## One process for many mails")
	_, address := serving(t, newBench(t))
	for language, command := range map[string][]string{"sh": {"sh"}, "python": {"python3"}, "js": {"node", "--input-type=module"}, "php": {"php"}} {
		t.Run(language, func(t *testing.T) {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skipf("there is no %s here", command[0])
			}
			var example string
			for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(section, -1) {
				if strings.Contains(block[1], "out.eml") {
					example = strings.ReplaceAll(block[1], "127.0.0.1:8026", address)
				}
			}
			c := exec.Command(command[0], command[1:]...)
			c.Dir, c.Stdin = t.TempDir(), strings.NewReader(example)
			writeFile(t, filepath.Join(c.Dir, "message.eml"), servedMail)
			said, err := c.CombinedOutput()
			out, _ := os.ReadFile(filepath.Join(c.Dir, "out.eml"))
			if err != nil || !bytes.Contains(out, []byte(`<a href="https://links.example.com/c1.`)) || !bytes.Contains(out, []byte(".spring26.r1.1-")) {
				t.Errorf("%v\n%s\n%s", err, said, out)
			}
		})
	}
}

// post sends a mail and returns the status and the body of the answer.
func post(t *testing.T, client *http.Client, url, contentType, body string) (int, string) {
	t.Helper()
	response, err := client.Post(url, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func TestServe(t *testing.T) {
	b := newBench(t)
	_, address := serving(t, b, "--utm", "utm_source=news", "--customer", "acme")
	here := "http://" + address + "/"

	// The same mail as the command makes, but for what is random.
	hidden := func(s string) string {
		return regexp.MustCompile(`1-[A-Za-z0-9_-]{11}\.[^"]*/`).ReplaceAllString(s, "…/")
	}
	want := hidden(b.succeed(servedMail, "rewrite", "--utm", "utm_source=news", "--customer", "acme", "--campaign", "c", "--recipient", "r1"))
	if status, got := post(t, http.DefaultClient, here+"?campaign=c&recipient=r1", "application/x-www-form-urlencoded", servedMail); status != 200 || hidden(got) != want {
		t.Errorf("%d %s\nwant %s", status, got, want)
	}

	// A form, whose options hold instead of the server's; the report has the links.
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	file, _ := w.CreateFormFile("mail", "message.eml")
	io.WriteString(file, servedMail)
	for _, option := range [][2]string{{"report", "json"}, {"customer", "other"}, {"utm", "a=1"}, {"utm", "b=2"}} {
		w.WriteField(option[0], option[1])
	}
	w.Close()
	var answer mailAnswer
	status, got := post(t, http.DefaultClient, here, w.FormDataContentType(), form.String())
	if err := json.Unmarshal([]byte(got), &answer); err != nil || status != 200 || answer.Report.Tracked != 1 ||
		answer.Report.Links[0].Destination != "https://example.com/a?a=1&b=2" || !bytes.Contains(answer.Mail, []byte(".other.")) {
		t.Errorf("%d %s, %v", status, got, err)
	}
	answer = mailAnswer{}
	status, got = post(t, http.DefaultClient, here+"?dry-run=true", "", servedMail)
	if err := json.Unmarshal([]byte(got), &answer); err != nil || status != 200 || answer.Mail != nil || answer.Report.Tracked != 1 {
		t.Errorf("%d %s, %v", status, got, err)
	}

	for _, test := range []struct {
		query, body string
		status      int
		field       string
	}{
		{"recipient=r%201", servedMail, 400, "recipient"},
		{"sent=yesterday", servedMail, 400, "sent"},
		{"form=round", servedMail, 400, "form"},
		{"pixel=middle", servedMail, 400, "pixel"},
		{"utm=x", servedMail, 400, "utm"},
		{"skip-host=a%20b", servedMail, 400, "skip-host"},
		{"visible-url=x", servedMail, 400, "visible-url"},
		{"labels=maybe", servedMail, 400, "labels"},
		{"type=pdf", servedMail, 400, "type"},
		{"report=table", servedMail, 400, "report"},
		{"dry-run=x", servedMail, 400, "dry-run"},
		{"keys=other", servedMail, 400, "keys"},
		{"output=x", servedMail, 400, "output"},
		{"serve=x", servedMail, 400, "serve"},
		{"help=true", servedMail, 400, "help"},
		{"recipent=r1", servedMail, 400, "recipent"},
		{"base-url=ftp://x", servedMail, 400, "base-url"},
		{"", " \n", 400, "mail"},
		{"type=message", "no header", 422, "mail"},
		{"", strings.Repeat("x", maxServedMail+1), 413, ""},
	} {
		var problem struct{ Error, Field string }
		status, got := post(t, http.DefaultClient, here+"?"+test.query, "message/rfc822", test.body)
		if err := json.Unmarshal([]byte(got), &problem); err != nil || status != test.status || problem.Field != test.field || problem.Error == "" || strings.Contains(problem.Error, "--") {
			t.Errorf("%s: %d %s, %v", test.query, status, got, err)
		}
	}

	for name, change := range map[string]func(*http.Request){
		"another host":     func(r *http.Request) { r.Host = "links.evil.example" },
		"a browser's page": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"another path":     func(r *http.Request) { r.URL.Path = "/x" },
		"another method":   func(r *http.Request) { r.Method = "GET" },
		"ready":            func(r *http.Request) { r.Method, r.URL.Path = "GET", "/-/ready" },
	} {
		r, _ := http.NewRequest("POST", here, strings.NewReader(servedMail))
		change(r)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if (response.StatusCode == 200) != (name == "ready") {
			t.Errorf("%s: %s", name, response.Status)
		}
	}

	// Clients that are slow to send their mails hold nobody up.
	for range 2*runtime.GOMAXPROCS(0) + 1 {
		slow, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		fmt.Fprintf(slow, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nFrom: ")
	}
	if status, got := post(t, &http.Client{Timeout: 30 * time.Second}, here, "", servedMail); status != 200 {
		t.Errorf("beside slow clients: %d %s", status, got)
	}
}

// It ends after the requests under way.
func TestServeStops(t *testing.T) {
	s, _ := serving(t, newBench(t))
	s.cancel()
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
}

// Only this machine can connect, by a Unix socket too, also where a process that was
// killed has left its own.
func TestServeAddresses(t *testing.T) {
	b := newBench(t)
	for _, address := range []string{"0.0.0.0:8026", ":8026", "192.0.2.1:8026", "example.com:8026", "8026", ""} {
		if got := b.run("", "rewrite", "--serve", address); got.code != exitUsage || !strings.Contains(got.stderr, "give the path of a Unix socket") {
			t.Errorf("--serve %q: %d %s", address, got.code, got.stderr)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	b.start("linkctl: serving at ", "rewrite", "--serve", socket)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	if status, got := post(t, client, "http://mails/?recipient=r1", "", servedMail); status != 200 || !strings.Contains(got, ".r1.") {
		t.Errorf("%d %s", status, got)
	}
	if got := b.run("", "rewrite", "--serve", socket); got.code != exitNo || !strings.Contains(got.stderr, "address already in use") {
		t.Errorf("a second one: %d %s", got.code, got.stderr)
	}
}

// The recipient's wish counts beside the mailing's, and what is said of one mode
// beside what is said of both.
func TestRewritePolicy(t *testing.T) {
	b := newBench(t)
	_, address := serving(t, b, "--opens", "anonymous", "--pixel", "end")
	check := func(name string, r *rewriteReport, want string) {
		t.Helper()
		if got := fmt.Sprintf("opens %s %s, clicks %s %s", r.Opens.Tracking, r.Opens.By, r.Clicks.Tracking, r.Clicks.By); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for query, want := range map[string]string{
		"":                                    "opens anonymous mailing, clicks full mailing",
		"tracking=off":                        "opens off mailing, clicks off mailing", // instead of the server's opens
		"tracking=off&clicks=full&opens=full": "opens full mailing, clicks full mailing",
		"opens=full&recipient-tracking=anonymous":                       "opens anonymous recipient, clicks anonymous recipient",
		"recipient-clicks=off":                                          "opens anonymous mailing, clicks off recipient",
		"recipient-opens=off&recipient-clicks=full&recipient-tracking=": "",
	} {
		var answer mailAnswer
		status, got := post(t, http.DefaultClient, "http://"+address+"/?dry-run=true&"+query, "", servedMail)
		if err := json.Unmarshal([]byte(got), &answer); err != nil || (status == 200) != (want != "") {
			t.Errorf("%s: %d %s, %v", query, status, got, err)
		} else if want != "" {
			check(query, answer.Report, want)
		} else if !strings.Contains(got, `"field":"recipient-tracking"`) {
			t.Errorf("%s: %s", query, got)
		}
	}
	for args, want := range map[string]string{
		"--tracking=off":                           "opens off mailing, clicks off mailing",
		"--tracking=anonymous --clicks=full":       "opens anonymous mailing, clicks full mailing",
		"--clicks=off --recipient-tracking=off":    "opens off recipient, clicks off mailing",
		"--recipient-opens=off --clicks=anonymous": "opens off recipient, clicks anonymous mailing",
	} {
		var report rewriteReport
		if err := json.Unmarshal([]byte(b.succeed(servedMail, append([]string{"rewrite", "--dry-run", "--report=json"}, strings.Fields(args)...)...)), &report); err != nil {
			t.Fatal(err)
		}
		check(args, &report, want)
	}
	if got := b.run(servedMail, "rewrite", "--recipient-opens", "some"); got.code != exitUsage || !strings.Contains(got.stderr, `--recipient-opens "some": give full, anonymous or off`) {
		t.Errorf("exits with %d, %s", got.code, got.stderr)
	}
	table := b.succeed(servedMail, "rewrite", "--dry-run", "--tracking", "anonymous", "--recipient-clicks", "off")
	if !strings.HasSuffix(table, "; tracking of opens is anonymous by the mailing; tracking of clicks is off by the recipient\n") {
		t.Error(table)
	}
}

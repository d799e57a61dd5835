package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/email"
	"example.com/linktracker/linkcore/testsize"
)

// smallServer is what a sender would write around the library: the process of this
// test, started again.
const smallServer = "SMALL_MAIL_SERVER"

func smallRewriter(t *testing.T) (*email.Rewriter, linkcore.Fields) {
	t.Helper()
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("1"), 32)})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	w, err := email.New(email.Options{Signer: signer, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	return w, linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1"}
}

// A served mail takes little more processor time than a small server around the
// library, and a large one little more than the library itself.
func TestServeCPU(t *testing.T) {
	testsize.Large(t)
	w, fields := smallRewriter(t)
	if os.Getenv(smallServer) != "" {
		l, err := listenLocally("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(os.Stderr, "serving at", l.Addr())
		t.Fatal(http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			mail, _ := io.ReadAll(r.Body)
			result, err := w.Rewrite(fields, mail)
			if err != nil {
				http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
				return
			}
			rw.Header().Set("Content-Length", strconv.Itoa(len(result.Output)))
			rw.Write(result.Output)
		})))
	}
	program := filepath.Join(t.TempDir(), "linkctl")
	if said, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	ours := exec.Command(program, "rewrite", "--serve", "127.0.0.1:0")
	ours.Env = newBench(t).environ
	small := exec.Command(os.Args[0], "-test.run=^TestServeCPU$")
	small.Env = append(os.Environ(), smallServer+"=1")
	var addresses []string
	for _, server := range []*exec.Cmd{ours, small} {
		stderr, err := server.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer server.Wait()
		defer server.Process.Kill()
		var line [200]byte
		n, _ := stderr.Read(line[:])
		_, address, _ := strings.Cut(strings.TrimSpace(string(line[:n])), "serving at ")
		addresses = append(addresses, address)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

	for _, test := range []struct{ size, mails int }{{1200, 8000}, {96_000, 800}} {
		mail := []byte("From: a@example.com\nTo: b@example.com\nMIME-Version: 1.0\nContent-Type: text/html\n\n")
		for i := 0; len(mail) < test.size; i++ {
			mail = append(mail, "<p style=\"font-family:sans-serif;color:#333\">Words that nobody reads, and then some more of them, to fill a line of the mail.</p>\n"...)
			if i%5 == 0 {
				mail = fmt.Appendf(mail, "<a href=\"https://shop.example.com/products/%d?a=1&amp;b=2\" style=\"color:red\">Product %d</a>\n", i, i)
			}
		}
		post := func(address string) {
			var senders sync.WaitGroup
			for range 8 {
				senders.Go(func() {
					for range test.mails / 8 {
						response, err := client.Post("http://"+address+"/?customer=acme&campaign=spring26&recipient=r1", "message/rfc822", bytes.NewReader(mail))
						if err != nil {
							t.Error(err)
							return
						}
						io.Copy(io.Discard, response.Body)
						response.Body.Close()
						if response.StatusCode != 200 {
							t.Error(response.Status)
						}
					}
				})
			}
			senders.Wait()
		}
		var ofSmall, ofLibrary []float64
		for range 7 {
			measure := func(pid int, work func()) float64 {
				before := cpuOf(t, pid)
				work()
				return float64(cpuOf(t, pid)-before) / float64(test.mails)
			}
			served := measure(ours.Process.Pid, func() { post(addresses[0]) })
			around := measure(small.Process.Pid, func() { post(addresses[1]) })
			library := measure(os.Getpid(), func() {
				for range test.mails {
					if _, err := w.Rewrite(fields, mail); err != nil {
						t.Fatal(err)
					}
				}
			})
			t.Logf("%d bytes: served %v a mail, %.2f of a small server, %.2f of the library", len(mail), time.Duration(served), served/around, served/library)
			ofSmall, ofLibrary = append(ofSmall, served/around), append(ofLibrary, served/library)
		}
		slices.Sort(ofSmall)
		slices.Sort(ofLibrary)
		t.Logf("%d bytes, medians: %.2f of a small server, %.2f of the library", len(mail), ofSmall[3], ofLibrary[3])
		if ofSmall[3] > 1.5 || test.size > 50_000 && ofLibrary[3] > 1.5 {
			t.Errorf("%d bytes take %.2f of what a small server takes, and %.2f of the library", len(mail), ofSmall[3], ofLibrary[3])
		}
	}
}

// cpuOf returns the user and system time that a process has taken.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ
}

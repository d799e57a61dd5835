package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/lines"
)

// verify checks a link that was made, by the core's own means.
func verify(t *testing.T, b *bench, trackedURL string) linkcore.Link {
	t.Helper()
	ring, err := linkcore.OpenKeyRing(b.get("LINK_KEYS"), nil)
	if err != nil {
		t.Fatal(err)
	}
	authority, target, err := linkcore.SplitURL(strings.TrimSuffix(trackedURL, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	link, err := ring.Verify(authority, target)
	if err != nil {
		t.Fatalf("%s: %v", trackedURL, err)
	}
	return link
}

func TestSign(t *testing.T) {
	b := newBench(t)

	// All that is given, as an independent implementation signs it.
	b.want(outcome{code: exitYes, stdout: "https://links.example.com/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https%3A%2F%2Fexample.com\n"},
		"", "sign", "--customer", "acme", "--link", "xr1YhNga3Cc", "--exact-link", "--sent", "1970-01-01T01:00:01+01:00", "https://example.com")
	b.want(outcome{code: exitYes, stdout: "https://links.example.com/sale?id=c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A&url=https%3A%2F%2Fexample.com\n"},
		"", "sign", "--form", "query", "--label", "sale", "--customer", "acme", "--link", "xr1YhNga3Cc", "--exact-link", "--sent", "1970-01-01T00:00:01Z", "https://example.com")
	b.want(outcome{code: exitYes, stdout: "https://links.example.com/o1.acme...xr1YhNga3Cc.1.ZgV-0yAPz62m--xRW7uvzw/p.gif\n"},
		"", "sign", "--kind", "open", "--label", "p.gif", "--customer", "acme", "--link", "xr1YhNga3Cc", "--exact-link", "--sent", "1970-01-01T00:00:01Z")

	// Every field reaches its place; a destination for people is made one for
	// machines.
	for _, verb := range []string{"sign", "seal"} {
		for _, form := range []string{"path", "query"} {
			before := time.Now().Truncate(time.Second)
			link := verify(t, b, b.succeed("", verb, "--customer", "cu", "--campaign", "ca", "--recipient", "re", "--sent", "now", "--form", form, "https://bücher.example/ü?a=1&b=2"))
			if link.Customer != "cu" || link.Campaign != "ca" || link.Recipient != "re" || len(link.Link) != 11 ||
				link.Sent.Before(before) || link.Sent.After(time.Now()) ||
				link.Destination != "https://xn--bcher-kva.example/%C3%BC?a=1&b=2" || link.Sealed != (verb == "seal") {
				t.Errorf("%s --form %s: %+v", verb, form, link)
			}
			link = verify(t, b, b.succeed("", verb, "--kind", "unsubscribe", "--form", form))
			if link.Kind != linkcore.Unsubscribe || link.Destination != "" || link.Sealed != (verb == "seal") || !link.Sent.IsZero() {
				t.Errorf("%s --kind unsubscribe --form %s: %+v", verb, form, link)
			}
		}
	}
	link := verify(t, b, b.succeed("", "seal", "--metadata", `{"variant":"b"}`, "--label", "sale", "https://example.com/"))
	if link.Metadata != `{"variant":"b"}` || link.Label != "sale" {
		t.Errorf("sealed: %+v", link)
	}

	// Flags win over the environment.
	b.set("LINK_SIGNING_KEY", "missing")
	b.set("LINK_BASE_URL", "https://other.example")
	writeFile(t, filepath.Join(b.get("LINK_KEYS"), "2"), strings.Repeat("A", 43))
	made := b.succeed("", "sign", "--signing-key", "2", "--base-url", "https://links.example.com:8443", "https://example.com/")
	if link := verify(t, b, made); link.Key != "2" || !strings.HasPrefix(made, "https://links.example.com:8443/c2.") {
		t.Errorf("flags are not heard: %s", made)
	}
	b.want(outcome{exitUsage, "", "linkctl: the key ring has the keys 1, 2: say which one signs with --signing-key or LINK_SIGNING_KEY (linkctl sign --help explains)\n"},
		"", "sign", "--signing-key=", "https://example.com/")
}

func TestSignList(t *testing.T) {
	b := newBench(t)
	list := "\uFEFFhttps://example.com/a\r\n\n  https://example.com/b\t\nftp://example.com/\nhttps://example.com/" +
		strings.Repeat("x", lines.Limit) + "\nhttps://example.com/" + strings.Repeat("y", 9000) + "\nhttps://example.com/c"
	got := b.run(list, "sign")
	links := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
	if len(links) != 3 {
		t.Fatalf("%d links\n%s%s", len(links), got.stdout, got.stderr)
	}
	for i, want := range []string{"https://example.com/a", "https://example.com/b", "https://example.com/c"} {
		if link := verify(t, b, links[i]); link.Destination != want {
			t.Errorf("link %d leads to %s", i, link.Destination)
		}
	}
	complaints := strings.Split(got.stderr, "\n")
	if got.code != exitNo || len(complaints) != 4 ||
		!strings.HasPrefix(complaints[0], "linkctl: line 4: destination ") ||
		complaints[1] != "linkctl: line 5: is longer than 1048576 bytes" ||
		!strings.HasPrefix(complaints[2], "linkctl: line 6: destination makes a tracked URL of ") {
		t.Errorf("exits with %d\n%s", got.code, got.stderr)
	}

	got = b.run("", "sign", "https://example.com/a", "mailto:x@example.com", "https://example.com/b")
	if got.code != exitNo || strings.Count(got.stdout, "\n") != 2 || !strings.HasPrefix(got.stderr, "linkctl: destination ") {
		t.Errorf("arguments: exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}

	// One id for several destinations: nothing is signed.
	for _, stdin := range []string{"https://example.com/a\nhttps://example.com/b\n", "ftp://x\nhttps://example.com/b"} {
		b.want(outcome{exitUsage, "", "linkctl: --exact-link names one link, and there are several destinations: leave it out, or sign them one by one (linkctl sign --help explains)\n"},
			stdin, "sign", "--link", "a", "--exact-link")
	}
	if link := verify(t, b, b.succeed("\nhttps://example.com/a\n", "seal", "--link", "a", "--exact-link")); link.Link != "a" {
		t.Errorf("link %q", link.Link)
	}

	// A name is not an id: a template that numbers its links has no two the same.
	ids := map[string]bool{}
	for range 3 {
		for line := range strings.Lines(b.succeed("https://example.com/a\nhttps://example.com/b\n", "sign", "--recipient", "r1", "--link", "cta")) {
			link := verify(t, b, line)
			if name, random, _ := strings.Cut(link.Link, "-"); name != "cta" || len(random) != 11 {
				t.Errorf("link %q", link.Link)
			}
			ids[link.Link] = true
		}
	}
	if len(ids) != 6 {
		t.Errorf("six links have the ids %v", ids)
	}
}

func TestSignWarnings(t *testing.T) {
	b := newBench(t)
	list := "https://example.com/a\nhttps://example.com/b#c\nhttps://example.com/" + strings.Repeat("d", 900) + "\n"
	got := b.run(list, "sign", "--base-url", "http://tracker-x.a.run.app", "--label", "sale")
	want := "linkctl: warning: " + string(linkcore.WarnHTTP) + "\n" +
		"linkctl: warning: " + string(linkcore.WarnRunApp) + "\n" +
		"linkctl: warning: " + string(linkcore.WarnNoLabel) + "\n" +
		"linkctl: line 2: warning: " + string(linkcore.WarnFragment) + "\n" +
		"linkctl: line 3: warning: " + string(linkcore.WarnLong) + "\n"
	if got.code != exitYes || got.stderr != want || strings.Count(got.stdout, "\n") != 3 {
		t.Errorf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// Whoever feeds the tool line by line gets each link before he gives the next
// destination.
func TestSignStreams(t *testing.T) {
	b := newBench(t)
	stdin, feed := io.Pipe()
	output, stdout := io.Pipe()
	var stderr bytes.Buffer
	done := make(chan int)
	go func() {
		code := run(t.Context(), []string{"sign"}, stdin, stdout, &stderr, b.environ)
		stdout.Close()
		done <- code
	}()
	for i := range 3 {
		fmt.Fprintf(feed, "https://example.com/%d\n", i)
		var line []byte
		for one := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; line = append(line, one...) {
			if _, err := output.Read(one); err != nil {
				t.Fatal(err)
			}
		}
		if link := verify(t, b, string(line)); link.Destination != fmt.Sprintf("https://example.com/%d", i) {
			t.Errorf("link %d leads to %s", i, link.Destination)
		}
	}
	feed.Close()
	if code := <-done; code != exitYes || stderr.Len() > 0 {
		t.Errorf("exits with %d: %s", code, stderr.String())
	}
}

func TestReadingFails(t *testing.T) {
	for _, verb := range []string{"sign", "inspect", "block", "unblock"} {
		b := newBench(t)
		stdin := io.MultiReader(strings.NewReader("host:a.example\n"), brokenReader{})
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{verb}, stdin, &stdout, &stderr, b.environ)
		if code != exitNo || !strings.HasSuffix(stderr.String(), "linkctl: read standard input: input/output error\n") {
			t.Errorf("%s exits with %d: %s", verb, code, stderr.String())
		}
		if rules := b.succeed("", "rules"); rules != "" {
			t.Errorf("%s wrote %s", verb, rules)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, fmt.Errorf("input/output error") }

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/linktracker/linkcore/event"
)

// A link is requested until the endpoint blocks it: what is said was seen.
func TestBlockWait(t *testing.T) {
	b := newBench(t)
	b.set("BLOCKLIST_REFRESH", "1s")
	clicks := &lockedBuffer{}
	server := httptest.NewServer(startEndpoint(t, b, clicks, append(b.environ, "CLICKS=stdout")...))
	defer server.Close()
	b.set("LINK_BASE_URL", server.URL)
	link := strings.TrimSpace(b.run("", "sign", "--customer", "_probe", "https://phish.example/x").stdout)
	got := b.run("", "block", "--wait", link, "host:phish.example")
	if got.code != exitYes || got.stdout != "host:phish.example: blocked\n" || !strings.Contains(got.stderr, "\nin force: ") || strings.Contains(got.stderr, link) {
		t.Fatalf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if log := clicks.String(); !strings.Contains(log, `"blocked"`) || strings.Contains(log, `"`+string(event.Human)+`"`) || strings.Contains(log, `"`+string(event.Suspect)+`"`) {
		t.Errorf("the events are\n%s", log)
	}
	got = b.run("", "block", "--wait", link, "url:https://phish.example/x")
	if got.code != exitYes || !strings.Contains(got.stderr, " blocked the link already before, so it does not show when this rule is in force\n") {
		t.Errorf("blocked before: %d\n%s", got.code, got.stderr)
	}
}

// What is not seen is not claimed.
func TestBlockWaitInVain(t *testing.T) {
	endpoint := http.Header{"X-Robots-Tag": {"noindex, nofollow"}}
	for name, test := range map[string]struct {
		answer int
		header http.Header
		want   string
	}{
		"another blocklist": {http.StatusFound, endpoint, "was not seen in force within 300ms: HOST answers 302 for the link; "},
		"another ring":      {http.StatusNotFound, endpoint, "not seen in force: HOST answers 404 for the link: it is not one of its links\n"},
		"a front":           {http.StatusGone, nil, "was not seen in force within 300ms: HOST answers 410, which is not an endpoint's answer; "},
		"nobody":            {0, nil, "was not seen in force within 300ms: HOST cannot be reached: "},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var methods, others []string
			other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				others = append(others, r.URL.Path)
			}))
			defer other.Close()
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				methods = append(methods, r.Method)
				mu.Unlock()
				if test.answer == 0 {
					panic(http.ErrAbortHandler)
				}
				for name, values := range test.header {
					rw.Header()[name] = values
				}
				rw.Header().Set("Location", other.URL)
				rw.WriteHeader(test.answer)
			}))
			defer server.Close()
			b := newBench(t)
			b.set("LINK_BASE_URL", server.URL)
			link := strings.TrimSpace(b.run("", "sign", "https://phish.example/x").stdout)
			got := b.run("", "block", "--wait", link, "--timeout", "300ms", "host:phish.example")
			want := strings.ReplaceAll(test.want, "HOST", strings.TrimPrefix(server.URL, "http://"))
			if got.code != exitNo || got.stdout != "host:phish.example: blocked\n" || !strings.Contains(got.stderr, "\nlinkctl: the rule is written, and "+want) || strings.Contains(got.stderr, link) {
				t.Errorf("exits with %d\n%s", got.code, got.stderr)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(others) > 0 || len(methods) < 2 || strings.Trim(strings.Join(methods, ""), "HEAD") != "" {
				t.Errorf("requests %v, redirects followed %v", methods, others)
			}
		})
	}
}

// What a link cannot show is refused before anything is written.
func TestBlockWaitUsage(t *testing.T) {
	b := newBench(t)
	link := strings.TrimSpace(b.succeed("", "sign", "--customer", "acme", "https://phish.example/x"))
	open := strings.TrimSpace(b.succeed("", "sign", "--kind", "open"))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--wait", link, "host:other.example"}, "--wait: host:other.example does not stop this link"},
		{[]string{"--wait", link, "host:phish.example", "customer:acme"}, "--wait is for one rule: of 2, "},
		{[]string{"--wait", link, "--redirect", "https://example.com/", "host:phish.example"}, "--wait is for rules that block: "},
		{[]string{"--wait", link, "--untracked", "customer:acme"}, "--wait is for rules that block: "},
		{[]string{"--wait", link, "ip:198.51.100.7"}, "--wait cannot follow a rule of the kind ip: "},
		{[]string{"--wait", link, "agent:badbot"}, "--wait cannot follow a rule of the kind agent: "},
		{[]string{"--wait", link, "--starts", "2h", "host:phish.example"}, "--wait is for rules that begin now, and this one begins at "},
		{[]string{"--wait", "https://phish.example/x", "host:phish.example"}, "--wait: this is not a tracked link; "},
		{[]string{"--wait", link + "y", "host:phish.example"}, "--wait: the link does not verify: "},
		{[]string{"--wait", open, "customer:acme"}, "--wait: the link is of the kind open, "},
		{[]string{"--wait", link, "--timeout", "0s", "host:phish.example"}, "--timeout 0s: give a time such as 30s"},
		{[]string{"--timeout", "5s", "host:phish.example"}, "--timeout is for --wait"},
	} {
		got := b.run("", append([]string{"block"}, test.args...)...)
		if got.code != exitUsage || got.stdout != "" || !strings.HasPrefix(got.stderr, "linkctl: "+test.want) {
			t.Errorf("%q: %d %s%s", test.args, got.code, got.stdout, got.stderr)
		}
	}
	b.want(outcome{exitYes, "", "there are no rules\n"}, "", "rules")
}

package blocklist

import (
	"strings"
	"testing"
)

func TestWide(t *testing.T) {
	for rule, want := range map[string]string{
		"host:com": "every host that ends in .com", "host:co.uk": "public suffix", "host:example.co.uk": "", "host:192.0.2.1": "", "host:[2001:db8::1]": "",
		"ip:10.0.0.0/7": "wider than a /8", "ip:10.0.0.0/8": "", "ip:192.0.2.1": "", "ip:2000::/15": "wider than a /16", "ip:2000::/16": "",
		"agent:bot": "shorter than 4 bytes", "agent:mozilla": "Chrome on Windows", "agent:badbot": "",
		"key:3": "every link", "customer:acme": "", "campaign:/spring": "", "recipient:acme/r1": "", "link:acme/l1": "",
		"url:example.com/": "", "prefix:example.com/": "",
	} {
		r := ruleOf(t, rule)
		if got := r.Wide(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", rule, got, want)
		}
		if want != "" && r.Kind.Widest() == "" {
			t.Errorf("%s: the kind does not say which values are too wide", rule)
		}
	}
	if got := (Rule{Kind: "domain", Value: "x"}).Wide(); got != "" {
		t.Errorf("an unknown kind is %q", got)
	}
}

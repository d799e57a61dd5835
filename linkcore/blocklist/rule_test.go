package blocklist

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
)

func TestNormalizeValue(t *testing.T) {
	tests := []struct{ kind, value, want string }{
		// Scheme, host, port, fragment.
		{"url", "https://example.com/a?b=c", "example.com/a?b=c"},
		{"url", "HTTP://EXAMPLE.com/A?B", "example.com/A?B"},
		{"url", "example.com/a", "example.com/a"},
		{"url", "https://example.com", "example.com/"},
		{"url", "https://example.com?q", "example.com/?q"},
		{"url", "https://example.com#top", "example.com/"},
		{"url", "https://example.com/a#b?c/../d", "example.com/a"},
		{"url", "https://example.com:443/a", "example.com/a"},
		{"url", "http://example.com:80/a", "example.com/a"},
		{"url", "http://example.com:00080/a", "example.com/a"},
		{"url", "example.com:443", "example.com/"},
		{"url", "https://example.com:8443/a", "example.com:8443/a"},
		{"url", "https://example.com:08443/a", "example.com:8443/a"},
		{"url", "https://example.com:0/a", "example.com:0/a"},
		{"url", "https://example.com./a", "example.com/a"},
		{"url", "  https://example.com/a  ", "example.com/a"},
		{"url", "https://bücher.example/ä", "xn--bcher-kva.example/%C3%A4"},
		{"url", "https://BÜCHER.example/", "xn--bcher-kva.example/"},
		{"url", "https://XN--BCHER-KVA.example/", "xn--bcher-kva.example/"},
		{"url", "https://faß.example/", "xn--fa-hia.example/"},
		{"url", "https://例え。テスト/", "xn--r8jz45g.xn--zckzah/"},
		{"url", "https://192.0.2.1/", "192.0.2.1/"},
		{"url", "https://[2001:DB8:0:0::1]:443/", "[2001:db8::1]/"},
		{"url", "https://[1:2:3:4:5:6:192.0.2.1]/", "[1:2:3:4:5:6:c000:201]/"},
		{"url", "https://[2001:db8::0.0.0.1]:8080/", "[2001:db8::1]:8080/"},
		{"url", "example.com/redirect?u=http://other.example", "example.com/redirect?u=http://other.example"},
		// Escapes.
		{"url", "https://example.com/%41%7e%2d%5F%2E", "example.com/A~-_."},
		{"url", "https://example.com/%2f%3f%20?%2f%26%e4", "example.com/%2F%3F%20?%2F%26%E4"},
		{"url", "https://example.com/%252e%252e/a", "example.com/%252e%252e/a"},
		{"url", "https://example.com/100%/%2/%zz%", "example.com/100%/%2/%zz%"},
		{"url", "https://example.com/%%34%31", "example.com/%%341"},
		{"url", "https://example.com/%4%31", "example.com/%4%31"},
		{"url", "https://example.com/a?b=%61", "example.com/a?b=a"},
		// Dot segments.
		{"url", "https://example.com/a/./b/../c", "example.com/a/c"},
		{"url", "https://example.com/a/%2e/b/%2E%2e/c", "example.com/a/c"},
		{"url", "https://example.com/a/.%2e", "example.com/"},
		{"url", "https://example.com/../../a", "example.com/a"},
		{"url", "https://example.com/a/..", "example.com/"},
		{"url", "https://example.com/a/b/..", "example.com/a/"},
		{"url", "https://example.com/a/.", "example.com/a/"},
		{"url", "https://example.com/.", "example.com/"},
		{"url", "https://example.com/..?q", "example.com/?q"},
		{"url", "https://example.com/a//../b", "example.com/a/b"},
		{"url", "https://example.com//a", "example.com//a"},
		{"url", "https://example.com/...", "example.com/..."},
		{"url", "https://example.com/a.", "example.com/a."},
		{"url", "https://example.com/a?/../b", "example.com/a?/../b"},

		{"url", `https://example.com/{a}|b^c?"d"='e'&<f>&` + "`[g]`", "example.com/%7Ba%7D%7Cb%5Ec?%22d%22=%27e%27&%3Cf%3E&%60[g]%60"},
		{"url", "https://example.com/%{%4{%7b", "example.com/%%7B%4%7B%7B"},
		{"url", "https://[::ffff:c000:201]:8080/a", "192.0.2.1:8080/a"},

		{"prefix", "https://example.com", "example.com/"},
		{"prefix", "https://example.com/a/", "example.com/a/"},
		{"prefix", "https://example.com/?id=", "example.com/?id="},

		{"host", "Example.COM", "example.com"},
		{"host", "example.com.", "example.com"},
		{"host", "bücher.example", "xn--bcher-kva.example"},
		{"host", "com", "com"},
		{"host", "a_b.example", "a_b.example"},
		{"host", "192.0.2.1", "192.0.2.1"},
		{"host", "2001:DB8::1", "[2001:db8::1]"},
		{"host", "::ffff:192.0.2.1", "192.0.2.1"},
		{"host", "[2001:db8:0::1]", "[2001:db8::1]"},

		{"customer", "acme", "acme"},
		{"customer", " acme\u00A0", "acme"},
		{"campaign", "acme/spring_26", "acme/spring_26"},
		{"campaign", "/spring", "/spring"},
		{"recipient", "acme/R-1", "acme/R-1"},
		{"link", "/a1b2", "/a1b2"},

		{"key", "3", "3"},
		{"key", "abcdefghij012345", "abcdefghij012345"},

		{"ip", "192.0.2.1", "192.0.2.1"},
		{"ip", "192.0.2.1/32", "192.0.2.1"},
		{"ip", "192.0.2.77/24", "192.0.2.0/24"},
		{"ip", "0.0.0.0/0", "0.0.0.0/0"},
		{"ip", "2001:DB8:0::1", "2001:db8::1"},
		{"ip", "2001:db8::1/128", "2001:db8::1"},
		{"ip", "2001:db8:ffff::/32", "2001:db8::/32"},
		{"ip", "::ffff:192.0.2.1", "192.0.2.1"},
		{"ip", "::ffff:192.0.2.77/120", "192.0.2.0/24"},

		{"agent", "BadBot/1.0 (+HTTP)", "badbot/1.0 (+http)"},
		{"agent", " bot", " bot"},
		{"agent", "É", "É"},
	}
	for _, tt := range tests {
		got, err := NormalizeValue(Kind(tt.kind), tt.value)
		if err != nil || got != tt.want {
			t.Errorf("NormalizeValue(%q, %q) = %q, %v, want %q", tt.kind, tt.value, got, err, tt.want)
			continue
		}
		if again, err := NormalizeValue(Kind(tt.kind), got); err != nil || again != got {
			t.Errorf("NormalizeValue(%q, %q) = %q, %v: not its own normal form", tt.kind, got, again, err)
		}
	}
}

func TestNormalizeValueRefuses(t *testing.T) {
	tests := []struct{ kind, value, field string }{
		{"", "x", "kind"},
		{"Host", "example.com", "kind"},
		{"domain", "example.com", "kind"},
		{"url", "", "value"},
		{"url", "  ", "value"},
		{"agent", " \t", "value"},
		{"url", "https://", "value"},
		{"prefix", "https://example.com" + strings.Repeat("/a", 64), "value"},
		{"prefix", "https://example.com/?" + strings.Repeat("a=", 62) + "b", "value"},
		{"url", "https:///a", "value"},
		{"url", "ftp://example.com/", "value"},
		{"url", "https://user@example.com/", "value"},
		{"url", "https://example.com:99999/", "value"},
		{"url", "https://exa mple.com/", "value"},
		{"url", "https://example.com/a b", "value"},
		{"url", "https://example.com/\\", "value"},
		{"url", "https://example.com/\na", "value"},
		{"url", "https://example.com/\xff", "value"},
		{"url", "https://1.2.3/", "value"},
		{"url", "https://[::1%25eth0]/", "value"},
		{"url", "https://example.com/" + strings.Repeat("a", maxURL), "value"},
		{"prefix", "https://example.com/" + strings.Repeat("a", maxPrefix), "value"},
		{"host", "*.example.com", "value"},
		{"host", "https://example.com/", "value"},
		{"host", "example.com:80", "value"},
		{"host", "example.com/a", "value"},
		{"host", ".example.com", "value"},
		{"host", "example..com", "value"},
		{"host", "1.2.3", "value"},
		{"host", "fe80::1%eth0", "value"},
		{"host", strings.Repeat("a", 64) + ".com", "value"},
		{"customer", "a/b", "value"},
		{"customer", "ac me", "value"},
		{"customer", "é", "value"},
		{"customer", strings.Repeat("a", 65), "value"},
		{"campaign", "acme", "value"},
		{"campaign", "acme/", "value"},
		{"campaign", "/", "value"},
		{"campaign", "a/b/c", "value"},
		{"recipient", "acme/" + strings.Repeat("a", 65), "value"},
		{"key", "A", "value"},
		{"key", "abcdefghij0123456", "value"},
		{"ip", "192.0.2", "value"},
		{"ip", "192.0.2.1/33", "value"},
		{"ip", "fe80::1%eth0", "value"},
		{"ip", "localhost", "value"},
		{"agent", "bot\x00", "value"},
		{"agent", "\xff", "value"},
		{"agent", strings.Repeat("a", maxAgent+1), "value"},
	}
	for _, tt := range tests {
		got, err := NormalizeValue(Kind(tt.kind), tt.value)
		var ruleErr *linkcore.FieldError
		if !errors.As(err, &ruleErr) || ruleErr.Field != tt.field || ruleErr.Problem == "" {
			t.Errorf("NormalizeValue(%q, %.60q) = %.60q, %v, want an error of the %s", tt.kind, tt.value, got, err, tt.field)
		}
	}
}

func TestParseRule(t *testing.T) {
	r, err := ParseRule("url:https://Example.com:443/a")
	if err != nil || r.String() != "url:example.com/a" || r.Action != Block {
		t.Errorf("ParseRule = %+v, %v", r, err)
	}
	// SHA-256 of "host:example.com", by sha256sum and basenc.
	r, err = ParseRule("host:EXAMPLE.com")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.DocumentID(), "DYR63Ui0xIw9SnxXOTbPkYyNHrpwxrAomuuuAcLDw_c"; got != want {
		t.Errorf("DocumentID = %q, want %q", got, want)
	}
	// SHA-256 of "objection:acme/83jf", likewise.
	if got, want := (Rule{Kind: Recipient, Value: "acme/83jf"}).ObjectionID(), "JqSRJqTfDJ7Wkd2lW1AKNUhpTvgjDO88oTOQLS38RBw"; got != want {
		t.Errorf("ObjectionID = %q, want %q", got, want)
	}
	for _, s := range []string{"", "host", "host:", ":example.com", "hosts:example.com"} {
		if r, err := ParseRule(s); err == nil {
			t.Errorf("ParseRule(%q) = %v, want an error", s, r)
		}
	}
}

func TestRuleNormalize(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		rule  Rule
		field string // empty: it is fine
	}{
		{"block", Rule{Kind: Host, Value: "example.com"}, ""},
		{"redirect", Rule{Kind: Host, Value: "example.com", Action: Redirect, Target: "https://bücher.example/"}, ""},
		{"untracked", Rule{Kind: Recipient, Value: "a/b", Action: Untracked}, ""},
		{"window", Rule{Kind: Host, Value: "example.com", StartsAt: at, ExpiresAt: at.Add(1)}, ""},
		{"no kind", Rule{Value: "example.com"}, "kind"},
		{"empty value", Rule{Kind: Host}, "value"},
		{"unknown action", Rule{Kind: Host, Value: "example.com", Action: "allow"}, "action"},
		{"untracked host", Rule{Kind: Host, Value: "example.com", Action: Untracked}, "action"},
		{"untracked key", Rule{Kind: Key, Value: "1", Action: Untracked}, "action"},
		{"redirect to nowhere", Rule{Kind: Host, Value: "example.com", Action: Redirect}, "target"},
		{"redirect to a script", Rule{Kind: Host, Value: "example.com", Action: Redirect, Target: "javascript:alert(1)"}, "target"},
		{"relative redirect", Rule{Kind: Host, Value: "example.com", Action: Redirect, Target: "/a"}, "target"},
		{"long redirect", Rule{Kind: Host, Value: "example.com", Action: Redirect, Target: "https://example.com/" + strings.Repeat("a", maxURL)}, "target"},
		{"block with a target", Rule{Kind: Host, Value: "example.com", Target: "https://example.com/"}, "target"},
		{"empty window", Rule{Kind: Host, Value: "example.com", StartsAt: at, ExpiresAt: at}, "expires_at"},
		{"reason", Rule{Kind: Host, Value: "example.com", Reason: "\xff"}, "reason"},
		{"author", Rule{Kind: Host, Value: "example.com", CreatedBy: "\xff"}, "created_by"},
	}
	for _, tt := range tests {
		got, err := tt.rule.Normalize()
		var ruleErr *linkcore.FieldError
		switch {
		case tt.field == "" && (err != nil || got.Action == ""):
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		case tt.field != "" && (!errors.As(err, &ruleErr) || ruleErr.Field != tt.field):
			t.Errorf("%s: error %v, want one of the %s", tt.name, err, tt.field)
		}
	}
	r, err := Rule{Kind: Host, Value: "example.com", Action: Redirect, Target: "https://bücher.example/ä"}.Normalize()
	if want := "https://xn--bcher-kva.example/%C3%A4"; err != nil || r.Target != want {
		t.Errorf("target %q, %v, want %q", r.Target, err, want)
	}
}

func TestRuleLive(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name string
		rule Rule
		want bool
	}{
		{"always", Rule{}, true},
		{"lifted", Rule{Deleted: true}, false},
		{"begins now", Rule{StartsAt: at}, true},
		{"begins later", Rule{StartsAt: at.Add(time.Microsecond)}, false},
		{"dies now", Rule{ExpiresAt: at}, false},
		{"dies later", Rule{ExpiresAt: at.Add(time.Microsecond)}, true},
	}
	for _, tt := range tests {
		if got := tt.rule.Live(at); got != tt.want {
			t.Errorf("%s: Live = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestDocumentRule(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	valid := func(change map[string]any) map[string]any {
		fields := map[string]any{"kind": "host", "value": "Example.com", "action": "block", "updated_at": at}
		for k, v := range change {
			fields[k] = v
		}
		return fields
	}
	tests := []struct {
		name   string
		fields map[string]any
		field  string // of the error; empty: it is understood
	}{
		{"whole", valid(nil), ""},
		{"no action", valid(map[string]any{"action": nil}), ""},
		{"empty action", valid(map[string]any{"action": ""}), ""},
		{"no updated_at", valid(map[string]any{"updated_at": nil}), ""},
		{"odd updated_at", valid(map[string]any{"updated_at": "yesterday"}), ""},
		{"odd created_at", valid(map[string]any{"created_at": 7}), ""},
		{"odd reason", valid(map[string]any{"reason": []any{1}}), ""},
		{"odd created_by", valid(map[string]any{"created_by": map[string]any{}}), ""},
		{"target of a block", valid(map[string]any{"target": "nonsense"}), ""},
		{"other fields", valid(map[string]any{"color": "red"}), ""},
		{"lifted, else nonsense", map[string]any{"deleted": true, "kind": 7}, ""},
		{"nothing", map[string]any{}, "kind"},
		{"kind is a number", valid(map[string]any{"kind": int64(7)}), "kind"},
		{"kind is unknown", valid(map[string]any{"kind": "domain"}), "kind"},
		{"no value", valid(map[string]any{"value": nil}), "value"},
		{"empty value", valid(map[string]any{"value": ""}), "value"},
		{"value is a list", valid(map[string]any{"value": []any{"example.com"}}), "value"},
		{"value is bytes", valid(map[string]any{"value": []byte("example.com")}), "value"},
		{"value is not a host", valid(map[string]any{"value": "https://example.com"}), "value"},
		{"action is unknown", valid(map[string]any{"action": "Block"}), "action"},
		{"action is a boolean", valid(map[string]any{"action": true}), "action"},
		{"no target", valid(map[string]any{"action": "redirect"}), "target"},
		{"target is not a URL", valid(map[string]any{"action": "redirect", "target": "//example.com"}), "target"},
		{"target is a number", valid(map[string]any{"action": "redirect", "target": 1.5}), "target"},
		{"untracked host", valid(map[string]any{"action": "untracked"}), "action"},
		{"starts_at is a string", valid(map[string]any{"starts_at": "2026-05-01"}), "starts_at"},
		{"expires_at is a number", valid(map[string]any{"expires_at": int64(1)}), "expires_at"},
		{"deleted is a string", valid(map[string]any{"deleted": "true"}), "deleted"},
		{"a field of no known type", valid(map[string]any{"value": struct{}{}}), "value"},
	}
	for _, tt := range tests {
		d := newDocument("x", tt.fields)
		r, err := d.Rule()
		var ruleErr *linkcore.FieldError
		switch {
		case tt.field == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.field != "" && (!errors.As(err, &ruleErr) || ruleErr.Field != tt.field):
			t.Errorf("%s: error %v, want one of the %s", tt.name, err, tt.field)
		case r.ID != "x":
			t.Errorf("%s: id %q", tt.name, r.ID)
		}
	}
	d := newDocument("", valid(nil))
	r, err := d.Rule()
	if err != nil || r.String() != "host:example.com" || r.Action != Block || !r.UpdatedAt.Equal(at) {
		t.Errorf("rule %+v, %v", r, err)
	}
}

func newDocument(id string, fields map[string]any) Document {
	d := Document{ID: id}
	for name, value := range fields {
		d.Set(name, value)
	}
	return d
}

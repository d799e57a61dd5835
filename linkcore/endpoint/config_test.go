package endpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/redirect"
)

func getenv(pairs ...string) func(string) string {
	variables := map[string]string{"LINK_KEYS": "keys", "BLOCKLIST": "none", "CLICKS": "stdout"}
	for i := 0; i < len(pairs); i += 2 {
		variables[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return variables[name] }
}

// A server believes no forged header by default; Cloud Run has a proxy in front
// of every service, and of functions, which are services.
func TestTrustedProxiesFollowThePlatform(t *testing.T) {
	for _, c := range []struct {
		variables []string
		want      int
		unknown   bool
	}{
		{nil, 0, true},
		{[]string{"K_SERVICE", "linktracker"}, 1, false},
		{[]string{"K_SERVICE", "linktracker", "K_REVISION", "linktracker-1", "FUNCTION_TARGET", "Redirect"}, 1, false},
		{[]string{"FUNCTION_TARGET", "Redirect"}, 0, true}, // set by hand, to try a function
		{[]string{"CLOUD_RUN_JOB", "j"}, 0, true},
		{[]string{"TRUSTED_PROXIES", "0"}, 0, false},
		{[]string{"TRUSTED_PROXIES", "2"}, 2, false},
		{[]string{"K_SERVICE", "linktracker", "TRUSTED_PROXIES", "2"}, 2, false},
		{[]string{"K_SERVICE", "linktracker", "TRUSTED_PROXIES", "0"}, 0, false},
	} {
		config, err := ParseConfig(getenv(c.variables...))
		if err != nil || config.TrustedProxies != c.want || config.ProxiesUnknown != c.unknown {
			t.Errorf("%v: %d, unknown %t, %v", c.variables, config.TrustedProxies, config.ProxiesUnknown, err)
		}
	}
}

// Where nothing says whether there is a proxy, the first forwarded request is
// told, and no other.
func TestProxyIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		variables []string
		want      int
	}{
		{nil, 1},
		{[]string{"TRUSTED_PROXIES", "0"}, 0},
		{[]string{"TRUSTED_PROXIES", "1"}, 0},
		{[]string{"K_SERVICE", "linktracker"}, 0},
	} {
		var log bytes.Buffer
		clicks := filepath.Join(t.TempDir(), "clicks")
		s := startSite(t, &log, append(c.variables, "CLICKS", "file:"+clicks)...)
		for range 3 {
			s.serve(s.request(t, linkcore.Click, "acme"))
			r := s.request(t, linkcore.Click, "acme")
			r.Header.Set("X-Forwarded-For", "198.51.100.9")
			s.serve(r)
		}
		s.Close(t.Context())
		if n := strings.Count(log.String(), "TRUSTED_PROXIES"); n != c.want {
			t.Errorf("%v: %d warnings\n%s", c.variables, n, log.String())
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	networks := filepath.Join(t.TempDir(), "networks")
	if err := os.WriteFile(networks, []byte("192.0.2.0/24\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ variable, value, accepted string }{
		{"LINK_KEYS", "", "directory"},
		{"BLOCKLIST", "", "firestore://"},
		{"CLICKS", "", "pubsub://"},
		{"PORT", "http", "65535"},
		{"PORT", "65536", "65535"},
		{"PORT", "-1", "65535"},
		{"DELIVERY", "Hold", "hold, background"},
		{"DELIVERY_TIMEOUT", "5", "15s"},
		{"DELIVERY_TIMEOUT", "0s", "1ms"},
		{"DELIVERY_TIMEOUT", "-5s", "1ms"},
		{"HOLD_MAX", "0", "1"},
		{"HOLD_MAX", "many", "whole number"},
		{"BLOCKLIST_REFRESH", "15", "15s"},
		{"BLOCKLIST_REFRESH", "1ns", "100ms"},
		{"BLOCKLIST_RELOAD", "daily", "10m"},
		{"BLOCKLIST_MAX_AGE", "x", "1s"},
		{"BLOCKLIST_WAIT", "-1s", "0s"},
		{"BLOCKLIST_START_WAIT", "11m", "10m"},
		{"BLOCKLIST_UNAVAILABLE", "maybe", "untracked, allow, deny"},
		{"TRUSTED_PROXIES", "-1", "100"},
		{"COUNTRY_HEADER", "X Region", "header"},
		{"COUNTRY_HEADER", "X-Region:", "header"},
		{"PRIVACY_SIGNALS", "anonymize", "record, anonymise"},
		{"CLIENT_IP", "half", "full, truncated, none"},
		{"SCANNER_NETWORKS", filepath.Join(t.TempDir(), "missing"), "192.0.2.0/24"},
		{"SCANNER_NETWORKS", networks, "line 2"},
		{"SCANNER_NETWORKS", t.TempDir(), "192.0.2.0/24"},
		{"HOME_URL", "example.com", "http"},
		{"HOME_URL", "ftp://example.com", "http"},
		{"LOG_LEVEL", "trace", "info, debug, warn, error"},
		{"ADMIN_ADDRESS", "9090", "127.0.0.1:9090"},
		{"ADMIN_ADDRESS", ":9090", "127.0.0.1:9090"},
		{"ADMIN_ADDRESS", "127.0.0.1", "127.0.0.1:9090"},
		{"ADMIN_ADDRESS", "metrics.example.com:9090", "127.0.0.1:9090"},
		{"ADMIN_ADDRESS", "0.0.0.0:9090", "local address"},
		{"ADMIN_ADDRESS", "[::]:9090", "local address"},
		{"ADMIN_ADDRESS", "203.0.113.7:9090", "local address"},
		{"ADMIN_ADDRESS", "[2001:db8::7]:9090", "local address"},
		{"ADMIN_ADDRESS", "[::ffff:203.0.113.7]:9090", "local address"},
		{"ADMIN_ADDRESS", "notlocalhost:9090", "local address"},
		{"ADMIN_ADDRESS", "127.0.0.1:65536", "local address"},
	} {
		_, err := ParseConfig(getenv(c.variable, c.value))
		var field *linkcore.FieldError
		if !errors.As(err, &field) || field.Field != c.variable {
			t.Errorf("%s=%q: %v", c.variable, c.value, err)
			continue
		}
		text := err.Error()
		if !strings.HasPrefix(text, c.variable+" ") || !strings.Contains(text, c.value) || !strings.Contains(text, c.accepted) || strings.Contains(text, "\n") {
			t.Errorf("%s=%q: %q must be one line with the value and %q", c.variable, c.value, text, c.accepted)
		}
	}
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig(getenv())
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 8080 || c.Delivery != "hold" || c.DeliveryTimeout != 5*time.Second || c.HoldMax != 40 ||
		c.BlocklistRefresh != 15*time.Second || c.BlocklistReload != 10*time.Minute || c.BlocklistMaxAge != 5*time.Minute ||
		c.BlocklistWait != 250*time.Millisecond || c.BlocklistStartWait != 3*time.Second || c.Unavailable != redirect.Untracked ||
		c.TrustedProxies != 0 || !c.ProxiesUnknown || c.PrivacySignals != "record" || c.ClientIP != "full" || c.LogLevel != 0 || c.AdminAddress.IsValid() {
		t.Errorf("defaults %+v", c)
	}
	for value, want := range map[string]string{
		"localhost:9090":          "127.0.0.1:9090",
		"127.0.0.1:0":             "127.0.0.1:0",
		"[::1]:9090":              "[::1]:9090",
		"10.1.2.3:9090":           "10.1.2.3:9090",
		"[fd00::7]:9090":          "[fd00::7]:9090",
		"169.254.1.2:9090":        "169.254.1.2:9090",
		"100.64.0.9:9090":         "100.64.0.9:9090",
		"[::ffff:127.0.0.1]:9090": "[::ffff:127.0.0.1]:9090",
	} {
		c, err := ParseConfig(getenv("ADMIN_ADDRESS", value))
		if err != nil || c.AdminAddress.String() != want {
			t.Errorf("ADMIN_ADDRESS=%s: %v, %v", value, c.AdminAddress, err)
		}
	}
	networks := filepath.Join(t.TempDir(), "networks")
	if err := os.WriteFile(networks, []byte("# scanners\n\n192.0.2.77/24 # one\n2001:db8::/32\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = ParseConfig(getenv(
		"PORT", "0", "DELIVERY", "background", "BLOCKLIST_WAIT", "0s", "BLOCKLIST_UNAVAILABLE", "deny", "TRUSTED_PROXIES", "0",
		"CLIENT_IP", "truncated", "PRIVACY_SIGNALS", "anonymise", "LOG_LEVEL", "warn", "SCANNER_NETWORKS", networks, "HOME_URL", "https://example.com/"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 0 || c.Delivery != "background" || c.BlocklistWait != 0 || c.Unavailable != redirect.Deny || c.TrustedProxies != 0 ||
		c.ClientIP != "truncated" || c.PrivacySignals != "anonymise" || c.LogLevel != 4 || c.HomeURL == "" ||
		len(c.ScannerNetworks) != 2 || c.ScannerNetworks[0].String() != "192.0.2.0/24" {
		t.Errorf("%+v", c)
	}
}

// CONFIG.md has a row of every variable.
func TestVariablesAreDocumented(t *testing.T) {
	document, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	ParseConfig(func(name string) string {
		asked[name] = true
		return ""
	})
	if len(asked) < 20 {
		t.Fatalf("only %d variables are read", len(asked))
	}
	for name := range asked {
		if name != "K_SERVICE" && !strings.Contains(string(document), "\n| `"+name+"` | ") {
			t.Errorf("%s has no row", name)
		}
	}
}

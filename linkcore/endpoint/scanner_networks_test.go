package endpoint_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/endpoint"
)

// A file of networks, from the environment to the event.
func TestScannerNetworks(t *testing.T) {
	folder := t.TempDir()
	networks, keys := filepath.Join(folder, "networks"), filepath.Join(folder, "keys")
	secret := bytes.Repeat([]byte{7}, 32)
	for path, content := range map[string]string{
		networks:                 "# our gateways\n203.0.113.0/24 # in the cellar\n\n2001:db8:5::/48\n",
		filepath.Join(keys, "1"): base64.StdEncoding.EncodeToString(secret),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clicks := filepath.Join(folder, "clicks.jsonl")
	environment := map[string]string{
		"LINK_KEYS": keys, "BLOCKLIST": "none", "CLICKS": "file:" + clicks, "SCANNER_NETWORKS": networks,
		"CLIENT_IP": "none", "TRUSTED_PROXIES": "1",
	}
	var stdout bytes.Buffer
	e, err := endpoint.FromEnvironment(t.Context(), func(name string) string { return environment[name] }, &stdout)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": secret})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	link, err := signer.Sign(linkcore.Fields{Customer: "acme"}, "https://example.com/", linkcore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	addresses := []struct{ address, want string }{
		{"203.0.113.77", "automated"}, {"2001:db8:5:6::7", "automated"}, {"198.51.100.1", "human"}, {"40.107.22.1", "automated"},
	}
	for _, a := range addresses {
		r := httptest.NewRequest(http.MethodGet, link.URL, nil)
		r.RequestURI = strings.TrimPrefix(link.URL, "https://links.example.com")
		r.Header.Set("X-Forwarded-For", a.address)
		r.Header.Set("User-Agent", "a mail program")
		r.Header.Set("Accept", "*/*")
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != http.StatusFound {
			t.Fatalf("%s is answered with %d", a.address, w.Code)
		}
	}
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(clicks)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != len(addresses) {
		t.Fatalf("%d events of %d clicks:\n%s", len(lines), len(addresses), data)
	}
	for i, line := range lines {
		var event struct {
			Automation string
			Signals    []string
			IP         string
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		a := addresses[i]
		if event.Automation != a.want || event.IP != "" || (a.want == "automated") != (strings.Join(event.Signals, ",") == "scanner_network") {
			t.Errorf("%s: %s", a.address, line)
		}
	}
}

package terraform_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestProtected looks for prevent_destroy in the files themselves: no plan
// shows it, and terraform/check takes it out of the copy that it applies. Mails
// point at these for years.
func TestProtected(t *testing.T) {
	resources := regexp.MustCompile(`(?ms)^resource "(\w+)" "(\w+)" \{\n(.*?)^\}`)
	protected := []string{
		"google_certificate_manager_certificate.domain",
		"google_certificate_manager_certificate_map_entry.domain",
		"google_certificate_manager_dns_authorization.domain",
		"google_compute_global_address.way_in",
	}
	var got []string
	for path, content := range configuration(t) {
		if !strings.HasSuffix(path, ".tf") {
			continue
		}
		for _, m := range resources.FindAllStringSubmatch(content, -1) {
			if regexp.MustCompile(`(?s)\n  lifecycle \{.*?\n    prevent_destroy = true\n`).MatchString("\n" + m[3]) {
				got = append(got, m[1]+"."+m[2])
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, protected) {
		t.Errorf("prevent_destroy is on %v, want %v", got, protected)
	}
}

// TestNoKeyIsKept looks for key material in everything that Terraform would
// write down. The ephemeral bytes and the write-only argument are the only way
// that leaves none.
func TestNoKeyIsKept(t *testing.T) {
	key := regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`)
	versions := 0
	for name, resources := range run(t, "least_privilege.tftest.hcl") {
		for _, r := range resources {
			if r.Mode == "managed" && !strings.HasPrefix(r.Type, "google_") {
				t.Errorf("%s: %s would keep what it makes", name, r.Address)
			}
			if r.Type == "google_secret_manager_secret_version" && r.Mode == "managed" {
				versions++
				for _, argument := range []string{"secret_data", "secret_data_wo"} {
					if r.Values[argument] != nil {
						t.Errorf("%s: %s keeps its %s", name, r.Address, argument)
					}
				}
			}
			for attribute, value := range r.Values {
				if s, ok := value.(string); ok && key.MatchString(s) {
					t.Errorf("%s: %s.%s looks like a key", name, r.Address, attribute)
				}
			}
		}
	}
	if versions == 0 {
		t.Error("no version of the secret was seen")
	}
}

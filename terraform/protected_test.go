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

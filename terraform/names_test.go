package terraform_test

import (
	"regexp"
	"strings"
	"testing"
)

// limits says which attribute names a resource of a type, and what Google
// accepts there. An empty attribute: the resource has no name of its own.
var limits = map[string]struct{ attribute, accepts string }{
	"google_bigquery_dataset":              {"dataset_id", `[A-Za-z0-9_]{1,999}`},
	"google_bigquery_table":                {"table_id", `[A-Za-z0-9_]{1,999}`},
	"google_certificate_manager_":          {"name", `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`},
	"google_cloud_run_v2_service":          {"name", `[a-z]([a-z0-9-]{0,47}[a-z0-9])?`},
	"google_cloud_run_v2_worker_pool":      {"name", `[a-z]([a-z0-9-]{0,47}[a-z0-9])?`},
	"google_compute_":                      {"name", `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`},
	"google_compute_security_policy_rule":  {"", ""},
	"google_firestore_backup_schedule":     {"", ""},
	"google_firestore_database":            {"name", `[a-z][a-z0-9-]{2,61}[a-z0-9]`},
	"google_firestore_field":               {"", ""},
	"google_logging_metric":                {"name", `[A-Za-z0-9_,./-]{1,100}`},
	"google_logging_project_bucket_config": {"bucket_id", `[A-Za-z0-9][A-Za-z0-9_.-]{0,99}`},
	"google_logging_project_exclusion":     {"name", `[A-Za-z0-9][A-Za-z0-9_.-]{0,99}`},
	"google_logging_project_sink":          {"name", `[A-Za-z0-9][A-Za-z0-9_.-]{0,99}`},
	"google_monitoring_alert_policy":       {"display_name", `.{1,512}`},
	"google_monitoring_custom_service":     {"service_id", `[a-z][a-z0-9-]{0,61}[a-z0-9]`},
	"google_monitoring_dashboard":          {"", ""},
	"google_monitoring_slo":                {"slo_id", `[A-Za-z0-9_-]{1,63}`},
	"google_monitoring_uptime_check_config": {
		"display_name", `.{1,512}`,
	},
	"google_project_iam_custom_role":       {"role_id", `[A-Za-z0-9_.]{3,64}`},
	"google_project_service":               {"", ""},
	"google_pubsub_":                       {"name", `[A-Za-z][A-Za-z0-9_.~+%-]{2,254}`},
	"google_secret_manager_secret":         {"secret_id", `[A-Za-z0-9_-]{1,255}`},
	"google_secret_manager_secret_version": {"", ""},
	"terraform_data":                       {"", ""},
	"google_service_account":               {"account_id", `[a-z][a-z0-9-]{4,28}[a-z0-9]`},
}

// TestNames plans with the longest and the shortest prefix, and with domains
// that are long or differ in little, and compares every name with what Google
// accepts. The offline providers do not.
func TestNames(t *testing.T) {
	runs := run(t, "names.tftest.hcl")
	for _, name := range []string{"long", "short"} {
		t.Run(name, func(t *testing.T) {
			resources := runs[name]
			if len(resources) < 50 {
				t.Fatalf("only %d resources", len(resources))
			}
			seen := map[string]string{}
			for _, r := range resources {
				if r.Mode != "managed" || iam.MatchString(r.Type) && r.Type != "google_project_iam_custom_role" {
					continue
				}
				limit, ok := limits[r.Type]
				for prefix := range limits {
					if !ok && strings.HasSuffix(prefix, "_") && strings.HasPrefix(r.Type, prefix) {
						limit, ok = limits[prefix], true
					}
				}
				if !ok {
					t.Errorf("%s: say in limits what names a %s may have", r.Address, r.Type)
					continue
				}
				if limit.attribute == "" {
					continue
				}
				value := text(r.Values, limit.attribute)
				if !regexp.MustCompile(`^(` + limit.accepts + `)$`).MatchString(value) {
					t.Errorf("%s: Google does not accept the %s %q (%d characters)", r.Address, limit.attribute, value, len(value))
				}
				// Tables are named within a dataset, everything else within a
				// project and a location.
				id := strings.Join([]string{r.Type, text(r.Values, "location"), text(r.Values, "region"), text(r.Values, "dataset_id"), value}, " ")
				if other, twice := seen[id]; twice {
					t.Errorf("%s and %s have one name, %s", other, r.Address, value)
				}
				seen[id] = r.Address
			}
		})
	}
}

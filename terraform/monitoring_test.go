package terraform_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/redirect"
)

// A metric of a name that the endpoint does not log, or a query for a metric
// that is not made, is not an error to anybody: it stays silent.
func TestMonitoring(t *testing.T) {
	resources := run(t, "monitoring_domains.tftest.hcl")["with_domains"]
	metrics := map[string]string{} // what each reads, by name
	for _, r := range of(resources, "google_logging_metric") {
		metrics[text(r.Values, "name")] = text(r.Values, "value_extractor")
	}
	if len(metrics) == 0 {
		t.Fatal("no metrics")
	}

	t.Run("metrics read what the endpoint logs", func(t *testing.T) {
		line := statsLine(t)
		for name, extractor := range metrics {
			path, ok := strings.CutPrefix(extractor, "EXTRACT(jsonPayload.")
			path, closed := strings.CutSuffix(path, ")")
			if !ok || !closed {
				t.Errorf("%s reads %q", name, extractor)
				continue
			}
			var value any = line
			for part := range strings.SplitSeq(path, ".") {
				object, _ := value.(map[string]any)
				value = object[part]
			}
			if _, ok := value.(float64); !ok {
				t.Errorf("%s reads %s, which is %v in the stats line", name, path, value)
			}
		}
		for _, bound := range redirect.HistogramBounds() {
			name := fmt.Sprintf("linktracker/first_byte_le_%d", bound.Microseconds())
			if metrics[name] == "" {
				t.Errorf("the histogram's bound %v has no metric %s", bound, name)
			}
		}
		if n := len(redirect.HistogramBounds()); strings.Count(strings.Join(slices.Collect(maps.Keys(metrics)), " "), "_le_") != n {
			t.Errorf("the histogram has %d bounds, the metrics are %v", n, metrics)
		}
	})

	t.Run("queries ask for metrics that are made", func(t *testing.T) {
		made := map[string]bool{}
		for name := range metrics {
			for _, suffix := range []string{"_sum", "_count", "_bucket"} {
				made[regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllString(name, "_")+suffix] = true
			}
		}
		used := 0
		ask := func(where, query string) {
			for _, m := range regexp.MustCompile(`logging_googleapis_com:user_(\w+)\{`).FindAllStringSubmatch(query, -1) {
				used++
				if !made[m[1]] {
					t.Errorf("%s: no metric %s is made", where, m[1])
				}
			}
		}
		for _, r := range of(resources, "google_monitoring_alert_policy") {
			for _, condition := range blocks(r.Values, "conditions") {
				for _, number := range blocks(condition, "condition_prometheus_query_language") {
					query := text(number, "query")
					if query == "" {
						t.Errorf("%s has no query", r.Address)
					}
					ask(r.Address, query)
				}
			}
		}
		dashboard := text(named(t, resources, "google_monitoring_dashboard", "this").Values, "dashboard_json")
		ask("the dashboard", dashboard)
		if dashboard == "" || used < 20 {
			t.Errorf("only %d metrics are asked for", used)
		}
	})

	t.Run("filters match what the endpoint logs", func(t *testing.T) {
		code := source(t)
		messages := regexp.MustCompile(`jsonPayload\.message="((?:[^"\\]|\\.)*)"`)
		seen := map[string]bool{}
		for _, r := range resources {
			encoded, err := json.Marshal(r.Values)
			if err != nil {
				t.Fatal(err)
			}
			// Also those that runbooks tell people to look for.
			unquoted := strings.ReplaceAll(string(encoded), `\"`, `"`)
			for _, m := range messages.FindAllStringSubmatch(unquoted, -1) {
				seen[m[1]] = true
				if !strings.Contains(code, `"`+m[1]+`"`) {
					t.Errorf("%s: nothing logs %q", r.Address, m[1])
				}
			}
		}
		for _, want := range []string{"stats", "event spilled", "key skipped"} {
			if !seen[want] {
				t.Errorf("no filter for %q", want)
			}
		}
	})
}

// statsLine has an endpoint follow one link, and returns what it logs.
func statsLine(t *testing.T) map[string]any {
	t.Helper()
	folder := t.TempDir()
	keys := filepath.Join(folder, "keys")
	secret := bytes.Repeat([]byte("k"), 32)
	for path, content := range map[string]string{
		filepath.Join(keys, "1"):            base64.StdEncoding.EncodeToString(secret),
		filepath.Join(folder, "rules.json"): "",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
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

	environment := map[string]string{
		"LINK_KEYS": keys,
		"BLOCKLIST": "file:" + filepath.Join(folder, "rules.json"),
		"CLICKS":    "file:" + filepath.Join(folder, "clicks.jsonl"),
		// The first request waits until the rules are read: before that, they have
		// no age.
		"BLOCKLIST_WAIT": "1m",
	}
	var log bytes.Buffer
	e, err := endpoint.FromEnvironment(t.Context(), func(name string) string { return environment[name] }, &log)
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	e.ServeHTTP(answer, httptest.NewRequest("GET", link.URL, nil))
	if answer.Code != 302 {
		t.Fatalf("the link is answered with %d", answer.Code)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log.Bytes()) {
		var members map[string]any
		if json.Unmarshal(line, &members) == nil && members["message"] == "stats" {
			return members
		}
	}
	t.Fatalf("no stats line:\n%s", log.String())
	return nil
}

// source returns the code of everything that the endpoint and the watcher are
// made of.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{"../linkcore", "../cmd/linkconsent", "../cmd/linktracker", "../cmd/linkwatch"} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			all.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// Wherever events, rules or request logs come to rest, how long they stay is for
// the user to say.
func TestRetentionIsAVariable(t *testing.T) {
	retention := map[string]string{
		"google_bigquery_table":                "expiration_ms",
		"google_firestore_backup_schedule":     "retention",
		"google_logging_project_bucket_config": "retention_days",
		"google_pubsub_subscription":           "message_retention_duration",
		"google_pubsub_topic":                  "message_retention_duration",
	}
	// They hold no event: the announcement of a rotation, messages that their
	// subscriptions keep, and queries.
	without := []string{
		"google_bigquery_table.events", "google_bigquery_table.unique_clicks",
		"google_pubsub_subscription.rotation", "google_pubsub_topic.rotation",
		"google_pubsub_topic.dead_letter", "google_pubsub_topic.spill",
	}
	resources := regexp.MustCompile(`(?ms)^resource "(\w+)" "(\w+)" \{\n(.*?)^\}`)
	seen := 0
	for path, content := range configuration(t) {
		if filepath.Ext(path) != ".tf" || strings.HasPrefix(path, "examples/") {
			continue
		}
		for _, m := range resources.FindAllStringSubmatch(content, -1) {
			attribute, rests := retention[m[1]]
			if !rests || slices.Contains(without, m[1]+"."+m[2]) {
				continue
			}
			seen++
			setting := regexp.MustCompile(`(?m)^\s+` + attribute + `\s+=.*$`).FindString(m[3])
			if !strings.Contains(setting, "var.") && !strings.Contains(setting, "each.value.retention_days") {
				t.Errorf("%s.%s: its %s is not a variable: %q", m[1], m[2], attribute, setting)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d resting places were seen", seen)
	}
}

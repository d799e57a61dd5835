package endpoint

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"example.com/linktracker/linkcore"
)

// startEndpoint makes an endpoint that answers each sort of request so many
// times.
func startEndpoint(t *testing.T) (e *Endpoint, log *bytes.Buffer, click func(times int)) {
	t.Helper()
	folder := t.TempDir()
	keys := filepath.Join(folder, "keys")
	rules := filepath.Join(folder, "rules.jsonl")
	for _, err := range []error{
		os.Mkdir(keys, 0o700),
		os.WriteFile(filepath.Join(keys, "1"), []byte("RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc="), 0o600),
		os.WriteFile(filepath.Join(keys, "2"), []byte("too short"), 0o600),
		os.WriteFile(rules, []byte(`{"kind":"customer","value":"bad"}`+"\nno rule\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := ParseConfig(getenv("LINK_KEYS", keys, "BLOCKLIST", "file:"+rules, "CLICKS", "file:"+filepath.Join(folder, "clicks")))
	if err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	e, err = New(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(t.Context()) })
	<-e.rules.Ready()
	signer, err := e.keys.Signer("https://links.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	return e, log, func(times int) {
		for range times {
			for _, link := range []struct {
				customer string
				kind     linkcore.Kind
			}{{"acme", linkcore.Click}, {"bad", linkcore.Click}, {"acme", linkcore.Open}} {
				destination := ""
				if link.kind == linkcore.Click {
					destination = "https://example.com/"
				}
				tracked, err := signer.Sign(linkcore.Fields{Customer: link.customer}, destination, linkcore.Options{Kind: link.kind})
				if err != nil {
					t.Fatal(err)
				}
				e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", tracked.URL, nil))
			}
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "https://links.example.com/nothing", nil))
		}
	}
}

func getMetrics(t *testing.T, e *Endpoint) string {
	t.Helper()
	w := httptest.NewRecorder()
	e.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	return w.Body.String()
}

// The metrics page is read by Prometheus' own parser, and has the names and the
// totals of the stats lines.
func TestMetrics(t *testing.T) {
	e, log, click := startEndpoint(t)
	click(2)
	e.stats.write(e)
	click(1)
	e.stats.write(e) // counts anew, the page does not
	page := getMetrics(t, e)

	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%v\n%s", err, page)
	}
	var lines []map[string]any
	for line := range strings.Lines(log.String()) {
		var members map[string]any
		if json.Unmarshal([]byte(line), &members) == nil && members["message"] == "stats" {
			delete(members, "time")
			delete(members, "severity")
			delete(members, "message")
			lines = append(lines, members)
		}
	}
	if len(lines) != 2 {
		t.Fatalf("%d stats lines\n%s", len(lines), log)
	}
	for name := range families {
		if _, ok := lines[1][name]; !ok {
			t.Errorf("the metrics page has %s, the stats line has not", name)
		}
	}
	total := func(member func(line map[string]any) any) (sum float64) {
		for _, line := range lines {
			n, _ := member(line).(float64)
			sum += n
		}
		return sum
	}
	within := func(name, part string) float64 {
		return total(func(line map[string]any) any { return line[name].(map[string]any)[part] })
	}
	for name, value := range lines[1] {
		family := families[name]
		if family == nil || family.GetHelp() == "" {
			t.Errorf("the stats line has %s, the metrics page has %v", name, family)
			continue
		}
		switch {
		case name == "invalid_causes":
			if len(family.Metric) != 8 {
				t.Errorf("%d causes", len(family.Metric))
			}
			for _, m := range family.Metric {
				cause := m.Label[0].GetValue()
				if m.Label[0].GetName() != "cause" || m.GetCounter().GetValue() != within(name, cause) {
					t.Errorf("%s: %v, in the log %v", name, m, within(name, cause))
				}
			}
		case family.Metric[0].GetHistogram() != nil:
			h := family.Metric[0].GetHistogram()
			if float64(h.GetSampleCount()) != within(name, "count") || h.GetSampleSum() != within(name, "sum") || h.GetSampleCount() != 9 {
				t.Errorf("%s: %v", name, h)
			}
			parts := value.(map[string]any)
			bounds := 0
			for _, bucket := range h.Bucket {
				le := "le_" + strconv.FormatFloat(bucket.GetUpperBound(), 'f', -1, 64)
				if le == "le_+Inf" {
					le = "count"
				} else {
					bounds++
				}
				if _, ok := parts[le]; !ok || float64(bucket.GetCumulativeCount()) != within(name, le) {
					t.Errorf("%s: bucket %v, in the log %v", name, bucket, within(name, le))
				}
			}
			if len(parts) != bounds+2 {
				t.Errorf("%d buckets, in the log %v", bounds, parts)
			}
		case family.Metric[0].GetCounter() != nil:
			if got, want := family.Metric[0].GetCounter().GetValue(), total(func(line map[string]any) any { return line[name] }); got != want {
				t.Errorf("%s is %v, in the log %v", name, got, want)
			}
		default:
			got := family.Metric[0].GetGauge().GetValue()
			if got != value && name != "blocklist_age_seconds" {
				t.Errorf("%s is %v, in the log %v", name, got, value)
			}
		}
	}
	for name, want := range map[string]float64{"redirects": 3, "blocked": 3, "opens": 3, "invalid": 3, "delivered": 9, "key_failures": 1} {
		if got := families[name].Metric[0].GetCounter().GetValue(); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for name, want := range map[string]float64{"rules": 1, "skipped": 1, "keys": 1} {
		if got := families[name].Metric[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// Once a minute while requests come, and not only once.
func TestStatsEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, log, click := startEndpoint(t)
		for minute := range 3 {
			click(1)
			time.Sleep(statsInterval)
			synctest.Wait()
			if n := strings.Count(log.String(), `"message":"stats"`); n != minute+1 {
				t.Errorf("%d stats lines after %d minutes", n, minute+1)
			}
		}
		time.Sleep(10 * statsInterval)
		synctest.Wait()
		if n := strings.Count(log.String(), `"message":"stats"`); n != 3 {
			t.Errorf("%d stats lines, though no request came after the third", n)
		}
	})
}

// CONFIG.md describes each name.
func TestStatsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "## Logs")
	table, _, _ = strings.Cut(table, "These names are a contract")
	var documented []string
	for line := range strings.Lines(table) {
		if names, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok && strings.HasPrefix(line, "| `") {
			for name := range strings.SplitSeq(names, ", ") {
				documented = append(documented, strings.Trim(name, "`"))
			}
		}
	}
	var names []string
	for _, m := range measures {
		names = append(names, m.name)
		if n := 0; true {
			for _, set := range []bool{m.count != nil, m.causes != nil, m.state != nil, m.histogram != nil} {
				if set {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s has %d functions", m.name, n)
			}
		}
	}
	slices.Sort(documented)
	slices.Sort(names)
	if !slices.Equal(documented, names) {
		t.Errorf("CONFIG.md has %v, the line has %v", documented, names)
	}
}

// CONFIG.md has every cause of an invalid request, and no other.
func TestCausesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(b), "| the invalid ones by cause: ")
	list, _, _ = strings.Cut(list, " |")
	var documented []string
	for name := range strings.SplitSeq(list, ", ") {
		documented = append(documented, strings.Trim(name, "`"))
	}
	slices.Sort(documented)
	e, _, _ := startEndpoint(t)
	if causes := slices.Sorted(maps.Keys(e.handler.Stats().InvalidCauses)); !slices.Equal(documented, causes) {
		t.Errorf("CONFIG.md has %v, the handler counts %v", documented, causes)
	}
}

// The page is all that there is: a link is not answered there.
func TestMetricsAlone(t *testing.T) {
	e, _, _ := startEndpoint(t)
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/metrics", 200},
		{"HEAD", "/metrics", 200},
		{"POST", "/metrics", 405},
		{"GET", "/", 404},
		{"GET", "/metrics/", 404},
		{"GET", "/-/ready", 404},
		{"GET", "/debug/pprof/", 404},
	} {
		w := httptest.NewRecorder()
		e.Metrics().ServeHTTP(w, httptest.NewRequest(test.method, test.target, nil))
		if w.Code != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.target, w.Code, test.status)
		}
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 404 || strings.Contains(w.Body.String(), "redirects") {
		t.Errorf("at the links' port: %d %s", w.Code, w.Body)
	}
}

// An age that is not known yet is left out, as in the stats line.
func TestMetricsWithoutRules(t *testing.T) {
	page := string(appendMetrics(nil, &counts{}))
	if strings.Contains(page, "blocklist_age_seconds") || !strings.Contains(page, "\nredirects 0\n") {
		t.Errorf("%s", page)
	}
	c := counts{}
	c.rules.Age = 90 * time.Second
	if page := string(appendMetrics(nil, &c)); !strings.Contains(page, "# TYPE blocklist_age_seconds gauge\nblocklist_age_seconds 90\n") {
		t.Errorf("%s", page)
	}
}

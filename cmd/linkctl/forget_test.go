package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/api/bigquery/v2"

	"example.com/linktracker/cmd/internal/erase"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/file"
	"example.com/linktracker/linkcore/testsize"
)

// A warehouse is as much of BigQuery's REST API as deleting needs, over one table
// of events.
type warehouse struct {
	mu      sync.Mutex
	rows    []row
	queries []string // that were run
	jobs    map[string]*bigquery.GetQueryResultsResponse

	fresh    int // how many more times deleting the rows that are fresh is refused
	pending  int // how many times a question about a job is answered with "not yet"
	broken   int // how many more calls fail with 503
	lost     int // how many more jobs start without an answer
	refusal  string
	code     int
	location string
}

type row struct {
	customer, recipient, rule string
	fresh                     bool // in the streaming buffer
}

func newWarehouse(t *testing.T, b *bench, rows ...row) *warehouse {
	w := &warehouse{rows: rows, jobs: map[string]*bigquery.GetQueryResultsResponse{}, location: "europe-west1"}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	b.set("BIGQUERY_EMULATOR_HOST", strings.TrimPrefix(server.URL, "http://"))
	return w
}

func (w *warehouse) fail(rw http.ResponseWriter, code int, reason, message string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	json.NewEncoder(rw).Encode(map[string]any{"error": map[string]any{
		"code": code, "message": message, "errors": []any{map[string]any{"message": message, "domain": "global", "reason": reason}},
	}})
}

func (w *warehouse) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := func(v any) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(v)
	}
	const prefix = "/bigquery/v2/projects/my-project/"
	path, ok := strings.CutPrefix(r.URL.Path, prefix)
	id, isResult := strings.CutPrefix(path, "queries/")
	switch {
	case w.broken > 0:
		w.broken--
		w.fail(rw, http.StatusServiceUnavailable, "backendError", "Error encountered during execution. Retrying may solve the problem.")
	case w.code != 0:
		reason := map[int]string{403: "accessDenied", 404: "notFound", 400: "invalidQuery"}[w.code]
		w.fail(rw, w.code, reason, w.refusal)
	case ok && path == "jobs" && r.Method == http.MethodPost:
		var job bigquery.Job
		if err := json.NewDecoder(r.Body).Decode(&job); err != nil {
			w.fail(rw, http.StatusBadRequest, "parseError", err.Error())
			return
		}
		query := job.Configuration.Query
		if query.UseLegacySql == nil || *query.UseLegacySql || query.ParameterMode != "NAMED" {
			w.fail(rw, http.StatusBadRequest, "invalid", "this is legacy SQL")
			return
		}
		if job.Configuration.DryRun {
			answer(map[string]any{"statistics": map[string]any{"totalBytesProcessed": "123456789"}, "status": map[string]any{"state": "DONE"}})
			return
		}
		if w.jobs[job.JobReference.JobId] != nil {
			w.fail(rw, http.StatusConflict, "duplicate", "Already Exists: Job my-project:"+job.JobReference.JobId)
			return
		}
		result := w.run(query)
		w.jobs[job.JobReference.JobId] = result
		if w.lost > 0 {
			w.lost--
			w.fail(rw, http.StatusBadGateway, "badGateway", "no answer")
			return
		}
		job.JobReference.Location = w.location
		answer(&bigquery.Job{JobReference: job.JobReference, Status: &bigquery.JobStatus{State: "RUNNING"}})
	case isResult && r.Method == http.MethodGet:
		result := w.jobs[id]
		switch {
		case result == nil, r.URL.Query().Get("location") != w.location && w.location != "":
			w.fail(rw, http.StatusNotFound, "notFound", "Not found: Job my-project:"+id)
		case w.pending > 0:
			w.pending--
			answer(map[string]any{"jobComplete": false})
		case len(result.Errors) > 0:
			w.fail(rw, http.StatusBadRequest, "invalidQuery", result.Errors[0].Message)
		default:
			answer(result)
		}
	default:
		w.fail(rw, http.StatusNotFound, "notFound", "no such method: "+r.Method+" "+r.URL.Path)
	}
}

func (w *warehouse) run(query *bigquery.JobConfigurationQuery) *bigquery.GetQueryResultsResponse {
	w.queries = append(w.queries, query.Query)
	parameters := map[string]string{}
	for _, p := range query.QueryParameters {
		parameters[p.Name] = p.ParameterValue.Value
	}
	hit := func(r row) bool {
		customer := strings.Contains(query.Query, "customer IS NULL") && r.customer == "" ||
			strings.Contains(query.Query, "customer = @customer") && r.customer == parameters["customer"]
		return customer && (r.recipient == parameters["recipient"] || r.rule == parameters["rule"]) &&
			(parameters["before"] == "" || !r.fresh)
	}
	count := int64(0)
	touchesFresh := false
	for _, r := range w.rows {
		if hit(r) {
			count++
			touchesFresh = touchesFresh || r.fresh
		}
	}
	if strings.HasPrefix(query.Query, "SELECT COUNT(*) FROM ") {
		return &bigquery.GetQueryResultsResponse{JobComplete: true, Rows: []*bigquery.TableRow{{F: []*bigquery.TableCell{{V: fmt.Sprint(count)}}}}}
	}
	if touchesFresh && w.fresh > 0 {
		w.fresh--
		return &bigquery.GetQueryResultsResponse{Errors: []*bigquery.ErrorProto{{
			Message: "UPDATE or DELETE statement over table my-project.linktracker_clicks.clicks would affect rows in the streaming buffer, which is not supported",
		}}}
	}
	var rest []row
	for _, r := range w.rows {
		if !hit(r) {
			rest = append(rest, r)
		}
	}
	w.rows = rest
	return &bigquery.GetQueryResultsResponse{JobComplete: true, NumDmlAffectedRows: count}
}

const clicksName = "my-project.linktracker_clicks.clicks"

// personRows are three rows of the person, and others'.
func personRows() []row {
	return []row{
		{customer: "acme", recipient: "r83jf"},
		{customer: "acme", recipient: "r83jf"},
		{customer: "acme", rule: "recipient:acme/r83jf"}, // an event without him that names his rule
		{customer: "acme", recipient: "r83"},
		{customer: "globex", recipient: "r83jf"},
		{recipient: "r83jf"},
		{customer: "acme"},
	}
}

func TestForgetBigQuery(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	b := newBench(t)
	w := newWarehouse(t, b, personRows()...)
	got := b.run("", "forget", "acme/r83jf", "--bigquery", clicksName, "--dry-run")
	if got.code != exitYes || len(w.rows) != 7 || got.stderr != "" ||
		!strings.HasPrefix(got.stdout, clicksName+": 3 rows would be deleted; BigQuery reads 117.7 MiB for it\nrecipient:acme/r83jf: would be written, not tracked\n") {
		t.Errorf("dry run: %+v", got)
	}
	if rules := b.succeed("", "rules"); rules != "" {
		t.Errorf("a dry run wrote %s", rules)
	}

	w.pending, w.broken, w.lost = 2, 2, 1
	w.location = "" // as in the US, and for jobs whose start went unanswered
	got = b.run("", "forget", "acme/r83jf", "--bigquery", clicksName, "--yes", "--reason", "letter")
	if got.code != exitYes || !strings.HasPrefix(got.stdout, "recipient:acme/r83jf: not tracked\n"+clicksName+": 3 rows deleted\n") {
		t.Errorf("%+v", got)
	}
	if len(w.rows) != 4 {
		t.Errorf("%v are left", w.rows)
	}
	for _, query := range w.queries {
		if strings.Contains(query, "r83jf") || strings.Contains(query, "acme") {
			t.Errorf("the name is in the query: %s", query)
		}
	}
	if rules := b.succeed("", "rules"); !strings.Contains(rules, "recipient:acme/r83jf  untracked  live") || !strings.Contains(rules, "letter") {
		t.Errorf("rules:\n%s", rules)
	}

	// Again, in a region.
	w.location = "europe-west1"
	got = b.run("", "forget", "acme/r83jf", "--bigquery", "my-project:linktracker_clicks.clicks", "--yes")
	if got.code != exitYes || !strings.HasPrefix(got.stdout, "recipient:acme/r83jf: not tracked already\n"+clicksName+": 0 rows deleted\n") {
		t.Errorf("again: %+v", got)
	}
	// One without a customer.
	if got = b.run("", "forget", "/r83jf", "--bigquery", clicksName, "--yes"); got.code != exitYes || !strings.Contains(got.stdout, ": 1 row deleted") || len(w.rows) != 3 {
		t.Errorf("without a customer: %+v, %v are left", got, w.rows)
	}
}

// Rows that are too new: the others go, and these when they can.
func TestForgetTooNew(t *testing.T) {
	rows := append(personRows(), row{customer: "acme", recipient: "r83jf", fresh: true})
	b := newBench(t)
	w := newWarehouse(t, b, rows...)
	w.fresh = 1000
	got := b.run("", "forget", "acme/r83jf", "--bigquery", clicksName, "--yes")
	if got.code != exitNo || !strings.Contains(got.stdout, clicksName+": 3 rows deleted\n") || len(w.rows) != 5 ||
		!strings.Contains(got.stderr, "BigQuery cannot delete them yet: run this again after ") || !strings.Contains(got.stdout, "PLACE") {
		t.Errorf("%+v, %v are left", got, w.rows)
	}

	w.fresh = 3
	got = b.run("", "forget", "acme/r83jf", "--bigquery", clicksName, "--yes", "--wait", "200ms")
	if got.code != exitYes || !strings.Contains(got.stdout, clicksName+": 1 row deleted\n") || len(w.rows) != 4 {
		t.Errorf("with --wait: %+v, %v are left", got, w.rows)
	}
}

func TestForgetBigQueryFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code          int
		refusal, want string
	}{
		{403, "Access Denied: Table my-project:linktracker_clicks.clicks: User does not have permission", "your account needs the roles roles/bigquery.dataEditor on the table and roles/bigquery.jobUser on its project, as Terraform's variable `privacy_members` gives them"},
		{404, "Not found: Dataset my-project:linktracker_clicks", "check the names in --bigquery"},
		{400, "Unrecognized name: recipient at [1:50]", "this is not a table of click events"},
		{400, "Could not serialize access to table due to concurrent update", "somebody else changes the table just now; try again"},
		{400, "Syntax error", "Syntax error"},
		{503, "backend", "BigQuery did not answer as it should; try again"},
	} {
		b := newBench(t)
		w := newWarehouse(t, b, personRows()...)
		w.code, w.refusal = test.code, test.refusal
		got := b.run("", "forget", "acme/r83jf", "--bigquery", clicksName, "--yes")
		if got.code != exitNo || !strings.Contains(got.stderr, test.want) || strings.Count(got.stderr, "\n") != 1 || len(w.rows) != 7 {
			t.Errorf("%d: %+v", test.code, got)
		}
		// What cannot be done is found out before anything is.
		if rules := b.succeed("", "rules"); rules != "" {
			t.Errorf("%d: wrote %s", test.code, rules)
		}
	}
}

func personLines() string {
	return reportEvents +
		`{"event_id":"v1","event_type":"verdict","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"acme","recipient":"r83jf","automation":"automated","about":"x"}` + "\r\n" +
		`{"event_id":"u1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"acme","rule":"recipient:acme/r83jf","untracked":true}` + "\n" +
		`{"event_id":"n1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"acme","recipient":"r83jfX","user_agent":"r83jf"}` + "\n" +
		`{"jsonPayload":{"message":"event spilled","event":{"event_id":"s1","event_type":"click","occurred_at":"2026-05-04T09:32:01.371204Z","customer":"acme","recipient":"r83jf"}}}` + "\n" +
		`{"message":"event spilled","event":{"event_id":"s2","event_type":"click","customer":"globex","recipient":"r83jf","query":"` + strings.Repeat("x", 1<<19) + `"}}` + "\n"
}

func TestForgetFile(t *testing.T) {
	testsize.Medium(t)
	t.Parallel()
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "clicks.jsonl")
	before := personLines()
	writeFile(t, path, before)
	// An endpoint has it open.
	endpoint, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer endpoint.Close()

	got := b.run("", "forget", "acme/r83jf", "--events", "file:"+path, "--dry-run")
	if got.code != exitYes || !strings.HasPrefix(got.stdout, path+": 5 lines would be deleted\n") {
		t.Errorf("dry run: %+v", got)
	}
	if content, _ := os.ReadFile(path); string(content) != before {
		t.Error("a dry run changed the file")
	}
	got = b.run("", "forget", "acme/r83jf", "--events", path, "--yes")
	if got.code != exitYes || !strings.HasPrefix(got.stdout, "recipient:acme/r83jf: not tracked\n"+path+": 5 lines deleted\n") {
		t.Errorf("%+v", got)
	}
	const next = `{"event_id":"later","event_type":"click"}` + "\n"
	if _, err := endpoint.WriteString(next); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) != len(before)+len(next) || !strings.HasSuffix(string(content), next) {
		t.Errorf("%d bytes became %d", len(before), len(content))
	}
	// Every line is as it was or blank.
	blank := 0
	after := strings.Split(string(content), "\n")
	for i, line := range strings.Split(before, "\n") {
		switch {
		case strings.TrimSpace(after[i]) == "" && line != "":
			blank++
			if len(after[i]) != len(line) {
				t.Errorf("line %d has another length", i+1)
			}
		case after[i] != line && i < 9:
			t.Errorf("line %d became %.100q", i+1, after[i])
		}
	}
	if blank != 5 {
		t.Errorf("%d lines are blank", blank)
	}
	if n := b.numbers("", path); n.Input.Unreadable != 2 {
		t.Errorf("a report of what is left: %+v", n)
	}
	// Doing it twice does no harm.
	if got := b.run("", "forget", "acme/r83jf", "--events", path, "--yes"); got.code != exitYes || !strings.Contains(got.stdout, path+": 0 lines deleted\n") {
		t.Errorf("again: %+v", got)
	}
}

func TestForgetFileFails(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ content, want string }{
		"compressed":  {"\x1f\x8bxx", "is compressed, and lines in it cannot be deleted: unpack it first, or delete it"},
		"an array":    {" [{}]", "is one array and not lines: delete it, and export it again if it is still needed"},
		"not clear":   {"{}\nr83jf was here\n", `1 line with "r83jf" cannot be understood, the first is line 2: look at them yourself`},
		"not written": {`{"customer":"acme","recipient":"r83jf","li`, "the last line has no end yet and may be of this person: run this again"},
	} {
		b := newBench(t)
		path := filepath.Join(dir, name)
		writeFile(t, path, test.content)
		got := b.run("", "forget", "acme/r83jf", "--events", path, "--yes")
		if got.code != exitNo || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%s: %+v", name, got)
		}
		if content, _ := os.ReadFile(path); string(content) != test.content {
			t.Errorf("%s: became %q", name, content)
		}
	}
	b := newBench(t)
	if got := b.run("", "forget", "acme/r83jf", "--events", dir, "--yes"); got.code != exitNo {
		t.Errorf("a folder: %+v", got)
	}
	if got := b.run("", "forget", "acme/r83jf", "--events", dir+"/missing", "--yes"); got.code != exitNo || b.succeed("", "rules") != "" {
		t.Errorf("a file that is not there: %+v", got)
	}
}

func TestForgetRule(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b *bench) {
		// A block is not put out of force.
		got := b.run("", "block", "recipient:acme/r1") // warns of the first rule of all
		if got.code != exitYes {
			t.Fatalf("block: %+v", got)
		}
		got = b.run("", "forget", "acme/r1", "--yes")
		if got.code != exitNo || !strings.Contains(got.stderr, "recipient:acme/r1 is blocked, and there is one rule of each name: lift that one first (linkctl unblock recipient:acme/r1)") {
			t.Errorf("a block: %+v", got)
		}
		b.succeed("", "unblock", "recipient:acme/r1")
		b.succeed("", "forget", "acme/r1", "--yes")
		// One that ends becomes one that does not.
		b.succeed("", "block", "--untracked", "--expires", "1h", "recipient:acme/r2")
		b.succeed("", "forget", "acme/r2", "--yes")
		rules := b.succeed("", "rules", "--json")
		if strings.Count(rules, `"action":"untracked"`) != 2 || strings.Contains(rules, "expires_at") || !strings.Contains(rules, `"reason":"objection to tracking","created_by":"abuse@`) {
			t.Errorf("rules:\n%s", rules)
		}
		if got := b.succeed("", "forget", "acme/r2", "--yes"); !strings.HasPrefix(got, "recipient:acme/r2: not tracked already\n") {
			t.Errorf("again:\n%s", got)
		}
	})
	// A blocklist in a file that is not there yet.
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "rules.jsonl")
	b.set("BLOCKLIST", "file:"+path)
	b.succeed("", "forget", "acme/r1", "--yes")
	source := file.New(path)
	if rules, _, err := source.List(t.Context()); err != nil || len(rules) != 1 || rules[0].Action != blocklist.Untracked {
		t.Errorf("%v, %v", rules, err)
	}
}

// The list of places, with the dates that the settings make.
func TestForgetPlaces(t *testing.T) {
	b := newBench(t)
	got := b.succeed("", "forget", "acme/r1", "--yes", "--retention", "crm_retention_days=31", "--retention", "clicks_retention_days=0")
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	for _, want := range []string{
		"the CRM's subscription, what was not read            " + day(31) + "  crm_retention_days\n",
		"the watcher's subscription, what was not read        " + day(1) + "  watch.retention_hours\n",
		"dead letters                                         " + day(45) + "  crm_retention_days + dead_letter_retention_days\n",
		"spilled events                                       " + day(14) + "  spill_retention_days\n",
		"BigQuery, if there is a table: nothing was deleted   " + day(414) + "  bigquery_expiration_days + 14\n",
		"run this again on " + day(31) + ".\n",
		"the mails themselves",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "click topic") {
		t.Errorf("a topic that keeps nothing is in\n%s", got)
	}
	// Hours are full days, and what the watcher did not read may yet become verdicts.
	got = b.succeed("", "forget", "acme/r1", "--dry-run", "--retention", "watch.retention_hours=25")
	if !strings.Contains(got, day(2)+"  watch.retention_hours\n") {
		t.Errorf("25 hours:\n%s", got)
	}
	got = b.succeed("", "forget", "acme/r1", "--yes", "--retention", "watch.retention_hours=744")
	if !strings.Contains(got, day(31)+"  watch.retention_hours\n") || !strings.Contains(got, "run this again on "+day(31)+".\n") {
		t.Errorf("744 hours:\n%s", got)
	}
	newWarehouse(t, b)
	if got := b.succeed("", "forget", "acme/r1", "--yes", "--bigquery", clicksName); !strings.Contains(got, "time travel and fail-safe") || !strings.Contains(got, day(14)+"  7 + 7 days, fixed\n") {
		t.Errorf("with a table:\n%s", got)
	}
}

// Every place that Terraform's README lists is in the list, with its variable.
func TestForgetPlacesAreTerraforms(t *testing.T) {
	readme, err := os.ReadFile("../../terraform/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, places, _ := strings.Cut(string(readme), "**Personal data** rests in these places")
	places, _, _ = strings.Cut(places, "\n")
	got := newBench(t).succeed("", "forget", "acme/r1", "--dry-run")
	found := 0
	for _, m := range regexp.MustCompile("\\(`([a-z._]+)`\\)|\\(its `([a-z._]+)`\\)").FindAllStringSubmatch(places, -1) {
		found++
		if name := m[1] + m[2]; !strings.Contains(got, name) {
			t.Errorf("no place with %s in\n%s", name, got)
		}
	}
	if found != len(erase.Retentions) {
		t.Errorf("the README lists %d places, and %d have a variable", found, len(erase.Retentions))
	}
}

func TestForgetUsage(t *testing.T) {
	b := newBench(t)
	for args, want := range map[string]string{
		"acme/r1":                                      `deleting cannot be undone, and nobody can be asked here: give --yes, or --dry-run to see how much it is`,
		"--yes":                                        `CUSTOMER/RECIPIENT is missing`,
		"--yes r1":                                     `"r1": value `,
		"--yes acme/a.b":                               `"acme/a.b": value `,
		"--yes acme/r1 --bigquery clicks":              `--bigquery "clicks": give PROJECT.DATASET.TABLE, such as my-project.linktracker_clicks.clicks`,
		"--yes acme/r1 --bigquery a.b.c`;DROP":         "--bigquery \"a.b.c`;DROP\": give PROJECT.DATASET.TABLE",
		"--yes acme/r1 --events=":                      `--events is empty`,
		"--yes acme/r1 --wait -1s":                     `--wait "-1s": give a time such as 30s, 72h or 7d`,
		"--yes acme/r1 --retention crm=1":              `--retention "crm=1": give VARIABLE=NUMBER with one of clicks_retention_days, `,
		"--yes acme/r1 --retention crm_retention_days": `--retention "crm_retention_days": give a number of days, such as crm_retention_days=7`,
		"--yes acme/r1 --retention watch.retention_hours=1d": `--retention "watch.retention_hours=1d": give a number of hours, such as watch.retention_hours=24`,
	} {
		got := b.run("", append([]string{"forget"}, strings.Fields(args)...)...)
		if got.code != exitUsage || !strings.HasPrefix(got.stderr, "linkctl: "+want) || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
			t.Errorf("forget %s: %+v", args, got)
		}
	}
	if rules := b.succeed("", "rules"); rules != "" {
		t.Errorf("wrote %s", rules)
	}
}

// On a terminal it says what there is, and asks.
func TestForgetAsks(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"yes\n": exitYes, "y\n": exitNo, "\n": exitNo, "no\n": exitNo} {
		master, slave := openTerminal(t, 80)
		b := newBench(t)
		path := filepath.Join(t.TempDir(), "clicks.jsonl")
		writeFile(t, path, personLines())
		if _, err := master.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"forget", "acme/r83jf", "--events", path}, slave, &stdout, &stderr, b.environ)
		question := path + ": 5 lines to delete\nPermanently delete all this of acme/r83jf, and record no more of this person? Type yes: "
		content, _ := os.ReadFile(path)
		if code != want || !strings.HasPrefix(stderr.String(), question) {
			t.Errorf("%q: %d\n%s%s", answer, code, stdout.String(), stderr.String())
		}
		if deleted := string(content) != personLines(); deleted != (want == exitYes) || (b.succeed("", "rules") != "") != deleted {
			t.Errorf("%q: deleted is %v", answer, deleted)
		}
		if want == exitNo && (!strings.HasSuffix(stderr.String(), "linkctl: nothing was done\n") || stdout.Len() > 0) {
			t.Errorf("%q: %s%s", answer, stdout.String(), stderr.String())
		}
	}
}

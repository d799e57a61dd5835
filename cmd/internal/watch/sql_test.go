package watch_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

// The views are written for BigQuery, which runs nowhere but at Google. SQLite
// has the same windows, frames, NULLs and integers, so here it runs the queries as
// they stand in bigquery.tf, but for the words in dialect and for * EXCEPT
// REPLACE. What this cannot show is how BigQuery reads the table and what that
// costs.
//
// In SQLite a time is its microseconds, an array of strings one string with
// commas, and a table has the name that it has in its dataset.
var dialect = []struct{ google, sqlite string }{
	{"`[^`]*google_bigquery_table\\.(\\w+)\\[0\\][^`]*`", `$1`},
	{`\bUNIX_MICROS\((\w+)\)`, `$1`},
	{`\bDATE\((\w+)\)`, `date($1 / 1000000, 'unixepoch')`},
	{`\bARRAY_TO_STRING\((\w+), ','\)`, `$1`},
	{`\bSTARTS_WITH\((\w+), '(\w+)'\)`, `($1 GLOB '$2*')`},
	{`\bCOUNTIF\(`, `TOTAL(`},
	{`\bIF\(`, `IIF(`},
	{`\bSTRING_AGG\(`, `GROUP_CONCAT(`},
	{`\bARRAY\(\s*SELECT DISTINCT (\w+) FROM`, `(SELECT GROUP_CONCAT(DISTINCT $1) FROM`},
	{`\bUNNEST\(SPLIT\((.*), ','\)\) AS (\w+)`, `(SELECT value AS $2 FROM JSON_EACH('["' || REPLACE($1, ',', '","') || '"]'))`},
}

// query returns a view's query in SQLite's dialect.
func query(t *testing.T, view string) string {
	t.Helper()
	content, err := os.ReadFile("../../../terraform/bigquery.tf")
	if err != nil {
		t.Fatal(err)
	}
	_, resource, _ := strings.Cut(string(content), fmt.Sprintf("resource \"google_bigquery_table\" %q {\n", view))
	resource, _, _ = strings.Cut(resource, "\n}\n")
	_, text, ok := strings.Cut(resource, "<<-SQL\n")
	text, _, end := strings.Cut(text, "\n    SQL\n")
	if !ok || !end {
		t.Fatalf("bigquery.tf has no query of the view %s", view)
	}
	for _, word := range dialect {
		text = regexp.MustCompile(word.google).ReplaceAllString(text, word.sqlite)
	}
	return text
}

var star = regexp.MustCompile(`(?s)SELECT\s+\* EXCEPT \(([^)]*)\)\s+REPLACE \((.*)\)\s+FROM (\w+)\s*$`)

// columnsOf writes out what * EXCEPT (...) REPLACE (...) at the query's end
// stands for.
func columnsOf(t *testing.T, sql, tables string) string {
	t.Helper()
	m := star.FindStringSubmatchIndex(sql)
	if m == nil {
		t.Fatalf("no * EXCEPT REPLACE in\n%s", sql)
	}
	part := func(i int) string { return sql[m[2*i]:m[2*i+1]] }

	replaced := map[string]string{}
	depth, begin := 0, 0
	list := part(2) + ","
	for i, c := range list {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			expression := strings.TrimSpace(list[begin:i])
			begin = i + 1
			as := strings.LastIndex(expression, " AS ")
			replaced[expression[as+4:]] = expression
		}
	}

	before := sql[:m[0]] + "SELECT * FROM " + part(3)
	var all []struct{ Name string }
	sqlite(t, tables+"CREATE VIEW all_columns AS "+before+";\nSELECT name FROM pragma_table_info('all_columns');", &all)
	except := strings.Split(part(1), ", ")
	var columns []string
	for _, column := range all {
		if i := slices.Index(except, column.Name); i >= 0 {
			except = slices.Delete(except, i, i+1)
			continue
		}
		if expression, ok := replaced[column.Name]; ok {
			delete(replaced, column.Name)
			column.Name = expression
		}
		columns = append(columns, column.Name)
	}
	if len(except)+len(replaced) > 0 {
		t.Errorf("the query leaves out %q and replaces %q, which are not columns", except, slices.Collect(maps.Keys(replaced)))
	}
	return sql[:m[0]] + "SELECT " + strings.Join(columns, ", ") + " FROM " + part(3)
}

// sqlite runs statements. The rows of each query among them, if there are any, go
// into one of results.
func sqlite(t *testing.T, sql string, results ...any) {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		if os.Getenv("REQUIRE_SQLITE") == "1" {
			t.Fatal(err)
		}
		t.Skip("sqlite3 is not installed; apt-get install sqlite3")
	}
	command := exec.Command("sqlite3", "-batch", "-bail", "-json", ":memory:")
	command.Stdin = strings.NewReader(sql)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, stderr.String())
	}
	d := json.NewDecoder(bytes.NewReader(output))
	for _, rows := range results {
		if err := d.Decode(rows); err != nil {
			t.Fatalf("%v in\n%.2000s", err, output)
		}
	}
}

type field struct{ Name, Type, Mode string }

// table returns statements that make the table of events and fill it.
func table(t *testing.T, rows []*event.Event) (sql string, fields []field) {
	t.Helper()
	schema, err := os.ReadFile("../../../terraform/click.bigquery.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(schema, &fields); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	fmt.Fprintf(&b, "CREATE TABLE clicks (%s);\n", strings.Join(names, ", "))
	for i, e := range rows {
		var object map[string]any
		if err := json.Unmarshal(e.AppendJSON(nil), &object); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			b.WriteString(";\nINSERT INTO clicks VALUES")
		} else {
			b.WriteByte(',')
		}
		for i, f := range fields {
			b.WriteByte("(,"[min(i, 1)])
			value, present := object[f.Name]
			switch {
			case f.Mode == "REPEATED": // never NULL
				list, _ := value.([]any)
				fmt.Fprintf(&b, "'%s'", strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", ","))
			case !present:
				b.WriteString("NULL")
			case f.Type == "TIMESTAMP":
				at, err := time.Parse(time.RFC3339, value.(string))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(&b, at.UnixMicro())
			case f.Type == "STRING":
				fmt.Fprintf(&b, "'%s'", strings.ReplaceAll(value.(string), "'", "''"))
			default:
				fmt.Fprint(&b, value)
			}
		}
		b.WriteByte(')')
	}
	b.WriteString(";\n")
	return b.String(), fields
}

// history returns what is requested of a few mailings within two minutes, around
// the edges of the rule of verdicts: a time is a whole step from another one, or a
// microsecond more or less.
func history(r *rand.Rand, n int) (events []*event.Event) {
	begin := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	if n%4 == 0 {
		begin = time.Date(2026, 5, 4, 23, 59, 59, 0, time.UTC)
	}
	step := []time.Duration{200 * time.Millisecond, time.Second / 2, time.Second, 20 * time.Second}[r.IntN(4)]
	customer := fmt.Sprint("c", n)
	if n%50 == 1 {
		customer = linkcore.ProbeCustomer
	}
	for i := range 3 + r.IntN(14) {
		at := begin.Add(time.Duration(r.IntN(11)) * step)
		if r.IntN(2) == 0 {
			at = at.Add(time.Duration(r.IntN(3)-1) * time.Microsecond)
		}
		e := &event.Event{
			// Not in the order of the times.
			ID: fmt.Sprintf("%08x-%d", r.Uint32(), n*100+i), Type: event.Click, OccurredAt: at, Customer: customer,
			Campaign: "m", Recipient: fmt.Sprint("r", n), Link: string(rune('a' + r.IntN(4))), Destination: "https://example.com/",
			Automation: event.Human,
		}
		switch r.IntN(24) {
		case 0, 1, 2:
			e.Automation, e.Signals = event.Automated, event.SignalScannerAgent
		case 3, 4:
			e.Automation, e.Signals = event.Suspect, event.SignalInstant
		case 5:
			e.Automation = ""
		}
		switch r.IntN(24) {
		case 0, 1, 2:
			e.Type = event.Blocked
		case 3:
			e.Type = event.Open
		case 4:
			e.Type = event.Unsubscribe
		}
		switch r.IntN(40) {
		case 0, 1:
			e.Recipient += "x"
		case 2:
			e.Campaign = "other"
		case 3:
			e.Campaign = ""
		case 4:
			e.Recipient = ""
		case 5:
			e.Link = ""
		case 6:
			e.Untracked = true
		case 7:
			e.Untracked, e.Recipient, e.Link = true, "", ""
			if r.IntN(2) == 0 {
				e.Link = fmt.Sprint("an_", r.IntN(4))
			}
		}
		// A trap says so itself, but for a defect.
		if e.Link != "" && step == 20*time.Second && r.IntN(8) == 0 {
			e.Link = linkcore.HoneypotPrefix + e.Link
			if r.IntN(4) > 0 {
				e.Automation = event.Automated
				e.Signals |= event.SignalHoneypot
			}
		}
		if r.IntN(4) == 0 {
			e.Destination += e.Link
		}
		events = append(events, e)
	}
	return events
}

// seen is what is told of an event.
type seen struct {
	automation event.Automation
	signals    event.Signals
}

// judge tells it slowly, as EVENTS.md has the rule, of the events of one customer
// and day.
func judge(events []*event.Event) map[string]seen {
	all := map[string]seen{}
	for _, e := range events {
		signals := e.Signals
		trap := strings.HasPrefix(e.Link, linkcore.HoneypotPrefix)
		if e.Automation != event.Automated {
			if trap {
				signals |= event.SignalHoneypot
			}
			for _, first := range events {
				if !together(first, e) {
					continue
				}
				if strings.HasPrefix(first.Link, linkcore.HoneypotPrefix) && first.OccurredAt.Sub(e.OccurredAt).Abs() <= time.Minute {
					signals |= event.SignalHoneypot
				}
				links, inside := map[string]bool{}, false
				for _, other := range events {
					if after := other.OccurredAt.Sub(first.OccurredAt); together(first, other) && after >= 0 && after <= 2*time.Second {
						links[other.Link] = true
						inside = inside || other == e
					}
				}
				if inside && len(links) >= 3 {
					signals |= event.SignalBurst
				}
			}
		}
		all[e.ID] = seen{e.Automation, signals}
		if signals != e.Signals || trap {
			all[e.ID] = seen{event.Automated, signals}
		}
	}
	return all
}

// together reports whether both have a part in the rule, and of the same mailing to
// the same recipient.
func together(a, b *event.Event) bool {
	for _, e := range [...]*event.Event{a, b} {
		if e.Type != event.Click && e.Type != event.Blocked || e.Untracked || e.Recipient == "" || e.Link == "" || e.Customer == linkcore.ProbeCustomer {
			return false
		}
	}
	return a.Customer == b.Customer && a.Campaign == b.Campaign && a.Recipient == b.Recipient
}

// TestViewsFollowTheRule runs both views over generated histories and compares
// them with the rule of verdicts, told slowly, and with what cmd/internal/watch
// finds, which linkctl watch and linkctl report use.
func TestViewsFollowTheRule(t *testing.T) {
	testsize.Large(t)
	const histories = 3000
	r := rand.New(rand.NewPCG(5, 4))
	want := map[string]seen{}
	var events, rows []*event.Event
	days := map[string][]*event.Event{}
	for n := range histories {
		byDay := map[string][]*event.Event{}
		for _, e := range history(r, n) {
			day := e.OccurredAt.Format(time.DateOnly)
			byDay[day] = append(byDay[day], e)
			events = append(events, e)
		}
		for day, events := range byDay {
			maps.Copy(want, judge(events))
			slices.SortStableFunc(events, func(a, b *event.Event) int { return a.OccurredAt.Compare(b.OccurredAt) })
			days[day] = append(days[day], events...)
		}
	}

	// The slow judge finds what the quick one does. The quick one names one sign of
	// an event where another comes to light later.
	verdicts := map[string]event.Signals{}
	for _, events := range days {
		for v := range watch.Verdicts(slices.Values(events)) {
			verdicts[v.About] = v.Signals
		}
	}
	bySign := map[string]int{}
	for _, e := range events {
		found := want[e.ID].automation == event.Automated && e.Automation != event.Automated && !strings.HasPrefix(e.Link, linkcore.HoneypotPrefix)
		signals, ok := verdicts[e.ID]
		if found != ok || !want[e.ID].signals.Has(signals) {
			t.Fatalf("%s: watch has the verdict %q, the rule %v", e.ID, signals, want[e.ID])
		}
		if ok {
			bySign[want[e.ID].signals.String()]++
		}
	}
	for _, signals := range []string{"burst", "honeypot", "honeypot,burst", "instant,burst"} {
		if bySign[signals] < 20 {
			t.Errorf("only %d verdicts with %s among %d events", bySign[signals], signals, len(events))
		}
	}

	// Some verdicts were published, also about others; everything may come twice
	// and in any order.
	for _, e := range events {
		rows = append(rows, e)
		if (e.Type == event.Click || e.Type == event.Blocked) && r.IntN(30) == 0 {
			signal := []event.Signals{event.SignalBurst, event.SignalHoneypot}[r.IntN(2)]
			rows = append(rows, event.NewVerdict(e, signal))
			want[e.ID] = seen{event.Automated, want[e.ID].signals | signal}
		}
	}
	for range len(rows) / 10 {
		rows = append(rows, rows[r.IntN(len(rows))])
	}
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })

	empty, _ := table(t, nil)
	tables, fields := table(t, rows)
	// A table, so that the other view does not compute it again.
	tables += "CREATE TABLE events AS " + columnsOf(t, query(t, "events"), empty) + ";\n"
	var got []map[string]any
	var sums []struct {
		Customer, Campaign, Destination string
		Clicks                          float64
		Unique                          float64 `json:"unique_clicks"`
		Untracked                       float64 `json:"untracked_clicks"`
		Suspect                         float64 `json:"suspect_clicks"`
		Automated                       float64 `json:"automated_clicks"`
	}
	sqlite(t, tables+"SELECT * FROM events;\n"+query(t, "unique_clicks")+";", &got, &sums)
	if len(got) != len(events) {
		t.Errorf("the view has %d rows, of %d events", len(got), len(events))
	}
	wrong := 0
	for _, row := range got {
		id := row["event_id"].(string)
		automation, _ := row["automation"].(string)
		signals := strings.Split(row["signals"].(string), ",")
		slices.Sort(signals)
		wantSignals := slices.Sorted(want[id].signals.All())
		if automation != string(want[id].automation) || strings.Join(signals, ",") != strings.Join(wantSignals, ",") {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: the view has %s %s, want %v", id, automation, signals, want[id])
			}
		}
		delete(row, "day")
		for _, f := range fields {
			delete(row, f.Name)
		}
		if len(row) > 0 {
			t.Fatalf("the view has more columns: %v", row)
		}
	}
	t.Logf("%d events, %d verdicts, %d wrong", len(events), len(verdicts), wrong)

	type key struct{ customer, campaign, destination string }
	type count struct{ clicks, people, untracked, suspect, automated float64 }
	counts := map[key]*count{}
	people := map[key]map[string]bool{}
	for _, e := range events {
		if e.Type != event.Click {
			continue
		}
		k := key{e.Customer, e.Campaign, e.Destination}
		if counts[k] == nil {
			counts[k], people[k] = &count{}, map[string]bool{}
		}
		c := counts[k]
		if want[e.ID].automation == event.Automated {
			c.automated++
			continue
		}
		c.clicks++
		if e.Untracked {
			c.untracked++
		}
		if want[e.ID].automation == event.Suspect {
			c.suspect++
		}
		if person := cmp.Or(e.Recipient, e.Link); person != "" && !e.Untracked {
			people[k][person] = true
		}
		c.people = float64(len(people[k]))
	}
	if len(sums) != len(counts) {
		t.Errorf("unique_clicks has %d rows, want %d", len(sums), len(counts))
	}
	for _, s := range sums {
		k := key{s.Customer, s.Campaign, s.Destination}
		if got := (count{s.Clicks, s.Unique, s.Untracked, s.Suspect, s.Automated}); counts[k] == nil || got != *counts[k] {
			t.Errorf("unique_clicks of %v: %v, want %v", k, got, counts[k])
		}
	}
}

package report

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/testsize"
)

var sentAt = time.Date(2026, 5, 4, 9, 30, 0, 0, time.UTC)

// idAt makes the n-th id of a moment.
func idAt(at time.Time, n int) string {
	ms := at.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n)
}

// click makes a click some seconds after the mail was sent.
func click(n int, seconds float64, change func(*event.Event)) *event.Event {
	at := sentAt.Add(time.Duration(seconds * float64(time.Second)))
	e := &event.Event{
		ID: idAt(at, n), Type: event.Click, OccurredAt: at, SentAt: sentAt, Host: "links.example.com",
		Customer: "acme", Campaign: "spring26", Recipient: fmt.Sprintf("r%d", n), Link: fmt.Sprintf("l%d", n),
		Destination: "https://example.com/", Automation: event.Human, Method: "GET",
	}
	if change != nil {
		change(e)
	}
	return e
}

func linesOf(events ...*event.Event) string {
	var b []byte
	for _, e := range events {
		b = append(e.AppendJSON(b), '\n')
	}
	return string(b)
}

// reportOf counts what a file holds.
func reportOf(t *testing.T, o Options, contents ...string) *Report {
	t.Helper()
	c := NewCollector(o)
	defer c.Close()
	for i, content := range contents {
		if err := c.Read(t.Context(), fmt.Sprintf("file %d", i+1), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClasses(t *testing.T) {
	r := reportOf(t, Options{}, linesOf(
		click(1, 100, nil),
		click(2, 200, func(e *event.Event) { e.Automation = "" }),
		click(3, 1, func(e *event.Event) { e.Automation = event.Suspect }),
		click(4, 5, func(e *event.Event) { e.Automation = event.Automated }),
		click(5, 300, func(e *event.Event) { e.Link = "hp_x"; e.Recipient = "r5" }),
		click(6, 400, func(e *event.Event) { e.Untracked = true; e.Recipient, e.Link = "", "" }),
		click(7, 400, func(e *event.Event) {
			e.Untracked, e.Automation = true, event.Automated
			e.Recipient, e.Link = "", ""
		}),
		click(8, 500, func(e *event.Event) {
			e.RedirectedTo, e.Rule = "https://example.com/sorry", "campaign:acme/spring26"
		}),
		click(9, 600, func(e *event.Event) { e.Type, e.Rule = event.Blocked, "host:phish.example" }),
		click(10, 700, func(e *event.Event) { e.Type, e.Destination = event.Open, "" }),
		click(11, 800, func(e *event.Event) { e.Type, e.Destination = event.Unsubscribe, "" }),
		click(12, 900, func(e *event.Event) { e.SentAt = time.Time{}; e.Recipient = "r1" }),
		click(13, 1000, func(e *event.Event) { e.Recipient = "" }), // the link is a person of its own
		click(14, 1000, func(e *event.Event) { e.Customer = "_probe" }),
		click(15, 1000, func(e *event.Event) { e.Type = "later" }),
		click(16, 1100, func(e *event.Event) { e.Untracked = true; e.Recipient, e.Link = "", "an_1" }), // is nobody
		click(17, 950, func(e *event.Event) { e.Type, e.Destination = event.Objection, "" }),
		click(18, 960, func(e *event.Event) { e.Type, e.Destination, e.Untracked = event.Objection, "", true }),
		click(19, 970, func(e *event.Event) { e.Type, e.Destination, e.Untracked = event.ObjectionWithdrawn, "", true }),
	))
	if want := (Counts{Human: 5, Suspect: 1, Automated: 3, Untracked: 2}); r.Clicks != want {
		t.Errorf("clicks %+v, not %+v", r.Clicks, want)
	}
	if r.Opens != (Counts{Human: 1}) || r.Unsubscribes != (Counts{Human: 1}) || r.Blocked != (Counts{Human: 1}) {
		t.Errorf("opens %+v, unsubscribes %+v, blocked %+v", r.Opens, r.Unsubscribes, r.Blocked)
	}
	if r.Objections != (Counts{Human: 1, Untracked: 1}) || r.Withdrawals != (Counts{Untracked: 1}) {
		t.Errorf("objections %+v, withdrawals %+v", r.Objections, r.Withdrawals)
	}
	if r.Clicks.People() != 8 || r.Clicks.Total() != 11 {
		t.Errorf("%d people of %d", r.Clicks.People(), r.Clicks.Total())
	}
	if r.Redirected != 1 || r.Unclassed != 1 || r.Overruled != 0 || r.Untracked != 5 || r.Input.Probes != 1 || r.Input.OtherTypes != 1 || r.Input.Events != 19 {
		t.Errorf("%+v", r)
	}
	// r1 twice, r2, r3, r8 and the link l13.
	if r.Recipients != 5 || r.Campaigns.Rows[0].Recipients != 5 {
		t.Errorf("%d recipients, %d of the campaign", r.Recipients, r.Campaigns.Rows[0].Recipients)
	}
	if len(r.Rules.Rows) != 2 || r.Rules.Rows[0].Rule != "campaign:acme/spring26" || r.Rules.Rows[1].Rule != "host:phish.example" {
		t.Errorf("rules %+v", r.Rules.Rows)
	}
	if r.Links.Rowless != 2 || len(r.Links.Rows) != 9 {
		t.Errorf("%d links, and %d clicks without", len(r.Links.Rows), r.Links.Rowless)
	}
	if r.Delay.Unknown != 1 {
		t.Errorf("%d clicks of unknown delay", r.Delay.Unknown)
	}
	for _, bin := range r.Delay.Bins {
		switch {
		case bin.From != nil && *bin.From == 0 && bin.Clicks != (Counts{Suspect: 1}),
			bin.From != nil && *bin.From == 2 && bin.Clicks != (Counts{Automated: 1}),
			bin.From == nil && bin.Clicks.Total() != 0:
			t.Errorf("bin %v: %+v", bin.From, bin.Clicks)
		}
	}
	if !r.First.Equal(sentAt.Add(time.Second)) || !r.Last.Equal(sentAt.Add(1100*time.Second)) {
		t.Errorf("from %v to %v", r.First, r.Last)
	}
}

// One click is counted where it should be, whatever its delay.
func TestDelay(t *testing.T) {
	for seconds, want := range map[float64]int{-3600: 0, -.5: 0, 0: 1, 1.999: 1, 2: 2, 9.9: 2, 60: 5, 3599: 8, 3600: 9, 86399: 11, 86400: 12, 40 * 86400: 15} {
		r := reportOf(t, Options{}, linesOf(click(1, seconds, nil)))
		if len(r.Delay.Bins) != len(edgeNames)+1 || r.Delay.Bins[want].Clicks.Human != 1 {
			t.Errorf("after %v s: %+v", seconds, r.Delay.Bins)
		}
		if seconds > 1 && (r.Delay.MedianSeconds < seconds*.95 || r.Delay.MedianSeconds > seconds*1.05) {
			t.Errorf("after %v s: the median is %v", seconds, r.Delay.MedianSeconds)
		}
	}
}

// Each event counts once, in however many files it is and however it is written.
func TestDuplicates(t *testing.T) {
	one, two := click(1, 100, nil), click(2, 200, nil)
	upper := click(1, 100, func(e *event.Event) { e.ID = strings.ToUpper(e.ID) })
	odd := click(3, 300, func(e *event.Event) { e.ID = "not a UUID" })
	spilled := `{"message":"event spilled","event":` + strings.TrimSpace(linesOf(two)) + `,"attributes":{}}` + "\n"
	exported := `[{"insertId":"1","jsonPayload":` + strings.TrimSpace(spilled) + `}]`
	r := reportOf(t, Options{}, linesOf(one, two, one, odd), linesOf(upper, odd)+spilled, exported)
	if r.Clicks.Total() != 3 || r.Input.Duplicates != 5 || r.Input.Events != 8 {
		t.Errorf("%d clicks, %+v", r.Clicks.Total(), r.Input)
	}
}

func TestVerdicts(t *testing.T) {
	one, two, odd := click(1, 100, nil), click(2, 200, nil), click(3, 300, func(e *event.Event) { e.ID = "not a UUID" })
	elsewhere := click(4, 400, nil)
	verdicts := linesOf(event.NewVerdict(one, event.SignalBurst), event.NewVerdict(odd, event.SignalHoneypot), event.NewVerdict(elsewhere, event.SignalBurst))
	want := Counts{Human: 1, Automated: 2}
	for name, contents := range map[string][]string{
		"before":  {verdicts, linesOf(one, two, odd)},
		"after":   {linesOf(one, two, odd) + verdicts},
		"doubled": {linesOf(one, two, odd), verdicts, verdicts},
	} {
		r := reportOf(t, Options{}, contents...)
		if r.Clicks != want || r.Overruled != 2 || r.Recipients != 1 {
			t.Errorf("%s: %+v, %d overruled, %d recipients", name, r.Clicks, r.Overruled, r.Recipients)
		}
	}
	// A verdict does not make an event, and what was automated is not overruled.
	if r := reportOf(t, Options{}, verdicts); r.Clicks.Total() != 0 || r.Input.Verdicts != 3 || !r.First.IsZero() {
		t.Errorf("verdicts alone: %+v", r)
	}

	// The same without any verdict in the input, in whatever order: three links of
	// one recipient within two seconds, and a trap within a minute of others.
	same := func(e *event.Event) { e.Recipient = "r1" }
	events := []*event.Event{
		click(1, 100, same), click(2, 100.5, same), click(3, 101.9, same), click(4, 500, same),
		click(5, 1000, func(e *event.Event) { e.Recipient = "r2" }),
		click(6, 1030, func(e *event.Event) { e.Recipient, e.Link = "r2", "hp_1" }),
		click(7, 1200, func(e *event.Event) { e.Recipient = "r2" }),
	}
	want = Counts{Human: 2, Automated: 5}
	for seed := range uint64(5) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		r := reportOf(t, Options{}, linesOf(events...))
		if r.Clicks != want || r.Overruled != 4 {
			t.Errorf("%+v, %d overruled", r.Clicks, r.Overruled)
		}
		// Also where the period that is asked for has only one of them.
		r = reportOf(t, Options{Since: sentAt.Add(101 * time.Second), Until: sentAt.Add(102 * time.Second)}, linesOf(events...))
		if want := (Counts{Automated: 1}); r.Clicks != want {
			t.Errorf("alone: %+v", r.Clicks)
		}
	}
}

func TestFilters(t *testing.T) {
	events := linesOf(
		click(1, 0, nil),
		click(2, 3600, func(e *event.Event) { e.Campaign = "autumn" }),
		click(3, 7200, func(e *event.Event) { e.Customer = "globex" }),
		click(4, 10800, func(e *event.Event) { e.Customer = "_probe" }),
		click(5, 14400, func(e *event.Event) { e.Customer, e.Campaign = "", "" }),
	)
	for _, test := range []struct {
		o             Options
		clicks        int64
		left, probes  int64
		campaignNames string
	}{
		{Options{}, 4, 0, 1, " acme/autumn acme/spring26 globex/spring26"},
		{Options{Customer: "acme"}, 2, 3, 0, "acme/autumn acme/spring26"},
		{Options{Customer: "acme", Campaign: "spring26"}, 1, 4, 0, "acme/spring26"},
		{Options{Campaign: "spring26"}, 2, 2, 1, "acme/spring26 globex/spring26"},
		{Options{Customer: "_probe"}, 1, 4, 0, "_probe/spring26"},
		{Options{Customer: "nobody"}, 0, 5, 0, ""},
		{Options{Since: sentAt.Add(time.Hour)}, 3, 1, 1, "/ acme/autumn globex/spring26"},
		{Options{Until: sentAt.Add(time.Hour)}, 1, 3, 1, "acme/spring26"},
	} {
		r := reportOf(t, test.o, events)
		if r.Clicks.Total() != test.clicks || r.Input.LeftOut != test.left || r.Input.Probes != test.probes {
			t.Errorf("%+v: %d clicks, %+v", test.o, r.Clicks.Total(), r.Input)
		}
		if len(r.Campaigns.Rows) != int(test.clicks) {
			t.Errorf("%+v: %+v", test.o, r.Campaigns.Rows)
		}
		for _, row := range r.Campaigns.Rows {
			if name := row.Customer + "/" + row.Campaign; name != "/" && !strings.Contains(test.campaignNames, name) {
				t.Errorf("%+v: %s", test.o, name)
			}
		}
	}
}

// The forms that a file can have.
func TestForms(t *testing.T) {
	events := strings.TrimSpace(linesOf(click(1, 100, nil), click(2, 200, nil), click(3, 300, nil)))
	array := "[" + strings.ReplaceAll(events, "\n", ",") + "]"
	pretty := strings.NewReplacer(",\"", ",\n  \"", "{\"", "{\n  \"", "},{", "},\n{").Replace(array)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, events+"\n")
	z.Close()
	// Files that were compressed apart and then joined.
	z = gzip.NewWriter(&zipped)
	io.WriteString(z, strings.ReplaceAll(events, "-8000-", "-9000-"))
	z.Close()

	long := strings.TrimSuffix(linesOf(click(4, 400, nil)), "}\n") + `,"later":"` + strings.Repeat("x", 1<<19) + `"}`
	tooLong := `{"later":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, test := range []struct {
		name, content       string
		clicks, bad, others int64
		problem             string
	}{
		{name: "lines", content: events + "\n", clicks: 3},
		{name: "without an end", content: events, clicks: 3},
		{name: "of Windows", content: "\uFEFF" + strings.ReplaceAll(events, "\n", "\r\n") + "\r\n", clicks: 3},
		{name: "blank lines", content: "\n\n" + strings.ReplaceAll(events, "\n", "\n  \n\n"), clicks: 3},
		{name: "an array", content: array + "\n", clicks: 3},
		{name: "a pretty array", content: "\n" + strings.Replace(pretty, "[", "[\n", 1), clicks: 3},
		{name: "pretty objects", content: strings.Trim(strings.ReplaceAll(pretty, "},\n{", "}\n{"), "[]"), clicks: 3},
		{name: "compressed", content: zipped.String(), clicks: 6},
		{name: "a long line", content: events + "\n" + long + "\n", clicks: 4},
		{name: "empty", content: ""},
		{name: "empty array", content: "[]"},
		{name: "other lines", content: `{"message":"stats"}` + "\n" + events, clicks: 3, others: 1},
		{name: "stats", content: `{"message":"stats","untracked":0,"recovered":1}` + "\n" + events, clicks: 3, others: 1},
		{name: "bad lines", content: "linktracker: listening\n" + events + "\n" + events[:100], clicks: 3, bad: 2, problem: "line 1 is not one JSON object"},
		{name: "too long a line", content: tooLong + "\n" + events, clicks: 3, bad: 1, problem: "line 1 is longer than 1048576 bytes"},
		{name: "no event", content: `{"event_id":"x"}` + "\n" + events, clicks: 3, bad: 1, problem: "line 1 has no event_id, event_type and occurred_at"},
		{name: "a cut array", content: array[:len(array)-1], clicks: 3, bad: 1, problem: "not JSON: the array has no end, after 3 objects: it is cut off"},
		{name: "a bad array", content: strings.Replace(array, "},{", "},x{", 1), clicks: 1, bad: 1, problem: "not JSON: on line 1, after 1 objects, 'x' stands where an object should begin; what follows was not read"},
		{name: "numbers", content: "[1,2]", bad: 1, problem: "line 1 is not one JSON object"},
	} {
		r := reportOf(t, Options{}, test.content)
		f := r.Input.Files[0]
		if r.Clicks.Total() != test.clicks || f.Unreadable != test.bad || r.Input.Unreadable != test.bad || f.NotEvents != test.others || f.Problem != test.problem {
			t.Errorf("%s: %d clicks, %+v", test.name, r.Clicks.Total(), f)
		}
	}
}

// What BigQuery writes of the table is what the endpoint wrote.
func TestBigQuery(t *testing.T) {
	want := reportOf(t, Options{}, linesOf(
		click(1, 121.371204, func(e *event.Event) { e.Destination = "https://example.com/?a=1&b=<2>" }),
		click(2, 60, func(e *event.Event) { e.Untracked = true; e.Recipient, e.Link, e.Automation = "", "", "" }),
	))
	id1, id2 := idAt(sentAt.Add(121371204*time.Microsecond), 1), idAt(sentAt.Add(time.Minute), 2)
	for name, content := range map[string]string{
		"bq extract": `{"event_id":"` + id1 + `","event_type":"click","occurred_at":"2026-05-04 09:32:01.371204 UTC","host":"links.example.com","customer":"acme","campaign":"spring26","recipient":"r1","link":"l1","sent_at":"2026-05-04 09:30:00 UTC","seconds_since_sent":121.371204,"destination":"https://example.com/?a\u003d1\u0026b\u003d\u003c2\u003e","method":"GET","automation":"human","signals":[]}
{"event_id":"` + id2 + `","event_type":"click","occurred_at":"2026-05-04 09:31:00 UTC","customer":"acme","campaign":"spring26","sent_at":"2026-05-04 09:30:00 UTC","seconds_since_sent":60.0,"destination":"https://example.com/","untracked":true,"signals":[]}
`,
		"bq query": `[{"about":null,"accept_language":null,"automation":"human","campaign":"spring26","customer":"acme","destination":"https://example.com/?a=1&b=<2>","event_id":"` + id1 + `","event_type":"click","ip":null,"link":"l1","occurred_at":"2026-05-04 09:32:01.371204","recipient":"r1","sealed":null,"seconds_since_sent":"121.371204","sent_at":"2026-05-04 09:30:00","signals":[],"untracked":null},{"automation":null,"campaign":"spring26","customer":"acme","destination":"https://example.com/","event_id":"` + id2 + `","event_type":"click","link":null,"occurred_at":"2026-05-04 09:31:00","recipient":null,"seconds_since_sent":"60.0","sent_at":"2026-05-04 09:30:00","signals":[],"untracked":"true"}]
`,
	} {
		got := reportOf(t, Options{}, content)
		got.MadeAt = want.MadeAt
		for _, r := range []*Report{got, want} {
			for _, top := range []*Top{&r.Campaigns, &r.Destinations, &r.Links} {
				for i := range top.Rows {
					top.Rows[i].hash = 0
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

// Sorted on disk it is the same report.
func TestOnDisk(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	var events []*event.Event
	for i := range 3000 {
		events = append(events, click(i, random.Float64()*86400, func(e *event.Event) {
			e.Recipient = fmt.Sprint(random.IntN(500))
			e.Campaign = fmt.Sprint(random.IntN(5))
		}))
	}
	events = append(events, events[:300]...)
	content := linesOf(events...)
	want := reportOf(t, Options{}, content)

	dir := t.TempDir()
	c := NewCollector(Options{TempDir: dir})
	c.spool.limit = 10_000
	if err := c.Read(t.Context(), "file 1", strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if len(c.spool.runs) < 20 {
		t.Errorf("%d runs", len(c.spool.runs))
	}
	got, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Clicks != want.Clicks || got.Recipients != want.Recipients || got.Input.Duplicates != 300 || got.Overruled != want.Overruled ||
		!reflect.DeepEqual(got.Series, want.Series) || !reflect.DeepEqual(got.Delay, want.Delay) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	// It can be asked again, and go on.
	if again, err := c.Report(t.Context()); err != nil || again.Clicks != want.Clicks {
		t.Errorf("again: %+v, %v", again, err)
	}
	if err := c.Read(t.Context(), "file 2", strings.NewReader(linesOf(click(5000, 90_000, nil)))); err != nil {
		t.Fatal(err)
	}
	if more, err := c.Report(t.Context()); err != nil || more.Clicks.Total() != want.Clicks.Total()+1 {
		t.Errorf("more: %+v, %v", more, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Report(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	c.Close()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
}

func TestReadFails(t *testing.T) {
	c := NewCollector(Options{})
	defer c.Close()
	dir := t.TempDir()
	if err := c.ReadFile(t.Context(), filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := c.ReadFile(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "it is a folder") {
		t.Errorf("a folder: %v", err)
	}
	broken := func(content string) io.Reader {
		return io.MultiReader(strings.NewReader(content), iotest.ErrReader(errors.New("input/output error")))
	}
	for _, content := range []string{"", "{\"message\":1}\n", "[{\"message\":1},", "{\n", "\x1f\x8b"} {
		if err := c.Read(t.Context(), "disk", broken(content)); err == nil || !strings.HasPrefix(err.Error(), "read disk: ") {
			t.Errorf("after %q: %v", content, err)
		}
	}
	if err := c.Read(t.Context(), "disk", strings.NewReader("\x1f\x8bnot compressed at all")); err == nil {
		t.Error("a bad compressed file is read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Read(ctx, "long", strings.NewReader(strings.Repeat("{}\n", 5000))); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// A click as the endpoint writes it, with all that strangers add.
func fullClick(n int, random *rand.Rand) *event.Event {
	return click(n, random.ExpFloat64()*10_000, func(e *event.Event) {
		e.Recipient = fmt.Sprint(random.IntN(1_000_000))
		e.Link = fmt.Sprintf("%011x", random.Uint64()>>20)
		e.Destination = fmt.Sprintf("https://example.com/shop/p/%d?utm_source=newsletter&utm_medium=email", random.IntN(100))
		e.UserAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36"
		e.AcceptLanguage, e.Country, e.IP, e.KeyID = "de-CH,de;q=0.9,en;q=0.8", "CH", "203.0.113.7", "3"
	})
}

func benchmarkInput(b *testing.B, n int) []byte {
	random := rand.New(rand.NewPCG(6, 7))
	var content []byte
	for i := range n {
		content = append(fullClick(i, random).AppendJSON(content), '\n')
	}
	b.SetBytes(int64(len(content)))
	return content
}

// BenchmarkRead reads 100,000 clicks of about 620 bytes and counts them.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	content := benchmarkInput(b, n)
	b.ReportAllocs()
	for b.Loop() {
		c := NewCollector(Options{})
		if err := c.Read(b.Context(), "file", bytes.NewReader(content)); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Report(b.Context()); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkParse(b *testing.B) {
	line := bytes.TrimSpace(benchmarkInput(b, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvent(line); err != nil {
			b.Fatal(err)
		}
	}
}

// Memory does not grow with the number of events, which are many times what is
// kept of them in memory.
func TestMemory(t *testing.T) {
	testsize.Large(t)
	c := NewCollector(Options{TempDir: t.TempDir()})
	defer c.Close()
	c.spool.limit = spoolMemory / 16
	random := rand.New(rand.NewPCG(8, 9))
	c.Begin("generated")
	var line []byte
	for i := range 100_000 {
		e := click(i, random.ExpFloat64()*10_000, nil)
		line = e.AppendJSON(line[:0])
		if err := c.Add(line); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 30<<20 {
		t.Errorf("%d MiB are in use after 100,000 events", m.HeapAlloc>>20)
	}
	r, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Clicks.Total() != 100_000 || r.Recipients+r.Clicks.Automated < 100_000 {
		t.Errorf("%+v, %d recipients", r.Clicks, r.Recipients)
	}
}

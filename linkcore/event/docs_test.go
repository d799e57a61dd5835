package event

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// EVENTS.md shows what is really sent.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	document := string(b)
	e := &Event{
		ID: "019df254-8fdb-7c1e-9a34-5f0c6b1d2e3f", Type: Click, OccurredAt: time.Date(2026, 5, 4, 9, 32, 1, 371204000, time.UTC),
		KeyID: "3", Host: "links.example.com", Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f",
		SentAt: time.Date(2026, 5, 4, 9, 30, 0, 0, time.UTC), Sealed: true, Metadata: `{"segment":"gold"}`,
		Destination: "https://example.com/pricing?a=1", Method: "GET",
		UserAgent:      "Mozilla/5.0 (X11; Linux x86_64; rv:149.0) Gecko/20100101 Firefox/149.0",
		AcceptLanguage: "de-CH,de;q=0.9,en;q=0.8", Query: "utm_source=newsletter", Country: "CH", IP: "203.0.113.7",
		Automation: Human,
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(document, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of JSON, want the data and the attributes", len(blocks))
	}
	if got, want := decode(t, []byte(blocks[0][1])), decode(t, e.AppendJSON(nil)); !reflect.DeepEqual(got, want) {
		t.Errorf("the data is\n%v, want\n%v", got, want)
	}
	attributes := map[string]any{}
	for name, value := range attributesOf(e) {
		attributes[name] = value
	}
	if got := decode(t, []byte(blocks[1][1])); !reflect.DeepEqual(got, attributes) {
		t.Errorf("the attributes are\n%v, want\n%v", got, attributes)
	}

	_, table, _ := strings.Cut(document, "## Fields")
	table, _, _ = strings.Cut(table, "## Types")
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z_, ]+) \| (string|timestamp|number|boolean|array of string) `).FindAllStringSubmatch(table, -1) {
		documented = append(documented, strings.Split(row[1], ", ")...)
	}
	sent := []string{"event_type"}
	for name := range fullMembers {
		sent = append(sent, name)
	}
	slices.Sort(documented)
	slices.Sort(sent)
	if !slices.Equal(documented, sent) {
		t.Errorf("the table has %v, events have %v", documented, sent)
	}
	// The signals, their order and their weight.
	_, table, _ = strings.Cut(document, "| signal | seen when | weight |")
	table, _, _ = strings.Cut(table, "\n\n")
	var signals []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z_]+) \| .* \| (\w+) \|$`).FindAllStringSubmatch(table, -1) {
		signals = append(signals, row[1])
		if got := signalNamed(row[1]).Automation(); string(got) != row[2] {
			t.Errorf("%s alone is %s, documented as %s", row[1], got, row[2])
		}
	}
	if !slices.Equal(signals, signalNames[:]) {
		t.Errorf("the table has the signals %v, want %v", signals, signalNames)
	}
	for _, m := range regexp.MustCompile(`d\.spill\(e, "(.+?)"\)|reason = "(.+?)"`).FindAllStringSubmatch(source(t, "../delivery/delivery.go"), -1) {
		if reason := m[1] + m[2]; !strings.Contains(document, "| "+reason+" |") {
			t.Errorf("the reason %q is not explained", reason)
		}
	}
}

func source(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func attributesOf(e *Event) map[string]string {
	all := map[string]string{}
	for _, a := range e.AppendAttributes(nil) {
		all[a.Name] = a.Value
	}
	return all
}

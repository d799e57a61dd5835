package event

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What an untracked event holds is what EVENTS.md's table says, for every field
// and every type: one that is added must be decided there.
func TestUntracked(t *testing.T) {
	document, err := os.ReadFile("EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "### What is left of them")
	_, table, _ = strings.Cut(table, "\n\n| field |")
	heading, table, _ := strings.Cut(table, "\n")
	_, table, _ = strings.Cut(table, "\n") // the line of dashes
	table, _, _ = strings.Cut(table, "\n\n")
	cellsOf := func(row string) (cells [][]string) {
		for cell := range strings.SplitSeq(strings.Trim(row, "| \n"), "|") {
			cells = append(cells, strings.Split(strings.TrimSpace(cell), ", "))
		}
		return cells
	}
	columns := cellsOf(heading)

	type place struct {
		field string
		Type  Type
	}
	decided := map[place]string{}
	for row := range strings.Lines(table) {
		cells := cellsOf(row)
		for _, field := range cells[0] {
			for i, types := range columns {
				for _, typ := range types {
					if _, twice := decided[place{field, Type(typ)}]; twice {
						t.Errorf("%s of %s is decided twice", field, typ)
					}
					decided[place{field, Type(typ)}] = strings.Join(cells[i+1], ", ")
				}
			}
		}
	}

	source, err := os.ReadFile("event.go")
	if err != nil {
		t.Fatal(err)
	}
	var types []Type
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +Type = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		types = append(types, Type(m[1]))
	}
	if !slices.Equal(types, Types()) || len(types) == 0 {
		t.Errorf("the types are %v, and Types returns %v", types, Types())
	}
	contract := documented(t)
	if want := len(contract) * len(types); len(decided) != want {
		t.Errorf("%d fields of types are decided, want %d", len(decided), want)
	}
	for _, typ := range types {
		all := decode(t, fullEvent(typ).AppendJSON(nil))
		if len(all) != len(contract) {
			t.Fatalf("the full event has %d of %d fields", len(all), len(contract))
		}
		for _, link := range []string{"a1b2c3d4e5f", "an_1", "AN_1"} {
			e := fullEvent(typ)
			e.Link, all["link"] = link, link
			e.Rule, all["rule"] = "link:"+e.Customer+"/"+link, "link:"+e.Customer+"/"+link
			left := e.Untrack()
			got := decode(t, left.AppendJSON(nil))
			for _, field := range contract {
				keeps, ok := decided[place{field.name, typ}]
				want := false
				switch keeps {
				case "kept":
					want = true
				case "left out":
				case "only `an_…`":
					want = strings.HasPrefix(link, "an_")
				case "if it says nothing of the person":
					want = true // who knows the rule's kind has decided: see package record
				default:
					t.Fatalf("%s of an untracked %s is not decided: %q, %v", field.name, typ, keeps, ok)
				}
				value, has := got[field.name]
				if has != want || has && !reflect.DeepEqual(value, all[field.name]) {
					t.Errorf("%s of an untracked %s with the link %s is %v, want %v kept: %v", field.name, typ, link, value, all[field.name], want)
				}
			}
		}
	}
}

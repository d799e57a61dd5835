package blocklist

import (
	"slices"
	"strings"
	"testing"
)

// TestMerge: what a copy and what was read make is told by them alone.
func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name       string
		copy, read string // ids and values of hosts that are blocked; "!" lifts one, "?" cannot be understood
		whole      bool
		want       string // what is blocked then
		problems   int    // that are new
		changed    bool
	}{
		{"nothing is there", "", "", true, "", 0, false},
		{"all is new", "", "1=a 2=b", true, "a b", 0, true},
		{"nothing changed", "1=a 2=b", "", false, "a b", 0, false},
		{"read again", "1=a 2=b", "1=a", false, "a b", 0, false},
		{"added", "1=a", "2=b", false, "a b", 0, true},
		{"replaced", "1=a 2=b", "1=c", false, "b c", 0, true},
		{"lifted", "1=a 2=b", "1=!a", false, "b", 0, true},
		{"written anew", "1=!a", "1=a", false, "a", 0, true},
		{"gone", "1=a 2=b", "2=b", true, "b", 0, false},
		{"gone and added", "1=a", "2=b", true, "b", 0, true},
		{"two of one value", "1=a", "2=a", false, "a", 0, true},
		{"one of two lifted", "1=a 2=a", "2=!a", false, "a", 0, true},
		{"broken", "1=a 2=b", "1=?", false, "b", 1, true},
		{"broken as before", "1=?", "1=?", false, "", 0, false},
		{"broken as before, all read", "1=? 2=b", "1=? 2=b", true, "b", 0, false},
		{"read twice, the last counts", "1=a", "1=b 1=c", false, "c", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			read := func(documents string, copy *Index) *reading {
				r := &reading{now: noon.UnixMicro(), problems: map[documentKey]*DocumentError{}}
				for _, document := range strings.Fields(documents) {
					id, value, _ := strings.Cut(document, "=")
					fields := map[string]any{"kind": "host", "value": strings.TrimLeft(value, "!?"), "deleted": strings.HasPrefix(value, "!")}
					d := newDocument(id, fields)
					r.take(&d, copy)
				}
				return r
			}
			copy := read(test.copy, emptyIndex).merge(emptyIndex, true)
			before := slices.Clone(copy.base.records)
			r := read(test.read, copy)
			x := r.merge(copy, test.whole)
			var blocked []string
			for _, host := range []string{"a", "b", "c"} {
				request := request()
				request.Link.Destination = "https://" + host + "/"
				if x.Decide(request).Action == Block {
					blocked = append(blocked, host)
				}
			}
			if got := strings.Join(blocked, " "); got != test.want || len(r.problems) != test.problems || r.changed != test.changed {
				t.Errorf("%q is blocked, %d problems, changed %v; want %q, %d, %v", got, len(r.problems), r.changed, test.want, test.problems, test.changed)
			}
			if !slices.Equal(copy.base.records, before) || len(copy.delta.records) > 0 {
				t.Error("the copy of before has changed")
			}
			// A second change does not undo the first.
			again := read("9=z", x).merge(x, false)
			if n := again.census(0).documents; n != x.census(0).documents+1 {
				t.Errorf("%d documents after one more, %d before", n, x.census(0).documents)
			}
			if rebased := x.rebased(noon.UnixMicro()); len(rebased.delta.records) > 0 || rebased.census(0).documents != x.census(0).documents {
				t.Errorf("%d documents in a new base, %d before", rebased.census(0).documents, x.census(0).documents)
			}
		})
	}
}

// TestLarge: a new base is made once the delta is larger than a thousand and a
// hundredth of it, so that a refresh stays cheap.
func TestLarge(t *testing.T) {
	for _, n := range []int{1000, 1001} {
		x := newIndex(nothing, pack(make([]record, 0), ""), 0)
		var s rules
		for i := range n {
			r := newRule(&Document{ID: string(rune('a' + i)), rule: Rule{Kind: Host, Value: "a.example"}}, 0)
			s.add(keyOf(string(rune('a'+i))), &r)
		}
		x.delta = pack(s.records, s.text.String())
		if x.large() != (n > 1000) {
			t.Errorf("%d changes: large %v", n, x.large())
		}
	}
}

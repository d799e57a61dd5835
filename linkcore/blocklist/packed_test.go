package blocklist

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestRecord checks what makes the rules invisible to the garbage collector.
func TestRecord(t *testing.T) {
	var check func(reflect.Type)
	check = func(r reflect.Type) {
		for i := range r.NumField() {
			switch f := r.Field(i); f.Type.Kind() {
			case reflect.Int64, reflect.Uint64, reflect.Uint32, reflect.Uint8, reflect.Bool:
			case reflect.Struct:
				check(f.Type)
			default:
				t.Errorf("field %s is of type %s, which may hold a pointer", f.Name, f.Type)
			}
		}
	}
	check(reflect.TypeFor[record]())
}

// TestPacked adds documents of every shape, some of them twice, and finds the last
// of each as it was added, in what is packed and in what that is merged into.
func TestPacked(t *testing.T) {
	shapes := []rule{
		{details: details{starts: math.MinInt64, id: "x"}},
		{key: "host:a.example", details: noDetails, expires: math.MaxInt64, updated: math.MinInt64, kind: kindHost},
		{key: "agent:b", details: details{starts: 7, target: "https://b.example/", id: "b", problem: "none"}, expires: -1, updated: 1, kind: kindAgent, action: actionUntracked, deleted: true},
		{key: "link:a/b", details: details{}},
		{details: details{starts: math.MinInt64, problem: "odd"}},
		{key: "url:" + strings.Repeat("u", maxURL), details: details{target: strings.Repeat("t", maxURL)}, kind: kindURL, action: actionRedirect},
		// A lifted document may hold a value of any length.
		{key: "url:" + strings.Repeat("long", 50_000), details: noDetails, kind: kindURL, deleted: true},
		{key: "ip:2001:db8::/32", details: noDetails, kind: kindIP},
	}
	const n = 300
	add := func(from, to, shift int) *packed {
		var s rules
		for i := from; i < to; i++ {
			s.add(keyOf(fmt.Sprint(i)), &shapes[0])
			s.add(keyOf(fmt.Sprint(i)), &shapes[(i+shift)%len(shapes)])
		}
		return pack(s.records, s.text.String())
	}
	check := func(p *packed, from, to, shift int) {
		t.Helper()
		for i := from; i < to; i++ {
			r := p.find(keyOf(fmt.Sprint(i)))
			if r == nil {
				t.Fatalf("document %d is not found", i)
			}
			if got := p.rule(r); got != shapes[(i+shift)%len(shapes)] {
				t.Fatalf("document %d is %.200v", i, got)
			}
		}
		if p.find(keyOf("none")) != nil {
			t.Error("a document that was never added is found")
		}
	}
	a, b := add(0, 2*n, 0), add(n, 3*n, 1)
	check(a, 0, 2*n, 0)
	m := merge(a, b)
	check(m, 0, n, 0)
	check(m, n, 3*n, 1)
	check(a, 0, 2*n, 0) // as it was
	check(b, n, 3*n, 1)
	if len(m.records) != 3*n || len(a.records) != 2*n {
		t.Errorf("%d and %d documents, want %d and %d", len(a.records), len(m.records), 2*n, 3*n)
	}
	if again := merge(m, nothing); len(again.text) != len(m.text) || !slices.Equal(again.records, m.records) {
		t.Errorf("merged with nothing it has %d bytes of text, and %d before", len(again.text), len(m.text))
	}
	if n := testing.AllocsPerRun(100, func() { a.rule(a.find(keyOf("2"))) }); n != 0 {
		t.Errorf("to read a rule takes %v allocations", n)
	}
}

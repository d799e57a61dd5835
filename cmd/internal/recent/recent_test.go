package recent

import "testing"

func TestIDs(t *testing.T) {
	s := newIDs(3)
	for i, test := range []struct {
		id   string
		seen bool
	}{{"a", false}, {"b", false}, {"a", true}, {"c", false}, {"d", false}, {"b", true}, {"a", false}, {"b", false}, {"d", true}} {
		if got := s.Has(test.id); got != test.seen {
			t.Errorf("%d: %s was seen: %v", i, test.id, got)
		}
		if got := s.Add(test.id); got != test.seen {
			t.Errorf("%d: %s was added: %v", i, test.id, got)
		}
		if len(s.seen) > 3 || len(s.ring) > 3 {
			t.Errorf("%d ids are kept", len(s.seen))
		}
	}
}

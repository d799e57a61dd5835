package blocklist

import (
	"errors"
	"path/filepath"
	"testing"
	"time"
)

func TestFileAdd(t *testing.T) {
	testAdd(t, NewFile(filepath.Join(t.TempDir(), "rules.jsonl")))
}

func TestFirestoreAdd(t *testing.T) {
	t.Parallel()
	testAdd(t, emulated(t, "(default)"))
}

// What a program adds changes nothing that people wrote.
func testAdd(t *testing.T, store Store) {
	t.Helper()
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Microsecond)
	of := func(value, reason string) Rule {
		return Rule{Kind: Host, Value: value, Reason: reason, CreatedBy: "program", ExpiresAt: tomorrow}
	}
	soon := ruleOf(t, "host:soon.example")
	soon.StartsAt = tomorrow
	if err := store.Put(t.Context(), ruleOf(t, "host:stands.example"), soon, ruleOf(t, "host:lifted.example")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Lift(t.Context(), ruleOf(t, "host:lifted.example")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		value    string
		standing bool
		check    func(Rule) bool
	}{
		{"New.example.", false, nil},
		{"new.example", true, func(r Rule) bool { return r.Reason == "first" && r.ExpiresAt.Equal(tomorrow) }},
		{"stands.example", true, func(r Rule) bool { return r.ExpiresAt.IsZero() && !r.Deleted }},
		{"soon.example", true, func(r Rule) bool { return r.StartsAt.Equal(tomorrow) }},
		{"lifted.example", true, func(r Rule) bool { return r.Deleted }},
	} {
		standing, err := store.Add(t.Context(), of(test.value, "first"))
		if err != nil {
			t.Fatal(err)
		}
		if (standing != nil) != test.standing || standing != nil && !test.check(*standing) {
			t.Errorf("%s: standing %+v", test.value, standing)
		}
	}
	rules, _, err := store.List(t.Context())
	if err != nil || len(rules) != 4 {
		t.Fatalf("%d rules, %v", len(rules), err)
	}
	for _, r := range rules {
		if want := r.Value == "new.example"; (r.CreatedBy == "program") != want || want && (r.Reason != "first" || !r.ExpiresAt.Equal(tomorrow) || r.CreatedAt.IsZero() || r.UpdatedAt.IsZero()) {
			t.Errorf("%+v", r)
		}
	}
	var wrong *RuleError
	if _, err := store.Add(t.Context(), Rule{Kind: Host, Value: "*"}); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
}

package blocklist

import (
	"os"
	"strings"
	"testing"
)

// TestKinds fails where a kind lacks an entry: in the table, in what the index
// matches, or in the contract.
func TestKinds(t *testing.T) {
	contract, err := os.ReadFile("BLOCKLIST.md")
	if err != nil {
		t.Fatal(err)
	}
	_, order, _ := strings.Cut(string(contract), "the most specific wins, in the order ")
	order, _, _ = strings.Cut(order, "\n")
	// The value of each kind that request has.
	values := map[Kind]string{
		Link: "acme/l1", URL: "shop.example.com/a/b?c=d&e=f", Prefix: "shop.example.com/a", Recipient: "acme/r1",
		Campaign: "acme/spring", Customer: "acme", Host: "shop.example.com", Key: "3", IP: "192.0.2.77", Agent: "badbot",
	}
	seen := map[Kind]bool{}
	for i, k := range kinds {
		if number, ok := k.name.number(); !ok || int(number) != i || seen[k.name] {
			t.Errorf("row %d: the name %q is missing or there twice", i, k.name)
		}
		seen[k.name] = true
		if k.syntax == "" || k.meaning == "" || k.normalize == nil || (k.wide == nil) != (k.widest == "") {
			t.Errorf("%s: the syntax, meaning, normalize, or one of wide and widest is missing", k.name)
			continue
		}

		value, ok := values[k.name]
		if !ok {
			t.Errorf("%s: this test has no value of the kind that a request matches", k.name)
			continue
		}
		if normal, err := NormalizeValue(k.name, value); err != nil || normal != value {
			t.Errorf("NormalizeValue(%s, %q) = %q, %v", k.name, value, normal, err)
		}
		r := Rule{Kind: k.name, Value: value}
		x, err := NewIndex(noon, r)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		want := Decision{Action: Block, Rule: r.String(), NamesPerson: !k.impersonal}
		if d := x.Decide(request()); d != want {
			t.Errorf("%s: decided %+v, want %+v", k.name, d, want)
		}
		r.Action = Untracked
		if _, err := r.Normalize(); (err == nil) != k.untracked {
			t.Errorf("%s: untracked is refused with %v", k.name, err)
		}

		if !strings.Contains(string(contract), "\n| `"+string(k.name)+"` | ") {
			t.Errorf("BLOCKLIST.md has no row of the kind %s", k.name)
		}
		_, rest, ok := strings.Cut(order, "`"+string(k.name)+"`")
		if !ok {
			t.Errorf("BLOCKLIST.md does not say where %s comes in the order", k.name)
		}
		order = rest
	}
}

// What an event of a person who is not tracked must not hold is in no rule
// that is not known to name a person: its own list, which the table may not
// contradict.
func TestNamesPerson(t *testing.T) {
	for rule, want := range map[string]bool{
		"link:acme/l1": true, "recipient:acme/r1": true, "ip:192.0.2.0/24": true, "agent:badbot": true,
		"campaign:acme/spring": false, "customer:acme": false, "key:3": false, "host:example.com": false,
		"prefix:shop.example.com/a": false, "url:shop.example.com/a/b?c=d&e=f": false,
	} {
		if d := indexOf(t, rule).Decide(request()); d.Rule != rule || d.NamesPerson != want {
			t.Errorf("decided %+v, want NamesPerson %v", d, want)
		}
		if d := indexOf(t, rule, "customer:acme untracked").Decide(request()); d.Rule != rule || !d.Untracked || d.NamesPerson != want {
			t.Errorf("decided %+v of one who is not tracked, want NamesPerson %v", d, want)
		}
	}
	for rule, want := range map[string]bool{"link:acme/l1 untracked": true, "recipient:acme/r1 untracked": true, "campaign:acme/spring untracked": false} {
		if d := indexOf(t, rule).Decide(request()); !d.Untracked || d.NamesPerson != want {
			t.Errorf("decided %+v, want NamesPerson %v", d, want)
		}
	}
	if d := indexOf(t).Decide(request()); d.NamesPerson {
		t.Errorf("decided %+v", d)
	}
}

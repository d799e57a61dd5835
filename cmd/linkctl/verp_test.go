package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"example.com/linktracker/linkcore/lines"
)

func TestVERPMake(t *testing.T) {
	b := newBench(t)

	// As independent implementations make them.
	b.want(outcome{code: exitYes, stdout: "b1.acme.spring26.r83jf.cerumu4ztwswfmew@bounces.example.com\n"},
		"", "verp", "make", "--return-path", "bounces.example.com", "--customer", "acme", "--campaign", "spring26", "r83jf")
	b.want(outcome{code: exitYes, stdout: "bounces+b1.acme.spring26.r83jf.odgne2cfslnh6yza@example.com\n"},
		"", "verp", "make", "--return-path", "bounces+@EXAMPLE.com", "--customer", "acme", "--campaign", "spring26", "--recipient", "r83jf")

	made := b.succeed("\uFEFFr1\r\n\n r2 \n", "verp", "make", "--return-path", "bounces.example.com", "--customer", "acme", "--link", "9-aB", "--sent", "2026-07-31T09:00:00Z")
	if lines := strings.Split(made, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "b1.acme.=.r1.=") || !strings.HasPrefix(lines[1], "b1.acme.=.r2.=") {
		t.Errorf("made %s", made)
	}

	// One that does not fit is named, and the others are made.
	got := b.run("r1\n"+strings.Repeat("r", 50)+"\nr.2\n"+strings.Repeat("r", lines.Limit+1)+"\nr3\n", "verp", "make", "--return-path", "bounces.example.com", "--customer", "acme")
	complaints := strings.Split(got.stderr, "\n")
	if got.code != exitNo || strings.Count(got.stdout, "\n") != 2 || len(complaints) != 4 ||
		!strings.HasPrefix(complaints[0], "linkctl: line 2: "+strings.Repeat("r", 50)+": recipient takes 50 bytes of a return path that would have 77 before the @") ||
		complaints[1] != "linkctl: line 3: r.2: recipient has a character other than A-Z a-z 0-9 _ -" ||
		complaints[2] != "linkctl: line 4: "+strings.Repeat("r", 80)+"…: is longer than 1048576 bytes" {
		t.Errorf("exits with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

func TestVERPUsage(t *testing.T) {
	b := newBench(t)
	for _, test := range []struct{ args, stderr string }{
		{"verp", "no verb was given (linkctl verp --help explains)\n"},
		{"verp mak", "there is no verb \"mak\": did you mean make? (linkctl verp --help explains)\n"},
		{"verp make r1", "where bounces go is not set: give --return-path, such as bounces.example.com or bounces+@example.com (linkctl verp make --help explains)\n"},
		{"verp make --return-path bounces@example.com r1", `return path begins with "bounces": let it end in + (or - = _, without a dot in it), as in bounces+@example.com`},
		{"verp make --return-path bounces.example.com", "no recipients: standard input is empty"},
		{"verp make --return-path bounces.example.com --recipient=", "the recipient is empty: give its identifier"},
		{"verp make --return-path bounces.example.com --recipient r1 r2", `the recipient is given twice: leave --recipient or "r2" out`},
		{"verp make --return-path bounces.example.com --sent soon r1", `--sent "soon": give a time such as`},
		{"verp make --return-path bounces.example.com --customer a.b r1", "--customer has a character other than"},
		{"verp make --return-path bounces.example.com --customer " + strings.Repeat("a", 41) + " r1", "--customer takes 41 bytes of a return path that would have 65 before the @"},
		{"verp make --return-path " + strings.Repeat("a.", 120) + "example r1", "return path has 273 bytes: mail systems take 254"},
		{"verp make --return-path bounces.example.com --signing-key 2 r1", `signing key "2" is not in the key ring, which has 1`},
		{"verp check", "no addresses: standard input is empty"},
		{"verp check --keys= a@b", "the key ring is not set: give --keys or set LINK_KEYS"},
	} {
		got := b.run("", strings.Fields(test.args)...)
		if _, last, _ := strings.Cut(got.stderr, "linkctl: "); got.code != exitUsage || got.stdout != "" || !strings.HasPrefix(last, test.stderr) {
			t.Errorf("linkctl %s exits with %d: %s%s", test.args, got.code, got.stdout, got.stderr)
		}
	}
}

func TestVERPCheck(t *testing.T) {
	b := newBench(t)
	const good = "b1.acme.spring26.r83jf.cerumu4ztwswfmew@bounces.example.com"
	read := "  domain       bounces.example.com\n  customer     acme\n  campaign     spring26\n  recipient    r83jf\n  verified     yes, with key 1\n"
	for _, line := range []string{good, "<" + good + ">", "Return-Path: <" + good + ">", "Final-Recipient: rfc822; " + good, "Final-Recipient: rfc822;" + good, "to " + good} {
		b.want(outcome{code: exitYes, stdout: good + "\n" + read}, line+"\n", "verp", "check")
		b.want(outcome{code: exitYes, stdout: good + "\n" + read}, "", "verp", "check", line)
	}
	upper := strings.ToUpper(good)
	b.want(outcome{code: exitNo, stdout: upper + "\n" + read + `
b1.acme.spring26.r83jg.cerumu4ztwswfmew@bounces.example.com
  verified     no: the tag does not match: the address was changed or forged, or made for another domain or with another key of this name

b9.acme.spring26.r83jf.cerumu4ztwswfmew@bounces.example.com
  verified     no: the key that the token names is not in the key ring, which has 1

post\x1bmaster@example.com
  verified     no: the address holds no token of a return path
`}, "", "verp", "check", upper, strings.Replace(good, "83jf", "83jg", 1), strings.Replace(good, "b1", "b9", 1), "post\x1bmaster@example.com")

	got := b.run(good+"\n"+strings.Repeat("x", lines.Limit+1)+"\n", "verp", "check", "--json")
	want := `{"address":"` + good + `","verified":true,"key":"1","domain":"bounces.example.com","customer":"acme","campaign":"spring26","recipient":"r83jf"}` + "\n" +
		`{"address":"","verified":false,"reason":"line 2: is longer than 1048576 bytes"}` + "\n"
	if got.code != exitNo || got.stdout != want {
		t.Errorf("exits with %d\n%s", got.code, got.stdout)
	}
}

// Every vector comes back with its fields, and none of those that are invalid.
func TestVERPCheckVectors(t *testing.T) {
	content, err := os.ReadFile("../../linkcore/testdata/verp-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Keys  map[string]string
		Valid []struct {
			Address string
			Fields  struct{ Customer, Campaign, Recipient, Link string }
		}
	}
	if err := json.Unmarshal(content, &v); err != nil || len(v.Valid) == 0 {
		t.Fatalf("%d vectors, %v", len(v.Valid), err)
	}
	b := newBench(t)
	for id, secret := range v.Keys {
		writeFile(t, b.get("LINK_KEYS")+"/"+id, secret)
	}
	for _, c := range v.Valid {
		var got returnPath
		if err := json.Unmarshal([]byte(b.succeed("", "verp", "check", "--json", c.Address)), &got); err != nil {
			t.Fatal(err)
		}
		if !got.Verified || got.Customer != c.Fields.Customer || got.Campaign != c.Fields.Campaign || got.Recipient != c.Fields.Recipient || got.Link != c.Fields.Link {
			t.Errorf("%s: %+v", c.Address, got)
		}
	}
}

package linkcore

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func testSigner(t testing.TB, baseURL string) *Signer {
	t.Helper()
	ring, err := NewKeyRing(map[string][]byte{"1": secretA})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer(baseURL, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestSignRefuses(t *testing.T) {
	signer := testSigner(t, "https://links.example.com")
	const good = "https://example.com/"
	long := strings.Repeat("a", 65)
	for _, c := range []struct {
		name, field string
		fields      Fields
		destination string
		options     Options
		seal        bool
	}{
		{"customer", "customer", Fields{Customer: "a.b"}, good, Options{}, false},
		{"customer's length", "customer", Fields{Customer: long}, good, Options{}, false},
		{"campaign", "campaign", Fields{Campaign: "ü"}, good, Options{}, false},
		{"recipient", "recipient", Fields{Recipient: "a@b"}, good, Options{}, true},
		{"link", "link", Fields{Link: "a b"}, good, Options{}, false},
		{"link's length", "link", Fields{Link: long}, good, Options{}, true},
		{"exact link", "link", Fields{Link: "a b"}, good, Options{ExactLink: true}, false},
		{"no exact link", "link", Fields{}, good, Options{ExactLink: true}, true},
		{"sent of 0", "sent", Fields{Sent: time.Unix(0, 0)}, good, Options{}, false},
		{"sent below a second", "sent", Fields{Sent: time.Unix(0, 999)}, good, Options{}, false},
		{"sent before 1970", "sent", Fields{Sent: time.Unix(-1, 0)}, good, Options{}, false},
		{"sent too late", "sent", Fields{Sent: time.Unix(latestSent+1, 0)}, good, Options{}, false},
		{"no destination", "destination", Fields{}, "", Options{}, false},
		{"destination", "destination", Fields{}, "https://user@example.com/", Options{}, true},
		{"open with a destination", "destination", Fields{}, good, Options{Kind: Open}, false},
		{"unsubscribe with a destination", "destination", Fields{}, good, Options{Kind: Unsubscribe}, true},
		{"privacy with a destination", "destination", Fields{}, good, Options{Kind: Privacy}, true},
		{"too long", "destination", Fields{}, good + strings.Repeat("a", 8000), Options{}, false},
		{"too long once sealed", "destination", Fields{}, good + strings.Repeat("a", 6000), Options{}, true},
		{"kind", "kind", Fields{}, good, Options{Kind: 's'}, false},
		{"form", "form", Fields{}, good, Options{Form: "fragment"}, false},
		{"metadata in the clear form", "metadata", Fields{}, good, Options{Metadata: "{}"}, false},
		{"metadata no object", "metadata", Fields{}, good, Options{Metadata: "[1]"}, true},
		{"metadata no JSON", "metadata", Fields{}, good, Options{Metadata: "{x}"}, true},
		{"metadata with NaN", "metadata", Fields{}, good, Options{Metadata: `{"a":NaN}`}, true},
		{"metadata on two lines", "metadata", Fields{}, good, Options{Metadata: "{\n}"}, true},
		{"metadata with a space in front", "metadata", Fields{}, good, Options{Metadata: " {}"}, true},
		{"metadata not UTF-8", "metadata", Fields{}, good, Options{Metadata: "{\"a\":\"\xff\"}"}, true},
		{"metadata of 513 bytes", "metadata", Fields{}, good, Options{Metadata: `{"a":"` + strings.Repeat("x", 505) + `"}`}, true},
		{"label like a token", "label", Fields{}, good, Options{Form: QueryForm, Label: "c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A"}, false},
		{"label like a token, then more", "label", Fields{}, good, Options{Form: QueryForm, Label: "o1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/x"}, false},
		{"label reserved", "label", Fields{}, good, Options{Form: QueryForm, Label: "-/live"}, false},
		{"label with dots", "label", Fields{}, good, Options{Form: QueryForm, Label: "a/../b"}, false},
		{"label with a slash in front", "label", Fields{}, good, Options{Form: QueryForm, Label: "/a"}, false},
		{"label's length", "label", Fields{}, good, Options{Label: strings.Repeat("a", 129)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			make := signer.Sign
			if c.seal {
				make = signer.Seal
			}
			tracked, err := make(c.fields, c.destination, c.options)
			var fieldError *FieldError
			if !errors.As(err, &fieldError) || fieldError.Field != c.field || !strings.HasPrefix(err.Error(), c.field+" ") {
				t.Errorf("%v, want an error about %s; made %q", err, c.field, tracked.URL)
			}
		})
	}
	for _, make := range []func(Fields, []string, Options) ([]Tracked, error){signer.SignAll, signer.SealAll} {
		if _, err := make(Fields{Link: "x"}, []string{good, good}, Options{ExactLink: true}); err == nil || !strings.Contains(err.Error(), "link") {
			t.Errorf("one link for two destinations: %v", err)
		}
		if _, err := make(Fields{}, []string{good, "x"}, Options{}); err == nil || !strings.Contains(err.Error(), "destination 2") {
			t.Errorf("a second destination that is none: %v", err)
		}
		for _, name := range []string{"", "cta"} {
			all, err := make(Fields{Link: name}, []string{good, good}, Options{})
			if err != nil || len(all) != 2 || all[0].Fields.Link == all[1].Fields.Link {
				t.Errorf("two destinations, link %q: %+v, %v", name, all, err)
			}
		}
		if all, err := make(Fields{Link: "x"}, []string{good}, Options{ExactLink: true}); err != nil || all[0].Fields.Link != "x" {
			t.Errorf("a link for its only destination: %v", err)
		}
	}
}

func TestSignerRefuses(t *testing.T) {
	ring, err := NewKeyRing(map[string][]byte{"1": secretA, "2": secretB})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ base, key, field string }{
		{"", "1", "base URL"},
		{"links.example.com", "1", "base URL"},
		{"ftp://links.example.com", "1", "base URL"},
		{"https://", "1", "base URL"},
		{"https://bücher.example", "1", "base URL"},
		{"https://a,b.example", "1", "base URL"},
		{"https://[::1]:80", "1", "base URL"},
		{"https://user@links.example.com", "1", "base URL"},
		{"https://links.example.com?x", "1", "base URL"},
		{"https://links.example.com/?", "1", "base URL"},
		{"https://links.example.com/#", "1", "base URL"},
		{"https://links.example.com:65536", "1", "base URL"},
		{"https://links.example.com//", "1", "base URL"},
		{"https://links.example.com/a/../b", "1", "base URL"},
		{"https://links.example.com/a%20b", "1", "base URL"},
		{"https://links.example.com", "", "signing key"},
		{"https://links.example.com", "3", "signing key"},
	} {
		_, err := ring.Signer(c.base, c.key)
		var fieldError *FieldError
		if !errors.As(err, &fieldError) || fieldError.Field != c.field {
			t.Errorf("base %q, key %q: %v", c.base, c.key, err)
		}
	}
}

// Whatever is signed or sealed, in every form, verifies as what it was.
func TestSignThenVerify(t *testing.T) {
	sent := time.Unix(1767225600, 500).UTC()
	for _, base := range []string{"https://links.example.com", "https://LINKS.example.com:8443/", "http://a_b.run.app."} {
		signer := testSigner(t, base)
		ring := &KeyRing{}
		ring.keys.Store(&map[string]*key{"1": signer.key})
		for _, f := range []Fields{
			{},
			{Customer: "acme", Campaign: "spring-26", Recipient: "R_83", Link: "hp_1", Sent: sent},
			{Customer: strings.Repeat("a", 64), Campaign: strings.Repeat("-", 64), Recipient: strings.Repeat("_", 64), Link: strings.Repeat("9", 64), Sent: time.Unix(latestSent, 0)},
		} {
			for _, o := range []Options{{}, {Kind: Open}, {Kind: Unsubscribe}, {Kind: Privacy}, {Label: "Größe/5 €."}, {Form: QueryForm}, {Form: QueryForm, Label: "x?id=y"}, {Form: QueryForm, Kind: Open, Label: "p.gif"}} {
				for _, seal := range []bool{false, true} {
					o.ExactLink = f.Link != ""
					make, destination := signer.Sign, "https://example.com/?a=1&b=(2).-_~"
					if seal {
						make = signer.Seal
						o.Metadata = `{"deal":7}`
					} else {
						o.Metadata = ""
					}
					if o.Kind != 0 && o.Kind != Click {
						destination = ""
					}
					tracked, err := make(f, destination, o)
					if err != nil {
						t.Fatal(err)
					}
					authority, target, err := SplitURL(tracked.URL)
					if err != nil {
						t.Fatal(err)
					}
					link, err := ring.Verify(authority, target)
					if err != nil {
						t.Fatalf("%s: %v", tracked.URL, err)
					}
					wantKind := o.Kind
					if wantKind == 0 {
						wantKind = Click
					}
					if link.Kind != wantKind || link.Fields != tracked.Fields || link.Destination != destination || link.Metadata != o.Metadata || link.Repair != RepairNone || link.Sealed != seal || link.Query != "" {
						t.Errorf("%s: %+v", tracked.URL, link)
					}
					if f.Link == "" && len(link.Link) != 11 || f.Link != "" && link.Link != f.Link || !link.Sent.Equal(f.Sent.Truncate(time.Second)) {
						t.Errorf("%s: fields %+v", tracked.URL, link.Fields)
					}
					if last := tracked.URL[len(tracked.URL)-1]; last != '/' && classes[last]&classWord == 0 || strings.ContainsAny(tracked.URL[len("https://"):], "()!' *\"<>") {
						t.Errorf("%s: a program that looks for links may cut it", tracked.URL)
					}
				}
			}
		}
	}
}

func TestSignWarnings(t *testing.T) {
	for _, c := range []struct {
		base, destination string
		options           Options
		want              []Warning
	}{
		{"https://links.example.com", "https://example.com/", Options{}, nil},
		{"http://links.example.com", "https://example.com/", Options{}, []Warning{WarnHTTP}},
		{"https://links-abc123-ew.a.run.app", "https://example.com/", Options{}, []Warning{WarnRunApp}},
		{"https://run.app.example.com", "https://example.com/", Options{}, nil},
		{"https://links.example.com", "https://example.com/#top", Options{}, []Warning{WarnFragment}},
		{"https://links.example.com", "https://example.com/" + strings.Repeat("a", 900), Options{}, []Warning{WarnLong}},
		{"https://links.example.com", "https://example.com/" + strings.Repeat("a", 2048), Options{}, []Warning{WarnVeryLong}},
		{"https://links.example.com", "https://example.com/", Options{Label: "sale"}, []Warning{WarnNoLabel}},
		{"https://links.example.com", "https://example.com/", Options{Label: "sale", Form: QueryForm}, nil},
	} {
		tracked, err := testSigner(t, c.base).Sign(Fields{}, c.destination, c.options)
		if err != nil || !slices.Equal(tracked.Warnings, c.want) {
			t.Errorf("%s %s: %v, %v", c.base, c.destination, tracked.Warnings, err)
		}
	}
}

// Mounted under a prefix, the handler takes the prefix off the target.
func TestSignUnderPrefix(t *testing.T) {
	signer := testSigner(t, "https://www.example.com/t/")
	tracked, err := signer.Sign(Fields{}, "https://example.com/", Options{})
	if err != nil || !strings.HasPrefix(tracked.URL, "https://www.example.com/t/c1.") {
		t.Errorf("%s, %v", tracked.URL, err)
	}
}

func TestNewLinkID(t *testing.T) {
	for _, c := range []struct{ name, before string }{
		{"", ""},
		{"cta", "cta-"},
		{"7", "7-"},
		{"hp_trap", "hp_trap-"},
		{"an_", "an_-"},
		{"a-", "a--"},
		{strings.Repeat("n", 52), strings.Repeat("n", 52) + "-"},
		{strings.Repeat("n", 53), strings.Repeat("n", 52) + "-"},
		{strings.Repeat("n", 64), strings.Repeat("n", 52) + "-"},
	} {
		seen := map[string]bool{}
		for range 200 {
			id := NewLinkID(c.name)
			random, ok := strings.CutPrefix(id, c.before)
			if !ok || len(random) != 11 || len(word(id)) != len(id) || len(id) > maxIdentifier || seen[id] {
				t.Fatalf("%q: %s", c.name, id)
			}
			seen[id] = true
		}
	}
}

// What a signer is given is a name, or the whole link if it says so.
func TestSignNames(t *testing.T) {
	signer := testSigner(t, "https://links.example.com")
	ring := &KeyRing{}
	ring.keys.Store(&map[string]*key{"1": signer.key})
	for _, make := range []func(Fields, string, Options) (Tracked, error){signer.Sign, signer.Seal} {
		for _, kind := range []Kind{Click, Open, Unsubscribe, Privacy} {
			destination := ""
			if kind == Click {
				destination = "https://example.com/"
			}
			for exact, pattern := range map[bool]string{false: `^an_cta-[A-Za-z0-9_-]{11}$`, true: `^an_cta$`} {
				tracked, err := make(Fields{Link: "an_cta"}, destination, Options{Kind: kind, ExactLink: exact})
				if err != nil {
					t.Fatal(err)
				}
				_, target, err := SplitURL(tracked.URL)
				if err != nil {
					t.Fatal(err)
				}
				link, err := ring.Verify("links.example.com", target)
				if err != nil || link.Fields != tracked.Fields || !regexp.MustCompile(pattern).MatchString(link.Fields.Link) {
					t.Errorf("%s, exact %t: %+v, %v", kind, exact, link.Fields, err)
				}
			}
		}
	}
}

// One draw in 131,072 begins with what would make the link a honeypot or one of
// nobody.
func TestNewLinkDrawsAgain(t *testing.T) {
	var draws []byte
	for _, s := range []string{"hp_AAAAAAAA", "an_AAAAAAAA", "hq_AAAAAAAA"} {
		draw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		draws = append(draws, draw...)
	}
	reader := rand.Reader
	defer func() { rand.Reader = reader }()
	rand.Reader = bytes.NewReader(draws)
	if l := NewLinkID(""); l != "hq_AAAAAAAA" {
		t.Errorf("made %s, want hq_AAAAAAAA", l)
	}
}

func TestInspect(t *testing.T) {
	signer := testSigner(t, "https://links.example.com")
	f := Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1", Link: "x", Sent: time.Unix(1767225600, 0)}
	clear, err := signer.Sign(f, "https://example.com/?a=1", Options{Form: QueryForm, Label: "sale", ExactLink: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Inspect(clear.URL + "&utm=1")
	if err != nil || len(a.Problems) != 0 || a.Form != QueryForm || a.Kind != Click || a.Key != "1" || a.Fields != clear.Fields || a.Destination != "https://example.com/?a=1" || a.Label != "sale" || a.Query != "utm=1" || a.Host != "links.example.com" || len(a.Tag) != 22 {
		t.Errorf("%+v, %v", a, err)
	}
	sealed, err := signer.Seal(f, "https://example.com/", Options{Label: "sale", ExactLink: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err = Inspect(sealed.URL)
	if err != nil || len(a.Problems) != 0 || !a.Sealed || a.Form != PathForm || a.Label != "sale" || a.Plaintext != len("c.acme.spring26.r1.x.t85s00\nhttps://example.com/") {
		t.Errorf("%+v, %v", a, err)
	}
	const token = "c1.acme.spring26.r1.x.t85s00.AAAAAAAAAAAAAAAAAAAAAA"
	for _, c := range []struct{ url, problem string }{
		{"https://links.example.com/", "no token"},
		{"https://links.example.com/-/live", "never a link"},
		{"https://[::1]/" + token + "/https%3A%2F%2Fe.com", "host"},
		{"https://links.example.com/x1.a.b.c.d.e.f/", "the kind"},
		{"https://links.example.com/" + strings.Replace(token, "c1", "cA", 1) + "/", "key id"},
		{"https://links.example.com/" + strings.Replace(token, ".x.", "..", 1) + "/", "its link"},
		{"https://links.example.com/" + strings.Replace(token, "acme", "ac%20me", 1) + "/", "its customer"},
		{"https://links.example.com/" + strings.Replace(token, "t85", "T85", 1) + "/", "time sent"},
		{"https://links.example.com/" + token[:len(token)-1] + "/", "its tag"},
		{"https://links.example.com/" + token[:len(token)-1] + "B/https%3A%2F%2Fe.com", "unused bits"},
		{"https://links.example.com/c1.a.b/", "3 parts"},
		{"https://links.example.com/s1.abc/", "the box"},
		{"https://links.example.com/s1." + strings.Repeat("A", 65), "the box"},
		{"https://links.example.com/?id=q", "parameter id"},
		{"https://links.example.com?url=x&amp;id=s1.x", "the box"},
		{"https://links.example.com/" + token + "/https%3A%2F%2Fe%21.com", "host"},
		{"https://links.example.com/" + token + "/https%3A%2F%2Fuser%40e.com", "user name"},
		{"https://links.example.com/" + strings.Repeat("a", MaxTarget), "16384"},
	} {
		a, err := Inspect(c.url)
		if err != nil || !strings.Contains(strings.Join(a.Problems, "\n"), c.problem) {
			t.Errorf("%.80s: %q, %v; want %s", c.url, a.Problems, err, c.problem)
		}
	}
	for _, s := range []string{"", "links.example.com/x", "mailto:a@b", "https:/x"} {
		if a, err := Inspect(s); err == nil {
			t.Errorf("%q: %+v", s, a)
		}
	}
}

// Each of two links names the other, and is read as before; what would be too long
// for a line of a mail is left as it was.
func TestBeside(t *testing.T) {
	ring, err := NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com/t", "1")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("r", 64)
	short := Fields{Customer: "acme", Recipient: "r1"}
	most := Fields{Customer: long, Campaign: long, Recipient: long, Link: long}
	for _, test := range []struct {
		make   func(Fields, string, Options) (Tracked, error)
		form   Form
		fields Fields
		label  string
		added  string // before the token; "": it is left as it was
	}{
		{signer.Sign, PathForm, short, "label", "?also="},
		{signer.Sign, QueryForm, short, "label", "&also="},
		{signer.Seal, PathForm, most, "", "?also="},
		{signer.Seal, QueryForm, most, strings.Repeat("l", 128), ""},
	} {
		o := Options{Form: test.form, Label: test.label}
		o.Kind = Unsubscribe
		u, err := test.make(test.fields, "", o)
		if err != nil {
			t.Fatal(err)
		}
		o.Kind = Privacy
		p, err := test.make(test.fields, "", o)
		if err != nil {
			t.Fatal(err)
		}
		url := u.Beside(p)
		want := u.URL
		if test.added != "" {
			want += test.added + p.token + "/"
		}
		if url != want || !strings.Contains(p.URL, p.token+"/") {
			t.Errorf("%s beside %s", url, p.URL)
		}
		for text, kind := range map[string]Kind{strings.TrimPrefix(url, "https://links.example.com/t"): Unsubscribe, "/" + p.token + "/": Privacy} {
			if link, err := ring.Verify("links.example.com", text); err != nil || link.Kind != kind {
				t.Errorf("%s: %+v, %v", text, link, err)
			}
		}
	}
}

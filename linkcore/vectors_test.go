package linkcore

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"
)

// vectors are the test vectors of FORMAT.md, made by an independent
// implementation.
type vectors struct {
	Keys  map[string]string
	Valid []struct {
		Kind, Host, Target, Key, Form, Destination, Metadata string
		Sealed                                               bool
		NonceHex                                             string `json:"nonce_hex"`
		Note                                                 string
		Fields                                               struct {
			Customer, Campaign, Recipient, Link string
			Sent                                int64
		}
	}
	Invalid  []struct{ Why, Host, Target string }
	Repaired []struct{ Repair, Mangling, Host, Destination, Target string }
}

func loadVectors(t testing.TB) (v vectors, ring *KeyRing) {
	data, err := os.ReadFile("testdata/link-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{}
	for id, s := range v.Keys {
		if secrets[id], err = base64.StdEncoding.DecodeString(s); err != nil {
			t.Fatal(err)
		}
	}
	if ring, err = NewKeyRing(secrets); err != nil {
		t.Fatal(err)
	}
	if len(v.Valid) < 700 || len(v.Invalid) < 719 || len(v.Repaired) < 780 {
		t.Fatal("vectors are missing")
	}
	return v, ring
}

func TestValidVectors(t *testing.T) {
	v, ring := loadVectors(t)
	for _, c := range v.Valid {
		link, err := ring.Verify(c.Host, c.Target)
		if err != nil {
			t.Errorf("%s %s: %v", c.Host, c.Target, err)
			continue
		}
		want := Link{
			Kind: Kind(c.Kind[0]), Sealed: c.Sealed, Key: c.Key, Host: link.Host,
			Fields:      Fields{Customer: c.Fields.Customer, Campaign: c.Fields.Campaign, Recipient: c.Fields.Recipient, Link: c.Fields.Link},
			Destination: c.Destination, Metadata: c.Metadata, Repair: RepairNone,
			Label: link.Label, Query: link.Query,
		}
		if c.Fields.Sent != 0 {
			want.Sent = time.Unix(c.Fields.Sent, 0).UTC()
		}
		if link != want {
			t.Errorf("%s %s:\n got %+v\nwant %+v", c.Host, c.Target, link, want)
		}
	}
}

// Made again from the same fields, key and nonce, a link must be the vector
// byte for byte: signers in other languages rely on it.
func TestSignValidVectors(t *testing.T) {
	v, ring := loadVectors(t)
	made := 0
	for _, c := range v.Valid {
		host, err := NormalizeHost(c.Host)
		if err != nil || host != c.Host || c.Note != "" {
			continue
		}
		f := Fields{Customer: c.Fields.Customer, Campaign: c.Fields.Campaign, Recipient: c.Fields.Recipient, Link: c.Fields.Link}
		if c.Fields.Sent != 0 {
			f.Sent = time.Unix(c.Fields.Sent, 0)
		}
		k := ring.key(c.Key)
		var token []byte
		if c.Sealed {
			nonce, err := hex.DecodeString(c.NonceHex)
			if err != nil {
				t.Fatal(err)
			}
			token, err = k.sealTokenWith(nonce, host, c.Kind[0], appendFields(nil, &f), c.Destination, c.Metadata)
			if err != nil {
				t.Fatal(err)
			}
		} else {
			token = k.signToken(host, c.Kind[0], appendFields(nil, &f), c.Destination)
		}
		if !strings.Contains(c.Target, string(token)) {
			t.Errorf("%s: the token made is %s", c.Target, token)
		}
		if c.Kind == "c" && !c.Sealed && !strings.HasSuffix(c.Target, string(appendDestination(nil, c.Destination))) {
			t.Errorf("%s: the destination made is %s", c.Target, appendDestination(nil, c.Destination))
		}
		made++
	}
	if made < 100 {
		t.Errorf("only %d vectors were made again", made)
	}
}

func TestInvalidVectors(t *testing.T) {
	v, ring := loadVectors(t)
	for _, c := range v.Invalid {
		if link, err := ring.Verify(c.Host, c.Target); err == nil {
			t.Errorf("%s: %s %s verifies as %+v", c.Why, c.Host, c.Target, link)
		} else if link != (Link{}) {
			t.Errorf("%s: an invalid link holds %+v", c.Why, link)
		}
	}
}

func TestRepairedVectors(t *testing.T) {
	v, ring := loadVectors(t)
	for _, c := range v.Repaired {
		link, err := ring.Verify(c.Host, c.Target)
		if err != nil {
			t.Errorf("%s: %s: %v", c.Mangling, c.Target, err)
			continue
		}
		if link.Destination != c.Destination || string(link.Repair) != c.Repair {
			t.Errorf("%s: %s:\n got %s by %s\nwant %s by %s", c.Mangling, c.Target, link.Destination, link.Repair, c.Destination, c.Repair)
		}
	}
}

// No change of one byte may verify to something else than what was signed.
// Some changes of the cosmetic parts and some that are repaired still verify.
func TestSingleByteChanges(t *testing.T) {
	testsize.Medium(t)
	v, ring := loadVectors(t)
	seen := map[string]bool{}
	for _, c := range v.Valid {
		family := c.Kind + c.Form + c.Note[:min(5, len(c.Note))]
		if c.Sealed {
			family += "sealed"
		}
		if seen[family] || len(c.Target) > 400 {
			continue
		}
		seen[family] = true
		want, err := ring.Verify(c.Host, c.Target)
		if err != nil {
			t.Fatal(err)
		}
		target := []byte(c.Target)
		for i, original := range target {
			for b := range 256 {
				target[i] = byte(b)
				got, err := ring.Verify(c.Host, string(target))
				if err != nil {
					continue
				}
				if got.Kind != want.Kind || got.Fields != want.Fields || got.Destination != want.Destination || got.Metadata != want.Metadata || got.Host != want.Host || got.Key != want.Key || got.Sealed != want.Sealed {
					t.Fatalf("%s with byte %d as %#x verifies as %+v", c.Target, i, b, got)
				}
			}
			target[i] = original
		}
		for i := range c.Host {
			for b := range 256 {
				host := []byte(c.Host)
				host[i] = byte(b)
				if got, err := ring.Verify(string(host), c.Target); err == nil && got.Host != want.Host {
					t.Fatalf("%s verifies for %q", c.Target, host)
				}
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("only %d families of links were changed", len(seen))
	}
}

func TestVerifyReasons(t *testing.T) {
	_, ring := loadVectors(t)
	const good = "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https%3A%2F%2Fexample.com"
	for _, c := range []struct {
		name, host, target string
		want               error
	}{
		{"too long, before the host is looked at", "", "/" + strings.Repeat("x", MaxTarget), ErrTooLong},
		{"no host", "", good, ErrHost},
		{"port without digits", "links.example.com:x", good, ErrHost},
		{"asterisk", "links.example.com", "*", ErrNotLink},
		{"authority form", "links.example.com", "links.example.com:443", ErrNotLink},
		{"empty target", "links.example.com", "", ErrNotLink},
		{"reserved", "links.example.com", "/-/live?id=c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A&url=https%3A%2F%2Fexample.com", ErrNotLink},
		{"token of 10 KB", "links.example.com", "/c1." + strings.Repeat("a", 10<<10) + "....x.1.w9Eo8A3Fu8geDoBb-3m91A/x", ErrNotLink},
		{"unknown key", "links.example.com", strings.Replace(good, "/c1.", "/c9.", 1), ErrUnknownKey},
		{"other host", "links.example.org", good, ErrTag},
		{"percent-encoding cut short", "links.example.com", good[:len(good)-1] + "%6", ErrTag},
		{"not UTF-8", "links.example.com", good[:len(good)-1] + "%FF\xff", ErrTag},
		{"box", "links.example.com", "/s1." + strings.Repeat("A", 64), ErrBox},
		{"box of impossible length", "links.example.com", "/s1." + strings.Repeat("A", 65), ErrBox},
	} {
		if _, err := ring.Verify(c.host, c.target); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// A target in absolute form names its own authority, whatever stands beside it.
func TestAbsoluteTargets(t *testing.T) {
	v, ring := loadVectors(t)
	path, query := -1, -1
	for i, c := range v.Valid {
		switch {
		case c.Kind == "c" && path < 0 && strings.HasPrefix(c.Target, "/c"):
			path = i
		case c.Kind == "c" && query < 0 && strings.HasPrefix(c.Target, "/?id="):
			query = i
		}
	}
	p, q := v.Valid[path], v.Valid[query]
	for _, c := range []struct {
		name, host, target, destination string // no destination: no link
		err                             error
	}{
		{"path form", "", "http://" + p.Host + p.Target, p.Destination, nil},
		{"upper-case scheme", "", "HTTPS://" + p.Host + p.Target, p.Destination, nil},
		{"another authority beside it", "other.example", "http://" + p.Host + p.Target, p.Destination, nil},
		{"another authority in it", p.Host, "http://other.example" + p.Target, "", ErrTag},
		{"port and trailing dot", "", "http://" + strings.ToUpper(p.Host) + ".:8080" + p.Target, p.Destination, nil},
		{"user information", p.Host, "http://user@" + p.Host + p.Target, "", ErrHost},
		{"no authority", p.Host, "http://" + p.Target, "", ErrHost},
		{"query form", "", "http://" + q.Host + q.Target, q.Destination, nil},
		{"query form, no path", "", "http://" + q.Host + q.Target[1:], q.Destination, nil},
		{"neither path nor query", q.Host, "http://" + q.Host, "", ErrNotLink},
		{"another scheme", p.Host, "ftp://" + p.Host + p.Target, "", ErrNotLink},
		{"a scheme that folds to https", p.Host, "http\u017f://" + p.Host + p.Target, "", ErrNotLink},
		{"one slash", p.Host, "http:/" + p.Host + p.Target, "", ErrNotLink},
	} {
		link, err := ring.Verify(c.host, c.target)
		if !errors.Is(err, c.err) || link.Destination != c.destination {
			t.Errorf("%s: %s: %q, %v, want %q, %v", c.name, c.target, link.Destination, err, c.destination, c.err)
		}
	}
}

// A box that opens must hold exactly the parts of FORMAT.md, since a signer in
// another language may err.
func TestSealedParts(t *testing.T) {
	const good = "c.acme.spring26.r1.l1.t4x8k1\nhttps://example.com/"
	var link Link
	if err := parseSealed(&link, good); err != nil || link.Customer != "acme" || link.Link != "l1" || link.Destination != "https://example.com/" {
		t.Fatalf("%+v, %v", link, err)
	}
	for _, c := range []struct{ name, plaintext string }{
		{"a part too many", "c.acme.spring26.r1.l1.t4x8k1.more\nhttps://example.com/"},
		{"a dot too many", "c.acme.spring26.r1.l1..\nhttps://example.com/"},
		{"no dot after the kind", "cXacme.spring26.r1.l1.t4x8k1\nhttps://example.com/"},
		{"kind alone", "c\nhttps://example.com/"},
		{"a part too few", "c.acme.spring26.r1.l1\nhttps://example.com/"},
		{"no link", "c.acme.spring26.r1..t4x8k1\nhttps://example.com/"},
		{"no line end", "c.acme.spring26.r1.l1.t4x8k1"},
		{"kind", "s.acme.spring26.r1.l1.t4x8k1\nhttps://example.com/"},
		{"no destination", "c.acme.spring26.r1.l1.t4x8k1\n"},
		{"open with a destination", "o.acme.spring26.r1.l1.t4x8k1\nhttps://example.com/"},
		{"unsubscribe with a destination", "u.acme.spring26.r1.l1.t4x8k1\nhttps://example.com/"},
		{"empty metadata", good + "\n"},
		{"metadata no object", good + "\n[]"},
		{"a fourth line", good + "\n{}\n"},
	} {
		link := Link{}
		if err := parseSealed(&link, c.plaintext); !errors.Is(err, ErrSealedParts) {
			t.Errorf("%s: %v, made %+v", c.name, err, link)
		}
	}
}

func TestLabelAndQuery(t *testing.T) {
	_, ring := loadVectors(t)
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	const destination = "https://example.com/?a=1&b=2"
	sign := func(destination string, o Options, seal bool) string {
		make := signer.Sign
		if seal {
			make = signer.Seal
		}
		tracked, err := make(Fields{}, destination, o)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(tracked.URL, "https://links.example.com")
	}
	path := sign(destination, Options{}, false)
	query := sign(destination, Options{Form: QueryForm, Label: "summer/sale"}, false)
	sealed := sign(destination, Options{Label: "sale"}, true)
	sealedQuery := sign(destination, Options{Label: "sale", Form: QueryForm}, true)
	open := sign("", Options{Kind: Open, Label: "p.gif"}, false)
	token, _, _ := strings.Cut(path[1:], "/")
	for _, c := range []struct{ name, target, label, query string }{
		{"path", path, "", ""},
		{"path, added", path + "?utm=1&fbclid=2", "", "utm=1&fbclid=2"},
		{"path, query decoded", "/" + token + "/https%3A%2F%2Fexample.com%2F?a=1&b=2", "", ""},
		{"query", query, "summer/sale", ""},
		{"query, added behind", query + "&utm=1", "summer/sale", "utm=1"},
		{"query, added in front", strings.Replace(query, "?", "?utm=1&", 1), "summer/sale", "utm=1"},
		{"query, added between", strings.Replace(query, "&url", "&utm=1&url", 1), "summer/sale", "utm=1"},
		{"query, url first", "/l?url=https%3A%2F%2Fexample.com%2F%3Fa%3D1%26b%3D2&x=&id=" + token, "l", "x="},
		{"query, second url", query + "&url=x", "summer/sale", "url=x"},
		{"query, decoded, added in front", "/l?utm=1&id=" + token + "&url=https://example.com/?a=1&b=2", "l", "utm=1"},
		{"query, quoted-printable", "/l?id=3D" + token + "&url=3Dhttps%3A%2F%2Fexample.com%2F%3Fa%3D1%26b%3D2", "l", ""},
		{"sealed", sealed + "?utm=1", "sale", "utm=1"},
		{"sealed query", sealedQuery + "&url=x", "sale", "url=x"},
		{"open", open + "?x", "p.gif", "x"},
	} {
		link, err := ring.Verify("links.example.com", c.target)
		if err != nil {
			t.Errorf("%s: %s: %v", c.name, c.target, err)
			continue
		}
		if link.Label != c.label || link.Query != c.query {
			t.Errorf("%s: %s: label %q, query %q; want %q and %q", c.name, c.target, link.Label, link.Query, c.label, c.query)
		}
		if link.Kind == Click && link.Destination != destination {
			t.Errorf("%s: destination %q", c.name, link.Destination)
		}
	}
}

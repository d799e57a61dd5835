package linkcore

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/linktracker/linkcore/testsize"
)

// verpVectors are the return paths of FORMAT.md, made by two implementations
// that share nothing with this one.
type verpVectors struct {
	Keys    map[string]string
	Valid   []verpVector
	Arrived []struct {
		How, Address string
		Valid        int
	}
	Invalid []struct{ Why, Address string }
	Refused []struct {
		verpVector
		Why, Field string
	}
}

type verpVector struct {
	Key, Domain, Prefix, Address string
	Fields                       struct {
		Customer, Campaign, Recipient, Link string
		Sent                                int64
	}
}

func (v *verpVector) fields() Fields {
	f := Fields{Customer: v.Fields.Customer, Campaign: v.Fields.Campaign, Recipient: v.Fields.Recipient, Link: v.Fields.Link}
	if v.Fields.Sent != 0 {
		f.Sent = time.Unix(v.Fields.Sent, 0).UTC()
	}
	return f
}

func (v *verpVector) returnPath() ReturnPath {
	return ReturnPath{Key: v.Key, Domain: v.Domain, Fields: v.fields()}
}

func (v *verpVector) signer(t testing.TB, ring *KeyRing) *ReturnPathSigner {
	t.Helper()
	signer, err := ring.ReturnPathSigner(v.Prefix+"@"+v.Domain, v.Key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func loadVerpVectors(t testing.TB) (v verpVectors, ring *KeyRing) {
	t.Helper()
	data, err := os.ReadFile("testdata/verp-vectors.json")
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
	if len(v.Valid) < 47 || len(v.Arrived) < 19 || len(v.Invalid) < 55 || len(v.Refused) < 9 {
		t.Fatal("vectors are missing")
	}
	return v, ring
}

func TestReturnPathVectors(t *testing.T) {
	v, ring := loadVerpVectors(t)
	for _, c := range v.Valid {
		made, err := c.signer(t, ring).Sign(c.fields())
		if err != nil || made != c.Address {
			t.Errorf("%+v:\n made %s, %v\n want %s", c.Fields, made, err, c.Address)
		}
		if got, err := ring.VerifyReturnPath(c.Address); err != nil || got != c.returnPath() {
			t.Errorf("%s: %+v, %v", c.Address, got, err)
		}
	}
	for _, c := range v.Arrived {
		if got, err := ring.VerifyReturnPath(c.Address); err != nil || got != v.Valid[c.Valid].returnPath() {
			t.Errorf("%s: %s: %+v, %v", c.How, c.Address, got, err)
		}
	}
	for _, c := range v.Invalid {
		if got, err := ring.VerifyReturnPath(c.Address); err == nil || got != (ReturnPath{}) {
			t.Errorf("%s: %s: %+v, %v", c.Why, c.Address, got, err)
		}
	}
	for _, c := range v.Refused {
		made, err := c.signer(t, ring).Sign(c.fields())
		var field *FieldError
		if !errors.As(err, &field) || field.Field != c.Field || made != "" {
			t.Errorf("%s: made %q, %v", c.Why, made, err)
		}
	}
}

// The Python of FORMAT.md, which others copy, makes the vectors.
func TestReturnPathPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	v, _ := loadVerpVectors(t)
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var program bytes.Buffer
	for _, block := range regexp.MustCompile("(?s)```python\n(.*?)```").FindAllSubmatch(text, -1) {
		program.Write(block[1])
	}
	program.WriteString(`
import json, sys
vectors = json.load(open("testdata/verp-vectors.json"))
for v in vectors["valid"]:
    print(return_path(base64.b64decode(vectors["keys"][v["key"]]), v["key"], v["domain"], v.get("prefix", ""), **v["fields"]))
`)
	command := exec.Command(python, "-")
	command.Stdin = &program
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want strings.Builder
	for _, c := range v.Valid {
		want.WriteString(c.Address + "\n")
	}
	if string(out) != want.String() {
		t.Errorf("FORMAT.md makes\n%swant\n%s", out, want.String())
	}
}

// Whatever one byte becomes, an address is refused or says what it said.
// Outside of the prefix only the case of a letter may change.
func TestReturnPathSingleByteChanges(t *testing.T) {
	testsize.Medium(t)
	v, ring := loadVerpVectors(t)
	for _, c := range v.Valid[:20] {
		address := []byte(c.Address)
		for i, original := range address {
			for b := range 256 {
				address[i] = byte(b)
				got, err := ring.VerifyReturnPath(string(address))
				inPrefix := i < len(c.Prefix)
				sameLetter := strings.EqualFold(string(rune(b)), string(rune(original))) && b < 0x80
				switch {
				case err != nil && sameLetter:
					t.Errorf("%s is refused: %v", address, err)
				case err == nil && got != c.returnPath():
					t.Errorf("%s is read as %+v", address, got)
				case err == nil && !inPrefix && !sameLetter:
					t.Errorf("%s, of %s, is accepted", address, c.Address)
				}
			}
			address[i] = original
		}
		for i := range address {
			if _, err := ring.VerifyReturnPath(string(address[:i])); err == nil {
				t.Errorf("%s is accepted", address[:i])
			}
		}
	}
}

func TestReturnPathReasons(t *testing.T) {
	v, ring := loadVerpVectors(t)
	good := v.Valid[0].Address
	for _, c := range []struct {
		address string
		want    error
	}{
		{"postmaster@bounces.example.com", ErrNotReturnPath},
		{strings.Replace(good, "b1.", "b9.", 1), ErrUnknownKey},
		{strings.Replace(good, "acme", "acmf", 1), ErrReturnPathTag},
		{strings.Replace(good, "example.com", "example.org", 1), ErrReturnPathTag},
	} {
		if _, err := ring.VerifyReturnPath(c.address); err != c.want {
			t.Errorf("%s: %v, want %v", c.address, err, c.want)
		}
	}
}

// A tag of one kind is never one of the other: the keys differ.
func TestReturnPathKeyIsItsOwn(t *testing.T) {
	_, ring := loadVerpVectors(t)
	k := ring.key("1")
	link, returnPath := k.macs.Get().(*mac), k.returnPaths.Get().(*mac)
	link.begin("h.example", "x")
	returnPath.begin("h.example", "x")
	if bytes.Equal(link.digest(), returnPath.digest()) {
		t.Error("links and return paths have one key")
	}
}

func TestReturnPathSignerRefuses(t *testing.T) {
	_, ring := loadVerpVectors(t)
	for _, c := range []struct{ mailbox, key, field, problem string }{
		{"", "1", "return path", "has no domain"},
		{"bounces+@", "1", "return path", "has no domain"},
		{"bücher.example", "1", "return path", "A-labels"},
		{"a_b.example", "1", "return path", "letters, digits and -"},
		{"-a.example", "1", "return path", "letters, digits and -"},
		{"a..example", "1", "return path", "letters, digits and -"},
		{"a.example.", "1", "return path", "letters, digits and -"},
		{"a.example:25", "1", "return path", "letters, digits and -"},
		{"[192.0.2.1]", "1", "return path", "letters, digits and -"},
		{strings.Repeat("a", 64) + ".example", "1", "return path", "letters, digits and -"},
		{strings.Repeat("a.", 126) + "ab", "1", "return path", "letters, digits and -"},
		{"bounces@example.com", "1", "return path", "let it end in +"},
		{"mail.bounces-@example.com", "1", "return path", "let it end in +"},
		{"bounces+x@example.com", "1", "return path", "let it end in +"},
		{"bounces.@example.com", "1", "return path", "let it end in +"},
		{".bounces+@example.com", "1", "return path", "a dot stands between"},
		{"a..b+@example.com", "1", "return path", "a dot stands between"},
		{"bo unces+@example.com", "1", "return path", "before the @"},
		{"bo/unces+@example.com", "1", "return path", "before the @"},
		{"größe+@example.com", "1", "return path", "before the @"},
		{"a@b+@example.com", "1", "return path", "before the @"},
		{"example.com", "", "signing key", "must be named"},
		{"example.com", "9", "signing key", "is not in the key ring"},
	} {
		_, err := ring.ReturnPathSigner(c.mailbox, c.key)
		var field *FieldError
		if !errors.As(err, &field) || field.Field != c.field || !strings.Contains(field.Problem, c.problem) {
			t.Errorf("%q, key %q: %v", c.mailbox, c.key, err)
		}
	}
}

func TestReturnPathSignRefuses(t *testing.T) {
	_, ring := loadVerpVectors(t)
	signer, err := ring.ReturnPathSigner("bounces.example.com", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fields Fields
		want   string
	}{
		{Fields{Customer: "acme", Campaign: "spring26", Recipient: strings.Repeat("r", 31)}, "recipient takes 31 bytes of a return path that would have 65 before the @, and mail systems take 64: give shorter identifiers, or leave link, time sent or campaign out"},
		{Fields{Recipient: "aB" + strings.Repeat("r", 62)}, "recipient takes 78 bytes of a return path that would have 102 before the @"},
		{Fields{Sent: time.Unix(0, 0)}, "sent must be a time after 1970"},
		{Fields{Customer: "Müller"}, "customer has a character other than"},
		{Fields{Link: "a.b"}, "link has a character other than"},
	} {
		address, err := signer.Sign(c.fields)
		var field *FieldError
		if !errors.As(err, &field) || !strings.HasPrefix(err.Error(), c.want) || address != "" {
			t.Errorf("%+v: %q, %v", c.fields, address, err)
		}
	}
	long, err := ring.ReturnPathSigner(strings.Repeat("a.", 120)+"example", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := long.Sign(Fields{Customer: "acme"}); err == nil || !strings.Contains(err.Error(), "mail systems take 254") {
		t.Errorf("an address of more than 254 bytes: %v", err)
	}
}

var dotString = regexp.MustCompile(`^[A-Za-z0-9_=+-]+(\.[A-Za-z0-9_=+-]+)*$`)

// What a signer makes is a Dot-string of one case and at most 64 bytes, and
// comes back as it was, whatever case it arrives in.
func FuzzReturnPathSignThenVerify(f *testing.F) {
	v, ring := loadVerpVectors(f)
	for _, c := range v.Valid {
		f.Add(c.Prefix+"@"+c.Domain, c.Fields.Customer, c.Fields.Campaign, c.Fields.Recipient, c.Fields.Link, c.Fields.Sent)
	}
	f.Fuzz(func(t *testing.T, mailbox, customer, campaign, recipient, link string, sent int64) {
		signer, err := ring.ReturnPathSigner(mailbox, "1")
		if err != nil {
			return
		}
		want := ReturnPath{Key: "1", Domain: signer.domain, Fields: Fields{Customer: customer, Campaign: campaign, Recipient: recipient, Link: link}}
		if sent != 0 {
			want.Sent = time.Unix(sent, 0).UTC()
		}
		address, err := signer.Sign(want.Fields)
		if err != nil {
			return
		}
		local, _, _ := strings.Cut(address, "@")
		if len(local) > 64 || !dotString.MatchString(local) || strings.TrimPrefix(local, signer.prefix) != strings.ToLower(strings.TrimPrefix(local, signer.prefix)) {
			t.Errorf("%q is not a local part that every mail system takes", local)
		}
		for _, arrived := range []string{address, strings.ToLower(address), strings.ToUpper(address), "prvs=1234abcdef=" + address, "SRS0=aB+/=Zz=" + signer.domain + "=" + local + "@forwarder.example"} {
			if strings.HasPrefix(lowerASCII(signer.prefix), "srs") {
				break // a mailbox named like a forwarder's wrapping
			}
			got, err := ring.VerifyReturnPath(arrived)
			if err != nil || got != want {
				t.Errorf("%s: %+v, %v; want %+v", arrived, got, err, want)
			}
		}
	})
}

// Of what strangers send, only what was signed verifies.
func FuzzVerifyReturnPath(f *testing.F) {
	v, ring := loadVerpVectors(f)
	signed := map[ReturnPath]bool{}
	for _, c := range v.Valid {
		signed[c.returnPath()] = true
		f.Add(c.Address)
	}
	for _, c := range v.Arrived {
		f.Add(c.Address)
	}
	for _, c := range v.Invalid {
		f.Add(c.Address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		got, err := ring.VerifyReturnPath(address)
		if err != nil && got != (ReturnPath{}) {
			t.Errorf("an address that was refused holds %+v", got)
		}
		if err == nil && !signed[got] {
			t.Errorf("%q is read as %+v, which was never signed", address, got)
		}
	})
}

// Each identifier has one encoding, and each encoding one identifier.
func FuzzReturnPathPart(f *testing.F) {
	v, _ := loadVerpVectors(f)
	for _, c := range v.Valid {
		f.Add(c.Fields.Recipient)
		f.Add(string(appendPart(nil, c.Fields.Recipient)))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if decoded, ok := decodePart(s); ok && string(appendPart(nil, decoded)) != s {
			t.Errorf("%q and %q are both %q", s, appendPart(nil, decoded), decoded)
		}
		if len(s) <= maxIdentifier && len(word(s)) == len(s) {
			part := string(appendPart(nil, s))
			if decoded, ok := decodePart(part); !ok || decoded != s || part != strings.ToLower(part) {
				t.Errorf("%q is written %q and read as %q", s, part, decoded)
			}
		}
	})
}

func BenchmarkReturnPathSign(b *testing.B) {
	_, ring := loadVerpVectors(b)
	signer, err := ring.ReturnPathSigner("bounces+@example.com", "1")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.Sign(Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyReturnPath(b *testing.B) {
	v, ring := loadVerpVectors(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.VerifyReturnPath(v.Valid[1].Address); err != nil {
			b.Fatal(err)
		}
	}
}

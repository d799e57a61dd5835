package linkcore

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/linktracker/linkcore/testsize"
)

var update = flag.Bool("update", false, "write testdata/signer-vectors.json")

// signerVectors say what signers make, byte for byte, and which field they
// refuse. This implementation makes them, and those in other languages must.
type signerVectors struct {
	Format      string              `json:"format"`
	Note        string              `json:"note"`
	Unicode     string              `json:"unicode"`
	Keys        map[string]string   `json:"keys"`
	Secrets     []*secretVector     `json:"secrets"`
	Links       []*signVector       `json:"links"`
	ReturnPaths []*returnPathVector `json:"return_paths"`
}

type secretVector struct {
	Content string `json:"content"`
	Secret  string `json:"secret_hex,omitempty"`
	Sign    string `json:"sign_hex,omitempty"`
	Seal    string `json:"seal_hex,omitempty"`
	Verp    string `json:"verp_hex,omitempty"`
	Refused bool   `json:"refused,omitempty"`
}

type vectorFields struct {
	Customer  string `json:"customer,omitempty"`
	Campaign  string `json:"campaign,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	Link      string `json:"link,omitempty"`
	Sent      *int64 `json:"sent,omitempty"`
}

func (f vectorFields) fields() Fields {
	fields := Fields{Customer: f.Customer, Campaign: f.Campaign, Recipient: f.Recipient, Link: f.Link}
	if f.Sent != nil {
		fields.Sent = time.Unix(*f.Sent, 0)
	}
	return fields
}

type signVector struct {
	Note        string       `json:"note,omitempty"`
	BaseURL     string       `json:"base_url"`
	Key         string       `json:"key,omitempty"`
	Kind        string       `json:"kind"`
	Form        string       `json:"form,omitempty"`
	Sealed      bool         `json:"sealed,omitempty"`
	ExactLink   bool         `json:"exact_link,omitempty"`
	Label       string       `json:"label,omitempty"`
	Metadata    string       `json:"metadata,omitempty"`
	Destination string       `json:"destination,omitempty"`
	Fields      vectorFields `json:"fields"`
	Random      string       `json:"random_hex,omitempty"`

	URL      string    `json:"url,omitempty"`
	Link     string    `json:"link,omitempty"`
	Warnings []Warning `json:"warnings,omitempty"`
	Refused  string    `json:"refused,omitempty"`
}

type returnPathVector struct {
	Mailbox string       `json:"mailbox"`
	Key     string       `json:"key,omitempty"`
	Fields  vectorFields `json:"fields"`
	Address string       `json:"address,omitempty"`
	Refused string       `json:"refused,omitempty"`
}

var vectorKinds = map[string]Kind{"click": Click, "open": Open, "unsubscribe": Unsubscribe, "privacy": Privacy}

func refusedField(t testing.TB, err error) string {
	var field *FieldError
	if err == nil {
		return ""
	}
	if !errors.As(err, &field) {
		t.Fatal(err)
	}
	return field.Field
}

// fill makes what each input gives.
func (v *signerVectors) fill(t testing.TB) {
	secrets := map[string][]byte{}
	for id, content := range v.Keys {
		secret, err := DecodeSecret(content)
		if err != nil {
			t.Fatal(err)
		}
		secrets[id] = secret
	}
	ring, err := NewKeyRing(secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Secrets {
		secret, err := DecodeSecret(c.Content)
		if err == nil {
			_, err = newKey("1", secret)
		}
		if c.Refused = err != nil; c.Refused {
			continue
		}
		c.Secret = hex.EncodeToString(secret)
		for info, out := range map[string]*string{signInfo: &c.Sign, sealInfo: &c.Seal, verpInfo: &c.Verp} {
			derived, err := hkdf.Key(sha256.New, secret, nil, info, 32)
			if err != nil {
				t.Fatal(err)
			}
			*out = hex.EncodeToString(derived)
		}
	}
	for _, c := range v.Links {
		random, err := hex.DecodeString(c.Random)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ring.Signer(c.BaseURL, c.Key)
		var made Tracked
		if err == nil {
			signer.random = bytes.NewReader(random).Read
			sign := signer.Sign
			if c.Sealed {
				sign = signer.Seal
			}
			made, err = sign(c.Fields.fields(), c.Destination, Options{Kind: vectorKinds[c.Kind], Form: Form(c.Form), Label: c.Label, ExactLink: c.ExactLink, Metadata: c.Metadata})
		}
		c.Refused = refusedField(t, err)
		c.URL, c.Link, c.Warnings = made.URL, made.Fields.Link, made.Warnings
		if err == nil {
			host, target, err := SplitURL(c.URL)
			if err != nil {
				t.Fatal(err)
			}
			if prefix := strings.TrimSuffix(signer.base[strings.Index(signer.base, "://")+3:], "/"); strings.Contains(prefix, "/") {
				target = strings.TrimPrefix(target, prefix[strings.Index(prefix, "/"):])
			}
			link, err := ring.Verify(host, target)
			if err != nil || link.Link != c.Link || link.Repair != RepairNone {
				t.Errorf("%s is %+v, %v", c.URL, link, err)
			}
		} else {
			c.URL, c.Link, c.Warnings = "", "", nil
		}
	}
	for _, c := range v.ReturnPaths {
		signer, err := ring.ReturnPathSigner(c.Mailbox, c.Key)
		if err == nil {
			c.Address, err = signer.Sign(c.Fields.fields())
		}
		c.Refused = refusedField(t, err)
	}
}

func (v *signerVectors) encode(t testing.TB) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The checked-in vectors are what this signer makes of their inputs.
func TestSignerVectors(t *testing.T) {
	v := inputs()
	v.fill(t)
	const path = "testdata/signer-vectors.json"
	if *update {
		if err := os.WriteFile(path, v.encode(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, v.encode(t)) {
		t.Errorf("%s is not what this signer makes: run go test ./linkcore -run TestSignerVectors -update, and read what changed", path)
	}
	refused := map[string]int{}
	for _, c := range v.Links {
		refused[c.Refused]++
	}
	for _, field := range []string{"", "base URL", "signing key", "form", "metadata", "destination", "label", "customer", "campaign", "recipient", "link", "sent"} {
		if refused[field] == 0 {
			t.Errorf("no vector for %q", field)
		}
	}
}

// otherSigners run the vectors of a file in the languages that the machine has.
func otherSigners(t *testing.T, path string) {
	for _, c := range []struct{ language, program, script string }{
		{"Python", "python3", "signers/python/tests/vectors.py"},
		{"TypeScript", "node", "signers/typescript/test/vectors.js"},
	} {
		t.Run(c.language, func(t *testing.T) {
			program, err := exec.LookPath(c.program)
			if err != nil {
				t.Skipf("the vectors do not run in %s: no %s here", c.language, c.program)
			}
			out, err := exec.Command(program, c.script, path).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
			if os.Getenv("REQUIRE_SIGNERS") != "" && bytes.Contains(out, []byte("not made")) {
				t.Errorf("%s", out)
			}
		})
	}
}

func TestOtherSigners(t *testing.T) {
	testsize.Medium(t)
	otherSigners(t, "testdata/signer-vectors.json")
}

// Ten thousand random inputs, most near the edge of what is allowed, give the
// same bytes or refuse the same field in every language.
func TestOtherSignersRandom(t *testing.T) {
	testsize.Large(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	v := randomInputs(rand.New(rand.NewPCG(seed, 0)), 10_000)
	v.fill(t)
	made := 0
	for _, c := range v.Links {
		if c.Refused == "" {
			made++
		}
	}
	if made < len(v.Links)/4 {
		t.Fatalf("only %d of %d links were made", made, len(v.Links))
	}
	path := filepath.Join(t.TempDir(), "random.json")
	if err := os.WriteFile(path, v.encode(t), 0o644); err != nil {
		t.Fatal(err)
	}
	otherSigners(t, path)
}

func newSignerVectors() *signerVectors {
	std := base64.StdEncoding.EncodeToString([]byte("a secret for vectors, 32 bytes.."))
	return &signerVectors{
		Format: "linkcore/v1",
		Note: "keys and content are what key files hold; sent is Unix seconds; random_hex is what the source of random bytes gives, in order: " +
			"8 bytes for each link id that is drawn, then a sealed link's nonce; refused names the field of the error",
		Unicode: "15.0.0",
		Keys: map[string]string{
			"1":  std + "\n",
			"k2": base64.RawURLEncoding.EncodeToString([]byte("??>>another one, longer than 32 bytes~~~")),
		},
	}
}

func seconds(n int64) *int64 { return &n }

const vectorRandom = "0001020304050607" + "101112131415161718191a1b1c1d1e1f2021222324252627"

func inputs() *signerVectors {
	v := newSignerVectors()
	raw := []byte("\xfb\xef\xbe\xff secret of 40 bytes, \xff\xfe in base64!!")
	std := base64.StdEncoding.EncodeToString(raw)
	url := base64.URLEncoding.EncodeToString(raw)
	for _, content := range []string{
		std, std + "\n", " \t" + std + "\r\n", strings.TrimRight(std, "="), url, strings.TrimRight(url, "=") + "\n",
		base64.StdEncoding.EncodeToString(raw[:32]), base64.StdEncoding.EncodeToString(raw[:33]), base64.StdEncoding.EncodeToString(raw[:34]),
		"\u00a0" + std + "\u3000", "\ufeff" + std,
		"", "\n", std[:20] + "\n" + std[20:], std[:20] + " " + std[20:], base64.StdEncoding.EncodeToString(raw[:31]), string(raw[4:20]),
		base64.StdEncoding.EncodeToString(raw[:32]) + "=", strings.TrimRight(base64.StdEncoding.EncodeToString(raw[:32]), "=") + "==", "-" + std, std[:len(std)-1] + "é",
		hex.EncodeToString(raw), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "=", "====",
	} {
		v.Secrets = append(v.Secrets, &secretVector{Content: content})
	}

	add := func(note string, c signVector) {
		c.Note = note
		if c.BaseURL == "" {
			c.BaseURL = "https://links.example.com"
		}
		if c.Key == "" {
			c.Key = "1"
		}
		if c.Kind == "" {
			c.Kind = "click"
		}
		if c.Random == "" {
			c.Random = vectorRandom
		}
		v.Links = append(v.Links, &c)
	}
	const page = "https://example.com/pricing?a=1"
	acme := vectorFields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "cta", Sent: seconds(1798761600)}
	for _, kind := range []string{"click", "open", "unsubscribe", "privacy"} {
		destination := ""
		if kind == "click" {
			destination = page
		}
		for _, form := range []string{"path", "query"} {
			for _, sealed := range []bool{false, true} {
				for _, label := range []string{"", "sale/a ü.gif"} {
					add("", signVector{Kind: kind, Form: form, Sealed: sealed, Label: label, Destination: destination, Fields: acme, Key: "k2"})
				}
			}
		}
	}
	for _, f := range []vectorFields{
		{}, {Customer: strings.Repeat("a", 64)}, {Customer: strings.Repeat("a", 65)}, {Customer: "ann@example.com"},
		{Campaign: "Spring 26"}, {Campaign: "v1.2"}, {Campaign: "a\n"}, {Recipient: "ü"}, {Recipient: "١"}, {Recipient: "-1_"}, {Recipient: strings.Repeat("é", 40)}, {Customer: "\u212a"},
		{Link: strings.Repeat("n", 52)}, {Link: strings.Repeat("n", 64)}, {Link: strings.Repeat("n", 65)}, {Link: "hp_trap"}, {Link: "a b"},
		{Sent: seconds(1)}, {Sent: seconds(35)}, {Sent: seconds(36)}, {Sent: seconds(latestSent)}, {Sent: seconds(latestSent + 1)}, {Sent: seconds(0)}, {Sent: seconds(-1)},
		{Customer: "\x00", Campaign: "\x00"},
	} {
		add("", signVector{Fields: f, Destination: page})
	}
	for _, link := range []string{"", "a1b2c3d4e5f", "an_page-1", strings.Repeat("n", 64)} {
		add("exact", signVector{Fields: vectorFields{Link: link}, ExactLink: true, Destination: page})
	}
	hp, _ := base64.RawURLEncoding.DecodeString("hp_AAAAAAAA")
	an, _ := base64.RawURLEncoding.DecodeString("an_AAAAAAAA")
	add("drawn again twice", signVector{Destination: page, Random: hex.EncodeToString(hp) + hex.EncodeToString(an) + vectorRandom})
	add("drawn again, behind a name", signVector{Destination: page, Fields: vectorFields{Link: "cta"}, Random: hex.EncodeToString(hp) + vectorRandom})
	for _, base := range []string{
		"https://Links.Example.COM", "https://links.example.com.", "https://links.example.com/", "https://links.example.com:8443", "https://links.example.com:", "HTTPS://links.example.com:00443/a/B_~.-/",
		"http://localhost:8080", "https://a-b_c.run.app", "http://x.run.app/l", "https://-a-/", "https://192.0.2.1", "https://links.example.com/...", "https://" + strings.Repeat("a", 253),
		"", "links.example.com", "//links.example.com", "ftp://links.example.com", "https://", "https:///x", "https:links.example.com", "https://user@links.example.com", "https://links.example.com?x", "https://links.example.com/#",
		"https://links.example.com:65536", "https://links.example.com:123456", "https://links.example.com:8a", "https://links..example.com", "https://.example.com", "https://links.example.com..", "https://bücher.example", "https://[::1]", "https://a b.example",
		"https://links.example.com//", "https://links.example.com/a//b", "https://links.example.com/.", "https://links.example.com/a/../b", "https://links.example.com/a%20b", "https://links.example.com/a+b", "https://links.example.com/ü", "https://links.example.com/a\\b",
		" https://links.example.com", "https://links.example.com\n", "https://" + strings.Repeat("a", 254), "https://\u212a.example",
	} {
		c := signVector{Destination: page, BaseURL: base, Random: vectorRandom, Key: "1", Kind: "click"}
		v.Links = append(v.Links, &c)
	}
	for _, key := range []string{"k2", "3", "K2", "a.b"} {
		add("", signVector{Key: key, Destination: page})
	}
	v.Links = append(v.Links, &signVector{Note: "two keys, none named", BaseURL: "https://links.example.com", Kind: "click", Destination: page})
	add("", signVector{Form: "matrix", Destination: page})
	for _, label := range []string{
		"a", "a/b", "p.gif", "end.", "a~/b_", "-", "-/a", "a/-", "/a", "a/", "a//b", ".", "a/..", "...", " ", "a?b#c", strings.Repeat("ü", 64), strings.Repeat("ü", 64) + "a",
		"c1....x.1." + strings.Repeat("A", 22), "c1....x.1." + strings.Repeat("A", 23), "o1....x.." + strings.Repeat("A", 22) + "!x", "u1.a.b.c.x..", "s1." + strings.Repeat("A", 64), "s1." + strings.Repeat("A", 63) + "-", "a/c1....x.1." + strings.Repeat("A", 22),
		"c1....x.1." + strings.Repeat("A", 22) + ".", "C1....x.1." + strings.Repeat("A", 22), "c1.....1." + strings.Repeat("A", 22), "c1....x.01." + strings.Repeat("A", 22),
	} {
		add("", signVector{Label: label, Form: "query", Destination: page})
		add("", signVector{Label: label, Kind: "open"})
	}
	for _, metadata := range []string{
		`{}`, `{"deal":7,"ü":[null,true,1.5e3]}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, `{"a":"` + strings.Repeat("x", 504) + `"}`, `{"n":` + strings.Repeat("9", 400) + `}`,
		`{"a":"` + strings.Repeat("x", 505) + `"}`, `[]`, `"{}"`, `{`, `{"a":1`, `{a:1}`, `{"a":NaN}`, `{"a":-Infinity}`, `{"a":01}`, `{"a":1,}`, "{\n}", "{\"a\":\"\t\"}", ` {}`, `{} `, `{}{}`, `{"a":.5}`, `{"a":１}`,
	} {
		add("", signVector{Metadata: metadata, Sealed: true, Destination: page})
	}
	add("", signVector{Metadata: `{}`, Destination: page})
	long := func(n int) string {
		c := signVector{BaseURL: "https://links.example.com", Key: "1", Kind: "click", Destination: "https://example.com/", Random: vectorRandom}
		w := &signerVectors{Keys: v.Keys, Links: []*signVector{&c}}
		w.fill(nil)
		return "https://example.com/" + strings.Repeat("a", n-len(c.URL))
	}
	for _, n := range []int{900, 901, 2048, 2049, 8000, 8001} {
		add(fmt.Sprintf("a URL of %d bytes", n), signVector{Destination: long(n)})
	}
	for _, d := range vectorDestinations {
		add("", signVector{Destination: d})
	}
	add("sealed, converted", signVector{Sealed: true, Destination: "https://bücher.example/é?ü#ö"})

	for _, mailbox := range []string{
		"bounces.example.com", "bounces+@example.com", "@Example.COM", "b-@example.com", "b=@example.com", "B_@example.com", "a.b+@example.com", "a+b-@example.com", "+@example.com",
		"", "bounces@", "bounces@example.com", "bounces+x@example.com", "a.b-@example.com", ".a+@example.com", "a..b+@example.com", "a b+@example.com", "a@b+@example.com", "bücher+@example.com",
		"b+@bücher.example", "b+@-a.example", "b+@a-.example", "b+@a..example", "b+@example.com.", "b+@" + strings.Repeat("a", 64) + ".example", "b+@exa_mple.com", "b+@\u212a.example",
		strings.Repeat("b", 20) + "+@example.com", strings.Repeat("b", 60) + "+@example.com",
		"b+@" + strings.Repeat(strings.Repeat("a", 60)+".", 3) + strings.Repeat("a", 40), "b+@" + strings.Repeat(strings.Repeat("a", 60)+".", 3) + strings.Repeat("a", 50),
	} {
		v.ReturnPaths = append(v.ReturnPaths, &returnPathVector{Mailbox: mailbox, Key: "1", Fields: vectorFields{Customer: "acme", Recipient: "r8"}})
	}
	for _, f := range []vectorFields{
		{}, {Customer: "Acme"}, {Recipient: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, {Recipient: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}, {Recipient: "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"}, {Recipient: "f81d4fae-7dec-11d0-a765-00a0c91e6bfg"},
		{Recipient: "aB"}, {Recipient: "aBcDe"}, {Recipient: "Zz_-09"}, {Link: "x1"}, {Link: "x1", Sent: seconds(1798761600)}, {Sent: seconds(1)}, {Sent: seconds(0)}, {Sent: seconds(latestSent + 1)},
		{Customer: strings.Repeat("a", 30), Campaign: strings.Repeat("b", 30)}, {Customer: "a", Campaign: strings.Repeat("b", 64), Recipient: strings.Repeat("c", 64)}, {Customer: "a b"}, {Link: strings.Repeat("x", 30)},
	} {
		v.ReturnPaths = append(v.ReturnPaths, &returnPathVector{Mailbox: "b+@example.com", Key: "k2", Fields: f})
	}
	return v
}

var vectorDestinations = []string{
	"https://example.com", "HTTP://Example.COM:80/A", "https://example.com?x", "https://example.com#x", "https://example.com./", "https://a_b.-c-.example/", "https://example.com:00443/",
	"https://example.com/a/./../b//", "https://example.com/%41%zz%", "https://example.com/%", "https://example.com/a+b;c=d&e", "https://example.com/(a)!*'~.", "https://example.com/-", "https://example.com/_", "https://example.com/~", "https://example.com/a.",
	"https://example.com/münchen", "https://example.com/?ü=é#ö", "https://example.com/\U0001F600", "https://example.com/\u0301", `https://example.com/"<>^` + "`{}|'[]", `https://example.com/?"<>^` + "`{}|'[]?", `https://example.com/#"<>^` + "`{}|'[]#?", "https://example.com/?u={{x}}", "https://example.com/\u00a0", "https://example.com/\ufeff", "https://example.com/\u0085", "https://example.com/\u2028",
	"https://bücher.example/", "https://faß.de/", "https://BÜCHER.example:8080/", "https://bücher.example.", "https://ev\u00adil.example/", "https://evil\u3002example/", "https://\u2603.net/", "https://日本語。jp/", "https://xn--bcher-kva.example/", "https://XN--BCHER-KVA.example/", "https://xn--bcher-kva.bücher/", "https://XN--BCHER-KVA.bücher/",
	"https://www.bücher_x.example/", "https://bü--x.example/", "https://-bücher.example/", "https://bücher-.example/", "https://ab--ü.example/", "https://é--x.example/", "https://b\u0301ü.example/", "https://\u0301a.example/", "https://ü.\u0301/", "https://אב.example/", "https://אa.example/", "https://aא.example/", "https://א1.example/", "https://1א.example/", "https://٠.example/", "https://א٠1.example/",
	"https://a\u200db.example/", "https://\u200d.example/", "https://क्\u200dष.example/", "https://نامه\u200cای.example/", "https://\u200cü.example/", "https://ä..example/", "https://.ä/", "https://ä.../", "https://\u00ad/", "https://１２７.１/", "https://１２７.0.0.１/", "https://0x7f.ü/", "https://ü.1/", "https://ü.0x1/", "https://\uff0f.example/", "https://℀.example/", "https://⑴.example/", "https://\ufffd.example/", "https://\u0378.example/", "https://\U0001E030.example/", "https://\U0002EBF0.example/", "https://\u1c89.example/", "https://\u2ffc.example/", "https://ẞ.example/", "https://ς.example/", "https://\u2260.example/", "https://xn--a.ü/", "https://xn--ü.example/", "https://xn--bücher-kva/", "https://ｘｎ--bücher-kva/", "https://a\u2135b.example/", "https://\u2135.example/", "https://a\u206d.example/", "https://\u10a0.example/", "https://\u180e.example/", "https://x\u00adn--bcher-kva\u00ad/", "https://ü\t.example/", "https://xn--.ü/", "https://xn--zn7c.ü/", "https://xn--a-ecp.ü/", "https://" + strings.Repeat("ü", 70) + ".example/", "https://" + strings.Repeat("ü.", 120) + "example/", "https://" + strings.Repeat("ü", 600) + "/",
	"https://192.0.2.1/", "https://[2001:db8::1]/", "https://[2001:DB8::1]:8080/?x", "https://[::ffff:192.0.2.1]/", "https://[::]", "https://[::1]/ü", "https://1.2.3.a/", "https://a.0x/", "https://0x.a/", "https://a.b-/", "https://" + strings.Repeat("a", 63) + ".example/", "https://" + strings.Repeat(strings.Repeat("a", 62)+".", 4) + "b./",

	"", " ", "example.com/x", "//example.com/", "/x", "https://", "https:///", "https:example.com", "https:/example.com", "ftp://example.com/", "javascript:alert(1)", "mailto:a@example.com", "httpss://example.com/", "http\u017f://example.com/",
	"https://example.com/a b", "https://example.com/ ", " https://example.com/", "https://example.com/\n", "https://example.com/\t", "https://example.com/\x00", "https://example.com/\x7f", "https://example.com/\\x", "https:\\\\example.com", "https://example.com\\@evil.example/", "https://ü.example/a b", "https://ü.example/\n",
	"https://u:p@example.com/", "https://u@ü.example/", "https://@example.com/", "https://example.com:/", "https://example.com:65536/", "https://example.com:000080/", "https://example.com:8a/", "https://example.com:80:80/", "https://ü:80:80/", "https://ü:٠/", "https://example.com:٨/",
	"https://a..b/", "https://.a/", "https://example.com../", "https://./", "https://exa mple.com/", "https://exa%6dple.com/", "https://ü%41.example/", "https://a!b/", "https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat(strings.Repeat("a", 62)+".", 4) + "bc/", "https://xn--a-/", "https://XN--/", "https://xn---/", "https://xn--google-.com/",
	"https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://192.0.2.1./", "https://256.0.0.1/", "https://1.2.3.4.5/", "https://a.1/", "https://a.0x1/", "https://a.0Xg/",
	"https://[::1", "https://[::1]x/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[192.0.2.1]/", "https://[::1.2.3]/", "https://[1:2:3:4:5:6:7:8:9]/", "https://[::01.2.3.4]/", "https://[]/", "https://[v1.a]/", "https://a[::1]/", "https://[:::]/", "https://[00001::]/", "https://[::1:2:3:4:5:6:7:8]/", "https://[1:2:3:4:5:6:7::]/",
}

// randomInputs makes n links and some return paths.
func randomInputs(r *rand.Rand, n int) *signerVectors {
	v := newSignerVectors()
	v.Secrets, v.ReturnPaths = []*secretVector{}, []*returnPathVector{}
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	characters := func(n int, alphabet string) string {
		runes := []rune(alphabet)
		var b strings.Builder
		for range r.IntN(n + 1) {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		return b.String()
	}
	identifier := func() string {
		if r.IntN(60) == 0 {
			return characters(66, "aZ0_- .@ü\n")
		}
		return one("", "acme", "R-4_x", strings.Repeat("x", 52+r.IntN(13)), characters(64, base64Digits))
	}
	fields := func() (f vectorFields) {
		f = vectorFields{Customer: identifier(), Campaign: identifier(), Recipient: identifier(), Link: identifier()}
		if r.IntN(2) == 0 {
			f.Sent = seconds(r.Int64N(latestSent + 1))
		}
		if r.IntN(100) == 0 {
			f.Sent = seconds(r.Int64N(10) - 5 + int64(r.IntN(2))*latestSent)
		}
		return f
	}
	// Node refuses the right-to-left letters that Unicode 14.0 added.
	olderThanNode := func(c rune) bool { return 0x870 <= c && c < 0x8A0 || 0x10F70 <= c && c < 0x10FB0 }
	anyRune := func() string {
		for {
			c := rune(r.IntN(0x3400))
			if r.IntN(3) == 0 {
				c = rune(r.IntN(0x110000))
			}
			if utf8.ValidRune(c) && !olderThanNode(c) {
				return string(c)
			}
		}
	}
	destination := func() string {
		base := vectorDestinations[r.IntN(len(vectorDestinations))]
		switch r.IntN(6) {
		case 0:
			return base
		case 1: // one character of a vector is another
			runes := []rune(base)
			if len(runes) > 0 {
				runes[r.IntN(len(runes))] = []rune(anyRune())[0]
			}
			return string(runes)
		case 2: // an international host
			return "https://" + characters(3, "aB1-_üßאب٠\u200d\u0301") + anyRune() + characters(4, "aB1-_.üßאب\u0301") + one(".example/", "/", ":80?x", ".xn--bcher-kva/")
		case 3:
			return "https://" + characters(12, "aB0x1-_..") + one("", ":", ":80", ":065535", ":99999") + one("", "/", "?", "#x", "\\")
		}
		return "https://example.com" + one("", "/", "?", "/p?", "#") + characters(60, "aZ09-._~%%41/?#&=+;:@!$'()*,\"<>^`{}|[]üé日\U0001F600")
	}
	for len(v.Links) < n {
		random := make([]byte, 8*4+24)
		for i := range random {
			random[i] = byte(r.Uint32())
		}
		c := &signVector{
			BaseURL: one("https://links.example.com", "https://Links.example.com:8443/l/", "http://localhost:8080"), Key: one("1", "k2"), Kind: one("click", "click", "click", "open", "unsubscribe", "privacy"),
			Form: one("path", "query"), Sealed: r.IntN(3) == 0, ExactLink: r.IntN(4) == 0, Fields: fields(), Random: hex.EncodeToString(random),
		}
		if r.IntN(4) == 0 {
			c.Label = characters(20, "ab/.-_~ü ?c1")
		}
		if c.Sealed && r.IntN(3) == 0 {
			c.Metadata = one(`{}`, `{"a":"`+characters(520, "aü")+`"}`, `{"a":`+characters(6, "0123456789.-eE+")+`}`)
		}
		if c.Kind == "click" {
			c.Destination = destination()
		}
		v.Links = append(v.Links, c)
		if r.IntN(4) == 0 {
			v.ReturnPaths = append(v.ReturnPaths, &returnPathVector{
				Mailbox: one("bounces.example.com", "b+@Example.com", characters(8, "aB.+-=_")+"@"+characters(8, "aB1.-")), Key: one("1", "k2"),
				Fields: vectorFields{Customer: characters(12, base64Digits), Recipient: one(characters(20, base64Digits), characters(20, "ABC-1"), "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), Link: one("", characters(5, base64Digits))},
			})
		}
	}
	return v
}

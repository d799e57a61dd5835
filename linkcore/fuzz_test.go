package linkcore

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

// Whatever is asked for, Verify neither panics nor answers with anything but
// what one of the vectors' links was signed for.
func FuzzVerify(f *testing.F) {
	v, ring := loadVectors(f)
	destinations := map[string]bool{"": true}
	for i, c := range v.Valid {
		destinations[c.Destination] = true
		if i%5 == 0 {
			f.Add(c.Host, c.Target)
		}
	}
	for i, c := range v.Repaired {
		destinations[c.Destination] = true
		if i%5 == 0 {
			f.Add(c.Host, c.Target)
		}
	}
	for i, c := range v.Invalid {
		if i%10 == 0 {
			f.Add(c.Host, c.Target)
		}
	}
	f.Fuzz(func(t *testing.T, host, target string) {
		link, err := ring.Verify(host, target)
		if err != nil {
			if link != (Link{}) {
				t.Errorf("an invalid link holds %+v", link)
			}
			return
		}
		if !destinations[link.Destination] {
			t.Errorf("%s leads to %s, which was never signed", target, link.Destination)
		}
		parsed, _ := ParseTarget(host, target)
		if normalized, err := NormalizeHost(parsed.Authority); err != nil || normalized != link.Host {
			t.Errorf("%q verifies for %q", host, link.Host)
		}
	})
}

// A valid link with one byte changed is dead, or what it was: some bytes are
// cosmetic, and some changes are repaired.
func FuzzSingleByteChange(f *testing.F) {
	v, ring := loadVectors(f)
	for i := 0; i < len(v.Valid); i += 7 {
		f.Add(uint16(i), uint16(i*3), byte(i))
	}
	f.Fuzz(func(t *testing.T, which, position uint16, b byte) {
		c := v.Valid[int(which)%len(v.Valid)]
		want, err := ring.Verify(c.Host, c.Target)
		if err != nil {
			t.Fatal(err)
		}
		target := []byte(c.Target)
		target[int(position)%len(target)] = b
		got, err := ring.Verify(c.Host, string(target))
		if err != nil {
			return
		}
		got.Label, got.Query, got.Repair = want.Label, want.Query, want.Repair
		if got != want {
			t.Errorf("%s verifies as %+v", target, got)
		}
	})
}

// Whatever is put in place of two stretches of a link, what verifies has exactly
// the fields and the destination that were signed.
func FuzzTwoEdits(f *testing.F) {
	signer := testSigner(f, "https://links.example.com")
	ring := &KeyRing{}
	ring.keys.Store(&map[string]*key{"1": signer.key})
	signed := Fields{Customer: "acme", Recipient: "r1", Link: "l1"}
	const destination = "https://example.com/a..b/?next=http://x.example//&c='d'"
	var targets []string
	for _, sign := range []func(Fields, string, Options) (Tracked, error){signer.Sign, signer.Seal} {
		for _, form := range []Form{PathForm, QueryForm} {
			tracked, err := sign(signed, destination, Options{Form: form, ExactLink: true})
			if err != nil {
				f.Fatal(err)
			}
			targets = append(targets, strings.TrimPrefix(tracked.URL, "https://links.example.com"))
		}
	}
	for which := range uint8(len(targets)) {
		for i, edit := range []string{".", "%20", "=%0D%0A", "%3F", "%26", "&amp%3B", "%3D", "&utm=1", ";x", "#x", "//", "%C1", "3d", "http:/"} {
			f.Add(which, uint16(3+7*i), uint8(0), edit, uint16(40+5*i), uint8(1), edit)
		}
	}
	want, err := NormalizeDestination(destination)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, cut uint8, edit string, at2 uint16, cut2 uint8, edit2 string) {
		target := targets[int(which)%len(targets)]
		for _, e := range []struct {
			at  uint16
			cut uint8
			new string
		}{{at, cut, edit}, {at2, cut2, edit2}} {
			start := int(e.at) % (len(target) + 1)
			target = target[:start] + e.new + target[min(len(target), start+int(e.cut)%8):]
		}
		link, err := ring.Verify("links.example.com", target)
		if err == nil && (link.Kind != Click || link.Fields != signed || link.Destination != want || link.Host != "links.example.com") {
			t.Errorf("%s verifies as %+v", target, link)
		}
	})
}

// What a signer takes comes back byte for byte, also after manglings that the
// format repairs.
func FuzzSignThenVerify(f *testing.F) {
	signer := testSigner(f, "https://links.example.com")
	ring := &KeyRing{}
	ring.keys.Store(&map[string]*key{"1": signer.key})
	f.Add("https://example.com/?a=1&b=2#top", "acme", "x")
	f.Add("https://Bücher.example/100%?x=%26amp%3B", "", "")
	f.Add("http://[::1]:8080/=3D&amp;.", "a-b", "hp_")
	f.Fuzz(func(t *testing.T, destination, customer, link string) {
		for _, seal := range []bool{false, true} {
			for _, form := range []Form{PathForm, QueryForm} {
				make := signer.Sign
				if seal {
					make = signer.Seal
				}
				tracked, err := make(Fields{Customer: customer, Link: link}, destination, Options{Form: form})
				if err != nil {
					continue
				}
				want, err := NormalizeDestination(destination)
				if err != nil {
					t.Fatal(err)
				}
				_, target, err := SplitURL(tracked.URL)
				if err != nil {
					t.Fatal(err)
				}
				for _, mangled := range []string{target, target + "?utm_source=x", strings.ReplaceAll(target, "&", "&amp;")} {
					if form == QueryForm {
						mangled = strings.Replace(mangled, "?utm_source=x", "&utm_source=x", 1)
					}
					got, err := ring.Verify("LINKS.example.com.:443", mangled)
					if err != nil {
						t.Fatalf("%s: %v", mangled, err)
					}
					if got.Destination != want || got.Fields != tracked.Fields || got.Repair != RepairNone {
						t.Errorf("%s: %+v, want destination %s", mangled, got, want)
					}
				}
				if _, err := Inspect(tracked.URL); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// No parser of the field may find another host in a destination than ours does.
func FuzzParseDestination(f *testing.F) {
	f.Add("https://example.com:8443/x?y#z")
	f.Add("http://[2001:db8::1]:80")
	f.Add("https://1.2.3.4/@evil.example")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		_, errBytes := parseDestination([]byte(s))
		if (err == nil) != (errBytes == nil) {
			t.Fatal("string and bytes differ")
		}
		normalized, errNormalized := NormalizeDestination(s)
		if err != nil {
			if errNormalized == nil {
				if _, err := ParseDestination(normalized); err != nil || isASCII(s) {
					t.Errorf("%q is normalised to %q", s, normalized)
				}
			}
			return
		}
		again, err := NormalizeDestination(normalized)
		if errNormalized != nil || err != nil || again != normalized {
			t.Errorf("%q is normalised to %q, %v, and that to %q, %v", s, normalized, errNormalized, again, err)
		}
		if strings.TrimPrefix(normalized, strings.TrimSuffix(s, d.Rest)) != encodeRest(d.Rest) {
			t.Errorf("%q is normalised to %q: not only what follows the port", s, normalized)
		}
		port := ""
		if d.Port != "" {
			port = ":" + d.Port
		}
		if d.Scheme+"://"+d.Host+port+d.Rest != s {
			t.Errorf("%q comes apart as %+v", s, d)
		}
		// net/url refuses escapes that browsers leave alone; where it takes
		// a destination, it must see the same host.
		if u, err := url.Parse(s); err == nil && (!strings.EqualFold(u.Host, d.Host+port) || u.User != nil) {
			t.Errorf("%q: net/url sees the host %q", s, u.Host)
		}
	})
}

func FuzzInspect(f *testing.F) {
	v, _ := loadVectors(f)
	for i := 0; i < len(v.Invalid); i += 20 {
		f.Add("https://" + v.Invalid[i].Host + v.Invalid[i].Target)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Inspect(s)
		if err == nil && a.Target == "" {
			t.Errorf("%q has no target", s)
		}
	})
}

func FuzzDecodeSecret(f *testing.F) {
	f.Add("RCCCPP3m8cJrMPkOx90B5Ih1NKIPCw0Ew27YDnHg/Xc=")
	f.Fuzz(func(t *testing.T, s string) {
		secret, err := DecodeSecret(s)
		if err != nil {
			if len(s) > 8 && strings.Contains(err.Error(), s) {
				t.Errorf("the error quotes the secret: %v", err)
			}
			return
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			again, err := DecodeSecret("\n " + encoding.EncodeToString(secret) + " \r\n")
			if err != nil || !bytes.Equal(again, secret) {
				t.Errorf("%q decodes to %x, and that encoded again to %x, %v", s, secret, again, err)
			}
		}
	})
}

// The repairs bound what a request may cost, whatever it is.
func TestReadingsAreBounded(t *testing.T) {
	v, _ := loadVectors(t)
	exhausted := false
	for _, c := range v.Invalid {
		target, err := ParseTarget(c.Host, c.Target)
		if err != nil {
			continue
		}
		q, ok := target.link()
		if !ok || q.token.kind != Click {
			continue
		}
		tags, left := 0, maxTags
		findReading(&q, &left, func([]byte) bool { tags++; return false })
		if tags > maxTags {
			t.Errorf("%s: %d tags", c.Target, tags)
		}
		exhausted = exhausted || tags == maxTags
	}
	if !exhausted {
		t.Error("no vector reaches the bound")
	}
}

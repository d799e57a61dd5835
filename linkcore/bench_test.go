package linkcore

import (
	"strings"
	"testing"
	"time"
)

func benchmarkVerify(b *testing.B, seal bool) {
	_, ring := loadVectors(b)
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		b.Fatal(err)
	}
	make := signer.Sign
	if seal {
		make = signer.Seal
	}
	destination := "https://shop.example.com/" + strings.Repeat("a", 120-len("https://shop.example.com/?id=42&lang=en")) + "?id=42&lang=en"
	tracked, err := make(Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Sent: time.Unix(1767225600, 0)}, destination, Options{})
	if err != nil {
		b.Fatal(err)
	}
	target := strings.TrimPrefix(tracked.URL, "https://links.example.com")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Verify("links.example.com", target); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B)       { benchmarkVerify(b, false) }
func BenchmarkVerifySealed(b *testing.B) { benchmarkVerify(b, true) }

// The dearest target that a stranger can send: as long as is looked at, and
// every reading another destination.
func BenchmarkVerifyHostile(b *testing.B) {
	_, ring := loadVectors(b)
	target := "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https://e.com/" + strings.Repeat("=%2526amp%253B%252541%2541=3D", 550) + ")))?x"
	b.ReportAllocs()
	b.SetBytes(int64(len(target)))
	for b.Loop() {
		if _, err := ring.Verify("links.example.com", target); err != ErrTag {
			b.Fatal(err)
		}
	}
}

// The dearest ones among what makes readings without tags, and among tokens that
// need a repair.
func BenchmarkVerifyHostileReadings(b *testing.B) {
	_, ring := loadVectors(b)
	long := strings.Repeat("=%2526amp%253B%252541http:/x..%20", 480)
	for _, c := range []struct {
		name, target string
		want         error
	}{
		{"no tags", "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/x" + long, ErrTag},
		{"readings", "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https://e.com/" + long + ")))?x", ErrTag},
		{"later readings", "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https://e.com/" + strings.Repeat("a..http:/x", 1600) + "?x%27", ErrTag},
		{"later bases", "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https:/e.com/" + strings.Repeat("a..http:/x%20&=", 1080) + "?x%27", ErrTag},
		{"later readings that fit", "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https://e.com/" + strings.Repeat("a..http:/x", 790) + "?x%27", ErrTag},
		{"later bases that fit", "/c1.acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https:/e.com/" + strings.Repeat("a..http:/x%20&=", 540) + "?x%27", ErrTag},
		{"doubled dots", "/c1..acme...xr1YhNga3Cc.1.w9Eo8A3Fu8geDoBb-3m91A/https://e.com/" + long + ")))?x", ErrNotLink},
		{"wrapped box", "/s1." + strings.Repeat("A%20", 4000), ErrNotLink},
		{"parameters", "/?" + strings.Repeat("amp;id", 2600) + "%3Dx", ErrNotLink},
		{"line ends", "/" + strings.Repeat("=%0A", 4000), ErrNotLink},
		{"dots", "/c1" + strings.Repeat(".a.", 5000), ErrNotLink},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := ring.Verify("links.example.com", c.target); err != c.want {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	_, ring := loadVectors(b)
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.Sign(Fields{Customer: "acme", Campaign: "spring26"}, "https://shop.example.com/cart?id=42&lang=en&ref=mail", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

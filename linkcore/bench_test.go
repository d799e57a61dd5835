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

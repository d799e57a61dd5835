package linkcore

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"testing"
)

// The vectors of c2sp.org/XAES-256-GCM: the first for a subkey whose carry is
// zero, the second for one whose carry is one.
func TestXAESVectors(t *testing.T) {
	for _, c := range []struct {
		key            byte
		ad, ciphertext string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{c.key}, 32))
		if err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		ciphertext, err := x.seal(nil, nonce, []byte("XAES-256-GCM"), []byte(c.ad))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(ciphertext); got != c.ciphertext {
			t.Errorf("key %#x: %s, want %s", c.key, got, c.ciphertext)
		}
		plaintext, err := x.open(nil, nonce, ciphertext, []byte(c.ad))
		if err != nil || string(plaintext) != "XAES-256-GCM" {
			t.Errorf("key %#x opens to %q, %v", c.key, plaintext, err)
		}
		ciphertext[0] ^= 1
		if _, err := x.open(nil, nonce, ciphertext, []byte(c.ad)); err == nil {
			t.Errorf("key %#x opens what was changed", c.key)
		}
	}
}

// The specification's accumulated test: ten thousand keys, nonces, plaintexts
// and additional data drawn from SHAKE128.
func TestXAESAccumulated(t *testing.T) {
	s, d := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	for range 10_000 {
		var key [32]byte
		s.Read(key[:])
		var nonce [xaesNonceSize]byte
		s.Read(nonce[:])
		var n [1]byte
		s.Read(n[:])
		plaintext := make([]byte, n[0])
		s.Read(plaintext)
		s.Read(n[:])
		ad := make([]byte, n[0])
		s.Read(ad)
		x, err := newXAES(key[:])
		if err != nil {
			t.Fatal(err)
		}
		ciphertext, err := x.seal(nil, nonce[:], plaintext, ad)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := x.open(nil, nonce[:], ciphertext, ad)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Fatal("what was sealed does not open")
		}
		d.Write(ciphertext)
	}
	sum := make([]byte, 32)
	d.Read(sum)
	if got, want := hex.EncodeToString(sum), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"; got != want {
		t.Errorf("accumulated %s, want %s", got, want)
	}
}

package linkcore

import (
	"crypto/aes"
	"crypto/cipher"
)

const xaesNonceSize = 24

// xaes is XAES-256-GCM as specified by c2sp.org/XAES-256-GCM: AES-256-GCM
// with a 192-bit nonce, large enough to be drawn at random for every link
// there will ever be. The first half of the nonce derives a key, by the
// CMAC-based KDF of NIST SP 800-108r1, for AES-256-GCM with the second half.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // CMAC's first subkey
}

// newXAES takes a key of 32 bytes.
func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	var carry byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		next := x.k1[i] >> 7
		x.k1[i] = x.k1[i]<<1 | carry
		carry = next
	}
	// The carry is secret, so no branch on it.
	x.k1[len(x.k1)-1] ^= carry * 0b10000111
	return x, nil
}

// aead returns the AEAD for a nonce's first 12 bytes.
func (x *xaes) aead(nonce []byte) (cipher.AEAD, error) {
	key := make([]byte, 2*aes.BlockSize)
	for half := range 2 {
		m := key[half*aes.BlockSize : (half+1)*aes.BlockSize]
		m[1], m[2] = byte(half+1), 'X'
		copy(m[4:], nonce[:12])
		for i := range m {
			m[i] ^= x.k1[i]
		}
		x.block.Encrypt(m, m)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal appends the ciphertext and its tag to dst.
func (x *xaes) seal(dst, nonce, plaintext, additionalData []byte) ([]byte, error) {
	a, err := x.aead(nonce)
	if err != nil {
		return nil, err
	}
	return a.Seal(dst, nonce[12:], plaintext, additionalData), nil
}

// open appends the plaintext to dst.
func (x *xaes) open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	a, err := x.aead(nonce)
	if err != nil {
		return nil, err
	}
	return a.Open(dst, nonce[12:], ciphertext, additionalData)
}

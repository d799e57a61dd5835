package email

import (
	"bytes"
	"errors"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/transform"
)

// iso2022KR is the charset of RFC 1557, which golang.org/x/text does not have: EUC-KR
// without the high bits, between shift out and shift in. It writes ASCII only, as
// URLs are.
type iso2022KR struct{}

func (iso2022KR) NewDecoder() *encoding.Decoder {
	return &encoding.Decoder{Transformer: &iso2022KRDecoder{}}
}

func (iso2022KR) NewEncoder() *encoding.Encoder {
	return &encoding.Encoder{Transformer: encodeASCII{}}
}

type iso2022KRDecoder struct{ shifted bool }

func (d *iso2022KRDecoder) Reset() { d.shifted = false }

func (d *iso2022KRDecoder) Transform(dst, src []byte, atEOF bool) (written, read int, err error) {
	const shiftOut, shiftIn = 0x0E, 0x0F
	designation := []byte("\x1B$)C")
	for read < len(src) {
		rest := src[read:]
		c, size := rest[:1], 1
		switch {
		case rest[0] == 0x1B && !atEOF && len(rest) < len(designation):
			return written, read, transform.ErrShortSrc
		case bytes.HasPrefix(rest, designation):
			c, size = nil, len(designation)
		case rest[0] == shiftOut, rest[0] == shiftIn:
			d.shifted = rest[0] == shiftOut
			c = nil
		case d.shifted && rest[0] > ' ':
			if len(rest) == 1 && !atEOF {
				return written, read, transform.ErrShortSrc
			}
			if size = min(2, len(rest)); size == 2 {
				c, err = korean.EUCKR.NewDecoder().Bytes([]byte{rest[0] | 0x80, rest[1] | 0x80})
			}
			if size < 2 || err != nil {
				c = []byte("\uFFFD")
			}
		case rest[0] == '\n':
			d.shifted = false // a line begins in ASCII
		}
		if len(dst)-written < len(c) {
			return written, read, transform.ErrShortDst
		}
		written += copy(dst[written:], c)
		read += size
	}
	return written, read, nil
}

// encodeASCII writes ASCII as it is.
type encodeASCII struct{ transform.NopResetter }

func (encodeASCII) Transform(dst, src []byte, _ bool) (written, read int, err error) {
	for _, c := range src {
		if c >= 0x80 {
			return written, read, errors.New("the charset is written in ASCII only")
		}
		if written == len(dst) {
			return written, read, transform.ErrShortDst
		}
		dst[written] = c
		written, read = written+1, read+1
	}
	return written, read, nil
}

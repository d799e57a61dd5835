package linkcore

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// open opens the box and reads what it holds into link.
func (k *key) open(link *Link, t token) error {
	box, err := base64.RawURLEncoding.Strict().DecodeString(t.last)
	if err != nil {
		return ErrBox
	}
	var ad [len("linkcore/v1\n") + maxHost + len("\ns") + maxKeyID]byte
	plaintext, err := k.seal.open(box[xaesNonceSize:xaesNonceSize], box[:xaesNonceSize], box[xaesNonceSize:], appendSealedData(ad[:0], link.Host, t.signed))
	if err != nil {
		return ErrBox
	}
	return parseSealed(link, string(plaintext))
}

func appendSealedData(dst []byte, host, signed string) []byte {
	dst = append(dst, "linkcore/v1\n"...)
	dst = append(dst, host...)
	dst = append(dst, '\n')
	return append(dst, signed...)
}

// parseSealed reads a box's plaintext, which must have exactly the parts of
// FORMAT.md although it is authentic: a signer in another language may err.
func parseSealed(link *Link, s string) error {
	header, rest, ok := strings.Cut(s, "\n")
	if !ok || len(header) < 2 || header[1] != '.' {
		return ErrSealedParts
	}
	end, ok := scanFields(header, 2)
	if !ok || end != len(header) {
		return ErrSealedParts
	}
	destination, metadata, hasMetadata := strings.Cut(rest, "\n")
	if hasMetadata && checkMetadata(metadata) != "" {
		return ErrSealedParts
	}
	link.Kind = Kind(header[0])
	switch link.Kind {
	case Click:
		if _, err := parseDestination(destination); err != nil {
			return ErrSealedParts
		}
	case Open, Unsubscribe, Privacy:
		if destination != "" {
			return ErrSealedParts
		}
	default:
		return ErrSealedParts
	}
	link.Sealed = true
	link.Fields = splitFields(header[2:])
	link.Destination = destination
	link.Metadata = metadata
	return nil
}

const maxMetadata = 512 // bytes

// checkMetadata returns what is wrong with a sealed link's metadata, to follow
// the field's name, or nothing.
func checkMetadata(s string) string {
	if len(s) == 0 || len(s) > maxMetadata {
		return "must have 1 to 512 bytes"
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 {
			return "has a control character: write it as one line"
		}
	}
	if s[0] != '{' || s[len(s)-1] != '}' || !utf8.ValidString(s) || !json.Valid([]byte(s)) {
		return "must be a JSON object, from { to }"
	}
	return ""
}

func (k *key) sealToken(read func([]byte) (int, error), host string, kind byte, fields []byte, destination, metadata string) ([]byte, error) {
	var nonce [xaesNonceSize]byte
	read(nonce[:])
	return k.sealTokenWith(nonce[:], host, kind, fields, destination, metadata)
}

func (k *key) sealTokenWith(nonce []byte, host string, kind byte, fields []byte, destination, metadata string) ([]byte, error) {
	plaintext := append(append(append([]byte{kind, '.'}, fields...), '\n'), destination...)
	if metadata != "" {
		plaintext = append(append(plaintext, '\n'), metadata...)
	}
	signed := "s" + k.id
	box, err := k.seal.seal(nonce, nonce, plaintext, appendSealedData(nil, host, signed))
	if err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.AppendEncode([]byte(signed+"."), box), nil
}

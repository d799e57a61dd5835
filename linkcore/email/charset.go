package email

import (
	"bytes"
	"errors"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
)

// A charset is how the characters of a part are written as bytes. The zero
// value is for ASCII, for UTF-8 and for what does not say: its bytes are taken
// as they are, since URLs are ASCII in all of these.
type charset struct {
	encoding encoding.Encoding // nil: bytes are taken as they are
}

// charsetAliases are names in use that neither the IANA nor the WHATWG lists.
var charsetAliases = map[string]string{
	"ascii": "us-ascii", "utf8mb4": "utf-8", "x-utf_8j": "utf-8", "cp65001": "utf-8",
	"cp932": "shift_jis", "x-ms-cp932": "shift_jis", "cp936": "gbk", "cp949": "euc-kr", "ks_c_5601": "euc-kr", "cp950": "big5",
}

// charsetOf returns the charset of a name, as mail clients understand it: like
// browsers, most of them take ISO-8859-1 for windows-1252, which is what those
// who say it mean. The text helps to tell the byte order of UTF-16.
func charsetOf(name string, text []byte) (charset, bool) {
	name = strings.ToLower(strings.Trim(name, " \t'\";")) // some programs write these into it
	if alias := charsetAliases[name]; alias != "" {
		name = alias
	}
	switch name {
	case "", "us-ascii", "utf-8", "utf8", "unicode-1-1-utf-8", "ansi_x3.4-1968":
		return charset{}, true
	case "iso-2022-kr", "csiso2022kr":
		return charset{iso2022KR{}}, true
	case "utf-16", "utf16", "unicode", "utf-16le", "utf-16be":
		order := unicode.BigEndian // RFC 2781, section 4.3
		if name == "utf-16le" || name != "utf-16be" && (bytes.HasPrefix(text, []byte("\xFF\xFE")) || len(text) > 1 && text[0] != 0 && text[1] == 0) {
			order = unicode.LittleEndian
		}
		return charset{unicode.UTF16(order, unicode.IgnoreBOM)}, true
	}
	e, err := htmlindex.Get(name)
	if err != nil || e == encoding.Replacement {
		e, err = ianaindex.MIME.Encoding(name)
	}
	if err != nil || e == nil || e == encoding.Replacement {
		return charset{}, false
	}
	return charset{e}, true
}

// decode returns text as UTF-8. Bytes that are none of the charset become as
// many bytes as a replacement character has, and no UTF-8: a URL with one of
// them leads nowhere, and no link is made of it.
func (c charset) decode(text []byte) ([]byte, error) {
	if c.encoding == nil {
		return text, nil
	}
	decoded, err := c.encoding.NewDecoder().Bytes(text)
	if err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(decoded, []byte("\uFFFD"), []byte("\xFF\xFF\xFF")), nil
}

// encodeEdits turns edits of the decoded text into edits of the text itself.
// The error is for those that can't be written so that they read as meant.
func (c charset) encodeEdits(text, decoded []byte, edits []edit) ([]edit, error) {
	if c.encoding == nil {
		return edits, nil
	}
	position := decodedPosition{charset: c, text: text}
	position.decoder = c.encoding.NewDecoder()
	encoded := make([]edit, 0, len(edits))
	for _, e := range edits {
		start, err := position.advance(e.start)
		if err != nil {
			return nil, err
		}
		end, err := position.advance(e.end)
		if err != nil {
			return nil, err
		}
		// What switches the state of the decoder behind the last character is
		// no part of it.
		if old, err := c.encode(string(decoded[e.start:e.end])); err == nil && strings.HasPrefix(string(text[start:end]), old) {
			end = start + len(old)
		}
		replacement, err := c.encode(e.text)
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, edit{start, end, replacement})
	}
	reads, err := c.decode(apply(nil, text, encoded))
	if err != nil || !bytes.Equal(reads, apply(nil, decoded, edits)) {
		return nil, errors.New("the charset has states that the change would break")
	}
	return encoded, nil
}

func (c charset) encode(s string) (string, error) { return c.encoding.NewEncoder().String(s) }

// decodedPosition finds offsets of the decoded text in the text.
type decodedPosition struct {
	charset
	decoder  *encoding.Decoder
	text     []byte
	at, done int // bytes read, and bytes they were decoded to
}

func (p *decodedPosition) advance(to int) (int, error) {
	var discard [1024]byte
	for p.done < to {
		decoded, read, _ := p.decoder.Transform(discard[:min(len(discard), to-p.done)], p.text[p.at:], true)
		if decoded == 0 && read == 0 {
			return 0, errors.New("an edit begins or ends within a character")
		}
		p.at += read
		p.done += decoded
	}
	return p.at, nil
}

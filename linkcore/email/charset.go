package email

import (
	"bytes"
	"errors"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// A charset is how the characters of a part are written as bytes. The zero
// value is for ASCII, for UTF-8 and for what does not say: its bytes are taken
// as they are, since URLs are ASCII in all of these.
type charset struct {
	encoding encoding.Encoding // nil: bytes are taken as they are
}

// charsetAliases are names in use that neither the IANA nor the WHATWG lists.
var charsetAliases = map[string]string{
	"ascii": "us-ascii", "usascii": "us-ascii", "utf8mb4": "utf-8", "x-utf-8j": "utf-8", "cp65001": "utf-8", "utf-8-sig": "utf-8", "latin-1": "iso-8859-1",
	"unknown-8bit": "us-ascii", "binary": "us-ascii", "8bit": "us-ascii", // the bytes as they are
	"cp-1252": "windows-1252", "windows1252": "windows-1252", "win-1252": "windows-1252", "cp-1251": "windows-1251", "windows1251": "windows-1251", "win-1251": "windows-1251",
	"uhc": "euc-kr", "ujis": "euc-jp", "iso-2022-jp-2": "iso-2022-jp", "iso-2022-jp-ms": "iso-2022-jp",
	"cp932": "shift_jis", "x-ms-cp932": "shift_jis", "cp936": "gbk", "cp949": "euc-kr", "ks-c-5601": "euc-kr", "cp950": "big5",
}

// charsetOf returns the charset of a name, as mail clients understand it: like
// browsers, most of them take ISO-8859-1 for windows-1252, which is what those
// who say it mean. The text helps to tell the byte order of UTF-16.
func charsetOf(name string, text []byte) (charset, bool) {
	name = strings.ToLower(strings.Trim(name, " \t'\";")) // some programs write these into it
	if alias := charsetAliases[strings.ReplaceAll(name, "_", "-")]; alias != "" {
		name = alias
	}
	switch name {
	case "", "us-ascii", "us_ascii", "utf-8", "utf8", "utf_8", "unicode-1-1-utf-8", "ansi_x3.4-1968":
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

// decode returns text as UTF-8, with U+FFFD for bytes that are none of the charset.
func (c charset) decode(text []byte) ([]byte, error) {
	if c.encoding == nil {
		return text, nil
	}
	decoded, _, err := transform.Append(c.encoding.NewDecoder(), make([]byte, 0, len(text)+len(text)/8), text)
	return decoded, err
}

// encodeEdits turns edits of the decoded text into edits of the text itself.
// The error is for those that can't be written so that they read as meant.
func (c charset) encodeEdits(src, decoded []byte, edits []edit) ([]edit, error) {
	if c.encoding == nil {
		return edits, nil
	}
	position := decodedPosition{decoder: c.encoding.NewDecoder(), text: src}
	encoder := c.encoding.NewEncoder()
	var buffer, text []byte
	encode := func(s []byte) (_ []byte, err error) {
		encoder.Reset()
		buffer, _, err = transform.Append(encoder, buffer[:0], s)
		return buffer, err
	}
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
		if old, err := encode(decoded[e.start:e.end]); err == nil && bytes.HasPrefix(src[start:end], old) {
			end = start + len(old)
		}
		text = append(text[:0], e.text...)
		replacement, err := encode(text)
		if err != nil {
			return nil, err
		}
		if string(replacement) != e.text {
			e.text = string(replacement)
		}
		encoded = append(encoded, edit{start: start, end: end, text: e.text})
	}
	reads := &matcher{src: decoded, edits: edits}
	w := transform.NewWriter(reads, c.encoding.NewDecoder())
	writeApplied(w, src, encoded)
	if err := w.Close(); err != nil || !reads.matched() {
		return nil, errors.New("the charset has states that the change would break")
	}
	return encoded, nil
}

// decodedPosition finds offsets of the decoded text in the text.
type decodedPosition struct {
	decoder  *encoding.Decoder
	text     []byte
	at, done int // bytes read, and bytes they were decoded to
	discard  [1024]byte
}

func (p *decodedPosition) advance(to int) (int, error) {
	for p.done < to {
		decoded, read, _ := p.decoder.Transform(p.discard[:min(len(p.discard), to-p.done)], p.text[p.at:], true)
		if decoded == 0 && read == 0 {
			return 0, errors.New("an edit begins or ends within a character")
		}
		p.at += read
		p.done += decoded
	}
	return p.at, nil
}

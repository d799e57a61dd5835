package email

import (
	"bytes"
	"regexp"
	"strings"
)

// mailFields are header fields that tell a message. Those that are true belong
// to mails alone; of the others there must be two.
var mailFields = map[string]bool{
	"Mime-Version": true, "Content-Type": true, "Message-Id": true, "Received": true, "Return-Path": true,
	"Dkim-Signature": true, "Delivered-To": true, "Content-Transfer-Encoding": true, "List-Unsubscribe": true,
	"From": false, "To": false, "Cc": false, "Bcc": false, "Subject": false, "Date": false, "Sender": false, "Reply-To": false,
}

// looksLikeMessage reports whether src begins with the header of a mail.
func looksLikeMessage(src []byte) bool {
	src = src[preamble(src):]
	usual := map[string]bool{}
	for line := range bytes.Lines(src[:min(len(src), maxHeader)]) {
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		name, ok := fieldName(line)
		if !ok {
			return false
		}
		if alone, ok := mailFields[name]; alone || ok && name == "From" && bytes.IndexByte(line, '@') >= 0 {
			return true
		} else if ok {
			usual[name] = true
		}
		if len(usual) == 2 {
			return true
		}
	}
	return false
}

// htmlTags are tags that mails have, and text does not speak of by chance.
var htmlTags = map[string]bool{
	"html": true, "head": true, "body": true, "title": true, "style": true, "meta": true, "table": true, "tbody": true, "tr": true, "td": true, "div": true,
	"span": true, "p": true, "a": true, "img": true, "br": true, "center": true, "font": true, "b": true, "i": true, "strong": true, "em": true,
	"ul": true, "ol": true, "li": true, "h1": true, "h2": true, "h3": true, "area": true, "map": true, "section": true, "article": true, "main": true,
	"base": true, "link": true, "header": true, "footer": true, "nav": true, "blockquote": true, "pre": true, "hr": true, "u": true, "small": true,
	"thead": true, "tfoot": true, "th": true, "dl": true, "dt": true, "dd": true, "figure": true, "picture": true, "svg": true, "noscript": true, "script": true,
}

// looksLikeHTML reports whether src, which is not a message, is HTML: whether it begins
// with a declaration or a tag of it, behind comments and placeholders of templates.
func looksLikeHTML(src []byte) bool {
	src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	for {
		src = bytes.TrimLeft(src, " \t\r\n\f")
		if n := placeholderLength(src); n > 0 && src[0] != '<' {
			src = src[n:]
			continue
		}
		if len(src) < 2 || src[0] != '<' {
			return false
		}
		end := bytes.Index(src, []byte("-->"))
		if !bytes.HasPrefix(src, []byte("<!--")) || end < 0 {
			return src[1] == '!' || src[1] == '?' || htmlTags[tagName(src[1:])]
		}
		src = src[end+len("-->"):]
	}
}

// markup finds what makes a link or a page in HTML: the tag of a link or a picture
// with its attribute, or the ends of a document. A text that speaks of tags has none
// of these.
var markup = regexp.MustCompile(`(?i)<a\s[^<>]*href\s*=|<img\s[^<>]*src\s*=|</(body|html|table)>`)

// isUTF16 tells text in UTF-16 without a byte order mark: most of its first
// characters are of ASCII, and so have a zero byte.
func isUTF16(src []byte) bool {
	src = src[:min(len(src), 512)]
	return len(src) >= 4 && bytes.Count(src, []byte{0}) > len(src)/4
}

// controls counts bytes that text has none of.
func controls(src []byte) (n int) {
	for _, c := range src[:min(len(src), maxHeader)] {
		if c < ' ' && !isWhitespace(c) && c != '\f' && c != 0x1B {
			n++
		}
	}
	return n
}

// tagName returns the name, in lower case, that s begins with if it is that of
// a tag.
func tagName(s []byte) string {
	for i, c := range s[:min(len(s), 16)] {
		if !isAlphanumeric(c) {
			if isWhitespace(c) || c == '>' || c == '/' {
				return strings.ToLower(string(s[:i]))
			}
			return ""
		}
	}
	return ""
}

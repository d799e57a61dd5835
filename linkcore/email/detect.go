package email

import (
	"bytes"
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
	src = src[mboxLine(src):]
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
}

// looksLikeHTML reports whether src, which is not a message, is HTML.
func looksLikeHTML(src []byte) bool {
	src = bytes.TrimLeft(bytes.TrimPrefix(src, []byte("\uFEFF")), " \t\r\n\f")
	if len(src) > 1 && src[0] == '<' && (src[1] == '!' || src[1] == '?' || htmlTags[tagName(src[1:])]) {
		return true
	}
	for {
		i := bytes.Index(src, []byte("</"))
		if i < 0 {
			return false
		}
		src = src[i+2:]
		if htmlTags[tagName(src)] {
			return true
		}
	}
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

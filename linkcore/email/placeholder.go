package email

import (
	_ "embed"
	"encoding/hex"
	"regexp"
	"strings"
)

//go:embed placeholders.tsv
var placeholdersFile string

// A placeholderFamily is how templates mark what is filled in later.
type placeholderFamily struct {
	open, close string
	content     string // open, any, name or value: see placeholders.tsv
}

var placeholderFamilies = func() (all []placeholderFamily) {
	for line := range strings.Lines(placeholdersFile) {
		if columns := strings.Split(line, "\t"); len(columns) == 4 {
			all = append(all, placeholderFamily{columns[0], columns[1], columns[2]})
		}
	}
	return all
}()

// maxPlaceholder bounds how far the end of a placeholder is looked for.
const maxPlaceholder = 256

// placeholder returns a placeholder that the URL holds, shortened, or "". Editors
// percent-encode what they do not know, so it is looked for behind that as well.
func placeholder(url string) string {
	if !strings.ContainsAny(url, "{}[]<%*$#~@-|^:_(\u00ab\u2039") {
		return ""
	}
	if p := findPlaceholder(url, true); p != "" || !strings.Contains(url, "%") {
		return p
	}
	if plain := unescape(url); plain != url {
		return findPlaceholder(plain, false)
	}
	return ""
}

// findPlaceholder looks in a URL as it stands, or in one that was decoded. There it
// takes neither what has no end nor a word in single braces, as both are text too.
func findPlaceholder(url string, written bool) string {
	for _, f := range placeholderFamilies {
		for at := 0; ; {
			i := strings.Index(url[at:], f.open)
			if i < 0 {
				break
			}
			at += i
			n := f.length(url, at)
			if content := url[at+len(f.open) : max(at+n, at+len(f.open))]; n > 0 && (written || strings.Contains(content, f.close) && (f.open != "{" || strings.ContainsAny(content, "=.:|$!"))) {
				return shorten(url[at:at+n], 40)
			}
			at += len(f.open)
		}
	}
	return ""
}

// length returns the length of the family's placeholder that begins at the offset,
// or 0 if there is none.
func (f *placeholderFamily) length(s string, at int) int {
	rest := s[at+len(f.open):]
	rest = rest[:min(len(rest), maxPlaceholder)]
	n := strings.Index(rest, f.close)
	if n < 0 {
		if f.content == "open" {
			return len(s) - at
		}
		return 0
	}
	end := at + len(f.open) + n + len(f.close)
	switch {
	case f.content == "open" || f.content == "any":
		if strings.HasPrefix(s[end:], "}") && f.close == "}}" {
			end++ // {{{…}}}
		}
	case !isPlaceholderName(rest[:n]):
		return 0
	case f.open == "%":
		// Escapes stand around names as well, and discounts: %C3name%A9, 10% off 20%.
		if isEscape(s[at:]) && isEscape(s[end-1:]) || strings.Contains(rest[:n], " ") {
			return 0
		}
	case f.open == "[":
		// f[name]=x is an array of a form.
		if at > 0 && (isAlphanumeric(s[at-1]) || strings.IndexByte("_])", s[at-1]) >= 0) {
			return 0
		}
	}
	if f.content == "value" && !(at > 0 && strings.IndexByte("=/", s[at-1]) >= 0 && (end == len(s) || strings.IndexByte("&;#/?", s[end]) >= 0)) {
		return 0
	}
	return end - at
}

// isPlaceholderName reports whether s is what a template calls something by: it
// begins with a letter, and may have a default or a filter behind it.
func isPlaceholderName(s string) bool {
	s = strings.TrimLeft(s, " $~%!@=*_-")
	if s == "" || !isLetter(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte("_.-:|= $%()',*/", c) < 0 {
			return false
		}
	}
	return true
}

// isEscape reports whether s begins with a percent-escape.
func isEscape(s string) bool {
	if len(s) < 3 || s[0] != '%' {
		return false
	}
	_, err := hex.DecodeString(s[1:3])
	return err == nil
}

// placeholderLength returns the length of the placeholder that a text goes on with,
// if it is one that may hold what ends a URL otherwise.
func placeholderLength(s []byte) int {
	s = s[:min(len(s), maxPlaceholder)]
	for i := range placeholderFamilies {
		f := &placeholderFamilies[i]
		if f.content != "open" && f.content != "any" || !strings.HasPrefix(string(s[:min(len(s), 3)]), f.open) {
			continue
		}
		line, _, _ := strings.Cut(string(s), "\n")
		if n := strings.Index(line[len(f.open):], f.close); n >= 0 {
			return f.length(line, 0)
		}
	}
	return 0
}

// bareName is a variable of Velocity or the like that is all that a parameter's value
// or a path's segment is. Finished URLs have such values too, as they have < and >.
var bareName = regexp.MustCompile(`[=/]\$!?[A-Za-z_]\w*(\.\w+)+($|[&;#/?])`)

// unfinished says what a URL holds that hardly any finished one does, what is left of
// a placeholder of a family that is not known, it may be; and whether it is so rare
// that the URL is left alone.
func unfinished(url string) (problem string, leave bool) {
	const advice = ", which may belong to a placeholder: percent-encode it, or fill in the placeholder first"
	if i := strings.IndexAny(url, "{}"); i >= 0 {
		return "it holds " + url[i:i+1] + advice, true
	}
	if i := strings.IndexAny(url, "<>"); i >= 0 {
		return "it holds " + url[i:i+1] + advice, false
	}
	if strings.Contains(url, "$") && bareName.MatchString(url) {
		return "it holds $" + advice, false
	}
	return "", false
}

package email

import (
	"bytes"

	"golang.org/x/net/html"
)

// htmlRole says what else an HTML part gets besides tracked links.
type htmlRole int

const (
	plainHTML htmlRole = iota // nothing
	lastHTML                  // honeypot and pixel: the last HTML part that is shown
	ampHTML                   // nothing, and only a[href] is tracked
)

// html returns the edits that put tracking into an HTML part. src is UTF-8, or
// at least a superset of ASCII.
func (m *mail) html(src []byte, part string, role htmlRole) ([]edit, error) {
	var edits []edit
	z := html.NewTokenizer(bytes.NewReader(src))
	line, at := 1, 0
	for {
		kind := z.Next()
		raw := z.Raw()
		if kind == html.ErrorToken {
			return edits, nil
		}
		if kind == html.StartTagToken && bytes.HasPrefix(raw, []byte("<a ")) {
			if i := bytes.Index(raw, []byte(`href="`)); i > 0 {
				i += len(`href="`)
				if n := bytes.IndexByte(raw[i:], '"'); n >= 0 {
					url, err := m.judge(found{part: part, line: line, url: html.UnescapeString(string(raw[i : i+n]))})
					if err != nil {
						return nil, err
					}
					if url != "" {
						edits = append(edits, edit{at + i, at + i + n, html.EscapeString(url)})
					}
				}
			}
		}
		line += bytes.Count(raw, []byte("\n"))
		at += len(raw)
	}
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// printable returns s with what is not printable, the bytes that are not UTF-8
// included, escaped as in a Go string: rules and links hold others' bytes, and
// a terminal obeys some of them. A line end is escaped too, so a line stays one.
func printable(s string) string {
	clean := true
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") || !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b []byte
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b = fmt.Appendf(b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b = append(b, s[:n]...)
		default:
			quoted := strconv.QuoteRune(r)
			b = append(b, quoted[1:len(quoted)-1]...)
		}
		s = s[n:]
	}
	return string(b)
}

// stamp is how times are shown: RFC 3339 in UTC, as the flags take them; empty
// for none.
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// A table is rows of cells that are aligned when they are written.
type table struct {
	rows [][]string
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	t.rows = append(t.rows, cells)
}

// writeTo writes the table, its columns two spaces apart, each as wide as its
// widest cell. A column that is empty in every row but the first, the heading,
// is left out; other empty cells hold a dash.
func (t *table) writeTo(w io.Writer) error {
	aligned := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		var cells []string
		for i, cell := range row {
			if slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[i] != "" }) {
				cells = append(cells, cmp.Or(cell, "-"))
			}
		}
		if cells != nil {
			fmt.Fprintln(aligned, strings.Join(cells, "\t"))
		}
	}
	return aligned.Flush()
}

// writeJSON writes v as one line.
func (t *tool) writeJSON(v any) error { return encodeJSON(t.stdout, v, "") }

func encodeJSON(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(jsonWriter{w})
	e.SetEscapeHTML(false) // URLs are for eyes too
	e.SetIndent("", indent)
	return e.Encode(v)
}

// A jsonWriter passes JSON on as escapeJSON makes it. Every write holds whole
// characters.
type jsonWriter struct{ io.Writer }

func (w jsonWriter) Write(data []byte) (int, error) {
	_, err := w.Writer.Write(escapeJSON(data))
	return len(data), err
}

// escapeJSON escapes in JSON what is not printable, but for line ends, which
// stand between its tokens: bytes that others sent must not control the terminal.
func escapeJSON(data []byte) []byte {
	line := make([]byte, 0, len(data))
	for _, r := range string(data) {
		switch {
		case unicode.IsPrint(r) || r == '\n':
			line = utf8.AppendRune(line, r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			line = fmt.Appendf(line, `\u%04x\u%04x`, high, low)
		default:
			line = fmt.Appendf(line, `\u%04x`, r)
		}
	}
	return line
}

// counted writes a number of things: 1 event, 2 events, 2 entries.
func counted[T int | int64 | uint64](n T, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "y"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// size writes a number of bytes.
func size(bytes int64) string {
	for _, unit := range []struct {
		n    int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= unit.n {
			return strconv.FormatFloat(float64(bytes)/float64(unit.n), 'f', 1, 64) + " " + unit.name
		}
	}
	return counted(bytes, "byte")
}

// isTerminal returns whether a stream of the program is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// coloured returns whether lines may have colours if nobody says so.
func (t *tool) coloured() bool {
	return isTerminal(t.out) && t.getenv("NO_COLOR") == "" && t.getenv("TERM") != "dumb"
}

// say writes a line to standard output.
func (t *tool) say(format string, args ...any) {
	fmt.Fprintf(t.stdout, "%s\n", printable(fmt.Sprintf(format, args...)))
}

// terminalWidth returns a function that returns the terminal's width in characters, or nil if
// standard output is not a terminal.
func (t *tool) terminalWidth() func() int {
	if !isTerminal(t.out) {
		return nil
	}
	f := t.out.(*os.File)
	return func() int {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
		return 80
	}
}

// The terminal's colours; those of the 16 that can be read on dark and on light.
const (
	plain  = "\x1b[0m"
	faint  = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// shorten cuts a text to so many characters.
func shorten(s string, limit int) string {
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	return string(runes[:limit-1]) + "…"
}

// cut shortens what is quoted in a message.
func cut(s string) string { return shorten(s, 81) }

// plainWord is what every shell takes for one word that is as it is written.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./][A-Za-z0-9_@%+:,./-]*$`)

// shellWord returns s as it is given to a shell: what others put into a link is
// in commands that people copy.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// jsonFlag is that of every verb that prints. Nothing else says in which form: a pipe
// changes nothing but colour and width.
func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "one JSON object a line")
}

// print writes one result of a verb, as a line of text or of JSON.
func (t *tool) print(c *cobra.Command, text string, v any) error {
	var err error
	if c.Flag("json").Value.String() == "true" {
		err = t.writeJSON(v)
	} else {
		_, err = fmt.Fprintln(t.stdout, text)
	}
	if err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

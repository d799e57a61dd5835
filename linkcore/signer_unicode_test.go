package linkcore

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/bidi"

	"example.com/linktracker/linkcore/testsize"
)

// unicodeClasses are what signers in other languages need to know of Unicode
// 15.0 beside their platform's own tables, which may be of any version.
func unicodeClasses() (names []string, classes map[string][]rune) {
	names = []string{"DISALLOWED", "MARK", "R_AL", "AN", "EN", "NEUTRAL", "NSM", "OTHER"}
	classes = map[string][]rune{}
	add := func(name string, c rune) { classes[name] = append(classes[name], c) }
	for c := rune(0x80); c <= unicode.MaxRune; c++ {
		if !utf8.ValidRune(c) {
			continue
		}
		if disallowed(c) {
			add("DISALLOWED", c)
			continue
		}
		if unicode.Is(unicode.M, c) {
			add("MARK", c)
		}
		p, _ := bidi.LookupRune(c)
		switch p.Class() {
		case bidi.L:
		case bidi.R, bidi.AL:
			add("R_AL", c)
		case bidi.AN:
			add("AN", c)
		case bidi.EN:
			add("EN", c)
		case bidi.ES, bidi.CS, bidi.ET, bidi.ON, bidi.BN:
			add("NEUTRAL", c)
		case bidi.NSM:
			add("NSM", c)
		default:
			add("OTHER", c)
		}
	}
	return names, classes
}

// disallowed tells whether no host may hold the character, in a label that reads
// from left to right or from right to left.
func disallowed(c rune) bool {
	const joiners = "\u200c\u200d" // which need a neighbour
	if strings.ContainsRune(joiners, c) {
		return false
	}
	for _, host := range []string{"a" + string(c) + "b", "א" + string(c) + "א"} {
		if _, err := hostMapping.ToASCII(host); err == nil {
			return false
		}
	}
	return true
}

// The signers' tables are those of the Unicode version that this one has.
func TestSignerUnicode(t *testing.T) {
	testsize.Large(t)
	if idna.UnicodeVersion != "15.0.0" || bidi.UnicodeVersion != "15.0.0" {
		t.Fatalf("FORMAT.md names Unicode 15.0, and this Go has %s and %s", idna.UnicodeVersion, bidi.UnicodeVersion)
	}
	names, classes := unicodeClasses()
	for _, c := range []struct{ path, head, line, escape string }{
		{"signers/typescript/unicode.js", "// Sets of characters beyond ASCII in Unicode 15.0, for regular expressions.\n// Written by go test ./linkcore -run TestSignerUnicode -update; do not edit.\n\n", "export const %s =\n  \"%s\";\n", `\\u{%x}`},
		{"signers/python/linktracker_signer/_unicode.py", "\"\"\"Sets of characters beyond ASCII in Unicode 15.0, for regular expressions.\n\nWritten by go test ./linkcore -run TestSignerUnicode -update; do not edit.\n\"\"\"\n\n", "%s = \"%s\"\n", `\U%08x`},
	} {
		var b strings.Builder
		b.WriteString(c.head)
		for _, name := range names {
			var set strings.Builder
			runes := classes[name]
			for i := 0; i < len(runes); {
				last := i
				for last+1 < len(runes) && runes[last+1] == runes[last]+1 {
					last++
				}
				fmt.Fprintf(&set, c.escape, runes[i])
				if last > i {
					fmt.Fprintf(&set, "-"+c.escape, runes[last])
				}
				i = last + 1
			}
			fmt.Fprintf(&b, c.line, name, set.String())
		}
		if *update {
			if err := os.WriteFile(c.path, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(c.path); err != nil || string(have) != b.String() {
			t.Errorf("%s is not what TestSignerUnicode -update writes: %v", c.path, err)
		}
	}
}

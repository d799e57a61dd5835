package linkcore

import (
	"strings"
	"testing"
)

func TestValidIdentifier(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "-": true, "_": true, "AZaz09_-": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a.b": false, "a/b": false, "a b": false, "ä": false, "a\x00": false, "[": false, "`": false, "{": false, "@": false, ":": false,
	} {
		if got := ValidIdentifier(s); got != want {
			t.Errorf("ValidIdentifier(%q) = %v", s, got)
		}
	}
	for s, want := range map[string]bool{
		"1": true, "az09": true, strings.Repeat("x", 16): true,
		"": false, strings.Repeat("x", 17): false, "A": false, "a_b": false, "a-b": false, "a.b": false, "ä": false,
	} {
		if got := ValidKeyID(s); got != want {
			t.Errorf("ValidKeyID(%q) = %v", s, got)
		}
	}
}

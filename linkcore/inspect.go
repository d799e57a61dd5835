package linkcore

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Anatomy is what can be read of a tracked link without a key. Nothing of it
// is authentic: [KeyRing.Verify] reports what is.
type Anatomy struct {
	Authority string // as written, with its port
	Host      string // normalised; empty if the authority holds none
	Target    string // what a browser would request: without the fragment

	Form   Form // empty if there is no token to be seen
	Kind   Kind // 's' for the sealed form, whose kind is in the box
	Sealed bool
	Key    string

	Fields             // clear form only
	Tag         string // clear form only
	Plaintext   int    // sealed form: bytes in the box, without nonce and tag
	Destination string // clear form: the first base, that is, decoded once
	Label       string
	Query       string // what a gateway added

	Problems []string // what breaks the format; none: well formed
}

// Inspect takes a tracked URL apart as far as that goes without a key, and says
// what is wrong with each part. The error is for what is not an http(s) URL at all.
func Inspect(rawURL string) (Anatomy, error) {
	authority, target, err := SplitURL(rawURL)
	if err != nil {
		return Anatomy{}, err
	}
	a := Anatomy{Authority: authority, Target: target}
	if a.Host, err = NormalizeHost(authority); err != nil {
		a.Problems = append(a.Problems, err.Error())
	}
	t, err := ParseTarget(authority, target)
	if err != nil {
		a.Problems = append(a.Problems, err.Error())
		return a, nil
	}
	q, ok := t.link()
	if !ok {
		a.Problems = append(a.Problems, explainToken(&t)...)
		return a, nil
	}
	a.Form, a.Kind, a.Key = q.form, q.token.kind, q.token.key
	a.Label, a.Query = q.label, q.query
	if a.Kind == sealedKind {
		a.Sealed = true
		a.inspectBox(q.token.last)
		return a, nil
	}
	a.Fields = splitFields(q.token.fields)
	a.Tag = q.token.last
	if _, err := base64.RawURLEncoding.Strict().DecodeString(a.Tag); err != nil {
		a.Problems = append(a.Problems, "the tag's unused bits are not zero: it was changed")
	}
	if a.Kind == Click {
		a.Destination = string(appendDecoded(nil, q.p))
		if _, err := parseDestination(a.Destination); err != nil {
			a.Problems = append(a.Problems, err.Error())
		}
	}
	return a, nil
}

func (a *Anatomy) inspectBox(box string) {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(box)
	if err != nil {
		a.Problems = append(a.Problems, fmt.Sprintf("the box of %d characters is not canonical base64url: it was cut or changed", len(box)))
		return
	}
	a.Plaintext = len(decoded) - xaesNonceSize - 16
}

// explainToken says why a target holds no token, part by part.
func explainToken(t *Target) []string {
	if strings.HasPrefix(t.Path, "/-/") {
		return []string{"a path that begins with /-/ is never a link"}
	}
	candidate, _, _ := strings.Cut(t.Path[1:], "/")
	where := "the first path segment"
	for parameter := range strings.SplitSeq(t.Query, "&") {
		if value, ok := strings.CutPrefix(strings.TrimPrefix(parameter, "amp;"), "id="); ok {
			candidate, where = strings.TrimPrefix(value, "3D"), "the parameter id"
			break
		}
	}
	if candidate == "" {
		return []string{"there is no token: " + where + " is empty"}
	}
	var problems []string
	problem := func(format string, args ...any) {
		problems = append(problems, where+" is not a token: "+fmt.Sprintf(format, args...))
	}
	parts := strings.Split(candidate, ".")
	kind, key := parts[0][:min(1, len(parts[0]))], parts[0][min(1, len(parts[0])):]
	if !strings.Contains("cous", kind) || kind == "" {
		problem("it begins with %q, not with the kind c, o, u or s", kind)
		return problems
	}
	if !ValidKeyID(key) {
		problem("the key id is not 1 to 16 characters of a-z and 0-9")
	}
	if kind == "s" {
		if len(parts) < 2 || len(word(parts[1])) < minBox {
			problem("the box has less than 64 characters of base64url: it was cut")
		}
		return problems
	}
	if len(parts) < 7 || len(parts) > 7 && kind == "c" {
		problem("it has %d parts joined by dots, not seven", len(parts))
		return problems
	}
	for i, name := range []string{"customer", "campaign", "recipient", "link"} {
		part := parts[i+1]
		if !ValidIdentifier(part) && (part != "" || name == "link") {
			problem("its %s is not made of at most 64 characters of A-Z a-z 0-9 _ -", name)
		}
	}
	if end, ok := scanFields("..."+"x."+parts[5], 0); !ok || end != len("...x.")+len(parts[5]) {
		problem("its time sent is not a number in lower-case base 36")
	}
	if n := len(word(parts[6])); n != tagLength || kind == "c" && len(parts[6]) != tagLength {
		problem("its tag has not 22 characters of base64url: it was cut, or something was added to it")
	}
	return problems
}

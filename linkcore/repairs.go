package linkcore

import (
	"slices"
	"strings"
)

// maxRepaired is how many repaired tokens are looked at for one request.
const maxRepaired = maxTags

// repaired returns what a target may have been before its token or the
// delimiters of its query form were mangled. It is asked once both forms failed
// as received; found says whether received holds a token.
func (t *Target) repaired(received *request, found bool) (list []request) {
	if strings.HasPrefix(t.Path, "/-/") {
		return nil
	}
	if !found || received.form == PathForm && received.token.kind == sealedKind {
		segment, _, _ := strings.Cut(t.Path[1:], "/")
		for _, r := range repairToken(segment) {
			q := t.pathForm(r.token, len(segment))
			q.repair = r.repair
			list = append(list, q)
		}
	}
	// Of a query form that was found, nothing but a box or url can be missing.
	if len(list) > 0 || found && (received.form == PathForm || received.token.kind == Click && received.p != "") {
		return list
	}
	return t.repairedQueryForm()
}

// repairedToken is a token that was repaired, and how.
type repairedToken struct {
	token  token
	repair Repair
}

// repairToken returns the tokens that s may have been, which is none itself: its
// white space and soft line breaks are taken out, and one dot is taken away or
// added, where SMTP doubles the dot that begins a line or somebody took away
// one that was not doubled.
func repairToken(s string) (list []repairedToken) {
	add := func(s string, repair Repair) bool {
		t, ok := parseToken(s)
		if ok && len(list) < maxRepaired && !slices.ContainsFunc(list, func(r repairedToken) bool { return r.token == t }) {
			list = append(list, repairedToken{t, repair})
		}
		return ok
	}
	joined, breaks := dropSpace(s)
	if len(joined) < tagLength {
		return nil
	}
	if len(breaks) > 0 && add(joined, RepairWhitespace) {
		return list
	}
	if len(joined) > maxToken && Kind(joined[0]) != sealedKind {
		// What follows a token of another kind does not count.
		joined = joined[:maxToken]
	}
	for i := 0; i+1 < len(joined) && i < maxToken; i++ {
		if joined[i] == '.' && joined[i+1] == '.' && (i == 0 || joined[i-1] != '.') {
			add(joined[:i]+joined[i+1:], RepairDot)
		}
	}
	for _, i := range breaks {
		if i < len(joined) {
			add(joined[:i]+"."+joined[i:], RepairDot)
		}
	}
	for i := 0; i < len(joined) && i < maxToken; i++ {
		if joined[i] == '.' && (i == 0 || joined[i-1] != '.') {
			add(joined[:i]+"."+joined[i:], RepairDot)
		}
	}
	return list
}

// maxToken is the length of the longest token of the clear form, in bytes, with
// a dot too many.
const maxToken = len("c") + maxKeyID + 4*(len(".")+maxIdentifier) + len(".") + maxSent + len(".") + tagLength + 1

// repairedQueryForm finds the token in a query form whose delimiters were
// percent-encoded or written as entities, and whose token may be mangled.
func (t *Target) repairedQueryForm() (list []request) {
	s := t.origin
	id, ok := findParameter(s, "id")
	if !ok {
		return nil
	}
	value := s[id.value:]
	if i := strings.IndexByte(value, '&'); i >= 0 {
		value = value[:i]
	}
	if i := strings.Index(value, "%26"); i >= 0 {
		value = value[:i]
	}
	q := request{form: QueryForm, repair: RepairDelimiters}
	q.label = s[1:max(1, strings.IndexAny(s[:id.start]+"?", "?%"))]
	if url, ok := findParameter(s, "url"); ok {
		end := len(s)
		if id.start > url.start {
			end = id.start
		}
		q.whole = s[url.value:end]
		q.p, _, _ = strings.Cut(q.whole, "&")
	}
	if q.token, ok = parseToken(id.prefix + value); ok {
		list = append(list, q)
		if q.token.kind != sealedKind { // a box may have been cut
			return list
		}
	}
	for _, r := range repairToken(id.prefix + value) {
		q.token, q.repair = r.token, r.repair
		list = append(list, q)
	}
	return list
}

// parameter is where a parameter stands in a target.
type parameter struct {
	start, value int
	prefix       string // what was decoded of the value
}

// findParameter finds the first parameter of that name, behind a delimiter in any
// of the ways in which it is mangled.
func findParameter(s, name string) (p parameter, ok bool) {
	for at := 0; ; {
		i := strings.Index(s[at:], name)
		if i < 0 {
			return p, false
		}
		at += i + len(name)
		value, prefix, ok := cutEquals(s[at:])
		if !ok {
			continue
		}
		before := s[:at-len(name)]
		for {
			n := len(before)
			for _, entity := range [...]string{"amp;", "amp%3B", "amp%3b", "#38;", "#038;", "#x26;"} {
				before = strings.TrimSuffix(before, entity)
			}
			if len(before) == n {
				break
			}
		}
		for _, delimiter := range [...]string{"?", "&", "%3F", "%3f", "%26"} {
			if strings.HasSuffix(before, delimiter) {
				return parameter{len(before) - len(delimiter), len(s) - len(value), prefix}, true
			}
		}
	}
}

// cutEquals returns what follows the = that s begins with, in whatever way it is
// written. To whoever decodes quoted-printable that never was, the = of a click
// link and the first character of its key's id may be an escape.
func cutEquals(s string) (value, prefix string, ok bool) {
	if value, ok = strings.CutPrefix(s, "="); !ok {
		if len(s) < 3 || s[0] != '%' {
			return "", "", false
		}
		high, low := hexDigits[s[1]], hexDigits[s[2]]
		switch {
		case high == 3 && low == 0xD:
			value = s[3:]
		case high == 0xC && low < 16:
			return s[3:], "c" + string("0123456789abcdef"[low]), true
		default:
			return "", "", false
		}
	}
	return strings.TrimPrefix(strings.TrimPrefix(value, "3D"), "3d"), "", true
}

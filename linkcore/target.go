package linkcore

import (
	"errors"
	"strings"
)

// MaxTarget is the length in bytes up to which a request target is looked at.
const MaxTarget = 16384

// maxURL is the length in bytes above which no tracked link is made.
const maxURL = 8000

// longURL is the length in bytes above which a tracked link may not fit into a line
// of a mail, which ends at 998.
const longURL = 900

// A Target is what an HTTP request names (RFC 9112, section 3.2), as received:
// nothing of it is decoded. But slashes and /. before the first segment do not
// count, which path cleaners take away.
type Target struct {
	Authority string // of a target in absolute form its own, else the request's
	Path      string // begins with a slash
	Query     string // behind the first question mark
	HasQuery  bool   // there is a question mark

	origin string // the path and, if there is one, the question mark and the query
}

// ParseTarget reads a request target in origin form, or in absolute form with
// http or https, with what the request names as its authority beside it. The
// error is [ErrTooLong], or [ErrNotLink] for any other form, such as *.
func ParseTarget(authority, target string) (Target, error) {
	if len(target) > MaxTarget {
		return Target{}, ErrTooLong
	}
	if !strings.HasPrefix(target, "/") {
		var ok bool
		if authority, target, ok = splitAbsolute(target); !ok {
			return Target{}, ErrNotLink
		}
	}
	return newTarget(authority, target), nil
}

func newTarget(authority, origin string) Target {
	for strings.HasPrefix(origin, "//") || strings.HasPrefix(origin, "/./") {
		origin = origin[strings.IndexByte(origin[1:], '/')+1:]
	}
	t := Target{Authority: authority, origin: origin}
	t.Path, t.Query, t.HasQuery = strings.Cut(origin, "?")
	return t
}

// Below returns the target without the path that a handler is mounted under,
// such as /t, which has no slash at its end. It returns false where the target
// is not below that path.
func (t Target) Below(prefix string) (Target, bool) {
	rest, ok := strings.CutPrefix(t.origin, prefix)
	switch {
	case !ok:
		return Target{}, false
	case rest == "" || rest[0] == '?':
		return newTarget(t.Authority, "/"+rest), true
	}
	return newTarget(t.Authority, rest), rest[0] == '/'
}

// SplitURL splits a URL into what a browser sends of it: the authority and the
// request target. The fragment stays with the browser.
func SplitURL(rawURL string) (authority, target string, err error) {
	rawURL, _, _ = strings.Cut(rawURL, "#")
	authority, target, ok := splitAbsolute(rawURL)
	if !ok {
		return "", "", errors.New("a tracked URL begins with https:// or http://")
	}
	return authority, target, nil
}

// splitAbsolute splits an http or https URL. Where it has no path, the path is a
// slash.
func splitAbsolute(url string) (authority, origin string, ok bool) {
	n := schemeLength(url)
	if n == 0 || !strings.HasPrefix(url[n:], "://") {
		return "", "", false
	}
	rest := url[n+3:]
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return rest, "/", true
	case rest[i] == '?':
		return rest[:i], "/" + rest[i:], true
	}
	return rest[:i], rest[i:], true
}

// A Form is how a tracked link is written.
type Form string

// The forms. Some mailbox providers prefer the query form.
const (
	PathForm  Form = "path"  // https://{host}/{token}/{destination}
	QueryForm Form = "query" // https://{host}/{label}?id={token}&url={destination}
)

// request is a request target, taken apart.
type request struct {
	form   Form
	repair Repair // what it took to find the token
	token  token
	label  string
	query  string // what the link itself did not use

	// P and Q of FORMAT.md: the bytes that hold the destination. A gateway
	// that decoded the link may have moved a part of it behind the question
	// mark; whole is "P?Q", the same as p where there is no Q.
	p, whole  string
	consuming string // what is left of the query if whole was the destination
}

// link finds the token in a target by its syntax alone.
func (t *Target) link() (q request, ok bool) {
	if strings.HasPrefix(t.Path, "/-/") {
		return q, false
	}
	segment, _, _ := strings.Cut(t.Path[1:], "/")
	if token, ok := parseToken(segment); ok {
		return t.pathForm(token, len(segment)), true
	}
	if !t.HasQuery {
		return q, false
	}
	return parseQueryForm(t.Path[1:], t.Query)
}

// pathForm returns the link of the path form whose token is that, and the first
// segment of that length.
func (t *Target) pathForm(token token, segment int) request {
	q := request{form: PathForm, repair: RepairNone, token: token, query: t.Query}
	rest := strings.TrimPrefix(t.Path[1+segment:], "/")
	if token.kind != Click {
		q.label = rest
		return q
	}
	q.p, q.whole, q.consuming = rest, rest, t.Query
	if t.HasQuery {
		q.whole = t.origin[len(t.Path)-len(rest):]
		q.consuming = ""
	}
	return q
}

// parseQueryForm finds id and url, the first of each, and what else there is.
func parseQueryForm(label, query string) (q request, ok bool) {
	q.form = QueryForm
	q.repair = RepairNone
	q.label = label
	var id, url span
	for start := 0; start <= len(query); {
		end := len(query)
		if i := strings.IndexByte(query[start:], '&'); i >= 0 {
			end = start + i
		}
		name := query[start:end]
		for strings.HasPrefix(name, "amp;") {
			name = name[len("amp;"):]
		}
		value := end
		if i := strings.IndexByte(name, '='); i >= 0 {
			value = end - len(name) + i + 1
			name = name[:i]
		}
		switch {
		case name == "id" && !id.found:
			id = span{true, start, value, end}
		case name == "url" && !url.found:
			url = span{true, start, value, end}
		}
		start = end + 1
	}
	if !id.found {
		return q, false
	}
	if q.token, ok = parseToken(strings.TrimPrefix(query[id.value:id.end], "3D")); !ok {
		return q, false
	}
	if q.token.kind != Click {
		q.query = without(query, id, span{})
		return q, true
	}
	if !url.found {
		return q, true
	}
	q.p = strings.TrimPrefix(query[url.value:url.end], "3D")
	q.whole = strings.TrimPrefix(query[url.value:], "3D")
	if id.start == 0 && url.start == id.end+1 && url.end == len(query) {
		return q, true // nothing was added
	}
	q.query = without(query, id, url)
	url.end = len(query)
	q.consuming = without(query, id, url)
	return q, true
}

// span is where a parameter stands in a query string.
type span struct {
	found             bool
	start, value, end int
}

// without returns the query's other parameters.
func without(query string, a, b span) string {
	if b.found && (!a.found || b.start < a.start) {
		a, b = b, a
	}
	rest := query
	for _, s := range [2]span{b, a} { // from behind, so that offsets stay true
		if !s.found {
			continue
		}
		switch {
		case s.end < len(rest):
			rest = rest[:s.start] + rest[s.end+1:]
		case s.start > 0:
			rest = rest[:s.start-1]
		default:
			rest = ""
		}
	}
	return rest
}

package linkcore

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// MaxTarget is the length in bytes up to which a request target is looked at.
const MaxTarget = 16384

// Verify checks the tracked link that a request names and says what it holds.
// The authority is the request's (net/http: Request.Host), the target its raw
// request target (Request.RequestURI), as [SplitTarget] reads it: a library's
// re-encoding of either would change what was signed.
//
// A link that was mangled on its way is repaired as FORMAT.md says; that is
// safe because a repair only counts if the tag matches the very destination
// that was signed. The error is one of the package's Err values. The strings
// of the result share memory with the target.
func (r *KeyRing) Verify(authority, target string) (Link, error) {
	if len(target) > MaxTarget {
		return Link{}, ErrTooLong
	}
	authority, target, ok := SplitTarget(authority, target)
	if !ok {
		return Link{}, ErrNotLink
	}
	host, err := NormalizeHost(authority)
	if err != nil {
		return Link{}, err
	}
	q, ok := parseTarget(target)
	if !ok {
		return Link{}, ErrNotLink
	}
	k := r.key(q.token.key)
	if k == nil {
		return Link{}, ErrUnknownKey
	}
	link := Link{
		Kind:   q.token.kind,
		Key:    q.token.key,
		Host:   host,
		Label:  q.label,
		Query:  q.query,
		Repair: RepairNone,
	}
	switch q.token.kind {
	case sealedKind:
		err = k.open(&link, q.token)
	case Click:
		link.Fields = splitFields(q.token.fields)
		err = k.verifyClick(&link, &q)
	default:
		link.Fields = splitFields(q.token.fields)
		if !k.verifyTag(host, q.token) {
			err = ErrTag
		}
	}
	if err != nil {
		return Link{}, err
	}
	return link, nil
}

// request is a request target, taken apart.
type request struct {
	form  Form
	token token
	label string
	query string // what the link itself did not use

	// P and Q of FORMAT.md: the bytes that hold the destination. A gateway
	// that decoded the link may have moved a part of it behind the question
	// mark; whole is "P?Q", the same as p where there is no Q.
	p, whole  string
	consuming string // what is left of the query if whole was the destination
}

// parseTarget finds the token in a target in origin form by its syntax alone.
func parseTarget(target string) (q request, ok bool) {
	if strings.HasPrefix(target, "/-/") {
		return q, false
	}
	path, query, hasQuery := strings.Cut(target, "?")
	segment, rest, _ := strings.Cut(path[1:], "/")
	if q.token, ok = parseToken(segment); ok {
		q.form = PathForm
		q.query = query
		if q.token.kind != Click {
			q.label = rest
			return q, true
		}
		q.p, q.whole, q.consuming = rest, rest, query
		if hasQuery {
			q.whole = target[len(target)-len(rest)-1-len(query):]
			q.consuming = ""
		}
		return q, true
	}
	if !hasQuery {
		return q, false
	}
	return parseQueryForm(path[1:], query)
}

// SplitTarget reads the request target of an HTTP request (RFC 9112, section
// 3.2): the raw bytes, with what the request names as its authority beside it. It
// returns the target in origin form, and the authority that counts: of a target
// in absolute form, its own. ok is false for any other form, such as *.
func SplitTarget(authority, target string) (_, origin string, ok bool) {
	if strings.HasPrefix(target, "/") {
		return authority, target, true
	}
	return splitAbsolute(target)
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

// parseQueryForm finds id and url, the first of each, and what else there is.
func parseQueryForm(label, query string) (q request, ok bool) {
	q.form = QueryForm
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

func (k *key) verifyTag(host string, t token) bool {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.begin(host, t.signed)
	return m.matches(t.last)
}

// matches compares the tag of the message in constant time.
func (m *mac) matches(tag string) bool {
	computed := m.finish()
	var given [tagLength]byte
	return copy(given[:], tag) == len(tag) && subtle.ConstantTimeCompare(computed, given[:]) == 1
}

// verifyClick looks for the reading of the destination that was signed.
func (k *key) verifyClick(link *Link, q *request) error {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.begin(link.Host, q.token.signed)
	prefix := len(m.message)

	// Nearly every link arrives as it was made: the first base, uncleaned.
	m.message = appendDecoded(m.message, q.p)
	first := m.message[prefix:]
	if _, err := parseDestination(first); err == nil && m.matches(q.token.last) {
		link.Destination = string(first)
		return nil
	}
	reading, ok := findReading(q, func(reading []byte) bool {
		m.message = append(m.message[:prefix], reading...)
		return m.matches(q.token.last)
	})
	if !ok {
		return ErrTag
	}
	link.Destination = string(reading.text)
	link.Repair = reading.repair
	if reading.consumesQuery {
		link.Query = q.consuming
	}
	return nil
}

// open opens the box and reads what it holds into link.
func (k *key) open(link *Link, t token) error {
	box, err := base64.RawURLEncoding.Strict().DecodeString(t.last)
	if err != nil {
		return ErrBox
	}
	var ad [len("linkcore/v1\n") + maxHost + len("\ns") + maxKeyID]byte
	plaintext, err := k.seal.open(box[xaesNonceSize:xaesNonceSize], box[:xaesNonceSize], box[xaesNonceSize:], appendSealedData(ad[:0], link.Host, t.signed))
	if err != nil {
		return ErrBox
	}
	return parseSealed(link, string(plaintext))
}

func appendSealedData(dst []byte, host, signed string) []byte {
	dst = append(dst, "linkcore/v1\n"...)
	dst = append(dst, host...)
	dst = append(dst, '\n')
	return append(dst, signed...)
}

// parseSealed reads a box's plaintext, which must have exactly the parts of
// FORMAT.md although it is authentic: a signer in another language may err.
func parseSealed(link *Link, s string) error {
	header, rest, ok := strings.Cut(s, "\n")
	if !ok || len(header) < 2 || header[1] != '.' {
		return ErrSealedParts
	}
	end, ok := scanFields(header, 2)
	if !ok || end != len(header) {
		return ErrSealedParts
	}
	destination, metadata, hasMetadata := strings.Cut(rest, "\n")
	if hasMetadata && checkMetadata(metadata) != "" {
		return ErrSealedParts
	}
	link.Kind = Kind(header[0])
	switch link.Kind {
	case Click:
		if _, err := parseDestination(destination); err != nil {
			return ErrSealedParts
		}
	case Open, Unsubscribe:
		if destination != "" {
			return ErrSealedParts
		}
	default:
		return ErrSealedParts
	}
	link.Sealed = true
	link.Fields = splitFields(header[2:])
	link.Destination = destination
	link.Metadata = metadata
	return nil
}

const maxMetadata = 512 // bytes

// checkMetadata returns what is wrong with a sealed link's metadata, to follow
// the field's name, or nothing.
func checkMetadata(s string) string {
	if len(s) == 0 || len(s) > maxMetadata {
		return "must have 1 to 512 bytes"
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 {
			return "has a control character: write it as one line"
		}
	}
	if s[0] != '{' || s[len(s)-1] != '}' || !utf8.ValidString(s) || !json.Valid([]byte(s)) {
		return "must be a JSON object, from { to }"
	}
	return ""
}

// appendDecoded percent-decodes s once. A % without two hex digits stays, and
// so does +.
func appendDecoded[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) {
			if high, low := hexDigits[s[i+1]], hexDigits[s[i+2]]; high|low < 16 {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

const upperHex = "0123456789ABCDEF"

// hexDigits holds the value of each hex digit, and 0xFF for all other bytes.
var hexDigits = func() (t [256]byte) {
	for c := range t {
		t[c] = 0xFF
		if i := strings.IndexByte(upperHex, bytes.ToUpper([]byte{byte(c)})[0]); i >= 0 {
			t[c] = byte(i)
		}
	}
	return t
}()

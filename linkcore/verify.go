package linkcore

// Verify checks the tracked link that a request names and says what it holds.
// The authority is the request's (net/http: Request.Host), the target its raw
// request target (Request.RequestURI), as [ParseTarget] reads it: a library's
// re-encoding of either would change what was signed.
//
// A link that was mangled on its way is repaired as FORMAT.md says; that is
// safe because a repair only counts if the tag matches the very destination
// that was signed. The error is one of the package's Err values. The strings
// of the result share memory with the target.
func (r *KeyRing) Verify(authority, target string) (Link, error) {
	t, err := ParseTarget(authority, target)
	if err != nil {
		return Link{}, err
	}
	return r.VerifyTarget(t)
}

// VerifyTarget is [KeyRing.Verify] for a target that was parsed.
func (r *KeyRing) VerifyTarget(t Target) (Link, error) {
	host, err := NormalizeHost(t.Authority)
	if err != nil {
		return Link{}, err
	}
	tags := maxTags
	return r.verifyTarget(host, t, &tags)
}

// verifyTarget takes what it computes from tags.
func (r *KeyRing) verifyTarget(host string, t Target, tags *int) (Link, error) {
	q, ok := t.link()
	err := ErrNotLink
	if ok {
		var link Link
		if link, err = r.check(host, &q, tags); err == nil {
			return link, nil
		}
		if link, ok := r.checkReadings(host, &q, tags); ok {
			return link, nil
		}
	}
	// Only once both forms failed as received is anything else repaired than
	// the destination.
	again := t.repaired(&q, ok)
	for i := 0; i < len(again) && *tags > 0; i++ {
		if link, err := r.check(host, &again[i], tags); err == nil {
			return link, nil
		}
	}
	for i := range again {
		if link, ok := r.checkReadings(host, &again[i], tags); ok {
			return link, nil
		}
	}
	return Link{}, err
}

// maxTags bounds what a hostile request costs: after so many tags and boxes that
// do not match, a link is invalid.
const maxTags = 12

// check checks a link, its destination by the first reading only. It takes what it
// computes from tags.
func (r *KeyRing) check(host string, q *request, tags *int) (Link, error) {
	k := r.key(q.token.key)
	if k == nil {
		return Link{}, ErrUnknownKey
	}
	link := q.of(host)
	var err error
	switch {
	case q.token.kind == sealedKind:
		*tags--
		err = k.open(&link, q.token)
	case q.token.kind == Click:
		err = k.verifyClick(&link, q, tags)
	default:
		*tags--
		if !k.verifyTag(host, q.token) {
			err = ErrTag
		}
	}
	if err != nil {
		return Link{}, err
	}
	return link, nil
}

// of returns the link that a request holds, but for what is in its box.
func (q *request) of(host string) Link {
	link := Link{
		Kind:   q.token.kind,
		Key:    q.token.key,
		Host:   host,
		Label:  q.label,
		Query:  q.query,
		Repair: q.repair,
	}
	if q.token.kind != sealedKind {
		link.Fields = splitFields(q.token.fields)
	}
	return link
}

// verifyClick checks the first reading of the destination: nearly every link
// arrives as it was made.
func (k *key) verifyClick(link *Link, q *request, tags *int) error {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.begin(link.Host, q.token.signed)
	prefix := len(m.message)
	m.message = appendDecoded(m.message, q.p)
	first := m.message[prefix:]
	if _, err := parseDestination(first); err != nil {
		return ErrTag
	}
	*tags--
	if !m.matches(q.token.last) {
		return ErrTag
	}
	link.Destination = string(first)
	return nil
}

// checkReadings looks for the reading of the destination that was signed, behind
// the first one.
func (r *KeyRing) checkReadings(host string, q *request, tags *int) (Link, bool) {
	k := r.key(q.token.key)
	if k == nil || q.token.kind != Click || *tags <= 0 {
		return Link{}, false
	}
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.begin(host, q.token.signed)
	prefix := len(m.message)
	reading, ok := findReading(q, tags, func(reading []byte) bool {
		m.message = append(m.message[:prefix], reading...)
		return m.matches(q.token.last)
	})
	if !ok {
		return Link{}, false
	}
	link := q.of(host)
	link.Destination = string(reading.text)
	if reading.repair != RepairNone {
		link.Repair = reading.repair
	}
	if reading.consumesQuery {
		link.Query = q.consuming
	}
	return link, true
}

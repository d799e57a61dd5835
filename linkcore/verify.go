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
	q, ok := t.link()
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

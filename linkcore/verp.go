package linkcore

import (
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	maxLocalPart     = 64  // bytes; RFC 5321, section 4.5.3.1.1
	maxAddress       = 254 // bytes; a path has 256 with its brackets, section 4.5.3.1.3
	maxGivenAddress  = 512 // bytes; forwarders that wrap addresses keep to no limit
	maxMailLabel     = 63  // bytes; RFC 1035, section 2.3.4
	returnPathLetter = 'b'
	returnPathTag    = 16 // characters: 80 bits
)

const (
	base32Digits = "abcdefghijklmnopqrstuvwxyz234567"
	base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

var lowerBase32 = base32.NewEncoding(base32Digits).WithPadding(base32.NoPadding)

// A ReturnPath is what a return path says, once its tag was checked.
type ReturnPath struct {
	Key    string // id of the key that signed it
	Domain string // in lower case
	Fields        // as signed; Link is empty where none was given
}

// A ReturnPathSigner makes return paths with one key for one domain. It may be
// used from any goroutine.
type ReturnPathSigner struct {
	key    *key
	prefix string
	domain string // what the tag covers
}

// ReturnPathSigner returns a signer of return paths: the envelope senders
// (MAIL FROM) to which bounces come back, one for each recipient, known as
// VERP. The mailbox says where they lie:
//
//	bounces.example.com      a domain whose mail all goes to the bounce processor
//	bounces+@example.com     one mailbox with subaddresses
//
// What stands before the @ begins each address. It must end in + - = or _, and
// have no dot after its last +, so that the token after it is found again. The
// key id is as for [KeyRing.Signer].
func (r *KeyRing) ReturnPathSigner(mailbox, keyID string) (*ReturnPathSigner, error) {
	k, err := r.signingKey(keyID)
	if err != nil {
		return nil, err
	}
	refuse := func(problem string) (*ReturnPathSigner, error) {
		return nil, &FieldError{Field: "return path", Problem: problem}
	}
	prefix, domain := "", mailbox
	if i := strings.LastIndexByte(mailbox, '@'); i >= 0 {
		prefix, domain = mailbox[:i], mailbox[i+1:]
	}
	if domain == "" {
		return refuse("has no domain: give where bounces go, such as bounces.example.com or bounces+@example.com")
	}
	domain = lowerASCII(domain)
	if !validMailDomain(domain) {
		return refuse(fmt.Sprintf("has %q for a domain: give letters, digits and - joined by dots, an international one as A-labels (xn--…)", domain))
	}
	if prefix != "" {
		token, ok := tokenOfLocal(lowerASCII(prefix) + "b1.a")
		switch {
		case strings.ContainsFunc(prefix, func(c rune) bool {
			return c > '~' || classes[c]&(classWord|classDot) == 0 && c != '+' && c != '='
		}):
			return refuse(fmt.Sprintf("begins with %q: before the @, give A-Z a-z 0-9 . + - = _", prefix))
		case prefix[0] == '.' || strings.Contains(prefix, ".."):
			return refuse(fmt.Sprintf("begins with %q: a dot stands between other characters only", prefix))
		case !ok || token != "b1.a":
			return refuse(fmt.Sprintf("begins with %q: let it end in + (or - = _, without a dot in it), as in bounces+@%s", prefix, domain))
		}
	}
	return &ReturnPathSigner{key: k, prefix: prefix, domain: domain}, nil
}

// Sign makes the return path of one mail: at most 64 bytes before the @, in
// letters of one case, so that it survives mail systems that change case. It
// carries the fields readably where they are in lower case; FORMAT.md says how
// else. Unlike for tracked links, f.Link is taken as it stands, and none is made:
// it is worth its bytes where it is the identifier that the mail's links share.
//
// An error is a [*FieldError]: for fields that need more than 64 bytes
// together, it names the longest.
func (s *ReturnPathSigner) Sign(f Fields) (address string, err error) {
	if err := checkFields(&f); err != nil {
		return "", err
	}
	signed := append(append([]byte{returnPathLetter}, s.key.id...), '.')
	names := [...]string{"customer", "campaign", "recipient", "link"}
	longest, longestBytes := "", 0
	for i, field := range [...]string{f.Customer, f.Campaign, f.Recipient, f.Link} {
		if i == 3 && field == "" && f.Sent.IsZero() {
			break
		}
		start := len(signed)
		signed = append(appendPart(signed, field), '.')
		if n := len(signed) - 1 - start; n > longestBytes {
			longest, longestBytes = names[i], n
		}
	}
	if !f.Sent.IsZero() {
		signed = append(appendSent(signed, f.Sent), '.')
	}
	if n := len(s.prefix) + len(signed) + returnPathTag; n > maxLocalPart {
		return "", &FieldError{Field: longest, Problem: fmt.Sprintf("takes %d bytes of a return path that would have %d before the @, and mail systems take 64: give shorter identifiers, or leave link, time sent or campaign out", longestBytes, n)}
	}
	address = s.prefix + string(signed) + s.key.returnPathTag(s.domain, string(signed[:len(signed)-1])) + "@" + s.domain
	if len(address) > maxAddress {
		return "", &FieldError{Field: "return path", Problem: fmt.Sprintf("has %d bytes: mail systems take 254, so choose a shorter domain", len(address))}
	}
	return address, nil
}

// VerifyReturnPath checks the return path that a bounce was sent to, without
// angle brackets, and says what it holds. Case does not matter, nor what
// stands before the token: the mailbox that subaddresses hang on, or what BATV
// puts there (prvs=…=). An address that a forwarder rewrote by SRS (SRS0=…,
// SRS1=…) is read as the one that it was.
//
// Whoever saw a mail's envelope can send to its return path again, so a bounce
// proves that the mail was sent, not that it failed: read the bounce, and count
// it once. The error is [ErrNotReturnPath], [ErrUnknownKey] or
// [ErrReturnPathTag].
func (r *KeyRing) VerifyReturnPath(address string) (ReturnPath, error) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 || len(address) > maxGivenAddress || !isASCII(address) {
		return ReturnPath{}, ErrNotReturnPath
	}
	address = lowerASCII(address)
	local, domain := unwrapSRS(address[:at], address[at+1:])
	token, ok := tokenOfLocal(local)
	if !ok || !validMailDomain(domain) {
		return ReturnPath{}, ErrNotReturnPath
	}
	p := ReturnPath{Domain: domain}
	tag := strings.LastIndexByte(token, '.')
	if tag < 0 || !p.parse(token[:tag]) || !validTag(token[tag+1:]) {
		return ReturnPath{}, ErrNotReturnPath
	}
	k := r.key(p.Key)
	if k == nil {
		return ReturnPath{}, ErrUnknownKey
	}
	if subtle.ConstantTimeCompare([]byte(k.returnPathTag(domain, token[:tag])), []byte(token[tag+1:])) != 1 {
		return ReturnPath{}, ErrReturnPathTag
	}
	return p, nil
}

// returnPathTag computes the tag of a token without its tag.
func (k *key) returnPathTag(domain, signed string) string {
	m := k.returnPaths.Get().(*mac)
	defer k.returnPaths.Put(m)
	m.begin(domain, signed)
	return lowerBase32.EncodeToString(m.digest()[:lowerBase32.DecodedLen(returnPathTag)])
}

// parse reads a token without its tag, in lower case. It takes only what a
// signer writes: every set of fields has one way to be written.
func (p *ReturnPath) parse(signed string) bool {
	parts := strings.Split(signed, ".")
	if len(parts) < 4 || len(parts) > 6 || parts[0] == "" || parts[0][0] != returnPathLetter || !ValidKeyID(parts[0][1:]) {
		return false
	}
	p.Key = parts[0][1:]
	fields := [...]*string{&p.Customer, &p.Campaign, &p.Recipient, &p.Link}
	for i, part := range parts[1:min(len(parts), 5)] {
		var ok bool
		if *fields[i], ok = decodePart(part); !ok {
			return false
		}
	}
	if len(parts) == 5 && p.Link == "" {
		return false // it would have been left out
	}
	if len(parts) == 6 {
		end, ok := scanFields("..."+"-."+parts[5], 0)
		if !ok || parts[5] == "" || end != len("...-.")+len(parts[5]) {
			return false
		}
		p.Sent = decodeSent(parts[5])
	}
	return true
}

// tokenOfLocal returns what follows the prefix of a local part in lower case:
// neither the key's id nor the letter before it has anything but a-z 0-9.
func tokenOfLocal(local string) (token string, ok bool) {
	for i := 0; i < len(local); i++ {
		if classes[local[i]]&(classWord|classDot) == 0 && strings.IndexByte("!#$%&'*+/=?^`{|}~", local[i]) < 0 {
			return "", false
		}
	}
	token = local[strings.LastIndexByte(local, '+')+1:]
	dot := strings.IndexByte(token, '.')
	if dot < 0 {
		return "", false
	}
	for i := dot; i > 0; i-- {
		if classes[token[i-1]]&classLower == 0 {
			return token[i:], true
		}
	}
	return token, true
}

// unwrapSRS undoes the Sender Rewriting Scheme, if the local part (in lower
// case) has its form:
//
//	SRS0=hash=time=domain=local
//	SRS1=hash=forwarder==hash=time=domain=local
//
// where the character after SRS0, and the one that stands for it in SRS1, may
// also be + or -. That the forwarder's hash is not checked does no harm, as the
// tag covers the domain.
func unwrapSRS(local, domain string) (string, string) {
	if rest, ok := strings.CutPrefix(local, "srs1"); ok && rest != "" && isSRSSeparator(rest[0]) {
		parts := strings.SplitN(rest[1:], "=", 3)
		if len(parts) < 3 {
			return local, domain
		}
		local = "srs0" + parts[2]
	}
	if rest, ok := strings.CutPrefix(local, "srs0"); ok && rest != "" && isSRSSeparator(rest[0]) {
		if parts := strings.SplitN(rest[1:], "=", 4); len(parts) == 4 {
			return parts[3], parts[2]
		}
	}
	return local, domain
}

func isSRSSeparator(c byte) bool { return c == '=' || c == '+' || c == '-' }

func validTag(s string) bool {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(base32Digits, s[i]) < 0 {
			return false
		}
	}
	return len(s) == returnPathTag
}

// validMailDomain reports whether s, in lower case, is a Domain of RFC 5321,
// section 4.1.2, of which DNS can hold every label.
func validMailDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if len(label) < 1 || len(label) > maxMailLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if label[i] != '-' && classes[label[i]]&classLower == 0 {
				return false
			}
		}
	}
	return len(s) <= maxHost
}

// lowerASCII is strings.ToLower without what Unicode thinks of other letters.
func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, s)
}

// appendPart writes an identifier with letters of one case.
func appendPart(dst []byte, s string) []byte {
	upper, lower := false, false
	for i := 0; i < len(s); i++ {
		upper = upper || 'A' <= s[i] && s[i] <= 'Z'
		lower = lower || 'a' <= s[i] && s[i] <= 'z'
	}
	switch {
	case s == "":
		return append(dst, '=')
	case !upper:
		if id, ok := decodeUUID(s); ok {
			return lowerBase32.AppendEncode(append(dst, "=0"...), id[:])
		}
		return append(dst, s...)
	case !lower:
		return append(append(dst, "=1"...), lowerASCII(s)...)
	}
	// Six bits a character, five bits a digit.
	dst = append(dst, '=')
	bits, n := 0, 0
	for i := 0; i < len(s); i++ {
		bits, n = bits<<6|strings.IndexByte(base64Digits, s[i]), n+6
		for n >= 5 {
			n -= 5
			dst = append(dst, base32Digits[bits>>n])
			bits &= 1<<n - 1
		}
	}
	if n > 0 {
		dst = append(dst, base32Digits[bits<<(5-n)])
	}
	return dst
}

// decodePart undoes appendPart, and takes nothing that it would not write.
func decodePart(part string) (s string, ok bool) {
	switch {
	case part == "=":
		return "", true
	case strings.HasPrefix(part, "=0"):
		id, err := lowerBase32.DecodeString(part[2:])
		if err != nil || len(id) != 16 {
			return "", false
		}
		s = encodeUUID([16]byte(id))
	case strings.HasPrefix(part, "=1"):
		s = strings.ToUpper(part[2:])
	case strings.HasPrefix(part, "="):
		var decoded []byte
		bits, n := 0, 0
		for i := 1; i < len(part); i++ {
			digit := strings.IndexByte(base32Digits, part[i])
			if digit < 0 {
				return "", false
			}
			bits, n = bits<<5|digit, n+5
			if n >= 6 {
				n -= 6
				decoded = append(decoded, base64Digits[bits>>n])
				bits &= 1<<n - 1
			}
		}
		s = string(decoded)
	default:
		s = part
	}
	if len(word(s)) != len(s) || len(s) > maxIdentifier {
		return "", false
	}
	var again [2 + 2*maxIdentifier]byte
	return s, string(appendPart(again[:0], s)) == part
}

// decodeUUID reads a UUID of RFC 9562 in lower case.
func decodeUUID(s string) (id [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, false
	}
	n, err := hex.Decode(id[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return id, err == nil && n == len(id)
}

func encodeUUID(id [16]byte) string {
	s := hex.EncodeToString(id[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

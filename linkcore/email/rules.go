package email

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"

	"example.com/linktracker/linkcore"
)

//go:embed shorteners.txt
var shortenersFile string

// shorteners are hosts and all below them.
var shorteners = func() hosts {
	h := hosts{}
	for line := range strings.Lines(shortenersFile) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			h[line], h["*."+line] = true, true
		}
	}
	return h
}()

// site returns the domain that a host's owner registered, such as example.com
// for www.example.com: what mail clients compare.
func site(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}

// shownHost returns the host that a link's visible text names, or "": the host
// of the first URL in it, or the text itself if it is a host and nothing else.
func shownHost(text string) string {
	if !strings.Contains(text, ".") {
		return ""
	}
	words := strings.FieldsFunc(text, func(c rune) bool {
		return unicode.IsSpace(c) || c == '<' || c == '>' || c == '(' || c == ')' || c == '"' || c == '“' || c == '”' || c == '«' || c == '»'
	})
	for _, word := range words {
		// Authors put them where a long URL may break.
		word = strings.Map(func(c rune) rune {
			if c == '\u00AD' || c == '\u200B' || c == '\u200C' || c == '\u200D' || c == '\u2060' || c == '\uFEFF' {
				return -1
			}
			return c
		}, word)
		rest := word
		named := false
		if scheme := schemeOf(word); isHTTP(scheme) && strings.HasPrefix(word[len(scheme):], "://") {
			rest, named = word[len(scheme)+len("://"):], true
		} else if len(word) > 4 && strings.EqualFold(word[:4], "www.") {
			named = true
		} else if len(words) > 1 {
			continue
		}
		if i := strings.IndexAny(rest, "/?#:"); i >= 0 {
			rest = rest[:i]
		}
		host, err := linkcore.HostToASCII(strings.TrimRight(rest, ".,;!…"))
		if err != nil {
			continue
		}
		if host, err = linkcore.NormalizeHost(host); err != nil || !strings.Contains(host, ".") {
			continue
		}
		// Without a scheme only what ends in a top-level domain is a host:
		// there are many words with a dot.
		if suffix, icann := publicsuffix.PublicSuffix(host); named || icann && suffix != host {
			return host
		}
	}
	return ""
}

// oneTime says why a destination looks like a one-time link, or returns "".
// Three things make it look so:
//
//   - a parameter that holds a secret: its name is token or ends so, or is one
//     of oneTimeParameters, and its value has 6 characters or more,
//   - a path that says so, with or without - or _ between the words, or with a
//     slash: /password/reset, /magic-link (oneTimePaths),
//   - a path with a word such as verify or login (oneTimeWords), and behind it
//     a segment that looks like a secret: 16 characters or more, hexadecimal
//     or letters and digits mixed.
func oneTime(destination string) string {
	d, err := linkcore.ParseDestination(destination)
	if err != nil {
		return ""
	}
	end := strings.IndexAny(d.Rest, "?#")
	if end < 0 {
		end = len(d.Rest)
	}
	for parameter := range strings.FieldsFuncSeq(d.Rest[end:], func(c rune) bool { return strings.ContainsRune("?&;#", c) }) {
		name, value, _ := strings.Cut(parameter, "=")
		if isOneTimeParameter(name, value) {
			return "its parameter " + shorten(name, 40)
		}
	}
	previous, word := "", ""
	for segment := range strings.SplitSeq(strings.TrimPrefix(d.Rest[:end], "/"), "/") {
		if word != "" && isSecret(segment) {
			return word + " and a secret in its path"
		}
		if len(segment) > 64 {
			previous = ""
			continue
		}
		plain := strings.Map(func(c rune) rune {
			switch c {
			case '-', '_', '+':
				return -1
			}
			return unicode.ToLower(c)
		}, segment)
		plain, _, _ = strings.Cut(plain, ".") // reset_password.php
		if oneTimePaths[plain] || oneTimePaths[previous+plain] && previous != "" {
			return "its path"
		}
		if oneTimeWords[plain] {
			word = plain
		}
		previous = plain
	}
	return ""
}

// signatures are parameters that hold a signature of the whole URL, which another
// parameter breaks. Names as in oneTimeParameters.
var signatures = setOf(`
	xamzsignature xgoogsignature xosssignature xcossignature qsignature xobssignature
	signature sig sign hmac hash digest mac checksum urlsignature xsignature authsignature sdsignature
	hdnts hdnea hdntl verify policy keypairid xamzsecuritytoken googleaccessid
	authkey sgn signed sig2 sigv sigv4 md5 sha1 sha256 secure qsignalgorithm authorization`)

// Parameters that say until when a URL holds: it is signed then, by one whose value
// looks like a secret.
var expiries = setOf("e exp expire expires expiry expiration expirationtime validuntil")

// signedBy returns the parameter by which a destination looks signed, or "".
func signedBy(destination string) string {
	rest, _, _ := strings.Cut(destination, "#")
	_, query, _ := strings.Cut(rest, "?")
	secret, expires := "", false
	for parameter := range parametersOf(query) {
		name, value, _ := strings.Cut(parameter, "=")
		plain := plainName(unescape(name))
		switch {
		case len(value) < 3:
		case signatures[plain] || strings.HasSuffix(plain, "signature") || strings.HasSuffix(plain, "sig") || strings.HasSuffix(plain, "hash"),
			plain == "s" && isSecret(value) && len(value) >= 32, // imgix
			strings.Contains(value, "exp=") && strings.Contains(value, "hmac="):
			return shorten(name, 40)
		case expiries[plain] && len(value) >= 9:
			expires = true
		case isSecret(value):
			secret = shorten(name, 40)
		}
	}
	if expires {
		return secret
	}
	return ""
}

// plainName returns a parameter's name without - and _, in lower case.
func plainName(name string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '_' {
			return -1
		}
		return unicode.ToLower(c)
	}, name)
}

func isOneTimeParameter(name, value string) bool {
	const longest = 40
	if len(name) > longest || len(value) < 6 && !strings.EqualFold(name, "action") {
		return false
	}
	plain := plainName(name)
	if plain == "action" { // WordPress: wp-login.php?action=rp&key=…
		return value == "rp" || value == "resetpass"
	}
	return strings.HasSuffix(plain, "token") || oneTimeParameters[plain]
}

func setOf(words string) map[string]bool {
	m := map[string]bool{}
	for _, word := range strings.Fields(words) {
		m[word] = true
	}
	return m
}

// Names without - and _, in lower case.
var (
	oneTimeParameters = setOf(`
		otp otc onetimecode onetimepassword oobcode jwt magic
		resetcode resetkey activationcode activationkey
		confirmationcode verificationcode verifycode invitecode logincode authcode`)
	oneTimePaths = setOf(`
		resetpassword passwordreset passwordresets forgotpassword setpassword newpassword changepassword
		recoverpassword passwordrecover passwordrecovery resetpw pwreset passwordedit passwordnew passwordset
		magiclink magiclogin onetimelogin onetimelink loginlink signinlink emaillogin passwordless
		verifyemail emailverify emailverification confirmemail emailconfirm emailconfirmation
		verifyaccount confirmaccount activateaccount accountactivate accountactivation accountconfirm accountverify
		accountrecovery accountrecover recoveraccount confirmregistration registrationconfirm`)
	oneTimeWords = setOf(`
		verify verification confirm confirmation activate activation reset recover recovery
		invite invitation invitations invites login signin auth authenticate optin doubleoptin otp`)
)

// isSecret reports whether a path segment looks like a random secret rather than
// like words.
func isSecret(segment string) bool {
	const shortest = 16
	if len(segment) < shortest {
		return false
	}
	digits, letters, hyphens, hexadecimal := 0, 0, 0, true
	for i := 0; i < len(segment); i++ {
		switch c := segment[i]; {
		case '0' <= c && c <= '9':
			digits++
		case isLetter(c):
			letters++
			hexadecimal = hexadecimal && c|0x20 <= 'f'
		case c == '-' || c == '_':
			hyphens++
		case c == '.' || c == '~' || c == '=' || c == '%':
			hexadecimal = false
		default:
			return false
		}
	}
	if digits == 0 || letters == 0 {
		return false
	}
	return hexadecimal || hyphens <= 1
}

// label makes a link's cosmetic label of its visible text: its words joined by
// hyphens, without anything that a path could hold a meaning of.
func label(text string) string {
	const longest = 40 // bytes: three times as many if they must be escaped
	var b strings.Builder
	hyphen := false
	for _, c := range text {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) || c == utf8.RuneError {
			hyphen = b.Len() > 0
			continue
		}
		if b.Len()+utf8.RuneLen(c) >= longest {
			break
		}
		if hyphen {
			b.WriteByte('-')
			hyphen = false
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

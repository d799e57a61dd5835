package main

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// A gateway rewrites the links of mails, or of messages, to lead over itself.
type gateway struct {
	name  string
	host  string // or a domain that it ends in
	path  string // how the path begins
	inner func(u *url.URL) string
}

// gateways are those whose links hold the link that they lead to. The links of
// others, such as Mimecast's, hold a key to their own records.
var gateways = []gateway{
	{"Microsoft Safe Links", "safelinks.protection.outlook.com", "", parameter("url")},
	{"Microsoft Safe Links", "safelinks.protection.office365.us", "", parameter("url")},
	{"Microsoft Teams", "statics.teams.cdn.office.net", "/evergreen-assets/safelinks/", parameter("url")},
	{"Proofpoint v1", "urldefense.proofpoint.com", "/v1/url", parameter("u")},
	{"Proofpoint v1", "urldefense.com", "/v1/url", parameter("u")},
	{"Proofpoint v2", "urldefense.proofpoint.com", "/v2/url", proofpointV2},
	{"Proofpoint v2", "urldefense.com", "/v2/url", proofpointV2},
	{"Proofpoint v3", "urldefense.com", "/v3/", proofpointV3},
	{"Proofpoint v3", "urldefense.us", "/v3/", proofpointV3},
	{"Barracuda", "linkprotect.cudasvc.com", "/url", parameter("a")},
	{"Cisco Secure Email", "secure-web.cisco.com", "", lastSegment},
	{"Trend Micro", "trendmicro.com", "/wis/clicktime/", parameter("url")},
	{"Symantec", "clicktime.symantec.com", "", parameter("u")},
	{"Trellix", "protect.fireeye.com", "", parameter("u")},
	{"Trellix", "protect2.fireeye.com", "", parameter("u")},
	{"Sophos", "protection.sophos.com", "", func(u *url.URL) string { return decodeBase64(parameter("u")(u)) }},
	{"Check Point", "url.avanan.click", "/v2/", between("___")},
	{"Check Point", "avanan.url-protection.com", "/v1/url", parameter("o")},
	{"Check Point", "protect.checkpoint.com", "/v2/", between("___")},
	{"Google", "www.google.com", "/url", parameter("q", "url")},
	{"Facebook", "l.facebook.com", "/l.php", parameter("u")},
	{"Facebook", "lm.facebook.com", "/l.php", parameter("u")},
	{"Messenger", "l.messenger.com", "/l.php", parameter("u")},
	{"Instagram", "l.instagram.com", "", parameter("u")},
	{"WhatsApp", "l.wl.co", "/l", parameter("u")},
	{"LinkedIn", "www.linkedin.com", "/redir/", parameter("url")},
	{"LinkedIn", "www.linkedin.com", "/safety/go", parameter("url")},
	{"YouTube", "www.youtube.com", "/redirect", parameter("q")},
	{"Slack", "slack-redir.net", "/link", parameter("url")},
	{"VK", "vk.com", "/away.php", parameter("to")},
	{"Steam", "steamcommunity.com", "/linkfilter/", parameter("u", "url")},
}

// maxNested bounds how many gateways a link leads over.
const maxNested = 8

// unwrap returns the link inside of gateways' links, with their names, the outer
// one first.
func unwrap(text string) (inner string, names []string) {
	for len(names) < maxNested {
		name, next := unwrapOnce(text)
		if !scheme.MatchString(next) {
			break
		}
		text, names = findURL(next), append(names, name)
	}
	return text, names
}

func unwrapOnce(text string) (name, inner string) {
	u, err := url.Parse(text)
	if err != nil {
		return "", ""
	}
	host := strings.ToLower(u.Hostname())
	for _, g := range gateways {
		if (host == g.host || strings.HasSuffix(host, "."+g.host)) && strings.HasPrefix(u.Path, g.path) {
			if inner := g.inner(u); inner != "" {
				return g.name, inner
			}
		}
	}
	return "", ""
}

// parameter takes the first of the query's parameters that there is.
func parameter(names ...string) func(*url.URL) string {
	return func(u *url.URL) string {
		for _, name := range names {
			for pair := range strings.SplitSeq(u.RawQuery, "&") {
				if key, value, _ := strings.Cut(strings.TrimPrefix(pair, "amp;"), "="); key == name {
					return unescape(value)
				}
			}
		}
		return ""
	}
}

// unescape decodes percent escapes once, and leaves a text that has others.
func unescape(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

func lastSegment(u *url.URL) string {
	path := u.EscapedPath()
	return unescape(path[strings.LastIndexByte(path, '/')+1:])
}

// between takes what stands in the target between two of the same marks.
func between(mark string) func(*url.URL) string {
	return func(u *url.URL) string {
		_, rest, _ := strings.Cut(u.RequestURI(), mark)
		inner, _, _ := strings.Cut(rest, mark)
		return inner
	}
}

func decodeBase64(s string) string {
	s = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(s), "=")
	decoded, _ := base64.RawURLEncoding.DecodeString(s)
	return string(decoded)
}

// proofpointV2 writes % as - and / as _.
func proofpointV2(u *url.URL) string {
	return unescape(strings.NewReplacer("-", "%", "_", "/").Replace(parameter("u")(u)))
}

// proofpointV3 writes a * for each character that it keeps in base64 behind the
// link, and ** with a letter for a run of two (A) or more.
func proofpointV3(u *url.URL) string {
	const runs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	_, rest, _ := strings.Cut(u.RequestURI(), "/v3/__")
	masked, rest, ok := strings.Cut(rest, "__;")
	if !ok {
		return ""
	}
	coded, _, _ := strings.Cut(rest, "!")
	kept := []rune(decodeBase64(coded))
	take := func(n int) string {
		n = min(n, len(kept))
		taken := string(kept[:n])
		kept = kept[n:]
		return taken
	}
	var b strings.Builder
	for i := 0; i < len(masked); i++ {
		switch {
		case masked[i] != '*':
			b.WriteByte(masked[i])
		case i+2 < len(masked) && masked[i+1] == '*' && strings.IndexByte(runs, masked[i+2]) >= 0:
			b.WriteString(take(strings.IndexByte(runs, masked[i+2]) + 2))
			i += 2
		default:
			b.WriteString(take(1))
		}
	}
	inner := b.String()
	if before, after, ok := strings.Cut(inner, ":/"); ok && !strings.HasPrefix(after, "/") {
		inner = before + "://" + after // a proxy made one slash of two
	}
	return inner
}

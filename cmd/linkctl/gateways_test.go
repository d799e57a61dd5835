package main

import (
	"strings"
	"testing"
)

func TestUnwrap(t *testing.T) {
	const link = "https://links.example.com/c1.acme.c1.r1.AbC..dEf/https%3A%2F%2Fexample.com%2F%3Fa%3D1%26b%3D2"
	// What each makes of the link; the last of them is in two others.
	const safeLink = "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Flinks.example.com%2Fc1.acme.c1.r1.AbC..dEf%2Fhttps%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2&data=05%7C02&reserved=0"
	const v2 = "https://urldefense.proofpoint.com/v2/url?u=https-3A__links.example.com_c1.acme.c1.r1.AbC..dEf_https-253A-252F-252Fexample.com-252F-253Fa-253D1-2526b-253D2&d=DwMFAg&c=x&e="
	for wrapped, names := range map[string]string{
		link:     "",
		safeLink: "Microsoft Safe Links",
		strings.ReplaceAll(safeLink, "&", "&amp;"): "Microsoft Safe Links",
		v2: "Proofpoint v2",
		"https://urldefense.proofpoint.com/v1/url?u=https%3A%2F%2Flinks.example.com%2Fc1.acme.c1.r1.AbC..dEf%2Fhttps%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2&k=x":                            "Proofpoint v1",
		"https://urldefense.com/v3/__https://links.example.com/c1.acme.c1.r1.AbC..dEf/https*3A*2F*2Fexample.com*2F*3Fa*3D1*26b*3D2__;JSUlJSUlJSU!!KwNVnqRv!x$":                                              "Proofpoint v3",
		"https://urldefense.com/v3/__https:/links.example.com/c1.acme.c1.r1.AbC..dEf/https*3A*2F*2Fexample.com*2F*3Fa*3D1*26b*3D2__;JSUlJSUlJSU!!x$":                                                        "Proofpoint v3",
		"https://linkprotect.cudasvc.com/url?a=https%3a%2f%2flinks.example.com%2fc1.acme.c1.r1.AbC..dEf%2fhttps%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2&c=E,1,x&typo=1":                      "Barracuda",
		"https://secure-web.cisco.com/1abcDEF/https%3A%2F%2Flinks.example.com%2Fc1.acme.c1.r1.AbC..dEf%2Fhttps%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2":                                      "Cisco Secure Email",
		"https://imsva91-ctp.trendmicro.com:443/wis/clicktime/v1/query?url=https%3a%2f%2flinks.example.com%2fc1.acme.c1.r1.AbC..dEf%2fhttps%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2&umid=x":  "Trend Micro",
		"https://eu-central-1.protection.sophos.com?d=links.example.com&u=aHR0cHM6Ly9saW5rcy5leGFtcGxlLmNvbS9jMS5hY21lLmMxLnIxLkFiQy4uZEVmL2h0dHBzJTNBJTJGJTJGZXhhbXBsZS5jb20lMkYlM0ZhJTNEMSUyNmIlM0Qy&i=x": "Sophos",
		"https://url.avanan.click/v2/___https://links.example.com/c1.acme.c1.r1.AbC..dEf/https%3A%2F%2Fexample.com%2F%3Fa%3D1%26b%3D2___.YXAzOng":                                                           "Check Point",
		"https://www.google.com/url?sa=D&q=https://links.example.com/c1.acme.c1.r1.AbC..dEf/https%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2&ust=1":                                             "Google",
		"https://l.facebook.com/l.php?u=https%3A%2F%2Flinks.example.com%2Fc1.acme.c1.r1.AbC..dEf%2Fhttps%253A%252F%252Fexample.com%252F%253Fa%253D1%2526b%253D2&h=AT0":                                      "Facebook",
		"https://l.facebook.com/l.php?u=" + strings.NewReplacer("%", "%25", ":", "%3A", "/", "%2F", "?", "%3F", "&", "%26", "=", "%3D").Replace(safeLink):                                                   "Facebook, Microsoft Safe Links",
		"https://linkprotect.cudasvc.com/url?a=" + strings.NewReplacer("%", "%25", ":", "%3A", "/", "%2F", "?", "%3F", "&", "%26", "=", "%3D").Replace(v2):                                                  "Barracuda, Proofpoint v2",
	} {
		if got, gateways := unwrap(wrapped); got != link || strings.Join(gateways, ", ") != names {
			t.Errorf("%s:\n%s in %q", wrapped, got, gateways)
		}
	}
	// Nothing is inside of these.
	for _, text := range []string{
		"https://protect-eu.mimecast.com/s/AbCdE?domain=links.example.com", "https://evil-safelinks.protection.outlook.com.example/?url=https%3A%2F%2Fa.example",
		"https://www.google.com/url?q=flights", "https://urldefense.com/v3/__https://a.example", "https://www.google.com/search?q=https://a.example", "", "://", "https://secure-web.cisco.com/",
	} {
		if got, gateways := unwrap(text); got != text || gateways != nil {
			t.Errorf("%s: %s in %q", text, got, gateways)
		}
	}
	deep := link
	for range 2 * maxNested {
		deep = "https://www.google.com/url?q=" + strings.NewReplacer("%", "%25", "&", "%26").Replace(deep)
	}
	if _, gateways := unwrap(deep); len(gateways) != maxNested {
		t.Errorf("%d gateways", len(gateways))
	}
}

func FuzzUnwrap(f *testing.F) {
	f.Add("https://urldefense.com/v3/__https://a.example/**A*__;JSUl!!x$")
	f.Add("https://www.google.com/url?q=https%3A%2F%2Fa.example")
	f.Fuzz(func(t *testing.T, text string) {
		if inner, names := unwrap(text); names == nil && inner != text || len(names) > maxNested {
			t.Errorf("%q: %q in %q", text, inner, names)
		}
	})
}

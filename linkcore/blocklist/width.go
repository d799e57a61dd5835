package blocklist

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// The widest rules that need no --force.
const (
	minBits4 = 8 // of an IPv4 network
	minBits6 = 16
	minAgent = 4 // bytes
)

// browsers are user agents of people. A rule that matches one of them blocks
// nearly everyone.
var browsers = []struct{ name, agent string }{
	{"Chrome on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/ Safari/537.36"},
	{"Chrome on Android", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/ Mobile Safari/537.36"},
	{"Edge on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/ Safari/537.36 Edg/"},
	{"Firefox on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:) Gecko/20100101 Firefox/"},
	{"Safari on a Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/ Safari/605.1.15"},
	{"Safari on an iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/ Mobile/15E148 Safari/604.1"},
}

func wideHost(value string) string {
	if _, err := netip.ParseAddr(strings.Trim(value, "[]")); err == nil {
		return ""
	}
	if !strings.Contains(value, ".") {
		return fmt.Sprintf("it is every host that ends in .%s", value)
	}
	if suffix, _ := publicsuffix.PublicSuffix(value); suffix == value {
		return fmt.Sprintf("%s is a public suffix, under which strangers register names of their own", value)
	}
	return ""
}

func wideNetwork(value string) string {
	network, err := netip.ParsePrefix(value)
	if err != nil {
		return "" // an address alone
	}
	least := minBits6
	if network.Addr().Is4() {
		least = minBits4
	}
	if network.Bits() < least {
		return fmt.Sprintf("it is wider than a /%d", least)
	}
	return ""
}

func wideAgent(value string) string {
	if len(value) < minAgent {
		return fmt.Sprintf("it is shorter than %d bytes, so it is part of very many user agents", minAgent)
	}
	for _, b := range browsers {
		if strings.Contains(strings.ToLower(b.agent), value) {
			return fmt.Sprintf("it is part of the user agent of ordinary browsers, such as %s", b.name)
		}
	}
	return ""
}

func wideKey(string) string { return "it stops every link that was ever signed with this key" }

package record

import (
	"bufio"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"example.com/linktracker/linkcore/event"
)

// Requests of people, as their browsers, web views and apps send them. A header
// that decides nothing is left out.
var people = []struct{ name, headers string }{
	// github.com/lexiforest/curl-impersonate, tests/signatures/chrome_150.0.7871.127_macOS.yaml
	{"Chrome on macOS", `User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: document
Accept-Language: en-US,en;q=0.9`},
	// github.com/lwthiker/curl-impersonate, tests/signatures/chrome_99.0.4844.73_android12-pixel6.yaml
	{"Chrome on Android", `User-Agent: Mozilla/5.0 (Linux; Android 12; Pixel 6) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.58 Mobile Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.9
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: document
Accept-Language: en-US,en;q=0.9`},
	// The same directory, edge_120.0.2210.61_linux.yaml
	{"Edge", `User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: document
Accept-Language: en-US,en;q=0.9`},
	// The same directory, firefox_120.0.1_linux.yaml
	{"Firefox", `User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: none`},
	// github.com/lexiforest/curl-impersonate, tests/signatures/tor_14.5_macOS.yaml
	{"Tor Browser", `User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Sec-Gpc: 1
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: none`},
	// The same directory, safari_26.0_iOS.yaml
	{"Safari on iOS", `Sec-Fetch-Dest: document
User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate
Accept-Language: en-US,en;q=0.9`},
	// github.com/lwthiker/curl-impersonate, tests/signatures/safari_15.3_macos11.6.4.yaml
	{"Safari before Fetch Metadata", `User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.3 Safari/605.1.15
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-us`},
	// github.com/browscap/browscap/issues/1285 for the agent; Chromium's headers before Fetch Metadata
	{"an old Samsung Internet", `User-Agent: Mozilla/5.0 (Linux; Android 6.0.1; SAMSUNG SM-A320F Build/MMB29K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/4.2 Chrome/44.0.2403.133 Mobile Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8
Accept-Language: en-US,en;q=0.8`},
	// developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Accept; the agent and the
	// values as recorded on Windows 7
	{"Internet Explorer 11", `User-Agent: Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko
Accept: text/html, application/xhtml+xml, */*
Accept-Language: de-DE`},
	// The same site's list of default Accept values; github.com/matomo-org/device-detector for the agent
	{"Opera with an engine of its own", `User-Agent: Opera/9.80 (X11; Linux i686; Ubuntu/14.10) Presto/2.12.388 Version/12.16
Accept: text/html, application/xml;q=0.9, application/xhtml+xml, image/png, image/webp, image/jpeg, image/gif, image/x-xbitmap, */*;q=0.1`},
	// docs.blackberry.com/en/developers/deliverables/18169/HTTP_headers_sent_by_BB_Browser_1234911_11.jsp
	{"BlackBerry", `User-Agent: Mozilla/5.0 (BlackBerry; U; BlackBerry 9800; en-US) AppleWebKit/534.1+ (KHTML, like Gecko) Version/6.0.0.246 Mobile Safari/534.1+
Accept: text/html,application/xhtml+xml,application/xml,application/x-javascript,*/*;q=0.5
Accept-Language: en-US`},
	// github.com/cody1991/learn, PHP/modernPHP-book/ch2/9-Zend-OPcache.php
	{"UC Browser on iOS", `Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8,UC/44,ios_plugin/1
User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 10_2 like Mac OS X; zh-CN) AppleWebKit/537.51.1 (KHTML, like Gecko) Mobile/14C92 UCBrowser/11.3.5.911 Mobile  AliApp(TUnionSDK/0.1.12) AliApp(TUnionSDK/0.1.12)
Accept-Language: zh-cn`},
	// github.com/duckduckgo/Android/issues/2385
	{"DuckDuckGo on Android", `Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.9
Accept-Language: en-CA,en-US;q=0.9,en;q=0.8
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: none
User-Agent: Mozilla/5.0 (Linux; Android 13) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/106.0.5249.79 Mobile DuckDuckGo/5 Safari/537.36
X-Requested-With: com.duckduckgo.mobile.android`},
	// github.com/oberstrike/de-ma-tw-api, src/test/kotlin/de/ma/tw/utils/http/Headers.kt
	{"an Android web view", `User-Agent: Mozilla/5.0 (Linux; Android 11; sdk_gphone_x86 Build/RSR1.201013.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/83.0.4103.106 Mobile Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.9
X-Requested-With: air.com.innogames.staemme
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: document
Accept-Language: en-US,en;q=0.9`},
	// github.com/pichillilorenzo/flutter_inappwebview/issues/2423, as the app sees the request
	{"an Android web view whose app passes on what it sees", `User-Agent: Mozilla/5.0 (Linux; Android 14; sdk_gphone64_x86_64 Build/UE1A.230829.036.A4; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/113.0.5672.136 Mobile Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-/exchange;v=b3;q=0.7`},
	// github.com/react-native-webview/react-native-webview/issues/215 for WKWebView's
	// Accept, github.com/fnando/browser/issues/374 for the agent
	{"Facebook on iOS", `User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 12_1_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/16D57 [FBAN/FBIOS;FBDV/iPhone11,2;FBMD/iPhone;FBSN/iOS;FBSV/12.1.4;FBSS/3;FBCR/KPN NL;FBID/phone;FBLC/en_GB;FBOP/5]
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8`},
	// The same Accept; github.com/donatj/PhpUserAgent/issues/67
	{"Instagram on iOS", `User-Agent: Mozilla/5.0 (iPad; CPU OS 14_0_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 160.1.0.31.120 (iPad6,11; iOS 14_0_1; en_GB; en-GB; scale=2.00; 1334x750; 246979827)
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8`},
	// The same Accept; github.com/browscap/browscap/issues/1707
	{"LinkedIn on iOS", `User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 11_2_1 like Mac OS X) AppleWebKit/602.1.50 (KHTML, like Gecko) LinkedIn/9.11.908.1 Version/10.0 Mobile/15C153 Safari/602.1
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-us`},
	// The same Accept; github.com/medama-io/go-useragent/issues/5
	{"a mail app's web view on iOS", `User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8`},
	// github.com/lionheart/openradar-mirror/issues/1890
	{"an app's own request on iOS", `Accept: */*
User-Agent: AcceptHeaderB0rkag3Test/1 CFNetwork/711.3.12 Darwin/14.1.0
Accept-Language: en-us`},
}

func readHeaders(t testing.TB, lines string) http.Header {
	t.Helper()
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(lines + "\n\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	return http.Header(h)
}

// No person becomes suspect by what their program sends, whatever they do, and none
// becomes automated when a proxy in between takes one kind of header away, or all.
func TestPeople(t *testing.T) {
	for _, person := range people {
		t.Run(person.name, func(t *testing.T) {
			for _, typ := range []event.Type{event.Click, event.Blocked, event.Open, event.Unsubscribe} {
				v := newVisit("")
				v.request.Header, v.outcome.Type = readHeaders(t, person.headers), typ
				if e := v.event(t, Options{}); e.Automation != event.Human {
					t.Errorf("%s is %s for %q", typ, e.Automation, e.Signals)
				}
				for _, taken := range [][]string{
					{"Accept"}, {"Accept-Language"}, {"Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"},
					{"Accept", "Accept-Language", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"},
				} {
					v.request.Header = readHeaders(t, person.headers)
					for _, name := range taken {
						v.request.Header.Del(name)
					}
					e := v.event(t, Options{})
					if e.Automation == event.Automated {
						t.Errorf("%s without %v is %s for %q", typ, taken, e.Automation, e.Signals)
					}
					if len(taken) > 3 && e.Automation != event.Suspect && (typ == event.Click || typ == event.Blocked) {
						t.Errorf("%s without any is %s", typ, e.Automation)
					}
				}
			}
		})
	}
}

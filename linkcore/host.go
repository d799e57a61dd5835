package linkcore

import "strings"

const maxHost = 253 // bytes

// NormalizeHost makes the host that a tag covers of the authority that a
// request names (HTTP/2's :authority, an absolute-form target's, else Host;
// net/http has it in Request.Host): without its port and its trailing dot, in
// lower case. It must match [a-z0-9_-]+(\.[a-z0-9_-]+)* then and have 253
// bytes at most; else the error is [ErrHost].
func NormalizeHost(authority string) (string, error) {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		for _, c := range []byte(host[i+1:]) {
			if c < '0' || c > '9' {
				return "", ErrHost
			}
		}
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) == 0 || len(host) > maxHost {
		return "", ErrHost
	}
	upper, labelStart := false, true
	for i := 0; i < len(host); i++ {
		c := host[i]
		if 'A' <= c && c <= 'Z' {
			upper = true
			c += 'a' - 'A'
		}
		switch {
		case classes[c]&classHost != 0:
			labelStart = false
		case c == '.' && !labelStart:
			labelStart = true
		default:
			return "", ErrHost
		}
	}
	if labelStart {
		return "", ErrHost
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, nil
}

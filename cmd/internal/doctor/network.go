package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// connectTimeout bounds one connection with its handshake: one address of
// several that is dead must not use up the whole check.
const connectTimeout = 5 * time.Second

// addresses are what DNS says of a host.
type addresses struct {
	all      []netip.Addr
	findings []Finding
}

func (h *host) lookUp(ctx context.Context) *addresses {
	const check = "dns"
	a := &addresses{}
	say := func(level Level, seen, advice string) *addresses {
		a.findings = []Finding{h.finding(check, level, seen, advice)}
		return a
	}
	if address, err := netip.ParseAddr(h.name); err == nil {
		a.all = []netip.Addr{address}
		return say(OK, "an address, no name", "")
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	found, err := h.resolver.LookupNetIP(ctx, "ip", h.name)
	for _, address := range found {
		a.all = append(a.all, address.Unmap())
	}
	alias := ""
	if h.name != "localhost" {
		if name, err := h.resolver.LookupCNAME(ctx, h.name); err == nil && !strings.EqualFold(strings.TrimSuffix(name, "."), h.name) {
			alias = ", by CNAME " + name
		}
	}
	if len(a.all) == 0 {
		var dnsError *net.DNSError
		switch {
		case errors.As(err, &dnsError) && dnsError.IsNotFound && alias != "":
			return say(Problem, "no address"+alias, "point the CNAME at a name that has an address, or make A and AAAA records with the load balancer's")
		case errors.As(err, &dnsError) && dnsError.IsNotFound:
			return say(Problem, "no address: "+h.name+" does not exist or has neither A nor AAAA", "make A and AAAA records with the load balancer's addresses, or, if it is a CNAME, for the name that it points to, or look for a mistake in --base-url; what was asked before the record was made is remembered for a while")
		}
		seen := "the name servers did not answer"
		if err != nil {
			seen += ": " + err.Error()
		}
		return say(Problem, seen, "see whether this machine's DNS works and the domain is registered and delegated")
	}
	var v4, v6, private []string
	for _, address := range a.all {
		switch {
		case address.Is4():
			v4 = append(v4, address.String())
		default:
			v6 = append(v6, address.String())
		}
		if h.name != "localhost" && (address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified()) {
			private = append(private, address.String())
		}
	}
	var records []string
	if len(v4) > 0 {
		records = append(records, "A "+strings.Join(v4, " "))
	}
	if len(v6) > 0 {
		records = append(records, "AAAA "+strings.Join(v6, " "))
	}
	seen := strings.Join(records, ", ") + alias
	if len(private) > 0 {
		return say(Warning, seen, "recipients cannot reach "+strings.Join(private, " ")+", which belongs to a private network: give the name the load balancer's public address")
	}
	return say(OK, seen, "")
}

// connection says whether there is one that a recipient's browser would use.
type connection struct {
	usable    bool
	roundTrip time.Duration // of the network: the shortest time that a connection took
	findings  []Finding
}

// attempt is a connection to one address.
type attempt struct {
	address   netip.Addr
	roundTrip time.Duration
	tls       *tls.ConnectionState // nil: not https
	err       error
}

const checkConnection = "connection"

func (h *host) connect(ctx context.Context) *connection {
	c := &connection{}
	say := func(level Level, seen, advice string) {
		c.findings = append(c.findings, h.finding(checkConnection, level, seen, advice))
	}
	all := h.addresses.get().all
	if len(all) == 0 {
		c.findings = []Finding{h.skipped(checkConnection, "there is no address")}
		return c
	}
	attempts := make([]future[attempt], len(all))
	for i, address := range all {
		attempts[i] = start(func() attempt { return h.attempt(ctx, address) })
	}
	var good []attempt
	var unreachable []string
	for _, f := range attempts {
		switch a := f.get(); {
		case a.err == nil:
			good = append(good, a)
		case a.address.Is6() && len(all) > 1 && (errors.Is(a.err, syscall.ENETUNREACH) || errors.Is(a.err, syscall.EADDRNOTAVAIL)):
			unreachable = append(unreachable, a.address.String())
		default:
			seen, advice := h.whyNoConnection(a)
			say(Problem, seen, advice)
		}
	}
	if len(good) == 0 {
		if len(c.findings) == 0 {
			say(Problem, "this machine has no IPv6, and there is no other address", "run this where there is IPv6; most recipients have IPv4 only, so make an A record, too")
		}
		return c
	}
	c.roundTrip = good[0].roundTrip
	for _, a := range good {
		c.roundTrip = min(c.roundTrip, a.roundTrip)
	}
	var rest string
	if len(unreachable) > 0 {
		rest = "; not checked, as this machine has no IPv6: " + strings.Join(unreachable, " ")
	}
	if !h.https {
		c.usable = true
		if loopback(good) {
			say(OK, "plain http, on this machine"+rest, "")
		} else {
			say(Warning, "plain http"+rest, "anyone on the path can read and change it: serve https, and sign links with an https base URL")
		}
		return c
	}
	c.usable = true
	told := map[string]bool{}
	for _, a := range good {
		level, seen, advice := h.judgeCertificate(a.tls)
		if level == Problem {
			c.usable = false
		}
		if !told[seen] { // the same at each address
			told[seen] = true
			say(level, seen+rest, advice)
			rest = ""
		}
	}
	return c
}

func loopback(all []attempt) bool {
	for _, a := range all {
		if !a.address.IsLoopback() {
			return false
		}
	}
	return true
}

// attempt connects to one address, a few times for the round trip, and shakes
// hands. What the certificate is worth is not asked yet.
func (h *host) attempt(ctx context.Context, address netip.Addr) attempt {
	a := attempt{address: address}
	ctx, cancel := context.WithTimeout(ctx, min(connectTimeout, h.Timeout))
	defer cancel()
	target := net.JoinHostPort(address.String(), h.port)
	for range 3 {
		begin := time.Now()
		conn, err := h.dial(ctx, "tcp", target)
		if err != nil {
			a.err = err
			return a
		}
		if took := time.Since(begin); a.roundTrip == 0 || took < a.roundTrip {
			a.roundTrip = took
		}
		if h.https {
			client := tls.Client(conn, &tls.Config{
				ServerName: h.name,
				MinVersion: tls.VersionTLS10, // to report it, not to fail
				// judgeCertificate does it, and says what is wrong.
				InsecureSkipVerify: true,
			})
			if err := client.HandshakeContext(ctx); err != nil {
				conn.Close()
				a.err = handshakeError{err}
				return a
			}
			state := client.ConnectionState()
			a.tls = &state
		}
		conn.Close()
	}
	return a
}

type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

func (h *host) whyNoConnection(a attempt) (seen, advice string) {
	at := net.JoinHostPort(a.address.String(), h.port)
	var handshake handshakeError
	var record tls.RecordHeaderError
	switch {
	case errors.As(a.err, &record):
		return at + " does not speak TLS", "the base URL says https: serve TLS at this port, or correct the base URL"
	case errors.As(a.err, &handshake) && errors.Is(a.err, context.DeadlineExceeded):
		return at + " takes connections and does not answer", "see whether what listens there is up, and is what should listen there"
	case errors.As(a.err, &handshake):
		return at + " refuses TLS: " + a.err.Error(), "a load balancer without a certificate for this host does that: add the host to its certificates"
	case errors.Is(a.err, syscall.ECONNREFUSED):
		return at + " refuses connections", "see whether the endpoint or its load balancer runs, listens at this port, and has this address"
	case errors.Is(a.err, context.DeadlineExceeded):
		return fmt.Sprintf("%s does not answer within %v", at, min(connectTimeout, h.Timeout)), "see whether a firewall drops connections, or the record points at a machine that is gone"
	}
	return at + ": " + a.err.Error(), "see whether the endpoint or its load balancer is reachable from here"
}

const (
	// A certificate is renewed long before it ends: Google's with a month left,
	// others with a third of their life. Less means that renewing fails.
	certificateDays = 14
	day             = 24 * time.Hour
)

// judgeCertificate says what a browser would make of the certificate.
func (h *host) judgeCertificate(state *tls.ConnectionState) (level Level, seen, advice string) {
	leaf := state.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	now := h.now()
	if err := leaf.VerifyHostname(h.name); err != nil {
		return Problem, "the certificate is for " + namesOf(leaf) + ", not for " + h.name,
			"add the host to the load balancer's certificates (Terraform: domains); until then browsers show a warning instead of the page"
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: h.roots, Intermediates: intermediates, CurrentTime: now})
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		return Problem, "the certificate is valid from " + invalid.Cert.NotBefore.UTC().Format(time.RFC3339) + " only", "set this machine's clock, if that is behind; otherwise serve a certificate that is valid now"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		whose := "the certificate"
		if !invalid.Cert.Equal(leaf) {
			whose = "the issuer's certificate (" + invalid.Cert.Subject.CommonName + ")"
		}
		return Problem, whose + " expired at " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339),
			"renew it; one that Google manages renews itself while the host's DNS points at the load balancer and its DNS authorization is there (`gcloud certificate-manager certificates list`)"
	case errors.As(err, &unknown) && len(state.PeerCertificates) == 1 && leaf.Issuer.String() != leaf.Subject.String():
		return Problem, "the certificate comes without its issuer's, " + name(leaf.Issuer.CommonName, leaf.Issuer.String()), "serve the whole chain: many programs find no way to a root without it"
	case errors.As(err, &unknown):
		return Problem, "the certificate is issued by " + name(leaf.Issuer.CommonName, leaf.Issuer.String()) + ", which nobody trusts", "serve a certificate of a public authority"
	default:
		return Problem, "the certificate is not valid: " + err.Error(), "serve a certificate that browsers accept"
	}
	left := leaf.NotAfter.Sub(now)
	seen = fmt.Sprintf("%s, certificate by %s, valid for %s more", tls.VersionName(state.Version), name(leaf.Issuer.CommonName, leaf.Issuer.String()), plural(int(left/day), "day"))
	switch {
	case left < min(certificateDays*day, leaf.NotAfter.Sub(leaf.NotBefore)/3):
		return Warning, seen, "it should have been renewed by now: see why that fails (`gcloud certificate-manager certificates list`)"
	case state.Version < tls.VersionTLS12:
		return Warning, seen, "browsers refuse TLS below 1.2: raise the front's minimum version"
	}
	return OK, seen, ""
}

func namesOf(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "nothing"
	}
	if len(names) > 5 {
		names = append(names[:5], fmt.Sprintf("%d others", len(names)-5))
	}
	return strings.Join(names, ", ")
}

func name(first, second string) string {
	if first != "" {
		return first
	}
	return second
}

// newClient makes a client as a browser is one, except that it goes nowhere by
// itself and checks the certificate as judgeCertificate does.
func (h *host) newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				// One address after the other: all were looked at before.
				err = errors.New("there is no address")
				for _, a := range h.addresses.get().all {
					var conn net.Conn
					if conn, err = h.dial(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
						return conn, nil
					}
				}
				return nil, err
			},
			TLSClientConfig:     &tls.Config{RootCAs: h.roots, Time: h.now},
			ForceAttemptHTTP2:   true,
			DisableCompression:  true,
			TLSHandshakeTimeout: connectTimeout,
			MaxIdleConnsPerHost: 4,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkPlainHTTP asks what becomes of a link whose https somebody took off. No
// link is sent over plain http.
func (h *host) checkPlainHTTP(ctx context.Context) Finding {
	const check = "http"
	if !h.https {
		return h.skipped(check, "the base URL is plain http itself")
	}
	if h.port != "443" {
		return h.skipped(check, "the base URL names a port")
	}
	a := h.get(ctx, "http://"+h.name+"/-/live", nil)
	location := a.location()
	switch {
	case a.err != nil:
		return h.finding(check, OK, "nothing answers to plain http", "")
	case a.status/100 == 3 && strings.HasPrefix(strings.ToLower(location), "https://"+h.name):
		return h.finding(check, OK, fmt.Sprintf("plain http is sent on to https (%d)", a.status), "")
	case a.status/100 == 3:
		return h.finding(check, Warning, fmt.Sprintf("plain http is sent on to %q (%d)", location, a.status), "send it on to https on the same host and path")
	}
	return h.finding(check, Warning, fmt.Sprintf("plain http is answered with %d", a.status), "send it on to https on the same host and path: anyone on the path can read and change it")
}

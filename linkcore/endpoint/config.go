package endpoint

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/record"
)

// Config is the endpoint's configuration; CONFIG.md says what each variable
// means.
type Config struct {
	Port int // 0: one that is free, told in the log

	Keys      string // LINK_KEYS, a directory
	Blocklist string // as OpenSource takes it, or "none"
	Clicks    string // as OpenSink takes it

	Delivery        delivery.Mode
	DeliveryTimeout time.Duration
	HoldMax         int

	BlocklistRefresh   time.Duration
	BlocklistReload    time.Duration
	BlocklistMaxAge    time.Duration
	BlocklistWait      time.Duration
	BlocklistStartWait time.Duration
	DenyUnavailable    bool // BLOCKLIST_UNAVAILABLE=deny

	TrustedProxies  int
	ProxiesUnknown  bool // neither TRUSTED_PROXIES nor the platform says
	CountryHeader   string
	PrivacySignals  record.PrivacySignals
	ClientIP        record.ClientIP
	ScannerNetworks []netip.Prefix // read from the file of SCANNER_NETWORKS
	HomeURL         string
	LogLevel        slog.Level

	// AdminAddress is where cmd/linktracker serves [Endpoint.Metrics]; the zero
	// AddrPort: nowhere.
	AdminAddress netip.AddrPort
}

// A ConfigError says which environment variable cannot be understood, in one
// line.
type ConfigError struct {
	Variable string
	Problem  string // with the value, unless that is a secret, and what is accepted
}

func (e *ConfigError) Error() string { return e.Variable + ": " + e.Problem }

// ParseConfig reads the configuration from environment variables. It looks
// nothing up but the file of SCANNER_NETWORKS; [New] opens what the others
// point to. The error is a [*ConfigError] for the first variable that cannot be
// understood.
func ParseConfig(getenv func(string) string) (Config, error) {
	p := parser{getenv: getenv}
	c := Config{
		Port:      p.number("PORT", 8080, 0, 65535),
		Keys:      p.required("LINK_KEYS", "a directory with one file a key"),
		Blocklist: p.required("BLOCKLIST", "firestore://PROJECT/DATABASE/COLLECTION, file:PATH or none"),
		Clicks:    p.required("CLICKS", "pubsub://PROJECT/TOPIC, file:PATH or stdout"),

		Delivery:        oneOf(&p, "DELIVERY", delivery.Hold, delivery.Background),
		DeliveryTimeout: p.duration("DELIVERY_TIMEOUT", 5*time.Second, time.Millisecond, 10*time.Minute),
		HoldMax:         p.number("HOLD_MAX", 40, 1, 100_000),

		BlocklistRefresh:   p.duration("BLOCKLIST_REFRESH", 15*time.Second, 100*time.Millisecond, time.Hour),
		BlocklistReload:    p.duration("BLOCKLIST_RELOAD", 10*time.Minute, time.Second, 24*time.Hour),
		BlocklistMaxAge:    p.duration("BLOCKLIST_MAX_AGE", 5*time.Minute, time.Second, 24*time.Hour),
		BlocklistWait:      p.duration("BLOCKLIST_WAIT", 250*time.Millisecond, 0, time.Minute),
		BlocklistStartWait: p.duration("BLOCKLIST_START_WAIT", 3*time.Second, 0, 10*time.Minute),
		DenyUnavailable:    oneOf(&p, "BLOCKLIST_UNAVAILABLE", "allow", "deny") == "deny",

		TrustedProxies:  p.number("TRUSTED_PROXIES", platformProxies(getenv), 0, 100),
		ProxiesUnknown:  getenv("TRUSTED_PROXIES") == "" && platformProxies(getenv) == 0,
		CountryHeader:   p.header("COUNTRY_HEADER"),
		PrivacySignals:  oneOf(&p, "PRIVACY_SIGNALS", record.RecordSignals, record.AnonymiseSignals),
		ClientIP:        oneOf(&p, "CLIENT_IP", record.FullIP, record.TruncatedIP, record.NoIP),
		ScannerNetworks: p.networks("SCANNER_NETWORKS"),
		HomeURL:         p.url("HOME_URL"),
		LogLevel:        logLevels[oneOf(&p, "LOG_LEVEL", "info", "debug", "warn", "error")],
		AdminAddress:    p.localAddress("ADMIN_ADDRESS"),
	}
	if p.err != nil {
		return Config{}, p.err
	}
	return c, nil
}

// platformProxies returns the proxies that the platform has in front: Cloud Run
// has one before every service, functions included. It sets K_SERVICE there,
// and not in jobs and worker pools, which get no requests.
func platformProxies(getenv func(string) string) int {
	if getenv("K_SERVICE") != "" {
		return 1
	}
	return 0
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// parser keeps the first error, so that a configuration reads as a table.
type parser struct {
	getenv func(string) string
	err    error
}

func (p *parser) refuse(variable, format string, args ...any) {
	if p.err == nil {
		p.err = &ConfigError{variable, fmt.Sprintf(format, args...)}
	}
}

func (p *parser) required(variable, accepted string) string {
	value := p.getenv(variable)
	if value == "" {
		p.refuse(variable, "is not set: give it %s", accepted)
	}
	return value
}

func (p *parser) number(variable string, byDefault, least, most int) int {
	value := p.getenv(variable)
	if value == "" {
		return byDefault
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		p.refuse(variable, "%q is no whole number from %d to %d", value, least, most)
	}
	return n
}

func (p *parser) duration(variable string, byDefault, least, most time.Duration) time.Duration {
	value := p.getenv(variable)
	if value == "" {
		return byDefault
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		p.refuse(variable, "%q is no duration from %v to %v, such as 250ms, 15s or 10m", value, least, most)
	}
	return d
}

// oneOf takes one of the values; the first is the default.
func oneOf[T ~string](p *parser, variable string, values ...T) T {
	value := T(p.getenv(variable))
	if value == "" {
		return values[0]
	}
	names := make([]string, len(values))
	for i, v := range values {
		if v == value {
			return v
		}
		names[i] = string(v)
	}
	p.refuse(variable, "%q is none of %s", value, strings.Join(names, ", "))
	return values[0]
}

func (p *parser) header(variable string) string {
	value := p.getenv(variable)
	if value != "" && !httpguts.ValidHeaderFieldName(value) {
		p.refuse(variable, "%q is no name of a request header, such as X-Client-Region", value)
	}
	return value
}

// sharedSpace is RFC 6598's: some clusters give it to their containers.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// localAddress takes an address that the internet cannot reach. The unspecified
// address is refused too, as it means every address that the machine has.
func (p *parser) localAddress(variable string) netip.AddrPort {
	value := p.getenv(variable)
	if value == "" {
		return netip.AddrPort{}
	}
	address, err := netip.ParseAddrPort(strings.Replace(value, "localhost:", "127.0.0.1:", 1))
	ip := address.Addr().Unmap()
	if err != nil || !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() && !sharedSpace.Contains(ip) {
		p.refuse(variable, "%q is no local address and port, such as 127.0.0.1:9090 or the container's own 10.0.0.7:9090", value)
	}
	return address
}

func (p *parser) url(variable string) string {
	value := p.getenv(variable)
	if value == "" {
		return ""
	}
	if _, err := linkcore.ParseDestination(value); err != nil {
		p.refuse(variable, "%q is no absolute http or https URL: %v", value, err)
	}
	return value
}

func (p *parser) networks(variable string) []netip.Prefix {
	path := p.getenv(variable)
	if path == "" {
		return nil
	}
	networks, err := readNetworks(path)
	if err != nil {
		p.refuse(variable, "%v; it names a file with one network a line, such as 192.0.2.0/24", err)
	}
	return networks
}

// readNetworks reads one CIDR a line; empty lines and what follows a # are
// passed over.
func readNetworks(path string) ([]netip.Prefix, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var networks []netip.Prefix
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %q is no network", path, n, text)
		}
		networks = append(networks, network.Masked())
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s has a line of more than 64 KiB", path)
	}
	return networks, lines.Err()
}

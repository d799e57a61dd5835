package endpoint

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/environment"
	"example.com/linktracker/linkcore/lines"
	"example.com/linktracker/linkcore/record"
	"example.com/linktracker/linkcore/redirect"
)

// Config is the endpoint's configuration; CONFIG.md says what each variable
// means.
type Config struct {
	Port int // 0: a free one, reported in the log

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
	Unavailable        redirect.Unavailable // BLOCKLIST_UNAVAILABLE

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

	Misspelt map[string]string // variables that are set, and the ones that were meant
}

// ParseConfig reads the configuration from environment variables. It looks
// nothing up but the file of SCANNER_NETWORKS; [New] opens what the others
// point to. The error is a [*linkcore.FieldError] for the first variable that
// cannot be understood; its Field is the variable.
func ParseConfig(getenv func(string) string) (Config, error) {
	r := environment.New(getenv)
	rules := blocklist.DefaultOptions()
	c := Config{
		Port:      r.Int("PORT", 8080, 0, 65535),
		Keys:      r.Required("LINK_KEYS", "a directory with one file a key"),
		Blocklist: r.Required("BLOCKLIST", "firestore://PROJECT/DATABASE/COLLECTION, file:PATH or none"),
		Clicks:    r.Required("CLICKS", "pubsub://PROJECT/TOPIC, file:PATH or stdout"),

		Delivery:        environment.OneOf(r, "DELIVERY", delivery.Hold, delivery.Background),
		DeliveryTimeout: r.Duration("DELIVERY_TIMEOUT", 5*time.Second, time.Millisecond, 10*time.Minute),
		HoldMax:         r.Int("HOLD_MAX", 40, 1, 100_000),

		BlocklistRefresh:   r.Duration("BLOCKLIST_REFRESH", rules.Refresh, 100*time.Millisecond, time.Hour),
		BlocklistReload:    r.Duration("BLOCKLIST_RELOAD", rules.Reload, time.Second, 24*time.Hour),
		BlocklistMaxAge:    r.Duration("BLOCKLIST_MAX_AGE", rules.MaxAge, time.Second, 24*time.Hour),
		BlocklistWait:      r.Duration("BLOCKLIST_WAIT", rules.Wait, 0, time.Minute),
		BlocklistStartWait: r.Duration("BLOCKLIST_START_WAIT", 3*time.Second, 0, 10*time.Minute),
		Unavailable:        environment.OneOf(r, "BLOCKLIST_UNAVAILABLE", redirect.Untracked, redirect.Allow, redirect.Deny),

		TrustedProxies:  r.Int("TRUSTED_PROXIES", platformProxies(getenv), 0, 100),
		ProxiesUnknown:  getenv("TRUSTED_PROXIES") == "" && platformProxies(getenv) == 0,
		CountryHeader:   r.Header("COUNTRY_HEADER"),
		PrivacySignals:  environment.OneOf(r, "PRIVACY_SIGNALS", record.RecordSignals, record.AnonymiseSignals),
		ClientIP:        environment.OneOf(r, "CLIENT_IP", record.FullIP, record.TruncatedIP, record.NoIP),
		ScannerNetworks: networks(r, "SCANNER_NETWORKS"),
		HomeURL:         r.URL("HOME_URL"),
		LogLevel:        r.LogLevel("LOG_LEVEL"),
		AdminAddress:    localAddress(r, "ADMIN_ADDRESS"),
	}
	if err := r.Err(); err != nil {
		return Config{}, err
	}
	c.Misspelt = r.Misspelt(os.Environ())
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

// sharedSpace is RFC 6598's: some clusters give it to their containers.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// localAddress takes an address that the internet cannot reach. The unspecified
// address is refused too, as it means every address that the machine has.
func localAddress(r *environment.Reader, variable string) netip.AddrPort {
	value := r.Text(variable)
	if value == "" {
		return netip.AddrPort{}
	}
	address, err := netip.ParseAddrPort(strings.Replace(value, "localhost:", "127.0.0.1:", 1))
	ip := address.Addr().Unmap()
	if err != nil || !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() && !sharedSpace.Contains(ip) {
		r.Refuse(variable, "%q is not a local address and port, such as 127.0.0.1:9090 or the container's own 10.0.0.7:9090", value)
	}
	return address
}

func networks(r *environment.Reader, variable string) []netip.Prefix {
	path := r.Text(variable)
	if path == "" {
		return nil
	}
	networks, err := readNetworks(path)
	if err != nil {
		r.Refuse(variable, "%v; it names a file with one network a line, such as 192.0.2.0/24", err)
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
	in := lines.NewReader(f)
	for {
		line, err := in.Next()
		if err == io.EOF {
			return networks, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if line.TooLong {
			return nil, fmt.Errorf("%s line %d %w", path, line.Number, lines.ErrTooLong)
		}
		text, _, _ := bytes.Cut(line.Text, []byte("#"))
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		network, err := netip.ParsePrefix(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %q is not a network", path, line.Number, text)
		}
		networks = append(networks, network.Masked())
	}
}

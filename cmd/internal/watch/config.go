package watch

import (
	"fmt"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
)

// Config says what raises an alert. A zero field takes its default.
type Config struct {
	// Links and recipients: so many networks (IPv4 /24, IPv6 /48) or addresses
	// within Window. What a scanner did does not count. A person on the way has a
	// handful of networks and a mail gateway about ten; a mail passed on among
	// colleagues some more.
	Window            time.Duration // default 15m
	LinkNetworks      int           // default 20
	LinkAddresses     int           // default 60
	RecipientNetworks int           // default 30; more than LinkNetworks, since gateways fetch each link from elsewhere

	// Customers and mailings: within ShareWindow at least BlockedShare of all
	// clicks were blocked, of at least BlockedRecipients recipients, and the share
	// is BlockedRise times that of the last day or more.
	ShareWindow       time.Duration // default 10m, at most an hour
	BlockedShare      float64       // default 0.2
	BlockedRecipients int           // default 20, at most 100
	BlockedRise       float64       // default 3

	// Destination hosts: HostCustomers customers within HostWindow. A host is
	// known once it was there for HostKnownAfter; and those of KnownHosts and
	// their subdomains always are, and those that appear within Learning from the
	// first event on. What lies between two events counts for a tenth of Learning at
	// most, and late events for nothing: an event of days ago does not end it.
	HostWindow     time.Duration // default 1h
	HostCustomers  int           // default 5
	HostKnownAfter time.Duration // default 72h
	Learning       time.Duration // default 1h; negative: none
	KnownHosts     []string

	// An alert about the same subject is not raised again within Repeat.
	Repeat time.Duration // default 1h
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{}.withDefaults()
}

func (c Config) withDefaults() Config {
	setDefault(&c.Window, 15*time.Minute)
	setDefault(&c.LinkNetworks, 20)
	setDefault(&c.LinkAddresses, 60)
	setDefault(&c.RecipientNetworks, 30)
	setDefault(&c.ShareWindow, 10*time.Minute)
	setDefault(&c.BlockedShare, 0.2)
	setDefault(&c.BlockedRecipients, 20)
	setDefault(&c.BlockedRise, 3)
	setDefault(&c.HostWindow, time.Hour)
	setDefault(&c.HostCustomers, 5)
	setDefault(&c.HostKnownAfter, 72*time.Hour)
	setDefault(&c.Learning, time.Hour)
	setDefault(&c.Repeat, time.Hour)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A ConfigError says which field of a [Config] cannot be used.
type ConfigError struct {
	Field   string
	Problem string
}

func (e *ConfigError) Error() string { return e.Field + " " + e.Problem }

// Validate checks the fields that are set. The error is a [*ConfigError].
func (c Config) Validate() error {
	c = c.withDefaults()
	for _, f := range [...]struct {
		name               string
		value, least, most time.Duration
	}{
		{"Window", c.Window, time.Minute, 24 * time.Hour},
		{"ShareWindow", c.ShareWindow, time.Minute, time.Hour},
		{"HostWindow", c.HostWindow, time.Minute, 24 * time.Hour},
		{"HostKnownAfter", c.HostKnownAfter, time.Hour, 1000 * time.Hour},
		{"Repeat", c.Repeat, time.Minute, 1000 * time.Hour},
	} {
		if f.value < f.least || f.value > f.most {
			return &ConfigError{f.name, fmt.Sprintf("is %v, and has to be from %v to %v", f.value, f.least, f.most)}
		}
	}
	if c.Learning > 1000*time.Hour {
		return &ConfigError{"Learning", fmt.Sprintf("is %v, and has to be %v at most", c.Learning, 1000*time.Hour)}
	}
	for _, f := range [...]struct {
		name               string
		value, least, most int
	}{
		{"LinkNetworks", c.LinkNetworks, 2, maxThreshold},
		{"LinkAddresses", c.LinkAddresses, 2, maxThreshold},
		{"RecipientNetworks", c.RecipientNetworks, 2, maxThreshold},
		{"BlockedRecipients", c.BlockedRecipients, 1, 100},
		{"HostCustomers", c.HostCustomers, 2, maxCustomers},
	} {
		if f.value < f.least || f.value > f.most {
			return &ConfigError{f.name, fmt.Sprintf("is %d, and has to be from %d to %d", f.value, f.least, f.most)}
		}
	}
	// Written so that what is no number is refused too.
	if !(c.BlockedShare > 0 && c.BlockedShare <= 1) {
		return &ConfigError{"BlockedShare", fmt.Sprintf("is %v, and has to be more than 0 and at most 1", c.BlockedShare)}
	}
	if !(c.BlockedRise >= 1 && c.BlockedRise <= 1000) {
		return &ConfigError{"BlockedRise", fmt.Sprintf("is %v, and has to be from 1 to 1000", c.BlockedRise)}
	}
	for _, host := range c.KnownHosts {
		if _, err := normalHost(host); err != nil {
			return &ConfigError{"KnownHosts", fmt.Sprintf("holds %q: %v", host, err)}
		}
	}
	return nil
}

// normalHost returns the form in which hosts are compared.
func normalHost(host string) (string, error) {
	normal, err := linkcore.HostToASCII(strings.TrimSpace(host))
	if err != nil {
		return "", err
	}
	d, err := linkcore.ParseDestination("https://" + normal)
	if err != nil {
		return "", err
	}
	if d.Host != normal {
		return "", fmt.Errorf("it is no host name")
	}
	return strings.TrimSuffix(strings.ToLower(normal), "."), nil
}

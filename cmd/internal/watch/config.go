package watch

import (
	"fmt"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
)

// Config says what raises an alert. [DefaultConfig] has the defaults.
type Config struct {
	// Links and recipients: so many networks (IPv4 /24, IPv6 /48) or addresses
	// within Window. What a scanner did does not count. A person on the way has a
	// handful of networks and a mail gateway about ten; a mail passed on among
	// colleagues some more.
	Window            time.Duration
	LinkNetworks      int
	LinkAddresses     int
	RecipientNetworks int // more than LinkNetworks, since gateways fetch each link from elsewhere

	// Customers and mailings: within ShareWindow at least BlockedShare of all
	// clicks were blocked, of at least BlockedRecipients recipients, and the share
	// is BlockedRise times that of the last day or more.
	ShareWindow       time.Duration // at most an hour
	BlockedShare      float64
	BlockedRecipients int // at most 100
	BlockedRise       float64

	// Destination hosts: HostCustomers customers within HostWindow, from as many
	// networks, and four times as many as the host has had before. A host is
	// known once it was there for HostKnownAfter; and those of KnownHosts and
	// their subdomains always are, and those that appear within Learning from the
	// first event on. What lies between two events counts for a tenth of Learning at
	// most, and late events for nothing: an event of days ago does not end it.
	HostWindow     time.Duration
	HostCustomers  int
	HostKnownAfter time.Duration
	Learning       time.Duration // 0: none
	KnownHosts     []string

	// An alert about the same subject is not raised again within Repeat.
	Repeat time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Window:            15 * time.Minute,
		LinkNetworks:      20,
		LinkAddresses:     60,
		RecipientNetworks: 30,
		ShareWindow:       10 * time.Minute,
		BlockedShare:      0.2,
		BlockedRecipients: 20,
		BlockedRise:       3,
		HostWindow:        time.Hour,
		HostCustomers:     12,
		HostKnownAfter:    72 * time.Hour,
		Learning:          time.Hour,
		Repeat:            time.Hour,
	}
}

// Validate checks the fields. The error is a [*linkcore.FieldError].
func (c Config) Validate() error {
	for _, f := range [...]struct {
		name               string
		value, least, most time.Duration
	}{
		{"Window", c.Window, time.Minute, 24 * time.Hour},
		{"ShareWindow", c.ShareWindow, time.Minute, time.Hour},
		{"HostWindow", c.HostWindow, time.Minute, 24 * time.Hour},
		{"HostKnownAfter", c.HostKnownAfter, time.Hour, 1000 * time.Hour},
		{"Learning", c.Learning, 0, 1000 * time.Hour},
		{"Repeat", c.Repeat, time.Minute, 1000 * time.Hour},
	} {
		if f.value < f.least || f.value > f.most {
			return refused(f.name, "is %v, and has to be from %v to %v", f.value, f.least, f.most)
		}
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
			return refused(f.name, "is %d, and has to be from %d to %d", f.value, f.least, f.most)
		}
	}
	// Written so that what is not a number is refused too.
	if !(c.BlockedShare > 0 && c.BlockedShare <= 1) {
		return refused("BlockedShare", "is %v, and has to be more than 0 and at most 1", c.BlockedShare)
	}
	if !(c.BlockedRise >= 1 && c.BlockedRise <= 1000) {
		return refused("BlockedRise", "is %v, and has to be from 1 to 1000", c.BlockedRise)
	}
	for _, host := range c.KnownHosts {
		if _, err := normalHost(host); err != nil {
			return refused("KnownHosts", "holds %q: %v", host, err)
		}
	}
	return nil
}

func refused(field, format string, args ...any) error {
	return &linkcore.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
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
		return "", fmt.Errorf("it is not a host name")
	}
	return strings.TrimSuffix(strings.ToLower(normal), "."), nil
}

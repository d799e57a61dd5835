package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/durable"
)

const (
	devFolder      = ".linktracker"
	devDestination = "https://example.com/?hello=tracked%20world"
)

// devEnvironment makes what is missing under the folder and returns an
// environment that reaches nothing else: variables that may be production's, and
// point to keys, rules or a topic, are ignored, each with a line.
func devEnvironment(getenv func(string) string, stderr io.Writer) (func(string) string, error) {
	keys := filepath.Join(devFolder, "keys")
	own := map[string]string{
		"LINK_KEYS": keys,
		"BLOCKLIST": "file:" + filepath.Join(devFolder, "rules.jsonl"),
		"CLICKS":    "file:" + filepath.Join(devFolder, "clicks.jsonl"),
	}
	defaults := map[string]string{
		"BLOCKLIST_REFRESH": "1s",
		"LOG_LEVEL":         "debug", // for devLog
		"TRUSTED_PROXIES":   "0",
	}
	for _, variable := range []string{"LINK_KEYS", "BLOCKLIST", "CLICKS"} {
		if getenv(variable) != "" {
			fmt.Fprintf(stderr, "linktracker: --dev ignores %s and uses %s\n", variable, own[variable])
		}
	}
	for _, folder := range []string{devFolder, keys} {
		if err := durable.Mkdir(folder, 0o700); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(keys)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		var secret [32]byte
		rand.Read(secret[:])
		if err := durable.CreateFile(filepath.Join(keys, "k1"), []byte(base64.StdEncoding.EncodeToString(secret[:])+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"rules.jsonl", "clicks.jsonl"} {
		if err := durable.CreateFile(filepath.Join(devFolder, name), nil, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	return func(variable string) string {
		if value, ok := own[variable]; ok {
			return value
		}
		if value := getenv(variable); value != "" {
			return value
		}
		return defaults[variable]
	}, nil
}

// printDevLink prints a link to click and what to try next.
func printDevLink(w io.Writer, getenv func(string) string, address net.Addr) error {
	ring, err := linkcore.OpenKeyRing(getenv("LINK_KEYS"), nil)
	if err != nil {
		return err
	}
	ids := ring.IDs()
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return err
	}
	base := "http://localhost:" + port
	signer, err := ring.Signer(base, ids[len(ids)-1])
	if err != nil {
		return err
	}
	fields := linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r1", Sent: time.Now()}
	click, err := signer.Sign(fields, devDestination, linkcore.Options{})
	if err != nil {
		return err
	}
	unsubscribe, err := signer.Sign(fields, "", linkcore.Options{Kind: linkcore.Unsubscribe})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `
A tracked link to click, which leads to %s:

  %s

and one that shows the unsubscribe page:

  %s

Events:     tail -f %s
Block it:   go run ./cmd/linkctl block --blocklist %s host:example.com
Make more:  go run ./cmd/linkctl sign --keys %s --signing-key %s --base-url %s https://example.com/

Ctrl-C stops it. Until then each request makes a line here:

`, devDestination, click.URL, unsubscribe.URL, fileOf(getenv("CLICKS")), getenv("BLOCKLIST"), getenv("LINK_KEYS"), signer.Key(), base)
	return err
}

// fileOf returns the path in file:PATH, or the whole where it is not a file.
func fileOf(url string) string {
	if len(url) > 5 && url[:5] == "file:" {
		return url[5:]
	}
	return url
}

// A devLog writes the log for people: a line for each request, and what is wrong.
type devLog struct{ w io.Writer }

// Write takes one line of the log.
func (d *devLog) Write(line []byte) (int, error) {
	var entry struct {
		Time                                     time.Time
		Severity, Message, Error, Problem, Cause string
		Customer, Campaign, Automation, Rule     string
		Address                                  string
		Request                                  struct {
			Method  string `json:"requestMethod"`
			Status  int
			Latency string
		} `json:"httpRequest"`
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		return d.w.Write(line)
	}
	fields := []string{entry.Time.Local().Format(time.TimeOnly)}
	switch {
	case entry.Request.Status != 0:
		fields = append(fields, entry.Message, entry.Request.Method, fmt.Sprint(entry.Request.Status), entry.Automation, entry.Rule, entry.Cause)
		if entry.Customer != "" {
			fields = append(fields, entry.Customer+"/"+entry.Campaign)
		}
		fields = append(fields, entry.Request.Latency)
	case entry.Severity == "WARNING" || entry.Severity == "ERROR":
		fields = append(fields, strings.ToLower(entry.Severity)+":", entry.Message, entry.Problem, entry.Error)
	case entry.Address != "":
		fields = append(fields, entry.Message, entry.Address)
	default:
		return len(line), nil
	}
	fields = slices.DeleteFunc(fields, func(s string) bool { return s == "" })
	if _, err := fmt.Fprintln(d.w, strings.Join(fields, "  ")); err != nil {
		return 0, err
	}
	return len(line), nil
}

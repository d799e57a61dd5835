package blocklist_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/blocklist/file"
)

// An operator's tool blocks a host, and an endpoint finds out.
func Example() {
	folder, err := os.MkdirTemp("", "blocklist")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	ctx := context.Background()

	// Or firestore.New, or endpoint.OpenStore and OpenSource for those of a URL.
	backend := file.New(filepath.Join(folder, "rules.jsonl"))
	rule, err := blocklist.ParseRule("host:phishing.example")
	if err != nil {
		log.Fatal(err)
	}
	rule.Reason = "reported by an abuse desk"
	if err := backend.Put(ctx, rule); err != nil {
		log.Fatal(err)
	}

	rules := blocklist.NewCache(backend, blocklist.DefaultOptions())
	defer rules.Close()
	rules.Start(ctx)
	<-rules.Ready()

	decision, _ := rules.Decide(ctx, &blocklist.Request{
		Link:      &linkcore.Link{Kind: linkcore.Click, Destination: "https://www.phishing.example/login"},
		Address:   netip.MustParseAddr("192.0.2.1"),
		UserAgent: "Mozilla/5.0",
		Now:       time.Now(),
	})
	fmt.Println(decision.Action, decision.Rule)
	// Output: block host:phishing.example
}

func ExampleNewIndex() {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	index, err := blocklist.NewIndex(now,
		blocklist.Rule{Kind: blocklist.Campaign, Value: "acme/spring26", Action: blocklist.Redirect,
			Target: "https://example.com/over", StartsAt: now.Add(24 * time.Hour)},
		blocklist.Rule{Kind: blocklist.Recipient, Value: "acme/83jf", Action: blocklist.Untracked},
	)
	if err != nil {
		log.Fatal(err)
	}
	link := &linkcore.Link{Kind: linkcore.Click, Destination: "https://example.com/",
		Fields: linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "83jf", Link: "a1b2"}}
	for _, at := range []time.Time{now, now.Add(48 * time.Hour)} {
		d := index.Decide(&blocklist.Request{Link: link, Now: at})
		fmt.Printf("%q %q %v\n", d.Action, d.Target, d.Untracked)
	}
	// Output:
	// "" "" true
	// "redirect" "https://example.com/over" true
}

func ExampleParseRule() {
	for _, s := range []string{"url:HTTPS://Bücher.example:443/a/../%7Eb#top", "ip:192.0.2.77/24", "campaign:/spring", "host:*.example.com"} {
		rule, err := blocklist.ParseRule(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(rule, rule.DocumentID())
	}
	// Output:
	// url:xn--bcher-kva.example/~b wdW9awzbXHhGfJoupR4NlxRp9EJFVe0-KK3obgpQt9s
	// ip:192.0.2.0/24 -AHFm3lR_qHfB37mq2h5711BhS8yuWQHqk_iq19ab0o
	// campaign:/spring bSxrTZqmH-LKgQeVtfDZhBQLjmIdTAO12vY4RJFrFWs
	// value "*.example.com" is not a host: write the name alone, such as example.com; its subdomains match too
}

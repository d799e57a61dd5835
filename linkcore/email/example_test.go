package email_test

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/email"
)

// A sender has one rewriter for a mailing, and gives it each mail with its
// recipient.
func Example() {
	// Stands in for linkcore.OpenKeyRing("keys", nil).
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("example "), 4)})
	if err != nil {
		log.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	w, err := email.New(email.Options{
		Signer: signer,
		Keys:   ring,
		UTM:    []email.Parameter{{Name: "utm_source", Value: "newsletter"}},
		Pixel:  email.PixelEnd,
	})
	if err != nil {
		log.Fatal(err)
	}
	result, err := w.HTML(
		linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"},
		[]byte(`<p>Dear Ann, <a href="https://example.com/?a=1&amp;b=2">see our offers</a>,
<a href="mailto:hi@example.com">write to us</a>
or <a href="https://example.com/reset?token=8c1f6b" clicktracking="off">reset your password</a>.</p>`))
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range result.Links {
		fmt.Printf("%d %s: %s%s\n", l.Position, l.Action, l.Destination, l.Reason)
	}
	// Output:
	// 1 tracked: https://example.com/?a=1&b=2&utm_source=newsletter
	// 2 skipped: links of the scheme mailto: are not tracked
	// 3 skipped: it opts out with clicktracking="off"
}

// An anonymous mailing is the same for everyone: its links say which was
// clicked, not by whom.
func ExampleOptions_anonymous() {
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("example "), 4)})
	if err != nil {
		log.Fatal(err)
	}
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	w, err := email.New(email.Options{Signer: signer, Keys: ring, Tracking: email.Anonymous})
	if err != nil {
		log.Fatal(err)
	}
	result, err := w.HTML(linkcore.Fields{Campaign: "spring26", Recipient: "r83jf"}, []byte(`<a href='https://example.com/'>Offers</a>`))
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(result.Output)
	// Output: <a href='https://links.example.com/c1..spring26..an_1-VzBOQDV1q-8..L1gUauKCqBJk6lpzTkrGlQ/https%3A%2F%2Fexample.com%2F'>Offers</a>
}

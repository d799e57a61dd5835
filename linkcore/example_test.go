package linkcore_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"example.com/linktracker/linkcore"
)

// exampleRing stands in for linkcore.OpenKeyRing("keys", nil).
func exampleRing() *linkcore.KeyRing {
	ring, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("example "), 4)})
	if err != nil {
		log.Fatal(err)
	}
	return ring
}

// A backend makes a link for one recipient of a mailing. Its link is exact here,
// so that the output is; leave Link and ExactLink out, and each link is new.
func Example() {
	signer, err := exampleRing().Signer("https://links.example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	link, err := signer.Sign(linkcore.Fields{
		Customer: "acme", Campaign: "spring26", Recipient: "r83jf", Link: "a1b2c3d4e5f",
		Sent: time.Date(2026, 3, 20, 8, 0, 0, 0, time.UTC),
	}, "https://example.com/pricing?a=1", linkcore.Options{ExactLink: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(link.URL)
	// Output: https://links.example.com/c1.acme.spring26.r83jf.a1b2c3d4e5f.tc6u80.fpoEo77BvB5tjh1R-ObRUQ/https%3A%2F%2Fexample.com%2Fpricing%3Fa%3D1
}

// An error of signing names the field that breaks the format.
func ExampleFieldError() {
	signer, err := exampleRing().Signer("https://links.example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	_, err = signer.Sign(linkcore.Fields{Customer: "Müller & Sons"}, "https://example.com/", linkcore.Options{})
	var field *linkcore.FieldError
	fmt.Println(errors.As(err, &field), field.Field)
	fmt.Println(err)
	// Output:
	// true customer
	// customer has a character other than A-Z a-z 0-9 _ -
}

// A sealed link hides its fields and destination, and carries metadata.
func ExampleSigner_Seal() {
	ring := exampleRing()
	signer, err := ring.Signer("https://links.example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	link, err := signer.Seal(linkcore.Fields{Customer: "acme"}, "https://example.com/", linkcore.Options{Metadata: `{"deal":7}`})
	if err != nil {
		log.Fatal(err)
	}
	_, target, err := linkcore.SplitURL(link.URL)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := ring.Verify("links.example.com", target)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(opened.Customer, opened.Destination, opened.Metadata)
	// Output: acme https://example.com/ {"deal":7}
}

// The unsubscribe address of a mail, for its List-Unsubscribe header.
func ExampleSigner_Sign_unsubscribe() {
	signer, err := exampleRing().Signer("https://links.example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	link, err := signer.Sign(linkcore.Fields{Customer: "acme", Recipient: "r83jf", Link: "u9dKe03mVxQ"}, "", linkcore.Options{Kind: linkcore.Unsubscribe, ExactLink: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("List-Unsubscribe: <" + link.URL + ">")
	fmt.Println("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
	// Output:
	// List-Unsubscribe: <https://links.example.com/u1.acme..r83jf.u9dKe03mVxQ..ayYYw6XI_Rg9ojD5dtyiNw/>
	// List-Unsubscribe-Post: List-Unsubscribe=One-Click
}

// A handler of one's own checks the raw target, never the parsed URL. The
// package redirect has one that does all the rest.
func ExampleKeyRing_Verify() {
	ring := exampleRing()
	handler := func(w http.ResponseWriter, r *http.Request) {
		link, err := ring.Verify(r.Host, r.RequestURI)
		if err != nil || link.Kind != linkcore.Click {
			http.Error(w, "This link is not valid.", http.StatusNotFound)
			return
		}
		w.Header()["Location"] = []string{link.Destination}
		w.WriteHeader(http.StatusFound)
	}
	_ = handler
}

// What a link says can be read without a key, though it proves nothing.
func ExampleInspect() {
	a, err := linkcore.Inspect("https://links.example.com/c1.acme.spring26.r83jf.a1b2c3d4e5f.tc6u80.fpoEo77BvB5tjh1R-ObRUQ/https%3A%2F%2Fexample.com%2F")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.Kind, a.Key, a.Customer, a.Campaign, a.Sent.Format(time.RFC3339), a.Destination)
	broken, err := linkcore.Inspect("https://links.example.com/c1.acme.spring26.r83jf")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Join(broken.Problems, "\n"))
	// Output:
	// click 1 acme spring26 2026-03-20T08:00:00Z https://example.com/
	// the first path segment is not a token: it has 4 parts joined by dots, not seven
}

// The envelope sender of one recipient's mail, and what a bounce to it says.
func ExampleReturnPathSigner() {
	ring := exampleRing()
	signer, err := ring.ReturnPathSigner("bounces+@example.com", "1")
	if err != nil {
		log.Fatal(err)
	}
	address, err := signer.Sign(linkcore.Fields{Customer: "acme", Campaign: "spring26", Recipient: "r83jf"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("MAIL FROM:<" + address + ">")

	bounced, err := ring.VerifyReturnPath(strings.ToUpper(address))
	fmt.Println(bounced.Customer, bounced.Campaign, bounced.Recipient, err)
	_, err = ring.VerifyReturnPath(strings.Replace(address, "r83jf", "r83jg", 1))
	fmt.Println(errors.Is(err, linkcore.ErrReturnPathTag))
	// Output:
	// MAIL FROM:<bounces+b1.acme.spring26.r83jf.7vfk45rynlffqfvl@example.com>
	// acme spring26 r83jf <nil>
	// true
}

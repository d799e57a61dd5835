package redirect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
	"example.com/linktracker/linkcore/redirect"
)

// printer is a sink of our own. A real one returns when the event is safe.
type printer struct{}

func (printer) Publish(_ context.Context, messages []event.Message) error {
	for _, m := range messages {
		var e event.Event
		if err := e.UnmarshalJSON(m.Data); err != nil {
			return err
		}
		fmt.Println("event:", e.Type, e.Customer, e.Recipient, e.Destination)
	}
	return nil
}

func (printer) Batching() event.Batching { return event.Batching{} }

func (printer) Close(context.Context) error { return nil }

// A team mounts tracked links under /t/ of its own server, with its own sink,
// and watches what strangers try.
func Example() {
	keys, err := linkcore.NewKeyRing(map[string][]byte{"1": bytes.Repeat([]byte("secret! "), 4)})
	if err != nil {
		panic(err)
	}
	recorder, err := record.NewRecorder(record.Options{TrustedProxies: 1})
	if err != nil {
		panic(err)
	}
	delivery := delivery.New(printer{}, delivery.Options{})
	defer delivery.Close(context.Background())
	invalid := make(chan error, 1)
	links, err := redirect.New(redirect.Options{
		Keys:     keys,
		Recorder: recorder,
		Delivery: delivery,
		Prefix:   "/t",
		Invalid:  func(r *http.Request, cause error) { invalid <- cause },
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/t/", links)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the team's own pages") })
	server := httptest.NewServer(mux)
	defer server.Close()

	// The mailing program makes links that begin with the same prefix.
	signer, err := keys.Signer(server.URL+"/t", "1")
	if err != nil {
		panic(err)
	}
	link, err := signer.Sign(linkcore.Fields{Customer: "acme", Recipient: "r83jf"}, "https://example.com/pricing?a=1", linkcore.Options{})
	if err != nil {
		panic(err)
	}

	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, url := range []string{link.URL, strings.Replace(link.URL, "acme", "evil", 1)} {
		response, err := browser.Get(url)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, response.Body) // ends when the event is safe
		response.Body.Close()
		fmt.Printf("%d %q\n", response.StatusCode, response.Header.Get("Location"))
	}
	fmt.Println("a wrong tag:", errors.Is(<-invalid, linkcore.ErrTag))
	fmt.Println(links.Stats().Redirects, "redirect,", links.Stats().Invalid, "invalid")

	// Output:
	// event: click acme r83jf https://example.com/pricing?a=1
	// 302 "https://example.com/pricing?a=1"
	// 404 ""
	// a wrong tag: true
	// 1 redirect, 1 invalid
}

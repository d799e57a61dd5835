// Embed serves tracked links under /t/ of a server, with a sink of its own.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/record"
	"example.com/linktracker/linkcore/redirect"
)

type printer struct{}

func (printer) Publish(_ context.Context, messages []event.Message) error {
	for _, m := range messages {
		if _, err := os.Stdout.Write(append(m.Data, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (printer) Batching() event.Batching    { return event.Batching{} }
func (printer) Close(context.Context) error { return nil }

func main() {
	keys, err := linkcore.OpenKeyRing("keys", nil)
	if err != nil {
		log.Fatal(err)
	}
	recorder, err := record.NewRecorder(record.Options{TrustedProxies: 1})
	if err != nil {
		log.Fatal(err)
	}
	links, err := redirect.New(redirect.Options{
		Keys: keys, Recorder: recorder, Delivery: delivery.New(printer{}, delivery.Options{}), Prefix: "/t",
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/t/", links)
	log.Fatal(http.ListenAndServe("localhost:8080", nil))
}

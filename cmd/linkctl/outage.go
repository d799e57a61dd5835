package main

import (
	"time"

	"example.com/linktracker/linkcore/advice"
)

// What the verbs say where one of Google's APIs cannot be used.
var (
	readingRules = advice.Service{
		Name:     "Firestore",
		Denied:   "your account needs the role roles/datastore.viewer on this project",
		NotFound: "check the project and the database in --blocklist or BLOCKLIST",
		Emulator: "FIRESTORE_EMULATOR_HOST",
	}
	writingRules = advice.Service{
		Name:     "Firestore",
		Denied:   "your account needs the role roles/datastore.user on this project",
		NotFound: readingRules.NotFound,
		Emulator: readingRules.Emulator,
	}
	clicksPublisher = advice.Service{
		Name:     "Pub/Sub",
		Denied:   "your account needs the role roles/pubsub.publisher on this topic, as Terraform's variable `replayers` gives it",
		NotFound: "check the project and the topic in --clicks or CLICKS",
		Silent:   "run it again, it goes on from here",
		Emulator: "PUBSUB_EMULATOR_HOST",
	}
)

// An outage tells on standard error when nothing can be received from a source,
// and remembers it for the summary.
type outage struct {
	t      *tool
	source string
	since  time.Time // of the one that lasts; zero: none does
	sum    time.Duration
}

// tell is for [event.ReceiveOptions].
func (o *outage) tell(cause error) {
	if cause == nil {
		o.sum += o.lasted()
		o.since = time.Time{}
		o.t.note("receiving from %s again", o.source)
		return
	}
	if o.since.IsZero() {
		o.since = time.Now()
	}
	o.t.complain("warning: nothing can be received from %s: %v", o.source, cause)
}

func (o *outage) lasted() time.Duration {
	if o.since.IsZero() {
		return 0
	}
	return time.Since(o.since)
}

// summary says for how long nothing could be received, and why nothing can now
// if err says so; else it is empty.
func (o *outage) summary(err error) string {
	all := o.sum + o.lasted()
	if all == 0 {
		return ""
	}
	text := "; nothing could be received for " + max(all.Round(time.Second), time.Second).String() + " of it"
	if err != nil {
		text += ", nor in the end"
	}
	return text
}

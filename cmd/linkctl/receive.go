package main

import (
	"strings"
	"time"
)

// An outage reports on standard error when nothing can be received from a source,
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

// labels returns the labels of a subscription that a verb makes for itself: who
// made it, and for what.
func (t *tool) labels(verb string) map[string]string {
	return map[string]string{"made-by": labelValue(t.whoami()), "made-for": verb}
}

// labelValue makes a label's value of a text: at most 63 of a-z 0-9 _ -.
func labelValue(s string) string {
	b := []byte(strings.ToLower(s))
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			b[i] = '-'
		}
	}
	return string(b[:min(len(b), 63)])
}

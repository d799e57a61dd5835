package main

import (
	"context"
	"regexp"

	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

// subscriptionURL is how a subscription is written.
var subscriptionURL = regexp.MustCompile(`^pubsub://[^/?#%\s]+/subscriptions/[^/?#%\s]+$`)

// clicksURL is how what events are published to is written.
var clicksURL = regexp.MustCompile(`^(file:.+|pubsub://[^/?#%\s]+/[^/?#%\s]+)$`)

// openClicks opens what --clicks names, to publish to it.
func openClicks(ctx context.Context, clicks string, o endpoint.SinkOptions) (event.Sink, error) {
	if !clicksURL.MatchString(clicks) {
		return nil, usagef("where the events should go (--clicks, CLICKS): %q is neither pubsub://PROJECT/TOPIC nor file:PATH", clicks)
	}
	sink, err := endpoint.OpenSink(ctx, clicks, o)
	if err != nil {
		return nil, clicksPublisher.Explain(err)
	}
	return sink, nil
}

// Package event says what is recorded of a request for a tracked link, and
// takes it to whoever subscribes.
//
// A [Recorder] makes an [Event] of a request, and tells by its [Signals] whether a
// person made it or a machine ([Automation]); EVENTS.md beside this file is the
// contract of its fields, agents.tsv and networks.tsv are the lists of machines.
// What is found out later becomes an event of its own ([NewVerdict]).
//
// A [Delivery] takes events to a [Sink] after the answer has left: Pub/Sub, a file
// or standard output as [OpenSink] opens them, or one of your own. What the sink
// does not take in time is spilled: written as one structured log line, from
// which it can be replayed.
//
//	sink, err := event.OpenSink(ctx, "pubsub://my-project/clicks", event.SinkOptions{})
//	…
//	delivery := event.NewDelivery(sink, event.DeliveryOptions{})
//	defer delivery.Close(ctx)
//	…
//	e := recorder.Record(r, received, link, event.Outcome{Type: event.Click})
//	delivery.Deliver(e)
//
// Every event that is offered is delivered or spilled when its Deliver has
// returned ([Hold]) or at the end of [Delivery.Close] at the latest
// ([Background]); [Delivery.Stats] counts both. The only exception are events
// that could not even be spilled, which are counted as lost.
package event

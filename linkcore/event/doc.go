// Package event says what is recorded of a request and takes it to whoever
// subscribes.
//
// A [Recorder] makes an [Event] of a request for a tracked link; EVENTS.md
// beside this file is the contract of its fields. A [Delivery] takes events to
// a [Sink] (Pub/Sub, a file, standard output, or one's own) after the answer
// has left, and spills what the sink does not take in time as structured log
// lines, from which it is replayed later. No event is lost while its process
// lives.
package event

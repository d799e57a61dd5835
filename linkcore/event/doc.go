// Package event is what is recorded of a request for a tracked link, as it is
// written, published and read again.
//
// EVENTS.md beside this file is the contract of an [Event]'s fields. Its [Signals]
// say what was seen of who made the request, and its [Automation] whether that was
// a person or a machine. What is found out later becomes an event of its own
// ([NewVerdict]).
//
// An event travels as a [Message] to a [Sink], and comes back as a [Received]; the
// packages below this one are the transports. What no sink took in time is written
// to the log as one line ([AppendSpilled]), from which it is published again
// ([ParseSpilled]). [Unwrap] finds the event in whatever a file or a log keeps of it.
package event

package event

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Message is an event as it is published: its JSON object, and the attributes
// that go beside it. [Event.Message] makes one.
type Message struct {
	Data []byte

	// Event is decoded from Data. Its memory is not the caller's to keep.
	Event *Event

	// Attributes are the message's where they are not those that Event makes, as of
	// an event that a later version made.
	Attributes []Attribute
}

// AppendAttributes appends the message's attributes. They are made when they are
// asked for: not every sink has a use for them.
func (m *Message) AppendAttributes(dst []Attribute) []Attribute {
	if m.Attributes == nil {
		return m.Event.AppendAttributes(dst)
	}
	return append(dst, m.Attributes...)
}

// An Attribute is one of a message's attributes. Both are valid UTF-8 of at most
// 1,024 bytes, as Pub/Sub wants them.
type Attribute struct{ Name, Value string }

// A Sink takes messages to where they are safe. Its methods may be called from
// any number of goroutines.
type Sink interface {
	// Publish returns once the messages are safe, or with an error when they are
	// not or when the context ends: a sink that does not heed the context keeps
	// responses open. The messages' memory is the caller's again when Publish
	// returns, unless the context has ended by then. An error that wraps
	// [ErrRefused] says that such a message will never be taken; any other, that
	// the sink does not work. Where it is not the same for all messages, the error
	// is a [Failures].
	Publish(ctx context.Context, messages []Message) error

	// Batching says how messages are to share calls of Publish. The zero Batching
	// is one message a call, at once, and any number of calls.
	Batching() Batching

	// Close ends the sink. No Publish is called then or later.
	Close(ctx context.Context) error
}

// Batching says how messages share calls of a [Sink].
type Batching struct {
	Delay time.Duration // how long a message waits for others
	Count int           // most messages in a call; 0: one
	Bytes int           // from so many bytes on a call takes no more messages; 0: no limit
	Calls int           // most calls under way at once; 0: any number
}

// ErrRefused is wrapped by a sink's error for a message that it takes in no case,
// though it would take others.
var ErrRefused = errors.New("the event was refused")

// Failures are the errors of the messages of one call, in their order; nil for a
// message that is safe.
type Failures []error

// Error returns the first error and how many there are.
func (f Failures) Error() string {
	errs := f.Unwrap()
	return fmt.Sprintf("%d of %d events: %v", len(errs), len(f), errs[0])
}

// Unwrap returns the errors, for [errors.Is].
func (f Failures) Unwrap() []error {
	return slices.DeleteFunc(slices.Clone(f), func(err error) bool { return err == nil })
}

// FailureOf returns the error of the i-th message of a call that returned err.
func FailureOf(err error, i int) error {
	if failures, ok := err.(Failures); ok && i < len(failures) {
		return failures[i]
	}
	return err
}

// A Received is a message as it came from a transport.
type Received struct {
	// Data is the event's JSON object, byte for byte as it was published, or what
	// [Unwrap] finds it in. Anything that was published is in it too: it need
	// not be an event.
	Data []byte

	// Attributes are the message's; nil for a line of a file, which has none.
	Attributes map[string]string

	ID          string    // Pub/Sub's, the same when it comes again; empty for a line of a file
	PublishedAt time.Time // when Pub/Sub took it; zero for a line of a file
	Line        int       // of a file, from 1; 0 for a message

	Err  error          // why Data is not all there
	Done func(ack bool) // called by Ack and Nack; nil for a line of a file
}

// Event returns the event in the data, or why there is none.
func (r *Received) Event() (*Event, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	e := &Event{}
	if err := e.UnmarshalJSON(Unwrap(r.Data)); err != nil {
		return nil, err
	}
	return e, nil
}

// Ack says that the message is dealt with and need not come again. Each message
// of a subscription wants one Ack or Nack, also later and from another
// goroutine. For a line of a file both do nothing.
func (r *Received) Ack() { r.done(true) }

// Nack says that the message is to come again.
func (r *Received) Nack() { r.done(false) }

func (r *Received) done(ack bool) {
	if r.Done != nil {
		r.Done(ack)
	}
}

// ReceiveOptions configure how a transport receives messages. Each heeds those
// that concern it.
type ReceiveOptions struct {
	// Ready is called once, when no event that is published from now on will be
	// missed, and Pub/Sub has answered. nil: nobody is informed.
	Ready func()

	// Outage is called with the cause when nothing can be received from Pub/Sub:
	// at once where it refuses from the beginning, after two seconds where it says
	// nothing or a connection breaks, and every 15 seconds while that lasts; and
	// with nil when messages can come again. It is not called while a message is
	// handled. An existing subscription keeps what is published meanwhile. nil:
	// nobody is informed.
	Outage func(cause error)

	// Of a temporary subscription: what its name begins with (default
	// "linktracker"), labels that say who made it, and its filter in Pub/Sub's
	// syntax, at most [MaxFilter] bytes. The emulator ignores filters, and files
	// have none, so whoever sets one filters again.
	Name   string
	Labels map[string]string
	Filter string

	// Of a subscription: how many messages may wait in memory for their turn;
	// default 1,000.
	MaxOutstanding int

	// Of a file: wait for more at its end, through rotation and truncation; and
	// begin at its end.
	Follow  bool
	FromEnd bool
}

// MaxFilter is Pub/Sub's limit on a subscription's filter, in bytes.
const MaxFilter = 256

// ErrSource is wrapped by the errors of transports for a source that they do not
// understand.
var ErrSource = errors.New("unknown source of events")

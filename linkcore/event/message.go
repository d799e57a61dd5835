package event

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Message is an event as it was received.
type Message struct {
	// Data is the event's JSON object, byte for byte as it was published, or what
	// [Unwrap] finds it in. What a stranger may have published is in it too: it need
	// not be an event.
	Data []byte

	// Attributes are the message's; nil for a line of a file, which has none.
	Attributes map[string]string

	ID          string    // Pub/Sub's, the same when it comes again; empty for a line of a file
	PublishedAt time.Time // when Pub/Sub took it; zero for a line of a file
	Line        int       // of a file, from 1; 0 for a message

	err       error // why Data is not all there
	ack, nack func()
}

// Event returns the event that the data tells of, or why there is none.
func (m *Message) Event() (*Event, error) {
	if m.err != nil {
		return nil, m.err
	}
	e := &Event{}
	if err := e.UnmarshalJSON(Unwrap(m.Data)); err != nil {
		return nil, err
	}
	return e, nil
}

// Ack says that the message is dealt with and need not come again. Each message
// of a subscription wants one Ack or Nack, also later and from another
// goroutine; [Receive] waits for them at its end, for five seconds at most, and
// what had none by then comes again. For a line of a file both do nothing.
func (m *Message) Ack() {
	if m.ack != nil {
		m.ack()
	}
}

// Nack says that the message is to come again.
func (m *Message) Nack() {
	if m.nack != nil {
		m.nack()
	}
}

// ReceiveOptions configure [Receive].
type ReceiveOptions struct {
	// Ready is called once, when no event that is published from now on will be
	// missed, and Pub/Sub has answered.
	Ready func()

	// Outage is called with the cause when nothing can be received from Pub/Sub:
	// at once where it refuses from the beginning, after two seconds where it says
	// nothing or a connection breaks, and every 15 seconds while that lasts; and
	// with nil when messages can come again. It is not called while a message is
	// handled. An existing subscription keeps what is published meanwhile. nil:
	// nobody is told.
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

// Receive hands messages to handle, one at a time, until the context ends, at
// the end of a file that is not followed, or until it fails. It returns nil in
// the first two cases, but for an outage: where the context ends and Pub/Sub has
// never answered or could not be reached any more, the error says why. The source
// is one of
//
//	pubsub://PROJECT/TOPIC               what is published from now on, by a temporary subscription
//	pubsub://PROJECT/subscriptions/NAME  an existing subscription, which stays
//	file:PATH                            as linkcore/lines reads it, blank lines left out
//
// A temporary subscription is removed before Receive returns, also when the
// context has ended. One whose program was killed keeps its messages for 10
// minutes and is removed by Pub/Sub after 24 hours without a reader; both are
// the shortest that there are. PUBSUB_EMULATOR_HOST is heeded.
func Receive(ctx context.Context, source string, o ReceiveOptions, handle func(*Message)) error {
	if o.Ready == nil {
		o.Ready = func() {}
	}
	if path, ok := strings.CutPrefix(source, "file:"); ok && path != "" {
		return receiveFile(ctx, path, o, handle)
	}
	project, name, existing, ok := parseSource(source)
	if !ok {
		return fmt.Errorf("%w: %q is none of pubsub://PROJECT/TOPIC, pubsub://PROJECT/subscriptions/NAME, file:PATH", ErrSource, source)
	}
	return receivePubSub(ctx, project, name, existing, o, handle)
}

// parseSource takes the URL of a topic or, if existing is set, of a subscription
// apart.
func parseSource(source string) (project, name string, existing, ok bool) {
	rest, ok := strings.CutPrefix(source, "pubsub://")
	project, name, _ = strings.Cut(rest, "/")
	name, existing = strings.CutPrefix(name, "subscriptions/")
	return project, name, existing, ok && project != "" && name != "" && !strings.Contains(name, "/") && !strings.ContainsAny(rest, "?#% \t\r\n")
}

// ErrSource is wrapped by the error of [Receive] or [Drain] for a source that it
// does not understand.
var ErrSource = errors.New("unknown source of events")

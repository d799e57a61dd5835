package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	// At most so many events are published and not yet behind the cursor; those
	// are what a killed replay may publish again.
	replayWindow = 500

	// How often the cursor is written and progress shown, and the latter where
	// nobody looks on.
	cursorInterval = 250 * time.Millisecond
	reportInterval = 10 * time.Second

	// How long publishing one event may take, and how much of it is left when
	// the program is to end.
	replayTimeout = 30 * time.Second
	replayEnd     = 10 * time.Second

	// When so many events were refused or, in a subscription, not understood, the
	// rest would be too.
	maxRefused = 1000
)

// subscriptionURL is how a subscription is written.
var subscriptionURL = regexp.MustCompile(`^pubsub://[^/?#%\s]+/subscriptions/[^/?#%\s]+$`)

func (t *tool) replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay INPUT",
		Short: "Publish spilled events again",
		Long: `Publishes events again that an endpoint spilled, with their ids and times, as they
would have been published then. INPUT is one of

  PATH or file:PATH  a log file or an export of Cloud Logging: lines as endpoints
                     wrote them or log entries, one JSON object a line or one JSON
                     array, also packed with gzip; other lines are passed over
  -                  the same on standard input
  pubsub://PROJECT/subscriptions/NAME
                     the spill subscription (linktracker-spill in Terraform), until
                     nothing comes for --wait

--clicks is the endpoint's own setting, where the events should have gone. Your
account needs the right to publish there, which Terraform's variable replayers
gives, and operators alone have not.

Replaying can be stopped and run again. How far a file was replayed is kept in a
cursor beside it, INPUT.cursor, which also tells whether the file is still the one
that it was; a log may have become longer. A message of the subscription is
acknowledged once its event is. So no event is published twice, unless the program
is killed or Pub/Sub does not answer: then those that were under way, at most ` + fmt.Sprint(replayWindow) + `,
may be. They have the same event_id, by which subscribers tell duplicates apart; as
they do with an event that had reached the topic although it was spilled.

What cannot be read is told with its line, and everything else is replayed. So are
events that the topic refuses, such as those that its schema does not allow: mend
that and run it again. In a subscription both stay. The exit code is 1 if there
were any.`,
		Example: `  linkctl replay --dry-run spilled.jsonl
  linkctl replay --clicks pubsub://my-project/clicks spilled.jsonl
  gcloud logging read 'jsonPayload.message="event spilled"' --format=json | linkctl replay -
  linkctl replay pubsub://my-project/subscriptions/linktracker-spill`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give one input: a file, - or pubsub://PROJECT/subscriptions/NAME")
			}
			return nil
		},
	}
	clicksFlag(c)
	flags := c.Flags()
	cursorPath := flags.String("cursor", "", "`FILE` that says how far the input was replayed (default INPUT.cursor)")
	dryRun := flags.Bool("dry-run", false, "publish nothing: say what would be")
	wait := flags.Duration("wait", 10*time.Second, "end when nothing came from the subscription for this `TIME`")
	c.RunE = func(c *cobra.Command, args []string) error {
		input, ctx := args[0], c.Context()
		subscription := strings.HasPrefix(input, "pubsub://")
		path := strings.TrimPrefix(input, "file:")
		switch {
		case subscription && !subscriptionURL.MatchString(input):
			return usagef("%q is no subscription: give pubsub://PROJECT/subscriptions/NAME", input)
		case subscription && *dryRun:
			return usagef("--dry-run is for files: `gcloud pubsub subscriptions pull NAME --limit=1` shows a message and leaves it there")
		case c.Flag("cursor").Changed && (subscription || input == "-"):
			return usagef("--cursor is for files: only those can be read from the middle")
		case c.Flag("wait").Changed && !subscription:
			return usagef("--wait is for subscriptions: a file has an end")
		case *wait <= 0:
			return usagef("--wait %v: give a time such as 10s", *wait)
		case path == "":
			return usagef("the input is empty")
		case *cursorPath == "" && input != "-":
			*cursorPath = path + ".cursor"
		}
		r := &replay{t: t, published: newRecentIDs(recentIDs), reasons: map[string]*span{}, started: t.now()}
		r.clicks = t.setting(c, "clicks", "CLICKS")
		if !*dryRun {
			clicks, err := t.required(c, "clicks", "CLICKS", "where the events should go")
			if err != nil {
				return err
			}
			if clicks == "stdout" {
				return usagef("events are replayed to pubsub://PROJECT/TOPIC or file:PATH, not to stdout")
			}
			if r.sink, err = openClicks(ctx, clicks, event.SinkOptions{Timeout: replayTimeout}); err != nil {
				return err
			}
			defer r.sink.Close(context.WithoutCancel(ctx))
		}
		var err error
		switch {
		case subscription:
			err = r.subscription(ctx, input, *wait)
		case input == "-":
			if f, ok := t.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				return usagef("no log entries: give a file, or pipe them to standard input")
			}
			err = r.entries(ctx, interruptible(ctx, t.stdin), "", cursor{}, 0)
		default:
			err = r.file(ctx, path, *cursorPath)
		}
		if errors.Is(err, event.ErrSource) {
			return usageError{err}
		}
		return r.end(err)
	}
	return c
}

// A replay is one run.
type replay struct {
	t       *tool
	clicks  string
	sink    event.Sink // nil: nothing is published
	started time.Time

	// mu guards what follows.
	mu        sync.Mutex
	published *recentIDSet
	reasons   map[string]*span // what was replayed, by reason
	before    int              // replayed by earlier runs
	doubles   int              // met again, and not published
	refused   int
	bad       int // chunks that could not be read
	badBefore int // by earlier runs
	others    int // lines that tell of something else
	reported  time.Time
	onLine    bool // a line of progress is on the terminal
}

// A span is how many events there were, and of which time.
type span struct {
	events      int
	first, last time.Time
}

func (s *span) add(at time.Time) {
	if s.events == 0 || at.Before(s.first) {
		s.first = at
	}
	if s.events == 0 || at.After(s.last) {
		s.last = at
	}
	s.events++
}

func (r *replay) replayed() (all span) {
	for _, s := range r.reasons {
		events := all.events + s.events
		all.add(s.first)
		all.add(s.last)
		all.events = events
	}
	return all
}

// file replays a file from where the cursor is.
func (r *replay) file(ctx context.Context, path, cursorPath string) error {
	c, err := readCursor(cursorPath)
	if err != nil {
		return err
	}
	if c.Clicks != "" && r.clicks != "" && c.Clicks != r.clicks {
		return fmt.Errorf("%s tells of a replay to %s: give another --cursor, or remove it to replay to %s too", cursorPath, c.Clicks, r.clicks)
	}
	check, _, err := openInput(path)
	if err != nil {
		return err
	}
	unpacked, compressed, err := lines.Unpack(check)
	if err == nil {
		if err = c.check(unpacked); err != nil {
			err = fmt.Errorf("%s %w: remove %s to replay it from the beginning", path, err, cursorPath)
		}
	} else {
		err = fmt.Errorf("read %s: %w", path, err)
	}
	check.Close()
	if err != nil {
		return err
	}
	f, size, err := openInput(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if compressed {
		size = 0 // says nothing of how far it is read
	}
	return r.entries(ctx, f, cursorPath, c, size)
}

// openInput opens a file, and returns its size.
func openInput(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory: give a file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// A pending event is one that is behind the cursor.
type pending struct {
	lines.Line
	before [sha256.Size]byte // SHA-256 of all that is before it

	event *event.Spilled // nil: the input ends in it, and it may yet become one
	done  bool
	err   error
}

// A fileReplay replays what a file or standard input holds. All happens in one
// goroutine but the calls that publish.
type fileReplay struct {
	*replay
	reader *lines.Reader
	hash   hash.Hash // of all that was read
	size   int64     // of the input, 0 if not known

	path    string // of the cursor; empty: none is kept
	cursor  cursor // as it was read, and then written
	refused map[int64]bool

	queue    []*pending // in the input's order; the first is not done
	finished chan *pending
	underWay map[string]bool // ids
	unsaved  int             // finished since the cursor was written
	saved    time.Time
	ended    bool // there is nothing more to read
	err      error
}

// entries replays what an input holds from where a cursor is, and keeps the
// cursor if it has a path.
func (r *replay) entries(ctx context.Context, input io.Reader, path string, c cursor, size int64) error {
	f := &fileReplay{
		replay: r, reader: lines.NewReader(input), hash: sha256.New(), size: size,
		path: path, cursor: c, refused: map[int64]bool{},
		finished: make(chan *pending, replayWindow), underWay: map[string]bool{}, saved: r.t.now(),
	}
	f.reader.Tee = f.hash
	if f.cursor.Clicks == "" {
		f.cursor.Clicks = r.clicks
	}
	for _, id := range c.Done {
		r.published.add(id)
	}
	for _, offset := range c.Refused {
		f.refused[offset] = true
	}
	r.before, r.badBefore = c.Replayed, c.Unreadable

	publishing, stop := publishingContext(ctx)
	defer stop()
	for {
		reading := !f.ended && f.err == nil && ctx.Err() == nil
		switch {
		case reading && len(f.finished) == 0 && len(f.underWay)+f.unsaved < replayWindow:
			f.read(publishing)
		case len(f.underWay) > 0:
			f.settle(<-f.finished)
		case !reading:
			if err := f.save(); err != nil && f.err == nil {
				f.err = err
			}
			if f.err == nil {
				f.err = ctx.Err()
			}
			return f.err
		}
		if f.unsaved >= replayWindow/2 || r.t.now().Sub(f.saved) >= cursorInterval {
			if err := f.save(); err != nil && f.err == nil {
				f.err = err
			}
			r.progress(f.reader.Offset(), size)
		}
	}
}

// read reads one chunk, and begins to publish the event in it.
func (f *fileReplay) read(ctx context.Context) {
	before := f.sum()
	k, err := f.reader.Next()
	if err != nil {
		f.ended = true
		if err != io.EOF {
			f.err = fmt.Errorf("read the input: %w", err)
		}
		return
	}
	if k.Start < f.cursor.Offset && !f.refused[k.Start] {
		return // done by an earlier run
	}
	if len(k.Text) == 0 {
		return
	}
	var spilled *event.Spilled
	if err = lines.ErrTooLong; !k.TooLong {
		spilled, err = event.ParseSpilled(k.Text)
	}
	p := &pending{Line: k, before: before, event: spilled}
	p.Text = nil // the reader's
	if k.Last && err != nil {
		f.queue = append(f.queue, p)
	}
	switch {
	case errors.Is(err, event.ErrNotSpilled):
		f.others++
		return
	case err != nil:
		f.bad++
		f.complain("%s: %v", k.Where(), err)
		return
	}
	id := spilled.Event.ID
	for f.underWay[id] {
		f.settle(<-f.finished)
	}
	if f.met(id) {
		return
	}
	if k.Start >= f.cursor.Offset {
		f.queue = append(f.queue, p)
	}
	f.underWay[id] = true
	go func() {
		p.err = f.publish(ctx, spilled)
		f.finished <- p
	}()
}

// settle takes what became of an event.
func (f *fileReplay) settle(p *pending) {
	delete(f.underWay, p.event.Event.ID)
	f.unsaved++
	switch {
	case p.err == nil:
		p.done = true
		delete(f.refused, p.Start)
		f.took(p.event)
	case errors.Is(p.err, event.ErrRefused):
		p.done = true
		f.refused[p.Start] = true
		if err := f.refuse(p.Where(), p.event, p.err); err != nil && f.err == nil {
			f.err = err
		}
	case f.err == nil:
		f.err = clicksPublisher.Explain(fmt.Errorf("publish the event of %s: %w", p.Where(), p.err))
	}
	for len(f.queue) > 0 && f.queue[0].done {
		f.queue = f.queue[1:]
	}
}

// save writes the cursor.
func (f *fileReplay) save() error {
	f.unsaved, f.saved = 0, f.t.now()
	if f.path == "" || f.sink == nil {
		return nil
	}
	offset, sum := f.reader.Offset(), f.sum()
	f.cursor.Done = nil
	for i, p := range f.queue {
		if i == 0 {
			offset, sum = p.Start, p.before
		}
		if p.done && !f.refused[p.Start] {
			f.cursor.Done = append(f.cursor.Done, p.event.Event.ID)
		}
	}
	if offset >= f.cursor.Offset {
		f.cursor.Offset, f.cursor.SHA256 = offset, hex.EncodeToString(sum[:])
	}
	f.cursor.Refused = nil
	for _, start := range slices.Sorted(maps.Keys(f.refused)) {
		if start < f.cursor.Offset {
			f.cursor.Refused = append(f.cursor.Refused, start)
		}
	}
	f.cursor.Replayed = f.before + f.replayed().events
	f.cursor.Unreadable = f.badBefore + f.bad
	return f.cursor.write(f.path)
}

// sum returns the SHA-256 of all that was read.
func (f *fileReplay) sum() (sum [sha256.Size]byte) {
	f.hash.Sum(sum[:0])
	return sum
}

// publishingContext returns a context that ends some time after another, so that
// what is under way can be awaited.
func publishingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	publishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-publishing.Done():
		case <-time.After(replayEnd):
			cancel()
		}
	})
	return publishing, func() { stop(); cancel() }
}

// subscription replays the messages of a subscription until there are none.
func (r *replay) subscription(ctx context.Context, source string, wait time.Duration) error {
	receive, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	publishing, stopPublishing := publishingContext(ctx)
	defer stopPublishing()
	var (
		slots    = make(chan struct{}, replayWindow)
		underWay = map[string]chan struct{}{} // by id; guarded by r.mu
		came     int
	)
	r.t.note("replaying %s until nothing has come for %v", source, wait)
	outage := &outage{t: r.t, source: source}
	err := event.Drain(receive, source, wait, outage.tell, func(m *event.Message) {
		came++
		name := fmt.Sprintf("message %d, of %s", came, stamp(m.PublishedAt))
		spilled, err := event.ParseSpilled(m.Data)
		if err != nil {
			m.Nack()
			r.mu.Lock()
			r.bad++
			bad := r.bad
			r.mu.Unlock()
			r.complain("%s: %v; it stays in the subscription", name, err)
			if bad >= maxRefused {
				stop(fmt.Errorf("%d messages could not be read, so the rest was not tried: is this the spill subscription?", bad))
			}
			return
		}
		id := spilled.Event.ID
		// The same event in two messages: what becomes of the first decides.
		r.mu.Lock()
		first := underWay[id]
		r.mu.Unlock()
		if first != nil {
			<-first
		}
		if r.met(id) {
			m.Ack()
			return
		}
		finished := make(chan struct{})
		r.mu.Lock()
		underWay[id] = finished
		r.mu.Unlock()
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			switch err := r.publish(publishing, spilled); {
			case err == nil:
				r.took(spilled)
				m.Ack()
			case errors.Is(err, event.ErrRefused):
				m.Nack()
				if err := r.refuse(name, spilled, err); err != nil {
					stop(err)
				}
			default:
				m.Nack()
				stop(clicksPublisher.Explain(fmt.Errorf("publish the event of %s: %w", name, err)))
			}
			r.mu.Lock()
			delete(underWay, id)
			r.mu.Unlock()
			close(finished)
			r.progress(0, 0)
		}()
	})
	switch cause := context.Cause(receive); {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return cause // nil unless stopped
	}
}

// publish publishes an event, unless nothing is to be published.
func (r *replay) publish(ctx context.Context, s *event.Spilled) error {
	if r.sink == nil {
		return nil
	}
	return s.Publish(ctx, r.sink)
}

// met tells whether an event was published already, and counts it then.
func (r *replay) met(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.published.has(id) {
		return false
	}
	r.doubles++
	return true
}

// took counts an event that was published.
func (r *replay) took(s *event.Spilled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published.add(s.Event.ID)
	of := r.reasons[s.Reason]
	if of == nil {
		of = &span{}
		r.reasons[s.Reason] = of
	}
	of.add(s.Event.OccurredAt)
}

// refuse tells of an event that was refused. It returns an error if there is no
// sense in going on.
func (r *replay) refuse(where string, s *event.Spilled, err error) error {
	r.mu.Lock()
	r.refused++
	refused := r.refused
	r.mu.Unlock()
	spilledAs := ""
	if s.Reason == event.Refused {
		spilledAs = ", as it was when it was spilled"
	}
	r.complain("%s: event %s was refused%s: %v", where, s.Event.ID, spilledAs, clicksPublisher.Explain(err))
	if refused >= maxRefused {
		return fmt.Errorf("%d events were refused, so the rest was not tried: mend the topic's schema first", refused)
	}
	return nil
}

// complain is the tool's, beside the line of progress and from any goroutine.
func (r *replay) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clearLine()
	r.t.complain(format, args...)
}

// clearLine removes the line of progress from the terminal.
func (r *replay) clearLine() {
	if r.onLine {
		fmt.Fprint(r.t.stderr, "\r\x1b[K")
		r.onLine = false
	}
}

// progress tells on standard error how far the replay is, of so many bytes where
// that is known: on a terminal in one line, else now and then.
func (r *replay) progress(offset, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	interval := reportInterval
	f, ok := r.t.stderr.(*os.File)
	terminal := ok && term.IsTerminal(int(f.Fd()))
	if terminal {
		interval = cursorInterval
	}
	now := r.t.now()
	if r.reported.IsZero() {
		r.reported = r.started
	}
	if now.Sub(r.reported) < interval {
		return
	}
	r.reported = now
	text := count(r.replayed().events, "event") + " replayed"
	if size > 0 {
		text += fmt.Sprintf(", %d%% of the file", min(100*offset/size, 100))
	}
	if !terminal {
		fmt.Fprintln(r.t.stderr, text)
		return
	}
	fmt.Fprint(r.t.stderr, "\r\x1b[K", text)
	r.onLine = true
}

// end tells what was done. The error is what ended the replay early.
func (r *replay) end(err error) error {
	r.mu.Lock()
	r.clearLine()
	r.mu.Unlock()
	t := r.t
	all := r.replayed()
	if err != nil && all.events+r.doubles+r.refused+r.bad == 0 {
		return err
	}
	verb := "replayed"
	if r.sink == nil {
		verb = "to be replayed"
	}
	fmt.Fprintf(t.stdout, "%s %s", count(all.events, "event"), verb)
	if all.events > 0 {
		fmt.Fprintf(t.stdout, ", of %s to %s", stamp(all.first), stamp(all.last))
	}
	fmt.Fprintln(t.stdout)
	for _, reason := range slices.Sorted(maps.Keys(r.reasons)) {
		fmt.Fprintf(t.stdout, "  %d spilled as: %s\n", r.reasons[reason].events, printable(reason))
	}
	for _, line := range []struct {
		n                   int
		singular, remainder string
	}{
		{r.before, "event", " replayed by earlier runs"},
		{r.doubles, "event", " met again, and not published twice"},
		{r.refused, "event", " refused"},
		{r.bad, "entry", " not understood"},
		{r.badBefore, "entry", " not understood by earlier runs"},
		{r.others, "line", " of something else"},
	} {
		if line.n > 0 {
			fmt.Fprintf(t.stdout, "%s%s\n", count(line.n, line.singular), line.remainder)
		}
	}
	if err == nil && r.refused+r.bad+r.badBefore > 0 {
		return errNo
	}
	return err
}

// count is a number of things: 1 event, 2 events, 2 entries.
func count(n int, singular string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(singular, "y"):
		singular = strings.TrimSuffix(singular, "y") + "ies"
	default:
		singular += "s"
	}
	return fmt.Sprintf("%d %s", n, singular)
}

// clicksURL is how what events are published to is written.
var clicksURL = regexp.MustCompile(`^(file:.+|pubsub://[^/?#%\s]+/[^/?#%\s]+)$`)

// openClicks opens what --clicks names, to publish to it.
func openClicks(ctx context.Context, clicks string, o event.SinkOptions) (event.Sink, error) {
	if !clicksURL.MatchString(clicks) {
		return nil, usagef("where the events should go (--clicks, CLICKS): %q is neither pubsub://PROJECT/TOPIC nor file:PATH", clicks)
	}
	sink, err := event.OpenSink(ctx, clicks, o)
	if err != nil {
		return nil, clicksPublisher.Explain(err)
	}
	return sink, nil
}

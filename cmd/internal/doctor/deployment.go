package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
)

// ring is the key ring that makes the probes.
type ring struct {
	*linkcore.KeyRing        // nil: there is none
	signing           string // id of the key that signs; empty: it is not known
	findings          []Finding
}

const checkRing = "key-ring"

func (d *doctor) openRing(ctx context.Context) *ring {
	finding := func(level Level, seen, advice string) Finding {
		return Finding{Check: checkRing, Level: level, Seen: seen, Advice: advice}
	}
	r := &ring{}
	if d.Keys == "" {
		r.findings = []Finding{finding(Skipped, "not checked, nor is any link: there is no key ring", "give --keys or set LINK_KEYS")}
		return r
	}
	// A directory on a network may hang.
	var keys *linkcore.KeyRing
	var err error
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		keys, err = linkcore.OpenKeyRing(d.Keys, nil)
	}()
	timer := time.NewTimer(d.Timeout)
	defer timer.Stop()
	select {
	case <-opened:
	case <-ctx.Done():
		return r
	case <-timer.C:
		r.findings = []Finding{finding(Problem, fmt.Sprintf("%s cannot be read within %v", d.Keys, d.Timeout), "see whether the disk or the mounted volume answers")}
		return r
	}
	if err != nil {
		r.findings = []Finding{finding(Problem, err.Error(), "give the directory of the key ring, one file a key, to --keys or LINK_KEYS")}
		return r
	}
	r.KeyRing = keys
	problems := r.Problems()
	ids := r.IDs()
	r.signing = d.SigningKey
	switch {
	case r.signing != "" && !slices.Contains(ids, r.signing):
		r.findings = append(r.findings, finding(Problem, fmt.Sprintf("the signing key %s is not in the ring, which has %s", r.signing, strings.Join(ids, ", ")), "give --signing-key or LINK_SIGNING_KEY the id of a key that is there"))
		r.signing = ""
	case r.signing == "" && len(ids) > 1:
		r.findings = append(r.findings, finding(Problem, fmt.Sprintf("the ring has the keys %s, and which one signs is not said", strings.Join(ids, ", ")), "give --signing-key or set LINK_SIGNING_KEY"))
	default:
		if r.signing == "" {
			r.signing = ids[0]
		}
		r.findings = append(r.findings, finding(OK, fmt.Sprintf("%s: %s; %s signs", plural(len(ids), "key"), strings.Join(ids, ", "), r.signing), ""))
	}
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		r.findings = append(r.findings, finding(Problem, fmt.Sprintf("the key file %s is not used: %s", name, problems[name]), "repair or remove the file; a key whose links are still in mails is needed"))
	}
	return r
}

const checkStore = "blocklist"

// checkBlocklist asks the blocklist how many rules it has. Of Firestore that is
// a count, which costs next to nothing, and not the rules.
func (d *doctor) checkBlocklist(ctx context.Context) []Finding {
	one := func(level Level, seen, advice string) []Finding {
		return []Finding{{Check: checkStore, Level: level, Seen: seen, Advice: advice}}
	}
	switch d.Blocklist {
	case "":
		return one(Skipped, "not checked: there is no blocklist", "give --blocklist or set BLOCKLIST")
	case "none":
		return one(Skipped, "not checked: the endpoint has none (BLOCKLIST=none)", "")
	}
	source, err := endpoint.OpenSource(d.Blocklist)
	if err != nil {
		return one(Problem, err.Error(), "give --blocklist or BLOCKLIST what the endpoint has")
	}
	defer source.Close()
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	begin := time.Now()
	n, err := source.Count(ctx, d.now())
	skipped, lifted := 0, ", those that were lifted within a day included"
	if errors.Is(err, errors.ErrUnsupported) {
		lifted = ""
		n, skipped, err = d.countRules(ctx)
	}
	if err != nil {
		seen := "it cannot be read: " + err.Error()
		if ctx.Err() != nil {
			seen = fmt.Sprintf("it did not answer within %v", d.Timeout)
		}
		return one(Problem, seen, storeAdvice(err))
	}
	took := time.Since(begin)
	f := one(OK, fmt.Sprintf("%s, counted in %s%s", plural(n, "rule"), milliseconds(took), lifted), "")
	f[0].Measured = map[string]float64{"rules": float64(n), "took": inMilliseconds(took)}
	if skipped > 0 {
		f = append(f, one(Warning, plural(skipped, "entry")+" cannot be understood and does nothing", "linkctl rules names each")...)
	}
	return f
}

func (d *doctor) countRules(ctx context.Context) (n, skipped int, err error) {
	store, err := endpoint.OpenStore(d.Blocklist)
	if err != nil {
		return 0, 0, err
	}
	defer store.Close()
	rules, documents, err := store.List(ctx)
	for _, r := range rules {
		if r.Stands(d.now()) {
			n++
		}
	}
	return n, len(documents), err
}

// storeAdvice says what to do about an error of Firestore.
func storeAdvice(err error) string {
	switch code := status.Code(err); {
	case strings.Contains(err.Error(), "could not find default credentials"), code == codes.Unauthenticated:
		return "sign in with `gcloud auth application-default login`"
	case code == codes.PermissionDenied:
		return "your account needs the role roles/datastore.user on this project (to read: roles/datastore.viewer)"
	case code == codes.NotFound:
		return "check the project and the database in --blocklist or BLOCKLIST"
	}
	return "see whether Firestore is reachable from here and up (https://status.cloud.google.com); endpoints go on with the copy that they have, and links work"
}

const checkTopic = "clicks"

// topic receives the probes' events.
type topic struct {
	findings []Finding
	usable   bool
	cancel   context.CancelFunc // nil: nothing was begun
	done     chan error         // of endpoint.Receive

	mu       sync.Mutex
	arrivals map[string]*arrival // by link
	arrived  chan struct{}       // closed and made anew at each arrival
}

// An arrival is an event that came.
type arrival struct {
	*event.Event
	at        time.Time // by this machine's clock
	published time.Time // by Pub/Sub's; zero for a file
}

// openTopic opens a subscription and returns when nothing will be missed.
func (d *doctor) openTopic(ctx context.Context) *topic {
	t := &topic{arrivals: map[string]*arrival{}, arrived: make(chan struct{}), done: make(chan error, 1)}
	say := func(level Level, seen, advice string) *topic {
		t.findings = []Finding{{Check: checkTopic, Level: level, Seen: seen, Advice: advice}}
		return t
	}
	switch {
	case d.Clicks == "":
		return say(Skipped, "not checked: give --clicks", "")
	case d.Clicks == "stdout":
		return say(Skipped, "not checked: the endpoint writes events to its log (CLICKS=stdout), which cannot be read from here", "")
	case strings.HasPrefix(d.Clicks, "pubsub://") && strings.Contains(d.Clicks, "/subscriptions/"):
		return say(Problem, fmt.Sprintf("%q is a subscription, whose readers would miss what is read here", d.Clicks), "give the topic: pubsub://PROJECT/TOPIC")
	}
	receive, cancel := context.WithCancel(ctx)
	t.cancel = cancel
	ready := make(chan struct{})
	begin := time.Now()
	go func() {
		t.done <- endpoint.Receive(receive, d.Clicks, event.ReceiveOptions{
			Name:    "linkctl-doctor",
			Labels:  d.Labels,
			Filter:  `attributes.customer = "` + linkcore.ProbeCustomer + `"`,
			Follow:  true,
			FromEnd: true,
			Ready:   func() { close(ready) },
		}, func(m *event.Received) {
			m.Ack()
			t.take(m, d.now())
		})
	}()
	timer := time.NewTimer(d.Timeout)
	defer timer.Stop()
	select {
	case <-ready:
		t.usable = true
		took := time.Since(begin)
		if strings.HasPrefix(d.Clicks, "file:") {
			return say(OK, "the file can be read", "")
		}
		return say(OK, "a subscription for this check was made in "+milliseconds(took), "")
	case err := <-t.done:
		t.done <- nil
		if ctx.Err() != nil {
			return t
		}
		return say(Problem, err.Error(), "give --clicks or CLICKS what the endpoint has")
	case <-ctx.Done():
		return t
	case <-timer.C:
		cancel()
		return say(Problem, fmt.Sprintf("no subscription could be made within %v", d.Timeout), "see whether Pub/Sub is reachable from here and up (https://status.cloud.google.com); endpoints write their events to the log meanwhile, and linkctl replay brings them back")
	}
}

func (t *topic) take(m *event.Received, now time.Time) {
	e, err := m.Event()
	if err != nil || e.Customer != linkcore.ProbeCustomer {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.arrivals[e.Link] == nil {
		t.arrivals[e.Link] = &arrival{e, now, m.PublishedAt}
		close(t.arrived)
		t.arrived = make(chan struct{})
	}
}

// await waits until the event of a link is there, or the context ends.
func (t *topic) await(ctx context.Context, link string) *arrival {
	for {
		t.mu.Lock()
		a, next := t.arrivals[link], t.arrived
		t.mu.Unlock()
		if a != nil {
			return a
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil
		}
	}
}

// close removes the subscription. One of which nothing was heard in time may yet be
// made: that is waited for, so that it is removed as well, but not for longer.
func (t *topic) close(patience time.Duration) []Finding {
	if t.cancel == nil {
		return nil
	}
	t.cancel()
	var late <-chan time.Time
	if !t.usable {
		late = time.After(patience)
	}
	select {
	case err := <-t.done:
		if err != nil && t.usable {
			return []Finding{{Check: checkTopic, Level: Warning, Seen: err.Error(), Advice: "remove it in the console, or leave it to Pub/Sub"}}
		}
	case <-late:
	}
	return nil
}

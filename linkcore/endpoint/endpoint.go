// Package endpoint joins the parts of the click endpoint: it reads the
// environment (CONFIG.md), opens key ring, blocklist and event sink, and makes
// the handler of them. The function and the server of cmd/linktracker are two
// doors to the same [Endpoint]:
//
//	e, err := endpoint.FromEnvironment(ctx, os.Getenv, os.Stdout)
//	http.ListenAndServe(":8080", e)
//	e.Close(ctx) // ends what is in flight, flushes, spills
//
// An endpoint serves at once, also while its first load of the blocklist is
// under way; nothing that it opens is waited for over the network.
package endpoint

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/delivery"
	"example.com/linktracker/linkcore/environment"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
	"example.com/linktracker/linkcore/record"
	"example.com/linktracker/linkcore/redirect"
)

// StopTimeout bounds a stop. Cloud Run gives 10 seconds after SIGTERM.
const StopTimeout = 9 * time.Second

// spillTime is kept of a stop for spilling what the sink did not take.
const spillTime = time.Second

// keyCheck is how often the key ring is asked whether it is due. On an instance
// that has no CPU between requests, requests ask instead.
const keyCheck = 10 * time.Second

// ballast is how much larger the heap may grow between two garbage collections,
// in bytes. Few rules make a heap so small that it is collected hundreds of
// times a second under load, which takes a tenth of a click's processor time. A
// higher GOGC would do the same, and let a million rules take three times their
// memory.
const ballast = 4 << 20

// An Endpoint is the handler with all its parts, running.
type Endpoint struct {
	Log *slog.Logger

	// Never written to, so that no memory stands behind it.
	ballast []byte

	handler  *redirect.Handler
	keys     *linkcore.KeyRing
	rules    *blocklist.Cache
	sink     event.Sink
	delivery *delivery.Delivery
	stats    stats

	proxiesUnknown atomic.Bool // until a proxy was warned of

	inFlight atomic.Int64
	stopping atomic.Bool
	stop     context.CancelFunc
	tickers  sync.WaitGroup
}

// FromEnvironment is [ParseConfig] and [New]. Its error is one line, a
// [*linkcore.FieldError] whose Field is the variable.
func FromEnvironment(ctx context.Context, getenv func(string) string, stdout io.Writer) (*Endpoint, error) {
	c, err := ParseConfig(getenv)
	if err != nil {
		return nil, err
	}
	return New(ctx, c, stdout)
}

// New opens what the configuration points to and starts the endpoint. Logs,
// spilled events and, with CLICKS=stdout, events go to stdout, each line in one
// write. What can't be opened is a [*linkcore.FieldError]
// with the variable as its Field. The context's values are
// used, not its end: an endpoint runs until [Endpoint.Close].
func New(ctx context.Context, c Config, stdout io.Writer) (e *Endpoint, err error) {
	lines := lines.NewWriter(stdout)
	log := NewLog(lines, c.LogLevel)
	for variable, meant := range c.Misspelt {
		log.Warn("environment variable ignored: it is not known", "variable", variable, "did_you_mean", meant)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	e = &Endpoint{Log: log, stop: stop, ballast: make([]byte, ballast)}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if e.keys, err = linkcore.OpenKeyRing(c.Keys, log); err != nil {
		return nil, environment.Unusable("LINK_KEYS", err)
	}
	recorder, err := record.NewRecorder(record.Options{
		TrustedProxies:  c.TrustedProxies,
		CountryHeader:   c.CountryHeader,
		PrivacySignals:  c.PrivacySignals,
		ClientIP:        c.ClientIP,
		ScannerNetworks: c.ScannerNetworks,
		Log:             log,
	})
	if err != nil {
		return nil, err
	}
	e.sink, err = OpenSink(ctx, c.Clicks, SinkOptions{Timeout: c.DeliveryTimeout, Stdout: lines})
	if err != nil {
		return nil, environment.Unusable("CLICKS", err)
	}
	source, err := OpenSource(c.Blocklist)
	if err != nil {
		return nil, environment.Unusable("BLOCKLIST", err)
	}
	e.rules = blocklist.NewCache(source, blocklist.Options{
		Refresh: c.BlocklistRefresh,
		Reload:  c.BlocklistReload,
		MaxAge:  c.BlocklistMaxAge,
		Wait:    c.BlocklistWait,
		Log:     log,
	})
	e.delivery = delivery.New(e.sink, delivery.Options{
		Mode:    c.Delivery,
		Timeout: c.DeliveryTimeout,
		HoldMax: c.HoldMax,
		Spill:   lines,
		Log:     log,
	})
	e.handler, err = redirect.New(redirect.Options{
		Keys:                e.keys,
		Rules:               e.rules,
		Recorder:            recorder,
		Delivery:            e.delivery,
		Unavailable:         c.Unavailable,
		HomeURL:             c.HomeURL,
		TrustForwardedProto: c.TrustedProxies > 0,
		Ready:               e.ready(c.BlocklistStartWait),
		Project:             project(c),
		Log:                 log,
	})
	if err != nil {
		return nil, err
	}
	e.proxiesUnknown.Store(c.ProxiesUnknown)
	e.rules.Start(ctx)
	e.tickers.Go(func() {
		ticker := time.NewTicker(keyCheck)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				e.keys.RefreshIfDue()
			case <-ctx.Done():
				return
			}
		}
	})
	return e, nil
}

// mostStartWaits is how many times BLOCKLIST_START_WAIT may pass until /-/ready
// answers 200 in any case.
const mostStartWaits = 10

// ready returns what /-/ready asks. The keys are loaded by then. It goes on to be
// ready whatever comes.
func (e *Endpoint) ready(wait time.Duration) func() bool {
	start := time.Now()
	var was atomic.Bool
	return func() bool {
		if was.Load() {
			return true
		}
		rules := e.rules.Stats()
		if !isReady(rules, time.Since(start), wait) {
			return false
		}
		if was.CompareAndSwap(false, true) && rules.Loading {
			e.Log.Warn("ready before the blocklist is loaded: clicks ask it for the rules of their link",
				"documents", rules.Documents, "in_time", rules.InTime)
		}
		return true
	}
}

// isReady waits for a whole copy of the blocklist: for the wait in any case, and
// after it while the source sends something but would be late for a click.
func isReady(rules blocklist.Stats, waited, wait time.Duration) bool {
	late := rules.Heard && !rules.InTime
	return !rules.Loading || waited >= wait && !late || waited >= mostStartWaits*wait
}

// project finds the Google Cloud project that traces belong to: the one of the
// topic or of the blocklist.
func project(c Config) string {
	for _, url := range []string{c.Clicks, c.Blocklist} {
		if _, rest, ok := strings.Cut(url, "://"); ok {
			name, _, _ := strings.Cut(rest, "/")
			return name
		}
	}
	return ""
}

// ServeHTTP answers a request as redirect/HTTP.md says.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	if e.stopping.Load() {
		refuse(w)
		return
	}
	if e.proxiesUnknown.Load() && len(r.Header["X-Forwarded-For"]) > 0 && e.proxiesUnknown.CompareAndSwap(true, false) {
		e.Log.Warn("X-Forwarded-For is ignored: set TRUSTED_PROXIES to the number of proxies in front that append to it, or to 0 if there are none")
	}
	e.stats.arm(e)
	e.handler.ServeHTTP(w, r)
}

// refuse ends a connection without an answer: whoever is in front then tries
// another instance. A click that was answered now could not be delivered.
func refuse(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	conn.Close()
}

// Stop ends the endpoint within [StopTimeout]: end is called first, to stop
// accepting and to wait for the requests in flight until its context ends;
// [Endpoint.Close] follows. What goes wrong is logged.
func (e *Endpoint) Stop(end func(context.Context) error) {
	// When ctx ends, Close spills for a second and then drains for another.
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout-2*spillTime)
	defer cancel()
	answered, cancelAnswered := context.WithTimeout(ctx, StopTimeout-3*spillTime)
	defer cancelAnswered()
	if err := end(answered); err != nil {
		e.Log.Warn("stopping with requests in flight", "error", err.Error())
	}
	if err := e.Close(ctx); err != nil {
		e.Log.Error("not everything ended", "error", err.Error())
	}
}

// Close ends the endpoint: every event whose request was answered is delivered
// or, if that takes until the context ends, spilled when it returns, and the
// last stats line is written. Requests that still come get no answer.
func (e *Endpoint) Close(ctx context.Context) error {
	err := e.delivery.Close(ctx)
	// Events are spilled at once from here on, so requests end quickly.
	e.stopping.Store(true)
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), spillTime)
	defer cancel()
	if e.Drain(drained) != nil {
		err = errors.Join(err, errors.New("requests are still in flight"))
	}
	e.stop()
	e.tickers.Wait()
	err = errors.Join(err, e.rules.Close())
	e.stats.write(e)
	return err
}

// Drain waits until no request is in flight, for a server that can't stop
// accepting by itself. It returns the context's error if that ends first.
func (e *Endpoint) Drain(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for e.inFlight.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

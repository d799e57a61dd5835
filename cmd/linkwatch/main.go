// Linkwatch watches click events for abuse, for as long as it runs: a worker that
// reads one subscription, raises alerts as structured log lines, publishes
// verdicts to the click topic and, if it is told to, writes rules that expire.
// `linkctl watch` does the same for people.
//
// It is configured by environment variables, which CONFIG.md describes, and stops
// gracefully on SIGTERM and SIGINT. It exits 2 if its configuration cannot be
// understood and 1 if it can no longer receive.
//
// One instance is enough for 50,000 events a second, and two would each see half:
// what it knows is in its memory. Package guard says what a restart forgets.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/watch"
	"example.com/linktracker/linkcore/watch/guard"
)

// statsInterval is how often the line "watch stats" is logged.
const statsInterval = time.Minute

func main() {
	debug.SetGCPercent(watch.GCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintln(stderr, "linkwatch: it takes no arguments: cmd/linkwatch/CONFIG.md describes the environment variables that configure it")
		return 2
	}
	c, err := parseConfig(getenv)
	if err == nil {
		err = serve(ctx, c, stdout)
	}
	switch err.(type) {
	case nil:
		return 0
	case *configError:
		fmt.Fprintln(stderr, "linkwatch:", err)
		return 2
	}
	fmt.Fprintln(stderr, "linkwatch:", err)
	return 1
}

func serve(ctx context.Context, c config, stdout io.Writer) error {
	log := endpoint.NewLog(stdout, c.logLevel)
	o := guard.Options{
		Watch:          c.watch,
		BlockFor:       c.blockFor,
		BlockCustomers: c.block == blockAll,
		Protect:        c.protect,
		CreatedBy:      "linkwatch",
		Alert:          func(a watch.Alert, o guard.Outcome) { guard.LogAlert(log, a, o) },
		Warn:           func(message string, err error) { log.Warn(message, "error", err.Error()) },
	}
	if c.clicks != "none" {
		sink, err := event.OpenSink(ctx, c.clicks, event.SinkOptions{})
		if err != nil {
			return &configError{"CLICKS", err.Error() + ", none"}
		}
		defer sink.Close(context.WithoutCancel(ctx))
		o.Verdicts = sink
	}
	if c.block != blockOff {
		store, err := blocklist.OpenStore(c.blocklist)
		if err != nil {
			return &configError{"BLOCKLIST", err.Error()}
		}
		defer store.Close()
		o.Rules = store
	}
	g, err := guard.New(o)
	if err != nil {
		return explain(err)
	}

	watching, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		logStats(watching, log, g)
	}()
	log.Info("watching", "subscription", c.subscription)
	err = g.Run(ctx, c.subscription, event.ReceiveOptions{})
	stop()
	<-ended
	if err != nil {
		return fmt.Errorf("SUBSCRIPTION: %w", err)
	}
	log.Info("stopped")
	return nil
}

// logStats logs what was counted once a minute and in the end.
func logStats(ctx context.Context, log *slog.Logger, g *guard.Guard) {
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	var last guard.Stats
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		s := g.Stats()
		attributes := []any{
			"events", s.Events - last.Events,
			"repeated", s.Repeated - last.Repeated,
			"late", s.Late - last.Late,
			"unreadable", s.Unreadable - last.Unreadable,
			"skewed", s.Skewed - last.Skewed,
			"alerts", s.Alerts - last.Alerts,
			"verdicts", s.Verdicts - last.Verdicts,
			"published", s.Published - last.Published,
			"dropped", s.Dropped - last.Dropped,
		}
		if !s.Newest.IsZero() {
			attributes = append(attributes, "newest_event_age_seconds", int64(time.Since(s.Newest).Seconds()))
		}
		log.Info("watch stats", attributes...)
		last = s
	}
}

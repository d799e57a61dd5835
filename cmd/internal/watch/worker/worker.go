// Package worker is the watcher as a program that nobody sits before: it is
// configured by environment variables, reads one subscription, logs alerts as
// structured lines and publishes verdicts. CONFIG.md beside this file describes its
// variables and its lines. cmd/linkwatch runs it, and linkctl watch the [Worker] alone.
package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/environment"
	"example.com/linktracker/linkcore/event"
	"example.com/linktracker/linkcore/lines"
)

// statsInterval is how often the line "watch stats" is logged.
const statsInterval = time.Minute

// Run watches until the context ends, and finishes what is under way. The error is
// a [*linkcore.FieldError] if what the configuration names cannot be opened, and another
// one if events can no longer be received.
func Run(ctx context.Context, c Config, stdout io.Writer) error {
	log := endpoint.NewLog(lines.NewWriter(stdout), c.LogLevel)
	o := Options{
		Watch: c.Watch,
		Alert: func(a watch.Alert) { LogAlert(log, a) },
		Warn:  func(message string, err error) { log.Warn(message, "error", err.Error()) },
	}
	if c.Clicks != "none" {
		sink, err := endpoint.OpenSink(ctx, c.Clicks, endpoint.SinkOptions{})
		if err != nil {
			return environment.Unusable("CLICKS", fmt.Errorf("%w, none", err))
		}
		defer sink.Close(context.WithoutCancel(ctx))
		o.Verdicts = sink
	}
	w, err := New(o)
	if err != nil {
		return explain(err)
	}

	watching, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	var receiving atomic.Bool
	go func() {
		defer close(ended)
		logStats(watching, log, w, &receiving)
	}()
	err = w.Run(ctx, c.Subscription, event.ReceiveOptions{
		Ready: func() {
			receiving.Store(true)
			log.Info("watching", "subscription", c.Subscription)
		},
		Outage: func(cause error) {
			receiving.Store(cause == nil)
			if cause == nil {
				log.Info("receiving again", "subscription", c.Subscription)
				return
			}
			log.Error("nothing can be received", "subscription", c.Subscription, "error", cause.Error())
		},
	})
	stop()
	<-ended
	if err != nil {
		return fmt.Errorf("SUBSCRIPTION: %w", err)
	}
	log.Info("stopped")
	return nil
}

// logStats logs what was counted once a minute and in the end.
func logStats(ctx context.Context, log *slog.Logger, w *Worker, receiving *atomic.Bool) {
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	var last Stats
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		s := w.Stats()
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
			"receiving", receiving.Load(),
		}
		if !s.Newest.IsZero() {
			attributes = append(attributes, "newest_event_age_seconds", int64(time.Since(s.Newest).Seconds()))
		}
		log.Info("watch stats", attributes...)
		last = s
	}
}

// LogAlert logs an alert as one line, "message":"abuse alert" with what
// [watch.Alert.Attrs] tells. Terraform makes notifications of such lines.
func LogAlert(log *slog.Logger, a watch.Alert) {
	log.LogAttrs(context.Background(), a.Severity, "abuse alert", a.Attrs()...)
}

// Linkwatch watches click events for abuse, for as long as it runs: a worker that
// reads one subscription, raises alerts as structured log lines, publishes
// verdicts to the click topic and, if configured to, writes rules that expire.
// `linkctl watch` does the same for people.
//
// It is configured by environment variables, which
// cmd/internal/watch/worker/CONFIG.md describes, and stops gracefully on SIGTERM
// and SIGINT. It exits 2 if its configuration cannot be understood and 1 if it can
// no longer receive.
//
// One instance is enough for 50,000 events a second, and two would each see half:
// what it knows is in its memory. Package guard says what a restart forgets.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/cmd/internal/watch/worker"
	"example.com/linktracker/linkcore"
)

func main() {
	debug.SetGCPercent(watch.GCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintln(stderr, "linkwatch: it takes no arguments: cmd/internal/watch/worker/CONFIG.md describes the environment variables that configure it")
		return 2
	}
	c, err := worker.ParseConfig(getenv)
	if err == nil {
		err = worker.Run(ctx, c, stdout)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "linkwatch:", err)
	var config *linkcore.FieldError
	if errors.As(err, &config) {
		return 2
	}
	return 1
}

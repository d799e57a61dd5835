// Linkwatch watches click events for abuse, for as long as it runs: a worker that
// reads one subscription, raises alerts as structured log lines and publishes
// verdicts to the click topic. `linkctl watch` does the same for people.
//
// It is configured by environment variables, which
// cmd/internal/watch/worker/CONFIG.md describes, and stops gracefully on SIGTERM
// and SIGINT. It exits 2 if its configuration cannot be understood and 1 if it can
// no longer receive.
//
// One instance is enough for 50,000 events a second, and two would each see half:
// what it knows is in its memory. CONFIG.md says what a restart forgets.
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

	"example.com/linktracker/cmd/internal/version"
	"example.com/linktracker/cmd/internal/watch"
	"example.com/linktracker/cmd/internal/watch/worker"
	"example.com/linktracker/linkcore"
)

const help = `Linkwatch watches click events for abuse, logs alerts as JSON lines and publishes
verdicts, until SIGTERM or Ctrl-C. It takes no arguments. Environment variables
configure it:

  SUBSCRIPTION  pubsub://PROJECT/subscriptions/NAME of the events (required)
  CLICKS        pubsub://PROJECT/TOPIC for verdicts, or none (required)
  KNOWN_HOSTS   destination hosts that raise no alert
  LEARNING      how long after the start all hosts count as known (1h)
  LOG_LEVEL     info, debug, warn or error

cmd/internal/watch/worker/CONFIG.md has the thresholds. linkwatch --version prints
the version.
`

func main() {
	debug.SetGCPercent(watch.GCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "--help", "-h", "help":
			fmt.Fprint(stdout, help)
			return 0
		case "--version":
			fmt.Fprintln(stdout, "linkwatch", version.String())
			return 0
		}
		fmt.Fprintf(stderr, "linkwatch: %q: it takes no arguments; linkwatch --help says what configures it\n", args[0])
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

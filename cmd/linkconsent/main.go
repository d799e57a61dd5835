// Linkconsent makes rules of objections to tracking: it takes the events of a Pub/Sub
// push subscription, writes the rule untracked of a recipient who objects, and lifts it
// when the objection is withdrawn. Every endpoint follows within its refresh.
//
// CONFIG.md beside this file describes its environment variables and its answers. It
// stops gracefully on SIGTERM and SIGINT. It exits 2 if its configuration cannot be
// understood and 1 if it cannot listen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/api/idtoken"

	"example.com/linktracker/linkcore/blocklist/firestore"
	"example.com/linktracker/linkcore/endpoint"
	"example.com/linktracker/linkcore/environment"
)

const usage = `Linkconsent makes rules of the objections to tracking that a Pub/Sub push
subscription sends, until SIGTERM or Ctrl-C. Environment variables configure it:

  BLOCKLIST             firestore://PROJECT/DATABASE/COLLECTION (required)
  PUSH_AUDIENCE         the audience of the push's tokens (required)
  PUSH_SERVICE_ACCOUNT  the service account of the push's tokens (required)
  PORT                  where it listens (8080)
  LOG_LEVEL             info, debug, warn or error

cmd/linkconsent/CONFIG.md has the details.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("linkconsent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "linkconsent:", err)
		return code
	}
	r := environment.New(getenv)
	url := r.Required("BLOCKLIST", "firestore://PROJECT/DATABASE/COLLECTION")
	c := consumer{
		audience: r.Required("PUSH_AUDIENCE", "the audience of the push subscription's tokens"),
		account:  r.Required("PUSH_SERVICE_ACCOUNT", "the e-mail of the service account of the push subscription's tokens"),
		validate: idtoken.Validate,
	}
	listen := endpoint.Config{Port: r.Int("PORT", 8080, 0, 65535)}
	c.log = endpoint.NewLog(stdout, r.LogLevel("LOG_LEVEL"))
	if err := r.Err(); err != nil {
		return fail(2, err)
	}
	store, err := endpoint.OpenStore(url)
	if err != nil {
		return fail(2, environment.Unusable("BLOCKLIST", err))
	}
	defer store.Close()
	var ok bool
	if c.rules, ok = store.(*firestore.Collection); !ok {
		return fail(2, environment.Unusable("BLOCKLIST", fmt.Errorf("%q is not of the form firestore://PROJECT/DATABASE/COLLECTION", url)))
	}
	listener, err := listen.Listen("")
	if err != nil {
		return fail(1, err)
	}
	if err := c.serve(ctx, listener); err != nil {
		return fail(1, err)
	}
	return 0
}

// serve answers until the context ends, and ends what is under way then.
func (c *consumer) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:      c,
		ReadTimeout:  pushTimeout,
		WriteTimeout: 2 * pushTimeout,
		ErrorLog:     slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	c.log.Info("listening", "address", listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), endpoint.StopTimeout)
	defer cancel()
	err := server.Shutdown(stop)
	c.log.Info("stopped")
	return err
}

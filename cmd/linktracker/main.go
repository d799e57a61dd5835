// Linktracker is the click endpoint as a server of its own.
//
// It is configured by environment variables, which
// linkcore/endpoint/CONFIG.md describes, and stops gracefully on SIGTERM and
// SIGINT: it stops accepting, ends what is in flight, flushes its events,
// spills the rest and exits 0. It exits 2 if its configuration cannot be
// understood and 1 if it can't listen.
//
// With --dev it needs no configuration: it makes a key ring, a rules file and a
// clicks file under ./.linktracker/ where they are missing, listens on
// 127.0.0.1:$PORT and prints a tracked link to click. It ignores LINK_KEYS,
// BLOCKLIST and CLICKS, which may be production's, and says so.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/linktracker/cmd/internal/version"
	"example.com/linktracker/linkcore/endpoint"
)

const (
	// What a collector may take to ask, and to read its answer.
	metricsTimeout = 30 * time.Second

	// How long a stop waits for a collector that is reading: what
	// endpoint.StopTimeout leaves of the platform's 10 s.
	metricsStop = time.Second
)

const usage = `Linktracker is the click endpoint as a server of its own.

  linktracker          configured by environment variables
  linktracker --dev    needs nothing: makes keys, rules and a clicks file under
                       ./.linktracker/ where they are missing, listens on
                       127.0.0.1:$PORT, prints a tracked link to click and a line
                       for each request; ignores LINK_KEYS, BLOCKLIST and CLICKS,
                       and says so
  linktracker --version

Required: LINK_KEYS (a directory), BLOCKLIST (firestore://PROJECT/DATABASE/COLLECTION,
file:PATH or none), CLICKS (pubsub://PROJECT/TOPIC, file:PATH or stdout).
linkcore/endpoint/CONFIG.md describes every variable.

SIGTERM and SIGINT stop it gracefully. Exit codes: 0 stopped, 1 cannot listen,
2 the configuration cannot be understood.
`

func main() {
	// Links must work also when nobody reads the log any more: a write to a
	// closed standard output would end the process.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	dev := false
	if len(args) > 0 {
		switch args[0] {
		case "--dev", "-dev":
			dev = true
		case "--help", "-h", "help":
			fmt.Fprint(stdout, usage)
			return 0
		case "--version":
			fmt.Fprintln(stdout, "linktracker", version.String())
			return 0
		}
		if !dev || len(args) > 1 {
			fmt.Fprintf(stderr, "linktracker: %q is not understood: give --dev to try it, or nothing and environment variables; linktracker --help explains\n", strings.Join(args, " "))
			return 2
		}
	}
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "linktracker:", err)
		return code
	}
	host := ""
	if dev {
		var err error
		if getenv, err = devEnvironment(getenv, stderr); err != nil {
			return fail(1, err)
		}
		host, stdout = "127.0.0.1", &devLog{w: stdout}
	}
	c, err := endpoint.ParseConfig(getenv)
	if err != nil {
		return fail(2, err)
	}
	// Before anything is opened: a port in use must not cost a key or a rule read.
	listener, err := c.Listen(host)
	if dev && errors.Is(err, syscall.EADDRINUSE) {
		return fail(1, fmt.Errorf("port %d is taken: take another one, such as PORT=9090 make run", c.Port))
	}
	if err != nil {
		return fail(1, err)
	}
	defer listener.Close()
	var admin net.Listener
	if c.AdminAddress.IsValid() {
		if admin, err = net.Listen("tcp", c.AdminAddress.String()); err != nil {
			return fail(1, fmt.Errorf("ADMIN_ADDRESS: %w", err))
		}
		defer admin.Close()
	}
	e, err := endpoint.New(ctx, c, stdout)
	if err != nil {
		return fail(2, err)
	}
	server := e.Server(c)
	e.Log.Info("listening", "address", listener.Addr().String())
	if admin != nil {
		defer serveMetrics(e, admin)()
	}
	if dev {
		if err := printDevLink(stderr, getenv, listener.Addr()); err != nil {
			return fail(1, err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		e.Stop(e.Drain)
		return fail(1, err)
	case <-ctx.Done():
	}
	e.Log.Info("stopping")
	e.Stop(server.Shutdown)
	return 0
}

// serveMetrics serves the metrics page until it is to stop, which is after
// the endpoint, so that what a stop does can be seen there. That page is not
// what anybody's click depends on: it ends nothing if it fails.
func serveMetrics(e *endpoint.Endpoint, listener net.Listener) (stop func()) {
	server := &http.Server{
		Handler:           e.Metrics(),
		ReadHeaderTimeout: metricsTimeout,
		WriteTimeout:      metricsTimeout,
		IdleTimeout:       10 * metricsTimeout,
		ErrorLog:          slog.NewLogLogger(e.Log.Handler(), slog.LevelDebug),
	}
	e.Log.Info("serving metrics", "address", listener.Addr().String())
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			e.Log.Error("the metrics page is not served any more", "error", err.Error())
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), metricsStop)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	}
}

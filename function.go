// Package linktracker is the click endpoint as a serverless HTTP function.
//
// It registers the function Redirect with the Functions Framework:
//
//	gcloud run deploy linktracker --source . --function Redirect --base-image go126
//
// It is configured by environment variables (linkcore/endpoint/CONFIG.md).
// cmd/linktracker is the same endpoint as a server of its own.
package linktracker

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"example.com/linktracker/linkcore/endpoint"
)

// The framework's main neither reports what keeps a function from starting nor
// handles SIGTERM, so both are done here.
func init() {
	e, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "linktracker:", err)
		os.Exit(2)
	}
	// A write to a closed standard output would end the process.
	signal.Ignore(syscall.SIGPIPE)
	functions.HTTP("Redirect", e.ServeHTTP)

	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-terminate
		// The server keeps accepting, and every link that still comes is
		// answered until the last second.
		e.Stop(e.Drain)
		os.Exit(0)
	}()
}

// start starts the endpoint and, where the platform gives a port, its server.
//
// In front of a function the framework has a ServeMux, which redirects to a
// cleaned path before any handler sees the request. It decodes what a gateway
// decoded already, and its redirects lack the endpoint's headers. So the links
// are served here, before the framework's main begins, and the framework is left
// a port that nobody asks. A main that listens elsewhere than at PORT has the
// function as usual, behind its ServeMux.
func start() (*endpoint.Endpoint, error) {
	c, err := endpoint.ParseConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	var listener net.Listener
	if os.Getenv("PORT") != "" {
		host := ""
		if os.Getenv("LOCAL_ONLY") == "true" { // as the platform's main reads it
			host = "127.0.0.1"
		}
		if listener, err = c.Listen(host); err != nil {
			return nil, err
		}
		os.Setenv("PORT", "0")
	}
	e, err := endpoint.New(context.Background(), c, os.Stdout)
	if err != nil || listener == nil {
		return e, err
	}
	go func() {
		err := e.Server(c).Serve(listener)
		fmt.Fprintln(os.Stderr, "linktracker:", err)
		os.Exit(1)
	}()
	return e, nil
}

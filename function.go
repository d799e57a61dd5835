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
	"os"
	"os/signal"
	"syscall"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"example.com/linktracker/linkcore/endpoint"
)

// The framework's main neither reports what keeps a function from starting nor
// handles SIGTERM, so both are done here.
func init() {
	e, err := endpoint.FromEnvironment(context.Background(), os.Getenv, os.Stdout)
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
		// The framework keeps accepting, and every link that still comes is
		// answered until the last second.
		e.Stop(e.Drain)
		os.Exit(0)
	}()
}

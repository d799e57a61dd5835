package endpoint

import (
	"log/slog"
	"net/http"
	"time"

	"example.com/linktracker/linkcore"
)

const (
	// A request line of MaxTarget and the headers that browsers and proxies
	// add. net/http allows 4 KiB more than it is given.
	maxHeader = linkcore.MaxTarget + 48<<10

	readHeaderTimeout = 10 * time.Second

	// Longer than the 600 s for which Google's load balancers keep a
	// connection, so that they never use one that is being closed.
	idleTimeout = 620 * time.Second

	// What a client that writes its body or reads its answer slowly may take
	// beyond the delivery, during which a response is held.
	slowClient = 30 * time.Second
)

// Server returns the server of the links, with the bounds that the endpoint
// relies on. It listens nowhere yet.
func (e *Endpoint) Server(c Config) *http.Server {
	return &http.Server{
		Handler: e,
		// `OPTIONS *` gets the answer that everything else gets that is not a link.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  c.DeliveryTimeout + slowClient,
		WriteTimeout:                 c.DeliveryTimeout + slowClient,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		// What net/http has to say of clients names their addresses.
		ErrorLog: slog.NewLogLogger(e.Log.Handler(), slog.LevelDebug),
	}
}

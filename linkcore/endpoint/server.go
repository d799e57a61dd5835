package endpoint

import (
	"fmt"
	"log/slog"
	"net"
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

// Listen listens where the links are to be served: at PORT of the host, or of every
// address if that is empty.
func (c Config) Listen(host string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(c.Port)))
	if err != nil {
		return nil, fmt.Errorf("PORT: %w", err)
	}
	return l, nil
}

// A Server serves the links, with the bounds that the endpoint relies on.
type Server struct {
	*http.Server
	log *slog.Logger
}

// Serve is [http.Server.Serve]. When there are no file descriptors left, it closes
// the connections that have been idle for longest.
func (s *Server) Serve(l net.Listener) error {
	idle := closeIdle(l, s.log)
	s.ConnState = idle.connState
	return s.Server.Serve(idle)
}

// Server returns the server of the links. It listens nowhere yet.
func (e *Endpoint) Server(c Config) *Server {
	return &Server{log: e.Log, Server: &http.Server{
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
	}}
}

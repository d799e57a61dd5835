package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/email"
)

// The bounds of `linkctl rewrite --serve`.
const (
	maxServedMail  = 64 << 20         // bytes of a request's body
	largeMail      = 1 << 20          // bytes from which on few requests are read at once
	maxOptions     = 1000             // values of options in a request
	maxOptionBytes = 64 << 10         // of all of them, and of the header
	requestTimeout = time.Minute      // to read a request, and to write its answer
	stopTimeout    = 10 * time.Second // for requests under way when it is told to stop
	keysAge        = 10 * time.Second // how old the key ring may be that signs
	maxRewriters   = 64               // sets of options that are kept ready
)

// ownOptions are the flags of rewrite that a request cannot give.
var ownOptions = []string{"serve", "output", "keys"}

// perMail are the options in which the mails of one mailing differ, or that do not
// change how they are rewritten.
var perMail = append([]string{"customer", "campaign", "recipient", "sent", "type", "report", "dry-run"}, recipientFlags...)

// A mailServer rewrites mails that are sent to it by HTTP. A request's options are
// the command's flags: there is no other list of them.
type mailServer struct {
	t        *tool
	command  *cobra.Command // with the flags that hold for all requests
	working  places         // for mails that are rewritten
	reading  places         // for large requests: of those, memory holds few
	mu       sync.Mutex
	prepared map[string]preparedRewriter // by the options
}

// places bound how many requests do something at once.
type places chan struct{}

// take waits for a place, and returns false if the client has gone.
func (p places) take(r *http.Request) bool {
	select {
	case p <- struct{}{}:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (p places) leave() { <-p }

type preparedRewriter struct {
	*email.Rewriter
	since time.Time // when its keys were read
}

// serve answers requests at the address until the context ends.
func (t *tool) serve(c *cobra.Command, address string) error {
	n := 2 * runtime.GOMAXPROCS(0)
	s := &mailServer{t: t, command: c, working: make(places, n), reading: make(places, n), prepared: map[string]preparedRewriter{}}
	if _, _, err := s.rewriter("", nil); err != nil {
		return err
	}
	l, err := listenLocally(address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      2 * requestTimeout,
		IdleTimeout:       10 * time.Minute,
		MaxHeaderBytes:    maxOptionBytes,
	}
	if t.getenv("GOGC") == "" {
		debug.SetGCPercent(400) // little is kept between two mails
	}
	t.complain("serving at %s", l.Addr())
	stopped := make(chan error, 1)
	stop := context.AfterFunc(c.Context(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err = server.Serve(l)
	if stop() {
		return fmt.Errorf("serve at %s: %w", address, err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("requests did not end within %v and were cut: %w", stopTimeout, err)
	}
	return nil
}

// listenLocally listens where only this machine can connect: whoever can makes
// links.
func listenLocally(address string) (net.Listener, error) {
	if strings.Contains(address, "/") {
		l, err := net.Listen("unix", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			// A process that was killed leaves its socket behind.
			if c, dialErr := net.Dial("unix", address); errors.Is(dialErr, syscall.ECONNREFUSED) {
				os.Remove(address)
				l, err = net.Listen("unix", address)
			} else if dialErr == nil {
				c.Close()
			}
		}
		if err == nil {
			err = os.Chmod(address, 0o660) // its owner and group
		}
		if err != nil {
			return nil, fmt.Errorf("--serve: %w", err)
		}
		return l, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil || !isLoopback(host) {
		return nil, usagef("--serve %q: give the path of a Unix socket such as /run/linkctl.sock, or a loopback address such as 127.0.0.1:8026; whoever can connect makes links, so no other address is served", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--serve: %w", err)
	}
	return l, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// An answer is what was done with a mail, as JSON.
type mailAnswer struct {
	Mail   []byte         `json:"mail,omitempty"` // in base64
	Report *rewriteReport `json:"report"`
}

func (s *mailServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A page in a browser of this machine reaches it as well, also by a name that
	// its owner makes lead here.
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	overTCP := r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network() == "tcp"
	switch {
	case overTCP && !isLoopback(host) || r.Header.Get("Origin") != "":
		s.refuse(w, http.StatusForbidden, "", errors.New("requests of browsers, and for other hosts than localhost, are refused"))
	case r.URL.Path == "/-/ready" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		if _, _, err := s.rewriter("", nil); err != nil {
			s.refuse(w, http.StatusServiceUnavailable, "", err)
			return
		}
		io.WriteString(w, "ok\n")
	case r.URL.Path != "/":
		s.refuse(w, http.StatusNotFound, "", errors.New("POST a mail to /, or GET /-/ready"))
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		s.refuse(w, http.StatusMethodNotAllowed, "", errors.New("POST a mail"))
	default:
		if status, field, err := s.post(w, r); err != nil {
			s.refuse(w, status, field, err)
		}
	}
}

// post answers with the mail, or returns why not: the status, and the option that is
// wrong, if it is one.
func (s *mailServer) post(w http.ResponseWriter, r *http.Request) (status int, field string, err error) {
	if r.ContentLength < 0 || r.ContentLength >= largeMail {
		if !s.reading.take(r) {
			return 0, "", nil
		}
		defer s.reading.leave()
	}
	options, mail, err := readRequest(w, r)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge, "", fmt.Errorf("a request has at most %d MiB", large.Limit>>20)
	} else if err != nil {
		return http.StatusBadRequest, "", err
	}
	key := ""
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if s.command.Flags().Lookup(name) == nil || slices.Contains(ownOptions, name) {
			return http.StatusBadRequest, name, fmt.Errorf("%q is not an option of a request: linkctl help rewrite lists them, and %s are the server's own", name, strings.Join(ownOptions, ", "))
		}
		if !slices.Contains(perMail, name) {
			key += fmt.Sprintf("%q=%q\n", name, options[name])
		}
	}
	get := func(name string) (value string, given bool) {
		if values := options[name]; len(values) > 0 {
			return values[len(values)-1], true
		}
		f := s.command.Flag(name)
		return f.Value.String(), f.Changed
	}
	value := func(name string) string { v, _ := get(name); return v }
	fields, err := s.t.fieldsFrom(get)
	if err != nil {
		return http.StatusBadRequest, "sent", err
	}
	rewrite := mailTypes[value("type")]
	dryRun, err := strconv.ParseBool(value("dry-run"))
	switch {
	case err != nil:
		return http.StatusBadRequest, "dry-run", fmt.Errorf("%q: give true or false", value("dry-run"))
	case rewrite == nil:
		return http.StatusBadRequest, "type", fmt.Errorf("%q: give message, html, text or auto", value("type"))
	case value("report") != "" && value("report") != "json":
		return http.StatusBadRequest, "report", fmt.Errorf("%q: give json", value("report"))
	case len(bytes.TrimSpace(mail)) == 0:
		return http.StatusBadRequest, "mail", errors.New("it is empty: send the mail as the request's body, or as the field mail of a form")
	}
	rewriter, option, err := s.rewriter(key, options)
	if err != nil {
		return http.StatusBadRequest, option, err
	}
	if rewriter, err = forRecipient(rewriter, value); err != nil {
		return http.StatusBadRequest, optionOf(s.command, err), err
	}
	// A client that is slow to send its mail or to read the answer holds nobody up.
	if !s.working.take(r) {
		return 0, "", nil
	}
	result, err := func() (email.Result, error) {
		defer s.working.leave()
		return rewrite(rewriter, fields, mail)
	}()
	var fieldError *linkcore.FieldError
	switch {
	case aboutFlag(s.command, err) && errors.As(err, &fieldError):
		return http.StatusBadRequest, fieldError.Field, err
	case err != nil:
		return http.StatusUnprocessableEntity, "mail", err
	}
	report := newRewriteReport(&result)
	if dryRun || value("report") != "" {
		a := mailAnswer{Mail: result.Output, Report: report}
		if dryRun {
			a.Mail = nil
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(a)
		return 0, "", nil
	}
	for _, warning := range report.allWarnings() {
		w.Header().Add("Linkctl-Warning", printable(warning))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(len(result.Output)))
	w.Write(result.Output)
	return 0, "", nil
}

// refuse answers with an error, and with the option that is wrong, if it is one.
func (s *mailServer) refuse(w http.ResponseWriter, status int, field string, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		Error string `json:"error"`
		Field string `json:"field,omitempty"`
	}{dashes.ReplaceAllString(err.Error(), "$1"), field})
}

var dashes = regexp.MustCompile(`--([a-z])`)

// optionOf returns the option that an error about one begins with, as in
// "--utm: …" and "skip hosts: …", or "".
func optionOf(c *cobra.Command, err error) (name string) {
	begins, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "--"), ":")
	begins = strings.ReplaceAll(strings.ToLower(begins), " ", "-")
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(begins, f.Name) && len(f.Name) > len(name) {
			name = f.Name
		}
	})
	return name
}

// readRequest returns the options and the mail of a request: options from its query
// string, and from the fields of a form in multipart/form-data, whose field mail is
// the mail; any other body is the mail itself.
func readRequest(w http.ResponseWriter, r *http.Request) (options url.Values, mail []byte, err error) {
	body := http.MaxBytesReader(w, r.Body, maxServedMail)
	if options, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, nil, fmt.Errorf("the query string: %w", err)
	}
	kind, parameters, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		// The length tells how much is needed, where it is told and can be true.
		b := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), maxServedMail)+bytes.MinRead))
		_, err = b.ReadFrom(body)
		return options, b.Bytes(), err
	}
	form := multipart.NewReader(body, parameters["boundary"])
	for n, size := 0, 0; ; n++ {
		part, err := form.NextPart()
		if err == io.EOF {
			return options, mail, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("the form: %w", err)
		}
		if part.FormName() == "mail" {
			if mail, err = io.ReadAll(part); err != nil {
				return nil, nil, err
			}
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxOptionBytes+1))
		if err != nil {
			return nil, nil, err
		}
		if size += len(value); size > maxOptionBytes || n > maxOptions {
			return nil, nil, fmt.Errorf("the form has more than %d KiB or %d fields beside the mail", maxOptionBytes>>10, maxOptions)
		}
		options.Add(part.FormName(), string(value))
	}
}

// rewriter returns one for the options of a request, or the option that is wrong. It
// is ready if a request had the same and the keys were read a short time ago.
func (s *mailServer) rewriter(key string, options url.Values) (r *email.Rewriter, option string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.t.now()
	old, ok := s.prepared[key]
	if ok && now.Sub(old.since) < keysAge {
		return old.Rewriter, "", nil
	}
	c := &cobra.Command{}
	rewriteFlags(c.Flags())
	for name, values := range options {
		for _, value := range values {
			if err := c.Flags().Set(name, value); err != nil {
				return nil, name, err
			}
		}
	}
	s.command.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		_, given := options[f.Name]
		if _, both := options["tracking"]; both && (f.Name == "opens" || f.Name == "clicks") {
			given = true
		}
		for _, value := range values {
			if !given {
				c.Flags().Set(f.Name, value) // it was set before
			}
		}
	})
	if r, err = s.t.rewriter(c); err != nil {
		if ok {
			return old.Rewriter, "", nil // while the key ring cannot be read
		}
		return nil, optionOf(c, err), err
	}
	if len(s.prepared) >= maxRewriters {
		clear(s.prepared)
	}
	s.prepared[key] = preparedRewriter{r, now}
	return r, "", nil
}

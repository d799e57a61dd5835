// Package advice puts the errors of Google's APIs into words: what happened,
// without gRPC's own terms, and what to do about it.
package advice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Service is an API as one caller uses it.
type Service struct {
	Name     string // as people call it, such as "Pub/Sub"
	Denied   string // what to do where the account lacks a right
	NotFound string // where there is no such thing
	Silent   string // where the API cannot be reached; default "try again"
	Emulator string // environment variable that names an emulator's address
}

// Explain returns err in plain words, followed by what to do where that is
// known. The error wraps err. Explain returns nil for nil, and what it returned
// before unchanged.
func (s Service) Explain(err error) error {
	var done *explained
	if err == nil || errors.As(err, &done) {
		return err
	}
	text, what := plain(err.Error()), ""
	switch code := status.Code(err); {
	case strings.Contains(text, "could not find default credentials"), code == codes.Unauthenticated:
		what = "sign in with `gcloud auth application-default login`"
	case code == codes.PermissionDenied:
		what = s.Denied
	case code == codes.NotFound:
		what = s.NotFound
	case Unreachable(err):
		what = s.unreachable()
	}
	if what != "" {
		text = strings.TrimRight(text, ".") + ": " + what
	}
	if text == err.Error() {
		return err
	}
	return &explained{text, err}
}

func (s Service) unreachable() string {
	if host := os.Getenv(s.Emulator); s.Emulator != "" && host != "" {
		return fmt.Sprintf("see whether the emulator runs that %s=%s names", s.Emulator, host)
	}
	return s.Name + " did not answer; " + cmp.Or(s.Silent, "try again")
}

// Unreachable reports whether err says that nobody answered, rather than what
// was answered.
func Unreachable(err error) bool {
	if err == nil {
		return false
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "connection error: ") // of a stream, without its code
}

type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// What gRPC and its callers put around what happened.
var wrappings = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`retry failed with [^;]*; last error: `), ""},
	{regexp.MustCompile(`rpc error: code = \w+ desc = `), ""},
	{regexp.MustCompile(`connection error: desc = "(?:transport: )?(?:Error while dialing: )?(.*?)"`), "$1"},
	{regexp.MustCompile(`(?:authentication handshake failed: )?error reading server preface: .*`), "the server accepts connections and says nothing"},
	{regexp.MustCompile(`(?:latest balancer error|last connection error|last resolver error): `), ""},
	{regexp.MustCompile(`(?:received context error while waiting for new LB policy update: |stream terminated by RST_STREAM with error code: CANCEL: )`), ""},
	{regexp.MustCompile(`context deadline exceeded(?: while waiting for connections to become ready)?`), "no answer in time"},
}

func plain(text string) string {
	for _, w := range wrappings {
		text = w.pattern.ReplaceAllString(text, w.with)
	}
	return text
}

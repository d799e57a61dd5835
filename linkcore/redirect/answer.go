package redirect

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// answer is a whole response but for what the request adds. Header values are
// made once and shared by all responses: nobody may write into them.
type answer struct {
	status      int
	body        []byte
	length      []string
	contentType []string
	retryAfter  []string

	language []string // of a page; nil: it is none
	slot     int      // where in the body of a page the link to the page beside it goes
	beside   string   // the text of that link, as HTML
}

func newAnswer(status int, contentType string, body []byte) answer {
	return answer{
		status:      status,
		body:        body,
		length:      []string{strconv.Itoa(len(body))},
		contentType: []string{contentType},
	}
}

func (a answer) retry(seconds string) answer {
	a.retryAfter = []string{seconds}
	return a
}

const plainText = "text/plain; charset=utf-8"

var (
	redirectAnswer = answer{status: http.StatusFound, length: []string{"0"}}
	pixelAnswer    = newAnswer(http.StatusOK, "image/gif", pixel)
	iconAnswer     = newAnswer(http.StatusOK, "image/x-icon", icon)
	robotsAnswer   = newAnswer(http.StatusOK, plainText, robots)
	okAnswer       = newAnswer(http.StatusOK, plainText, []byte("ok\n"))
	notReadyAnswer = newAnswer(http.StatusServiceUnavailable, plainText, []byte("not ready\n")).retry("1")
)

var (
	cacheControl    = []string{"private, no-store"}
	robotsTag       = []string{"noindex, nofollow"}
	noSniff         = []string{"nosniff"}
	noReferrer      = []string{"no-referrer"}
	transportSecure = []string{"max-age=2592000"}
	contentSecurity = []string{"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"}
	varyLanguage    = []string{"Accept-Language"}
	connectionClose = []string{"close"}

	allowRead     = []string{"GET, HEAD"}
	allowReadPost = []string{"GET, HEAD, POST"}
)

func (x *exchange) redirect(location []string, recorded bool) {
	x.w.Header()["Location"] = location
	x.answer(&redirectAnswer, recorded)
}

// answer writes a response. Where an event is recorded the client gets it at
// once: without a Content-Length if the response is to be held, so that it is
// not complete before the handler returns.
func (x *exchange) answer(a *answer, recorded bool) {
	header := x.w.Header()
	header["Cache-Control"] = cacheControl
	header["X-Robots-Tag"] = robotsTag
	header["X-Content-Type-Options"] = noSniff
	header["Referrer-Policy"] = noReferrer
	if x.secure() {
		header["Strict-Transport-Security"] = transportSecure
	}
	if a.language != nil {
		header["Content-Security-Policy"] = contentSecurity
		header["Content-Language"] = a.language
		header["Vary"] = varyLanguage
	}
	if a.contentType != nil {
		header["Content-Type"] = a.contentType
	}
	if a.retryAfter != nil {
		header["Retry-After"] = a.retryAfter
	}
	if !recorded || !x.hold {
		header["Content-Length"] = a.length
	}
	x.status = a.status
	x.w.WriteHeader(a.status)
	head := x.r.Method == http.MethodHead
	if len(a.body) > 0 && !head {
		x.w.Write(a.body) // an error means that the client has gone; the event counts all the same
	}
	// A response to HEAD is complete with its headers: flushed now, it would
	// end before its event is safe.
	if recorded && !(head && x.hold) {
		x.flush()
	}
}

func (x *exchange) flush() {
	err := http.NewResponseController(x.w).Flush()
	if err == nil {
		x.answered = time.Now()
		x.firstByte.observe(x.answered.Sub(x.began))
		return
	}
	if x.hold && errors.Is(err, http.ErrNotSupported) {
		x.cannotFlush.Do(func() {
			x.o.Log.Warn("the ResponseWriter cannot flush, so recipients wait until their event is delivered: give the middleware around the handler an Unwrap method")
		})
	}
}

// secure reports whether the client speaks HTTPS. A proxy that adds to a list
// leaves the client's own hop first; a client that lies about it gets a header
// that its browser ignores over plain HTTP.
func (x *exchange) secure() bool {
	if x.r.TLS != nil {
		return true
	}
	if !x.o.TrustForwardedProto {
		return false
	}
	proto, _, _ := strings.Cut(first(x.r, "X-Forwarded-Proto"), ",")
	return strings.EqualFold(strings.TrimSpace(proto), "https")
}

// logPanic logs where a panic came from. What it says is left out unless the
// runtime says it: anything else may hold a token or an address.
func (x *exchange) logPanic(message string, p any) {
	attributes := []slog.Attr{slog.String("stack", string(debug.Stack()))}
	if err, ok := p.(runtime.Error); ok {
		attributes = append(attributes, slog.String("error", err.Error()))
	}
	x.log(slog.LevelError, message, 0, nil, attributes...)
}

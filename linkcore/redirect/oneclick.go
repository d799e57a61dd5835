package redirect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxBody     = 4 << 10 // bytes
	bodyTimeout = 5 * time.Second
)

// readOneClick reads the body of a request to unsubscribe. The error wraps
// ErrOneClick.
func (x *exchange) readOneClick() error {
	body, err := x.readBody()
	if err != nil {
		if x.r.ProtoMajor == 1 {
			// What is left of the body is not waited for.
			x.w.Header()["Connection"] = connectionClose
		}
		return fmt.Errorf("%w: %w", ErrOneClick, err)
	}
	if err := oneClick(x.r.Header.Get("Content-Type"), body); err != nil {
		return fmt.Errorf("%w: %w", ErrOneClick, err)
	}
	return nil
}

var (
	errLong = errors.New("it is longer than 4096 bytes")
	errLate = errors.New("it did not arrive within 5 s")

	longAgo = time.Unix(1, 0)
)

func (x *exchange) readBody() ([]byte, error) {
	if x.r.ContentLength > maxBody {
		return nil, errLong
	}
	// Where that is not supported the server's own timeouts must do.
	controller := http.NewResponseController(x.w)
	late := time.AfterFunc(bodyTimeout-time.Since(x.received), func() { controller.SetReadDeadline(longAgo) })
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxBody+1))
	switch {
	case !late.Stop():
		return nil, errLate
	case err != nil:
		return nil, err
	case len(body) > maxBody:
		return nil, errLong
	}
	return body, nil
}

const (
	oneClickName  = "List-Unsubscribe"
	oneClickValue = "One-Click"
)

// oneClick checks the body of RFC 8058, section 3.1. The RFC has it sent as a
// form; a body that is nothing but the pair counts under any media type but
// JSON's, since what is meant is clear and whoever sent it shows success.
func oneClick(contentType string, body []byte) error {
	named, _, _ := strings.Cut(contentType, ";")
	if strings.Contains(strings.ToLower(named), "json") {
		return errors.New("its media type is JSON")
	}
	text := trimSpace(string(body))
	if equalFold(text, oneClickName+"="+oneClickValue) {
		return nil
	}
	mediaType, parameters := "application/x-www-form-urlencoded", map[string]string(nil)
	if contentType != "" {
		var err error
		if mediaType, parameters, err = mime.ParseMediaType(contentType); err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			return err
		}
	}
	switch {
	case mediaType == "application/x-www-form-urlencoded":
		// What is wrong elsewhere in the body does not matter.
		values, _ := url.ParseQuery(text)
		for name, list := range values {
			for _, value := range list {
				if isOneClick(name, value) {
					return nil
				}
			}
		}
	case strings.HasPrefix(mediaType, "multipart/"):
		parts := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
		for {
			part, err := parts.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			value, err := io.ReadAll(part)
			if err != nil {
				return err
			}
			if isOneClick(part.FormName(), string(value)) {
				return nil
			}
		}
	}
	return errors.New("the field is missing")
}

// isOneClick reports whether a form's field says what RFC 8058 has it say.
func isOneClick(name, value string) bool {
	return equalFold(trimSpace(name), oneClickName) && equalFold(trimSpace(value), oneClickValue)
}

func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }

// equalFold compares with a word in ASCII, ignoring the case of ASCII letters:
// what folds to them from beyond ASCII takes more bytes.
func equalFold(s, word string) bool { return len(s) == len(word) && strings.EqualFold(s, word) }

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
	"slices"
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

// oneClick checks the body of RFC 8058, section 3.1. A body without a media
// type is read as urlencoded: to refuse it would help nobody.
func oneClick(contentType string, body []byte) error {
	mediaType, parameters := "application/x-www-form-urlencoded", map[string]string(nil)
	if contentType != "" {
		var err error
		if mediaType, parameters, err = mime.ParseMediaType(contentType); err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			return err
		}
	}
	switch mediaType {
	case "application/x-www-form-urlencoded":
		// What is wrong elsewhere in the body does not matter.
		values, _ := url.ParseQuery(string(body))
		if slices.Contains(values[oneClickName], oneClickValue) {
			return nil
		}
	case "multipart/form-data":
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
			if part.FormName() == oneClickName && string(value) == oneClickValue {
				return nil
			}
		}
	default:
		return fmt.Errorf("its media type is neither urlencoded nor multipart")
	}
	return errors.New("the field is missing")
}

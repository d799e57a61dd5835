package report

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"example.com/linktracker/linkcore/event"
)

// An Event is what reports and lists need of an event, as the endpoint writes it, a
// log holds it or BigQuery exports it.
type Event struct {
	ID           string `json:"event_id"`
	Type         string `json:"event_type"`
	About        string `json:"about"`
	OccurredAt   When   `json:"occurred_at"`
	SentAt       When   `json:"sent_at"`
	KeyID        string `json:"key_id"`
	Customer     string `json:"customer"`
	Campaign     string `json:"campaign"`
	Recipient    string `json:"recipient"`
	Link         string `json:"link"`
	Destination  string `json:"destination"`
	RedirectedTo string `json:"redirected_to"`
	Rule         string `json:"rule"`
	Automation   string `json:"automation"`
	Untracked    Truth  `json:"untracked"`
	IP           string `json:"ip"`
	UserAgent    string `json:"user_agent"`
}

var (
	errNotJSON  = errors.New("is not one JSON object")
	errNotEvent = errors.New("has no event_id, event_type and occurred_at")

	// ErrOther is the error of what was never meant to be an event, such as a log
	// line of another kind.
	ErrOther = errors.New("is not an event")
)

// ParseEvent reads one JSON object: an event, or the log line or log entry that
// holds one.
func ParseEvent(data []byte) (e Event, err error) {
	data = event.Unwrap(data)
	if json.Unmarshal(data, &e) != nil {
		var named struct {
			ID   json.RawMessage `json:"event_id"`
			Type json.RawMessage `json:"event_type"`
			At   json.RawMessage `json:"occurred_at"`
		}
		if json.Unmarshal(data, &named) == nil && named.ID == nil && named.Type == nil && named.At == nil {
			return e, ErrOther
		}
		return e, errNotJSON
	}
	switch {
	case e.ID == "" && e.Type == "" && e.OccurredAt.IsZero():
		return e, ErrOther
	case e.ID == "" || e.Type == "" || e.OccurredAt.IsZero():
		return e, errNotEvent
	}
	return e, nil
}

// A Truth is a boolean, which BigQuery may export as a string.
type Truth bool

func (t *Truth) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "true", `"true"`:
		*t = true
	case "false", `"false"`, "null":
	default:
		return errNotJSON
	}
	return nil
}

// A When is a time as RFC 3339 or BigQuery writes it: "2026-05-04 09:32:01.371204 UTC".
// Without a zone it is UTC.
type When struct{ time.Time }

func (w *When) UnmarshalJSON(data []byte) (err error) {
	var text string
	if err := json.Unmarshal(data, &text); err != nil || text == "" {
		return err
	}
	text = strings.Replace(strings.TrimSuffix(text, " UTC"), " ", "T", 1)
	for _, zone := range []string{"Z07:00", "", "-0700", "-07"} {
		if w.Time, err = time.Parse("2006-01-02T15:04:05"+zone, text); err == nil {
			return nil
		}
	}
	return err
}

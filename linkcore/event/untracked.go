package event

import (
	"strings"

	"example.com/linktracker/linkcore"
)

// Untrack returns what is left of the event of somebody who is not to be
// tracked. It alone decides that, by what the event is for; EVENTS.md has it as a
// table. A field that is not named here is left out. Whether a rule may be named,
// whoever knows its kind decides before.
func (e *Event) Untrack() Event {
	left := Event{
		ID:            e.ID,
		Type:          e.Type,
		OccurredAt:    e.OccurredAt,
		KeyID:         e.KeyID,
		Host:          e.Host,
		Customer:      e.Customer,
		Campaign:      e.Campaign,
		SentAt:        e.SentAt,
		Sealed:        e.Sealed,
		Destination:   e.Destination,
		RedirectedTo:  e.RedirectedTo,
		Rule:          e.Rule,
		Recovered:     e.Recovered,
		Method:        e.Method,
		PrivacySignal: e.PrivacySignal,
		Untracked:     true,
		Automation:    e.Automation,
		Signals:       e.Signals,
		About:         e.About,
		RulesUnknown:  e.RulesUnknown,
		Proxy:         e.Proxy,
	}
	if strings.HasPrefix(e.Link, linkcore.AnonymousPrefix) {
		left.Link = e.Link
	}
	if e.Type.Wish() {
		// Nobody can follow a wish without knowing whose it is.
		left.Recipient, left.Link = e.Recipient, e.Link
	}
	if e.Type == Unsubscribe {
		left.Metadata = e.Metadata
	}
	return left
}

package event

import "crypto/sha256"

// NewVerdict returns the event that says of another one, after the fact, that a
// machine made it, and by which signals that was found out: [SignalBurst],
// [SignalHoneypot] or both.
//
// It repeats who and what the other event speaks of, so that it can be filtered
// and joined, and its time, so that both are in the same day of a table. It is
// made of the other event alone: made again, by another process too, it is the
// same event with the same id, and counts once.
func NewVerdict(about *Event, signals Signals) *Event {
	hash := sha256.Sum256([]byte("verdict\x00" + about.ID + "\x00" + signals.String()))
	id := formatID(about.OccurredAt, [16]byte(hash[:]))
	v := &Event{
		ID:         string(id[:]),
		Type:       Verdict,
		OccurredAt: about.OccurredAt,
		KeyID:      about.KeyID,
		Host:       about.Host,
		Customer:   about.Customer,
		Campaign:   about.Campaign,
		Recipient:  about.Recipient,
		Link:       about.Link,
		SentAt:     about.SentAt,
		Automation: Automated,
		Signals:    signals,
		About:      about.ID,
	}
	if about.Untracked {
		*v = v.Untrack()
	}
	return v
}

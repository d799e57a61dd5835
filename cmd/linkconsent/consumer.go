package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/api/idtoken"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/event"
)

const (
	// An objection has less than 2 KiB, and is sent as base64.
	maxPush = 64 << 10

	// Until when a push is answered, less than the subscription's deadline of 30 s.
	pushTimeout = 10 * time.Second

	// createdBy marks the rules that are ours to lift.
	createdBy = "linkconsent"

	// withdrawnFor is how long a withdrawal stays, so that no objection that is older
	// and comes late undoes it: no longer than Pub/Sub keeps an event, 31 days, three
	// times, in the spill, the subscription and the dead letters.
	withdrawnFor = 3 * 31 * 24 * time.Hour
)

// A consumer makes rules of the events of a push subscription.
type consumer struct {
	audience, account string
	rules             interface {
		PutNewer(ctx context.Context, id string, rule blocklist.Rule) error
	}
	validate func(ctx context.Context, token, audience string) (*idtoken.Payload, error)
	log      *slog.Logger
}

// A push is what Pub/Sub sends.
type push struct {
	Message struct {
		Data        []byte
		PublishTime time.Time
	}
}

// ServeHTTP answers 204 once the rule is written, or where there is none to write. At
// anything else Pub/Sub delivers the event again, and puts it to the dead letters in
// the end.
func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pushTimeout)
	defer cancel()
	if err := c.authenticate(ctx, r); err != nil {
		c.log.Warn("a request is not the subscription's", "error", err.Error())
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var p push
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPush)).Decode(&p); err != nil {
		c.log.Error("a push cannot be read", "error", err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	received := event.Received{Data: p.Message.Data, PublishedAt: p.Message.PublishTime}
	e, err := received.Event()
	if err != nil {
		c.log.Error("a message is not an event", "error", err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := c.follow(ctx, e, received.PublishedAt); err != nil {
		c.log.Error("an objection or its withdrawal is not followed", "event_id", e.ID, "event_type", e.Type, "error", err.Error())
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// authenticate checks that the request is a push of our subscription.
func (c *consumer) authenticate(ctx context.Context, r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return errors.New("it has no token")
	}
	payload, err := c.validate(ctx, token, c.audience)
	switch {
	case err != nil:
		return err
	case payload.Issuer != "https://accounts.google.com" && payload.Issuer != "accounts.google.com":
		return fmt.Errorf("the token is issued by %.64q", payload.Issuer)
	case payload.Claims["email"] != c.account || payload.Claims["email_verified"] != true:
		return errors.New("the token is of another account")
	}
	return nil
}

// follow writes the rule of an objection, or its lifting. Other events have none.
func (c *consumer) follow(ctx context.Context, e *event.Event, published time.Time) error {
	if !e.Type.Objects() || e.Customer == linkcore.ProbeCustomer {
		return nil
	}
	// An error of a rule would name the person.
	if !linkcore.ValidIdentifier(e.Recipient) || e.Customer != "" && !linkcore.ValidIdentifier(e.Customer) {
		return errors.New("its customer and recipient are not those of a link")
	}
	r := blocklist.Rule{
		Kind:      blocklist.Recipient,
		Value:     e.Customer + "/" + e.Recipient,
		Action:    blocklist.Untracked,
		Reason:    "objection by the recipient, who alone takes it back",
		CreatedBy: createdBy,
		CreatedAt: e.OccurredAt,
	}
	if e.Type == event.ObjectionWithdrawn {
		r.Deleted, r.ExpiresAt = true, time.Now().Add(withdrawnFor)
	}
	// A clock that is ahead would make it the newest for longer than it is.
	if !published.IsZero() && published.Before(r.CreatedAt) {
		r.CreatedAt = published
	}
	if err := c.write(ctx, r); err != nil {
		return err
	}
	c.log.Info("followed", "event_id", e.ID, "event_type", e.Type)
	c.log.Debug("followed", "rule", r.String())
	return nil
}

// write writes a rule. The account's rights cannot say of which kind, so this does.
func (c *consumer) write(ctx context.Context, r blocklist.Rule) error {
	if r.Kind != blocklist.Recipient || r.Action != blocklist.Untracked || r.CreatedBy != createdBy {
		return fmt.Errorf("refused to write a rule of the kind %s with the action %s", r.Kind, r.Action)
	}
	return c.rules.PutNewer(ctx, r.ObjectionID(), r)
}

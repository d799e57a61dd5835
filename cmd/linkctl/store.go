package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore/advice"
	"example.com/linktracker/linkcore/blocklist"
	"example.com/linktracker/linkcore/endpoint"
)

// storeTimeout bounds one call of a store: one list, or one batch of writes.
const storeTimeout = 2 * time.Minute

// storePatience is after how long such a call says what it waits for.
const storePatience = 2 * time.Second

// withStore opens the blocklist that the flag or the environment names. service
// is what it is used for.
func (t *tool) withStore(c *cobra.Command, service advice.Service, use func(blocklist.Store) error) error {
	url, err := t.required(c, "blocklist", "BLOCKLIST", "the blocklist")
	if err != nil {
		return err
	}
	store, err := endpoint.OpenStore(url)
	if err != nil {
		return usagef("the blocklist (--blocklist, BLOCKLIST): %w", err)
	}
	err = use(store)
	if closeErr := store.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	return service.Explain(err)
}

// storeContext bounds one call of a store, and says what is waited for where it
// takes long. The call must have ended when the function that it returns is
// called.
func (t *tool) storeContext(c *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(c.Context(), storeTimeout)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
		case <-time.After(storePatience):
			t.note("waiting for the blocklist, %s", t.blocklistPlace(c))
		}
	}()
	return ctx, func() { cancel(); <-ended }
}

// blocklistPlace says where the rules are, so that a slip is seen.
func (t *tool) blocklistPlace(c *cobra.Command) string {
	place := t.setting(c, "blocklist", "BLOCKLIST")
	if path, ok := strings.CutPrefix(place, "file:"); ok {
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		return path
	}
	if host := os.Getenv(readingRules.Emulator); host != "" {
		place += " on the emulator at " + host
	}
	return place
}

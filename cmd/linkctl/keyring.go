package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
)

// keyRing opens the key ring that the flag or the environment names. What is
// wrong with single files is said on standard error; the other keys work.
func (t *tool) keyRing(c *cobra.Command) (*linkcore.KeyRing, error) {
	dir, err := t.required(c, "keys", "LINK_KEYS", "the key ring")
	if err != nil {
		return nil, err
	}
	ring, err := linkcore.OpenKeyRing(dir, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no key ring %s: make one with linkctl keys new --keys %s", dir, shellWord(dir))
	}
	if err != nil {
		return nil, err
	}
	problems := ring.Problems()
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		t.complain("warning: key file %s is not used: %s", name, problems[name])
	}
	return ring, nil
}

// signer opens the key ring and chooses the key that the flags or the
// environment name.
func (t *tool) signer(c *cobra.Command) (signer *linkcore.Signer, ring *linkcore.KeyRing, key string, err error) {
	base, err := t.required(c, "base-url", "LINK_BASE_URL", "the base URL of the links")
	if err != nil {
		return nil, nil, "", err
	}
	if ring, key, err = t.signingRing(c); err != nil {
		return nil, nil, "", err
	}
	if signer, err = ring.Signer(base, key); err != nil {
		return nil, nil, "", usageError{err}
	}
	return signer, ring, key, nil
}

// signingRing opens the key ring, and returns the id of the key that signs:
// empty for the only one.
func (t *tool) signingRing(c *cobra.Command) (*linkcore.KeyRing, string, error) {
	ring, err := t.keyRing(c)
	if err != nil {
		return nil, "", err
	}
	key := t.setting(c, "signing-key", "LINK_SIGNING_KEY")
	if ids := ring.IDs(); key == "" && len(ids) > 1 {
		return nil, "", usagef("the key ring has the keys %s: say which one signs with --signing-key or LINK_SIGNING_KEY", strings.Join(ids, ", "))
	}
	return ring, key, nil
}

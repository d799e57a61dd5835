package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.com/linktracker/linkcore/durable"
)

// A cursor says how far a file was replayed. It is written beside the file after
// the events before it are acknowledged.
type cursor struct {
	Clicks string `json:"clicks"` // where to
	Offset int64  `json:"offset"` // all before it is done, in bytes of the file, unpacked
	SHA256 string `json:"sha256"` // of what is before the offset

	// Events behind the offset that are done: their ids.
	Done []string `json:"done,omitempty"`
	// Where events before the offset are that were refused, to be tried again.
	Refused []int64 `json:"refused,omitempty"`

	Replayed   int `json:"replayed"`             // events, by all runs
	Unreadable int `json:"unreadable,omitempty"` // lines before the offset
}

// readCursor returns the cursor in a file, or one that is at the beginning if
// there is none.
func readCursor(path string) (cursor, error) {
	var c cursor
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(content, &c); err != nil || c.Offset < 0 || c.Offset > 0 && len(c.SHA256) != 2*sha256.Size {
		return c, fmt.Errorf("%s is not a cursor: give another --cursor, or remove it to begin again", path)
	}
	return c, nil
}

// write replaces the file whole, so that a process that dies leaves the old
// cursor or the new one.
func (c cursor) write(path string) error {
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the cursor: %w", err)
	}
	return nil
}

// check reports whether an input begins with what the cursor was written of.
func (c cursor) check(r io.Reader) error {
	hash := sha256.New()
	n, err := io.CopyN(hash, r, c.Offset)
	if err != nil && err != io.EOF {
		return err
	}
	if n < c.Offset || hex.EncodeToString(hash.Sum(nil)) != c.SHA256 && c.Offset > 0 {
		return errors.New("is not the file that was replayed, or was edited since")
	}
	return nil
}

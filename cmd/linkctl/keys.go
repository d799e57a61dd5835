package main

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/durable"
)

func (t *tool) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Make secrets, list the key ring",
		Long: `The key ring is a directory with one file a key: the file's name is the key's id,
its content the secret in base64. Every key of the ring verifies links; one of
them signs new ones.

A new key must reach every endpoint before it signs. A key leaves the ring only
if its secret leaked: with it go all links that it ever signed.`,
		Args: cobra.ArbitraryArgs, // for whichVerb to refuse
		RunE: t.whichVerb,

		SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(t.keysNewCommand(), t.keysListCommand())
	return c
}

func (t *tool) keysNewCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "new",
		Short: "Make a secret, in the key ring or for Secret Manager",
		Long: `Makes a secret of 32 random bytes, writes it into the key ring directory as a new
file that only its owner can read, and prints the key's id. Nothing is ever
overwritten. The directory is made if only its last part is missing.

The id is what --id says, or k and the number after the highest that the directory
ever had, with or without a k: decoders of mails cannot take =k1 for an escape, and
=c1 they can. The number of a key that was taken out is not used again, since
endpoints that run would take the new key for the old one; the file .last remembers
it.

With --print the secret goes to standard output instead, in the form that Secret
Manager is to hold; the number of the version made there is then the key's id.`,
		Example: `  linkctl keys new --keys ring
  linkctl keys new --keys ring --id spring26
  linkctl keys new --print | gcloud secrets versions add link-key --data-file=-`,
		Args: cobra.NoArgs,
	}
	c.Flags().String("keys", "", keysFlagHelp)
	id := c.Flags().String("id", "", "`ID` of the new key, 1 to 16 of a-z 0-9 (default k and the next free number)")
	jsonFlag(c)
	toOutput := c.Flags().Bool("print", false, "print the secret instead of writing it to the key ring")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *toOutput {
			if c.Flag("keys").Changed || c.Flag("id").Changed {
				return usagef("--print writes to no key ring: leave --keys and --id out")
			}
			_, err := t.stdout.WriteString(newSecret())
			return err
		}
		dir, err := t.required(c, "keys", "LINK_KEYS", "the key ring")
		if err != nil {
			return err
		}
		if c.Flag("id").Changed && !linkcore.ValidKeyID(*id) {
			return usagef("--id %q: a key's id is 1 to 16 of a-z 0-9", *id)
		}
		name, err := makeKey(dir, *id)
		if err != nil {
			return err
		}
		made := struct {
			ID   string `json:"id"`
			File string `json:"file"`
		}{name, filepath.Join(dir, name)}
		if err := t.print(c, name, made); err != nil {
			return err
		}
		t.note("wrote %s; give it to every endpoint before anything signs with it", filepath.Join(dir, name))
		return nil
	}
	return c
}

// newSecret returns a secret as a key file holds it.
func newSecret() string {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	return base64.StdEncoding.EncodeToString(secret) + "\n"
}

// makeKey writes a new secret into dir and returns its id: the one given or, if
// that is "", k and the next free number.
func makeKey(dir, id string) (string, error) {
	if err := durable.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the key ring directory: %w", err)
	}
	if id != "" {
		if n, ok := numberOf(id); ok {
			highest, err := highestID(dir)
			if err == nil && n > highest {
				err = setLast(dir, n)
			}
			if err != nil {
				return "", err
			}
		}
		err := writeKey(filepath.Join(dir, id))
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("key %s exists: nothing was changed; choose another --id", id)
		}
		return id, err
	}
	for {
		highest, err := highestID(dir)
		if err != nil {
			return "", err
		}
		id := numbered + strconv.FormatUint(highest+1, 10)
		if !linkcore.ValidKeyID(id) {
			return "", usagef("the key ring has no number left after %d: give --id", highest)
		}
		if err := setLast(dir, highest+1); err != nil {
			return "", err
		}
		err = writeKey(filepath.Join(dir, id))
		if errors.Is(err, fs.ErrExist) {
			continue // someone else just took it
		}
		return id, err
	}
}

// numbered stands before the number in an id that this tool chooses: FORMAT.md
// says why.
const numbered = "k"

// numberOf returns the number of an id that is one, with or without the letter.
func numberOf(id string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(id, numbered), 10, 64)
	return n, err == nil
}

// lastFile holds the highest number that a key of the ring ever had. The ring
// itself skips what begins with a dot.
const lastFile = ".last"

// highestID returns the highest number that a key in dir has or had, 0 if there is
// none.
func highestID(dir string) (uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list the key ring: %w", err)
	}
	var highest uint64
	for _, entry := range entries {
		if !linkcore.ValidKeyID(entry.Name()) {
			continue
		}
		if n, ok := numberOf(entry.Name()); ok {
			highest = max(highest, n)
		}
	}
	path := filepath.Join(dir, lastFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return highest, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the number of the ring's last key: %w", err)
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s holds no number: write into it the highest that a key of this ring ever had", path)
	}
	return max(highest, last), nil
}

func setLast(dir string, number uint64) error {
	if err := durable.WriteFile(filepath.Join(dir, lastFile), fmt.Appendln(nil, number), 0o666); err != nil {
		return fmt.Errorf("remember the key's number: %w", err)
	}
	return nil
}

// writeKey writes a new secret to a file that must not exist.
func writeKey(path string) error {
	if err := durable.CreateFile(path, []byte(newSecret()), 0o600); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

// A listedKey is one file of the key ring.
type listedKey struct {
	ID          string `json:"id,omitempty"`
	File        string `json:"file"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Problem     string `json:"problem,omitempty"`
}

func (t *tool) keysListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the key ring's keys, and what is wrong with it",
		Long: `Lists the files of the key ring: the id of each key, a fingerprint of its secret,
and why a file cannot be used. Files whose name begins with a dot are skipped, as
the endpoint skips them.

The fingerprint is the same wherever the same secret is, under any id. It reveals
nothing of the secret, so it may be shown to anyone, to find out whether two
machines have the same key.

The exit code is 1 if a file cannot be used or two keys are one secret.`,
		Example: `  linkctl keys list
  linkctl keys list --keys ring --json`,
		Args: cobra.NoArgs,
	}
	c.Flags().String("keys", "", keysFlagHelp)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := t.required(c, "keys", "LINK_KEYS", "the key ring")
		if err != nil {
			return err
		}
		keys, err := listKeys(dir)
		if err != nil {
			return err
		}
		wrong := false
		lines := table{}
		lines.row("ID", "FILE", "FINGERPRINT", "PROBLEM")
		for _, k := range keys {
			wrong = wrong || k.Problem != ""
			if *asJSON {
				if err := t.writeJSON(k); err != nil {
					return err
				}
			}
			lines.row(k.ID, k.File, k.Fingerprint, k.Problem)
		}
		if !*asJSON {
			if err := lines.writeTo(t.stdout); err != nil {
				return err
			}
		}
		if wrong {
			return errNo
		}
		return nil
	}
	return c
}

// listKeys lists a key ring's files by name. It is an error if no key loads.
func listKeys(dir string) ([]listedKey, error) {
	ring, err := linkcore.OpenKeyRing(dir, nil)
	if err != nil {
		return nil, err
	}
	var keys []listedKey
	for name, problem := range ring.Problems() {
		keys = append(keys, listedKey{File: filepath.Join(dir, name), Problem: problem})
	}
	owner := map[string]string{} // id by fingerprint
	for _, id := range ring.IDs() {
		k := listedKey{ID: id, File: filepath.Join(dir, id)}
		if k.Fingerprint, err = fingerprint(k.File); err != nil {
			k.Problem = err.Error()
		} else if other, ok := owner[k.Fingerprint]; ok {
			k.Problem = "it is the same secret as key " + other
		}
		owner[k.Fingerprint] = id
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b listedKey) int { return strings.Compare(a.File, b.File) })
	return keys, nil
}

// fingerprint identifies a secret: 64 bits that are derived from the secret as
// its keys are, so that they say nothing of it. The file is one that the key
// ring accepted.
func fingerprint(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	// To one alphabet, without padding: a secret has one fingerprint however it
	// is written.
	encoded := strings.TrimRight(string(bytes.TrimSpace(content)), "=")
	encoded = strings.NewReplacer("-", "+", "_", "/").Replace(encoded)
	secret, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return "", errors.New("the file was changed while it was read")
	}
	digest, err := hkdf.Key(sha256.New, secret, nil, "linkctl fingerprint", 8)
	return hex.EncodeToString(digest), err
}

package linkcore

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	minSecret      = 32       // bytes
	maxSecretFile  = 64 << 10 // bytes; Secret Manager's own limit
	keyRingRefresh = time.Minute

	signInfo = "linkcore/v1 sign"
	sealInfo = "linkcore/v1 seal"
	verpInfo = "linkcore/v1 verp"
)

// A KeyRing maps key ids to the keys derived from their secrets. All its
// methods may be called at any time from any goroutine; [KeyRing.Verify] takes
// no lock.
type KeyRing struct {
	keys atomic.Pointer[map[string]*key]

	directory string // empty: the ring was made of secrets and never changes
	log       *slog.Logger
	failures  atomic.Uint64
	due       atomic.Int64 // nanoseconds since start of the next listing
	start     time.Time    // monotonic: a clock that jumps does not stop the refresh

	mu       sync.Mutex // one refresh at a time
	problems map[string]string
	inFlight atomic.Pointer[chan struct{}]
}

// key is what a secret is good for.
type key struct {
	id          string
	seal        *xaes
	macs        sync.Pool // of *mac
	returnPaths sync.Pool // of *mac, with a key of their own
}

// mac computes tags with one key, in memory of its own.
type mac struct {
	hash    hash.Hash
	message []byte
	sum     [sha256.Size]byte
	tag     [tagLength]byte
}

func newKey(id string, secret []byte) (*key, error) {
	if !ValidKeyID(id) {
		return nil, errors.New("a key id is 1 to 16 characters of a-z and 0-9")
	}
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes: 32 or more are needed, as `linkctl keys new` makes them", len(secret))
	}
	signKey, err := hkdf.Key(sha256.New, secret, nil, signInfo, 32)
	if err != nil {
		return nil, err
	}
	sealKey, err := hkdf.Key(sha256.New, secret, nil, sealInfo, 32)
	if err != nil {
		return nil, err
	}
	verpKey, err := hkdf.Key(sha256.New, secret, nil, verpInfo, 32)
	if err != nil {
		return nil, err
	}
	k := &key{id: id}
	if k.seal, err = newXAES(sealKey); err != nil {
		return nil, err
	}
	k.macs.New = func() any { return &mac{hash: hmac.New(sha256.New, signKey)} }
	k.returnPaths.New = func() any { return &mac{hash: hmac.New(sha256.New, verpKey)} }
	return k, nil
}

// begin starts a message: all but the destination, which is to be appended.
func (m *mac) begin(host, signed string) {
	m.message = append(m.message[:0], "linkcore/v1\n"...)
	m.message = append(m.message, host...)
	m.message = append(m.message, '\n')
	m.message = append(m.message, signed...)
	m.message = append(m.message, '\n')
}

// finish returns the tag of the message, valid until the next call.
func (m *mac) finish() []byte {
	base64.RawURLEncoding.Encode(m.tag[:], m.digest()[:16])
	return m.tag[:]
}

// digest returns all of the message's MAC, valid until the next call.
func (m *mac) digest() []byte {
	m.hash.Reset()
	m.hash.Write(m.message)
	return m.hash.Sum(m.sum[:0])
}

func (k *key) verifyTag(host string, t token) bool {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.begin(host, t.signed)
	return m.matches(t.last)
}

// matches compares the tag of the message in constant time.
func (m *mac) matches(tag string) bool {
	computed := m.finish()
	var given [tagLength]byte
	return copy(given[:], tag) == len(tag) && subtle.ConstantTimeCompare(computed, given[:]) == 1
}

func (k *key) signToken(host string, kind byte, fields []byte, destination string) []byte {
	token := append(make([]byte, 0, len(k.id)+len(fields)+len("k..")+tagLength), kind)
	token = append(append(append(token, k.id...), '.'), fields...)
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.begin(host, string(token))
	m.message = append(m.message, destination...)
	return append(append(token, '.'), m.finish()...)
}

// NewKeyRing makes a key ring of secrets, 32 bytes or more each, by key id (1
// to 16 characters of a-z and 0-9).
func NewKeyRing(secrets map[string][]byte) (*KeyRing, error) {
	if len(secrets) == 0 {
		return nil, errors.New("a key ring needs at least one secret")
	}
	keys := make(map[string]*key, len(secrets))
	for id, secret := range secrets {
		k, err := newKey(id, secret)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", id, err)
		}
		keys[id] = k
	}
	r := &KeyRing{}
	r.keys.Store(&keys)
	return r, nil
}

// OpenKeyRing reads a directory with one file a key: the file's name is the
// key's id, its content the secret in base64 (standard or URL alphabet, padded
// or not; white space around it is ignored). Names that begin with a dot are
// skipped. A file that cannot be read or understood is skipped too, logged and
// counted: the error is for a directory in which no key loads. If the group or
// others can write to the directory or to a key's file, a warning is logged.
//
// A log of nil logs nothing.
func OpenKeyRing(directory string, log *slog.Logger) (*KeyRing, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &KeyRing{directory: directory, log: log, start: time.Now()}
	r.keys.Store(&map[string]*key{})
	if err := r.Refresh(); err != nil {
		return nil, err
	}
	paths := []string{directory}
	for _, id := range r.IDs() {
		paths = append(paths, filepath.Join(directory, id))
	}
	for _, path := range paths {
		if mode, ok := writableByOthers(path); ok {
			log.Warn("others can write to the key ring, and so sign links: chmod go-w "+path, "path", path, "mode", mode.String())
		}
	}
	return r, nil
}

// Refresh lists the key ring's directory again: keys whose file is new are
// loaded and keys whose file is gone are dropped. A key that is loaded is not
// read again, since a key's content never changes. If the directory can't be
// listed, or no key would be left, the ring stays as it is and the error says
// why. A ring that was made of secrets has nothing to refresh.
func (r *KeyRing) Refresh() error {
	if r.directory == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due.Store(int64(time.Since(r.start) + keyRingRefresh))
	entries, err := os.ReadDir(r.directory)
	if err != nil {
		r.failures.Add(1)
		return fmt.Errorf("list the key ring: %w", err)
	}
	old := *r.keys.Load()
	keys := make(map[string]*key, len(entries))
	problems := map[string]string{}
	for _, entry := range entries {
		id := entry.Name()
		if strings.HasPrefix(id, ".") {
			continue
		}
		if k := old[id]; k != nil {
			keys[id] = k
			continue
		}
		k, err := readKey(filepath.Join(r.directory, id), id)
		if err != nil {
			r.failures.Add(1)
			problems[id] = err.Error()
			if r.problems[id] != problems[id] {
				r.log.Error("key skipped", "key_id", id, "error", problems[id])
			}
			continue
		}
		keys[id] = k
		if len(old) > 0 {
			r.log.Info("key loaded", "key_id", id)
		}
	}
	r.problems = problems
	if len(keys) == 0 {
		r.failures.Add(1)
		for _, id := range slices.Sorted(maps.Keys(problems)) {
			return fmt.Errorf("no key loads from %s: %s: %s", r.directory, id, problems[id])
		}
		return fmt.Errorf("no key in %s: make one with `linkctl keys new`", r.directory)
	}
	for id := range old {
		if keys[id] == nil {
			r.log.Warn("key dropped, its file is gone: its links are invalid from now on", "key_id", id)
		}
	}
	r.keys.Store(&keys)
	return nil
}

// readKey reads one secret. Its errors never quote the content.
func readKey(path, id string) (*key, error) {
	if !ValidKeyID(id) {
		return nil, errors.New("the file's name is not a key id, which is 1 to 16 characters of a-z and 0-9")
	}
	// Checked before it is opened: opening a pipe would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSecretFile {
		return nil, errors.New("the file is longer than 64 KiB")
	}
	secret, err := DecodeSecret(string(content))
	if err != nil {
		return nil, err
	}
	return newKey(id, secret)
}

// DecodeSecret decodes what a key file, or a version of a secret, holds: base64
// in either alphabet of RFC 4648, padded or not, with white space around it.
// Errors never quote it.
func DecodeSecret(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, errors.New("the file is empty: write the secret to it in base64")
	}
	// The decoder would pass over line ends within the text.
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("the secret is not one line of base64: `base64 -w 0` makes one")
	}
	if trimmed := strings.TrimRight(s, "="); len(trimmed) < len(s) {
		if len(s)%4 != 0 || len(s)-len(trimmed) > 2 {
			return nil, errors.New("the secret's base64 has wrong padding")
		}
		s = trimmed
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	secret, err := encoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("the secret is not base64")
	}
	return secret, nil
}

// RefreshIfDue starts a [KeyRing.Refresh] in the background if a minute has
// passed since the last one. It returns a channel that is closed when the
// refresh in flight has ended, or nil if none is.
func (r *KeyRing) RefreshIfDue() <-chan struct{} {
	if r.directory == "" {
		return nil
	}
	if done := r.inFlight.Load(); done != nil {
		return *done
	}
	due := r.due.Load()
	now := int64(time.Since(r.start))
	if now < due || !r.due.CompareAndSwap(due, now+int64(keyRingRefresh)) {
		return nil
	}
	done := make(chan struct{})
	if !r.inFlight.CompareAndSwap(nil, &done) {
		return nil
	}
	go func() {
		defer close(done)
		defer r.inFlight.Store(nil)
		if err := r.Refresh(); err != nil {
			r.log.Error("key ring not refreshed, the keys in use stay", "error", err.Error())
		}
	}()
	return done
}

// IDs returns the ids of all keys, sorted.
func (r *KeyRing) IDs() []string {
	return slices.Sorted(maps.Keys(*r.keys.Load()))
}

// Problems returns what was wrong with the files that the last listing skipped,
// by file name.
func (r *KeyRing) Problems() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.problems)
}

// Failures counts the key files and listings that could not be used since the
// ring was opened. A file that stays broken counts at each listing.
func (r *KeyRing) Failures() uint64 { return r.failures.Load() }

func (r *KeyRing) key(id string) *key { return (*r.keys.Load())[id] }

// signingKey returns the key of that id or, for an empty id, the only one.
func (r *KeyRing) signingKey(keyID string) (*key, error) {
	keys := *r.keys.Load()
	if keyID == "" {
		if len(keys) != 1 {
			return nil, &FieldError{Field: "signing key", Problem: fmt.Sprintf("must be named, since the ring has %d keys: %s", len(keys), strings.Join(r.IDs(), ", "))}
		}
		for keyID = range keys {
		}
	}
	k := keys[keyID]
	if k == nil {
		return nil, &FieldError{Field: "signing key", Problem: fmt.Sprintf("%q is not in the key ring, which has %s", keyID, strings.Join(r.IDs(), ", "))}
	}
	return k, nil
}

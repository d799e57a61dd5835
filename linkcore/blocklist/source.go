package blocklist

import (
	"context"
	"fmt"
	"time"
)

// A Source is where an endpoint reads documents. Only one method is called at a
// time, but for Get.
type Source interface {
	// Read calls yield with every document whose updated_at is at since or
	// later; with every document if since is zero, those of the kinds ip and agent
	// first where it can. It may yield a document twice, and every document all the
	// same and say so: then what was not yielded does not exist. It returns an
	// error, if not all were yielded, and soon after ctx ends; until it does
	// nothing else is called. With the Place of a document that an earlier Read of
	// all yielded, it goes on behind that; place is empty otherwise.
	Read(ctx context.Context, since time.Time, place string, yield func(Document)) (whole bool, err error)

	// Get returns the documents with these ids, as far as they exist, in any order.
	// A source that has no documents by id returns errors.ErrUnsupported.
	Get(ctx context.Context, ids []string) ([]Document, error)

	// Count returns the number of documents whose expires_at is not at now or
	// earlier: those past it vanish at any time. A source that always knows
	// what changed returns errors.ErrUnsupported.
	Count(ctx context.Context, now time.Time) (int, error)

	Close() error
}

// A Store is where people's tools read and write rules. Endpoints follow what
// is written within their refresh interval. It is safe for use by several
// goroutines at once.
type Store interface {
	// Put writes rules. A rule of the same kind and value that a store wrote
	// before is replaced, also if it was lifted. Rules are normalised first,
	// and if one cannot be written, none is; the error is then a [*linkcore.FieldError]
	// within one that names the rule.
	Put(ctx context.Context, rules ...Rule) error

	// Standing returns the rules of the same kinds and values that a store wrote
	// and that have neither been lifted nor expired: what Put would replace.
	Standing(ctx context.Context, rules ...Rule) ([]Rule, error)

	// Empty reports whether there is nothing at all: not even what was lifted or
	// cannot be understood. Such a store is new, or its name is a slip. A file is
	// empty if it does not exist.
	Empty(ctx context.Context) (bool, error)

	// Lift lifts the rules of the same kinds and values, also those that were
	// written by hand, and returns those of rules of which there was none.
	Lift(ctx context.Context, rules ...Rule) (missing []Rule, err error)

	// List returns all rules, also those that were lifted or have expired and
	// are not gone yet, and why other documents could not be understood.
	List(ctx context.Context) (rules []Rule, skipped []DocumentError, err error)

	Close() error
}

// A Backend is where rules are kept, as endpoints read them and people's tools
// write them. Package blocklisttest has the tests that each passes.
type Backend interface {
	Source
	Store
}

// A DocumentError says why a document cannot be understood.
type DocumentError struct {
	Where string // the document's id, or the line of the file
	Err   error
}

func (e DocumentError) Error() string { return e.Where + ": " + e.Err.Error() }
func (e DocumentError) Unwrap() error { return e.Err }

// LiftedFor is how long a store keeps the document of a rule that was lifted,
// for every endpoint to see.
const LiftedFor = 24 * time.Hour

// NormalizeAll prepares rules for a store to write at the time now. Of several
// with one kind and value the last counts. The error names the rule, and wraps
// a [*linkcore.FieldError].
func NormalizeAll(rules []Rule, now time.Time) ([]Rule, error) {
	return normalizeEach(rules, func(r Rule) (Rule, error) {
		n, err := r.Normalize()
		if err == nil && n.Expired(now) {
			err = ruleError("expires_at", "has passed")
		}
		n.Deleted = false
		return n, err
	})
}

// NormalizeNames prepares rules for a store to look up by kind and value alone,
// each once. The error is as of [NormalizeAll].
func NormalizeNames(rules []Rule) ([]Rule, error) {
	return normalizeEach(rules, func(r Rule) (Rule, error) {
		value, err := NormalizeValue(r.Kind, r.Value)
		return Rule{Kind: r.Kind, Value: value}, err
	})
}

func normalizeEach(rules []Rule, normalize func(Rule) (Rule, error)) (normal []Rule, err error) {
	position := make(map[string]int, len(rules))
	for _, r := range rules {
		n, err := normalize(r)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", quote(r.String()), err)
		}
		i, ok := position[n.String()]
		if !ok {
			i = len(normal)
			position[n.String()] = i
			normal = append(normal, n)
		}
		normal[i] = n
	}
	return normal, nil
}

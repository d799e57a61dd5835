package linkcore

import "errors"

// Why [KeyRing.Verify] found a link invalid. From outside they must all look
// the same; they are for logs, counters and tools.
var (
	ErrNotLink     = errors.New("the request target holds no token")
	ErrTooLong     = errors.New("the request target is longer than 16384 bytes")
	ErrHost        = errors.New("the host is not a name of letters, digits, - and _ joined by dots")
	ErrUnknownKey  = errors.New("the key that the token names is not in the key ring")
	ErrTag         = errors.New("the tag matches no reading of the destination: the link was changed, or made for another host or with another key of this name")
	ErrBox         = errors.New("the box cannot be opened: it was changed, or sealed for another host or with another key of this name")
	ErrSealedParts = errors.New("the box opened but its content breaks the format: its signer has a defect")
)

// ErrDestination means that a URL is not a destination: [ParseDestination],
// [NormalizeDestination] and [HostToASCII] return errors that wrap it, and so
// does a [Signer] within its [*FieldError]. [KeyRing.Verify] never does: what a
// link was not signed for is [ErrTag], what a box should not hold
// [ErrSealedParts].
var ErrDestination = errors.New("the destination does not fit the grammar")

// Why [KeyRing.VerifyReturnPath] refused an address, besides [ErrUnknownKey].
var (
	ErrNotReturnPath = errors.New("the address holds no token of a return path")
	ErrReturnPathTag = errors.New("the tag does not match: the address was changed or forged, or made for another domain or with another key of this name")
)

// A FieldError says which field of a link, a return path, a rule or a
// configuration cannot be used.
type FieldError struct {
	Field   string // as the format or the document names it, such as "customer", or an environment variable
	Problem string // to follow the field's name: "is longer than …"
	Err     error  // the cause, where there is one to compare with errors.Is
}

func (e *FieldError) Error() string { return e.Field + " " + e.Problem }
func (e *FieldError) Unwrap() error { return e.Err }

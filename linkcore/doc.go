// Package linkcore signs and verifies tracked links: URLs in mails that lead to
// an endpoint, which redirects the recipient to the destination and reports the
// click to the sender.
//
// A tracked link carries everything that is needed to check it and to
// redirect, so there is no database of links. Its token is authenticated with
// HMAC-SHA256 over the link's own host, its fields and its destination; who
// has no key can make none, and a changed one is dead. FORMAT.md beside this
// file is the contract, with test vectors in testdata/link-vectors.json: the
// format is frozen, since links live for as long as the mails that hold them.
//
// # Making links
//
// A sender opens a [KeyRing], asks it for a [Signer] and signs:
//
//	ring, err := linkcore.OpenKeyRing("keys", nil)
//	signer, err := ring.Signer("https://links.example.com", "1")
//	link, err := signer.Sign(linkcore.Fields{Customer: "acme"}, "https://example.com/", linkcore.Options{})
//
// [Signer.Sign] makes the clear form, in which an abuse desk sees at a glance
// whose a link is; [Signer.Seal] makes the sealed form, which hides
// fields and destination and can carry metadata to the event. What can't be
// made is a [*FieldError] that names the field; what works but not everywhere
// is a [Warning].
//
// # Checking links
//
// An endpoint calls [KeyRing.Verify] with a request's authority and raw
// target. It repairs what gateways do to links on their way, which is safe as
// only what was signed can match. The endpoint is ready-made in the package
// redirect.
//
// # Return paths
//
// [KeyRing.ReturnPathSigner] makes envelope senders that say whose mail
// bounced, authenticated like links but with a key of their own, and
// [KeyRing.VerifyReturnPath] reads them where bounces are processed. FORMAT.md
// describes them too, with vectors in testdata/verp-vectors.json.
//
// # Keys
//
// A key ring is a directory of secrets, one file a key. Every key in it
// verifies; a new one must have reached every endpoint before it signs, and an
// old one leaves the ring only if it leaked, since the mails are still there.
// [KeyRing.Refresh] follows the directory.
//
// The package needs the standard library and golang.org/x only.
package linkcore

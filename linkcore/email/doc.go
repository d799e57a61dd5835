// Package email puts tracking into finished mails: it replaces the links of a
// mail by tracked ones of the package linkcore, and leaves every other byte as
// it is.
//
// A sender makes one [Rewriter] for a mailing and gives it each mail with the
// fields that its links carry:
//
//	w, err := email.New(email.Options{Signer: signer, Keys: ring})
//	result, err := w.HTML(linkcore.Fields{Campaign: "spring26", Recipient: "r83jf"}, html)
//
// The result holds the mail and a report: each link that was found, what it
// became, or why it was left alone. Nothing is guessed silently, since a link
// that is tracked and must not be is as bad as one that is missed.
//
// # What is replaced
//
// In HTML the values of href of a, area and the shapes that Outlook draws
// (VML: v:roundrect and its like), also within Outlook's conditional comments.
// Nothing is parsed and printed: the text is cut into tokens as the HTML
// standard says, and only the bytes of those values change. Values are read as
// browsers read them: character references are decoded, white space is taken
// off, spaces within are escaped, relative URLs are resolved against <base
// href>. A query string is read as UTF-8 in every charset, which is what
// linkcore signs.
//
// In plain text the URLs that mail clients make links of: see [Rewriter.Text].
// In a message both, in every part that is shown, whatever its charset and
// transfer encoding: see [Rewriter.Message].
//
// # What is left alone
//
// Other schemes (mailto:, tel:, data:, …), fragments, URLs with a template's
// placeholders, links that are tracked already, the URLs of the message's
// List-Unsubscribe (RFC 2369), and links that say so with an attribute:
// clicktracking="off", data-pm-no-track, disable-tracking, data-skip-click, or
// data-notrack, which is removed from the mail since it speaks to this package
// only. [Options] has more: hosts, patterns, unsubscribe links of HTML and
// text, one-time links. Each link that is left alone is in the report with its
// reason.
//
// Rewriting a mail that has been rewritten changes nothing: its tracked links
// are recognised by the key ring, and where they are of the same customer,
// campaign and recipient, so is the mail, in which what was left alone stays
// so. (A mail whose only links opt out with data-notrack, and that has no
// pixel, keeps no trace of having been rewritten.)
//
// # Links
//
// A link's field "link" is {position}-{11 characters}: the position counts all
// links of the mail, and the characters are drawn once a mail, so that two
// links to one place are distinguished and no two mails share one. The pixel is
// at position 0. Links of an anonymous mailing begin with an_, and the
// honeypot's with hp_.
//
// # Consent
//
// Opens and clicks are tracked in full, anonymously or not at all, as the mailing
// ([Options]) and the recipient ([Rewriter.For]) say; the stricter holds. A link with
// the attribute data-privacy-link, and that word in plain text, becomes the link by
// which the recipient objects to tracking.
//
// # Pixel and honeypot
//
// The pixel is a picture of 1×1 that reports that a mail was opened; it stands at
// the end of the HTML or at its top. The honeypot is a link at the end of the
// HTML, before the pixel, that takes no room, has no content and is passed
// over by keyboards and screen readers; scanners that fetch all links follow
// it. Neither changes what is shown, as long as the mail's own style sheet has
// no rule that counts the children of its body, such as p:last-child.
package email

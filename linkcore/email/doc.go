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
// off, relative URLs are resolved against <base href>.
//
// # What is left alone
//
// Other schemes (mailto:, tel:, data:, …), fragments, URLs with a template's
// placeholders, links that are tracked already, and links that say so with an
// attribute: clicktracking="off", data-pm-no-track, disable-tracking,
// data-skip-click, or data-notrack, which is removed from the mail since it
// speaks to this package only. [Options] has more: hosts, patterns, one-time
// links. Each link that is left alone is in the report with its reason.
//
// Rewriting a mail that has been rewritten changes nothing.
package email

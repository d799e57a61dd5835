package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/lines"
)

func (t *tool) verpCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verp",
		Short: "Make return paths, check those that bounces come to",
		Long: `A return path is the envelope sender of one recipient's mail (MAIL FROM). A bounce
comes back to it, and its address says whose mail it was: customer, campaign and
recipient, authenticated with the key ring that signs links. No database is
needed, and nobody without a key can make one. linkcore/FORMAT.md describes it.`,
		Args: cobra.ArbitraryArgs, // for whichVerb to refuse
		RunE: t.whichVerb,

		SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(t.verpMakeCommand(), t.verpCheckCommand())
	return c
}

func (t *tool) verpMakeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "make --return-path MAILBOX [RECIPIENT...]",
		Short: "Make the return paths of a mailing",
		Long: `Makes a return path for each recipient, given by the sender's own identifier, and
prints it, one a line, in the order of the recipients.

--return-path says where bounces go: a domain of their own (bounces.example.com),
or a mailbox whose subaddresses the mail system delivers (bounces+@example.com;
what stands before the @ ends in + - = or _).

A mail system takes 64 bytes before the @. About 40 of them are left for the
identifiers; each letter of an identifier in lower case, digit, - and _ takes one
byte, a UUID 28. Upper and lower case within one identifier cost a fifth more. A
recipient whose return path would be longer is named on standard error, with its
line, the others are made all the same, and the exit code is 1.

--link is for an identifier of the mail, and --sent for the time, where they fit.`,
		Example: `  linkctl verp make --return-path bounces.example.com --customer acme --campaign spring26 r83jf
  linkctl verp make --return-path bounces+@example.com --customer acme --recipient r83jf
  printf '%s\n' r83jf r83jg | linkctl verp make --return-path bounces.example.com --customer acme --campaign spring26`,
	}
	flags := c.Flags()
	flags.String("return-path", "", "`MAILBOX` where bounces go: bounces.example.com or bounces+@example.com")
	signingFlags(flags)
	fieldFlags(flags)
	flags.String("link", "", "`ID` of the mail or link, likewise (default none)")
	jsonFlag(c)
	completeFrom(c, "sent", "now")
	c.RunE = t.makeReturnPaths
	return c
}

func (t *tool) makeReturnPaths(c *cobra.Command, args []string) error {
	fields, err := t.fields(c)
	if err != nil {
		return err
	}
	fields.Link = c.Flag("link").Value.String()
	if c.Flag("recipient").Changed {
		if len(args) > 0 {
			return usagef("the recipient is given twice: leave --recipient or %q out", args[0])
		}
		args = []string{fields.Recipient}
	}
	mailbox := c.Flag("return-path").Value.String()
	if mailbox == "" {
		return usagef("where bounces go is not set: give --return-path, such as bounces.example.com or bounces+@example.com")
	}
	ring, key, err := t.signingRing(c)
	if err != nil {
		return err
	}
	signer, err := ring.ReturnPathSigner(mailbox, key)
	if err != nil {
		return usageError{err}
	}
	// What does not go without any recipient goes with none.
	fields.Recipient = ""
	if _, err := signer.Sign(fields); err != nil {
		if aboutFlag(c, err) {
			return usagef("--%w", err)
		}
		return usageError{err}
	}

	refused := false
	for it, err := range t.items(c.Context(), args, "recipients", false) {
		if err != nil && !errors.Is(err, lines.ErrTooLong) {
			return err
		}
		address := ""
		if err == nil {
			// A variable that was not set must not become a return path that
			// names nobody.
			if it.text == "" {
				return usagef("the recipient is empty: give its identifier")
			}
			fields.Recipient = it.text
			address, err = signer.Sign(fields)
		}
		if err != nil {
			refused = true
			t.complain("%v", it.errorf("%s: %w", cut(it.text), err))
			continue
		}
		made := struct {
			Recipient string `json:"recipient,omitempty"`
			Address   string `json:"address"`
		}{it.text, address}
		if err := t.print(c, address, made); err != nil {
			return err
		}
	}
	if refused {
		return errNo
	}
	return nil
}

func (t *tool) verpCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [ADDRESS...]",
		Short: "Read the return paths that bounces came to, and tell forged ones",
		Long: `Reads return paths and says what each holds, and whether it was signed with a key
of the ring.

An address may be given as it was found: <in brackets>, or as a line of a bounce
such as "Return-Path: <...>" or "Original-Recipient: rfc822; ...". Upper case, a
prefix such as bounces+, BATV (prvs=...) and what forwarders make of an address
(SRS0=..., SRS1=...) do no harm.

That an address verifies proves that the mail was sent with it, not that it
failed: who saw the mail's envelope can send to it again.

The exit code is 0 if every address verifies, and 1 if one does not.`,
		Example: `  linkctl verp make --return-path bounces.example.com --customer acme r83jf | linkctl verp check
  linkctl verp make --return-path bounces.example.com --customer acme r83jf | linkctl verp check --json`,
	}
	c.Flags().String("keys", "", keysFlagHelp)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		ring, err := t.keyRing(c)
		if err != nil {
			return err
		}
		return t.check(c.Context(), args, "addresses", *asJSON, func(it item, err error) (finding, error) {
			if err != nil {
				return &returnPath{Reason: it.errorf("%w", err).Error()}, nil
			}
			r := checkReturnPath(ring, findAddress(it.text))
			return &r, nil
		})
	}
	return c
}

// A returnPath is what is known of one address.
type returnPath struct {
	Address   string `json:"address"`
	Verified  bool   `json:"verified"`
	Key       string `json:"key,omitempty"`
	Domain    string `json:"domain,omitempty"`
	Customer  string `json:"customer,omitempty"`
	Campaign  string `json:"campaign,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	Link      string `json:"link,omitempty"`
	Sent      string `json:"sent,omitempty"`
	Reason    string `json:"reason,omitempty"` // why it does not verify
}

// findAddress returns the address in a line of a mail or a report.
func findAddress(line string) string {
	if start := strings.LastIndexByte(line, '<'); start >= 0 {
		if address, _, ok := strings.Cut(line[start+1:], ">"); ok {
			return strings.TrimSpace(address)
		}
	}
	// As in "Final-Recipient: rfc822; address".
	if i := strings.LastIndexAny(line, " \t;"); i >= 0 {
		return line[i+1:]
	}
	return line
}

func checkReturnPath(ring *linkcore.KeyRing, address string) returnPath {
	p, err := ring.VerifyReturnPath(address)
	if err != nil {
		reason := err.Error()
		if errors.Is(err, linkcore.ErrUnknownKey) {
			reason = fmt.Sprintf("%v, which has %s", err, strings.Join(ring.IDs(), ", "))
		}
		return returnPath{Address: address, Reason: reason}
	}
	return returnPath{
		Address: address, Verified: true, Key: p.Key, Domain: p.Domain,
		Customer: p.Customer, Campaign: p.Campaign, Recipient: p.Recipient, Link: p.Link, Sent: stamp(p.Sent),
	}
}

func (r *returnPath) good() bool { return r.Verified }

// writeTo writes the return path for people.
func (r *returnPath) writeTo(t *tool) error {
	fmt.Fprintln(t.stdout, printable(r.Address))
	verified := "yes, with key " + r.Key
	if !r.Verified {
		verified = "no: " + r.Reason
	}
	for _, row := range [...]struct{ name, value string }{
		{"domain", r.Domain},
		{"customer", r.Customer},
		{"campaign", r.Campaign},
		{"recipient", r.Recipient},
		{"link", r.Link},
		{"sent", r.Sent},
		{"verified", verified},
	} {
		if row.value != "" {
			fmt.Fprintf(t.stdout, "  %-12s %s\n", row.name, printable(row.value))
		}
	}
	return t.stdout.Flush()
}

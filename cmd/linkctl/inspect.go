package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore/blocklist"
)

func (t *tool) inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect [URL...]",
		Short: "Take tracked links apart and check them",
		Long: `Takes tracked links apart: what each part says, and what is wrong with it. That
needs no key; what a sealed link hides is not shown then, and nothing is proved.

With a key ring it also says whether the link verifies and with which key, which
repair was needed to read a link that was mangled on its way, what a sealed link
holds, and why not if it does not verify. What it shows then is what was signed;
label and added query are never signed.

A URL may be given as it was found, with what surrounds it: a line of a mail, an
href attribute. Everything before http:// or https:// is left out, and so is what
follows the link, unless the link is only good with it: white space that a line
break put into a link is repaired. Where a mail gateway or a social network has
wrapped it (Microsoft Safe Links, Proofpoint, Barracuda, Cisco, Trend Micro,
Google, Facebook and others), the link inside is inspected.

It lists the rules with which linkctl block would stop the link, the narrowest
first. With --blocklist (BLOCKLIST) it also says which rules of the blocklist match
the link now, what they do and since when; those of the kinds ip and agent depend
on who clicks and are left out.

Where the links begin with a path, --base-url (LINK_BASE_URL) says with which. It
also reports whether a link that does not verify was made for that host.

The exit code is 0 if every link verifies or, without keys, is well formed, and 1
if one does not.`,
		Example: `  linkctl inspect https://links.example.com/c1.acme.spring26.r83jf.a1b2c3d4e5f.t4x8k1.9fQx0yVb3mT1nK7sW2pLdA/https%3A%2F%2Fexample.com%2F
  linkctl sign --customer acme https://example.com/pricing | linkctl inspect --keys ring
  linkctl seal --customer acme https://example.com/pricing | linkctl inspect --json`,
	}
	c.Flags().String("keys", "", "`DIR` of the key ring (LINK_KEYS; without one links are not checked)")
	c.Flags().String("base-url", "", "`URL` where this installation's links begin (LINK_BASE_URL; not needed)")
	blocklistFlag(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		checker, err := t.checker(c)
		if err != nil {
			return err
		}
		inspect := func(store blocklist.Store) error {
			return t.check(c.Context(), args, "URLs", *asJSON, func(it item, err error) (finding, error) {
				if err != nil {
					return &inspection{Problems: []string{it.errorf("%w", err).Error()}}, nil
				}
				i := checker.inspect(it.text)
				for _, r := range i.rules() {
					i.Rules = append(i.Rules, r.String())
				}
				if store == nil {
					return &i, nil
				}
				ctx, cancel := t.storeContext(c)
				defer cancel()
				standing, err := store.Standing(ctx, blocklist.Matching(i.link())...)
				if err != nil { // which is no reason to keep the rest from anyone
					t.complain("warning: the blocklist was not asked: %v", readingRules.Explain(err))
					store = nil
				}
				for _, r := range standing {
					i.Standing = append(i.Standing, fmt.Sprintf("%s: %s, written %s by %s", r, effect(r), stamp(r.CreatedAt), r.CreatedBy))
				}
				return &i, nil
			})
		}
		if place := t.setting(c, "blocklist", "BLOCKLIST"); place == "" || place == "none" {
			return inspect(nil)
		}
		return t.withStore(c, readingRules, inspect)
	}
	return c
}

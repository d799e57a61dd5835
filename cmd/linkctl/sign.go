package main

import (
	"errors"
	"iter"

	"github.com/spf13/cobra"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/lines"
)

const signHelp = `Signs a tracked link for each destination and prints it, one a line, in the order
of the destinations. Whoever reads such a link can read its parts: customer,
campaign, recipient and destination. They are signed, not hidden; linkctl seal
hides them.
` + makingHelp

const sealHelp = `Makes a tracked link for each destination whose parts are encrypted, and prints it,
one a line, in the order of the destinations. Whoever reads such a link sees where
it leads to first, which key made it and how long its parts are, nothing else.
` + makingHelp

const makingHelp = `
Each destination is signed as it comes, so a long list can be piped through. One
that is refused is named on standard error, with its line, nothing is printed
for it, the others are signed all the same, and the exit code is 1. Blank lines
are skipped. What may become a nuisance, such as a link longer than a mail's
line, is a warning on standard error and changes nothing else.

Each link gets a random id of its own. --link NAME puts a name before it, such as
the link's place in the template, which is then in the events: NAME-xr1YhNga3Cc.
A name is cut to 52 characters. hp_ and an_ at its beginning have a meaning:
linkcore/event/EVENTS.md.

--exact-link takes the value of --link as the whole id. If several mails have that
id, an event without a recipient does not say whose mail it was. A rule about the
link then affects everybody who got it, also one that stops tracking; and a
forwarded link looks like one that many recipients have. It names one link, so it
is refused for several destinations.

With --kind open, unsubscribe or privacy there is no destination: the one link
that is printed is that of the picture, the unsubscribe page or the privacy page.`

func (t *tool) signCommand() *cobra.Command {
	return t.makingCommand(&cobra.Command{
		Use:   "sign [DESTINATION...]",
		Short: "Make tracked links whose parts can be read",
		Long:  signHelp,
		Example: `  linkctl sign https://example.com/pricing
  linkctl sign --customer acme --campaign spring26 --recipient r83jf --sent now https://example.com/pricing?a=1
  linkctl sign --recipient r83jf --link cta https://example.com/pricing
  linkctl sign --form query --label sale https://example.com/
  linkctl sign --kind unsubscribe --customer acme --recipient r83jf
  printf '%s\n' https://example.com/a https://example.com/b | linkctl sign --customer acme`,
	}, (*linkcore.Signer).Sign)
}

func (t *tool) sealCommand() *cobra.Command {
	c := t.makingCommand(&cobra.Command{
		Use:   "seal [DESTINATION...]",
		Short: "Make tracked links whose parts are hidden",
		Long: sealHelp + `

--metadata is carried to the event as it is: a JSON object of at most 512 bytes.`,
		Example: `  linkctl seal --customer acme --recipient r83jf https://example.com/pricing
  linkctl seal --customer acme --metadata '{"variant":"b"}' https://example.com/pricing
  linkctl seal --kind open --customer acme --recipient r83jf --label p.gif
  printf '%s\n' https://example.com/a https://example.com/b | linkctl seal --customer acme`,
	}, (*linkcore.Signer).Seal)
	c.Flags().String("metadata", "", "a `JSON` object for the event")
	return c
}

var (
	kinds = map[string]linkcore.Kind{"click": linkcore.Click, "open": linkcore.Open, "unsubscribe": linkcore.Unsubscribe, "privacy": linkcore.Privacy}
	forms = map[string]linkcore.Form{"path": linkcore.PathForm, "query": linkcore.QueryForm}
)

// A signed is a link that was made.
type signed struct {
	URL         string             `json:"url"`
	Destination string             `json:"destination,omitempty"`
	Link        string             `json:"link"`
	Warnings    []linkcore.Warning `json:"warnings,omitempty"`
}

// makeLink is Signer.Sign or Signer.Seal.
type makeLink func(*linkcore.Signer, linkcore.Fields, string, linkcore.Options) (linkcore.Tracked, error)

// makingCommand completes a verb that makes links.
func (t *tool) makingCommand(c *cobra.Command, link makeLink) *cobra.Command {
	flags := c.Flags()
	signingFlags(flags)
	flags.String("base-url", "", "`URL` where the links begin: https://links.example.com (LINK_BASE_URL)")
	fieldFlags(flags)
	flags.String("link", "", "`NAME` of the link, likewise: random characters follow it")
	flags.Bool("exact-link", false, "--link is the whole id, with nothing behind it")
	flags.String("label", "", "cosmetic `TEXT` in the link, not signed")
	flags.String("kind", "click", "`KIND` of link: click, open, unsubscribe or privacy")
	flags.String("form", "path", "`FORM` of the URL: path or query")
	jsonFlag(c)
	completeFrom(c, "kind", "click", "open", "unsubscribe", "privacy")
	completeFrom(c, "form", "path", "query")
	completeFrom(c, "sent", "now")
	c.RunE = func(c *cobra.Command, args []string) error {
		return t.makeLinks(c, args, link)
	}
	return c
}

func (t *tool) makeLinks(c *cobra.Command, args []string, link makeLink) error {
	fields, options, err := t.linkFlags(c)
	if err != nil {
		return err
	}
	signer, _, _, err := t.signer(c)
	if err != nil {
		return err
	}

	if options.Kind != linkcore.Click {
		if len(args) > 0 {
			return usagef("a link of kind %s has no destination: leave %q out", options.Kind, args[0])
		}
		args = []string{""}
	}
	items := t.items(c.Context(), args, "destinations", false)
	if options.ExactLink {
		items = single(items)
	}

	refused := false
	told := map[linkcore.Warning]bool{}
	for it, err := range items {
		var tracked linkcore.Tracked
		if err == nil {
			tracked, err = link(signer, fields, it.text, options)
			if aboutFlag(c, err) {
				return usagef("--%w", err)
			}
		} else if !errors.Is(err, lines.ErrTooLong) {
			return err
		}
		if err != nil {
			refused = true
			t.complain("%v", it.errorf("%w", err))
			continue
		}
		for _, warning := range tracked.Warnings {
			switch warning {
			case linkcore.WarnHTTP, linkcore.WarnRunApp, linkcore.WarnNoLabel:
				// The same for every destination.
				if !told[warning] {
					told[warning] = true
					t.complain("warning: %s", warning)
				}
			default:
				t.complain("%v", it.errorf("warning: %s", warning))
			}
		}
		if err := t.print(c, tracked.URL, signed{tracked.URL, it.text, tracked.Fields.Link, tracked.Warnings}); err != nil {
			return err
		}
	}
	if refused {
		return errNo
	}
	return nil
}

// linkFlags reads what all links of this call have in common.
func (t *tool) linkFlags(c *cobra.Command) (linkcore.Fields, linkcore.Options, error) {
	value := func(name string) string {
		if f := c.Flag(name); f != nil {
			return f.Value.String()
		}
		return "" // sign has no --metadata
	}
	options := linkcore.Options{Label: value("label"), Metadata: value("metadata"), ExactLink: value("exact-link") == "true"}
	fields, err := t.fields(c)
	if err != nil {
		return fields, options, err
	}
	// A variable that was not set must not become a random id.
	if fields.Link = value("link"); fields.Link == "" && c.Flag("link").Changed {
		return fields, options, usagef("--link is empty: leave it out for a random id")
	}
	if options.ExactLink && fields.Link == "" {
		return fields, options, usagef("--exact-link is about --link: give --link too")
	}
	var ok bool
	if options.Kind, ok = kinds[value("kind")]; !ok {
		return fields, options, usagef("--kind %q: give click, open, unsubscribe or privacy", value("kind"))
	}
	if options.Form, ok = forms[value("form")]; !ok {
		return fields, options, usagef("--form %q: give path or query", value("form"))
	}
	return fields, options, nil
}

// single passes on a list of one item. Of a longer one nothing is passed on but
// an error: a whole id names one link.
func single(items iter.Seq2[item, error]) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		var first item
		var firstErr error
		n := 0
		for it, err := range items {
			if n++; n == 2 {
				yield(item{}, usagef("--exact-link names one link, and there are several destinations: leave it out, or sign them one by one"))
				return
			}
			first, firstErr = it, err
		}
		yield(first, firstErr)
	}
}

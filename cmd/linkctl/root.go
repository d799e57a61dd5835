package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"example.com/linktracker/cmd/internal/version"
)

const rootHelp = `Linkctl makes tracked links and takes them apart, keeps the key ring that signs
them, and keeps the blocklist that stops them.

What a verb works on is given as arguments or, without any, on standard input,
one a line. Results go to standard output, everything else to standard error.

A setting is a flag or an environment variable, and the flag wins:

  --keys         LINK_KEYS         directory of the key ring, one file a key
  --signing-key  LINK_SIGNING_KEY  id of the key that signs new links
  --base-url     LINK_BASE_URL     where new links begin, https://links.example.com
  --blocklist    BLOCKLIST         where rules are: firestore://... or file:PATH
  --clicks       CLICKS            where events go: pubsub://... or file:PATH

The exit code is 0 for yes, 1 for no, 2 for a command that is not understood;
"linkctl help exit-codes" has the details.`

const rootExample = `  linkctl keys new --keys first-ring
  linkctl sign --keys first-ring --base-url https://links.example.com https://example.com/pricing
  linkctl block --blocklist file:first-rules.jsonl --reason phishing host:phish.example`

const exitCodesHelp = `Exit codes, for scripts:

  0  yes. All that was asked for was done; every link that was inspected is good.
  1  no. The command was understood, and the answer is no or it could not be done:
       keys list  a file of the ring cannot be used
       sign, seal a destination was refused; the others were signed
       inspect    a link is not well formed or, with keys, does not verify
       rewrite    the mail could not be rewritten; nothing was written
       verp make  a recipient was refused; the others were made
       verp check an address does not verify
       unblock    there was no such rule; those that there were are lifted
       rules      no rule fits the filter
       affected   no click fits the rule
       block      the rule is written, and --wait did not see it in force
       tail       fewer than --count events came within --timeout, or nothing
                  could be received when it was over
       watch      verdicts could not all be published
       report     a subscription could not be read to its end
       replay     something was not understood or refused; all else was replayed
       forget     the answer was no, or something could not be deleted yet
       doctor     there is a problem
     and wherever a directory, the network or standard output failed.
  2  usage. The command or its input cannot be understood, a setting is missing,
     or block was given a rule that is malformed, or too wide without --force, or
     forget nobody to ask without --yes.
     Nothing was done.
  130  interrupted by Ctrl-C or SIGTERM. Lines that were printed are done, and
       report has written what came of subscriptions until then.`

// usageTemplate follows the text of a manual.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} VERB{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}

Verbs:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableSubCommands}}

"linkctl help VERB" is the manual of a verb.{{end}}
`

func (t *tool) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "linkctl",
		Short:   "Make, check and block tracked links",
		Long:    rootHelp,
		Example: rootExample,
		RunE:    t.whichVerb,
		Version: version.String(),

		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		t.keysCommand(),
		t.signCommand(),
		t.sealCommand(),
		t.inspectCommand(),
		t.rewriteCommand(),
		t.verpCommand(),
		t.blockCommand(),
		t.unblockCommand(),
		t.rulesCommand(),
		t.affectedCommand(),
		t.tailCommand(),
		t.watchCommand(),
		t.replayCommand(),
		t.reportCommand(),
		t.forgetCommand(),
		t.doctorCommand(),
		t.completionCommand(),
		&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp, Args: cobra.NoArgs},
	)
	root.Args = cobra.ArbitraryArgs // for whichVerb to refuse
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [VERB]",
		Short: "The manual of a verb",
		RunE: func(_ *cobra.Command, args []string) error {
			topic, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no verb and no topic %q", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			topic.InitDefaultVersionFlag()
			return topic.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if topic, rest, err := root.Find(args); err == nil && len(rest) == 0 {
				for _, child := range topic.Commands() {
					if strings.HasPrefix(child.Name(), prefix) {
						names = append(names, cobra.CompletionWithDesc(child.Name(), child.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	})
	complete(root)
	return root
}

// whichVerb answers a command that only groups others.
func (t *tool) whichVerb(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		hint := ""
		if names := c.SuggestionsFor(args[0]); len(names) > 0 {
			hint = ": did you mean " + strings.Join(names, " or ") + "?"
		} else if c.HasParent() {
			for _, child := range c.Commands() {
				names = append(names, child.Name())
			}
			hint = ": " + c.CommandPath() + " has " + strings.Join(names, ", ")
		}
		return usagef("there is no verb %q%s", args[0], hint)
	}
	c.SetOut(t.stderr)
	if err := c.Help(); err != nil {
		return err
	}
	return usagef("no verb was given")
}

// complete sets what all commands have alike: flags in the order in which their
// texts make sense, and what a wrong number of arguments is answered.
func complete(c *cobra.Command) {
	c.Flags().SortFlags = false
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			_, wanted, _ := strings.Cut(strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath()+" ")
			err := check(c, args)
			switch {
			case err == nil || errors.As(err, new(usageError)):
				return err
			case wanted == "":
				return usagef("%q is too much: %s takes no arguments", args[0], c.CommandPath())
			case len(args) == 0:
				return usagef("%s is missing", wanted)
			}
			return usagef("%q is too much: %s takes one argument, %s", args[len(args)-1], c.CommandPath(), strings.Trim(wanted, "[]"))
		}
	}
	for _, child := range c.Commands() {
		complete(child)
	}
}

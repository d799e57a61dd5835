package main

import (
	"io"

	"github.com/spf13/cobra"
)

// shells are those that linkctl completes for, each with how it loads that.
var shells = []struct {
	name, load string
	write      func(*cobra.Command, io.Writer) error
}{
	{"bash", "source <(linkctl completion bash)", func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) }},
	{"fish", "linkctl completion fish | source", func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) }},
	{"powershell", "linkctl completion powershell | Out-String | Invoke-Expression", (*cobra.Command).GenPowerShellCompletionWithDesc},
	{"zsh", "source <(linkctl completion zsh)", (*cobra.Command).GenZshCompletion},
}

func (t *tool) completionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "completion",
		Short: "Complete verbs, flags and values in a shell",
		Long: `Prints the script with which a shell completes linkctl's verbs, flags and their
values. A line in the shell's start file loads it, such as this one in ~/.bashrc:

  source <(linkctl completion bash)

Bash needs the package bash-completion.`,
		Example: "  linkctl completion bash",
		Args:    cobra.ArbitraryArgs, // for whichVerb to refuse
		RunE:    t.whichVerb,
	}
	for _, shell := range shells {
		c.AddCommand(&cobra.Command{
			Use:     shell.name,
			Short:   "Print the script for " + shell.name,
			Long:    "Prints the script with which " + shell.name + " completes linkctl. This loads it:\n\n  " + shell.load,
			Example: "  linkctl completion " + shell.name,
			Args:    cobra.NoArgs,
			RunE:    func(c *cobra.Command, _ []string) error { return shell.write(c.Root(), t.stdout) },
		})
	}
	return c
}

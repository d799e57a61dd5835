package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/linktracker/linkcore"
	"example.com/linktracker/linkcore/durable"
	"example.com/linktracker/linkcore/email"
)

// maxMail bounds the mail that is read, in bytes. The largest that a provider
// takes have 150 MB.
const maxMail = 256 << 20

const rewriteHelp = `Puts tracking into a finished mail: replaces its links by tracked ones and writes
the mail to standard output, or to --output. Every other byte stays as it is.

The mail is a message (.eml), HTML or plain text, which its content shows; --type
says which where that fails. Without FILE, or with -, it is read from standard
input.

Left alone are other schemes (mailto:, tel:), fragments, URLs with placeholders of
a template, links that are tracked already, those of the mail's List-Unsubscribe,
and links that opt out by an attribute such as clicktracking="off" or
data-notrack. linkcore/email/EMAIL.md has it all.

Nothing is written before everything is done: if the mail cannot be rewritten,
nothing is printed, and the file that --output names is what it was. That file may
be the mail itself, which a shell's > would empty first. The exit code is 0 only if
the whole mail was written.

--report says on standard error which links were tracked, which were left alone
and why. --dry-run writes no mail, and the report to standard output. Without a
report, warnings are on standard error; as JSON, the report has them.

--serve keeps the process for many mails: linkcore/email/EMAIL.md describes the
requests. Flags that are given hold for each mail that does not say otherwise.`

func (t *tool) rewriteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rewrite [FILE]",
		Short: "Put tracking into a mail",
		Long:  rewriteHelp,
		Example: `  linkctl rewrite --campaign spring26 --recipient r1 message.eml > out.eml
  linkctl rewrite --dry-run message.eml
  linkctl rewrite --customer acme --campaign spring26 --recipient r1 --sent now --utm utm_source=news --utm utm_medium=email --pixel end --list-unsubscribe --report --output out.eml message.eml
  linkctl rewrite --tracking anonymous --campaign spring26 --skip-host '*.example.org' message.eml > out.eml
  printf '%s\n' '<a href="https://example.com/pricing">Pricing</a>' | linkctl rewrite --recipient r1`,
		Args: cobra.MaximumNArgs(1),
	}
	rewriteFlags(c.Flags())
	completeFrom(c, "type", "auto", "message", "html", "text")
	completeFrom(c, "report", "table", "json")
	completeFrom(c, "sent", "now")
	completeFrom(c, "parts", "all", "html", "text")
	completeFrom(c, "form", "path", "query")
	completeFrom(c, "pixel", "end", "top", "none")
	for _, flag := range append(trackingFlags, recipientFlags...) {
		completeFrom(c, flag, "full", "anonymous", "off")
	}
	for _, flag := range []string{"visible-url", "shorteners", "one-time"} {
		completeFrom(c, flag, "track", "skip", "refuse")
	}
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
	c.RunE = t.rewrite
	return c
}

// What the mailing tracks, and what the recipient agrees to; the first of each sets
// the two others.
var (
	trackingFlags  = []string{"tracking", "opens", "clicks"}
	recipientFlags = []string{"recipient-tracking", "recipient-opens", "recipient-clicks"}
)

// rewriteFlags are the options of a command, and of a request to --serve.
func rewriteFlags(flags *pflag.FlagSet) {
	flags.StringP("output", "o", "", "write the mail to `FILE` instead, whole or not at all")
	flags.String("type", "auto", "`TYPE` of the mail: message, html, text, or auto to tell by its content")
	flags.String("report", "", "say what was done with each link; `FORMAT` is table or json")
	flags.Lookup("report").NoOptDefVal = "table"
	flags.Bool("dry-run", false, "write no mail, only the report")
	signingFlags(flags)
	flags.String("base-url", "", "`URL` where the links begin: https://links.example.com (LINK_BASE_URL)")
	fieldFlags(flags)
	flags.String("tracking", "full", "`HOW` to track the mailing: full, anonymous (no recipient, the same links in every mail) or off")
	flags.String("opens", "", "`HOW` to track its opens, likewise (default as --tracking)")
	flags.String("clicks", "", "`HOW` to track its clicks, likewise (default as --tracking)")
	flags.String("recipient-tracking", "full", "`HOW` the recipient agrees to be tracked, likewise; the stricter of the mailing and the recipient holds")
	flags.String("recipient-opens", "full", "the same for opens alone")
	flags.String("recipient-clicks", "full", "the same for clicks alone")
	flags.Bool("privacy-link", false, "warn of a mail without a place for the privacy link, which is put wherever a mail has data-privacy-link")
	flags.String("parts", "all", "`WHICH` parts of a message to track: all, html or text")
	flags.Bool("sealed", false, "hide what links hold from readers of the mail")
	flags.String("form", "path", "`FORM` of the links: path or query")
	flags.Bool("labels", false, "give links a label made of their text, where their form has a place for one")
	flags.StringArray("utm", nil, "add `NAME=VALUE`, such as utm_source=news, to destinations that have no parameter of that name (repeatable)")
	flags.StringArray("skip-host", nil, "leave links to `HOST` or *.HOST alone (repeatable)")
	flags.StringArray("only-host", nil, "track links to `HOST` or *.HOST only (repeatable)")
	flags.StringArray("skip-url", nil, "leave URLs that fit `PATTERN` alone, in which * is any text (repeatable)")
	flags.StringArray("unsubscribe-url", nil, "leave the sender's own unsubscribe links alone: those that fit `PATTERN`, likewise, and all of the message's List-Unsubscribe (repeatable)")
	flags.Bool("placeholders", false, "track URLs with a template's placeholders too, as they stand")
	flags.String("visible-url", "track", "`WHAT` to do with a link whose text is another URL: track, skip or refuse")
	flags.String("shorteners", "track", "`WHAT` to do with link shorteners, likewise")
	flags.String("one-time", "skip", "`WHAT` to do with one-time links such as a password reset, likewise")
	flags.String("pixel", "none", "`PLACE` of the pixel, a picture that reports that the mail was opened: end, top or none")
	flags.String("pixel-base-url", "", "`URL` where the picture's link begins (default as the links)")
	flags.String("honeypot", "", "add an invisible link to `URL`, which only scanners follow")
	flags.Bool("list-unsubscribe", false, "add the header fields of one-click unsubscribing to a message that has none")
	flags.String("unsubscribe-mailto", "", "`ADDRESS` that they name in addition")
	flags.String("serve", "", "answer HTTP requests at `ADDRESS`, such as 127.0.0.1:8026 or /run/linkctl.sock, each with a mail and its options")
}

// mailTypes are the ways to rewrite, by the value of --type.
var mailTypes = map[string]func(*email.Rewriter, linkcore.Fields, []byte) (email.Result, error){
	"auto":    (*email.Rewriter).Rewrite,
	"message": (*email.Rewriter).Message,
	"html":    (*email.Rewriter).HTML,
	"text":    (*email.Rewriter).Text,
}

func (t *tool) rewrite(c *cobra.Command, args []string) error {
	value := func(name string) string { return c.Flag(name).Value.String() }
	if address := value("serve"); c.Flag("serve").Changed {
		if len(args) > 0 || c.Flag("output").Changed {
			return usagef("--serve takes mails by HTTP: give neither a file nor --output")
		}
		return t.serve(c, address)
	}
	fields, err := t.fields(c)
	if err != nil {
		return err
	}
	rewrite := mailTypes[value("type")]
	if rewrite == nil {
		return usagef("--type %q: give message, html, text or auto", value("type"))
	}
	dryRun := value("dry-run") == "true"
	format := value("report")
	if dryRun && format == "" {
		format = "table"
	}
	if format != "" && format != "table" && format != "json" {
		return usagef("--report %q: give table or json", format)
	}
	output := value("output")
	if c.Flag("output").Changed && output == "" {
		return usagef("--output is empty: leave it out for standard output")
	}
	rewriter, err := t.rewriter(c)
	if err != nil {
		return err
	}

	name, mail, err := t.readMail(c, args)
	if err != nil {
		return err
	}
	if rewriter, err = forRecipient(rewriter, value); err != nil {
		return err
	}
	result, err := rewrite(rewriter, fields, mail)
	if aboutFlag(c, err) {
		return usagef("--%w", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := c.Context().Err(); err != nil {
		return err
	}

	report := newRewriteReport(&result)
	switch {
	case dryRun:
		if err := report.writeTo(t.stdout, format); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
		return nil
	case output != "" && output != "-":
		if err := durable.WriteFile(output, result.Output, 0o666); err != nil {
			return fmt.Errorf("write %s: %w", output, err)
		}
	default:
		if _, err := t.stdout.Write(result.Output); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	// Written first, so that a report speaks of a mail that is there.
	if err := t.stdout.Flush(); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	if format != "" {
		if err := report.writeTo(t.stderr, format); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return nil
	}
	for _, warning := range report.allWarnings() {
		t.complain("warning: %s", warning)
	}
	return nil
}

// rewriter makes a rewriter of what the flags say.
func (t *tool) rewriter(c *cobra.Command) (*email.Rewriter, error) {
	value := func(name string) string { return c.Flag(name).Value.String() }
	list := func(name string) []string {
		all, err := c.Flags().GetStringArray(name)
		if err != nil {
			panic(err) // there is no such flag
		}
		return all
	}
	o := email.Options{
		Sealed:            value("sealed") == "true",
		Form:              linkcore.Form(value("form")),
		Labels:            value("labels") == "true",
		Tracking:          email.Tracking(value("tracking")),
		Opens:             email.Tracking(value("opens")),
		Clicks:            email.Tracking(value("clicks")),
		PrivacyLink:       value("privacy-link") == "true",
		Parts:             email.Parts(value("parts")),
		SkipHosts:         list("skip-host"),
		OnlyHosts:         list("only-host"),
		SkipURLs:          list("skip-url"),
		UnsubscribeURLs:   list("unsubscribe-url"),
		Placeholders:      value("placeholders") == "true",
		Pixel:             email.Pixel(value("pixel")),
		Honeypot:          value("honeypot"),
		VisibleURL:        email.Choice(value("visible-url")),
		Shorteners:        email.Choice(value("shorteners")),
		OneTime:           email.Choice(value("one-time")),
		ListUnsubscribe:   value("list-unsubscribe") == "true",
		UnsubscribeMailto: value("unsubscribe-mailto"),
	}
	// A variable that was not set must not choose for anyone.
	for _, flag := range []string{"form", "tracking", "opens", "clicks", "parts", "pixel", "pixel-base-url", "honeypot", "visible-url", "shorteners", "one-time", "unsubscribe-mailto"} {
		if c.Flag(flag).Changed && value(flag) == "" {
			return nil, usagef("--%s is empty: leave it out, or give a value", flag)
		}
	}
	for _, parameter := range list("utm") {
		p, err := parseParameter(parameter)
		if err != nil {
			return nil, err
		}
		o.UTM = append(o.UTM, p)
	}
	if o.UnsubscribeMailto != "" && !o.ListUnsubscribe {
		return nil, usagef("--unsubscribe-mailto names an address in addition: give --list-unsubscribe too")
	}
	if c.Flag("pixel-base-url").Changed && o.Pixel == email.NoPixel {
		return nil, usagef("--pixel-base-url is for the picture of --pixel: give --pixel end or --pixel top too")
	}

	signer, ring, key, err := t.signer(c)
	if err != nil {
		return nil, err
	}
	o.Keys, o.Signer = ring, signer
	if pixelBase := value("pixel-base-url"); pixelBase != "" {
		if o.PixelSigner, err = ring.Signer(pixelBase, key); err != nil {
			return nil, usagef("--pixel-base-url: %w", err)
		}
	}
	rewriter, err := email.New(o)
	if err != nil {
		return nil, usageError{err}
	}
	return rewriter, nil
}

// forRecipient adds what the recipient agrees to, by recipientFlags.
func forRecipient(r *email.Rewriter, value func(flag string) string) (*email.Rewriter, error) {
	for _, flag := range recipientFlags {
		agreed := email.Tracking(value(flag))
		if agreed == email.Full {
			continue
		}
		opens, clicks := agreed, agreed
		switch flag {
		case "recipient-opens":
			clicks = email.Full
		case "recipient-clicks":
			opens = email.Full
		}
		var err error
		if r, err = r.For(opens, clicks); err != nil {
			return nil, usagef("--%s %q: give full, anonymous or off", flag, agreed)
		}
	}
	return r, nil
}

// parseParameter reads NAME=VALUE.
func parseParameter(s string) (email.Parameter, error) {
	name, value, ok := strings.Cut(s, "=")
	switch {
	case !ok || name == "":
		return email.Parameter{}, usagef("--utm %q: give a name and a value, such as utm_source=news", s)
	case value == "":
		return email.Parameter{}, usagef("--utm %q: the value is empty", s)
	case slices.Contains([]string{"source", "medium", "campaign", "term", "content"}, name):
		return email.Parameter{}, usagef("--utm %q: the name is written as it is to stand in the URL: utm_%s=%s", s, name, value)
	}
	return email.Parameter{Name: name, Value: value}, nil
}

// readMail reads the mail that the argument names, and returns what to call it
// in messages.
func (t *tool) readMail(c *cobra.Command, args []string) (name string, mail []byte, err error) {
	var r io.Reader
	if len(args) == 0 || args[0] == "-" {
		name = "standard input"
		if isTerminal(t.stdin) {
			return name, nil, usagef("no mail: give a file, or the mail on standard input")
		}
		r = interruptible(c.Context(), t.stdin)
	} else {
		name = args[0]
		f, err := os.Open(name)
		if err != nil {
			// As --report takes its value after a = only.
			if errors.Is(err, fs.ErrNotExist) && (name == "table" || name == "json") && c.Flag("report").Changed {
				return name, nil, usagef("there is no file %s: if the report's format is meant, write --report=%s", name, name)
			}
			return name, nil, fmt.Errorf("read the mail: %w", err)
		}
		defer f.Close()
		r = f
	}
	mail, err = readAtMost(r, maxMail)
	switch {
	case err != nil:
		return name, nil, fmt.Errorf("read %s: %w", name, err)
	case len(bytes.TrimSpace(mail)) == 0:
		return name, nil, usagef("no mail: %s is empty", name)
	}
	return name, mail, nil
}

// readAtMost reads all there is, up to a number of bytes.
func readAtMost(r io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(content)) > most {
		return nil, fmt.Errorf("it has more than %d MiB, which no mail has", most>>20)
	}
	return content, err
}

// A rewriteReport says what was done with a mail.
type rewriteReport struct {
	Tracked  int          `json:"tracked"`
	Skipped  int          `json:"skipped"`
	Opens    email.Policy `json:"opens"`              // how they are tracked, and by whose choice
	Clicks   email.Policy `json:"clicks"`             // likewise
	Pixel    string       `json:"pixel,omitempty"`    // the URL that was put in
	Honeypot string       `json:"honeypot,omitempty"` // likewise
	Privacy  string       `json:"privacy,omitempty"`  // likewise
	Warnings []string     `json:"warnings"`           // about the mail as a whole
	Links    []email.Link `json:"links"`
}

func newRewriteReport(result *email.Result) *rewriteReport {
	r := &rewriteReport{
		Opens: result.Opens, Clicks: result.Clicks, Links: result.Links, Warnings: result.Warnings,
		Pixel: result.Pixel, Honeypot: result.Honeypot, Privacy: result.Privacy,
	}
	for _, link := range result.Links {
		switch link.Action {
		case email.ActionTracked:
			r.Tracked++
		case email.ActionSkipped:
			r.Skipped++
		}
	}
	// In JSON, a list is never null.
	if r.Warnings == nil {
		r.Warnings = []string{}
	}
	if r.Links == nil {
		r.Links = []email.Link{}
	}
	return r
}

// allWarnings returns those about links too, each kind once, with where the first
// such link is.
func (r *rewriteReport) allWarnings() []string {
	all := slices.Clone(r.Warnings)
	first := map[string]email.Link{}
	count := map[string]int{}
	var kinds []string
	for _, link := range r.Links {
		for _, warning := range link.Warnings {
			if count[warning]++; count[warning] == 1 {
				first[warning] = link
				kinds = append(kinds, warning)
			}
		}
	}
	for _, kind := range kinds {
		switch link := first[kind]; {
		case count[kind] == 1:
			all = append(all, fmt.Sprintf("%s, line %d: %s: %s", link.Part, link.Line, cut(link.Found), kind))
		default:
			all = append(all, fmt.Sprintf("%d links, the first in %s, line %d: %s: %s", count[kind], link.Part, link.Line, cut(link.Found), kind))
		}
	}
	return all
}

// writeTo writes the report as JSON, one line, or as a table for people with the
// warnings after it.
func (r *rewriteReport) writeTo(w io.Writer, format string) error {
	if format == "json" {
		return encodeJSON(w, r, "")
	}
	var b bytes.Buffer
	var links table
	links.row("#", "PART", "LINE", "ACTION", "FOUND", "LINK", "REASON")
	for _, link := range r.Links {
		links.row(strconv.Itoa(link.Position), link.Part, strconv.Itoa(link.Line), string(link.Action), cut(link.Found), link.ID, link.Reason)
	}
	if err := links.writeTo(&b); err != nil {
		return err
	}
	for _, warning := range r.allWarnings() {
		fmt.Fprintf(&b, "warning: %s\n", printable(warning))
	}
	fmt.Fprintf(&b, "%d tracked, %d left alone", r.Tracked, r.Skipped)
	if r.Pixel != "" {
		b.WriteString(", a pixel")
	}
	if r.Honeypot != "" {
		b.WriteString(", a honeypot")
	}
	if r.Privacy != "" {
		b.WriteString(", a privacy link")
	}
	for _, p := range []struct {
		what string
		email.Policy
	}{{"opens", r.Opens}, {"clicks", r.Clicks}} {
		if p.Tracking != email.Full {
			fmt.Fprintf(&b, "; tracking of %s is %s by the %s", p.what, p.Tracking, p.By)
		}
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// Linkctl is the operators' and developers' tool for tracked links. It makes
// links and takes them apart, keeps the key ring, and blocks what must not be
// reached any more. "linkctl help" lists the verbs, "linkctl help VERB" is each
// verb's manual, with examples, and "linkctl help exit-codes" says what an exit code
// means.
//
// Each verb has a file of its name here; root.go lists them. What they share is in
// files named for it: flags.go, input.go, output.go, keyring.go, store.go,
// ruletext.go, checker.go, clicks.go, receive.go, advice.go, identity.go.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// From the first signal on, the next one kills: a write that hangs must not
	// keep anyone from their prompt.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// The exit codes; interrupted is what a shell reports for SIGINT.
const (
	exitYes         = 0
	exitNo          = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// A usageError is a command that cannot be carried out as it was given. Nothing
// was done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errNo is the answer "no" where standard output or standard error already says
// why.
var errNo = errors.New("no")

// A tool is one run of the program, with what it talks to.
type tool struct {
	stdin   io.Reader
	stdout  *bufio.Writer
	out     io.Writer // behind stdout, to be asked what it is
	stderr  io.Writer
	environ []string
	now     func() time.Time
}

// run is the program: args without its name. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	t := &tool{
		stdin:   stdin,
		stdout:  bufio.NewWriter(stdout),
		out:     stdout,
		stderr:  stderr,
		environ: environ,
		now:     time.Now,
	}
	return t.run(ctx, args)
}

func (t *tool) run(ctx context.Context, args []string) int {
	root := t.rootCommand()
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	root.SetIn(t.stdin)
	root.SetOut(t.stdout)
	root.SetErr(t.stderr)
	command, err := root.ExecuteContextC(ctx)

	if flushErr := t.stdout.Flush(); flushErr != nil && (err == nil || err == errNo) {
		err = fmt.Errorf("write standard output: %w", flushErr)
	}
	var usage usageError
	switch {
	case err == nil:
		return exitYes
	case ctx.Err() != nil:
		t.complain("interrupted")
		return exitInterrupted
	case err == errNo:
		return exitNo
	case errors.As(err, &usage):
		t.complain("%v (%s --help explains)", err, command.CommandPath())
		return exitUsage
	}
	t.complain("%v", err)
	return exitNo
}

// getenv returns the value of an environment variable, or "".
func (t *tool) getenv(name string) string {
	for _, entry := range t.environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// complain writes one line to standard error, after what standard output has so
// far, so that both make sense on one terminal.
func (t *tool) complain(format string, args ...any) {
	t.stdout.Flush() // an error stays with the writer, and run reports it
	message := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	fmt.Fprintf(t.stderr, "linkctl: %s\n", printable(message))
}

// note writes one line to standard error that is not a complaint.
func (t *tool) note(format string, args ...any) {
	t.stdout.Flush()
	fmt.Fprintf(t.stderr, "%s\n", printable(fmt.Sprintf(format, args...)))
}

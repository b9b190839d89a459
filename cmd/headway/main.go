// Headway runs containers on machines exactly as a Git repository says. See
// `headway --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/yaml/load/kustomize"
)

// Exit codes, as documented in the README.
const (
	exitOK     = 0
	exitFailed = 1
	// exitChanges is plan's answer when the commit would change something.
	exitChanges = 2
	// exitRefused is rollback's answer when it changed nothing.
	exitRefused = 3
)

// exitError ends the program with a code and without a message of its own.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	kustomize.Main()
	// A second signal ends the program at once: the first one's clean
	// shutdown may hang on a machine in trouble.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: what it is called by decides whether it is headway or
// kubectl, and the result is the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	if filepath.Base(args[0]) == "kubectl" {
		return kubectl(args[1:], "", in, out, errOut)
	}
	root := newRoot(in, out, errOut)
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintln(errOut, "headway:", report.Screen(err.Error()))
	return exitFailed
}

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

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/yaml/load/kustomize"
)

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
	var exit cli.ExitError
	switch {
	case err == nil:
		return cli.ExitOK
	case errors.As(err, &exit):
		return exit.Code
	}
	fmt.Fprintln(errOut, "headway:", report.Screen(err.Error()))
	return cli.ExitFailed
}

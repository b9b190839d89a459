package gitops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewRollback is `headway rollback`.
func NewRollback(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var source, message, to string
	var waiting waitOptions
	cmd := &cobra.Command{
		Use:   "rollback [COMMIT]",
		Short: "Go back to what was deployed before, by a commit, and wait until the cluster has followed",
		Long: `Rollback writes one commit that takes back everything on the branch since the last
commit that was deployed and healthy, or since --to, or that reverts only COMMIT. It
pushes the commit without force, and waits until the cluster has converged. Files
that have been changed again since are merged by lines, as git revert does. If later
commits changed the same lines it stops, names the files, and changes nothing.

With -o json the answer is one object: reverted, to (all commits since then were taken
back), revert, subject and branch; converged and error, once they are known; conflicts,
if nothing was changed.

Exit code 0: reverted, applied and healthy. 1: something failed. 3: nothing was
changed, because the commit cannot be reverted as it is.`,
		Example:           "  headway rollback\n  headway rollback --to v1.4\n  headway rollback 4f1c2ab -m 'the new image leaks memory'",
		Args:              cli.Takes(0, 1),
		ValidArgsFunction: opts.CompleteCommit,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := waiting.check(); err != nil {
				return err
			}
			client, err := opts.Client()
			if err != nil {
				return err
			}
			request := wire.RollbackRequest{Source: source, To: to, Message: message, Author: author(cmd.Context())}
			if len(args) > 0 {
				request.Commit = args[0]
			}
			return rollback(cmd.Context(), client, opts, request, format, waiting)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "source whose branch is reverted, as NAMESPACE/NAME")
	cmd.Flags().StringVar(&to, "to", "", "bring back the state of this commit, as one new commit")
	cmd.Flags().StringVarP(&message, "message", "m", "", "reason, for the commit's message")
	waiting.register(cmd)
	format.Register(cmd)
	return cmd
}

// RollbackOutcome is the outcome of a rollback, as -o json prints it.
type RollbackOutcome struct {
	wire.RollbackResult
	// Converged reports whether the cluster has followed; absent if the command
	// did not wait.
	Converged *bool    `json:"converged,omitempty"`
	Error     string   `json:"error,omitempty"`
	Conflicts []string `json:"conflicts,omitempty"`
}

// rollback asks for the revert, and waits until the cluster has followed it.
func rollback(ctx context.Context, c *cli.Client, opts *cli.Options, request wire.RollbackRequest, format cli.Format, waiting waitOptions) error {
	var outcome RollbackOutcome
	err := c.Call(ctx, http.MethodPost, "/headway/v1/rollback", request, &outcome.RollbackResult)
	if refused := (*cli.RefusedError)(nil); errors.As(err, &refused) {
		outcome.Error, outcome.Conflicts = refused.Message, refused.Conflicts
		fmt.Fprintln(opts.Err, "error:", report.Screen(refused.Message))
		if format.JSON() {
			if err := report.PrintJSON(opts.Out, outcome); err != nil {
				return err
			}
		}
		return cli.ExitError{Code: cli.ExitRefused}
	}
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted while the revert was written: whether it was pushed is in `git log` of the branch")
	}
	if err != nil {
		return err
	}
	progress := opts.Out
	if format.JSON() {
		progress = opts.Err
	}
	back := ""
	if outcome.To != "" {
		back = ", back to " + report.ShortSHA(outcome.To)
	}
	fmt.Fprintf(progress, "%s on %s: %s reverts %s%s\n", outcome.Subject, outcome.Branch, report.ShortSHA(outcome.Revert), report.ShortSHA(outcome.Reverted), back)
	if !waiting.no {
		err = syncAndWait(ctx, c, wire.SyncRequest{Source: outcome.Source}, waiting, cli.Format{}, progress)
		outcome.Converged = new(err == nil)
		if err != nil {
			outcome.Error = err.Error()
		}
	}
	if format.JSON() {
		return errors.Join(report.PrintJSON(opts.Out, outcome), err)
	}
	return err
}

// author is who asks for a rollback, as Git would name them: from Git's
// environment or configuration, else the account on this machine. Nil if that
// is unknown.
func author(ctx context.Context) *wire.Signature {
	name := cmp.Or(os.Getenv("GIT_AUTHOR_NAME"), gitConfig(ctx, "user.name"))
	email := cmp.Or(os.Getenv("GIT_AUTHOR_EMAIL"), gitConfig(ctx, "user.email"))
	if account, err := user.Current(); err == nil {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		name = cmp.Or(name, account.Name, account.Username)
		email = cmp.Or(email, account.Username+"@"+host)
	}
	if name == "" || email == "" {
		return nil
	}
	return &wire.Signature{Name: name, Email: email, Date: time.Now()}
}

// gitConfig is a setting of the git program, or empty if that or the program
// is not there.
func gitConfig(ctx context.Context, key string) string {
	out, err := exec.CommandContext(ctx, "git", "config", "--get", key).Output() //nolint:gosec // the key is ours
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

package main

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"headway.dev/syncer/wire"
)

func newRollback(opts *options) *cobra.Command {
	var format outputFormat
	var source, message string
	var wait bool
	cmd := &cobra.Command{
		Use:   "rollback [COMMIT]",
		Short: "Revert a commit on the branch and wait until the cluster has followed",
		Long: `Rollback writes a commit that reverts COMMIT (by default the newest deployed one),
pushes it to the branch without force, and waits until the cluster has converged.
If later commits changed the same files it stops, names them, and changes
nothing.

Exit code 0: reverted, applied and healthy. 1: something failed.`,
		Example: "  headway rollback\n  headway rollback 4f1c2ab -m 'the new image leaks memory'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := opts.client()
			if err != nil {
				return err
			}
			request := wire.RollbackRequest{Source: source, Message: message, Author: author()}
			if len(args) > 0 {
				request.Commit = args[0]
			}
			var result wire.RollbackResult
			if err := client.call(cmd.Context(), http.MethodPost, "/headway/v1/rollback", request, &result); err != nil {
				return err
			}
			if format.json() {
				if err := printJSON(opts.out, result); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(opts.out, "%s on %s: %s reverts %s\n", result.Subject, result.Branch, short(result.Revert), short(result.Reverted))
			}
			if !wait {
				return nil
			}
			progress := opts.out
			if format.json() {
				progress = opts.err
			}
			return client.sync(cmd.Context(), wire.SyncRequest{Source: source, Wait: true}, outputFormat{}, progress)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "source whose branch is reverted, as NAMESPACE/NAME")
	cmd.Flags().StringVarP(&message, "message", "m", "", "why, for the commit's message")
	cmd.Flags().BoolVar(&wait, "wait", true, "wait until the cluster has converged")
	format.register(cmd)
	return cmd
}

// author is who asks for a rollback, as Git would name them: from Git's
// environment, else the account on this machine. Nil if that is unknown.
func author() *wire.Signature {
	name, email := os.Getenv("GIT_AUTHOR_NAME"), os.Getenv("GIT_AUTHOR_EMAIL")
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

package review

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// planOptions are the flags of `headway plan`.
type planOptions struct {
	*cli.Options
	cli.Remote
	format      cli.Format
	source, dir string
	comment     commentOptions
}

// NewPlan is `headway plan`.
func NewPlan(opts *cli.Options) *cobra.Command {
	plan := &planOptions{Options: opts}
	cmd := &cobra.Command{
		Use:   "plan [REV]",
		Short: "Show what a commit, branch, pull request or directory would change",
		Long: `Plan shows what the cluster would change if it followed REV, or the manifests in
a directory of a clone, including uncommitted changes: objects and fields, the pods
that would be replaced and whether the new ones would fit on today's nodes, and the
policies and budgets that the change meets or violates. It changes nothing.

REV is a branch, tag or commit of the source, the full name of a reference, or a
pull request as pull/12 (GitHub, Gitea, Forgejo) or merge-requests/12 (GitLab). The
default is the newest commit of the branch that is followed. A pull request is
planned as proposed; pull/12/merge is its merge, if the host provides one.

With --server it needs no kubeconfig, but the token of a user with the ClusterRole
headway:plan, who needs no other right.

Exit code 0: no change. 2: changes. 1: an error, such as an invalid manifest.`,
		Example: `  headway plan my-branch
  headway plan pull/12
  headway plan --path .                  # the clone in the working directory
  headway plan my-branch -o markdown     # for a comment on a pull request
  headway plan pull/12 --comment 12      # writes that comment, or edits it
  HEADWAY_TOKEN=… headway plan --server https://headway.example.com:6443 pull/12`,
		Args: cli.Takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return plan.run(cmd.Context(), args) },
	}
	cmd.Flags().StringVar(&plan.source, "source", "", "source to plan for, as NAMESPACE/NAME")
	cmd.Flags().StringVar(&plan.dir, "path", "", "plan this directory of a clone instead of a revision; the root of a clone means the directory in it that is applied")
	plan.Register(cmd)
	plan.comment.register(cmd)
	plan.format.Register(cmd, "markdown")
	return cmd
}

func (o *planOptions) run(ctx context.Context, args []string) error {
	request, err := o.request(args)
	if err != nil {
		return err
	}
	if err := o.comment.check(); err != nil {
		return err
	}
	client, err := o.Remote.Client(o.Options)
	if err != nil {
		return err
	}
	var plans wire.Plans
	if err := client.Call(ctx, http.MethodPost, "/headway/v1/plan", request, &plans); err != nil {
		return err
	}
	result := showPlan(o.Options, plans, o.format)
	if o.comment.number != "" {
		if err := o.comment.post(ctx, plans, o.Err); err != nil {
			return err
		}
	}
	return result
}

// request is what the arguments ask for.
func (o *planOptions) request(args []string) (wire.PlanRequest, error) {
	request := wire.PlanRequest{Source: o.source}
	switch {
	case o.dir != "" && len(args) > 0:
		return request, errors.New("give either REV or --path")
	case o.dir != "":
		// From the work tree's root: kustomizations refer to files beside their
		// own directory.
		root, below, err := workTree(o.dir)
		if err != nil {
			return request, err
		}
		if request.Files, request.Binary, err = readTree(root); err != nil {
			return request, err
		}
		if below != "." {
			request.Path = below
		}
	case len(args) > 0:
		request.Rev = args[0]
	}
	return request, nil
}

// showPlan prints the plan; its result carries the exit code.
func showPlan(opts *cli.Options, plan wire.Plans, format cli.Format) error {
	switch format.Value {
	case "json":
		if err := report.PrintJSON(opts.Out, plan); err != nil {
			return err
		}
	case "markdown":
		report.PlanMarkdown(opts.Out, plan)
	default:
		report.PlanText(opts.Out, plan)
	}
	if len(plan.Errors) > 0 {
		for _, fault := range plan.Errors {
			fmt.Fprintln(opts.Err, "error:", fault.Message)
		}
		return cli.ExitError{Code: cli.ExitFailed}
	}
	if plan.Summary.Create+plan.Summary.Update+plan.Summary.Delete > 0 {
		return cli.ExitError{Code: cli.ExitChanges}
	}
	return nil
}

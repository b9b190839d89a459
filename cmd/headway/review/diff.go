package review

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewDiff is `headway diff`.
func NewDiff(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var source, kustomization string
	cmd := &cobra.Command{
		Use:   "diff [COMMIT] COMMIT",
		Short: "Show which objects and fields differ between two commits",
		Long: `Diff renders two commits (or branches or tags) of a source and shows which objects
and fields differ. With one commit it compares what is applied with that commit.
Unlike plan it does not look at the live objects. Values of Secrets are hidden.

Exit code 0: no difference. 2: differences. 1: an error.`,
		Example: `  headway diff HEAD~1 HEAD
  headway diff v1.4 v1.5 -o json
  headway diff 3f9c2d1        # from what is applied to that commit`,
		Args: cli.Takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"to": {args[len(args)-1]}}
			if len(args) == 2 {
				query.Set("from", args[0])
			}
			if source != "" {
				query.Set("source", source)
			}
			if kustomization != "" {
				query.Set("kustomization", kustomization)
			}
			client, err := opts.Client()
			if err != nil {
				return err
			}
			var difference wire.Plans
			if err := client.Call(cmd.Context(), http.MethodGet, "/headway/v1/diff?"+query.Encode(), nil, &difference); err != nil {
				return err
			}
			return showDiff(opts, difference, format)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "source of the commits, as NAMESPACE/NAME")
	cmd.Flags().StringVar(&kustomization, "kustomization", "", "compare only this Kustomization, as NAMESPACE/NAME")
	format.Register(cmd)
	return cmd
}

// showDiff prints the difference; its result carries the exit code.
func showDiff(opts *cli.Options, d wire.Plans, format cli.Format) error {
	if format.JSON() {
		if err := report.PrintJSON(opts.Out, d); err != nil {
			return err
		}
	} else {
		report.DiffText(opts.Out, d)
	}
	for _, fault := range d.Errors {
		fmt.Fprintln(opts.Err, "error:", fault.Message)
	}
	switch {
	case len(d.Errors) > 0:
		return cli.ExitError{Code: cli.ExitFailed}
	case d.Summary.Create+d.Summary.Update+d.Summary.Delete > 0:
		return cli.ExitError{Code: cli.ExitChanges}
	}
	return nil
}

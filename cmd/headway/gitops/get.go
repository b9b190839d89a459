package gitops

import (
	"net/url"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewGet is `headway get`.
func NewGet(opts *cli.Options) *cobra.Command {
	format := cli.Format{Value: "yaml"}
	var namespace, at, kustomization string
	cmd := &cobra.Command{
		Use:   "get KIND/NAME --at COMMIT|TIME",
		Short: "Show an object as Git declared it at a commit or a time",
		Long: `Get shows an object as Git declared it: rendered from the files of a commit, branch
or tag, or of the commit that was applied at a time. It does not show the live
object; kubectl get does. Values of Secrets are hidden.

TIME is RFC 3339, "2006-01-02 15:04" or 2006-01-02 in the server's time zone, or
a duration such as 2h for that long ago.`,
		Example: `  headway get deploy/hello --at HEAD~3
  headway get deploy/hello -n hello --at 2026-11-24T09:30:00Z
  headway get deploy/hello --at 36h -o json`,
		Args:              cli.Takes(1, 1),
		ValidArgsFunction: opts.CompleteObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			var past wire.PastObject
			query := url.Values{"at": {at}, "kustomization": {kustomization}}
			if err := opts.Ask(cmd, "get", args[0], namespace, query, &past); err != nil {
				return err
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, past)
			}
			return report.PrintPast(opts.Out, past)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "commit, branch, tag or time (default: what is applied)")
	cmd.Flags().StringVar(&kustomization, "kustomization", "", "Kustomization that declared it, as NAMESPACE/NAME (default: any)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object (default: any)")
	format.RegisterOnly(cmd, "yaml", "json")
	return cmd
}

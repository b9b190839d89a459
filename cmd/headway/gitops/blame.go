package gitops

import (
	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewBlame is `headway blame`.
func NewBlame(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var namespace string
	var all bool
	cmd := &cobra.Command{
		Use:   "blame KIND/NAME",
		Short: "Show the commit, author and line that set each field of an object",
		Long: `Blame shows the fields of a live object with their values and what set them: the
commit, its author and date, and the file and line in Git, or the field manager.
With --all, and in JSON, it also shows the status and the fields that the API's
defaults, controllers and the server set. Values of Secrets are hidden.

If the file does not simply declare the value, a word after the line tells how the
value got from there into the object: patch, images, replicas, …; (computed) means
that a kustomization made the value from what the line says.`,
		Example:           "  headway blame deploy/hello\n  headway blame deploy/hello -n hello -o json | jq '.fields[] | select(.path == \"spec.replicas\")'",
		Args:              cli.Takes(1, 1),
		ValidArgsFunction: opts.CompleteObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			var blame wire.Blame
			if err := opts.Ask(cmd, "blame", args[0], namespace, nil, &blame); err != nil {
				return err
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, blame)
			}
			return report.PrintBlame(opts.Out, blame, all, report.TerminalWidth(opts.Out))
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object (default: the only one that has it)")
	cmd.Flags().BoolVar(&all, "all", false, "also show defaults, the status and fields that controllers set")
	format.Register(cmd)
	return cmd
}

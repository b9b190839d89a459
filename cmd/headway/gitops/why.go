package gitops

import (
	"time"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewWhy is `headway why`.
func NewWhy(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var namespace string
	cmd := &cobra.Command{
		Use:   "why KIND/NAME",
		Short: "Show why a pod is where it is, or does not run yet, and the nearest fix",
		Long: `Why tells why a pod is on its node, or why it does not run yet, and the same of
whatever runs pods: Deployments, DaemonSets, Jobs, CronJobs and so on. Of a
PersistentVolumeClaim it tells which volume it has, or why it has none.

For each reason it names the pods that have it, what would help, and the commit since
which it is so: the newest that changed the fields in question or, if those are not
declared, the object. If a pod has no node, a table shows what each node says, the
nearest first, with all that is in the way and not only what the scheduler names.

You need the right to get the object. Pods, events, nodes, budgets and the
Kustomization are in the answer if you may read them.`,
		Example:           "  headway why pod/web-5d8c7b6f9-x2x7k\n  headway why deploy/web -n shop\n  headway why pvc/data-db-0\n  headway why job/import -o json | jq '.reasons[].fixes'",
		Args:              cli.Takes(1, 1),
		ValidArgsFunction: opts.CompleteObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			var why wire.Why
			if err := opts.Ask(cmd, "why", args[0], namespace, nil, &why); err != nil {
				return err
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, why)
			}
			return report.PrintWhy(opts.Out, why, time.Now())
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object (default: the only one that has it)")
	format.Register(cmd)
	return cmd
}

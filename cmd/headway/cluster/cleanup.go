package cluster

import (
	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/up"
)

// NewCleanup makes the command cleanup.
func NewCleanup(opts *cli.Options) *cobra.Command {
	var what up.Cleanup
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every trace from this machine",
		Long: `Cleanup ends all containers of the data directory's cluster and removes its
namespaces, interfaces, rules, cgroups, mounts and data. Stop headway first. If the
data directory contains the cluster's Git repository, it asks before it deletes it.
Files in the data directory that are not Headway's stay.`,
		Example: "  headway cleanup\n  headway cleanup --keep-data   # leaves the store, the keys and the repository",
		Args:    cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what.DataDir, what.In, what.Out = opts.DataDir, opts.In, opts.Out
			return what.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&what.CgroupRoot, "cgroup-root", "", "cgroup that holds all pods (default: that of the last headway up)")
	cmd.Flags().StringVar(&what.Containerd, "containerd-address", "", "socket of the containerd (default: that of the last headway up)")
	cmd.Flags().BoolVar(&what.KeepData, "keep-data", false, "keep the store, the keys, the repository and the images directory")
	cmd.Flags().BoolVar(&what.Yes, "yes", false, "delete the repository without asking")
	return cmd
}

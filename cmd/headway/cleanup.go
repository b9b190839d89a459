package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"headway.dev/proxy"
)

func newCleanup(opts *options) *cobra.Command {
	var cgroupRoot string
	var keepData bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every trace from this machine",
		Long: `Cleanup ends all containers of the data dir's cluster and removes its namespaces,
interfaces, rules, cgroups, mounts and data. Stop headway first.`,
		Example: "  headway cleanup\n  headway cleanup --keep-data   # leaves the store, the repository and the images",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := filepath.Abs(opts.dataDir)
			if err != nil {
				return fmt.Errorf("--data-dir: %w", err)
			}
			return cleanup(cmd.Context(), opts, dir, cgroupRoot, keepData)
		},
	}
	cmd.Flags().StringVar(&cgroupRoot, "cgroup-root", "headway", "cgroup that holds all pods, as given to up")
	cmd.Flags().BoolVar(&keepData, "keep-data", false, "keep the store, the repository and the images")
	return cmd
}

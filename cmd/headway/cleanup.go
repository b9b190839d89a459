package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"headway.dev/proxy"
)

func newCleanup(opts *options) *cobra.Command {
	up := &upOptions{options: opts}
	var keepData bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every trace from this machine",
		Long: `Cleanup ends all containers of the data dir's cluster and removes its namespaces,
interfaces, rules, cgroups, mounts and data. Stop headway first.`,
		Example: "  headway cleanup\n  headway cleanup --keep-data   # leaves the store, the keys and the repository",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cleanup(cmd.Context(), up, keepData)
		},
	}
	cmd.Flags().StringVar(&up.cgroupRoot, "cgroup-root", "headway", "cgroup that holds all pods, as given to up")
	cmd.Flags().StringVar(&up.containerd, "containerd-address", "", "socket of the containerd, as given to up")
	cmd.Flags().BoolVar(&keepData, "keep-data", false, "keep the store, the keys, the repository and the images directory")
	return cmd
}

// cleanup removes what a stopped cluster left on the machine.
func cleanup(ctx context.Context, up *upOptions, keepData bool) error {
	if os.Geteuid() != 0 {
		return errors.New("cleanup needs root, as up does; run it with sudo")
	}
	dir, err := filepath.Abs(up.dataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(up.out, "nothing to clean up: there is no %s\n", dir)
		return nil
	}
	unlock, err := lockDataDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	cfg := &upConfig{upOptions: *up}
	cfg.dataDir = dir
	if err := cleanupNode(ctx, cfg); err != nil {
		return err
	}
	if err := proxy.Cleanup(ctx); err != nil {
		return err
	}
	if keepData {
		return nil
	}
	return os.RemoveAll(dir)
}

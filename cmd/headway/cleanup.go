package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"headway.dev/proxy"
)

func newCleanup(opts *options) *cobra.Command {
	up := &upOptions{options: opts}
	var keepData, yes bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every trace from this machine",
		Long: `Cleanup ends all containers of the data dir's cluster and removes its namespaces,
interfaces, rules, cgroups, mounts and data. Stop headway first. Where the data
dir has the cluster's Git repository, it asks before it deletes that. What else
somebody has put into the data dir stays.`,
		Example: "  headway cleanup\n  headway cleanup --keep-data   # leaves the store, the keys and the repository",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cleanup(cmd.Context(), up, keepData, yes)
		},
	}
	cmd.Flags().StringVar(&up.cgroupRoot, "cgroup-root", "headway", "cgroup that holds all pods, as given to up")
	cmd.Flags().StringVar(&up.containerd, "containerd-address", "", "socket of the containerd, as given to up")
	cmd.Flags().BoolVar(&keepData, "keep-data", false, "keep the store, the keys, the repository and the images directory")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete the repository without asking")
	return cmd
}

// cleanup removes what a stopped cluster left on the machine.
func cleanup(ctx context.Context, up *upOptions, keepData, yes bool) error {
	if os.Geteuid() != 0 {
		return errors.New("cleanup needs root, as up does; run it with sudo")
	}
	dir, err := filepath.Abs(up.dataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	// Who removed the data dir by hand left containers, rules and mounts behind.
	if missing(dir) && missing(runDir(dir)) {
		fmt.Fprintf(up.out, "nothing to clean up: there is no %s\n", dir)
		return nil
	}
	// Before the lock, which makes a file and closes the directory.
	if err := checkUsedDataDir(dir); err != nil {
		return err
	}
	unlock, err := lockDataDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	repository := filepath.Join(dir, "repo.git")
	if !missing(repository) && !keepData && !yes {
		fmt.Fprintf(up.out, "%s is the cluster's Git repository: with it goes what is in no clone of it.\nDelete it? [y/N] ", repository)
		answer, err := bufio.NewReader(io.LimitReader(up.in, 100)).ReadString('\n')
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			if err != nil {
				fmt.Fprintln(up.out) // nobody ended the line
			}
			return errors.New("nothing was removed: say yes, give --yes, or keep the repository with --keep-data")
		}
	}
	cfg := &upConfig{upOptions: *up}
	cfg.dataDir = dir
	owned, err := cleanupNode(ctx, cfg)
	if err != nil {
		return err
	}
	if owned != nil {
		fmt.Fprintf(up.out, "left the network, the rules and the cgroups: they are those of the cluster of %s\n", owned.Owner)
	} else {
		if err := proxy.Cleanup(ctx); err != nil {
			return err
		}
		fmt.Fprintln(up.out, "removed the pods, their network and rules, and their cgroups")
	}
	if keepData {
		fmt.Fprintf(up.out, "kept the store, the keys, the repository and the images in %s\n", dir)
		return nil
	}
	return removeDataDir(dir, up.out)
}

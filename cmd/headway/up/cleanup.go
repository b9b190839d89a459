package up

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/member"
	"headway.dev/proxy"
)

// Cleanup removes a stopped cluster. A cluster's Git repository is removed only
// if in answers yes, or Yes is set.
type Cleanup struct {
	DataDir, CgroupRoot, Containerd string
	KeepData, Yes                   bool
	In                              io.Reader
	Out                             io.Writer
}

// Run removes what the cluster left on the machine.
func (c Cleanup) Run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("cleanup needs root, as up does; run it with sudo")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	// Who removed the data dir by hand left containers, rules and mounts behind.
	if datadir.Missing(dir) && datadir.Missing(datadir.RunDir(dir)) {
		fmt.Fprintf(c.Out, "nothing to clean up: there is no %s\n", dir)
		return nil
	}
	// Before the lock, which makes a file and closes the directory.
	if err := datadir.CheckUsed(dir); err != nil {
		return err
	}
	unlock, err := datadir.Lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	repository := filepath.Join(dir, "repo.git")
	if !datadir.Missing(repository) && !c.KeepData && !c.Yes {
		fmt.Fprintf(c.Out, "%s is the cluster's Git repository: with it goes what is in no clone of it.\nDelete it? [y/N] ", repository)
		answer, err := bufio.NewReader(io.LimitReader(c.In, 100)).ReadString('\n')
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			if err != nil {
				fmt.Fprintln(c.Out) // nobody ended the line
			}
			return errors.New("nothing was removed: say yes, give --yes, or keep the repository with --keep-data")
		}
	}
	owned, err := member.Cleanup(ctx, member.Config{DataDir: dir, CgroupRoot: c.CgroupRoot, Containerd: c.Containerd})
	if err != nil {
		return err
	}
	if owned != nil {
		fmt.Fprintf(c.Out, "left the network, the rules and the cgroups: they are those of the cluster of %s\n", owned.Owner)
	} else {
		if err := proxy.Cleanup(ctx); err != nil {
			return err
		}
		fmt.Fprintln(c.Out, "removed the pods, their network and rules, and their cgroups")
	}
	if c.KeepData {
		fmt.Fprintf(c.Out, "kept the store, the keys, the repository and the images in %s\n", dir)
		return nil
	}
	return datadir.Remove(dir, c.Out)
}

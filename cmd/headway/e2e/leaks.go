package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// NoLeaks fails the test if anything is left of the cluster of a data dir.
func (c *Cluster) NoLeaks(dataDir string) {
	c.tb.Helper()
	id := c.id
	if dataDir != c.DataDir {
		// That of another start, without --cgroup-root: this one may run.
		id = "headway"
	}
	c.nothingLeft(func() []string { return leaks(dataDir, id) })
}

// nothingLeft fails the test if find still finds something after a while: a
// process that was ended is still in its cgroup until the kernel has taken it
// apart.
func (c *Cluster) nothingLeft(find func() []string) {
	c.tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		found := find()
		if len(found) == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.tb.Errorf("left behind:\n%s", strings.Join(found, "\n"))
			return
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // polls an effect seen from outside
	}
}

// leaks lists the mounts, cgroups, processes and runtime directories that
// belong to a cluster.
func leaks(dataDir, id string) (found []string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dataDir) {
			found = append(found, "mount "+strings.TrimSpace(line))
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/" + id, "/sys/fs/cgroup/*/" + id} {
		cgroups, err := filepath.Glob(pattern)
		if err != nil {
			return append(found, err.Error())
		}
		for _, cgroup := range cgroups {
			found = append(found, "cgroup "+cgroup)
		}
	}
	if _, err := os.Stat(runDir(dataDir)); err == nil {
		found = append(found, runDir(dataDir))
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return append(found, err.Error())
	}
	for _, file := range processes {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		if strings.Contains(string(cmdline), dataDir) {
			found = append(found, fmt.Sprintf("process %s: %s", file, strings.ReplaceAll(string(cmdline), "\x00", " ")))
		}
	}
	return found
}

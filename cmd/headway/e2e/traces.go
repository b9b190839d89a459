package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Traces finds what a cluster has on the machine, and what is left of it.
type Traces struct {
	node      *Node
	processes *Processes
}

// runDir is where the sockets and namespaces of a data dir's cluster are. Its
// name is made from the data dir's.
func runDir(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return "/run/headway-" + hex.EncodeToString(sum[:4])
}

// List is everything on the machine that belongs to the pods of the cluster, a
// line each: processes, shims, cgroups, mounts, network links, iptables
// rules, files, and what containerd keeps. Two clusters at rest with the same
// pods have the same traces.
func (t *Traces) List() []string {
	t.node.tb.Helper()
	found := map[string]int{}
	note := func(kind string, lines ...string) {
		for _, line := range lines {
			found[kind+" "+line]++
		}
	}
	t.processes.each("", func(pid, program string) { note("process", pid+" "+program) })
	for _, pid := range t.processes.named("containerd-shim") {
		note("shim", strconv.Itoa(pid))
	}
	for _, pattern := range []string{"/sys/fs/cgroup/" + t.node.id, "/sys/fs/cgroup/*/" + t.node.id} {
		roots, err := filepath.Glob(pattern)
		if err != nil {
			t.node.tb.Fatal(err)
		}
		for _, root := range roots {
			note("cgroup", below(t.node.tb.Fatal, root, func(d fs.DirEntry) bool {
				// Those of the classes of pods stay, as the kubelet's do.
				return d.IsDir() && d.Name() != "burstable" && d.Name() != "besteffort"
			})...)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.node.tb.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, t.node.DataDir) || strings.HasPrefix(at, runDir(t.node.DataDir)) {
			note("mount", at)
		}
	}
	for line := range strings.Lines(t.node.must(t.node.Run("", "ip", "-o", "link"), "ip", nil)) {
		note("link", strings.Fields(line)[1])
	}
	counters := regexp.MustCompile(`\[\d+:\d+\]`)
	for line := range strings.Lines(t.node.must(t.node.Run("", "iptables-save"), "iptables-save", nil)) {
		if !strings.HasPrefix(line, "#") {
			note("rule", counters.ReplaceAllString(strings.TrimSpace(line), ""))
		}
	}
	for _, dir := range []string{"network", "pods", "logs"} {
		note("file", below(t.node.tb.Fatal, filepath.Join(t.node.DataDir, dir), func(fs.DirEntry) bool { return true })...)
	}
	note("file", below(t.node.tb.Fatal, runDir(t.node.DataDir), func(fs.DirEntry) bool { return true })...)
	for _, list := range []string{"containers ls -q", "tasks ls -q", "snapshots ls", "leases ls -q"} {
		args := append([]string{"ctr", "--address", t.containerdSocket(), "--namespace", "headway"}, strings.Fields(list)...)
		for line := range strings.Lines(t.node.must(t.node.Run("", args...), "ctr", args)) {
			note(args[5], strings.Join(strings.Fields(line), " "))
		}
	}
	lines := make([]string, 0, len(found))
	for _, line := range slices.Sorted(maps.Keys(found)) {
		if n := found[line]; n > 1 {
			line += fmt.Sprintf(" (%d times)", n)
		}
		lines = append(lines, line)
	}
	return lines
}

// containerdSocket is that of the cluster's private containerd.
func (t *Traces) containerdSocket() string {
	return filepath.Join(runDir(t.node.DataDir), "containerd", "c.sock")
}

// below lists what is in a directory, which may change meanwhile.
func below(fatal func(...any), root string, want func(fs.DirEntry) bool) (found []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		// Files of volumes and mounted images belong to the pods themselves.
		if d != nil && d.IsDir() && (d.Name() == "volumes" || d.Name() == "rootfs") {
			found = append(found, path)
			return fs.SkipDir
		}
		if err == nil && want(d) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		fatal(err)
	}
	return found
}

// None fails the test if anything is left of the cluster of a data dir.
func (t *Traces) None(dataDir string) {
	t.node.tb.Helper()
	id := t.node.id
	if dataDir != t.node.DataDir {
		// That of another start, without --cgroup-root: this one may run.
		id = "headway"
	}
	t.nothingLeft(func() []string { return leaks(dataDir, id) })
}

// nothingLeft fails the test if find still finds something after a while: a
// process that was ended is still in its cgroup until the kernel has taken it
// apart.
func (t *Traces) nothingLeft(find func() []string) {
	t.node.tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		found := find()
		if len(found) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.node.tb.Errorf("left behind:\n%s", strings.Join(found, "\n"))
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

package containerd_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"headway.dev/nodes/network"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime/containerd"
)

// shimsOf finds the shims of the node's containerd.
func shimsOf(t *testing.T, n *nodetest.Node) []int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, line := range lines {
		data, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(data, []byte("containerd-shim")) || !bytes.Contains(data, []byte(n.Config.RunDir+"/")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// socketOf is the pod's shim socket, in the directory that all containerds of
// the machine share.
func socketOf(n *nodetest.Node, uid string) string {
	name := filepath.Join(n.Config.RunDir, "containerd", "c.sock", "headway", uid)
	return fmt.Sprintf("/run/containerd/s/%x", sha256.Sum256([]byte(name)))
}

// TestKilledShimLeavesNothing: neither a socket nor a process, and the pod can
// be removed.
func TestKilledShimLeavesNothing(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("shimless")
	c := n.Run(t, pod, "main", "stubborn")
	socket := socketOf(n, pod.UID)
	if _, err := os.Stat(socket); err != nil {
		t.Fatal(err)
	}
	shims := shimsOf(t, n)
	if len(shims) != 1 {
		t.Fatalf("shims = %v, want one", shims)
	}
	if err := unix.Kill(shims[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.WaitExited(t, c)
	if err := n.RemoveSandbox(t.Context(), pod.PodRef); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead shim's socket: %v, want it gone", err)
	}
}

// TestCleanupWithoutContainerd: everything goes though containerd cannot start.
// What is left is an error of the node's own cleanup.
func TestCleanupWithoutContainerd(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("stranded")
	n.Run(t, pod, "main", "stubborn")
	n.Stop(t)
	pid := containerdPID(t, n)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	nodetest.Eventually(t, 10*time.Second, func() string {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if unix.Kill(pid, 0) == nil {
			return "containerd is still there"
		}
		return ""
	})
	database := filepath.Join(n.Config.Root, "containerd", "io.containerd.metadata.v1.bolt", "meta.db")
	if err := os.WriteFile(database, bytes.Repeat([]byte("no database "), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	net, err := network.New(n.NetConf, n.Config.Log)
	if err != nil {
		t.Fatal(err)
	}
	cfg := n.Config
	cfg.Network, cfg.CgroupRoot = net, "" // as the last start had it
	if err := containerd.Cleanup(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{n.Config.Root, n.Config.RunDir, socketOf(n, pod.UID), n.Config.LogDir} {
		if _, err := os.Stat(path); path != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", path, err)
		}
	}
	if shims := shimsOf(t, n); len(shims) > 0 {
		t.Errorf("shims %v still run", shims)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		if left, err := filepath.Glob(pattern + n.Config.CgroupRoot); err != nil || len(left) > 0 {
			t.Errorf("cgroups %v are left, %v", left, err)
		}
	}
}

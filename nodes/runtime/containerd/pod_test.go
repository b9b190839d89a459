package containerd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// pidsOf lists the processes in a cgroup.
func pidsOf(t *testing.T, n *nodetest.Node, cgroup string) []int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/pids", n.Config.CgroupRoot, cgroup, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for f := range strings.FieldsSeq(string(data)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

func link(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPodServesOnItsAddress(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("web")
	c := n.Run(t, pod, "main", "serve", ":8080")
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	if p.Sandbox == nil || !p.Sandbox.Ready || len(p.Sandbox.IPs) != 1 {
		t.Fatalf("sandbox = %+v, want ready with one address", p.Sandbox)
	}
	ip := p.Sandbox.IPs[0]
	if got := nodetest.Get(t, "http://"+ip+":8080/hostname"); got != "web\n" {
		t.Errorf("host name in the pod = %q, want web", got)
	}
	if got := n.Container(t, c); got.State != runtime.Running || got.StartedAt.IsZero() {
		t.Errorf("container = %+v, want running since a time", got)
	}

	pids := pidsOf(t, n, filepath.Join(p.Sandbox.CgroupPath, c.ID))
	if len(pids) != 1 {
		t.Fatalf("processes in the container's cgroup = %v, want one", pids)
	}
	ns := "/proc/" + strconv.Itoa(pids[0]) + "/ns/"
	for _, name := range []string{"net", "ipc", "uts", "pid", "mnt"} {
		if link(t, ns+name) == link(t, "/proc/self/ns/"+name) {
			t.Errorf("container shares the node's %s namespace", name)
		}
	}

	if err := n.RemoveSandbox(t.Context(), pod.PodRef); err != nil {
		t.Fatal(err)
	}
	if all, err := n.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("List after removal = %v, %v; want nothing", all, err)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(pids[0])); err == nil {
		t.Error("the container's process is still there")
	}
	if _, err := os.Stat(c.LogPath); err != nil {
		t.Errorf("log is gone before RemoveLogs: %v", err)
	}
	if err := n.RemoveLogs(pod.PodRef); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.LogPath); err == nil {
		t.Error("log is there after RemoveLogs")
	}
}

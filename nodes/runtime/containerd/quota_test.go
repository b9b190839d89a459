package containerd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// TestQuotaIsSetAfterAdoption: an agent that ended between the start of a
// container and setting its CPU quota leaves that to the next one.
func TestQuotaIsSetAfterAdoption(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("bounded")
	pod.Resources = runtime.Resources{CPUQuota: 70000, CPUPeriod: 100000}
	c := n.RunConfig(t, pod, runtime.ContainerConfig{Name: "main", Args: []string{"sleep"}, Resources: runtime.Resources{CPUQuota: 60000, CPUPeriod: 100000}})
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	n.Stop(t)
	name, none, suffix := "/sys/fs/cgroup/cpu/"+n.Config.CgroupRoot, "-1", "cpu.cfs_quota_us"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		name, none, suffix = "/sys/fs/cgroup/"+n.Config.CgroupRoot, "max", "cpu.max"
	}
	want := map[string]string{
		filepath.Join(name, p.Sandbox.CgroupPath, suffix):       "70000",
		filepath.Join(name, p.Sandbox.CgroupPath, c.ID, suffix): "60000",
	}
	for file := range want {
		if err := os.WriteFile(file, []byte(none), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.Restart(t)
	for file, quota := range want {
		if got, err := os.ReadFile(file); err != nil || strings.Fields(string(got))[0] != quota {
			t.Errorf("%s = %q, %v; want %s", file, got, err, quota)
		}
	}
}

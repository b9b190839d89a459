package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"headway.dev/nodes/runtime"
)

// CreatePod creates the pod's cgroup with its limits, except the CPU quota: see
// SetQuota.
func (c *Tree) CreatePod(path string, res runtime.Resources) error {
	if err := c.mkdirs(path); err != nil {
		return err
	}
	// What each pod may have is for its owner; this is for the node.
	if limit := pidsForPods(); limit > 0 {
		if err := c.write("pids", "kubepods", "pids.max", strconv.FormatInt(limit, 10)); err != nil {
			return err
		}
	}
	if strings.HasPrefix(path, "kubepods/besteffort/") {
		// All pods without requests share what others leave.
		if err := c.setShares("kubepods/besteffort", 2); err != nil {
			return err
		}
	}
	if res.CPUShares > 0 {
		if err := c.setShares(path, res.CPUShares); err != nil {
			return err
		}
	}
	memory, pids := "memory.limit_in_bytes", "pids.max"
	if c.Unified {
		memory = "memory.max"
	}
	if res.MemoryBytes > 0 {
		if err := c.write("memory", path, memory, strconv.FormatInt(res.MemoryBytes, 10)); err != nil {
			return err
		}
	}
	if res.PidsLimit > 0 {
		return c.write("pids", path, pids, strconv.FormatInt(res.PidsLimit, 10))
	}
	return nil
}

// pidsForPods is how many processes and threads all pods may have together: a
// tenth of what the kernel can number or hold is kept for the node itself. Zero
// is unknown.
func pidsForPods() int64 {
	var most int64
	for _, name := range []string{"pid_max", "threads-max"} {
		text, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && (most == 0 || n < most) {
			most = n
		}
	}
	return most - most/10
}

func (c *Tree) setShares(path string, shares uint64) error {
	if c.Unified {
		// The kernel's documented mapping of [2,262144] to [1,10000].
		weight := 1 + ((max(shares, 2)-2)*9999)/262142
		return c.write("cpu", path, "cpu.weight", strconv.FormatUint(weight, 10))
	}
	return c.write("cpu", path, "cpu.shares", strconv.FormatUint(shares, 10))
}

// SetQuota limits CPU time. It is called after the start of a container,
// because runc's own work in the cgroup would be limited too: a limit of 100m
// doubles the time to start.
func (c *Tree) SetQuota(path string, res runtime.Resources) error {
	if res.CPUQuota <= 0 {
		return nil
	}
	period := res.CPUPeriod
	if period == 0 {
		period = defaultCPUPeriod
	}
	if c.Unified {
		return c.write("cpu", path, "cpu.max", fmt.Sprintf("%d %d", res.CPUQuota, period))
	}
	if err := c.write("cpu", path, "cpu.cfs_period_us", strconv.FormatUint(period, 10)); err != nil {
		return err
	}
	return c.write("cpu", path, "cpu.cfs_quota_us", strconv.FormatInt(res.CPUQuota, 10))
}

// Bound gives a pod's cgroup other limits of CPU and memory. Zero is none.
func (c *Tree) Bound(path string, res runtime.Resources) error {
	return errors.Join(c.boundMemory(path, res), c.boundCPU(path, res))
}

func (c *Tree) boundMemory(path string, res runtime.Resources) error {
	name, limit := "memory.limit_in_bytes", int64(-1)
	if res.MemoryBytes > 0 {
		limit = res.MemoryBytes
	}
	value := strconv.FormatInt(limit, 10)
	if c.Unified {
		if name = "memory.max"; limit < 0 {
			value = "max"
		}
	}
	return c.write("memory", path, name, value)
}

func (c *Tree) boundCPU(path string, res runtime.Resources) error {
	if err := c.setShares(path, res.CPUShares); err != nil {
		return err
	}
	if res.CPUQuota > 0 {
		return c.SetQuota(path, res)
	}
	if c.Unified {
		return c.write("cpu", path, "cpu.max", "max")
	}
	return c.write("cpu", path, "cpu.cfs_quota_us", "-1")
}

func (c *Tree) write(controller, path, name, value string) error {
	if !c.has(controller) {
		return nil
	}
	if err := os.WriteFile(c.file(controller, path, name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set cgroup limit: %w", err)
	}
	return nil
}

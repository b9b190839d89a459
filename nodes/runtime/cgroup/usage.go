package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"headway.dev/nodes/runtime"
)

// OOMKills counts the processes of a cgroup that the kernel killed for lack of
// memory. It is called before the cgroup is removed, so that it also counts
// what happened while the agent was not running.
func (c *Tree) OOMKills(path string) uint64 {
	name := "memory.oom_control"
	if c.Unified {
		name = "memory.events"
	}
	n, err := readKey(c.file("memory", path, name), "oom_kill")
	if err != nil {
		return 0
	}
	return n
}

// Usage reads what a container currently uses.
func (c *Tree) Usage(path string) (runtime.Stats, error) {
	var s runtime.Stats
	var err error
	if c.Unified {
		if s.CPUNanos, err = readKey(c.file("cpu", path, "cpu.stat"), "usage_usec"); err != nil {
			return s, err
		}
		s.CPUNanos *= 1000
	} else if s.CPUNanos, err = readNumber(c.file("cpuacct", path, "cpuacct.usage")); err != nil {
		return s, err
	}
	usage, inactive := "memory.usage_in_bytes", "total_inactive_file"
	if c.Unified {
		usage, inactive = "memory.current", "inactive_file"
	}
	if s.MemoryUsageBytes, err = readNumber(c.file("memory", path, usage)); err != nil {
		return s, err
	}
	cache, err := readKey(c.file("memory", path, "memory.stat"), inactive)
	if err != nil {
		return s, err
	}
	// The kubelet's definition: what the kernel could not take back easily.
	s.WorkingSetBytes = s.MemoryUsageBytes - min(cache, s.MemoryUsageBytes)
	return s, nil
}

func readNumber(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
}

// readKey reads a number from a file of "key value" lines.
func readKey(file, key string) (uint64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), " "); ok && k == key {
			return strconv.ParseUint(v, 10, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s has no %s", file, key), lines.Err())
}

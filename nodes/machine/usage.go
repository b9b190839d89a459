package machine

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what the machine has used.
type Usage struct {
	// CPUNanos is the time that all its CPUs have worked since it was started.
	CPUNanos uint64
	// MemoryBytes is what is not free, WorkingSetBytes that without file caches that
	// nobody has used lately.
	MemoryBytes, WorkingSetBytes uint64
}

// tick is the unit of /proc/stat.
const tick = 10 * time.Millisecond

// ReadUsage reads what the machine has used, as the kubelet reads it of the root
// cgroup.
func ReadUsage() (u Usage, err error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, fmt.Errorf("read CPU usage: %w", err)
	}
	if u.CPUNanos, err = cpuNanos(string(data)); err != nil {
		return u, err
	}
	mem, err := meminfo()
	if err != nil {
		return u, err
	}
	used := max(mem["MemTotal"]-mem["MemFree"], 0)
	u.MemoryBytes, u.WorkingSetBytes = uint64(used), uint64(max(used-mem["Inactive(file)"], 0)) //nolint:gosec // not negative
	return u, nil
}

// cpuNanos is how long the CPUs of /proc/stat have worked: the columns are user, nice,
// system, idle, iowait, irq and softirq.
func cpuNanos(stat string) (uint64, error) {
	line, _, _ := strings.Cut(stat, "\n")
	columns := strings.Fields(line)
	if len(columns) < 8 || columns[0] != "cpu" {
		return 0, errors.New("read CPU usage: /proc/stat does not begin with the line of all CPUs")
	}
	var ticks uint64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseUint(columns[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU usage: %w", err)
		}
		ticks += n
	}
	return ticks * uint64(tick), nil
}

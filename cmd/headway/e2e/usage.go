package e2e

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU is the processor time that the cluster has used since it was made: the
// program, its containerd, their children and the containers.
func (c *Cluster) CPU() time.Duration {
	c.tb.Helper()
	var total int64
	for _, dir := range []string{c.cpuacct(), filepath.Join("/sys/fs/cgroup/cpuacct", c.id)} {
		content, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage"))
		if os.IsNotExist(err) {
			continue // no pod yet
		}
		if err != nil {
			c.tb.Fatal(err)
		}
		nanos, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		if err != nil {
			c.tb.Fatal(err)
		}
		total += nanos
	}
	return time.Duration(total)
}

// cpuacct is the cgroup that the program is started in, to count its CPU time.
func (c *Cluster) cpuacct() string {
	return filepath.Join("/sys/fs/cgroup/cpuacct", c.id+"-self")
}

// PSS is the proportional set size, in bytes, of the cluster's processes by
// what they are: headway, containerd, shims, containers.
func (c *Cluster) PSS() map[string]int64 {
	c.tb.Helper()
	sizes := map[string]int64{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, dir := range dirs {
		cgroup, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil {
			continue // ended meanwhile
		}
		command, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		switch name := strings.TrimSpace(string(command)); {
		case strings.Contains(string(cgroup), "/"+c.id+"/"):
			sizes["containers"] += pss(dir)
		case !strings.Contains(string(cgroup), "/"+c.id+"-self"):
		case strings.HasPrefix(name, "containerd-shim"):
			sizes["shims"] += pss(dir)
		case strings.HasPrefix(name, "containerd"):
			sizes["containerd"] += pss(dir)
		case name == "headway":
			sizes["headway"] += pss(dir)
		}
	}
	return sizes
}

func pss(dir string) int64 {
	file, err := os.Open(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return 0 // ended meanwhile
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

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
func (p *Processes) CPU() time.Duration {
	p.node.tb.Helper()
	var total int64
	for _, dir := range []string{p.node.cpuacct(), filepath.Join("/sys/fs/cgroup/cpuacct", p.node.id)} {
		content, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage"))
		if os.IsNotExist(err) {
			continue // no pod yet
		}
		if err != nil {
			p.node.tb.Fatal(err)
		}
		nanos, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		if err != nil {
			p.node.tb.Fatal(err)
		}
		total += nanos
	}
	return time.Duration(total)
}

// Usage is what some processes take.
type Usage struct {
	// PSS is the proportional set size in bytes.
	PSS int64
	// CPU is the processor time since they started, to 10 ms, without that of
	// their children.
	CPU time.Duration
}

// Usage is that of the cluster's processes by what they are: headway,
// containerd, shims, containers.
func (p *Processes) Usage() map[string]Usage {
	p.node.tb.Helper()
	usage := map[string]Usage{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		p.node.tb.Fatal(err)
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
		var part string
		switch name := strings.TrimSpace(string(command)); {
		case strings.Contains(string(cgroup), "/"+p.node.id+"/"):
			part = "containers"
		case !strings.Contains(string(cgroup), "/"+p.node.id+"-self"):
			continue
		case strings.HasPrefix(name, "containerd-shim"):
			part = "shims"
		default:
			part = name
		}
		sum := usage[part]
		sum.PSS += pss(dir)
		sum.CPU += cpu(dir)
		usage[part] = sum
	}
	return usage
}

// cpu reads utime and stime of proc(5)'s stat, in ticks of 10 ms.
func cpu(dir string) time.Duration {
	content, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0 // ended meanwhile
	}
	_, rest, _ := strings.Cut(string(content), ") ") // the name may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	if errUser != nil || errSystem != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond
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

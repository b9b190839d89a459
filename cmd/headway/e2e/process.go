package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes are those of a cluster: the program, its containerd with the shims,
// and the containers.
type Processes struct{ node *Node }

// List is the processes of the cluster's containers whose command line,
// with a NUL after each argument, starts with prefix, as "pid program".
func (p *Processes) List(prefix string) []string {
	p.node.tb.Helper()
	var found []string
	p.each(prefix, func(pid, program string) { found = append(found, pid+" "+program) })
	slices.Sort(found)
	return found
}

// Hostnames lists the hostname that each such process sees: its pod's name.
func (p *Processes) Hostnames(prefix string) []string {
	p.node.tb.Helper()
	var found []string
	p.each(prefix, func(pid, _ string) {
		r := p.node.Run("", "nsenter", "--uts=/proc/"+pid+"/ns/uts", "hostname")
		if r.Code == 0 {
			found = append(found, strings.TrimSpace(r.Stdout))
		}
	})
	return found
}

func (p *Processes) each(prefix string, visit func(pid, program string)) {
	p.node.tb.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		p.node.tb.Fatal(err)
	}
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		program, _, _ := strings.Cut(string(cmdline), "\x00")
		pid := filepath.Base(filepath.Dir(file))
		cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%s/cgroup", pid))
		if err == nil && strings.HasPrefix(string(cmdline), prefix) && strings.Contains(string(cgroup), "/"+p.node.id+"/") {
			visit(pid, program)
		}
	}
}

// CgroupValue reads a cgroup file of the container of a pod that runs sleep.
func (p *Processes) CgroupValue(pod, controller, file string) string {
	p.node.tb.Helper()
	value := "no container process of the pod found"
	p.sleeper(pod, func(pid string) {
		cgroups, err := os.ReadFile("/proc/" + pid + "/cgroup")
		if err != nil {
			p.node.tb.Fatal(err)
		}
		for line := range strings.Lines(string(cgroups)) {
			_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
			controllers, path, _ := strings.Cut(rest, ":")
			if !slices.Contains(strings.Split(controllers, ","), controller) {
				continue
			}
			content, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, path, file))
			if err != nil {
				p.node.tb.Fatal(err)
			}
			value = strings.TrimSpace(string(content))
		}
	})
	return value
}

// Parent is the program whose child the container of a pod is that runs sleep.
func (p *Processes) Parent(pod string) string {
	p.node.tb.Helper()
	parent := "no container process of the pod found"
	p.sleeper(pod, func(pid string) {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			p.node.tb.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "\nPPid:")
		above, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		cmdline, err := os.ReadFile("/proc/" + above + "/cmdline")
		if err != nil {
			p.node.tb.Fatal(err)
		}
		program, _, _ := strings.Cut(string(cmdline), "\x00")
		parent = filepath.Base(program)
	})
	return parent
}

// sleeper visits the process of a pod that runs sleep.
func (p *Processes) sleeper(pod string, visit func(pid string)) {
	p.node.tb.Helper()
	p.each("sleep", func(pid, _ string) {
		r := p.node.Run("", "nsenter", "--uts=/proc/"+pid+"/ns/uts", "hostname")
		if strings.TrimSpace(r.Stdout) == pod {
			visit(pid)
		}
	})
}

// PidsCgroup is the directory of the cluster's pods in the cgroups that bound
// the number of processes.
func (p *Processes) PidsCgroup() string {
	for _, dir := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(dir, p.node.id)); err == nil {
			return filepath.Join(dir, p.node.id)
		}
	}
	return ""
}

// KillContainerd ends the cluster's private containerd with SIGKILL.
func (p *Processes) KillContainerd() {
	p.node.tb.Helper()
	var pid int
	p.node.Eventually(30*time.Second, "containerd runs", func() error {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, file := range files {
			cmdline, err := os.ReadFile(file)
			if err != nil {
				continue // ended meanwhile
			}
			program, arguments, _ := strings.Cut(string(cmdline), "\x00")
			if filepath.Base(program) == "containerd" && strings.Contains(arguments, p.node.DataDir) {
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(file)))
				return err
			}
		}
		return errors.New("there is no such process")
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		p.node.tb.Fatalf("kill containerd: %v", err)
	}
}

// KillOne ends one of the cluster's processes that has the given command name's
// prefix with SIGKILL, as soon as there is one. pick chooses among n.
func (p *Processes) KillOne(prefix string, pick func(n int) int) {
	p.node.tb.Helper()
	p.node.Eventually(30*time.Second, prefix+" runs", func() error { return p.Kill(prefix, pick) })
}

// Kill is KillOne, but that it fails if there is no such process.
func (p *Processes) Kill(prefix string, pick func(n int) int) error {
	p.node.tb.Helper()
	pids := p.named(prefix)
	if len(pids) == 0 {
		return errors.New("there is no such process")
	}
	return syscall.Kill(pids[pick(len(pids))], syscall.SIGKILL)
}

// KillAll ends every process of the cluster with SIGKILL: the program, its containerd,
// the shims and the containers.
func (p *Processes) KillAll() {
	p.node.tb.Helper()
	for _, pid := range p.named("") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			p.node.tb.Fatalf("kill %d: %v", pid, err)
		}
	}
}

// Shims is how many shims of containerd run for the cluster.
func (p *Processes) Shims() int {
	p.node.tb.Helper()
	return len(p.named("containerd-shim"))
}

// named are the processes of the cluster, those of containers included, whose
// command name begins with prefix.
func (p *Processes) named(prefix string) (pids []int) {
	p.node.tb.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		p.node.tb.Fatal(err)
	}
	for _, dir := range dirs {
		name, errName := os.ReadFile(filepath.Join(dir, "comm"))
		cgroup, errCgroup := os.ReadFile(filepath.Join(dir, "cgroup"))
		pid, errPid := strconv.Atoi(filepath.Base(dir))
		if errors.Join(errName, errCgroup, errPid) != nil {
			continue // ended meanwhile
		}
		ours := strings.Contains(string(cgroup), "/"+p.node.id+"/") || strings.Contains(string(cgroup), "/"+p.node.id+"-self")
		if ours && strings.HasPrefix(string(name), prefix) {
			pids = append(pids, pid)
		}
	}
	return pids
}

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

package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/fsutil"
)

// defaultCPUPeriod is the kernel's, in microseconds.
const defaultCPUPeriod = 100_000

// Tree makes and removes the cgroups below our root, in every hierarchy of
// cgroup v1 or in the one of v2.
//
//	<root>/kubepods/pod<uid>/<container>             Guaranteed
//	<root>/kubepods/burstable/pod<uid>/<container>
//	<root>/kubepods/besteffort/pod<uid>/<container>
type Tree struct {
	root string
	// Unified is true with cgroup v2 only.
	Unified bool
	// mounts maps a v1 controller to its mount point; with v2 every
	// controller is in the one hierarchy.
	mounts map[string]string
	// all are the mount points, the v2 part of a hybrid host included.
	all []string
}

// QOSDirs are the cgroups by QoS class, below kubepods.
func QOSDirs() map[string]string {
	return map[string]string{"Guaranteed": "", "Burstable": "burstable", "BestEffort": "besteffort"}
}

// Open finds the hierarchies. Nothing is made in them yet.
func Open(root string) (*Tree, error) {
	root = strings.Trim(filepath.Clean("/"+root), "/")
	if root == "" {
		return nil, errors.New("the cgroup root must not be the hierarchy's own")
	}
	c := &Tree{root: root, mounts: map[string]string{}}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter("/sys/fs/cgroup"))
	if err != nil {
		return nil, fmt.Errorf("list cgroup mounts: %w", err)
	}
	for _, m := range mounts {
		switch m.FSType {
		case "cgroup2":
			c.all = append(c.all, m.Mountpoint)
			c.Unified = m.Mountpoint == "/sys/fs/cgroup"
		case "cgroup":
			c.all = append(c.all, m.Mountpoint)
			for o := range strings.SplitSeq(m.VFSOptions, ",") {
				c.mounts[o] = m.Mountpoint
			}
		}
	}
	if len(c.all) == 0 {
		return nil, errors.New("no cgroups are mounted at /sys/fs/cgroup")
	}
	return c, nil
}

// PodPath is the pod's cgroup relative to our root.
func (c *Tree) PodPath(qos, uid string) string {
	return filepath.Join("kubepods", QOSDirs()[qos], "pod"+uid)
}

// SpecPath is the container's cgroup as the OCI spec wants it.
func (c *Tree) SpecPath(podPath, id string) string {
	return filepath.Join("/", c.root, podPath, id)
}

// file names a control file. v1 and v2 files differ in name and controller.
func (c *Tree) file(controller, path, name string) string {
	mount := c.mounts[controller]
	if c.Unified {
		mount = "/sys/fs/cgroup"
	}
	return filepath.Join(mount, c.root, path, name)
}

// has reports whether a controller is there: some kernels lack some.
func (c *Tree) has(controller string) bool {
	return c.Unified || c.mounts[controller] != ""
}

// CreatePod makes the pod's cgroup with its limits, the CPU quota excepted:
// see SetQuota.
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

// SetQuota bounds CPU time. It is set after the start of a container, because
// runc's own work in the cgroup would run under it: a limit of 100m doubles the
// time to start.
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

func (c *Tree) write(controller, path, name, value string) error {
	if !c.has(controller) {
		return nil
	}
	if err := os.WriteFile(c.file(controller, path, name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set cgroup limit: %w", err)
	}
	return nil
}

// mkdirs makes the cgroup in every hierarchy, from our root down.
func (c *Tree) mkdirs(path string) error {
	for _, mount := range c.all {
		dir := mount
		for part := range strings.SplitSeq(filepath.Join(c.root, path), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if c.Unified {
				if err := delegate(parent); err != nil {
					return err
				}
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				if errors.Is(err, fs.ErrExist) {
					continue
				}
				return fmt.Errorf("make cgroup: %w", err)
			}
			if mount == c.mounts["cpuset"] {
				if err := inheritCpuset(parent, dir); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inheritCpuset fills in a new cpuset: an empty one takes no process.
func inheritCpuset(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return fmt.Errorf("read cpuset: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("set cpuset: %w", err)
		}
	}
	return nil
}

// delegate makes the controllers of a v2 cgroup usable below it.
func delegate(dir string) error {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	for name := range strings.FieldsSeq(string(available)) {
		switch name {
		case "cpu", "cpuset", "io", "memory", "pids":
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
				return fmt.Errorf("delegate cgroup controller %s: %w", name, err)
			}
		}
	}
	return nil
}

// RemovePod removes the pod's cgroup wherever it is, with all below. Its
// containers are gone; a process that outlived its shim would keep the pod from
// ending for ever.
func (c *Tree) RemovePod(uid string) error {
	var errs []error
	for qos := range QOSDirs() {
		path := c.PodPath(qos, uid)
		errs = append(errs, c.Kill(path), c.Remove(path))
	}
	return errors.Join(errs...)
}

// Kill ends every process in a cgroup and below, in one hierarchy after the
// other; "" is our root.
func (c *Tree) Kill(path string) error {
	var errs []error
	for _, mount := range c.all {
		top := filepath.Join(mount, c.root, path)
		// Again until there are none: they may fork meanwhile.
		for range 100 {
			pids, err := processes(top)
			if err != nil {
				errs = append(errs, err)
			}
			if len(pids) == 0 {
				break
			}
			for _, pid := range pids {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
					errs = append(errs, fmt.Errorf("end process %d of a cgroup: %w", pid, err))
				}
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	return errors.Join(errs...)
}

// processes lists those of a cgroup and below; none if it is not there.
func processes(top string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(top, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return fsutil.IgnoreNotExist(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return fsutil.IgnoreNotExist(err)
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes of a cgroup: %w", err)
	}
	return pids, nil
}

// Remove removes a cgroup and those below it in every hierarchy; "" is our
// root. Processes that have just been killed keep it busy for a moment.
func (c *Tree) Remove(path string) error {
	var errs []error
	for _, mount := range c.all {
		top := filepath.Join(mount, c.root, path)
		deadline := time.Now().Add(5 * time.Second)
		for {
			err := removeTree(top)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
				break
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	return errors.Join(errs...)
}

// removeTree removes the directories of a cgroup, the innermost first; its
// control files go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fsutil.IgnoreNotExist(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// OomKills counts the processes of a cgroup the kernel killed for want of
// memory. It is asked before the cgroup goes, so it answers also for what
// happened while the agent was not there.
func (c *Tree) OomKills(path string) uint64 {
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

// Usage reads what a container uses now.
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

package cgroup

import (
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

// Open finds the hierarchies. It creates nothing in them yet.
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

// SpecPath returns the container's cgroup in the form of the OCI spec.
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

// RemovePod removes the pod's cgroup wherever it is, with everything below. Its
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

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
)

// nsfsMagic is the file system type of a namespace file, from statfs(2).
const nsfsMagic = 0x6e736673

// nsSpec is one kind of namespace a sandbox can own.
type nsSpec struct {
	name string // of the file in /proc/<pid>/ns and in the run directory
	flag int
}

// ownNamespaces lists the namespaces the pod does not share with the node. A
// pod on the node's network keeps the node's host name too.
func ownNamespaces(cfg SandboxConfig) []nsSpec {
	var out []nsSpec
	if !cfg.HostNetwork {
		out = append(out, nsSpec{"net", unix.CLONE_NEWNET}, nsSpec{"uts", unix.CLONE_NEWUTS})
	}
	if !cfg.HostIPC {
		out = append(out, nsSpec{"ipc", unix.CLONE_NEWIPC})
	}
	return out
}

// makeNamespaces makes the pod's namespaces and holds them by bind mounts in
// dir: no process needs to stay in them.
func makeNamespaces(dir string, cfg SandboxConfig) error {
	specs := ownNamespaces(cfg)
	if len(specs) == 0 {
		return nil
	}
	for _, s := range specs {
		path := filepath.Join(dir, s.name)
		if err := unmountAll(path); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return fmt.Errorf("make namespace file: %w", err)
		}
		f.Close()
	}
	return onOwnThread(func() error {
		flags := 0
		for _, s := range specs {
			flags |= s.flag
		}
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if !cfg.HostNetwork && cfg.Hostname != "" {
			if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
				return fmt.Errorf("set host name: %w", err)
			}
		}
		if err := applySysctls(cfg); err != nil {
			return err
		}
		for _, s := range specs {
			if err := unix.Mount("/proc/thread-self/ns/"+s.name, filepath.Join(dir, s.name), "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("keep %s namespace: %w", s.name, err)
			}
		}
		return nil
	})
}

// applySysctls sets those of the pod, and as containerd does by default lets
// its processes use low ports and ping without being root. The files show the
// namespaces of the thread that opens them.
func applySysctls(cfg SandboxConfig) error {
	values := map[string]string{}
	if !cfg.HostNetwork {
		values["net.ipv4.ip_unprivileged_port_start"] = "0"
		values["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	maps.Copy(values, cfg.Sysctls)
	for name, value := range values {
		if err := checkSysctl(name, cfg); err != nil {
			return err
		}
		file := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// checkSysctl lets only those through that live in the pod's own namespaces:
// any other would change the node.
func checkSysctl(name string, cfg SandboxConfig) error {
	name = strings.ReplaceAll(name, "/", ".")
	switch {
	case strings.Contains(name, ".."):
		return fmt.Errorf("invalid sysctl name %q", name)
	case strings.HasPrefix(name, "net."):
		if cfg.HostNetwork {
			return fmt.Errorf("sysctl %q is not allowed with hostNetwork", name)
		}
	case strings.HasPrefix(name, "kernel.shm"), strings.HasPrefix(name, "kernel.msg"), name == "kernel.sem", strings.HasPrefix(name, "fs.mqueue."):
		if cfg.HostIPC {
			return fmt.Errorf("sysctl %q is not allowed with hostIPC", name)
		}
	default:
		return fmt.Errorf("sysctl %q is not separate for each pod", name)
	}
	return nil
}

// onOwnThread runs f on a thread that ends afterwards, so that what f does to
// the thread's namespaces touches nothing else.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	ctx := context.Background()
	go guard.Do(ctx, "work in a namespace", func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread would not end but stay in the namespaces, and
			// /proc/self would show them as the process's. Holding it locked
			// makes another goroutine run elsewhere.
			defer goruntime.UnlockOSThread()
			done <- onOwnThread(f)
			return
		}
		done <- guard.Call(ctx, "work in a namespace", f)
	})
	return <-done
}

// namespacesHeld says whether all namespace mounts of the pod are there. After
// a reboot they are not.
func namespacesHeld(dir string, cfg SandboxConfig) bool {
	for _, s := range ownNamespaces(cfg) {
		var st unix.Statfs_t
		if err := unix.Statfs(filepath.Join(dir, s.name), &st); err != nil || st.Type != nsfsMagic {
			return false
		}
	}
	return true
}

// unmountAll takes off whatever is mounted at path; a missing path is fine.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// unmountBelow takes off every mount at or below dir, the innermost first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var errs []error
	for _, mount := range slices.Backward(mounts) {
		errs = append(errs, unmountAll(mount.Mountpoint))
	}
	return errors.Join(errs...)
}

// mountShm mounts the memory file system that is /dev/shm of all containers.
func mountShm(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	if mounted, err := mountinfo.Mounted(dir); err == nil && mounted {
		return nil
	}
	// 64 MiB as every container engine has it.
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=65536k"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

// DialPod implements Interface.
func (r *Runtime) DialPod(ctx context.Context, podUID string, port int32) (conn io.ReadWriteCloser, err error) {
	r.mu.Lock()
	s := r.sandboxes[podUID]
	r.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("pod %s has no sandbox: %w", podUID, ErrNotFound)
	}
	dial := func() error {
		var d net.Dialer
		var errs []error
		for _, host := range []string{"127.0.0.1", "::1"} {
			c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
			if err == nil {
				conn = c
				return nil
			}
			errs = append(errs, err)
		}
		return errs[0]
	}
	if s.rec.Config.HostNetwork {
		return conn, dial()
	}
	err = onOwnThread(func() error {
		ns, err := netns.GetFromPath(filepath.Join(r.runDir(podUID), "net"))
		if err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return dial()
	})
	return conn, err
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

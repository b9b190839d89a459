package netns

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/fsutil"
)

// nsfsMagic is the file system type of a namespace file, from statfs(2).
const nsfsMagic = 0x6e736673

// Namespace is one kind of namespace a sandbox can own.
type Namespace struct {
	Name string // of the file in /proc/<pid>/ns and in the run directory
	flag int
}

// Own lists the namespaces the pod does not share with the node. A
// pod on the node's network keeps the node's host name too.
func Own(cfg runtime.SandboxConfig) []Namespace {
	var out []Namespace
	if !cfg.HostNetwork {
		out = append(out, Namespace{"net", unix.CLONE_NEWNET}, Namespace{"uts", unix.CLONE_NEWUTS})
	}
	if !cfg.HostIPC {
		out = append(out, Namespace{"ipc", unix.CLONE_NEWIPC})
	}
	return out
}

// Make creates the pod's namespaces and holds them by bind mounts in dir, so
// that no process has to stay in them.
func Make(dir string, cfg runtime.SandboxConfig) error {
	specs := Own(cfg)
	if len(specs) == 0 {
		return nil
	}
	for _, s := range specs {
		path := filepath.Join(dir, s.Name)
		if err := fsutil.UnmountAll(path); err != nil {
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
			if err := unix.Mount("/proc/thread-self/ns/"+s.Name, filepath.Join(dir, s.Name), "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("keep %s namespace: %w", s.Name, err)
			}
		}
		return nil
	})
}

// applySysctls sets those of the pod, and as containerd does by default lets
// its processes use low ports and ping without being root. The files show the
// namespaces of the thread that opens them.
func applySysctls(cfg runtime.SandboxConfig) error {
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
func checkSysctl(name string, cfg runtime.SandboxConfig) error {
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

// Held reports whether all namespace mounts of the pod are there. After
// a reboot they are not.
func Held(dir string, cfg runtime.SandboxConfig) bool {
	for _, s := range Own(cfg) {
		var st unix.Statfs_t
		if err := unix.Statfs(filepath.Join(dir, s.Name), &st); err != nil || st.Type != nsfsMagic {
			return false
		}
	}
	return true
}

// MountShm mounts the memory file system that is /dev/shm of all containers.
func MountShm(dir string) error {
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

// DialLoopback connects to a port on the loopback of the network of the current
// thread.
func DialLoopback(ctx context.Context, port int32) (net.Conn, error) {
	var d net.Dialer
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

// Dial connects to a port on the loopback of the network namespace at path.
func Dial(ctx context.Context, path string, port int32) (conn net.Conn, err error) {
	err = onOwnThread(func() error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		conn, err = DialLoopback(ctx, port)
		return err
	})
	return conn, err
}

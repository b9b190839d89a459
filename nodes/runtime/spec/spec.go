package spec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/contrib/seccomp"
	"github.com/containerd/containerd/oci"
	"github.com/containerd/containerd/pkg/cap"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/images"
	"headway.dev/nodes/runtime/netns"
)

// groupAnnotation makes containers with the same value share a shim process.
const groupAnnotation = "io.containerd.runc.v2.group"

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Input is all a container's OCI spec depends on.
type Input struct {
	ID               string
	Pod              runtime.SandboxConfig
	Config           runtime.ContainerConfig
	Image            ocispec.ImageConfig
	User             images.IDs
	StateDir, RunDir string // of the sandbox
	Hostname         string
	Cgroup           string
	Unified          bool
	OOMScoreAdj      int
	AvailableCaps    []string
	// PIDNamespace is the path of the namespace of processes to join; empty for one
	// of its own.
	PIDNamespace string
}

// Build returns the OCI runtime spec of a container (opencontainers
// runtime-spec 1.1) for Kubernetes' description of it.
func Build(ctx context.Context, in Input) (*oci.Spec, error) {
	args, err := processArgs(in.Config, in.Image)
	if err != nil {
		return nil, err
	}
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: in.ID})
	if err != nil {
		return nil, fmt.Errorf("make spec: %w", err)
	}
	s.Annotations = map[string]string{groupAnnotation: in.Pod.UID}
	s.Root.Readonly = in.Config.Security.ReadOnlyRootFilesystem
	s.Linux.CgroupsPath = in.Cgroup
	s.Linux.Namespaces = specNamespaces(in)
	s.Process = process(in, args)
	if in.Config.Security.Privileged {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	}
	s.Mounts = specMounts(in)
	resources(s.Linux.Resources, in.Config.Resources)
	if in.Config.Security.Privileged {
		if err := oci.WithHostDevices(ctx, nil, nil, s); err != nil {
			return nil, fmt.Errorf("list devices of the node: %w", err)
		}
		if err := oci.WithAllDevicesAllowed(ctx, nil, nil, s); err != nil {
			return nil, err
		}
	} else {
		if err := oci.WithDefaultUnixDevices(ctx, nil, nil, s); err != nil {
			return nil, err
		}
		switch in.Config.Security.Seccomp {
		case "", "Unconfined":
		case "RuntimeDefault":
			s.Linux.Seccomp = seccomp.DefaultProfile(s)
		default:
			return nil, &runtime.ConfigError{Err: fmt.Errorf("seccomp profile type %q is not supported", in.Config.Security.Seccomp)}
		}
	}
	return s, nil
}

// processArgs combines the image's entrypoint and arguments with the pod's
// command and args: a command without args drops the image's arguments.
func processArgs(cfg runtime.ContainerConfig, img ocispec.ImageConfig) ([]string, error) {
	command, args := cfg.Command, cfg.Args
	if len(command) == 0 {
		command = img.Entrypoint
		if len(args) == 0 {
			args = img.Cmd
		}
	}
	all := append(slices.Clone(command), args...)
	if len(all) == 0 {
		return nil, &runtime.ConfigError{Err: errors.New("no command specified")}
	}
	return all, nil
}

func process(in Input, args []string) *specs.Process {
	sec := in.Config.Security
	caps := capabilities(sec, in.AvailableCaps)
	effective := caps
	if in.User.UID != 0 {
		// As execve(2) gives them to a process that is not root.
		effective = nil
	}
	return &specs.Process{
		Terminal: in.Config.TTY,
		Args:     args,
		Env:      environment(in),
		Cwd:      cmp.Or(in.Config.WorkingDir, in.Image.WorkingDir, "/"),
		User: specs.User{
			UID: in.User.UID, GID: in.User.GID, AdditionalGids: AdditionalGroups(in.User, sec),
		},
		Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Permitted: effective, Effective: effective},
		NoNewPrivileges: sec.NoNewPrivileges,
		OOMScoreAdj:     &in.OOMScoreAdj,
	}
}

// AdditionalGroups returns the supplementary groups of a process, with its
// primary one among them: a program that changes its effective group must
// neither lose the access of its own group nor escape rules that forbid it
// (CVE-2023-25173).
func AdditionalGroups(user images.IDs, sec runtime.Security) []uint32 {
	groups := append([]uint32{user.GID}, user.Groups...)
	for _, g := range sec.SupplementalGroups {
		groups = append(groups, uint32(g))
	}
	if sec.FSGroup != nil {
		groups = append(groups, uint32(*sec.FSGroup))
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// environment puts the pod's variables over the image's. HOSTNAME is set as
// every container runtime does.
func environment(in Input) []string {
	all := []string{defaultPath, "HOSTNAME=" + in.Hostname}
	if in.Config.TTY {
		all = append(all, "TERM=xterm")
	}
	all = append(append(all, in.Image.Env...), in.Config.Env...)
	index := map[string]int{}
	var out []string
	for _, e := range all {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := index[name]; ok {
			out[i] = e
			continue
		}
		index[name] = len(out)
		out = append(out, e)
	}
	return out
}

// defaultCapabilities are those of containerd and Docker, which are what a
// Kubernetes container has when it says nothing.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// capabilities applies add and drop; ALL comes before the names of the other
// list. What the agent itself lacks cannot be given.
func capabilities(s runtime.Security, available []string) []string {
	if s.Privileged {
		return available
	}
	normal := func(names []string) (out []string, all bool) {
		for _, n := range names {
			n = strings.TrimPrefix(strings.ToUpper(n), "CAP_")
			if n == "ALL" {
				all = true
				continue
			}
			out = append(out, "CAP_"+n)
		}
		return out, all
	}
	add, addAll := normal(s.AddCapabilities)
	drop, dropAll := normal(s.DropCapabilities)
	caps := defaultCapabilities()
	if addAll {
		caps = slices.Clone(available)
	}
	if dropAll {
		caps = nil
	}
	caps = slices.DeleteFunc(caps, func(c string) bool { return slices.Contains(drop, c) })
	for _, c := range add {
		if !slices.Contains(caps, c) {
			caps = append(caps, c)
		}
	}
	return slices.DeleteFunc(caps, func(c string) bool { return !slices.Contains(available, c) })
}

// specNamespaces joins the sandbox's namespaces and makes the container's own.
func specNamespaces(in Input) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if !in.Pod.HostPID {
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: in.PIDNamespace})
	}
	if in.Unified {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	types := map[string]specs.LinuxNamespaceType{
		"net": specs.NetworkNamespace, "ipc": specs.IPCNamespace, "uts": specs.UTSNamespace,
	}
	for _, n := range netns.Own(in.Pod) {
		out = append(out, specs.LinuxNamespace{Type: types[n.Name], Path: filepath.Join(in.RunDir, n.Name)})
	}
	return out
}

// specMounts lists the kernel's file systems, the sandbox's files and the
// volumes. A volume at the place of one of ours replaces it; parents come
// before what is below them.
func specMounts(in Input) []specs.Mount {
	sys := "ro"
	if in.Config.Security.Privileged {
		sys = "rw"
	}
	shm := filepath.Join(in.RunDir, "shm")
	if in.Pod.HostIPC {
		shm = "/dev/shm"
	}
	files := "rw"
	if in.Config.Security.ReadOnlyRootFilesystem {
		files = "ro"
	}
	ours := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sys}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", sys}},
		{Destination: "/dev/shm", Type: "bind", Source: shm, Options: []string{"rbind", "nosuid", "noexec", "nodev"}},
	}
	for _, f := range []struct{ name, dest, content string }{
		{"hostname", "/etc/hostname", in.Hostname},
		{"hosts", "/etc/hosts", in.Pod.Hosts},
		{"resolv.conf", "/etc/resolv.conf", in.Pod.ResolvConf},
	} {
		if f.content != "" {
			ours = append(ours, specs.Mount{Destination: f.dest, Type: "bind", Source: filepath.Join(in.StateDir, f.name), Options: []string{"rbind", "rprivate", files}})
		}
	}
	var all []specs.Mount
	for _, m := range ours {
		replaced := slices.ContainsFunc(in.Config.Mounts, func(v runtime.Mount) bool { return filepath.Clean(v.ContainerPath) == m.Destination })
		if !replaced {
			all = append(all, m)
		}
	}
	for _, m := range in.Config.Mounts {
		mode := "rw"
		if m.ReadOnly {
			mode = "ro"
		}
		all = append(all, specs.Mount{
			Destination: filepath.Clean(m.ContainerPath), Type: "bind", Source: m.HostPath,
			Options: []string{"rbind", cmp.Or(m.Propagation, "rprivate"), mode},
		})
	}
	slices.SortStableFunc(all, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return all
}

// resources sets the limits, the CPU quota excepted: see [cgroup.Tree.SetQuota].
func resources(out *specs.LinuxResources, res runtime.Resources) {
	if res.CPUShares > 0 {
		out.CPU = &specs.LinuxCPU{Shares: &res.CPUShares}
	}
	if res.MemoryBytes > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &res.MemoryBytes}
	}
	if res.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: res.PidsLimit}
	}
}

// Update returns what a running container is given instead of its limits of CPU and
// memory; zero is none.
func Update(res runtime.Resources) *specs.LinuxResources {
	quota, memory := int64(-1), int64(-1)
	cpu := &specs.LinuxCPU{Shares: &res.CPUShares, Quota: &quota}
	if res.CPUQuota > 0 {
		quota, cpu.Period = res.CPUQuota, &res.CPUPeriod
	}
	if res.MemoryBytes > 0 {
		memory = res.MemoryBytes
	}
	return &specs.LinuxResources{CPU: cpu, Memory: &specs.LinuxMemory{Limit: &memory}}
}

// CurrentCaps returns the capabilities of this process.
func CurrentCaps() ([]string, error) {
	caps, err := cap.Current()
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	return caps, nil
}

// OOMAdjuster limits OOM scores to what this process may set.
type OOMAdjuster struct{ once sync.Once }

// Adjust returns the score to use. Lowering it below our own needs
// CAP_SYS_RESOURCE (proc(5)); without it a container would not start.
func (o *OOMAdjuster) Adjust(log *slog.Logger, want int, caps []string) int {
	if slices.Contains(caps, "CAP_SYS_RESOURCE") {
		return want
	}
	own := 0
	if data, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		_, _ = fmt.Sscan(string(data), &own)
	}
	if want >= own {
		return want
	}
	o.once.Do(func() {
		log.Warn("cannot lower OOM scores of containers without the capability SYS_RESOURCE; using our own", "wanted", want, "used", own)
	})
	return own
}

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/cgroup"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/fsutil"
	"headway.dev/nodes/runtime/netns"
	"headway.dev/nodes/slot"
)

// sandboxRecord is the content of sandbox.json.
type sandboxRecord struct {
	Config    runtime.SandboxConfig
	IPs       []string
	CreatedAt time.Time
	Cgroup    string
}

// sandbox is a pod's sandbox as known in memory. It is replaced, not changed.
type sandbox struct {
	rec   sandboxRecord
	ready bool
	netns string
}

func (s *sandbox) info() runtime.Sandbox {
	return runtime.Sandbox{
		Pod: s.rec.Config.PodRef, Ready: s.ready, IPs: s.rec.IPs, CreatedAt: s.rec.CreatedAt,
		Resources: s.rec.Config.Resources, CgroupPath: s.rec.Cgroup, NetNSPath: s.netns,
	}
}

// sandboxSet makes and removes what the containers of a pod share.
type sandboxSet struct {
	*state

	cfg     Config
	log     *slog.Logger
	address string // of containerd
	cgroups *cgroup.Tree
	starts  *slot.Slots
	podLock *keyedLock
}

// stateDir keeps what survives a reboot, runDir what does not.
func (r *sandboxSet) stateDir(uid string) string { return filepath.Join(r.cfg.Root, "sandboxes", uid) }

func (r *sandboxSet) runDir(uid string) string { return filepath.Join(r.cfg.RunDir, "sandboxes", uid) }

// EnsureSandbox implements Interface. A sandbox that lost its namespaces
// (because the machine was restarted) is created again.
func (r *sandboxSet) EnsureSandbox(ctx context.Context, cfg runtime.SandboxConfig) (runtime.Sandbox, error) {
	if err := cfg.Check(); err != nil {
		return runtime.Sandbox{}, err
	}
	if cfg.QOSClass == "" {
		cfg.QOSClass = "BestEffort"
	}
	if _, ok := cgroup.QOSDirs()[cfg.QOSClass]; !ok {
		return runtime.Sandbox{}, fmt.Errorf("unknown QoS class %q", cfg.QOSClass)
	}
	if _, err := r.cfg.Handlers.Find(cfg.Handler, r.cfg.runcRoot()); err != nil {
		return runtime.Sandbox{}, err
	}
	defer r.podLock.lock(cfg.UID)()
	old := r.sandbox(cfg.UID)
	if old != nil && old.ready {
		return old.info(), nil
	}
	release, err := r.starts.Take(ctx)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	defer release()
	s, err := r.makeSandbox(ctx, cfg)
	if err != nil {
		// Nothing must stay taken by a pod that may never be tried again. The
		// caller's context may be what ended the attempt.
		return runtime.Sandbox{}, errors.Join(err, r.teardown(context.WithoutCancel(ctx), cfg.UID))
	}
	r.mu.Lock()
	r.sandboxes[cfg.UID] = s
	r.mu.Unlock()
	return s.info(), nil
}

// makeSandbox makes what is missing of a sandbox; sandbox.json comes last and
// says that it is complete.
func (r *sandboxSet) makeSandbox(ctx context.Context, cfg runtime.SandboxConfig) (*sandbox, error) {
	state, run := r.stateDir(cfg.UID), r.runDir(cfg.UID)
	for _, dir := range []string{filepath.Join(state, "containers"), filepath.Join(run, "io")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("make sandbox directory: %w", err)
		}
	}
	hostname, err := sandboxHostname(cfg)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{"hostname": hostname + "\n", "hosts": cfg.Hosts, "resolv.conf": cfg.ResolvConf} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(content), 0o644); err != nil {
			return nil, fmt.Errorf("write %s of the sandbox: %w", name, err)
		}
	}
	s := &sandbox{ready: true, rec: sandboxRecord{
		Config: cfg, CreatedAt: time.Now().UTC(), Cgroup: r.cgroups.PodPath(cfg.QOSClass, cfg.UID),
	}}
	if err := r.cgroups.CreatePod(s.rec.Cgroup, cfg.Resources); err != nil {
		return nil, err
	}
	if !cfg.HostIPC {
		if err := netns.MountShm(filepath.Join(run, "shm")); err != nil {
			return nil, err
		}
	}
	if err := netns.Make(run, cfg); err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	if !cfg.HostNetwork {
		s.netns = filepath.Join(run, "net")
		var ports []network.HostPort
		for _, p := range cfg.HostPorts {
			ports = append(ports, network.HostPort(p))
		}
		ips, err := r.cfg.Network.Attach(ctx, cfg.UID, s.netns, ports)
		if err != nil {
			return nil, fmt.Errorf("set up network: %w", err)
		}
		for _, ip := range ips {
			s.rec.IPs = append(s.rec.IPs, ip.String())
		}
	}
	if err := r.save(s); err != nil {
		return nil, err
	}
	return s, nil
}

// save writes the file of a sandbox.
func (r *sandboxSet) save(s *sandbox) error {
	data, err := json.Marshal(s.rec)
	if err != nil {
		return fmt.Errorf("encode sandbox: %w", err)
	}
	if err := fsutil.WriteFile(filepath.Join(r.stateDir(s.rec.Config.UID), "sandbox.json"), data); err != nil {
		return fmt.Errorf("write sandbox: %w", err)
	}
	return nil
}

// bound keeps other bounds of a pod, with which containers are started from now on.
func (r *sandboxSet) bound(uid string, res runtime.Resources) error {
	old := r.sandbox(uid)
	if old == nil {
		return fmt.Errorf("pod %s has no sandbox: %w", uid, runtime.ErrNotFound)
	}
	s := *old
	s.rec.Config.Resources = res
	if err := r.save(&s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[uid] = &s
	return nil
}

// sandboxHostname is the pod's host name. Its file is not asked: containers may
// write what they like into it.
func sandboxHostname(cfg runtime.SandboxConfig) (string, error) {
	if !cfg.HostNetwork {
		return cfg.Hostname, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read the node's host name: %w", err)
	}
	return name, nil
}

// loadSandboxes reads back the sandboxes of a former run and removes those
// that were never completed.
func (r *sandboxSet) loadSandboxes(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(r.cfg.Root, "sandboxes"))
	if err != nil {
		return fmt.Errorf("read sandboxes: %w", err)
	}
	for _, e := range entries {
		uid := e.Name()
		s := &sandbox{}
		data, err := os.ReadFile(filepath.Join(r.stateDir(uid), "sandbox.json"))
		if err == nil {
			err = json.Unmarshal(data, &s.rec)
		}
		if err != nil || s.rec.Config.UID != uid {
			r.log.Warn("removing an incomplete sandbox", "pod", uid, "err", err)
			if err := r.teardown(ctx, uid); err != nil {
				r.log.Warn("cannot remove it", "pod", uid, "err", err)
			}
			continue
		}
		s.ready = netns.Held(r.runDir(uid), s.rec.Config)
		if !s.rec.Config.HostNetwork {
			s.netns = filepath.Join(r.runDir(uid), "net")
		}
		r.mu.Lock()
		r.sandboxes[uid] = s
		r.mu.Unlock()
	}
	return nil
}

// teardown undoes makeSandbox, however far it came. The directory goes last:
// while it is there, the next start tries again.
func (r *sandboxSet) teardown(ctx context.Context, uid string) error {
	err := errors.Join(
		r.cfg.Network.Detach(ctx, uid),
		fsutil.UnmountBelow(r.runDir(uid)),
		r.cgroups.RemovePod(uid),
		daemon.RemoveShimSocket(ctx, r.address, r.cfg.Namespace, uid),
	)
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(r.runDir(uid)), os.RemoveAll(r.stateDir(uid)))
}

// DialPod implements Interface.
func (r *sandboxSet) DialPod(ctx context.Context, podUID string, port int32) (io.ReadWriteCloser, error) {
	s := r.sandbox(podUID)
	if s == nil {
		return nil, fmt.Errorf("pod %s has no sandbox: %w", podUID, runtime.ErrNotFound)
	}
	if s.rec.Config.HostNetwork {
		return netns.DialLoopback(ctx, port)
	}
	return netns.Dial(ctx, filepath.Join(r.runDir(podUID), "net"), port)
}

// logDir is where the logs of all pods are.
type logDir string

// RemoveLogs implements Interface.
func (l logDir) RemoveLogs(pod runtime.PodRef) error {
	if err := pod.Check(); err != nil {
		return err
	}
	return os.RemoveAll(l.of(pod))
}

// LoggedPods implements Interface.
func (l logDir) LoggedPods() ([]runtime.PodRef, error) {
	entries, err := os.ReadDir(string(l))
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var out []runtime.PodRef
	for _, e := range entries {
		// Neither namespaces nor names have underscores.
		if f := strings.SplitN(e.Name(), "_", 3); len(f) == 3 && e.IsDir() {
			if ref := (runtime.PodRef{Namespace: f[0], Name: f[1], UID: f[2]}); ref.Check() == nil {
				out = append(out, ref)
			}
		}
	}
	return out, nil
}

func (l logDir) of(p runtime.PodRef) string {
	return filepath.Join(string(l), p.Namespace+"_"+p.Name+"_"+p.UID)
}

// LogPath implements Interface.
func (l logDir) LogPath(pod runtime.PodRef, container string, attempt int) string {
	return filepath.Join(l.of(pod), container, fmt.Sprintf("%d.log", attempt))
}

package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd"
	containerdimages "github.com/containerd/containerd/images"
	"github.com/containerd/containerd/namespaces"

	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/cgroup"
	"headway.dev/nodes/runtime/daemon"
	"headway.dev/nodes/runtime/fsutil"
	"headway.dev/nodes/runtime/images"
)

// Cleanup removes every trace of the runtime with this configuration from the
// machine: containers, sandboxes, network, cgroups, mounts, the private
// containerd with its images, state and logs. It fails while an agent uses the
// same Root. If containerd cannot be used, it does the same without it; then
// only what somebody else's containerd stores for us stays, which the error
// says. The cgroup and the containerd are those of the last start if cfg names none.
func Cleanup(ctx context.Context, cfg Config) error {
	cfg.setFrom()
	r, err := Start(ctx, cfg)
	if errors.Is(err, errInUse) || os.Geteuid() != 0 {
		return fmt.Errorf("clean up: %w", err)
	}
	if err != nil {
		if err := cleanupWithout(ctx, cfg, err); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		return nil
	}
	err = r.removeAll(ctx)
	if cerr := r.shutdown(); err == nil {
		err = cerr
	}
	// The lock is held until everything is gone.
	defer r.lock.Close()
	if err == nil && r.daemon != nil {
		err = r.daemon.Stop(ctx)
		// A shim whose container was being created when the agent ended is
		// listed nowhere, and nobody but us would end it.
		if err == nil {
			err = errors.Join(daemon.KillShims(r.daemon.Socket, r.cfg.Namespace), killAll(r.cfg, r.cgroups))
		}
	}
	if err == nil {
		err = removeFiles(r.cfg, r.cgroups)
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// used is the file of the run dir that says what the last start was given: who comes
// later, with other flags, has to reach the same.
const used = "used.json"

type usedBy struct {
	CgroupRoot        string `json:"cgroupRoot"`
	ContainerdAddress string `json:"containerdAddress,omitempty"`
}

// remember writes it.
func (c *Config) remember() error {
	data, err := json.Marshal(usedBy{c.CgroupRoot, c.ContainerdAddress})
	if err != nil {
		return fmt.Errorf("remember the cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.RunDir, used), data, 0o600); err != nil {
		return fmt.Errorf("remember the cgroup: %w", err)
	}
	return nil
}

// setFrom sets what c does not say from the file, if there is one.
func (c *Config) setFrom() {
	var by usedBy
	data, err := os.ReadFile(filepath.Join(cmp.Or(c.RunDir, defaultRunDir), used))
	if err != nil || json.Unmarshal(data, &by) != nil {
		return
	}
	c.CgroupRoot, c.ContainerdAddress = cmp.Or(c.CgroupRoot, by.CgroupRoot), cmp.Or(c.ContainerdAddress, by.ContainerdAddress)
}

// cleanupWithout is Cleanup without containerd, which failed with reason: the
// processes are found by their cgroup and their command line.
func cleanupWithout(ctx context.Context, cfg Config, reason error) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	lock, err := lockRoot(cfg.Root)
	if err != nil {
		return err
	}
	defer lock.Close()
	cfg.Log.Warn("cleaning up without containerd", "reason", reason)
	groups, err := cgroup.Open(cfg.CgroupRoot)
	if err != nil {
		return err
	}
	address := cfg.ContainerdAddress
	if address == "" {
		d, err := daemon.New(cfg.Root, cfg.RunDir, cfg.Log)
		if err != nil {
			return err
		}
		if err := d.Stop(ctx); err != nil {
			return err
		}
		address = d.Socket
	}
	// The shims first: one that lives would report and clean up what is gone.
	if err := daemon.KillShims(address, cfg.Namespace); err != nil {
		return err
	}
	if err := killAll(cfg, groups); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(cfg.Root, "sandboxes"))
	if fsutil.IgnoreNotExist(err) != nil {
		return err
	}
	for _, e := range entries {
		if err := daemon.RemoveShimSocket(ctx, address, cfg.Namespace, e.Name()); err != nil {
			return err
		}
	}
	if err := errors.Join(cleanNetwork(ctx, cfg), removeFiles(cfg, groups)); err != nil {
		return err
	}
	if cfg.ContainerdAddress != "" {
		return fmt.Errorf("containers and images stay in namespace %s of the containerd at %s: %w", cfg.Namespace, address, reason)
	}
	return nil
}

// removeFiles removes cgroups, mounts and files; nothing may run any more.
func removeFiles(cfg Config, groups *cgroup.Tree) error {
	var errs []error
	if !cfg.Shared {
		errs = append(errs, groups.Remove(""))
	}
	for _, dir := range []string{cfg.RunDir, cfg.Root} {
		errs = append(errs, fsutil.UnmountBelow(dir))
	}
	if err := errors.Join(errs...); err != nil {
		// With mounts left, removing files could reach what is mounted.
		return err
	}
	for _, path := range []string{
		filepath.Join(cfg.RunDir, used), filepath.Join(cfg.RunDir, "sandboxes"), filepath.Join(cfg.RunDir, "runc"), cfg.imagesDir(),
		filepath.Join(cfg.RunDir, "containerd"), filepath.Join(cfg.RunDir, "containerd.pid"),
		cfg.LogDir, filepath.Join(cfg.Root, "sandboxes"), filepath.Join(cfg.Root, "containerd"),
		filepath.Join(cfg.Root, "containerd.toml"), filepath.Join(cfg.Root, "containerd.log"), filepath.Join(cfg.Root, "lock"),
	} {
		errs = append(errs, os.RemoveAll(path))
	}
	// Only if nothing of others is in them.
	for _, dir := range []string{cfg.RunDir, cfg.Root} {
		_ = os.Remove(dir)
	}
	return errors.Join(errs...)
}

// removeAll removes every pod, then the network.
func (r *Runtime) removeAll(ctx context.Context) error {
	pods, err := r.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for uid, pod := range pods {
		ref := runtime.PodRef{UID: uid}
		if pod.Sandbox != nil {
			ref = pod.Sandbox.Pod
		} else if len(pod.Containers) > 0 {
			ref = pod.Containers[0].Pod
		}
		errs = append(errs, r.RemoveSandbox(ctx, ref), r.RemoveLogs(ref))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return cleanNetwork(ctx, r.cfg)
}

func cleanNetwork(ctx context.Context, cfg Config) error {
	if cfg.Shared {
		return nil
	}
	return cfg.Network.Cleanup(ctx)
}

// killAll ends all processes of our cgroups.
func killAll(cfg Config, groups *cgroup.Tree) error {
	if cfg.Shared {
		return nil
	}
	return groups.Kill("")
}

// ImportInto loads the images of an archive into the store of a running agent
// with this configuration, from another process.
func ImportInto(ctx context.Context, cfg Config, archive io.Reader) ([]runtime.ImageInfo, error) {
	cfg.setFrom()
	address := cfg.ContainerdAddress
	if address == "" {
		address = daemon.SocketIn(cfg.RunDir)
	}
	namespace := cfg.Namespace
	if namespace == "" {
		namespace = defaultNamespace
	}
	client, err := daemon.Connect(ctx, address, namespace)
	if err != nil {
		return nil, fmt.Errorf("%w (is `headway up` running?)", err)
	}
	defer func() { _ = client.Close() }()
	ctx = namespaces.WithNamespace(ctx, namespace)
	imported, err := images.Import(ctx, client, archive)
	if err != nil {
		return nil, err
	}
	infos := make([]runtime.ImageInfo, 0, len(imported))
	for _, img := range imported {
		size, err := img.Size(ctx)
		if err != nil {
			return infos, fmt.Errorf("size of image %s: %w", img.Name(), err)
		}
		infos = append(infos, runtime.ImageInfo{Name: img.Name(), Digest: img.Target().Digest.String(), Size: size})
		if err := announce(ctx, client, img.Name()); err != nil {
			return infos, err
		}
	}
	return infos, nil
}

// labelImported is when an image was imported by another process: the change
// tells the agent that it is there, with everything in it.
const labelImported = "headway.dev/imported"

func announce(ctx context.Context, client *containerd.Client, name string) error {
	changed := containerdimages.Image{Name: name, Labels: map[string]string{labelImported: time.Now().UTC().Format("20060102T150405.000000000Z")}}
	if _, err := client.ImageService().Update(ctx, changed, "labels."+labelImported); err != nil {
		return fmt.Errorf("tell the agent of image %s: %w", name, err)
	}
	return nil
}

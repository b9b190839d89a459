// Package volume makes a pod's volumes on this machine's disk: configMap,
// secret, downwardAPI, projected, emptyDir and hostPath, and volumes of claims that
// outlive it.
//
// [Manager.Setup] creates what is missing and rewrites what changed, so it is
// both the mount and the refresh; [Manager.Mounts] turns a container's
// volumeMounts into bind mounts, subPaths made safe against symlinks;
// [Manager.Teardown] removes everything of a pod. Everything of a pod lies below
// <dir>/<uid>:
//
//	volumes/<name>             the volume (tmpfs for secrets, projected and memory)
//	subpaths/<container>/<n>   one bind mount for each subPath
//	containers/<name>/<n>      termination messages (the agent's)
//	etc-hosts                  (the agent's)
//
// Files that come from the API are swapped in whole: a reader sees all keys of
// the old version or all of the new one (see payload.write).
//
// Calls for different pods may run at the same time; calls for one pod must not.
package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// Manager keeps the volumes of all pods below one directory.
type Manager struct {
	dir   string
	kept  string // see Keep
	log   *slog.Logger
	reach reach
}

// New returns a manager that works below dir, an absolute path.
func New(dir string, log *slog.Logger) *Manager { return &Manager{dir: dir, log: log} }

// Error is a volume that could not be set up, in the words of the kubelet's
// FailedMount event.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// PodDir returns the directory that contains everything of a pod.
func (m *Manager) PodDir(uid types.UID) string { return filepath.Join(m.dir, string(uid)) }

func (m *Manager) volumeDir(uid types.UID, name string) string {
	return filepath.Join(m.PodDir(uid), "volumes", name)
}

// Setup creates the pod's volumes, or updates those made from API objects. It
// stops at the first one that fails, with an *Error; what was created stays for
// the next try.
func (m *Manager) Setup(p *corev1.Pod, facts pod.Facts) error {
	// The volumes are open to whatever user a container runs as: this is what
	// keeps the node's other users out of them.
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the pods' volumes: %w", err)
	}
	if err := os.Chmod(m.dir, 0o700); err != nil {
		return fmt.Errorf("close the directory of the pods' volumes: %w", err)
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if err := m.setup(p, v, facts); err != nil {
			return &Error{Volume: v.Name, Err: err}
		}
	}
	return nil
}

func (m *Manager) setup(p *corev1.Pod, v *corev1.Volume, facts pod.Facts) error {
	dir := m.volumeDir(p.UID, v.Name)
	switch {
	case v.HostPath != nil:
		_, err := do(&m.reach, v.HostPath.Path, func() (struct{}, error) { return struct{}{}, checkHostPath(v.HostPath) }, nil)
		return err
	case v.PersistentVolumeClaim != nil:
		return m.persistent(p, v.PersistentVolumeClaim.ClaimName, dir, facts)
	case v.Ephemeral != nil:
		return m.persistent(p, ephemeral.VolumeClaimName(p, v), dir, facts)
	case v.EmptyDir != nil:
		return m.emptyDir(p, v.EmptyDir, dir, facts)
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		files, err := contents(p, v, facts)
		if err != nil {
			return err
		}
		if v.Secret != nil || v.Projected != nil {
			// Secrets never touch the disk.
			if err := mountTmpfs(dir, 0); err != nil {
				return err
			}
		} else if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the volume's directory: %w", err)
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return fmt.Errorf("open the volume's directory to the pod's users: %w", err)
		}
		return files.write(dir, fsGroup(p))
	default:
		return errors.New("this volume type is not supported: use configMap, secret, downwardAPI, projected, emptyDir, hostPath, persistentVolumeClaim or ephemeral")
	}
}

func (m *Manager) emptyDir(p *corev1.Pod, e *corev1.EmptyDirVolumeSource, dir string, facts pod.Facts) error {
	if mounted, err := isMount(dir); err == nil && mounted {
		return nil
	}
	_, err := os.Stat(dir)
	fresh := errors.Is(err, os.ErrNotExist)
	switch e.Medium {
	case corev1.StorageMediumDefault:
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("make the volume's directory: %w", err)
		}
	case corev1.StorageMediumMemory:
		if err := mountTmpfs(dir, pod.MemoryVolumeBytes(p, e.SizeLimit, facts.Allocatable)); err != nil {
			return err
		}
		fresh = true
	default:
		return fmt.Errorf("unknown storage medium %q", e.Medium)
	}
	if !fresh {
		return nil // the pod's own data: leave its owner and mode alone
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return fmt.Errorf("open the volume's directory to the pod's users: %w", err)
	}
	return own(dir, fsGroup(p))
}

func fsGroup(p *corev1.Pod) *int64 {
	if p.Spec.SecurityContext == nil {
		return nil
	}
	return p.Spec.SecurityContext.FSGroup
}

// Mounts returns the bind mounts of one container's volumeMounts. expand
// replaces the references of a subPathExpr.
func (m *Manager) Mounts(p *corev1.Pod, c *corev1.Container, expand func(string) string) ([]runtime.Mount, error) {
	volumes := map[string]*corev1.Volume{}
	for i := range p.Spec.Volumes {
		volumes[p.Spec.Volumes[i].Name] = &p.Spec.Volumes[i]
	}
	var mounts []runtime.Mount
	for i, vm := range c.VolumeMounts {
		v := volumes[vm.Name]
		if v == nil {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", vm.Name, c.Name)
		}
		source := m.volumeDir(p.UID, v.Name)
		if v.HostPath != nil {
			source = v.HostPath.Path
		}
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			var err error
			if source, err = os.Readlink(source); err != nil {
				return nil, fmt.Errorf("find volume %q: %w", v.Name, err)
			}
		}
		sub := vm.SubPath
		if vm.SubPathExpr != "" {
			sub = expand(vm.SubPathExpr)
		}
		if sub != "" {
			target := filepath.Join(m.PodDir(p.UID), "subpaths", c.Name, fmt.Sprint(i))
			if err := m.bindSubPath(source, sub, target, vm.ReadOnly || readOnly(v) || claimedReadOnly(v)); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, c.Name, err)
			}
			source = target
		}
		target := vm.MountPath
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
		mounts = append(mounts, runtime.Mount{
			HostPath: source, ContainerPath: target, ReadOnly: vm.ReadOnly || readOnly(v) || claimedReadOnly(v), Propagation: propagation(vm.MountPropagation),
		})
	}
	return mounts, nil
}

// readOnly reports whether a volume is made from API objects: a container that
// writes into it would lose its changes with the next update.
func readOnly(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// claimedReadOnly reports whether the pod wants only to read the volume of a claim.
func claimedReadOnly(v *corev1.Volume) bool {
	return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
}

func propagation(mode *corev1.MountPropagationMode) string {
	if mode == nil {
		return "rprivate"
	}
	switch *mode {
	case corev1.MountPropagationHostToContainer:
		return "rslave"
	case corev1.MountPropagationBidirectional:
		return "rshared"
	default:
		return "rprivate"
	}
}

// Teardown unmounts and removes everything of a pod. It may be repeated.
func (m *Manager) Teardown(uid types.UID) error {
	if uid == "" || strings.ContainsAny(string(uid), "/\x00") || uid == "." || uid == ".." {
		return fmt.Errorf("remove volumes: %q is no pod UID", uid)
	}
	dir := m.PodDir(uid)
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
	}
	return nil
}

// Pods lists the pods that have something on disk.
func (m *Manager) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pod directories: %w", err)
	}
	uids := make([]types.UID, 0, len(entries))
	for _, e := range entries {
		uids = append(uids, types.UID(e.Name()))
	}
	return uids, nil
}

// Refreshable reports whether the pod has volumes that follow API objects.
func Refreshable(p *corev1.Pod) bool {
	for i := range p.Spec.Volumes {
		if readOnly(&p.Spec.Volumes[i]) {
			return true
		}
	}
	return false
}

// MountsPath reports whether a container mounts a volume at path itself.
func MountsPath(c *corev1.Container, path string) bool {
	for _, vm := range c.VolumeMounts {
		if filepath.Clean(vm.MountPath) == path {
			return true
		}
	}
	return false
}

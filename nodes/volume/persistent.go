package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/nodes/pod"
)

// Keep has m make the volumes of storage.LocalProvisioner below dir, an absolute path:
// each is a directory of its name.
func (m *Manager) Keep(dir string) { m.kept = dir }

// Kept is the directory of Keep.
func (m *Manager) Kept() string { return m.kept }

// persistent notes where the data of a claim are: the volume of the pod is a symlink
// there, so that nothing that removes the pod's files can reach them. It is made once;
// the pod has the volume as long as it lives.
func (m *Manager) persistent(p *corev1.Pod, claim string, link string, facts pod.Facts) error {
	if _, err := os.Readlink(link); err == nil {
		return nil
	}
	pv, err := facts.Volume(claim)
	if err != nil {
		return err
	}
	path, err := m.prepare(pv)
	if err != nil {
		return err
	}
	if pv.Spec.Local != nil && !m.Uses(path) {
		if _, err := do(&m.reach, path, func() (struct{}, error) { return struct{}{}, ownAll(path, p.Spec.SecurityContext) }, nil); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return fmt.Errorf("make the directory of the pod's volumes: %w", err)
	}
	if err := os.Symlink(path, link); err != nil {
		return fmt.Errorf("note where the volume is: %w", err)
	}
	return nil
}

// prepare returns where a volume's data are, and makes the directory if it is one of
// those that are made here.
func (m *Manager) prepare(pv *corev1.PersistentVolume) (string, error) {
	switch {
	case pv.Spec.HostPath != nil:
		_, err := do(&m.reach, pv.Spec.HostPath.Path, func() (struct{}, error) { return struct{}{}, checkHostPath(pv.Spec.HostPath) }, nil)
		return pv.Spec.HostPath.Path, err
	case pv.Spec.Local == nil:
		return "", errors.New("this type of PersistentVolume is not supported: use local or hostPath")
	}
	path := pv.Spec.Local.Path
	if dir := storage.LocalDirectory(pv, m.kept); dir != "" {
		return dir, m.makeKept(pv.Name)
	}
	_, err := do(&m.reach, path, func() (struct{}, error) {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return struct{}{}, fmt.Errorf("path %q does not exist", path)
		case err != nil:
			return struct{}{}, fmt.Errorf("look at the volume: %w", err)
		case !info.IsDir():
			return struct{}{}, fmt.Errorf("path %q is not a directory", path)
		}
		return struct{}{}, nil
	}, nil)
	return path, err
}

// makeKept makes the directory of a volume, open to whatever user a container runs as.
func (m *Manager) makeKept(name string) error {
	if err := os.MkdirAll(m.kept, 0o700); err != nil {
		return fmt.Errorf("make the directory of volumes: %w", err)
	}
	root, err := os.OpenRoot(m.kept)
	if err != nil {
		return fmt.Errorf("open the directory of volumes: %w", err)
	}
	defer root.Close()
	switch err := root.Mkdir(name, 0o700); {
	case errors.Is(err, fs.ErrExist):
		info, err := root.Lstat(name)
		if err == nil && !info.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			return fmt.Errorf("look at the directory of the volume: %w", err)
		}
		if info.Mode().Perm() != 0o700 {
			return nil
		}
		// A run before this one ended right after it had made it.
	case err != nil:
		return fmt.Errorf("make the directory of the volume: %w", err)
	}
	if err := root.Chmod(name, 0o777); err != nil {
		return fmt.Errorf("open the directory of the volume to the pods' users: %w", err)
	}
	return nil
}

// Discard removes the data of a volume that Keep is about. It may be repeated. It
// follows no symlink, and enters nothing that is mounted there.
func (m *Manager) Discard(name string) error {
	if m.kept == "" || name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return fmt.Errorf("remove a volume: %q is no name of a volume", name)
	}
	path := filepath.Join(m.kept, name)
	if info, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err == nil && info.IsDir() {
		if err := unmountBelow(path); err != nil {
			return fmt.Errorf("remove volume %s: %w", name, err)
		}
	}
	root, err := os.OpenRoot(m.kept)
	if err != nil {
		return fmt.Errorf("open the directory of volumes: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}

// Uses reports whether a pod has the volume whose data are at path.
func (m *Manager) Uses(path string) bool {
	links, _ := filepath.Glob(filepath.Join(m.dir, "*", "volumes", "*")) // the pattern is right
	return slices.ContainsFunc(links, func(link string) bool {
		to, err := os.Readlink(link)
		return err == nil && to == path
	})
}

// ownAll gives what is at path to the pod's fsGroup, as the kubelet does: the group
// may read and write all of it, and what is made in a directory belongs to the group.
func ownAll(path string, sc *corev1.PodSecurityContext) error {
	if sc == nil || sc.FSGroup == nil {
		return nil
	}
	group := int(*sc.FSGroup)
	root, err := os.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	if policy := sc.FSGroupChangePolicy; policy != nil && *policy == corev1.FSGroupChangeOnRootMismatch {
		if info, err := root.Stat("."); err == nil && belongs(info, group) {
			return nil
		}
	}
	// The root comes last: it says whether all was done.
	var own func(name string) error
	own = func(name string) error {
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			dir, err := root.Open(name)
			if err != nil {
				return err
			}
			entries, err := dir.Readdirnames(-1)
			dir.Close()
			if err != nil {
				return err
			}
			for _, entry := range entries {
				if err := own(filepath.Join(name, entry)); err != nil {
					return err
				}
			}
		}
		if err := root.Lchown(name, -1, group); err != nil {
			return err
		}
		switch {
		case info.IsDir():
			return root.Chmod(name, info.Mode()|0o770|fs.ModeSetgid)
		case info.Mode()&fs.ModeSymlink == 0:
			return root.Chmod(name, info.Mode()|0o660)
		}
		return nil
	}
	if err := own("."); err != nil {
		return fmt.Errorf("give the volume to group %d: %w", group, err)
	}
	return nil
}

// belongs reports whether a directory is as ownAll leaves it.
func belongs(info fs.FileInfo, group int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Gid) == group && info.Mode()&fs.ModeSetgid != 0 && info.Mode().Perm()&0o770 == 0o770
}

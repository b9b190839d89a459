package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountTmpfs mounts a tmpfs of at most size bytes (0: the kernel's default) at
// dir, unless one is there.
func mountTmpfs(dir string, size int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the volume's directory: %w", err)
	}
	if mounted, err := isMount(dir); err != nil || mounted {
		return err
	}
	options := "mode=0777"
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	return nil
}

// isMount reports whether a file system is mounted at dir itself.
func isMount(dir string) (bool, error) {
	var own, parent unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &own); err != nil {
		return false, fmt.Errorf("look for a mount: %w", err)
	}
	if own.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return own.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	// Kernels before 5.8 do not tell; another device than the parent's is
	// enough for tmpfs.
	if err := unix.Statx(unix.AT_FDCWD, filepath.Dir(dir), 0, unix.STATX_BASIC_STATS, &parent); err != nil {
		return false, fmt.Errorf("look for a mount: %w", err)
	}
	return own.Dev_major != parent.Dev_major || own.Dev_minor != parent.Dev_minor, nil
}

// subPath is an opened sub path of a volume.
type subPath struct {
	file *os.File
	dir  bool
}

// openSubPath opens sub below source, and makes it if it is not there and the
// volume may be written. The path is resolved below source by the kernel.
func openSubPath(source, sub string, readOnly bool) (subPath, error) {
	root, err := os.OpenRoot(source)
	if err != nil {
		return subPath{}, fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	// Not waiting: opening a FIFO that a container left there would never end.
	f, err := root.OpenFile(sub, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) && !readOnly {
		if err := makeSubPath(root, sub); err != nil {
			return subPath{}, fmt.Errorf("make %q in the volume: %w", sub, err)
		}
		f, err = root.OpenFile(sub, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return subPath{}, fmt.Errorf("open %q in the volume: %w", sub, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return subPath{}, fmt.Errorf("open %q in the volume: %w", sub, err)
	}
	return subPath{f, info.IsDir()}, nil
}

// makeSubPath makes a directory with the volume's mode, which the pod's users need as
// much as the volume itself; those above it have that mode within the umask. So does a
// kubelet.
func makeSubPath(volume *os.Root, sub string) error {
	info, err := volume.Stat(".")
	if err != nil {
		return err
	}
	if err := volume.MkdirAll(sub, info.Mode().Perm()); err != nil {
		return err
	}
	return volume.Chmod(sub, info.Mode()&(os.ModePerm|os.ModeSetuid|os.ModeSetgid|os.ModeSticky))
}

// bindSubPath mounts source/sub at target. What the path led to is pinned by a
// descriptor: a container that swaps a part of it for a symlink at the same
// time cannot lead it out of the volume (CVE-2017-1002101, CVE-2021-25741).
func (m *Manager) bindSubPath(source, sub, target string, readOnly bool) error {
	opened, err := do(&m.reach, filepath.Join(source, sub),
		func() (subPath, error) { return openSubPath(source, sub, readOnly) },
		func(s subPath) { s.file.Close() })
	if err != nil {
		return err
	}
	defer opened.file.Close()
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	// A restarted container gets what the path leads to now.
	if err := unmountBelow(target); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	if opened.dir {
		err = os.Mkdir(target, 0o750)
	} else {
		err = os.WriteFile(target, nil, 0o640)
	}
	if err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", opened.file.Fd()), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %q: %w", sub, err)
	}
	return nil
}

// unmountBelow unmounts dir and everything below it, the latest first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, mount := range slices.Backward(mounts) {
		point := mount.Mountpoint
		// Detached: a container that is just dying may hold it a little longer.
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

package fsutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// WriteFile replaces a file whole: a crash leaves the old one or the new one.
func WriteFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// UnmountAll takes off whatever is mounted at path; a missing path is fine.
func UnmountAll(path string) error {
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

// UnmountBelow takes off every mount at or below dir, the innermost first.
func UnmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var errs []error
	for _, mount := range slices.Backward(mounts) {
		errs = append(errs, UnmountAll(mount.Mountpoint))
	}
	return errors.Join(errs...)
}

// IgnoreNotExist drops the error of a file that is not there.
func IgnoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

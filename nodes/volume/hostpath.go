package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// checkHostPath applies a hostPath's type: what must exist is checked, what may
// be made is made.
// https://kubernetes.io/docs/concepts/storage/volumes/#hostpath-volume-types
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	missing := err != nil
	is := func(want string, ok bool) error {
		if missing || !ok {
			return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, want)
		}
		return nil
	}
	switch kind {
	case corev1.HostPathUnset:
		if missing {
			// The runtime would fail later and say less.
			return os.MkdirAll(h.Path, 0o755)
		}
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(h.Path, 0o755)
		}
		return is("directory", info.IsDir())
	case corev1.HostPathFileOrCreate:
		if missing {
			f, err := os.OpenFile(filepath.Clean(h.Path), os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				return fmt.Errorf("make the hostPath file: %w", err)
			}
			return f.Close()
		}
		return is("file", info.Mode().IsRegular())
	case corev1.HostPathDirectory:
		return is("directory", !missing && info.IsDir())
	case corev1.HostPathFile:
		return is("file", !missing && info.Mode().IsRegular())
	case corev1.HostPathSocket:
		return is("socket file", !missing && info.Mode()&fs.ModeSocket != 0)
	case corev1.HostPathCharDev:
		return is("character device", !missing && info.Mode()&fs.ModeCharDevice != 0)
	case corev1.HostPathBlockDev:
		return is("block device", !missing && info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0)
	}
	return fmt.Errorf("hostPath type check failed: unknown type %q", kind)
}

// own gives dir to the pod's fsGroup: the group may write, and what is made in
// it belongs to the group.
func own(dir string, group *int64) error {
	if group == nil {
		return nil
	}
	if err := os.Chown(dir, -1, int(*group)); err != nil {
		return fmt.Errorf("give the volume to group %d: %w", *group, err)
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSetgid); err != nil {
		return fmt.Errorf("give the volume to group %d: %w", *group, err)
	}
	return nil
}

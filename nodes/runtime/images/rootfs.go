package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/mount"
	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/runtime"
)

// withRootfs mounts the image's file system for reading.
func (s *Store) withRootfs(ctx context.Context, img *Image, f func(dir string) error) error {
	snapshots := s.client.SnapshotService(Snapshotter)
	ctx, done, err := s.client.WithLease(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done(ctx) }()
	key := "headway-view-" + strconv.FormatInt(int64(os.Getpid()), 10) + "-" + strconv.FormatUint(s.views.Add(1), 10)
	mounts, err := snapshots.View(ctx, key, img.ChainID)
	if err != nil {
		return err
	}
	defer func() { _ = snapshots.Remove(context.WithoutCancel(ctx), key) }()
	for i := range mounts {
		// An image may bring device files; the node must not touch what is behind.
		mounts[i].Options = append(mounts[i].Options, "ro", "nodev", "nosuid", "noexec")
	}
	return s.mounted(mounts, f)
}

// mounted mounts while f runs, below a directory of our own and not in the
// machine's temporary one: after a process that was killed meanwhile, the next
// one finds the mount there (New).
func (s *Store) mounted(mounts []mount.Mount, f func(dir string) error) (err error) {
	mounts = mount.RemoveVolatileOption(mounts) // which read-only mounts must not have
	dir, err := os.MkdirTemp(s.dir, "image-")
	if err != nil {
		return err
	}
	defer func() {
		// Never what is below it: the unmount may have failed.
		err = errors.Join(err, mount.UnmountMounts(mounts, dir, 0), os.Remove(dir))
	}()
	if err := mount.All(mounts, dir); err != nil {
		return fmt.Errorf("mount the image: %w", err)
	}
	return f(dir)
}

// maxImageFile is far more than any real /etc/passwd: an image is not to fill
// our memory.
const maxImageFile = 4 << 20

// readImageFile reads a file of the image whose file system is at dir, as a
// container of it would find it: symbolic links are followed within the image.
// A file that is not there is empty. What is no regular file is never opened,
// because that could wait forever, or act on a device; runc does open it, so
// such an image cannot run.
func readImageFile(dir, name string) ([]byte, error) {
	refuse := func(format string, args ...any) error {
		return &runtime.ConfigError{Err: fmt.Errorf("/%s of the image "+format, append([]any{name}, args...)...)}
	}
	// The handle only names the file (O_PATH): making it has no effect on what
	// it names.
	handle, err := pathrs.OpenInRoot(dir, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, leadsNowhere(dir, name, refuse)
	}
	if err != nil {
		return nil, refuse("cannot be opened: %w", err)
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at /%s of the image: %w", name, err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, refuse("is not a regular file but %s", kindOf(info.Mode()))
	case info.Size() > maxImageFile:
		return nil, refuse("has %d bytes; at most %d are read", info.Size(), maxImageFile)
	}
	f, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open /%s of the image: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxImageFile))
	if err != nil {
		return nil, fmt.Errorf("read /%s of the image: %w", name, err)
	}
	return data, nil
}

// leadsNowhere refuses a symbolic link into the file systems that only a
// running container has: there it could name a device or a pipe.
func leadsNowhere(dir, name string, refuse func(string, ...any) error) error {
	path, err := securejoin.SecureJoin(dir, name)
	if err != nil {
		return refuse("cannot be opened: %w", err)
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return refuse("cannot be opened: %w", err)
	}
	if top, _, _ := strings.Cut(rel, "/"); top == "proc" || top == "dev" || top == "sys" {
		return refuse("is not a regular file but a link to /%s", rel)
	}
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a " + m.Type().String()
}

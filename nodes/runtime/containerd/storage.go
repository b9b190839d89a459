package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/errdefs"

	"headway.dev/nodes/runtime/images"
)

// StorageUsage implements Interface.
func (r *Runtime) StorageUsage(ctx context.Context, podUID string) (bytes map[string]int64, inodes int64, err error) {
	ctx = r.namespaced(ctx)
	bytes = map[string]int64{}
	for _, id := range r.containersOf(podUID) {
		c, err := r.get(id)
		if err != nil {
			continue // It has just been removed.
		}
		usage, err := r.client.SnapshotService(images.Snapshotter).Usage(ctx, id)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, 0, fmt.Errorf("size of the file system of container %s: %w", c.info.Name, err)
		}
		bytes[c.info.Name] += usage.Size
		inodes += usage.Inodes
		// The log with what has been rotated of it, this container's and no other's.
		logs, err := filepath.Glob(c.info.LogPath + "*")
		if err != nil {
			return nil, 0, fmt.Errorf("list the logs of container %s: %w", c.info.Name, err)
		}
		for _, log := range logs {
			if info, err := os.Lstat(log); err == nil {
				bytes[c.info.Name] += info.Size()
				inodes++
			}
		}
	}
	return bytes, inodes, nil
}

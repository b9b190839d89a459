package nodes

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/nodes/objects"
)

// discardVolumes removes the data of volumes of this node that are deleted and that no
// claim has any more, until ctx ends, and then says so: without the finalizer the volume is
// gone.
func (a *Agent) discardVolumes(ctx context.Context) error {
	d := objects.NewDiscards(loop.Options[string]{
		Name: "remove the data of volume", Backoff: loop.Backoff{First: time.Second, Last: time.Minute},
		Failed: func(ctx context.Context, name string, failures int, err error) {
			a.log.Log(ctx, slog.LevelWarn, "data of a volume are not removed yet, trying again", "volume", name, "failures", failures, "err", err)
		},
	}, a.discard)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		guard.Do(ctx, "watch volumes", func() { d.Follow(ctx, a.cfg.Client, a.cfg.NodeName) })
	})
	return d.Run(ctx)
}

// discard removes the data of one volume, if it is time.
func (a *Agent) discard(ctx context.Context, pv *corev1.PersistentVolume) (time.Duration, error) {
	if pv.Labels[storage.NodeLabel] != a.cfg.NodeName {
		return 0, nil
	}
	if pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		path := storage.LocalDirectory(pv, a.volumes.Kept())
		if path == "" {
			// Its data are not where this agent keeps volumes. Nothing else is touched.
			err := fmt.Errorf("its path is not below %s: remove its data, and its finalizer %s", a.volumes.Kept(), storage.LocalFinalizer)
			a.events.Event(pv, corev1.EventTypeWarning, "VolumeFailedDelete", err.Error())
			return 0, err
		}
		if a.volumes.Uses(path) {
			return time.Second, nil // a pod that was deleted by force has not ended yet
		}
		if err := a.volumes.Discard(pv.Name); err != nil {
			a.events.Event(pv, corev1.EventTypeWarning, "VolumeFailedDelete", err.Error())
			return 0, err
		}
	}
	return 0, objects.Forget(ctx, a.cfg.Client, pv)
}

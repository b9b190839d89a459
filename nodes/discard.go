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

// discards removes the data of volumes of this node that are deleted and that no claim
// has any more, and then says so: without the finalizer the volume is gone. Whatever
// ends the agent in between, the next one does it again.
type discards struct {
	agent *Agent
	keys  *loop.Keys[string]

	mu      sync.Mutex
	volumes map[string]*corev1.PersistentVolume
}

// discardVolumes runs until ctx ends.
func (a *Agent) discardVolumes(ctx context.Context) error {
	d := &discards{agent: a, volumes: map[string]*corev1.PersistentVolume{}}
	d.keys = loop.NewKeys(loop.Options[string]{
		Name: "remove the data of volume", Backoff: loop.Backoff{First: time.Second, Last: time.Minute}, Look: d.look,
		Failed: func(ctx context.Context, name string, failures int, err error) {
			a.log.Log(ctx, slog.LevelWarn, "data of a volume are not removed yet, trying again", "volume", name, "failures", failures, "err", err)
		},
	})
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		guard.Do(ctx, "watch volumes", func() { objects.FollowVolumes(ctx, a.cfg.Client, a.cfg.NodeName, d) })
	})
	return d.keys.Run(ctx)
}

// Add implements cache.ReflectorStore, as the following do.
func (d *discards) Add(obj any) error { return d.Update(obj) }

// Update notes a volume.
func (d *discards) Update(obj any) error {
	pv := obj.(*corev1.PersistentVolume)
	d.mu.Lock()
	d.volumes[pv.Name] = pv
	d.mu.Unlock()
	d.keys.Wake(pv.Name)
	return nil
}

// Delete forgets a volume.
func (d *discards) Delete(obj any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.volumes, obj.(*corev1.PersistentVolume).Name)
	return nil
}

// Replace takes all volumes.
func (d *discards) Replace(list []any, _ string) error {
	d.mu.Lock()
	clear(d.volumes)
	d.mu.Unlock()
	for _, obj := range list {
		if err := d.Update(obj); err != nil {
			return err
		}
	}
	return nil
}

// Resync does nothing.
func (d *discards) Resync() error { return nil }

// look removes the data of one volume, if it is time.
func (d *discards) look(ctx context.Context, name string) (time.Duration, error) {
	d.mu.Lock()
	pv := d.volumes[name]
	d.mu.Unlock()
	if pv == nil || pv.Labels[storage.NodeLabel] != d.agent.cfg.NodeName || !objects.Abandoned(pv) {
		return 0, nil
	}
	a := d.agent
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
		if err := a.volumes.Discard(name); err != nil {
			a.events.Event(pv, corev1.EventTypeWarning, "VolumeFailedDelete", err.Error())
			return 0, err
		}
	}
	return 0, objects.Forget(ctx, a.cfg.Client, pv)
}

package hollow

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/nodes/objects"
)

// volumesDir is where hollow nodes say that they keep volumes. They never look there.
const volumesDir = "/hollow/volumes"

// discards says of the volumes of a fleet's nodes that are to be removed that they are:
// there is nothing to remove. All nodes share one watch.
type discards struct {
	fleet *Fleet
	keys  *loop.Keys[string]

	mu sync.Mutex
	// volumes are those to be removed.
	volumes map[string]*corev1.PersistentVolume
}

func newDiscards(f *Fleet) *discards {
	d := &discards{fleet: f, volumes: map[string]*corev1.PersistentVolume{}}
	d.keys = loop.NewKeys(loop.Options[string]{
		Name: "pretend to remove the data of volume", Workers: registering,
		Backoff: loop.Backoff{First: 50 * time.Millisecond, Last: 5 * time.Second}, Look: d.look,
	})
	return d
}

// follow keeps the volumes until ctx ends.
func (d *discards) follow(ctx context.Context) {
	objects.FollowVolumes(ctx, d.fleet.cfg.Client, "", d)
}

// Add implements cache.ReflectorStore, as the following do.
func (d *discards) Add(obj any) error { return d.Update(obj) }

// Update notes a volume if it is to be removed.
func (d *discards) Update(obj any) error {
	pv := obj.(*corev1.PersistentVolume)
	if !objects.Abandoned(pv) {
		return d.Delete(pv)
	}
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

// wake looks at all volumes again: a node has returned.
func (d *discards) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.volumes {
		d.keys.Wake(name)
	}
}

func (d *discards) look(ctx context.Context, name string) (time.Duration, error) {
	d.mu.Lock()
	pv := d.volumes[name]
	d.mu.Unlock()
	if pv == nil {
		return 0, nil
	}
	n := d.fleet.byName[pv.Labels[storage.NodeLabel]]
	if n == nil {
		return 0, nil // another's
	}
	if on, _ := n.power.state(); !on {
		return 0, nil // its return wakes the volume
	}
	return 0, objects.Forget(ctx, d.fleet.cfg.Client, pv)
}

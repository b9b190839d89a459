package objects

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/loop"
)

// Discards follows the volumes whose data nodes are to remove, and has each looked at
// until it is gone: whatever ends it in between, the next one does it again.
type Discards struct {
	keys *loop.Keys[string]

	mu sync.Mutex
	// volumes are those to be removed.
	volumes map[string]*corev1.PersistentVolume
}

// NewDiscards looks at volumes with look, in a loop of options.
func NewDiscards(options loop.Options[string], look func(context.Context, *corev1.PersistentVolume) (time.Duration, error)) *Discards {
	d := &Discards{volumes: map[string]*corev1.PersistentVolume{}}
	options.Look = func(ctx context.Context, name string) (time.Duration, error) {
		d.mu.Lock()
		pv := d.volumes[name]
		d.mu.Unlock()
		if pv == nil {
			return 0, nil
		}
		return look(ctx, pv)
	}
	d.keys = loop.NewKeys(options)
	return d
}

// Run looks at volumes until ctx ends.
func (d *Discards) Run(ctx context.Context) error { return d.keys.Run(ctx) }

// Follow keeps the volumes of a node, of all if it is empty, until ctx ends.
func (d *Discards) Follow(ctx context.Context, client kubernetes.Interface, node string) {
	Follow(ctx, client, volumesOf{client, node}, "", &corev1.PersistentVolume{}, d, "node-volumes")
}

// Wake looks at all volumes again.
func (d *Discards) Wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.volumes {
		d.keys.Wake(name)
	}
}

// Add implements cache.ReflectorStore, as the following do.
func (d *Discards) Add(obj any) error { return d.Update(obj) }

// Update notes a volume if it is to be removed.
func (d *Discards) Update(obj any) error {
	pv := obj.(*corev1.PersistentVolume)
	if !abandoned(pv) {
		return d.Delete(pv)
	}
	d.mu.Lock()
	d.volumes[pv.Name] = pv
	d.mu.Unlock()
	d.keys.Wake(pv.Name)
	return nil
}

// Delete forgets a volume.
func (d *Discards) Delete(obj any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.volumes, obj.(*corev1.PersistentVolume).Name)
	return nil
}

// Replace takes all volumes.
func (d *Discards) Replace(list []any, _ string) error {
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
func (d *Discards) Resync() error { return nil }

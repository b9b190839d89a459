package hollow

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/nodes/objects"
)

// volumesDir is where hollow nodes say that they keep volumes. They never look there.
const volumesDir = "/hollow/volumes"

// newDiscards says of the volumes of a fleet's nodes that are to be removed that they are:
// there is nothing to remove. All nodes share one watch.
func newDiscards(f *Fleet) *objects.Discards {
	return objects.NewDiscards(loop.Options[string]{
		Name: "pretend to remove the data of volume", Workers: registering,
		Backoff: loop.Backoff{First: 50 * time.Millisecond, Last: 5 * time.Second},
	}, func(ctx context.Context, pv *corev1.PersistentVolume) (time.Duration, error) {
		n := f.byName[pv.Labels[storage.NodeLabel]]
		if n == nil {
			return 0, nil // another's
		}
		if on, _ := n.power.state(); !on {
			return 0, nil // its return wakes the volume
		}
		return 0, objects.Forget(ctx, f.cfg.Client, pv)
	})
}

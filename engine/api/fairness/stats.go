package fairness

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/scheme"
)

const (
	// sampled is how many objects of a kind its average size is taken from.
	sampled = 4
	// usualSize is taken for the size of custom resources, which do not tell it.
	usualSize = 2 << 10
)

// stats tells how many objects of a resource there are, and about how large they
// are: from that the library estimates the work of a list.
func stats(s *store.Store, kinds *scheme.Registry) func(resource string) (storage.Stats, error) {
	return func(resource string) (storage.Stats, error) {
		k, ok := kinds.ForResource(schema.ParseGroupResource(resource))
		if !ok {
			return storage.Stats{}, request.ObjectCountNotFoundErr
		}
		all := s.Snapshot(k.GroupKind())
		var looked, bytes int64
		for _, obj := range all.From("", "") {
			size := usualSize
			if sized, ok := obj.(interface{ Size() int }); ok {
				size = sized.Size()
			}
			bytes += int64(size)
			if looked++; looked == sampled {
				break
			}
		}
		return storage.Stats{ObjectCount: int64(all.Len()), EstimatedAverageObjectSizeBytes: bytes / max(looked, 1)}, nil
	}
}

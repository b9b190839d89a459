package storage

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/scheme"
)

// Options makes genericregistry.Store use the store; give it as
// generic.StoreOptions.RESTOptions. It implements generic.RESTOptionsGetter.
type Options struct {
	Store *store.Store
	// Codec is required by the library's StorageConfig. Objects are not encoded
	// with it, but for custom resources, which it converts: a Handover spares them
	// most of that.
	Codec runtime.Codec
	// Kinds finds the kind under which a resource is stored. The default looks
	// in manifests/model/scheme.
	Kinds func(schema.GroupResource) (schema.GroupKind, bool)
}

var _ generic.RESTOptionsGetter = Options{}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o Options) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	kinds := o.Kinds
	if kinds == nil {
		kinds = servedKind
	}
	kind, ok := kinds(resource)
	if !ok {
		return generic.RESTOptions{}, fmt.Errorf("storage: no kind for resource %s", resource)
	}
	config := storagebackend.Config{Type: "headway", Codec: o.Codec}
	prefix := "/" + resource.Resource
	if resource.Group != "" {
		prefix = "/" + resource.Group + prefix
	}
	return generic.RESTOptions{
		StorageConfig:           config.ForResource(resource),
		Decorator:               o.decorator(kind),
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          prefix,
	}, nil
}

func servedKind(resource schema.GroupResource) (schema.GroupKind, bool) {
	for _, k := range scheme.Kinds() {
		if k.Group == resource.Group && k.Plural == resource.Resource {
			return k.GroupKind(), true
		}
	}
	return schema.GroupKind{}, false
}

// decorator is a generic.StorageDecorator that makes the Storage of a kind.
// What is kept for a while only is written change.Behind; what is found of it at
// the start lives as long again.
func (o Options) decorator(kind schema.GroupKind) generic.StorageDecorator {
	return func(c *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
		newFunc, _ func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		config := Config{Store: o.Store, Kind: kind, Prefix: prefix, New: newFunc}
		if version := newFunc().GetObjectKind().GroupVersionKind(); !version.Empty() {
			handover, _ := o.Codec.(*Handover)
			config.Forms = newVersioned(c.Codec, handover, version.GroupVersion())
		}
		if k, ok := scheme.ForKind(kind); ok && k.REST.TTL > 0 {
			config.Durability, config.RestoredTTL = change.Behind, k.REST.TTL
		}
		st, err := New(config)
		if err != nil {
			return nil, nil, err
		}
		return st, st.Destroy, nil
	}
}

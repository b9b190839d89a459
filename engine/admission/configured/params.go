package configured

import (
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// params has the parameters of policies: the objects of a kind in a view, of all
// namespaces or of one. It implements informers.GenericInformer and the listers.
type params struct {
	view      object.Reader
	kind      schema.GroupKind
	namespace string
}

// Informer implements informers.GenericInformer.
func (params) Informer() cache.SharedIndexInformer { return settled{} }

// Lister implements informers.GenericInformer.
func (p params) Lister() cache.GenericLister { return p }

// ByNamespace implements cache.GenericLister.
func (p params) ByNamespace(namespace string) cache.GenericNamespaceLister {
	p.namespace = namespace
	return p
}

// Get implements cache.GenericNamespaceLister.
func (p params) Get(name string) (runtime.Object, error) {
	if obj := p.view.Get(object.Key{GroupKind: p.kind, Namespace: p.namespace, Name: name}); obj != nil {
		return stamped(obj), nil
	}
	resource := schema.GroupResource{Group: p.kind.Group, Resource: p.kind.Kind}
	if k, ok := scheme.ForKind(p.kind); ok {
		resource = k.Resource().GroupResource()
	}
	return nil, apierrors.NewNotFound(resource, name)
}

// List implements cache.GenericNamespaceLister.
func (p params) List(s labels.Selector) ([]runtime.Object, error) {
	all, _ := p.view.List(p.kind, p.namespace)
	var out []runtime.Object
	for _, obj := range all {
		if s.Matches(labels.Set(obj.GetLabels())) {
			out = append(out, stamped(obj))
		}
	}
	return out, nil
}

// stamped returns obj with its kind, which expressions may ask for.
func stamped(obj object.Object) runtime.Object {
	k, ok := scheme.ForObject(obj)
	if !ok || obj.GetObjectKind().GroupVersionKind() == k.GroupVersionKind {
		return obj
	}
	out := k.New()
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(obj).Elem())
	out.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return out
}

package configured

import (
	"context"
	"fmt"
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// params has the parameters of policies: the objects of a kind in a view, of all
// namespaces or of one. It implements informers.GenericInformer and the listers.
type params struct {
	ctx       context.Context //nolint:containedctx // of the one write that is judged
	view      object.Reader
	kind      *kind.Kind
	namespace string
	// version is the one in which custom resources are shown, and converter asks
	// webhooks for that.
	version   schema.GroupVersion
	converter custom.Converter
}

// paramsOf finds the parameters of a policy, also those whose definition comes with
// what is judged.
func (cfg Config) paramsOf(ctx context.Context, of *admissionregistrationv1.ParamKind, view object.Reader) (params, error) {
	gvk := schema.FromAPIVersionAndKind(of.APIVersion, of.Kind)
	k, ok := cfg.Kinds.ForKind(gvk.GroupKind())
	if !ok {
		k, _ = cfg.Kinds.Set().Declared(view, gvk.GroupKind())
		ok = k != nil
	}
	if !ok || k.Custom == nil && k.Version != gvk.Version || k.Custom != nil && !k.Custom.Serves(gvk.Version) {
		return params{}, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
	}
	return params{ctx: ctx, view: view, kind: k, version: gvk.GroupVersion(), converter: cfg.Converter}, nil
}

// scope says whether the parameters are in namespaces.
func (p params) scope() meta.RESTScope {
	if p.kind.Namespaced {
		return meta.RESTScopeNamespace
	}
	return meta.RESTScopeRoot
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
	if obj := p.view.Get(object.Key{GroupKind: p.kind.GroupKind(), Namespace: p.namespace, Name: name}); obj != nil {
		return p.shown(obj)
	}
	return nil, apierrors.NewNotFound(p.kind.Resource().GroupResource(), name)
}

// List implements cache.GenericNamespaceLister.
func (p params) List(s labels.Selector) ([]runtime.Object, error) {
	all, _ := p.view.List(p.kind.GroupKind(), p.namespace)
	var out []runtime.Object
	for _, obj := range all {
		if !s.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		shown, err := p.shown(obj)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

// shown returns what is read of a stored object: a custom resource in the policy's
// version, with the defaults of today.
func (p params) shown(obj object.Object) (runtime.Object, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || p.kind.Custom == nil {
		return stamped(obj), nil
	}
	out, err := p.kind.Custom.Convert(p.ctx, u, p.version, p.converter)
	if err != nil {
		return nil, err
	}
	if version, ok := p.kind.Custom.Version(p.version.Version); ok {
		out = out.DeepCopy()
		err = version.Complete(out)
	}
	return out, err
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

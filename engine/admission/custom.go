package admission

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// kindOf finds the kind of what is written into a state of the cluster: one that is
// served, or one whose definition comes with what is written.
func (c *Chain) kindOf(of schema.GroupKind, view object.Reader) (*kind.Kind, bool) {
	if k, ok := c.Kinds.Set().ForKind(of); ok {
		return k, true
	}
	if last := c.coming.Load(); last != nil && last.kind.GroupKind() == of && view.Get(last.key()) == object.Object(last.definition) {
		return last.kind, true
	}
	list, _ := object.Heads(view, scheme.Definition)
	for _, obj := range list {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok || crd.Spec.Group != of.Group || crd.Spec.Names.Kind != of.Kind {
			continue
		}
		if crd, ok = view.Get(object.Key{GroupKind: scheme.Definition, Name: crd.Name}).(*apiextensionsv1.CustomResourceDefinition); !ok {
			continue
		}
		if k, ok := c.Kinds.Set().With(crd).ForKind(of); ok {
			c.coming.Store(&coming{crd, k})
			return k, true
		}
	}
	return nil, false
}

// coming is the kind of a definition whose names are not accepted yet.
type coming struct {
	definition *apiextensionsv1.CustomResourceDefinition
	kind       *kind.Kind
}

func (c *coming) key() object.Key {
	return object.Key{GroupKind: scheme.Definition, Name: c.definition.Name}
}

// interfacesOf returns what plugins may know of a kind.
func (c *Chain) interfacesOf(k *kind.Kind) admission.ObjectInterfaces {
	if k == nil || k.Custom == nil {
		return objects
	}
	equivalents := runtime.NewEquivalentResourceRegistry()
	for _, version := range k.Custom.Served() {
		gv := schema.GroupVersion{Group: k.Group, Version: version}
		equivalents.RegisterKindFor(gv.WithResource(k.Plural), "", gv.WithKind(k.Kind))
	}
	return customInterfaces{interfaces{equivalents}, k, c.Converter}
}

// customInterfaces is what plugins may know of custom resources.
type customInterfaces struct {
	interfaces
	kind      *kind.Kind
	converter custom.Converter
}

// GetObjectCreater implements admission.ObjectInterfaces.
func (customInterfaces) GetObjectCreater() runtime.ObjectCreater { return customCreater{} }

// GetObjectTyper implements admission.ObjectInterfaces.
func (customInterfaces) GetObjectTyper() runtime.ObjectTyper { return customTyper{} }

// GetObjectDefaulter implements admission.ObjectInterfaces.
func (i customInterfaces) GetObjectDefaulter() runtime.ObjectDefaulter {
	return customDefaulter{i.kind.Custom}
}

// GetObjectConvertor implements admission.ObjectInterfaces.
func (i customInterfaces) GetObjectConvertor() runtime.ObjectConvertor {
	return customConvertor{convertor{scheme.Scheme}, i.kind.Custom, i.converter}
}

type customCreater struct{}

// New implements runtime.ObjectCreater.
func (customCreater) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

type customTyper struct{}

// ObjectKinds implements runtime.ObjectTyper.
func (customTyper) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	return []schema.GroupVersionKind{obj.GetObjectKind().GroupVersionKind()}, false, nil
}

// Recognizes implements runtime.ObjectTyper.
func (customTyper) Recognizes(schema.GroupVersionKind) bool { return true }

type customDefaulter struct{ of *custom.Definition }

// Default implements runtime.ObjectDefaulter.
func (d customDefaulter) Default(obj runtime.Object) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if version, ok := d.of.Version(u.GroupVersionKind().Version); ok {
		_ = version.Complete(u) // what is wrong is told when it is validated
	}
}

// customConvertor converts between the versions of custom resources.
type customConvertor struct {
	convertor
	of *custom.Definition
	by custom.Converter
}

// Convert implements runtime.ObjectConvertor.
func (c customConvertor) Convert(in, out, _ any) error {
	from, ok := in.(*unstructured.Unstructured)
	to, ok2 := out.(*unstructured.Unstructured)
	if !ok || !ok2 {
		return fmt.Errorf("converting (%T) to (%T): unknown conversion", in, out)
	}
	version := to.GroupVersionKind().GroupVersion()
	if version.Empty() {
		version = from.GroupVersionKind().GroupVersion()
	}
	converted, err := c.of.Convert(from, version, c.by)
	if err != nil {
		return err
	}
	to.Object = converted.Object
	return nil
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c customConvertor) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	gvk, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{u.GroupVersionKind()})
	if !ok {
		return nil, fmt.Errorf("%s is not a version of %s", to, u.GroupVersionKind())
	}
	return c.of.Convert(u, gvk.GroupVersion(), c.by)
}

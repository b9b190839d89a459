package admission

import (
	"context"
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
	k, crd := c.Kinds.Set().Declared(view, of)
	if k == nil {
		return nil, false
	}
	c.coming.Store(&coming{crd, k})
	return k, true
}

// coming is the kind of a definition whose names are not accepted yet.
type coming struct {
	definition *apiextensionsv1.CustomResourceDefinition
	kind       *kind.Kind
}

func (c *coming) key() object.Key {
	return object.Key{GroupKind: scheme.Definition, Name: c.definition.Name}
}

// interfacesOf returns what plugins may know of a kind, for as long as ctx lasts.
func (c *Chain) interfacesOf(ctx context.Context, k *kind.Kind) admission.ObjectInterfaces {
	if k == nil || k.Custom == nil {
		return objects
	}
	equivalents := runtime.NewEquivalentResourceRegistry()
	for _, version := range k.Custom.Served() {
		gv := schema.GroupVersion{Group: k.Group, Version: version}
		equivalents.RegisterKindFor(gv.WithResource(k.Plural), "", gv.WithKind(k.Kind))
	}
	return customInterfaces{interfaces{equivalents}, customConvertor{convertor{scheme.Scheme}, ctx, k.Custom, c.Converter}}
}

// customInterfaces is what plugins may know of custom resources.
type customInterfaces struct {
	interfaces
	convertor customConvertor
}

// GetObjectCreater implements admission.ObjectInterfaces.
func (customInterfaces) GetObjectCreater() runtime.ObjectCreater { return custom.Creater{} }

// GetObjectTyper implements admission.ObjectInterfaces.
func (customInterfaces) GetObjectTyper() runtime.ObjectTyper { return customTyper{} }

// GetObjectDefaulter implements admission.ObjectInterfaces.
func (i customInterfaces) GetObjectDefaulter() runtime.ObjectDefaulter {
	return customDefaulter{i.convertor.of}
}

// GetObjectConvertor implements admission.ObjectInterfaces.
func (i customInterfaces) GetObjectConvertor() runtime.ObjectConvertor {
	return i.convertor
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
	ctx context.Context //nolint:containedctx // of the one write that it is for
	of  *custom.Definition
	by  custom.Converter
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
	converted, err := c.of.Convert(c.ctx, from, version, c.by)
	if err != nil {
		return err
	}
	to.Object = converted.Object
	return nil
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c customConvertor) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	return c.of.ConvertTo(c.ctx, in, to, c.by)
}

package custom

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"weak"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/spec3"
)

// Definition is what a CustomResourceDefinition says of its objects.
type Definition struct {
	crd       *Packed
	versions  []*Version
	converter kept[managedfields.TypeConverter]
}

// New returns the Definition of crd, which must not change any more.
func New(crd *apiextensionsv1.CustomResourceDefinition) *Definition {
	d := &Definition{crd: Pack(crd)}
	for i := range d.crd.head.Spec.Versions {
		v := &Version{of: d.crd, spec: &d.crd.head.Spec.Versions[i]}
		v.compiled.build = v.compile
		v.breadth = sync.OnceValue(v.measure)
		d.versions = append(d.versions, v)
	}
	d.converter.build = d.newConverter
	return d
}

// Same reports whether crd says the same of its objects, so that nothing has to be
// built anew for it.
func (d *Definition) Same(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if !equality.Semantic.DeepEqual(d.crd.head.Spec, Head(crd).Spec) {
		return false
	}
	for i, v := range crd.Spec.Versions {
		if p, ok := packed.Load(weak.Make(v.Schema)); ok && p == d.crd.schemas[i] {
			continue
		}
		if !equality.Semantic.DeepEqual(d.crd.schemas[i].whole(), v.Schema) {
			return false
		}
	}
	return true
}

// As reports whether other says the same.
func (d *Definition) As(other *Definition) bool {
	return equality.Semantic.DeepEqual(d.crd.head.Spec, other.crd.head.Spec) &&
		slices.EqualFunc(d.crd.schemas, other.crd.schemas, func(a, b *packedSchema) bool {
			return a == b || equality.Semantic.DeepEqual(a.whole(), b.whole())
		})
}

// Name is that of the CustomResourceDefinition.
func (d *Definition) Name() string { return d.crd.head.Name }

// Version finds a version that is served, or stored, by its name.
func (d *Definition) Version(name string) (*Version, bool) {
	i := slices.IndexFunc(d.versions, func(v *Version) bool { return v.spec.Name == name && (v.spec.Served || v.spec.Storage) })
	if i < 0 {
		return nil, false
	}
	return d.versions[i], true
}

// Served returns the names of the versions that are served.
func (d *Definition) Served() []string {
	var names []string
	for _, v := range d.versions {
		if v.spec.Served {
			names = append(names, v.spec.Name)
		}
	}
	return names
}

// Serves reports whether objects may be written in a version.
func (d *Definition) Serves(version string) bool { return slices.Contains(d.Served(), version) }

// Converter knows the fields of all versions for server-side apply. It falls back
// to what can be deduced where the schema cannot be described.
func (d *Definition) Converter() (managedfields.TypeConverter, error) { return d.converter.get() }

func (d *Definition) newConverter() (managedfields.TypeConverter, error) {
	var docs []*spec3.OpenAPI
	crd := d.crd.definition()
	for _, v := range d.versions {
		doc, err := crdbuilder.BuildOpenAPIV3(crd, v.spec.Name, crdbuilder.Options{})
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", crd.Name, err)
		}
		docs = append(docs, doc)
	}
	merged, err := crdbuilder.MergeSpecsV3(docs...)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", crd.Name, err)
	}
	converter, err := managedfields.NewTypeConverter(merged.Components.Schemas, crd.Spec.PreserveUnknownFields)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", crd.Name, err)
	}
	return converter, nil
}

// Converter asks the webhooks of definitions whose versions differ in more than
// their names.
type Converter interface {
	// Convert returns an object of crd, whose schemas it must not look at, in a version.
	// Nobody waits for the answer any more once ctx ends.
	Convert(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error)
}

// ByWebhook reports whether a webhook converts between the versions.
func (d *Definition) ByWebhook() bool {
	c := d.crd.head.Spec.Conversion
	return c != nil && c.Strategy == apiextensionsv1.WebhookConverter
}

// Convert returns u in a version: itself, or a copy. by is asked where versions
// differ in more than their names.
func (d *Definition) Convert(ctx context.Context, u *unstructured.Unstructured, version schema.GroupVersion, by Converter) (*unstructured.Unstructured, error) {
	if u.GetAPIVersion() == version.String() {
		return u, nil
	}
	if d.ByWebhook() {
		if by == nil {
			return nil, fmt.Errorf("conversion webhook for %v failed: nobody asks it here", u.GroupVersionKind())
		}
		return by.Convert(ctx, d.crd.head, u, version)
	}
	out := u.DeepCopy()
	out.SetAPIVersion(version.String())
	return out, nil
}

// ConvertTo is Convert to one of some versions, as runtime.ObjectConvertor has it: what
// is no custom resource stays as it is.
func (d *Definition) ConvertTo(ctx context.Context, in runtime.Object, to runtime.GroupVersioner, by Converter) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	gvk, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{u.GroupVersionKind()})
	if !ok {
		return nil, fmt.Errorf("%s is not a version of %s", to, u.GroupVersionKind())
	}
	return d.Convert(ctx, u, gvk.GroupVersion(), by)
}

// Creater makes empty custom resources. It implements runtime.ObjectCreater.
type Creater struct{}

// New implements runtime.ObjectCreater.
func (Creater) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

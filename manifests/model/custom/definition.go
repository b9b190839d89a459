package custom

import (
	"fmt"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/spec3"
)

// Definition is what a CustomResourceDefinition says of its objects.
type Definition struct {
	crd      *apiextensionsv1.CustomResourceDefinition
	versions []*Version
	// converter is made when it is first asked for.
	converter func() (managedfields.TypeConverter, error)
}

// New returns the Definition of crd, which must not change any more.
func New(crd *apiextensionsv1.CustomResourceDefinition) *Definition {
	d := &Definition{crd: crd}
	for i := range crd.Spec.Versions {
		v := &Version{of: crd, spec: &crd.Spec.Versions[i]}
		v.compiled = sync.OnceValues(v.compile)
		v.breadth = sync.OnceValue(v.measure)
		d.versions = append(d.versions, v)
	}
	d.converter = sync.OnceValues(d.newConverter)
	return d
}

// Same reports whether crd says the same of its objects, so that nothing has to be
// built anew for it.
func (d *Definition) Same(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if d.crd == crd {
		return true
	}
	a, b := d.crd.Spec, crd.Spec
	if len(a.Versions) > 0 && len(a.Versions) == len(b.Versions) && &a.Versions[0] == &b.Versions[0] {
		a.Versions, b.Versions = nil, nil // they are shared, and large
	}
	return equality.Semantic.DeepEqual(a, b)
}

// As reports whether other says the same.
func (d *Definition) As(other *Definition) bool { return d.Same(other.crd) }

// Name is that of the CustomResourceDefinition.
func (d *Definition) Name() string { return d.crd.Name }

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
func (d *Definition) Converter() (managedfields.TypeConverter, error) { return d.converter() }

func (d *Definition) newConverter() (managedfields.TypeConverter, error) {
	var docs []*spec3.OpenAPI
	for _, v := range d.versions {
		doc, err := crdbuilder.BuildOpenAPIV3(d.crd, v.spec.Name, crdbuilder.Options{})
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", d.crd.Name, err)
		}
		docs = append(docs, doc)
	}
	merged, err := crdbuilder.MergeSpecsV3(docs...)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", d.crd.Name, err)
	}
	converter, err := managedfields.NewTypeConverter(merged.Components.Schemas, d.crd.Spec.PreserveUnknownFields)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", d.crd.Name, err)
	}
	return converter, nil
}

// Converter asks the webhooks of definitions whose versions differ in more than
// their names.
type Converter interface {
	// Convert returns an object of crd in a version.
	Convert(crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error)
}

// ByWebhook reports whether a webhook converts between the versions.
func (d *Definition) ByWebhook() bool {
	c := d.crd.Spec.Conversion
	return c != nil && c.Strategy == apiextensionsv1.WebhookConverter
}

// Convert returns u in a version: itself, or a copy. by is asked where versions
// differ in more than their names.
func (d *Definition) Convert(u *unstructured.Unstructured, version schema.GroupVersion, by Converter) (*unstructured.Unstructured, error) {
	if u.GetAPIVersion() == version.String() {
		return u, nil
	}
	if d.ByWebhook() {
		if by == nil {
			return nil, fmt.Errorf("conversion webhook for %v failed: nobody asks it here", u.GroupVersionKind())
		}
		return by.Convert(d.crd, u, version)
	}
	out := u.DeepCopy()
	out.SetAPIVersion(version.String())
	return out, nil
}

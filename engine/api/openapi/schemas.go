package openapi

import (
	"fmt"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"headway.dev/engine/api/openapi/names"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Schemas finds the schema of each kind, with what it refers to in the places of the
// references, as expressions are held against it. It keeps what it has decoded.
type Schemas struct {
	stored object.Reader
	own    func() (map[string]*spec.Schema, error)
}

var _ resolver.SchemaResolver = (*Schemas)(nil)

// NewSchemas returns the schemas of Headway's kinds, and of those that are defined in
// stored.
func NewSchemas(stored object.Reader) *Schemas {
	return &Schemas{stored, sync.OnceValues(func() (map[string]*spec.Schema, error) {
		all, err := definitions()
		if err != nil {
			return nil, err
		}
		return oneOf(all), nil
	})}
}

// ResolveSchema implements resolver.SchemaResolver.
func (s *Schemas) ResolveSchema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return s.custom(gvk)
	}
	all, err := s.own()
	if err != nil {
		return nil, err
	}
	return resolver.PopulateRefs(func(ref string) (*spec.Schema, bool) {
		found, ok := all[strings.TrimPrefix(ref, refPrefix)]
		return found, ok
	}, names.Canonical(util.GetCanonicalTypeName(obj)))
}

// custom is ResolveSchema for custom resources.
func (s *Schemas) custom(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	crd := s.definition(gvk.GroupKind())
	if crd == nil {
		return nil, fmt.Errorf("cannot resolve %v: %w", gvk, resolver.ErrSchemaNotFound)
	}
	doc, err := crdbuilder.BuildOpenAPIV3(crd, gvk.Version, crdbuilder.Options{})
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", crd.Name, err)
	}
	for name, described := range doc.Components.Schemas {
		var kinds []schema.GroupVersionKind
		if err := described.Extensions.GetObject(kindExtension, &kinds); err != nil || len(kinds) != 1 || kinds[0] != gvk {
			continue
		}
		return resolver.PopulateRefs(func(ref string) (*spec.Schema, bool) {
			found, ok := doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
			return found, ok
		}, name)
	}
	return nil, fmt.Errorf("cannot resolve %v: %w", gvk, resolver.ErrSchemaNotFound)
}

// definition returns the whole definition of a kind, nil if there is none.
func (s *Schemas) definition(gk schema.GroupKind) *apiextensionsv1.CustomResourceDefinition {
	list, _ := object.Heads(s.stored, scheme.Definition)
	for _, obj := range list {
		if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && crd.Spec.Group == gk.Group && crd.Spec.Names.Kind == gk.Kind {
			crd, _ = s.stored.Get(object.Key{GroupKind: scheme.Definition, Name: crd.Name}).(*apiextensionsv1.CustomResourceDefinition)
			return crd
		}
	}
	return nil
}

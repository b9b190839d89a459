package configured

import (
	"cmp"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// CheckTypes returns what is wrong about the expressions of a policy by the schemas of
// the kinds that it matches and of its parameters, in Kubernetes' words. stored has the
// definitions of custom resources.
func CheckTypes(policy *admissionregistrationv1.ValidatingAdmissionPolicy, stored object.Reader, schemas resolver.SchemaResolver) []admissionregistrationv1.ExpressionWarning {
	checker := validating.TypeChecker{SchemaResolver: schemas, RestMapper: mapper(stored)}
	return checker.Check(policy)
}

// mapper finds the kinds of resources: Headway's own, and those that are defined,
// whether they are served already or not.
func mapper(stored object.Reader) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	add := func(gvk schema.GroupVersionKind, plural, singular string) {
		resource := func(name string) schema.GroupVersionResource { return gvk.GroupVersion().WithResource(name) }
		m.AddSpecific(gvk, resource(plural), resource(cmp.Or(singular, strings.ToLower(gvk.Kind))), meta.RESTScopeRoot) // nobody asks for the scope
	}
	for _, k := range scheme.Kinds() {
		add(k.GroupVersionKind, k.Plural, k.Singular)
	}
	for _, v := range scheme.Views() {
		add(v.GroupVersionKind, v.Plural, v.Singular)
	}
	definitions, _ := object.Heads(stored, scheme.Definition)
	for _, obj := range definitions {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if names := crd.Spec.Names; v.Served {
				add(schema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: names.Kind}, names.Plural, names.Singular)
			}
		}
	}
	return m
}

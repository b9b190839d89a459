package validation_test

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// The rules are the library's, so these are few: that they are asked, and what
// Headway adds.
func definitionCases(t *testing.T) {
	t.Helper()
	type definition = *apiextensionsv1.CustomResourceDefinition
	const base = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`
	version := func(edit func(v *apiextensionsv1.CustomResourceDefinitionVersion)) func(definition) {
		return func(d definition) { edit(&d.Spec.Versions[0]) }
	}
	schema := func(edit func(s *apiextensionsv1.JSONSchemaProps)) func(definition) {
		return version(func(v *apiextensionsv1.CustomResourceDefinitionVersion) { edit(v.Schema.OpenAPIV3Schema) })
	}
	create(t, base, cases[definition]{
		"name":  {func(d definition) { d.Name = "widgets" }, []string{`metadata.name: Invalid value: "widgets": must be spec.names.plural+"."+spec.group`}},
		"scope": {func(d definition) { d.Spec.Scope = "World" }, []string{`spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"`}},
		"no storage": {version(func(v *apiextensionsv1.CustomResourceDefinitionVersion) { v.Storage = false }), []string{
			// The names are those of Kubernetes' internal type.
			`spec.versions: Invalid value: [{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]: must have exactly one version marked as storage version`,
		}},
		"no schema": {version(func(v *apiextensionsv1.CustomResourceDefinitionVersion) { v.Schema = nil }), []string{"spec.versions[0].schema.openAPIV3Schema: Required value"}},
		"no type": {schema(func(s *apiextensionsv1.JSONSchemaProps) { s.Properties["spec"] = apiextensionsv1.JSONSchemaProps{} }), []string{
			"spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
		}},
		"rule": {schema(func(s *apiextensionsv1.JSONSchemaProps) {
			s.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.spec.size", Message: "x"}}
		}), []string{`spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.spec.size","Message":"x","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: cel expression must evaluate to a bool`}},
	})
	update(t, base, cases[definition]{
		"a field": {schema(func(s *apiextensionsv1.JSONSchemaProps) {
			s.Properties["color"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
		}), nil},
		"group": {func(d definition) { d.Spec.Group = "example.org" }, []string{
			`spec.group: Invalid value: "example.org": field is immutable`,
		}},
	})
	updateStatus(t, base, cases[definition]{
		"accepted": {func(d definition) { d.Status.AcceptedNames.Kind = "Widget" }, nil},
		"names": {func(d definition) {
			d.Status.AcceptedNames = apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "A b", ListKind: "WidgetList"}
		}, []string{`status.acceptedNames.kind: Invalid value: "A b": may have mixed case, but should otherwise match: ` + labelMessage}},
	})
}

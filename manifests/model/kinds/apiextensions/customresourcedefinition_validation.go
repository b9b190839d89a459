package apiextensions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	schemas "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/rule"
)

// The rules are Kubernetes' own, which are written for its internal version.

func validate(crd *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, err := internal(crd)
	if err != nil {
		return field.ErrorList{field.InternalError(rule.Spec, err)}
	}
	if errs := custom.Overflow(in); len(errs) > 0 {
		return errs
	}
	return ours(validation.ValidateCustomResourceDefinition(context.Background(), in))
}

func validateUpdate(crd, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	return compared(crd, old, validation.ValidateCustomResourceDefinitionUpdate)
}

func validateStatusUpdate(crd, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	// Without their schemas, which stay as they are and take long.
	return compared(custom.Head(crd), custom.Head(old), func(_ context.Context, crd, old *apiextensions.CustomResourceDefinition) field.ErrorList {
		return validation.ValidateUpdateCustomResourceDefinitionStatus(context.Background(), crd, old)
	})
}

func compared(crd, old *apiextensionsv1.CustomResourceDefinition, validate func(_ context.Context, crd, old *apiextensions.CustomResourceDefinition) field.ErrorList) field.ErrorList {
	next, err := internal(crd)
	if err != nil {
		return field.ErrorList{field.InternalError(rule.Spec, err)}
	}
	before, err := internal(old)
	if err != nil {
		return field.ErrorList{field.InternalError(rule.Spec, err)}
	}
	// What was stored before is there: what is too much of it stays as it is.
	if errs := custom.Overflow(next); len(errs) > 0 && len(custom.Overflow(before)) == 0 {
		return errs
	}
	return ours(validate(context.Background(), next, before))
}

// internal is crd in the version that the rules are written for.
func internal(crd *apiextensionsv1.CustomResourceDefinition) (*apiextensions.CustomResourceDefinition, error) {
	out := &apiextensions.CustomResourceDefinition{}
	err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, out, nil)
	return out, err
}

// ours leaves out what is checked for every kind: the metadata but for the name,
// and the approval of groups of Kubernetes' own.
func ours(errs field.ErrorList) field.ErrorList {
	var kept field.ErrorList
	for _, err := range errs {
		if err.Field == "metadata.name" || err.Field == rule.Metadata.Child("annotations").Key(apiextensionsv1.KubeAPIApprovedAnnotation).String() || !strings.HasPrefix(err.Field, "metadata") {
			kept = append(kept, err)
		}
	}
	return kept
}

// warnings tells what of schemas has no effect; of a change only what is new.
func warnings(crd, old *apiextensionsv1.CustomResourceDefinition) []string {
	if old == nil {
		return withoutEffect(crd)
	}
	if crd.Generation == old.Generation {
		return nil
	}
	known := map[string]bool{}
	for _, told := range withoutEffect(old) {
		known[told] = true
	}
	return slices.DeleteFunc(withoutEffect(crd), func(told string) bool { return known[told] })
}

// withoutEffect are formats that nobody checks, and sets of what cannot be compared.
func withoutEffect(crd *apiextensionsv1.CustomResourceDefinition) []string {
	in, err := internal(crd)
	if err != nil {
		return nil
	}
	var formats, sets []string
	look := func(s *apiextensions.JSONSchemaProps) bool {
		props := spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}
		for _, format := range schemas.GetUnrecognizedFormats(&props, environment.DefaultCompatibilityVersion()) {
			formats = append(formats, fmt.Sprintf("unrecognized format %q", format))
		}
		if s.XListType != nil && *s.XListType == "set" && s.Items != nil && s.Items.Schema != nil && (s.Items.Schema.Type == "object" || s.Items.Schema.Type == "array") {
			sets = append(sets, fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", s.Items.Schema.Type))
		}
		return false
	}
	if v := in.Spec.Validation; v != nil && v.OpenAPIV3Schema != nil {
		validation.SchemaHas(v.OpenAPIV3Schema, look)
	}
	for _, v := range in.Spec.Versions {
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			validation.SchemaHas(v.Schema.OpenAPIV3Schema, look)
		}
	}
	slices.Sort(sets)
	seen := map[string]bool{}
	return slices.DeleteFunc(append(formats, sets...), func(text string) bool {
		again := seen[text]
		seen[text] = true
		return again
	})
}

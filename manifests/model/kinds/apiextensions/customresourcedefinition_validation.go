package apiextensions

import (
	"context"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

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

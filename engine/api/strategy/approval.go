package strategy

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/rule"
)

// Approval is the strategy of the approval subresource of signing requests,
// which writes the conditions and nothing else.
type Approval struct{ Main }

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy.
func (s Approval) AllowCreateOnUpdate(context.Context) bool { return false }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s Approval) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	lifecycle.PrepareApproval(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest), s.now())
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s Approval) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	next, current := obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)
	return append(apivalidation.ValidateObjectMetaAccessorUpdate(next, current, rule.Metadata), certificates.ValidateApproval(next, current)...)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s Approval) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "certificate"))
}

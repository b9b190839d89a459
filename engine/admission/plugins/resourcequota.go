package plugins

import (
	"context"

	"k8s.io/apiserver/pkg/admission"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/quota"
	"headway.dev/manifests/model/object"
)

// resourceQuota is ResourceQuota: what is created must not use more than the quotas
// of its namespace have left. The store checks it again for whatever is written, at
// the point of commit; here dry runs are checked, too.
type resourceQuota struct {
	stored object.Reader
	quotas quota.Quotas
}

// Handles implements admission.Interface.
func (resourceQuota) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface.
func (p resourceQuota) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	return p.quotas.Check(chain.View(ctx, p.stored), attrs.GetKind().GroupKind(), attrs)
}

package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

var signingRequest = kind.Define[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList](kind.Definition[*certificatesv1.CertificateSigningRequest]{
	Names: kind.Names{
		GroupVersionKind: certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
		Plural:           "certificatesigningrequests", Singular: "certificatesigningrequest", ShortNames: []string{"csr"},
	},
	Order:        kind.Anywhere,
	Status:       true,
	Subresources: []string{"approval"},
	Lifecycle: kind.Lifecycle[*certificatesv1.CertificateSigningRequest]{
		// Nobody creates a request that is approved already.
		Create: func(r *certificatesv1.CertificateSigningRequest) {
			r.Status = certificatesv1.CertificateSigningRequestStatus{}
		},
		Update: func(r, old *certificatesv1.CertificateSigningRequest) {
			r.Spec, r.Status = old.Spec, old.Status
		},
		UpdateStatus: updateStatus,
	},
	Rules: kind.Rules[*certificatesv1.CertificateSigningRequest]{
		Name:   func(string, bool) []string { return nil }, // as in Kubernetes, any
		Object: validateRequest,
		Update: validateUpdate,
		Status: validateStatus,
	},
	Table: kind.Table[*certificatesv1.CertificateSigningRequest]{
		Columns: column.Define("Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"),
		Row:     requestRow,
	},
	Fields: kind.Fields[*certificatesv1.CertificateSigningRequest]{
		Names: []string{"spec.signerName"},
		Read: func(r *certificatesv1.CertificateSigningRequest, into fields.Set) {
			into["spec.signerName"] = r.Spec.SignerName
		},
	},
	Health: kind.Health[*certificatesv1.CertificateSigningRequest]{
		// Whether somebody approves of it says nothing of what declares it.
		Of: func(*certificatesv1.CertificateSigningRequest, object.Reader) health.Result {
			return health.Result{Status: health.Current, Message: "Resource is current"}
		},
	},
})

func requestRow(r *certificatesv1.CertificateSigningRequest, now time.Time) []any {
	signer, wanted := r.Spec.SignerName, column.None
	if signer == "" {
		signer = column.None
	}
	if s := r.Spec.ExpirationSeconds; s != nil {
		wanted = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{r.Name, column.Age(r, now), signer, r.Spec.Username, wanted, condition(r)}
}

// condition is the state of a request, in the words of kubectl.
func condition(r *certificatesv1.CertificateSigningRequest) string {
	state := "Pending"
	switch {
	case Has(r, certificatesv1.CertificateDenied):
		state = "Denied"
	case Has(r, certificatesv1.CertificateApproved):
		state = "Approved"
	}
	if Has(r, certificatesv1.CertificateFailed) {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}

// Has reports whether a request has a condition of a type.
func Has(r *certificatesv1.CertificateSigningRequest, typ certificatesv1.RequestConditionType) bool {
	return len(conditionsOf(r, typ)) > 0
}

// conditionsOf are the indexes of the conditions of a type.
func conditionsOf(r *certificatesv1.CertificateSigningRequest, typ certificatesv1.RequestConditionType) []int {
	var found []int
	for i, c := range r.Status.Conditions {
		if c.Type == typ {
			found = append(found, i)
		}
	}
	return found
}

// updateStatus is a write through the status subresource, which is for signers:
// who approves writes through another.
func updateStatus(r, old *certificatesv1.CertificateSigningRequest) {
	r.Spec = old.Spec
	for _, typ := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		now, before := conditionsOf(r, typ), conditionsOf(old, typ)
		if len(now) != len(before) {
			continue // which validation refuses
		}
		for i := range now {
			r.Status.Conditions[now[i]] = old.Status.Conditions[before[i]]
		}
	}
	stamp(r, old, time.Now())
}

// Approve makes r a legal successor of old for a write through the approval
// subresource, which writes the conditions and nothing else.
func Approve(r, old *certificatesv1.CertificateSigningRequest, now time.Time) {
	conditions := r.Status.Conditions
	r.Spec, r.Status = old.Spec, old.Status
	r.Status.Conditions = conditions
	stamp(r, old, now)
}

// stamp sets the times that conditions lack.
func stamp(r, old *certificatesv1.CertificateSigningRequest, at time.Time) {
	now := metav1.NewTime(at.UTC().Truncate(time.Second))
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, before := range old.Status.Conditions {
			if before.Type == c.Type && before.Status == c.Status && !before.LastTransitionTime.IsZero() {
				c.LastTransitionTime = before.LastTransitionTime
				break
			}
		}
	}
}

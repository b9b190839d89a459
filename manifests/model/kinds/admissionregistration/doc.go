// Package admissionregistration holds the kinds of admissionregistration.k8s.io/v1, each in a file of its name.
package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of admissionregistration.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: admissionregistrationv1.AddToScheme,
	Kinds: []*kind.Kind{
		mutatingAdmissionPolicy, mutatingAdmissionPolicyBinding, mutatingWebhookConfiguration,
		validatingAdmissionPolicy, validatingAdmissionPolicyBinding, validatingWebhookConfiguration,
	},
}

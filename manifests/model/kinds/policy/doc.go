// Package policy holds the kinds of policy/v1, each in a file of its name.
package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of policy/v1. An eviction may also come in the older form,
// which has the same fields.
var Group = kind.Group{
	AddToScheme: func(s *runtime.Scheme) error {
		if err := policyv1.AddToScheme(s); err != nil {
			return err
		}
		return addOldEviction(s)
	},
	Kinds: []*kind.Kind{podDisruptionBudget},
}

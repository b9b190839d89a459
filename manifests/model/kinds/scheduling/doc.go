// Package scheduling holds the kinds of scheduling.k8s.io/v1, each in a file of its name.
package scheduling

import (
	schedulingv1 "k8s.io/api/scheduling/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of scheduling.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: schedulingv1.AddToScheme,
	Kinds:       []*kind.Kind{priorityClass},
}

// Package coordination holds the kinds of coordination.k8s.io/v1, each in a file of its name.
package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of coordination.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: coordinationv1.AddToScheme,
	Kinds:       []*kind.Kind{lease},
}

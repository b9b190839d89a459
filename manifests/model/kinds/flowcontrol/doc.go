// Package flowcontrol holds the kinds of flowcontrol.apiserver.k8s.io/v1, each in a file of its name.
package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of flowcontrol.apiserver.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: flowcontrolv1.AddToScheme,
	Kinds:       []*kind.Kind{flowSchema, priorityLevelConfiguration},
}

// Package node holds the kinds of node.k8s.io/v1, each in a file of its name.
package node

import (
	nodev1 "k8s.io/api/node/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of node.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: nodev1.AddToScheme,
	Kinds:       []*kind.Kind{runtimeClass},
}

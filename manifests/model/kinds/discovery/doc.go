// Package discovery holds the kinds of discovery.k8s.io/v1, each in a file of its name.
package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of discovery.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: discoveryv1.AddToScheme,
	Kinds:       []*kind.Kind{endpointSlice},
}

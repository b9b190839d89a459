// Package networking holds the kinds of networking.k8s.io/v1, each in a file of its
// name, and the words by which the server and the agents speak of them.
package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of networking.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: networkingv1.AddToScheme,
	Kinds: []*kind.Kind{
		ingress,
		ingressClass,
		networkPolicy,
	},
}

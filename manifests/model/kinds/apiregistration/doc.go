// Package apiregistration holds the kind of apiregistration.k8s.io/v1.
package apiregistration

import (
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kind of apiregistration.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: apiregistrationv1.AddToScheme,
	Kinds:       []*kind.Kind{apiService},
}

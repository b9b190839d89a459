// Package apiextensions contains the kinds of the API group
// apiextensions.k8s.io, and makes the kinds that they define.
package apiextensions

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the API group.
var Group = kind.Group{
	AddToScheme: apiextensionsv1.AddToScheme,
	Kinds:       []*kind.Kind{customResourceDefinition},
}

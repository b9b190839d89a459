// Package kustomize holds the kinds of kustomize.toolkit.fluxcd.io/v1, each in a file of its name.
package kustomize

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of kustomize.toolkit.fluxcd.io/v1.
var Group = kind.Group{
	AddToScheme: kustomizev1.AddToScheme,
	Kinds:       []*kind.Kind{kustomization},
}

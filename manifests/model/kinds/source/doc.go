// Package source holds the kinds of source.toolkit.fluxcd.io/v1, each in a file of its name.
package source

import (
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of source.toolkit.fluxcd.io/v1.
var Group = kind.Group{
	AddToScheme: sourcev1.AddToScheme,
	Kinds:       []*kind.Kind{gitRepository},
}

// Package storagemigration holds the kinds of storagemigration.k8s.io/v1, each in a file of its name.
package storagemigration

import (
	storagemigrationv1 "k8s.io/api/storagemigration/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of storagemigration.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: storagemigrationv1.AddToScheme,
	Kinds:       []*kind.Kind{storageVersionMigration},
}

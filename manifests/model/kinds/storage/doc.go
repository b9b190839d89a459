// Package storage holds the kinds of storage.k8s.io/v1, each in a file of its name,
// and the words by which the server and the agents speak of volumes on nodes' disks.
package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of storage.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: storagev1.AddToScheme,
	Kinds:       []*kind.Kind{storageClass, volumeAttachment},
}

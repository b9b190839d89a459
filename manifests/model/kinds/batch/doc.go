// Package batch holds the kinds of batch/v1, each in files of its name.
package batch

import (
	batchv1 "k8s.io/api/batch/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of batch/v1.
var Group = kind.Group{
	AddToScheme: batchv1.AddToScheme,
	Kinds:       []*kind.Kind{cronJob, job},
}

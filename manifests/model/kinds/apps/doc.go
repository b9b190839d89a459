// Package apps holds the kinds of apps/v1, each in a file of its name.
package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of apps/v1.
var Group = kind.Group{
	AddToScheme: appsv1.AddToScheme,
	Kinds:       []*kind.Kind{controllerRevision, daemonSet, deployment, replicaSet, statefulSet},
}

// Package core holds the kinds of v1, each in a file of its name.
package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of v1.
var Group = kind.Group{
	AddToScheme: corev1.AddToScheme,
	Kinds:       []*kind.Kind{namespace, node, pod, configMap, secret, service, endpoints, Event, serviceAccount, persistentVolume, persistentVolumeClaim, podTemplate, replicationController, limitRange, resourceQuota},
}

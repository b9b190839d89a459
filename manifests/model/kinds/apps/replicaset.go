package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"headway.dev/manifests/model/kind"
)

var replicaSet = kind.Define[appsv1.ReplicaSet, appsv1.ReplicaSetList](kind.Definition[*appsv1.ReplicaSet]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Plural:           "replicasets", Singular: "replicaset",
		ShortNames: []string{"rs"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status: true,
	Scale:  true,
})

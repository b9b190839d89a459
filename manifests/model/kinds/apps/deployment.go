package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"headway.dev/manifests/model/kind"
)

var deployment = kind.Define[appsv1.Deployment, appsv1.DeploymentList](kind.Definition[*appsv1.Deployment]{
	Names: kind.Names{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Plural:           "deployments", Singular: "deployment",
		ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true,
	},
	Status: true,
	Scale:  true,
})

// Package defaults fills in the fields that a manifest leaves out, with the
// values that the Kubernetes and Flux API references give for them. For pods
// that includes what the admission plugins ServiceAccount, Priority and
// DefaultTolerationSeconds of the Kubernetes API server add.
//
// Each kind's rules are a function in the file of its group; table lists them.
// Pods and pod templates share podSpec. All of it is pure and safe for
// concurrent use on different objects.
package defaults

import (
	"reflect"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"headway.dev/manifests/model/object"
)

// Apply sets every unset field of obj that has a default. It changes obj in
// place and is idempotent. Kinds without defaults (a Kustomization's are all
// zero values) are left as they are.
func Apply(obj object.Object) {
	if apply := table[reflect.TypeOf(obj)]; apply != nil {
		apply(obj)
	}
}

var table = map[reflect.Type]func(object.Object){
	reflect.TypeFor[*corev1.Namespace]():          as(namespace),
	reflect.TypeFor[*corev1.Node]():               as(node),
	reflect.TypeFor[*corev1.Pod]():                as(pod),
	reflect.TypeFor[*corev1.Secret]():             as(secret),
	reflect.TypeFor[*corev1.Service]():            as(service),
	reflect.TypeFor[*corev1.Endpoints]():          as(endpoints),
	reflect.TypeFor[*appsv1.Deployment]():         as(deployment),
	reflect.TypeFor[*appsv1.ReplicaSet]():         as(replicaSet),
	reflect.TypeFor[*discoveryv1.EndpointSlice](): as(endpointSlice),
	reflect.TypeFor[*rbacv1.RoleBinding]():        as(roleBinding),
	reflect.TypeFor[*rbacv1.ClusterRoleBinding](): as(clusterRoleBinding),
	reflect.TypeFor[*sourcev1.GitRepository]():    as(gitRepository),
}

func as[T object.Object](f func(T)) func(object.Object) {
	return func(obj object.Object) { f(obj.(T)) }
}

// zero sets *field to value if it is the zero value.
func zero[T comparable](field *T, value T) {
	var none T
	if *field == none {
		*field = value
	}
}

// unset sets *field to a pointer to value if it is nil.
func unset[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

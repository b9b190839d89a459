// Package scheme lists the kinds that Headway serves and knows how to encode
// and decode them. To add a kind, add its entry to Kinds, then follow the
// checklist in CONTRIBUTING.md.
package scheme

import (
	"fmt"
	"reflect"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/manifests/model/object"
)

// Kind describes one served kind.
type Kind struct {
	schema.GroupVersionKind
	// Plural and Singular are the resource's names in paths and on the
	// command line; ShortNames and Categories are kubectl's.
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
	// Status and Scale say which subresources there are.
	Status, Scale bool
	// New and NewList return empty values.
	New     func() object.Object
	NewList func() runtime.Object
}

// Resource is the kind's group, version and plural name.
func (k Kind) Resource() schema.GroupVersionResource {
	return k.GroupVersion().WithResource(k.Plural)
}

func kind[T any, L any, PT interface {
	*T
	object.Object
}, PL interface {
	*L
	runtime.Object
}](gv schema.GroupVersion, name, plural, singular string, k Kind) Kind {
	k.GroupVersionKind = gv.WithKind(name)
	k.Plural, k.Singular = plural, singular
	k.New = func() object.Object { return PT(new(T)) }
	k.NewList = func() runtime.Object { return PL(new(L)) }
	return k
}

var (
	all = []string{"all"}

	kinds = []Kind{
		kind[corev1.Namespace, corev1.NamespaceList](corev1.SchemeGroupVersion, "Namespace", "namespaces", "namespace", Kind{ShortNames: []string{"ns"}, Status: true}),
		kind[corev1.Node, corev1.NodeList](corev1.SchemeGroupVersion, "Node", "nodes", "node", Kind{ShortNames: []string{"no"}, Status: true}),
		kind[corev1.Pod, corev1.PodList](corev1.SchemeGroupVersion, "Pod", "pods", "pod", Kind{ShortNames: []string{"po"}, Categories: all, Namespaced: true, Status: true}),
		kind[corev1.ConfigMap, corev1.ConfigMapList](corev1.SchemeGroupVersion, "ConfigMap", "configmaps", "configmap", Kind{ShortNames: []string{"cm"}, Namespaced: true}),
		kind[corev1.Secret, corev1.SecretList](corev1.SchemeGroupVersion, "Secret", "secrets", "secret", Kind{Namespaced: true}),
		kind[corev1.Service, corev1.ServiceList](corev1.SchemeGroupVersion, "Service", "services", "service", Kind{ShortNames: []string{"svc"}, Categories: all, Namespaced: true, Status: true}),
		kind[corev1.Endpoints, corev1.EndpointsList](corev1.SchemeGroupVersion, "Endpoints", "endpoints", "endpoints", Kind{ShortNames: []string{"ep"}, Namespaced: true}),
		kind[corev1.Event, corev1.EventList](corev1.SchemeGroupVersion, "Event", "events", "event", Kind{ShortNames: []string{"ev"}, Namespaced: true}),
		kind[corev1.ServiceAccount, corev1.ServiceAccountList](corev1.SchemeGroupVersion, "ServiceAccount", "serviceaccounts", "serviceaccount", Kind{ShortNames: []string{"sa"}, Namespaced: true}),
		kind[appsv1.Deployment, appsv1.DeploymentList](appsv1.SchemeGroupVersion, "Deployment", "deployments", "deployment", Kind{ShortNames: []string{"deploy"}, Categories: all, Namespaced: true, Status: true, Scale: true}),
		kind[appsv1.ReplicaSet, appsv1.ReplicaSetList](appsv1.SchemeGroupVersion, "ReplicaSet", "replicasets", "replicaset", Kind{ShortNames: []string{"rs"}, Categories: all, Namespaced: true, Status: true, Scale: true}),
		kind[coordinationv1.Lease, coordinationv1.LeaseList](coordinationv1.SchemeGroupVersion, "Lease", "leases", "lease", Kind{Namespaced: true}),
		kind[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices", "endpointslice", Kind{Namespaced: true}),
		kind[rbacv1.Role, rbacv1.RoleList](rbacv1.SchemeGroupVersion, "Role", "roles", "role", Kind{Namespaced: true}),
		kind[rbacv1.RoleBinding, rbacv1.RoleBindingList](rbacv1.SchemeGroupVersion, "RoleBinding", "rolebindings", "rolebinding", Kind{Namespaced: true}),
		kind[rbacv1.ClusterRole, rbacv1.ClusterRoleList](rbacv1.SchemeGroupVersion, "ClusterRole", "clusterroles", "clusterrole", Kind{}),
		kind[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](rbacv1.SchemeGroupVersion, "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", Kind{}),
		kind[sourcev1.GitRepository, sourcev1.GitRepositoryList](sourcev1.GroupVersion, "GitRepository", "gitrepositories", "gitrepository", Kind{ShortNames: []string{"gitrepo"}, Namespaced: true, Status: true}),
		kind[kustomizev1.Kustomization, kustomizev1.KustomizationList](kustomizev1.GroupVersion, "Kustomization", "kustomizations", "kustomization", Kind{ShortNames: []string{"ks"}, Namespaced: true, Status: true}),
	}

	byKind = func() map[schema.GroupKind]Kind {
		m := make(map[schema.GroupKind]Kind, len(kinds))
		for _, k := range kinds {
			m[k.GroupKind()] = k
		}
		return m
	}()

	// Scheme knows every served kind, the kinds of their subresources, and the
	// meta types. The published v1 types are also the hub ("__internal") types:
	// there is no second set of types and no conversion.
	Scheme = newScheme()
	// Codecs encodes and decodes the kinds of Scheme. Lists are written item by
	// item, so that never a whole one is held encoded.
	Codecs = serializer.NewCodecFactory(Scheme, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	// ParameterCodec decodes the query parameters of the API.
	ParameterCodec = runtime.NewParameterCodec(Scheme)
)

// Kinds returns the served kinds, in discovery order. The caller must not
// change them.
func Kinds() []Kind { return kinds }

// ForKind finds a served kind.
func ForKind(gk schema.GroupKind) (Kind, bool) {
	k, ok := byKind[gk]
	return k, ok
}

// KeyOf names an object by its Go type, so that it also works for objects
// without TypeMeta. It fails for kinds that are not served.
func KeyOf(obj object.Object) (object.Key, error) {
	gvks, _, err := Scheme.ObjectKinds(obj)
	if err != nil {
		return object.Key{}, fmt.Errorf("name object %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	return object.Key{GroupKind: gvks[0].GroupKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}, nil
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, coordinationv1.AddToScheme, discoveryv1.AddToScheme,
		eventsv1.AddToScheme, autoscalingv1.AddToScheme, policyv1.AddToScheme,
		rbacv1.AddToScheme,
		authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		sourcev1.AddToScheme, kustomizev1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	for gvk, typ := range s.AllKnownTypes() {
		if gvk.Version != runtime.APIVersionInternal && gvk.Group != "" || gvk.Version == "v1" {
			internal := schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
			if !s.Recognizes(internal.WithKind(gvk.Kind)) {
				s.AddKnownTypeWithName(internal.WithKind(gvk.Kind), reflect.New(typ).Interface().(runtime.Object))
			}
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
}

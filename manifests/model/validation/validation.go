// Package validation says what is wrong with an object, in the words and with
// the field paths of the Kubernetes API.
//
// Create, Update and UpdateStatus find the rules of the object's kind in
// table; each kind's rules are in the file of its group. Pods and pod templates
// share podSpec, which calls on container.go, env.go, probe.go, resources.go,
// security.go, volume.go and scheduling.go. Every rule appends to a field.ErrorList and goes on,
// so that a user sees all mistakes at once. All of it is pure and safe for
// concurrent use.
//
// Fields that only a part Headway does not have would read (volume types of
// outside storage) are refused by [headway.dev/manifests/model/support], and their
// contents are not looked at.
package validation

import (
	"reflect"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
)

// Create validates a new object whose defaults are set.
func Create(obj object.Object) field.ErrorList {
	r := table[reflect.TypeOf(obj)]
	var errs field.ErrorList
	if r.name != nil {
		errs = apivalidation.ValidateObjectMetaAccessor(obj, namespaced(obj), r.name, metadata)
	}
	if r.object != nil {
		errs = append(errs, r.object(obj)...)
	}
	if r.create != nil {
		errs = append(errs, r.create(obj)...)
	}
	return withRefusals(errs, support.Refusals(obj, nil))
}

// Update validates a change of everything but the status. An obj without a
// resourceVersion is taken to be based on old.
func Update(obj, old object.Object) field.ErrorList {
	r := table[reflect.TypeOf(obj)]
	errs := metaUpdate(obj, old, r)
	if r.replaces != nil {
		return append(errs, r.replaces(obj, old)...)
	}
	if r.object != nil {
		errs = append(errs, r.object(obj)...)
	}
	if r.update != nil {
		errs = append(errs, r.update(obj, old)...)
	}
	return withRefusals(errs, support.Refusals(obj, old))
}

// UpdateStatus validates a change of the status.
func UpdateStatus(obj, old object.Object) field.ErrorList {
	r := table[reflect.TypeOf(obj)]
	errs := metaUpdate(obj, old, r)
	if r.status != nil {
		errs = append(errs, r.status(obj, old)...)
	}
	return errs
}

// withRefusals adds the fields that are refused whatever their value, but for
// those with a fault: one error is enough for a field.
func withRefusals(errs, refusals field.ErrorList) field.ErrorList {
	faults := errs
	for _, r := range refusals {
		if !slices.ContainsFunc(faults, func(err *field.Error) bool { return strings.HasPrefix(err.Field, r.Field) }) {
			errs = append(errs, r)
		}
	}
	return errs
}

var (
	metadata = field.NewPath("metadata")
	spec     = field.NewPath("spec")
	status   = field.NewPath("status")
)

func metaUpdate(obj, old object.Object, r rules) field.ErrorList {
	if r.name == nil {
		return nil
	}
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metadata)
	if obj.GetResourceVersion() == "" {
		// Which version an update is based on is the store's matter.
		version := metadata.Child("resourceVersion").String()
		kept := errs[:0]
		for _, err := range errs {
			if err.Field != version {
				kept = append(kept, err)
			}
		}
		errs = kept
	}
	return errs
}

func namespaced(obj object.Object) bool {
	key, err := scheme.KeyOf(obj)
	if err != nil {
		return obj.GetNamespace() != ""
	}
	kind, ok := scheme.ForKind(key.GroupKind)
	return ok && kind.Namespaced
}

// rules are what one kind has of its own. A nil function means no rule.
type rules struct {
	// name is the rule for metadata.name; nil skips all of metadata.
	name apivalidation.ValidateNameFunc
	// object holds on create and on update.
	object func(obj object.Object) field.ErrorList
	// create holds on create, after object.
	create func(obj object.Object) field.ErrorList
	// update holds on update, after object.
	update func(obj, old object.Object) field.ErrorList
	// replaces holds on update instead of object and update.
	replaces func(obj, old object.Object) field.ErrorList
	status   func(obj, old object.Object) field.ErrorList
}

var table = map[reflect.Type]rules{
	reflect.TypeFor[*corev1.Namespace]():          {name: apivalidation.ValidateNamespaceName, object: one(namespace), status: two(namespaceStatus)},
	reflect.TypeFor[*corev1.Node]():               {name: apivalidation.NameIsDNSSubdomain, object: one(node), update: two(nodeUpdate), status: two(nodeStatus)},
	reflect.TypeFor[*corev1.Pod]():                {name: apivalidation.NameIsDNSSubdomain, object: one(pod), create: one(podCreate), replaces: two(podUpdate), status: two(podStatus)},
	reflect.TypeFor[*corev1.ConfigMap]():          {name: apivalidation.NameIsDNSSubdomain, object: one(configMap), update: two(configMapUpdate)},
	reflect.TypeFor[*corev1.Secret]():             {name: apivalidation.NameIsDNSSubdomain, object: one(secret), update: two(secretUpdate)},
	reflect.TypeFor[*corev1.Service]():            {name: apivalidation.NameIsDNSLabel, object: one(service), update: two(serviceUpdate)},
	reflect.TypeFor[*corev1.Endpoints]():          {name: apivalidation.NameIsDNSSubdomain, object: one(endpoints)},
	reflect.TypeFor[*corev1.Event]():              {object: one(event)},
	reflect.TypeFor[*corev1.ServiceAccount]():     {name: apivalidation.ValidateServiceAccountName},
	reflect.TypeFor[*appsv1.Deployment]():         {name: apivalidation.NameIsDNSSubdomain, object: one(deployment), update: two(deploymentUpdate), status: two(deploymentStatus)},
	reflect.TypeFor[*appsv1.ReplicaSet]():         {name: apivalidation.NameIsDNSSubdomain, object: one(replicaSet), update: two(replicaSetUpdate), status: two(replicaSetStatus)},
	reflect.TypeFor[*coordinationv1.Lease]():      {name: apivalidation.NameIsDNSSubdomain, object: one(lease)},
	reflect.TypeFor[*discoveryv1.EndpointSlice](): {name: apivalidation.NameIsDNSSubdomain, object: one(endpointSlice), update: two(endpointSliceUpdate)},
	reflect.TypeFor[*rbacv1.Role]():               {name: pathSegmentName, object: one(role)},
	reflect.TypeFor[*rbacv1.RoleBinding]():        {name: pathSegmentName, object: one(roleBinding), update: two(roleBindingUpdate)},
	reflect.TypeFor[*rbacv1.ClusterRole]():        {name: pathSegmentName, object: one(clusterRole)},
	reflect.TypeFor[*rbacv1.ClusterRoleBinding](): {name: pathSegmentName, object: one(clusterRoleBinding), update: two(clusterRoleBindingUpdate)},
	reflect.TypeFor[*sourcev1.GitRepository]():    {name: apivalidation.NameIsDNSSubdomain, object: one(gitRepository), replaces: two(gitRepositoryUpdate)},
	reflect.TypeFor[*kustomizev1.Kustomization](): {name: apivalidation.NameIsDNSSubdomain, object: one(kustomization)},
}

func one[T object.Object](f func(obj T) field.ErrorList) func(object.Object) field.ErrorList {
	return func(obj object.Object) field.ErrorList { return f(obj.(T)) }
}

func two[T object.Object](f func(obj, old T) field.ErrorList) func(obj, old object.Object) field.ErrorList {
	return func(obj, old object.Object) field.ErrorList { return f(obj.(T), old.(T)) }
}

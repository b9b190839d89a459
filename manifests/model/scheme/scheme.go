// Package scheme lists the kinds that Headway serves, which are defined in
// manifests/model/kinds, and encodes and decodes them.
package scheme

import (
	"fmt"
	"reflect"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/admissionregistration"
	"headway.dev/manifests/model/kinds/apiextensions"
	"headway.dev/manifests/model/kinds/apiregistration"
	"headway.dev/manifests/model/kinds/apps"
	"headway.dev/manifests/model/kinds/autoscaling"
	"headway.dev/manifests/model/kinds/batch"
	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/kinds/coordination"
	"headway.dev/manifests/model/kinds/core"
	"headway.dev/manifests/model/kinds/discovery"
	"headway.dev/manifests/model/kinds/events"
	"headway.dev/manifests/model/kinds/flowcontrol"
	"headway.dev/manifests/model/kinds/kustomize"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/kinds/node"
	"headway.dev/manifests/model/kinds/policy"
	"headway.dev/manifests/model/kinds/rbac"
	"headway.dev/manifests/model/kinds/scheduling"
	"headway.dev/manifests/model/kinds/source"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/kinds/storagemigration"
	"headway.dev/manifests/model/object"
)

// groups are the API groups whose kinds are served, in the order of discovery.
var groups = []kind.Group{
	core.Group,
	admissionregistration.Group,
	apps.Group,
	autoscaling.Group,
	batch.Group,
	apiextensions.Group,
	apiregistration.Group,
	certificates.Group,
	coordination.Group,
	discovery.Group,
	events.Group,
	flowcontrol.Group,
	networking.Group,
	node.Group,
	policy.Group,
	rbac.Group,
	scheduling.Group,
	storage.Group,
	storagemigration.Group,
	source.Group,
	kustomize.Group,
}

var (
	served = newServed()

	// Scheme knows every served kind, the kinds of their subresources, and the
	// meta types. The published v1 types are also the hub ("__internal") types:
	// there is no second set of types and no conversion.
	Scheme = newScheme()
	// Codecs encodes and decodes the kinds of Scheme. Lists are written item by
	// item, so that the encoding of a whole list is never in memory.
	Codecs = serializer.NewCodecFactory(Scheme, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	// ParameterCodec decodes the query parameters of the API.
	ParameterCodec = runtime.NewParameterCodec(Scheme)
)

// Kinds returns the served kinds, in discovery order. The caller must not
// change them.
func Kinds() []*kind.Kind { return served.All() }

// ForKind finds a served kind by its name.
func ForKind(gk schema.GroupKind) (*kind.Kind, bool) { return served.ForKind(gk) }

// Views returns the forms in which kinds are served besides their own. The
// caller must not change them.
func Views() []*kind.View { return served.Views() }

// Older returns the older versions in which kinds are served, too. The caller must not
// change the list.
func Older() []*kind.Older { return served.Older() }

// ForView finds a view by its name.
func ForView(gk schema.GroupKind) (*kind.View, bool) {
	for _, v := range served.Views() {
		if v.GroupKind() == gk {
			return v, true
		}
	}
	return nil, false
}

// ForObject finds the served kind of an object by its Go type, so that it also
// works for objects without TypeMeta.
func ForObject(obj object.Object) (*kind.Kind, bool) { return served.ForObject(obj) }

// KeyOf names an object by its Go type, so that it also works for objects
// without TypeMeta. It fails for kinds that are not served.
func KeyOf(obj object.Object) (object.Key, error) {
	gvks, _, err := Scheme.ObjectKinds(obj)
	if err != nil {
		return object.Key{}, fmt.Errorf("name object %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	return object.KeyOf(gvks[0].GroupKind(), obj), nil
}

func newServed() *kind.Set {
	s, err := kind.NewSet(groups...)
	utilruntime.Must(err)
	return s
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, g := range groups {
		utilruntime.Must(g.AddToScheme(s))
	}
	// The kinds of subresources and reviews.
	for _, add := range []func(*runtime.Scheme) error{
		authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		metricsv1beta1.AddToScheme, // figures, which are not stored
	} {
		utilruntime.Must(add(s))
	}
	for gvk, typ := range s.AllKnownTypes() {
		if hub(gvk) { // other versions are decoded, and are nothing else
			internal := schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
			if !s.Recognizes(internal.WithKind(gvk.Kind)) {
				s.AddKnownTypeWithName(internal.WithKind(gvk.Kind), reflect.New(typ).Interface().(runtime.Object))
			}
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
}

// hub reports whether the Go type of a kind in a version is also its internal type.
func hub(gvk schema.GroupVersionKind) bool {
	if k, ok := served.ForKind(schema.GroupKind{Group: gvk.Group, Kind: strings.TrimSuffix(gvk.Kind, "List")}); ok {
		return k.Version == gvk.Version
	}
	return gvk.Version == "v1" || gvk.GroupVersion() == metricsv1beta1.SchemeGroupVersion
}

package lifecycle

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
)

var (
	typeNamespace = reflect.TypeFor[*corev1.Namespace]()
	typeNode      = reflect.TypeFor[*corev1.Node]()
	typeEvent     = reflect.TypeFor[*corev1.Event]()
)

// A namespace is held by spec.finalizers, which only PrepareFinalize may
// change; a delete makes it Terminating until they are gone.
var namespaceStrategy = strategy{
	create: create1(func(ns *corev1.Namespace) {
		if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
			ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
		}
		ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
		metav1.SetMetaDataLabel(&ns.ObjectMeta, corev1.LabelMetadataName, ns.Name)
	}),
	update: update2(func(ns, old *corev1.Namespace) {
		ns.Spec.Finalizers = old.Spec.Finalizers
		ns.Status = old.Status
		metav1.SetMetaDataLabel(&ns.ObjectMeta, corev1.LabelMetadataName, ns.Name)
	}),
	updateStatus: update2(func(ns, old *corev1.Namespace) { ns.Spec = old.Spec }),
	markDeleted:  create1(func(ns *corev1.Namespace) { ns.Status.Phase = corev1.NamespaceTerminating }),
	held:         func(obj object.Object) bool { return len(obj.(*corev1.Namespace).Spec.Finalizers) > 0 },
	// The namespace controller removes the content whatever the policy.
	noGarbageCollection: true,
}

// PrepareFinalize makes ns a legal successor of old for a write through the
// finalize subresource: it may change spec.finalizers and metadata only.
func PrepareFinalize(ns, old *corev1.Namespace) {
	keepStamps(ns, old)
	ns.Status = old.Status
}

// A node may bring its status on creation.
var nodeStrategy = strategy{
	update:       update2(func(node, old *corev1.Node) { node.Status = old.Status }),
	updateStatus: update2(func(node, old *corev1.Node) { node.Spec = old.Spec }),
}

var eventStrategy = strategy{noGarbageCollection: true}

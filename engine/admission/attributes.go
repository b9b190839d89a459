package admission

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// write is one change of one object, as plugins see it.
type write struct {
	kind        *kind.Kind
	key         object.Key
	subresource string
	by          change.User
	dryRun      bool
	// next is nil for a deletion, old for a creation.
	next, old object.Object
}

// attributes are those of the request that the write would be. name is empty
// where a request has none yet.
func (w write) attributes(name string) admission.Attributes {
	gvk := w.kind.GroupVersionKind
	var op admission.Operation
	var next, old, options runtime.Object
	if w.next != nil {
		next = w.next
	}
	if w.old != nil {
		old = w.old
	}
	if w.subresource == "binding" {
		// The request creates a Binding, and tells nothing of the pod.
		gvk, op = corev1.SchemeGroupVersion.WithKind("Binding"), admission.Create
		next, old, options = bindingOf(w.next), nil, &metav1.CreateOptions{}
	} else {
		switch op = operation(w.old, w.next); op {
		case admission.Delete:
			next, options = nil, &metav1.DeleteOptions{}
		case admission.Create:
			options = &metav1.CreateOptions{}
		default:
			options = &metav1.UpdateOptions{}
		}
	}
	return admission.NewAttributesRecord(next, old, gvk, w.key.Namespace, name, w.kind.Resource(), w.subresource, op, options, w.dryRun,
		&user.DefaultInfo{Name: w.by.Name, Groups: w.by.Groups})
}

// operation is what the request does that makes next of old; empty if that is
// nothing.
func operation(old, next object.Object) admission.Operation {
	switch {
	case old == next:
		return ""
	case next == nil, old != nil && old.GetDeletionTimestamp() == nil && next.GetDeletionTimestamp() != nil:
		return admission.Delete
	case old == nil:
		return admission.Create
	}
	return admission.Update
}

func bindingOf(obj object.Object) runtime.Object {
	b := &corev1.Binding{}
	if pod, ok := obj.(*corev1.Pod); ok {
		b.Namespace, b.Name, b.UID = pod.Namespace, pod.Name, pod.UID
		b.Target = corev1.ObjectReference{Kind: "Node", Name: pod.Spec.NodeName}
	}
	return b
}

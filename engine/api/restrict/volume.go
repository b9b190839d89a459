package restrict

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/model/kinds/storage"
)

// volume lets a node say of a volume that is being deleted, and that nobody has bound,
// that its data are gone from the node, and nothing else of any.
func (n node) volume() error {
	old, _ := n.GetOldObject().(*corev1.PersistentVolume)
	next, _ := n.GetObject().(*corev1.PersistentVolume)
	if n.GetOperation() != admission.Update || n.GetSubresource() != "" || old == nil || next == nil {
		return n.refuse("unexpected operation %q", n.GetOperation())
	}
	if old.Labels[storage.NodeLabel] != n.name {
		return n.refuse("node %q can only update persistentvolumes that are on it", n.name)
	}
	if old.DeletionTimestamp == nil || old.Status.Phase == corev1.VolumeBound {
		return n.refuse("node %q can only update persistentvolumes that are deleted and not bound", n.name)
	}
	want := slices.DeleteFunc(slices.Clone(old.Finalizers), func(f string) bool { return f == storage.LocalFinalizer })
	// The rest of the metadata is the server's.
	same := equality.Semantic.DeepEqual(next.Spec, old.Spec) && maps.Equal(next.Labels, old.Labels) && maps.Equal(next.Annotations, old.Annotations) &&
		equality.Semantic.DeepEqual(next.OwnerReferences, old.OwnerReferences)
	if !same || len(want) == len(old.Finalizers) || !slices.Equal(next.Finalizers, want) {
		return n.refuse("node %q can only remove the finalizer %s from persistentvolumes", n.name, storage.LocalFinalizer)
	}
	return nil
}

package kind

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
)

// Lifecycle is what the verbs do to a kind in addition to what they do to all,
// which is in manifests/model/lifecycle.
type Lifecycle[T object.Object] struct {
	Create       func(obj T)
	Update       func(obj, old T)
	UpdateStatus func(obj, old T)
	// Finalize is the update through the finalize subresource, which a kind has
	// if it says this.
	Finalize func(obj, old T)
	// Changed reports whether an update increments the generation; nil for
	// kinds that have none. It runs after Update.
	Changed func(obj, old T) bool
	// Grace returns the grace period of a delete in seconds, nil for kinds
	// without one.
	Grace func(obj T, opts metav1.DeleteOptions) int64
	// MarkDeleted changes the copy that gets its deletionTimestamp.
	MarkDeleted func(obj T)
	// Held reports whether something other than metadata.finalizers and the
	// grace period holds a terminating object.
	Held func(obj T) bool
	// IgnoresPropagation reports whether the propagation policy of a delete has
	// no meaning: nothing can depend on the kind, or whatever does is deleted
	// in any case.
	IgnoresPropagation bool
	// Permanent returns why an object of some name cannot be deleted, whoever asks
	// for it; empty if it can. It is nil for kinds without such.
	Permanent func(name string) string
}

func untyped[T object.Object](l Lifecycle[T]) Lifecycle[object.Object] {
	return Lifecycle[object.Object]{
		Create:             do(l.Create),
		Update:             doBoth(l.Update),
		UpdateStatus:       doBoth(l.UpdateStatus),
		Finalize:           doBoth(l.Finalize),
		Changed:            both(l.Changed),
		Grace:              with(l.Grace),
		MarkDeleted:        do(l.MarkDeleted),
		Held:               of(l.Held),
		IgnoresPropagation: l.IgnoresPropagation,
		Permanent:          l.Permanent,
	}
}

// Differ reports whether two values differ, as the API compares them: nil and
// empty are equal.
func Differ(a, b any) bool { return !equality.Semantic.DeepEqual(a, b) }

// KeepMeta undoes every change of the metadata except those of a status write
// of a custom resource: managedFields and the version it is based on.
func KeepMeta(meta, old *metav1.ObjectMeta) {
	managed, version := meta.ManagedFields, meta.ResourceVersion
	old.DeepCopyInto(meta)
	meta.ManagedFields, meta.ResourceVersion = managed, version
}

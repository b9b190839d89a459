package change

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Create adds obj, which it takes over, with defaults and server-set fields
// filled in. It fails with AlreadyExists if the name is taken. A generated name
// is set when Create returns, in the key and in obj.
func Create(obj object.Object, now time.Time) Change {
	k, _ := scheme.ForObject(obj)
	return CreateOf(k, obj, now)
}

// CreateOf is Create for an object of a kind, which may be a custom one, or nil if it
// is not served.
func CreateOf(k *kind.Kind, obj object.Object, now time.Time) Change {
	defaults.ApplyOf(k, obj)
	lifecycle.PrepareCreateOf(k, obj, now)
	obj.SetResourceVersion("")
	key, err := scheme.KeyOf(obj)
	return Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		if err != nil {
			return nil, err
		}
		if current != nil {
			exists := apierrors.NewAlreadyExists(resourceOf(key), key.Name)
			if current.GetDeletionTimestamp() != nil {
				exists.ErrStatus.Message = "object is being deleted: " + exists.ErrStatus.Message
			}
			return nil, exists
		}
		return obj, nil
	}}
}

// Absent returns a creation that does nothing if the object already exists.
func Absent(create Change) Change {
	mutate := create.Mutate
	create.Mutate = func(current object.Object) (object.Object, error) {
		if current != nil {
			return current, nil
		}
		return mutate(current)
	}
	return create
}

// Update replaces the main resource by obj, which it takes over. A set
// resourceVersion must match (Conflict otherwise); NotFound without a stored
// object; a set UID must match.
func Update(obj object.Object) Change {
	k, _ := scheme.ForObject(obj)
	return UpdateOf(k, obj)
}

// UpdateOf is Update for an object of a kind, as in CreateOf.
func UpdateOf(k *kind.Kind, obj object.Object) Change {
	defaults.ApplyOf(k, obj)
	key, err := scheme.KeyOf(obj)
	// PrepareUpdate overwrites them, and a Mutate may run again on a newer state.
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	return Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		if err != nil {
			return nil, err
		}
		if err := mayReplace(key, uid, version, current); err != nil {
			return nil, err
		}
		lifecycle.PrepareUpdateOf(k, obj, current)
		return settle(obj, current), nil
	}}
}

// UpdatePart gives an object the part of a subresource that obj has; NotFound without
// a stored object.
func UpdatePart(part kind.Part[object.Object], obj object.Object) Change {
	key, err := scheme.KeyOf(obj)
	return of(part.Name, Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		switch {
		case err != nil:
			return nil, err
		case current == nil:
			return nil, notFound(key)
		}
		next := obj.DeepCopyObject().(object.Object)
		next.SetManagedFields(current.GetManagedFields())
		lifecycle.PreparePart(next, current, part)
		return settle(next, current), nil
	}})
}

// Patch reads, changes and writes without a conflict: edit gets a deep copy of
// the current object and changes it in place; NotFound without one. Returning
// false leaves the object as it is.
func Patch(key object.Key, edit func(obj object.Object) bool) Change {
	return patch(key, edit, func(obj, current object.Object) {
		defaults.Apply(obj)
		lifecycle.PrepareUpdate(obj, current)
	})
}

// PatchStatus is Patch for the status subresource.
func PatchStatus(key object.Key, edit func(obj object.Object) bool) Change {
	return of("status", patch(key, edit, lifecycle.PrepareUpdateStatus))
}

// PatchFinalize is Patch for the finalize subresource of a namespace, the only
// way to change its spec.finalizers.
func PatchFinalize(name string, edit func(ns *corev1.Namespace) bool) Change {
	key := object.Key{GroupKind: corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), Name: name}
	return of("finalize", patch(key, func(obj object.Object) bool { return edit(obj.(*corev1.Namespace)) },
		lifecycle.PrepareFinalize))
}

// PatchApproval is Patch for the approval subresource of a signing request, the
// only way to approve or deny it.
func PatchApproval(key object.Key, now time.Time, edit func(r *certificatesv1.CertificateSigningRequest) bool) Change {
	request := func(obj object.Object) *certificatesv1.CertificateSigningRequest {
		return obj.(*certificatesv1.CertificateSigningRequest)
	}
	return of("approval", patch(key, func(obj object.Object) bool { return edit(request(obj)) },
		func(obj, old object.Object) { lifecycle.PrepareApproval(request(obj), request(old), now) }))
}

// Delete deletes as the API's DELETE does: finalizers, grace periods and
// preconditions hold. NotFound without an object.
func Delete(key object.Key, opts metav1.DeleteOptions, now time.Time) Change {
	return Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		if current == nil {
			return nil, notFound(key)
		}
		return lifecycle.Delete(current, opts, now)
	}}
}

// of says which subresource a change is of.
func of(subresource string, c Change) Change {
	c.Subresource = subresource
	return c
}

// Anew gives a creation that was changed after Create what Create gives it: what the
// server makes of a new object, as the QoS class of a pod, it makes of all of it. One
// that is only thought of has no UID and gets none.
func Anew(k *kind.Kind, obj object.Object) {
	uid, created := obj.GetUID(), obj.GetCreationTimestamp()
	defaults.ApplyOf(k, obj)
	lifecycle.PrepareCreateOf(k, obj, created.Time)
	obj.SetUID(uid)
	obj.SetCreationTimestamp(created)
}

// Again gives an update that was changed after its Mutate what Mutate gives it:
// defaults, and what the server sets. It returns current if nothing is changed
// any more, nil if nothing holds the object.
func Again(k *kind.Kind, obj, current object.Object) object.Object {
	defaults.ApplyOf(k, obj)
	lifecycle.PrepareUpdateOf(k, obj, current)
	return settle(obj, current)
}

// errModified is the text that clients look for to retry.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

func mayReplace(key object.Key, uid types.UID, version string, current object.Object) error {
	switch {
	case current == nil:
		return notFound(key)
	case uid != "" && uid != current.GetUID():
		return apierrors.NewConflict(resourceOf(key), key.Name, fmt.Errorf( //nolint:staticcheck // Kubernetes' own message
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, current.GetUID()))
	case version != "" && version != current.GetResourceVersion():
		return apierrors.NewConflict(resourceOf(key), key.Name, errModified)
	}
	return nil
}

func patch(key object.Key, edit func(obj object.Object) bool, prepare func(obj, old object.Object)) Change {
	return Change{Key: key, Mutate: func(current object.Object) (object.Object, error) {
		if current == nil {
			return nil, notFound(key)
		}
		obj := current.DeepCopyObject().(object.Object)
		if !edit(obj) {
			return current, nil
		}
		prepare(obj, current)
		return settle(obj, current), nil
	}}
}

// settle turns a prepared object into what Mutate returns: nil if nothing
// holds it any more, current itself if nothing changed, so that no revision is
// used and nobody is woken.
func settle(obj, current object.Object) object.Object {
	if lifecycle.Removable(obj) {
		return nil
	}
	if unchanged(obj, current) {
		return current
	}
	return obj
}

// unchanged compares but for the times in managedFields, which differ on every
// apply. It gives obj the version and type of current.
func unchanged(obj, current object.Object) bool {
	obj.SetResourceVersion(current.GetResourceVersion())
	obj.GetObjectKind().SetGroupVersionKind(current.GetObjectKind().GroupVersionKind())
	managed := obj.GetManagedFields()
	if !slices.EqualFunc(managed, current.GetManagedFields(), sameManager) {
		return false
	}
	obj.SetManagedFields(current.GetManagedFields())
	if alike(obj, current) {
		return true
	}
	obj.SetManagedFields(managed)
	return false
}

// alike compares objects from their last field to the first: what differs is the status
// of most, which is the last.
func alike(a, b object.Object) bool {
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	if left.Type() != right.Type() || left.Kind() != reflect.Struct {
		return false
	}
	for i := left.NumField() - 1; i >= 0; i-- {
		if !left.Type().Field(i).IsExported() {
			return equality.Semantic.DeepEqual(a, b)
		}
		if !equality.Semantic.DeepEqual(left.Field(i).Addr().Interface(), right.Field(i).Addr().Interface()) {
			return false
		}
	}
	return true
}

func sameManager(a, b metav1.ManagedFieldsEntry) bool {
	a.Time, b.Time = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

func notFound(key object.Key) error { return apierrors.NewNotFound(resourceOf(key), key.Name) }

// resourceOf names the resource in errors; a kind that is not served goes by
// its own name.
func resourceOf(key object.Key) schema.GroupResource {
	if k, ok := scheme.ForKind(key.GroupKind); ok {
		return k.Resource().GroupResource()
	}
	return schema.GroupResource{Group: key.Group, Resource: key.Kind}
}

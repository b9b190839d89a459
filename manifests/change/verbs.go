package change

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/object"
)

// Create adds obj, with defaults and server-set fields filled in; it takes obj
// over. AlreadyExists if there is one of its name.
func Create(obj object.Object, now time.Time) Change { panic("being built") }

// Update replaces the main resource by obj, which it takes over. A set
// resourceVersion must match (Conflict otherwise); NotFound without a stored
// object; a set UID must match.
func Update(obj object.Object) Change { panic("being built") }

// UpdateStatus replaces the status, with Update's rules.
func UpdateStatus(obj object.Object) Change { panic("being built") }

// Patch reads, changes and writes without a conflict: edit gets a deep copy of
// the current object and changes it in place; NotFound without one. Returning
// false leaves the object as it is.
func Patch(key object.Key, edit func(obj object.Object) bool) Change { panic("being built") }

// PatchStatus is Patch for the status subresource.
func PatchStatus(key object.Key, edit func(obj object.Object) bool) Change { panic("being built") }

// Delete deletes as the API's DELETE does: finalizers, grace periods and
// preconditions hold. NotFound without an object.
func Delete(key object.Key, opts metav1.DeleteOptions, now time.Time) Change { panic("being built") }

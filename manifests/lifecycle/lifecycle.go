// Package lifecycle holds the rules of the API's verbs that do not depend on
// who calls them: what the server sets on create, which parts a main or a
// status update may touch, when the generation rises, and what a delete does
// in the presence of finalizers and grace periods. The API's REST strategies
// and the writers inside the process share them.
package lifecycle

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/object"
)

// PrepareCreate sets what the server owns on a new object: it clears status
// where the kind has a status subresource, and sets UID (if empty),
// creationTimestamp (if zero), generation 1 and a generated name.
func PrepareCreate(obj object.Object, now time.Time) {}

// PrepareUpdate makes obj a legal successor of old for a write through the
// main resource: status, UID, creation and deletion stamps are old's, and the
// generation rises exactly if the spec (by the rules of the kind) changed.
func PrepareUpdate(obj, old object.Object) {}

// PrepareUpdateStatus makes obj a legal successor of old for a write through
// the status subresource: everything but the status (and, as the kind has it,
// some metadata) is old's.
func PrepareUpdateStatus(obj, old object.Object) {}

// Delete returns what a delete makes of current: a copy that carries the
// deletion stamps while finalizers, a propagation policy or a grace period
// hold it, or nil when it goes at once. It fails with a Conflict when the
// preconditions of opts do not hold.
func Delete(current object.Object, opts metav1.DeleteOptions, now time.Time) (object.Object, error) {
	return nil, nil
}

// Removable reports whether an object that carries a deletionTimestamp has
// nothing left to wait for and goes with this write.
func Removable(obj object.Object) bool { return false }

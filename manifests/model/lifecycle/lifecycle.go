// Package lifecycle holds the rules of the API's verbs that do not depend on
// who calls them: what the server sets on create, which parts a main or a
// status update may touch, when the generation rises, and what a delete does
// in the presence of finalizers and grace periods. The API's REST strategies
// and the writers inside the process share them.
//
//	create ─▶ PrepareCreate ─▶ stored ──▶ PrepareUpdate, PrepareUpdateStatus ─▶ stored
//	                             │                        │ Removable?
//	                             └▶ Delete ─▶ terminating ┴──────────▶ gone
//
// What all kinds have in common is here; what a kind has of its own is the
// lifecycle of its definition, in manifests/model/kinds. A kind without one gets
// the common rules. The functions are pure but for the clock passed in
// and the random names and UIDs of PrepareCreate, and safe for concurrent use.
package lifecycle

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// PrepareCreate sets what the server owns on a new object: it clears status
// where the kind has a status subresource, and sets UID (if empty),
// creationTimestamp (if zero), generation 1 (for the kinds that have one) and
// a generated name.
func PrepareCreate(obj object.Object, now time.Time) {
	k, _ := scheme.ForObject(obj)
	PrepareCreateOf(k, obj, now)
}

// PrepareCreateOf is PrepareCreate for an object of a kind, which may be a custom one,
// or nil if it is not served.
func PrepareCreateOf(k *kind.Kind, obj object.Object, now time.Time) {
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		obj.SetName(GenerateName(obj.GetGenerateName()))
	}
	if obj.GetUID() == "" {
		obj.SetUID(uuid.NewUUID())
	}
	if stamp := obj.GetCreationTimestamp(); stamp.IsZero() {
		obj.SetCreationTimestamp(wireTime(now))
	}
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	obj.SetGeneration(0)
	s := ofKind(k)
	if s.Create != nil {
		s.Create(obj)
	}
	if s.Changed != nil {
		obj.SetGeneration(1)
	}
}

// PrepareUpdate makes obj a legal successor of old for a write through the main
// resource: status, UID, creation and deletion stamps are old's, and the
// generation is incremented exactly if the spec (by the rules of the kind)
// changed. The resourceVersion is left as it is.
func PrepareUpdate(obj, old object.Object) {
	k, _ := scheme.ForObject(obj)
	PrepareUpdateOf(k, obj, old)
}

// PrepareUpdateOf is PrepareUpdate for an object of a kind, as in PrepareCreateOf.
func PrepareUpdateOf(k *kind.Kind, obj, old object.Object) {
	keepStamps(obj, old)
	s := ofKind(k)
	if s.Update != nil {
		s.Update(obj, old)
	}
	if s.Changed != nil && s.Changed(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// PrepareUpdateStatus makes obj a legal successor of old for a write through
// the status subresource: everything except the status (and some metadata,
// depending on the kind) is old's.
func PrepareUpdateStatus(obj, old object.Object) {
	keepStamps(obj, old)
	if s := of(obj); s.UpdateStatus != nil {
		s.UpdateStatus(obj, old)
	}
}

// PrepareFinalize makes obj a legal successor of old for a write through the
// finalize subresource of its kind: everything except that and the metadata is
// old's.
func PrepareFinalize(obj, old object.Object) {
	keepStamps(obj, old)
	if s := of(obj); s.Finalize != nil {
		s.Finalize(obj, old)
	}
}

// PreparePart makes obj a legal successor of old for a write through the
// subresource of a part: everything but that is old's, apart from who wrote it.
func PreparePart(obj, old object.Object, part kind.Part[object.Object]) {
	part.Update(obj, old)
	obj.SetLabels(old.GetLabels())
	obj.SetAnnotations(old.GetAnnotations())
	obj.SetOwnerReferences(old.GetOwnerReferences())
	obj.SetFinalizers(old.GetFinalizers())
	obj.SetGenerateName(old.GetGenerateName())
	PrepareUpdate(obj, old)
}

// PrepareApproval makes obj a legal successor of old for a write through the
// approval subresource: the conditions are obj's, everything else but the metadata
// is old's.
func PrepareApproval(obj, old *certificatesv1.CertificateSigningRequest, now time.Time) {
	keepStamps(obj, old)
	certificates.Approve(obj, old, now)
}

// keepStamps takes from old the metadata that no client may change.
func keepStamps(obj, old object.Object) {
	obj.SetUID(old.GetUID())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
}

const (
	randomLength = 5
	// maxGeneratedBase leaves a generated name a DNS label with the random part.
	maxGeneratedBase = 63 - randomLength
)

// GenerateName returns base, shortened if necessary, with five random
// characters, as the API does for metadata.generateName.
func GenerateName(base string) string {
	if len(base) > maxGeneratedBase {
		base = base[:maxGeneratedBase]
	}
	return base + rand.String(randomLength)
}

// wireTime is t as it comes back from the API: in whole seconds. Without it an
// object would differ from itself after a restart.
func wireTime(t time.Time) metav1.Time { return metav1.NewTime(t.UTC().Truncate(time.Second)) }

// of is what the kind of obj has of its own; nothing for a kind that is not
// served.
func of(obj object.Object) kind.Lifecycle[object.Object] {
	k, _ := scheme.ForObject(obj)
	return ofKind(k)
}

func ofKind(k *kind.Kind) kind.Lifecycle[object.Object] {
	if k == nil {
		return kind.Lifecycle[object.Object]{}
	}
	return k.Lifecycle
}

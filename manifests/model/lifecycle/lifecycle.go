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
// What all kinds have in common is in this file and in delete.go; what a kind
// has of its own is its strategy, in the file of the kind. A kind without one
// gets the common rules. The functions are pure but for the clock passed in
// and the random names and UIDs of PrepareCreate, and safe for concurrent use.
package lifecycle

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	"headway.dev/manifests/model/object"
)

// PrepareCreate sets what the server owns on a new object: it clears status
// where the kind has a status subresource, and sets UID (if empty),
// creationTimestamp (if zero), generation 1 (for the kinds that have one) and
// a generated name.
func PrepareCreate(obj object.Object, now time.Time) {
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
	s := strategyOf(obj)
	if s.create != nil {
		s.create(obj)
	}
	if s.changed != nil {
		obj.SetGeneration(1)
	}
}

// PrepareUpdate makes obj a legal successor of old for a write through the
// main resource: status, UID, creation and deletion stamps are old's, and the
// generation rises exactly if the spec (by the rules of the kind) changed.
// The resourceVersion is left as it is.
func PrepareUpdate(obj, old object.Object) {
	keepStamps(obj, old)
	s := strategyOf(obj)
	if s.update != nil {
		s.update(obj, old)
	}
	if s.changed != nil && s.changed(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// PrepareUpdateStatus makes obj a legal successor of old for a write through
// the status subresource: everything but the status (and, as the kind has it,
// some metadata) is old's.
func PrepareUpdateStatus(obj, old object.Object) {
	keepStamps(obj, old)
	if s := strategyOf(obj); s.updateStatus != nil {
		s.updateStatus(obj, old)
	}
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

// GenerateName returns base, shortened if need be, with five random
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

// strategy is what a kind has of its own. Every field may be nil.
type strategy struct {
	create       func(obj object.Object)
	update       func(obj, old object.Object)
	updateStatus func(obj, old object.Object)
	// changed says whether an update raises the generation; nil for kinds that
	// have none. It runs after update.
	changed func(obj, old object.Object) bool
	// grace returns the seconds that a delete leaves an object, nil for kinds
	// that go without.
	grace func(obj object.Object, opts metav1.DeleteOptions) int64
	// markDeleted changes the copy that gets its deletionTimestamp.
	markDeleted func(obj object.Object)
	// held reports whether something other than metadata.finalizers and the
	// grace period holds a terminating object.
	held func(obj object.Object) bool
	// noGarbageCollection says that nothing can depend on the kind, so that the
	// propagation policy means nothing.
	noGarbageCollection bool
}

// strategies is the list of kinds; each one's rules are in its own file.
var strategies = map[reflect.Type]strategy{
	typeNamespace:     namespaceStrategy,
	typeNode:          nodeStrategy,
	typePod:           podStrategy,
	typeService:       serviceStrategy,
	typeEvent:         eventStrategy,
	typeDeployment:    deploymentStrategy,
	typeReplicaSet:    replicaSetStrategy,
	typeEndpointSlice: endpointSliceStrategy,
	typeGitRepository: gitRepositoryStrategy,
	typeKustomization: kustomizationStrategy,
}

func strategyOf(obj object.Object) strategy { return strategies[reflect.TypeOf(obj)] }

// create1, update2 and changed2 give a kind's function its typed arguments.
func create1[T object.Object](f func(obj T)) func(object.Object) {
	return func(obj object.Object) { f(obj.(T)) }
}

func update2[T object.Object](f func(obj, old T)) func(obj, old object.Object) {
	return func(obj, old object.Object) { f(obj.(T), old.(T)) }
}

func changed2[T object.Object](f func(obj, old T) bool) func(obj, old object.Object) bool {
	return func(obj, old object.Object) bool { return f(obj.(T), old.(T)) }
}

func differ(a, b any) bool { return !equality.Semantic.DeepEqual(a, b) }

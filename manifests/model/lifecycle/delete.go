package lifecycle

import (
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Delete returns the result of deleting current: a copy with the deletion
// stamps while finalizers, a propagation policy or a grace period hold it,
// current itself if it is already terminating and opts add nothing, or nil if
// it is removed at once. It fails with a Conflict if the preconditions of opts
// do not hold.
func Delete(current object.Object, opts metav1.DeleteOptions, now time.Time) (object.Object, error) {
	if err := Precondition(current, opts.Preconditions); err != nil {
		return nil, err
	}
	s := of(current)
	finalizers := current.GetFinalizers()
	if !s.IgnoresPropagation {
		k, served := scheme.ForObject(current)
		finalizers = collectionFinalizers(finalizers, opts, served && k.REST.Orphans)
	}
	next := current.DeepCopyObject().(object.Object)
	next.SetFinalizers(finalizers)

	stamp, grace := stampsAfter(current, s, opts, now)
	if current.GetDeletionTimestamp() == nil {
		if next.GetGeneration() > 0 {
			next.SetGeneration(next.GetGeneration() + 1)
		}
		if s.MarkDeleted != nil {
			s.MarkDeleted(next)
		}
	}
	next.SetDeletionTimestamp(&stamp)
	if s.Held == nil {
		next.SetDeletionGracePeriodSeconds(&grace)
	}
	if Removable(next) {
		return nil, nil
	}
	if current.GetDeletionTimestamp() != nil && stamp.Equal(current.GetDeletionTimestamp()) &&
		slices.Equal(finalizers, current.GetFinalizers()) {
		return current, nil
	}
	return next, nil
}

// stampsAfter returns the deletionTimestamp and the grace period in seconds
// that a delete leaves. A delete of a terminating object may only shorten the
// period, which still counts from the first delete.
func stampsAfter(current object.Object, s kind.Lifecycle[object.Object], opts metav1.DeleteOptions, now time.Time) (metav1.Time, int64) {
	if stamp := current.GetDeletionTimestamp(); stamp != nil {
		var grace int64
		if g := current.GetDeletionGracePeriodSeconds(); g != nil {
			grace = *g
		}
		if s.Grace == nil || opts.GracePeriodSeconds == nil || *opts.GracePeriodSeconds >= grace {
			return *stamp, grace
		}
		shorter := max(*opts.GracePeriodSeconds, 0)
		return metav1.NewTime(stamp.Add(loop.Seconds(shorter) - loop.Seconds(grace))), shorter
	}
	var grace int64
	if s.Grace != nil {
		grace = s.Grace(current, opts)
	}
	return wireTime(now.Add(loop.Seconds(grace))), grace
}

// Removable reports whether an object with a deletionTimestamp has nothing left
// to wait for and is removed with this write.
func Removable(obj object.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if grace := obj.GetDeletionGracePeriodSeconds(); grace != nil && *grace > 0 {
		return false
	}
	held := of(obj).Held
	return held == nil || !held(obj)
}

// collectionFinalizers adds and removes the garbage collector's finalizers as
// the propagation policy says. Without a policy those that are there stay, and
// dependents go in the background, or stay if that is the kind's default.
func collectionFinalizers(finalizers []string, opts metav1.DeleteOptions, orphans bool) []string {
	var orphan, foreground bool
	switch {
	case opts.OrphanDependents != nil: //nolint:staticcheck // old clients still send it
		orphan = *opts.OrphanDependents //nolint:staticcheck // see above
	case opts.PropagationPolicy != nil:
		orphan = *opts.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *opts.PropagationPolicy == metav1.DeletePropagationForeground
	case orphans && !slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		orphan = true
	default:
		return finalizers
	}
	finalizers = set(finalizers, metav1.FinalizerOrphanDependents, orphan)
	return set(finalizers, metav1.FinalizerDeleteDependents, foreground)
}

// set returns list with or without name; it does not change list.
func set(list []string, name string, want bool) []string {
	switch at := slices.Index(list, name); {
	case want && at < 0:
		return append(slices.Clone(list), name)
	case !want && at >= 0:
		return slices.Delete(slices.Clone(list), at, at+1)
	}
	return list
}

// Precondition fails with a Conflict unless what a deletion of current wants of it holds.
func Precondition(current object.Object, want *metav1.Preconditions) error {
	if want == nil {
		return nil
	}
	key, err := scheme.KeyOf(current)
	if err != nil {
		return err
	}
	// Kubernetes names the kind, not the resource, in this one message.
	resource := schema.GroupResource{Group: key.Group, Resource: key.Kind}
	if want.UID != nil && *want.UID != current.GetUID() {
		return apierrors.NewConflict(resource, current.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated",
			*want.UID, current.GetUID()))
	}
	if want.ResourceVersion != nil && *want.ResourceVersion != current.GetResourceVersion() {
		return apierrors.NewConflict(resource, current.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified",
			*want.ResourceVersion, current.GetResourceVersion()))
	}
	return nil
}

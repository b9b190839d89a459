package history

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Keeper writes histories.
type Keeper struct {
	control.Env
	revisions *control.Index // by controller
}

// NewKeeper makes a keeper.
func NewKeeper(env control.Env) Keeper {
	return Keeper{env, env.Feed.Index("controller revisions by controller", control.ByController, control.ControllerRevision)}
}

// Claim adopts the revisions that in.Owner selects, releases those that it selects no
// more, and returns its own.
func (k Keeper) Claim(ctx context.Context, owner object.Object, selector *metav1.LabelSelector, ref metav1.OwnerReference) ([]*appsv1.ControllerRevision, error) {
	matcher, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, err
	}
	find := func() control.Claims {
		return control.Claim(owner, matcher, k.revisions.Get(string(owner.GetUID())), k.revisions.Get(control.Orphans(owner.GetNamespace(), selector)))
	}
	claims := find()
	if changes := claims.Changes(control.ControllerRevision, ref); len(changes) > 0 {
		if _, err := k.Commit(ctx, change.Tx{Changes: changes}); err != nil {
			return nil, fmt.Errorf("adopt and release revisions of %s: %w", owner.GetName(), err)
		}
		claims = find()
	}
	var found []*appsv1.ControllerRevision
	for _, obj := range claims.Owned {
		if r, ok := obj.(*appsv1.ControllerRevision); ok {
			found = append(found, r)
		}
	}
	return found, nil
}

// Record looks for the revision of today, and writes it if it is missing or has not the
// highest number. If its name is that of something else, counted is written, which is to
// count that, and the error says that one has to look again.
func (k Keeper) Record(ctx context.Context, in Input, counted func(collisions int32) change.Change) (History, error) {
	h, err := Look(in)
	if err != nil {
		return h, err
	}
	switch h.Changed {
	case None:
		return h, nil
	case Renumber:
		number := h.Current.Revision
		_, err = k.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(change.Patch(object.KeyOf(control.ControllerRevision, h.Current), func(obj object.Object) bool {
			obj.(*appsv1.ControllerRevision).Revision = number
			return true
		}), control.SameUID(h.Current.UID))}})
	case Create:
		_, err = k.Commit(ctx, change.Tx{Changes: []change.Change{change.Create(h.Current.DeepCopy(), k.Now())}})
		if apierrors.IsAlreadyExists(err) {
			return h, k.collided(ctx, in, h.Current, counted, err)
		}
	}
	if err != nil {
		return h, fmt.Errorf("write revision %s: %w", h.Current.Name, err)
	}
	return h, nil
}

// collided makes the next attempt use another name if the revision of this name has
// other data or another owner; else it is the one that was to be made, which its event
// will tell of.
func (k Keeper) collided(ctx context.Context, in Input, wanted *appsv1.ControllerRevision, counted func(int32) change.Change, cause error) error {
	there := control.Get[appsv1.ControllerRevision](k.Store, object.KeyOf(control.ControllerRevision, wanted))
	if there == nil || metav1.IsControlledBy(there, in.Owner) && Equal(there, wanted) {
		return cause
	}
	count := int32(1)
	if in.Collisions != nil {
		count += *in.Collisions
	}
	if _, err := k.Commit(ctx, change.Tx{Changes: []change.Change{counted(count)}}); err != nil {
		return fmt.Errorf("count that the name %s is taken: %w", wanted.Name, err)
	}
	return cause
}

// Remove deletes revisions.
func (k Keeper) Remove(ctx context.Context, revisions []*appsv1.ControllerRevision) error {
	var changes []change.Change
	for _, r := range revisions {
		changes = append(changes, control.Guarded(change.Delete(object.KeyOf(control.ControllerRevision, r), metav1.DeleteOptions{}, k.Now()), control.SameUID(r.UID)))
	}
	if _, err := k.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("remove old revisions: %w", err)
	}
	return nil
}

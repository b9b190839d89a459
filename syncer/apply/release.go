package apply

import (
	"context"
	"errors"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
)

// release deletes the inventory of a Kustomization that is being deleted, and
// removes its finalizer; with deletionPolicy WaitForTermination once all of it
// is gone. As in Flux a suspended one leaves its objects alone, whatever its
// deletionPolicy.
func (k *kustomization) release(ctx context.Context, ks *kustomizev1.Kustomization) error {
	now := k.s.Env.Now()
	waits := ks.GetDeletionPolicy() == kustomizev1.DeletionPolicyWaitForTermination
	var changes []change.Change
	if flux.Deletes(ks) {
		in := plan.Input{Inventory: flux.InventoryOf(ks), Owner: k.owner(), Prune: true, Released: true}
		// Renaming a Kustomization deletes one and creates another. Without a head
		// it is not known what those of the same source declare.
		at, _ := k.s.Sources.HeadOf(ks)
		k.s.Neighbours.Of(k.key, flux.SourceKey(ks), at).Complete(ctx, &in)
		res := k.planner.Plan(ctx, in, k.s.Env.Store)
		err := k.s.Rights.Authorize(ctx, ks, res)
		if gone := (*rights.ErrAccount)(nil); errors.As(err, &gone) {
			// Nobody can give their rights back: as in Flux the objects stay.
			k.s.Env.Record(ks, corev1.EventTypeWarning, meta.PruneFailedReason, "unable to prune objects: "+gone.Error()+"\n"+deletions(res))
			res, err = plan.Result{}, nil
		}
		if err != nil {
			return err
		}
		k.leaves(ks, res)
		for _, a := range res.Actions {
			if a.Writes() {
				changes = append(changes, writes(a, now, k.s.Rights.Writer(ks))...)
			}
		}
		held := slices.ContainsFunc(res.Actions, func(a plan.Action) bool { return a.Held })
		if (waits || held) && len(changes) > 0 {
			if _, err := k.s.Env.Store.Commit(ctx, change.Tx{Changes: changes}); err != nil {
				return err
			}
			changes = nil
		}
		if held || waits && terminating(k.s.Env.Store, ks) {
			return nil // the loop is woken when they change
		}
	}
	changes = append(changes, change.Patch(k.key, func(o object.Object) bool {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == kustomizev1.KustomizationFinalizer }))
		return true
	}))
	_, err := k.s.Env.Store.Commit(ctx, change.Tx{Changes: changes, Append: []change.Record{history.Forget(k.key)}})
	if apierrors.IsNotFound(err) && k.get() == nil {
		return nil
	}
	return err
}

// leaves tells, once, what of another's a deleted Kustomization leaves behind.
func (k *kustomization) leaves(ks *kustomizev1.Kustomization, res plan.Result) {
	var lines []string
	for _, a := range res.Actions {
		if a.Type == plan.Skip && !a.Held && (a.Key.GroupKind == flux.Namespace || a.Key.GroupKind == scheme.Definition || a.Successor != nil && a.Successor.Unsure) {
			lines = append(lines, flux.Describe(a.Key)+" is not deleted: "+a.Reason)
		}
	}
	if msg := flux.Bounded(strings.Join(lines, "\n")); msg != "" && msg != k.left {
		k.left = msg
		k.s.Env.Log.Warn("left behind", "kustomization", k.name(), "objects", msg)
		k.s.Env.Record(ks, corev1.EventTypeWarning, flux.PruneSkippedReason, msg)
	}
}

// deletions lists what a plan deletes.
func deletions(res plan.Result) string {
	var names []string
	for _, a := range res.Actions {
		if a.Type == plan.Delete {
			names = append(names, flux.Describe(a.Key))
		}
	}
	return strings.Join(names, "\n")
}

// terminating reports whether something of the inventory is still being deleted.
func terminating(stored object.Reader, ks *kustomizev1.Kustomization) bool {
	for _, key := range flux.InventoryOf(ks) {
		if obj := stored.Get(key); obj != nil && obj.GetDeletionTimestamp() != nil {
			return true
		}
	}
	return false
}

package control

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/engine/admit"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// SlowStart creates objects in batches that double as long as all goes well. It
// returns the names of those that were made, and why others were not.
func (e Env) SlowStart(ctx context.Context, creations []change.Change) (made []string, refusal error) {
	for size := 1; len(creations) > 0 && refusal == nil; size *= 2 {
		batch := creations[:min(size, len(creations))]
		creations = creations[len(batch):]
		for i, err := range e.CommitEach(ctx, batch) {
			if err != nil {
				refusal = err
				continue
			}
			made = append(made, batch[i].Key.Name)
		}
	}
	return made, refusal
}

// Reportable reports whether a refusal is one that users should see.
func Reportable(cause error) bool {
	return !errors.Is(cause, context.Canceled) && !apierrors.IsAlreadyExists(cause) && !apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause)
}

// ByAccount returns an index function that files owners under the account that their
// pods run with, which spec tells; nil: none do.
func ByAccount(spec func(object.Object) *corev1.PodSpec) func(object.Object) []string {
	return func(owner object.Object) []string {
		of := spec(owner)
		if of == nil {
			return nil
		}
		name := of.ServiceAccountName
		if name == "" {
			name = admit.DefaultAccount
		}
		return []string{owner.GetNamespace() + "/" + name}
	}
}

// AccountKeys calls add with the keys of the owners whose pods run with the account that
// an event tells of, if it is new: what failed for want of it need not wait for its
// back-off. The index is one by ByAccount.
func AccountKeys(ev object.Event, owners *Index, add func(object.Key)) {
	if ev.Type != object.Added {
		return
	}
	for _, key := range owners.Keys(ev.Key.Namespace + "/" + ev.Key.Name) {
		add(key)
	}
}

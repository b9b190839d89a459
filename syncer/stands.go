package syncer

import (
	"errors"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
)

// Between a plan and its transaction time passes, in which rights are taken
// away, and Kustomizations are edited, suspended, frozen or deleted. What was
// planned before that must not be applied after it, alone as in a group.

// stands fails if a plan is not allowed any more.
func (s *Syncer) stands(ks *kustomizev1.Kustomization, r *round) error {
	return fault.Catch(func() error {
		if err := s.rights.Authorize(ks, r.plan); err != nil {
			return err
		}
		return s.pass(ks, r)
	})
}

// hold makes the part fail with a Conflict if the Kustomization is no longer the
// one that was planned.
func (p *part) hold() {
	if len(p.changes) == 0 {
		return
	}
	key, planned := p.k.key, p.ks
	same := change.Change{Key: key, Mutate: func(cur object.Object) (object.Object, error) {
		if !asPlanned(cur, planned) {
			return nil, apierrors.NewConflict(plan.Resource(key), key.Name, errors.New("the Kustomization changed since it was planned"))
		}
		return cur, nil
	}}
	p.changes = append([]change.Change{same}, p.changes...)
}

// same reports whether the Kustomization is stored as it was planned.
func (k *kustomization) same(planned *kustomizev1.Kustomization) bool {
	cur := k.get()
	return cur != nil && asPlanned(cur, planned)
}

// asPlanned reports whether a Kustomization is the one that was planned, and
// nobody has changed, suspended, frozen or deleted it since.
func asPlanned(cur object.Object, planned *kustomizev1.Kustomization) bool {
	ks, ok := cur.(*kustomizev1.Kustomization)
	return ok && ks.UID == planned.UID && ks.Generation == planned.Generation && ks.DeletionTimestamp == nil && slices.Equal(flux.Settings(ks), flux.Settings(planned))
}

package syncer

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/render"
	"headway.dev/syncer/step"
)

// retryRefused has the Kustomizations that act as an account and failed, or are
// about to, try again: they may have got the rights that they lacked.
func (s *Syncer) retryRefused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kustomizations {
		if ks := k.get(); ks == nil || s.rights.Account(ks) == "" {
			continue
		}
		k.mu.Lock()
		failed := k.settled != (step.Attempt{}) && !k.settledOK
		k.regained = !failed
		k.mu.Unlock()
		if failed {
			k.again()
		}
	}
}

// unwanted reports whether a Kustomization is stored and must not be applied.
func unwanted(ks *kustomizev1.Kustomization) bool {
	return ks != nil && (ks.DeletionTimestamp != nil || ks.Spec.Suspend)
}

// interrupt ends the build of a Kustomization that is not wanted any more.
func (s *Syncer) interrupt(ev object.Event) {
	ks, _ := ev.Object.(*kustomizev1.Kustomization)
	if ev.Type != object.Deleted && !unwanted(ks) {
		return
	}
	s.mu.Lock()
	k := s.kustomizations[ev.Key]
	s.mu.Unlock()
	if k == nil {
		return
	}
	k.renderer.Interrupt()
}

// wakeReaders wakes the Kustomizations whose builds read an object.
func (s *Syncer) wakeReaders(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kustomizations {
		if k.renderer.Depends(key) {
			k.wake.Set()
		}
	}
}

// kustomization is the loop of a Kustomization, or nil.
func (s *Syncer) kustomization(key object.Key) *kustomization {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kustomizations[key]
}

// rendererFor is what renders a Kustomization for its loop, or a new one if the
// stored Kustomization is another: the revision adds or changes it.
func (s *Syncer) rendererFor(ks *kustomizev1.Kustomization) *render.Renderer {
	key := flux.KeyOf(ks)
	s.mu.Lock()
	k := s.kustomizations[key]
	s.mu.Unlock()
	if stored, _ := s.env.Store.Get(key).(*kustomizev1.Kustomization); k == nil || stored == nil || neighbours.Extent(stored) != neighbours.Extent(ks) {
		return render.New(s.env, s.rights)
	}
	return k.renderer
}

package syncer

import (
	"slices"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/progress"
)

// state is where the Kustomization stands.
func (k *kustomization) state() progress.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := progress.State{
		Revision: k.settled.Revision, Generation: k.settled.Generation, OK: k.settledOK,
		Faults: k.faults, Next: k.next, WaitsFor: slices.Clone(k.deps),
	}
	if k.elder != (object.Key{}) {
		st.WaitsFor = append(st.WaitsFor, k.elder)
	}
	return st
}

// loops are those that run, for others to ask.
type loops struct{ s *Syncer }

// State implements [progress.Loops].
func (l loops) State(key object.Key) (progress.State, bool) {
	k := l.s.kustomization(key)
	if k == nil {
		return progress.State{}, false
	}
	return k.state(), true
}

// Again implements [progress.Loops].
func (l loops) Again(key object.Key) {
	if k := l.s.kustomization(key); k != nil {
		k.again()
	}
}

package progress

import (
	"time"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// State is where the loop of a Kustomization stood when it was asked.
type State struct {
	// Revision and Generation are what it is done with: applied and judged, or
	// failed. Revision is empty if that is nothing.
	Revision   string
	Generation int64
	// OK reports whether that succeeded; Faults are what failed.
	OK     bool
	Faults []wire.Fault
	// Next is when it tries again without being asked.
	Next time.Time
	// WaitsFor are the Kustomizations that have to go first.
	WaitsFor []object.Key
}

// FailedAt reports whether it is done with the revision and failed.
func (s State) FailedAt(revision string) bool { return s.Revision == revision && !s.OK }

// Loops are those of all Kustomizations.
type Loops interface {
	// State is where the loop of a Kustomization stands; false if it has none.
	State(kustomization object.Key) (State, bool)
	// Again has a Kustomization try again now, also what failed, if it has a
	// loop.
	Again(kustomization object.Key)
}

// BlockedBy is the Kustomization that failed to apply the revision and that
// another waits for, itself or by way of others.
func BlockedBy(loops Loops, kustomization object.Key, revision string) (object.Key, bool) {
	state, _ := loops.State(kustomization)
	seen := map[object.Key]bool{}
	for wait := state.WaitsFor; len(wait) > 0; wait = wait[1:] {
		key := wait[0]
		if seen[key] {
			continue
		}
		seen[key] = true
		state, ok := loops.State(key)
		if !ok {
			continue
		}
		if state.FailedAt(revision) {
			return key, true
		}
		wait = append(wait, state.WaitsFor...)
	}
	return object.Key{}, false
}

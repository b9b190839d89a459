package apply

import (
	"context"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/editors"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/history"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/judge"
	"headway.dev/syncer/neighbours"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/passage"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/progress"
	"headway.dev/syncer/render"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/rollback"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
)

// Set are the loops of the Kustomizations. Its fields are set before the first
// loop is started.
type Set struct {
	Env        *env.Env
	Rights     rights.Rights
	Journal    *journal.Journal
	Sources    *source.Set
	Editors    *editors.Editors
	Owners     *owners.Index
	Neighbours *neighbours.Finder
	Rollbacks  *rollback.Rollbacks
	Gates      *passage.Gates
	// Settle is how long a container has to run that has no readiness probe, where
	// nothing else says so.
	Settle time.Duration
	// Logs reads the logs of crashed containers; nil: they are not reported.
	Logs judge.Logs
	// Foresee tells what would come of storing an object.
	Foresee foresee.Func
	// Patience is for how long admission is waited for, in all, when one Kustomization
	// is stored; a quarter of that when it is planned, and for a group.
	Patience time.Duration
	// Together is for how long a group waits for builds, in all; a fifth of that without
	// any that ends, and a tenth for a loop that is busy. Who is slow goes alone.
	Together time.Duration

	// mu guards the list of loops. It may be taken while a plan is made; while it is
	// held, the locks of boards and renderers are, and no others.
	mu             sync.Mutex
	kustomizations map[object.Key]*kustomization
	// start runs a loop, while the syncer runs.
	start func(func(context.Context))
}

// New returns an empty set.
func New() *Set { return &Set{kustomizations: map[object.Key]*kustomization{}} }

// Start has loops run by run from now on.
func (s *Set) Start(run func(loop func(context.Context))) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = run
}

// Has reports whether a Kustomization has a loop.
func (s *Set) Has(key object.Key) bool { return s.kustomization(key) != nil }

// Ensure starts the loop of a Kustomization, or wakes the one that there is.
func (s *Set) Ensure(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kustomizations[key]; k != nil {
		k.board.Wake.Set()
		return
	}
	s.startLoop(key, false)
}

// Touch wakes who has applied an object, which may have changed.
func (s *Set) Touch(key object.Key) {
	if k := s.ownerOf(key); k != nil {
		k.board.Touch(key)
	}
}

// WakeWaiting wakes the Kustomizations that wait for one that has changed, or keep
// something for it.
func (s *Set) WakeWaiting(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kustomizations {
		if k.board.WaitsFor(key) {
			k.board.Wake.Set()
		}
		if k.board.KeepsFor(key) {
			k.board.Again()
		}
	}
}

// ended forgets a loop whose object is gone, and starts another if the object
// was created again before the loop was forgotten.
func (s *Set) ended(ctx context.Context, key object.Key) {
	s.mu.Lock()
	delete(s.kustomizations, key)
	s.mu.Unlock()
	if ctx.Err() == nil && s.Env.Store.Get(key) != nil {
		s.Ensure(key)
	}
}

// loop is the loop of a Kustomization, which is started if there is none;
// taken says that it is the caller's turn then. It reports whether it is.
func (s *Set) loop(key object.Key, taken bool) (*kustomization, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kustomizations[key]; k != nil {
		return k, false
	}
	return s.startLoop(key, taken), taken
}

// startLoop starts the loop of a Kustomization. It is called with mu held.
func (s *Set) startLoop(key object.Key, taken bool) *kustomization {
	k := newKustomization(s, key)
	if taken {
		k.turn <- struct{}{}
	}
	s.kustomizations[key] = k
	s.start(func(ctx context.Context) {
		k.run(ctx)
		s.ended(ctx, key)
	})
	return k
}

// WakeFollowers wakes the Kustomizations of a source.
func (s *Set) WakeFollowers(source object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, k := range s.kustomizations {
		if ks, ok := s.Env.Store.Get(key).(*kustomizev1.Kustomization); ok && flux.SourceKey(ks) == source {
			k.board.Wake.Set()
		}
	}
}

// RetryFailed has the Kustomizations that failed, or are about to, try again: they may
// have got the kinds that they lacked or, those of accounts alone, the rights.
func (s *Set) RetryFailed(accounts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kustomizations {
		if ks := k.get(); ks == nil || accounts && s.Rights.Account(ks) == "" {
			continue
		}
		k.board.Regain()
	}
}

// unwanted reports whether a Kustomization is stored and must not be applied.
func unwanted(ks *kustomizev1.Kustomization) bool {
	return ks != nil && (ks.DeletionTimestamp != nil || ks.Spec.Suspend)
}

// Interrupt ends the build of a Kustomization that is not wanted any more.
func (s *Set) Interrupt(ev object.Event) {
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

// WakeReaders wakes the Kustomizations whose builds read an object.
func (s *Set) WakeReaders(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kustomizations {
		if k.renderer.Depends(key) {
			k.board.Wake.Set()
		}
	}
}

// kustomization is the loop of a Kustomization, or nil.
func (s *Set) kustomization(key object.Key) *kustomization {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kustomizations[key]
}

// RendererFor is what renders a Kustomization for its loop, or a new one if the
// stored Kustomization is another: the revision adds or changes it.
func (s *Set) RendererFor(ks *kustomizev1.Kustomization) *render.Renderer {
	key := flux.KeyOf(ks)
	s.mu.Lock()
	k := s.kustomizations[key]
	s.mu.Unlock()
	if stored, _ := s.Env.Store.Get(key).(*kustomizev1.Kustomization); k == nil || stored == nil || neighbours.Extent(stored) != neighbours.Extent(ks) {
		return render.New(s.Env, s.Rights)
	}
	return k.renderer
}

// claim makes k the one to wake for what it has applied.
func (s *Set) claim(k *kustomization, inventory []object.Key) {
	// What changed before it was claimed has woken nobody.
	k.board.Touch(s.Owners.Claim(k.holder, inventory)...)
}

// ownerOf is the loop of the Kustomization that has an object, or nil.
func (s *Set) ownerOf(key object.Key) *kustomization {
	owner, ok := s.Owners.Of(key)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kustomizations[owner]
}

// State implements progress.Loops.
func (s *Set) State(key object.Key) (progress.State, bool) {
	k := s.kustomization(key)
	if k == nil {
		return progress.State{}, false
	}
	return k.board.State(), true
}

// Again implements progress.Loops.
func (s *Set) Again(key object.Key) {
	if k := s.kustomization(key); k != nil {
		k.board.Again()
	}
}

// Fork implements preview.Loops: what plans and renders like the loop of a Kustomization.
func (s *Set) Fork(ctx context.Context, key object.Key) (*plan.Planner, *render.Renderer) {
	if k := s.kustomization(key); k != nil {
		return k.planner.Fork(), k.renderer.Fork(ctx)
	}
	return plan.NewConverting(s.Env.Kinds, s.Env.Convert), render.New(s.Env, s.Rights)
}

// Input implements preview.Loops.
func (s *Set) Input(ctx context.Context, ks *kustomizev1.Kustomization, items []load.Item) (plan.Input, error) {
	return inputFor(ctx, s, ks, items, flux.InventoryOf(ks), &verdict.Expressions{})
}

// Rendered is what a Kustomization applied last, as it was rendered, or how if that was
// before a restart.
func (s *Set) Rendered(key object.Key) history.Rendered {
	if k := s.kustomization(key); k != nil {
		if last := k.board.Rendered(); last.Revision != "" {
			return last
		}
	}
	last, _, err := history.Recorded(s.Env.Store, key)
	if err != nil {
		s.Env.Log.Warn("read how a Kustomization was applied", "kustomization", key.Namespace+"/"+key.Name, "err", err)
	}
	return last
}

// takeOver claims what was applied, and has those look again who applied it
// before: it is no longer theirs. One that fails, and so keeps to an older commit,
// looks only at what was touched.
func (s *Set) takeOver(k *kustomization, inventory []object.Key) {
	former := s.Owners.Former(k.holder, inventory)
	s.claim(k, inventory)
	for key, taken := range former {
		if other := s.kustomization(key); other != nil {
			other.board.Touch(taken...)
			other.board.Again()
		}
	}
}

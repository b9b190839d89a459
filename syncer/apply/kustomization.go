package apply

import (
	"slices"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/history"
	"headway.dev/syncer/judge"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/progress"
	"headway.dev/syncer/render"
	"headway.dev/syncer/respond"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// kustomization follows one Kustomization. Its fields belong to who has its
// turn, those under mu aside.
type kustomization struct {
	s    *Set
	key  object.Key
	wake env.Flag
	// turn is held by who steps it: its loop, or a group of its source's.
	turn chan struct{}

	planner   *plan.Planner
	inventory flux.KnownInventory
	holder    *owners.Holder
	exprs     verdict.Expressions
	judge     *judge.Judge
	respond   *respond.Responder

	renderer *render.Renderer

	// attempted is what the last attempt was made for, failed whether it
	// failed; due is when the next one is without any reason.
	attempted step.Attempt
	failed    bool
	due       time.Time
	// stuck is why its deletion fails.
	stuck  string
	left   string    // what its deletion leaves behind, as it was told
	thaw   time.Time // end of the freeze that the newest commit waits for
	frozen bool      // a freeze was told of that is not over

	drifts step.Drifts

	mu      sync.Mutex
	touched map[object.Key]bool
	deps    []object.Key
	elder   object.Key // whose application of the head it waits for, see follows
	// heirs are those for which something is kept that is no longer declared.
	heirs map[object.Key]bool
	// settled is the attempt that is done with: applied and judged, or failed.
	settled   step.Attempt
	settledOK bool
	retry     bool
	// regained says that rights have changed since the step began: what it
	// refuses may have been judged by those from before.
	regained bool
	next     time.Time
	faults   []wire.Fault
	// built is what is applied, as it was rendered.
	built history.Applied
}

func newKustomization(s *Set, key object.Key) *kustomization {
	k := &kustomization{s: s, key: key, holder: owners.NewHolder(key), wake: env.NewFlag(), turn: make(chan struct{}, 1), planner: plan.New(), touched: map[object.Key]bool{}, renderer: render.New(s.Env, s.Rights)}
	k.judge = &judge.Judge{
		Env: s.Env, Journal: s.Journal, Key: key, Expressions: &k.exprs, Settle: s.Settle, Logs: s.Logs,
		// Of the last good commit, while the newest is refused, Ready says nothing.
		Newest:  func(revision string) bool { return !k.failed || k.attempted.Revision == revision || !k.thaw.IsZero() },
		Settled: func(want step.Attempt, ok bool) { k.settle(want, ok, nil) },
	}
	k.respond = &respond.Responder{
		Env: s.Env, Rights: s.Rights, Sources: s.Sources, Journal: s.Journal, Rollbacks: s.Rollbacks, Key: key, Reason: k.judge.Reason, Quarantine: k.quarantine,
	}
	return k
}

func (k *kustomization) name() string { return k.key.Namespace + "/" + k.key.Name }

func (k *kustomization) owner() plan.Owner {
	return plan.Owner{Namespace: k.key.Namespace, Name: k.key.Name}
}

// touch says that objects that were applied may have changed.
func (k *kustomization) touch(keys ...object.Key) {
	if len(keys) == 0 {
		return
	}
	k.mu.Lock()
	for _, key := range keys {
		k.touched[key] = true
	}
	k.mu.Unlock()
	k.wake.Set()
}

// waitsFor reports whether the Kustomization depends on another, or is declared
// by it.
func (k *kustomization) waitsFor(key object.Key) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.elder == key || slices.Contains(k.deps, key)
}

func (k *kustomization) get() *kustomizev1.Kustomization {
	ks, _ := k.s.Env.Store.Get(k.key).(*kustomizev1.Kustomization)
	return ks
}

// settle records that an attempt is done with. What comes of a commit that is
// held while another is the newest says nothing about that one.
func (k *kustomization) settle(a step.Attempt, ok bool, faults []wire.Fault) {
	if k.attempted.Revision != "" && a.Revision != "" && a.Revision != k.attempted.Revision {
		return
	}
	k.mu.Lock()
	k.settled, k.settledOK, k.faults = a, ok, faults
	again := !ok && k.regained
	k.mu.Unlock()
	k.s.Env.Feed.Nudge()
	if again {
		k.again()
	}
}

// again asks for an attempt now, also of what failed.
func (k *kustomization) again() {
	k.mu.Lock()
	k.retry, k.settled, k.regained = true, step.Attempt{}, false
	k.mu.Unlock()
	k.wake.Set()
}

func (k *kustomization) takeRetry() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	retry := k.retry
	k.retry = false
	return retry
}

// takeOver claims what was applied, and has those look again who applied it
// before: it is no longer theirs.
func (k *kustomization) takeOver(inventory []object.Key) {
	former := k.s.Owners.Former(k.holder, inventory)
	k.s.claim(k, inventory)
	for _, key := range former {
		if other := k.s.kustomization(key); other != nil {
			other.again()
		}
	}
}

// remember keeps what is applied, as it was rendered.
func (k *kustomization) remember(ks *kustomizev1.Kustomization, r *round) {
	k.mu.Lock()
	k.built = history.Applied{Revision: r.head.Revision(), Spec: ks.Spec, Items: r.items}
	k.mu.Unlock()
}

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

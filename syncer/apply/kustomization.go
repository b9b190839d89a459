package apply

import (
	"context"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
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
// turn, the board aside.
type kustomization struct {
	s   *Set
	key object.Key
	// board is what it and others tell each other.
	board *progress.Board
	// turn belongs to who steps it: its loop, or a group of its source's.
	turn turn

	// recorded is how what it applied last is recorded; nil: that was not read yet.
	recorded []byte

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
	left   string    // what its deletion leaves behind, as the last event said
	thaw   time.Time // end of the freeze that the newest commit waits for
	frozen bool      // an event said that a freeze began, and it is not over

	// drifted is what is to be put back, as soon as drifts allows it.
	drifted map[object.Key]bool
	drifts  step.Drifts
}

func newKustomization(s *Set, key object.Key) *kustomization {
	k := &kustomization{s: s, key: key, holder: owners.NewHolder(key), board: progress.NewBoard(), turn: make(turn, 1), planner: plan.NewConverting(s.Env.Kinds, s.Env.Convert), drifted: map[object.Key]bool{}, renderer: render.New(s.Env, s.Rights)}
	k.judge = &judge.Judge{
		Env: s.Env, Journal: s.Journal, Key: key, Expressions: &k.exprs, Settle: s.Settle, Logs: s.Logs,
		// Of the last good commit, while the newest is refused, Ready says nothing.
		Newest:    func(revision string) bool { return !k.failed || k.attempted.Revision == revision || !k.thaw.IsZero() },
		Concluded: func(want step.Attempt, ok bool) { k.finish(want, ok, nil) },
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

func (k *kustomization) get() *kustomizev1.Kustomization {
	ks, _ := k.s.Env.Store.Get(k.key).(*kustomizev1.Kustomization)
	return ks
}

// finish records that an attempt is done with. What comes of a commit that is
// kept while another is the newest says nothing about that one.
func (k *kustomization) finish(a step.Attempt, ok bool, faults []wire.Fault) {
	if k.attempted.Revision != "" && a.Revision != "" && a.Revision != k.attempted.Revision {
		return
	}
	again := k.board.Finish(a, ok, faults)
	k.s.Env.Feed.Nudge()
	if again {
		k.board.Again()
	}
}

// turn belongs to who steps a Kustomization.
type turn chan struct{}

// take makes the caller the one to step the Kustomization, until giveBack. It
// waits until ctx ends; a turn that is free is taken even then.
func (t turn) take(ctx context.Context) bool {
	if t.takeNow() {
		return true
	}
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeNow is take without any waiting.
func (t turn) takeNow() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// giveBack lets the next have it.
func (t turn) giveBack() { <-t }

// taken returns the other Kustomization that a stored object belongs to: by its
// labels and by that one's inventory, which are stored together.
func (k *kustomization) taken(key object.Key, live object.Object) (plan.Owner, bool) {
	owner, ok := plan.OwnerOf(live)
	if !ok || owner == k.owner() {
		return owner, false
	}
	ks, ok := k.s.Env.Store.Get(owners.KeyOf(owner)).(*kustomizev1.Kustomization)
	return owner, ok && slices.Contains(flux.InventoryOf(ks), key)
}

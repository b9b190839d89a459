package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/history"
	"headway.dev/syncer/judge"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/respond"
	"headway.dev/syncer/source"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// kustomization follows one Kustomization. Its fields belong to who has its
// turn, those under mu aside.
type kustomization struct {
	s    *Syncer
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

func newKustomization(s *Syncer, key object.Key) *kustomization {
	k := &kustomization{s: s, key: key, holder: owners.NewHolder(key), wake: env.NewFlag(), turn: make(chan struct{}, 1), planner: plan.New(), touched: map[object.Key]bool{}, renderer: render.New(s.env, s.rights)}
	k.judge = &judge.Judge{
		Env: s.env, Journal: s.journal, Key: key, Expressions: &k.exprs, Settle: s.cfg.Settle, Logs: s.cfg.Logs,
		// Of the last good commit, while the newest is refused, Ready says nothing.
		Newest:  func(revision string) bool { return !k.failed || k.attempted.Revision == revision || !k.thaw.IsZero() },
		Settled: func(want step.Attempt, ok bool) { k.settle(want, ok, nil) },
	}
	k.respond = &respond.Responder{
		Env: s.env, Rights: s.rights, Sources: s.sources, Journal: s.journal, Rollbacks: s.rollbacks, Key: key, Reason: k.judge.Reason, Quarantine: k.quarantine,
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

// run takes a step whenever it is woken or due, until the object is gone.
func (k *kustomization) run(ctx context.Context) {
	defer k.s.claim(k, nil)
	// Here, while the source is being fetched.
	plan.ReadSchemas()
	if !k.take(ctx) {
		return
	}
	if ks := k.get(); ks != nil {
		k.s.claim(k, k.inventory.Of(ks))
	}
	k.giveBack()
	for {
		delay, more := k.safeStep(ctx)
		if !more || ctx.Err() != nil {
			return
		}
		if !k.wake.Sleep(ctx, delay) {
			return
		}
	}
}

func (k *kustomization) get() *kustomizev1.Kustomization {
	ks, _ := k.s.env.Store.Get(k.key).(*kustomizev1.Kustomization)
	return ks
}

// observation is what a step has found out, and what it was found out about.
type observation struct {
	step.Observed
	ks   *kustomizev1.Kustomization
	head source.Head
	// revision is that of the head; empty: there is none.
	revision string
	// again is when drift that it was too early to put back is looked at again.
	again time.Time
}

// observe finds out what [step.Next] decides by, as far as that is needed.
func (k *kustomization) observe(ctx context.Context) (o observation) {
	k.mu.Lock()
	k.regained = false
	k.mu.Unlock()
	ks := k.get()
	o.ks, o.Now = ks, k.s.env.Now()
	switch {
	case ks == nil:
		o.Gone = true
		return o
	case ks.DeletionTimestamp != nil:
		o.Deleting = true
		return o
	}
	k.s.editors.TellSuspended(ctx, k.key, ks)
	if o.Suspended = ks.Spec.Suspend; o.Suspended {
		return o
	}
	head, err := k.s.sources.HeadOf(ks)
	if errors.Is(err, source.ErrNotYet) {
		o.Waiting = true
		return o
	}
	if err != nil {
		o.Blocked = fault.New(fault.ReasonOf(err, meta.ArtifactFailedReason), err)
		return o
	}
	if src := k.s.sources.Get(flux.SourceKey(ks)); src != nil && !src.Gathered(head) {
		o.Waiting = true // the group wakes it
		return o
	}
	o.head, o.revision = head, head.Revision()
	err = k.follows(ctx, ks, head)
	if errors.Is(err, errParent) {
		o.Waiting = true
		return o
	}
	// The parent may have changed it since it was read.
	cur := k.get()
	if cur == nil || cur.Generation != ks.Generation || cur.DeletionTimestamp != nil {
		o.Changed = true
		return o
	}
	ks, o.ks = cur, cur
	if err == nil {
		err = k.dependencies(ks, head)
	}
	if o.Blocked = err; err != nil {
		return o
	}
	k.judge.Restore(ks, head, k.inventory.Of(ks))
	o.Want, o.Attempted, o.Failed, o.Due = k.wants(ks, head), k.attempted, k.failed, k.due
	o.Drift, o.again = k.drift(o.Now)
	// It is asked for no more once it is made for another reason.
	o.Retry = o.Want == o.Attempted && k.takeRetry()
	return o
}

// step does what there is to do now. It returns when there is something to do
// again without being woken (0: never), and false once the object is gone.
func (k *kustomization) step(ctx context.Context) (time.Duration, bool) {
	o := k.observe(ctx)
	next := step.Next(o.Observed)
	switch next {
	case step.End:
		return 0, false
	case step.Release:
		return k.finalize(ctx, o.ks)
	case step.Rest:
		k.settle(step.Attempt{}, true, nil)
		return 0, true
	case step.Await:
		return 0, true
	case step.LookAgain:
		return time.Millisecond, true
	case step.Refuse:
		k.refuse(ctx, o.ks, o.revision, o.Blocked, nil)
		return k.until(o.ks, o.Now, false), true
	case step.Apply:
		k.attempt(ctx, o.ks, o.head, o.Want)
	case step.Heal:
		k.heal(ctx, o.ks, o.head)
	case step.Converge:
		k.converge(ctx, o.ks, o.head, o.Want)
	case step.Watch:
	}
	k.judge.Judge(ctx)
	k.respond.Respond(ctx, o.head, o.Want)
	k.respond.RetryRevert(ctx, o.head)
	now := k.s.env.Now()
	return step.Wait(now, k.due, k.watchFreeze(o.ks), o.again, k.respond.Due(), k.judge.NextLook(now)), true
}

// wants is the attempt to apply the head.
func (k *kustomization) wants(ks *kustomizev1.Kustomization, h source.Head) step.Attempt {
	return step.Attempt{
		Revision: h.Revision(), Generation: ks.Generation, Request: ks.Annotations[meta.ReconcileRequestAnnotation],
		Settings: k.settings(ks) + "\n" + h.Form.Mark() + "\n" + k.renderer.InputsID(ks),
	}
}

// until plans the next look after a refusal or a success.
func (k *kustomization) until(ks *kustomizev1.Kustomization, now time.Time, ok bool) time.Duration {
	d := ks.Spec.Interval.Duration
	if !ok {
		d = ks.GetRetryInterval()
	}
	d = env.Pace(d)
	k.due = now.Add(d)
	k.mu.Lock()
	k.next = k.due
	k.mu.Unlock()
	return d
}

// settings are the annotations, and what of the source, that change what an
// attempt may do.
func (k *kustomization) settings(ks *kustomizev1.Kustomization) string {
	list := append([]string{flux.Ignore(k.s.env.Store, flux.SourceKey(ks))}, flux.Settings(ks)...)
	if src := k.s.env.Store.Get(flux.SourceKey(ks)); src != nil {
		list = append(list, src.GetAnnotations()[flux.Freeze])
	}
	return strings.Join(list, "\n")
}

// dependencies fails while one of spec.dependsOn is not ready, or has yet to
// apply the head if it follows the same source: a commit that adds a database
// and what uses it brings the database first.
func (k *kustomization) dependencies(ks *kustomizev1.Kustomization, h source.Head) error {
	deps := flux.Dependencies(ks)
	k.mu.Lock()
	k.deps = deps
	k.mu.Unlock()
	if err := k.exprs.DependOn(ks); err != nil {
		return verdict.BadExpression(err)
	}
	for i, key := range deps {
		if err := k.s.rights.MayDependOn(ks, key); err != nil {
			return err
		}
		dep, ok := k.s.env.Store.Get(key).(*kustomizev1.Kustomization)
		why := ""
		// As in Flux the expression stands in place of the usual conditions.
		custom := ks.Spec.DependsOn[i].ReadyExpr
		ready := false
		if ok && custom != "" {
			var err error
			if ready, err = k.exprs.ReadyExpr(custom, ks, dep); err != nil {
				return verdict.BadExpression(fmt.Errorf("dependency '%s/%s': %w", key.Namespace, key.Name, err))
			}
		}
		switch {
		case !ok:
			why = "not found"
		case custom != "" && !ready:
			why = "is not ready according to readyExpr eval"
		case custom != "":
			continue
		case !flux.IsReady(dep) || dep.Status.ObservedGeneration != dep.Generation:
			why = "is not ready"
		case flux.SourceKey(dep) == flux.SourceKey(ks) && dep.Spec.SourceRef.Kind == ks.Spec.SourceRef.Kind && dep.Status.LastAppliedRevision != h.Revision():
			why = "revision is not up to date"
		default:
			continue
		}
		return fault.New(meta.DependencyNotReadyReason, fmt.Errorf("dependency '%s/%s' %s", key.Namespace, key.Name, why))
	}
	return nil
}

// drift reports whether something that was applied was changed by another, and
// if it is too early to put it back, when it is time.
func (k *kustomization) drift(now time.Time) (bool, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.attempted == (step.Attempt{}) {
		clear(k.touched)
		return false, time.Time{}
	}
	for key := range k.touched {
		if !k.planner.Drifted(key, k.s.env.Store.Get(key)) {
			delete(k.touched, key)
		}
	}
	if len(k.touched) == 0 {
		return false, time.Time{}
	}
	ok, at := k.drifts.Correct(now)
	if ok {
		clear(k.touched)
	}
	return ok, at
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
	k.s.env.Feed.Nudge()
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

// attempt applies the head, or another commit while that is not to be applied,
// and plans the next attempt.
func (k *kustomization) attempt(ctx context.Context, ks *kustomizev1.Kustomization, head source.Head, want step.Attempt) {
	before, failed := k.attempted, k.failed
	first := before == (step.Attempt{})
	k.attempted, k.thaw = want, time.Time{}
	if k.quarantined(ks, head) {
		k.failed = true
		k.hold(ctx, ks, head)
		c := apimeta.FindStatusCondition(ks.Status.Conditions, verdict.QuarantinedCondition)
		k.settle(want, false, []wire.Fault{{Reason: c.Message, Message: c.Message}})
	} else {
		k.failed = !k.converge(ctx, ks, head, want)
	}
	if k.failed && !k.same(ks) {
		// Nothing is known of it as it is now: the next step tries that.
		k.attempted, k.failed = before, failed
		return
	}
	if first && k.failed {
		// What was changed by hand before the start is put back.
		k.heal(ctx, k.get(), head)
	}
	if !k.thaw.IsZero() {
		// Of the commits that wait, one may be urgent.
		if urgent, ok := k.s.gates.Thawed(ks, head); ok {
			k.apply(ctx, ks, urgent, false)
		}
	}
	k.until(ks, k.s.env.Now(), !k.failed)
	if !k.thaw.IsZero() && k.thaw.Before(k.due) {
		k.due = k.thaw
	}
}

// heal applies again what was applied last.
func (k *kustomization) heal(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) {
	if ks == nil {
		return
	}
	if good, ok := git.ParseRevision(ks.Status.LastAppliedRevision); ok {
		h = h.At(good)
		k.apply(ctx, ks, h, k.quarantined(ks, h))
	}
}

// apply applies another commit than the head.
func (k *kustomization) apply(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head, hold bool) {
	want := k.attempted
	want.Revision, want.Hold = h.Revision(), hold
	k.converge(ctx, ks, h, want)
}

// finalize deletes what the Kustomization applied, if it prunes, and lets the
// object go.
func (k *kustomization) finalize(ctx context.Context, ks *kustomizev1.Kustomization) (time.Duration, bool) {
	k.judge.Drop()
	if err := k.release(ctx, ks); err != nil {
		if ctx.Err() != nil {
			return 0, true
		}
		if msg := err.Error(); msg != k.stuck {
			k.stuck = msg
			k.s.env.Log.Error("delete what the Kustomization applied", "kustomization", k.name(), "err", err)
			k.s.env.Record(ks, corev1.EventTypeWarning, meta.PruneFailedReason, flux.Bounded(msg))
		}
		return time.Second, true
	}
	return 0, k.get() != nil
}

// takeOver claims what was applied, and has those look again who applied it
// before: it is no longer theirs.
func (k *kustomization) takeOver(inventory []object.Key) {
	former := k.s.owners.Former(k.holder, inventory)
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

// appliedBy is what a Kustomization applied last, as it was rendered.
func (s *Syncer) appliedBy(key object.Key) history.Applied {
	k := s.kustomization(key)
	if k == nil {
		return history.Applied{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.built
}

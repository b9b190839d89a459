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
	"headway.dev/syncer/owners"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

const (
	// driftPause is the least time between two corrections of drift: a
	// controller that keeps setting a field that Git sets, too, must not turn
	// the cluster into a busy loop.
	driftPause = 100 * time.Millisecond
	// driftBurst is how many corrections there are at that pace; after them
	// it is driftSlow, until an interval passed without any.
	driftBurst = 10
	driftSlow  = 10 * time.Second
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
	onlooker  *render.Onlooker // whom it is planned for, if that is all
	inventory flux.KnownInventory
	holder    *owners.Holder
	exprs     verdict.Expressions

	renderer *render.Renderer

	// attempted is what the last attempt was made for, failed whether it
	// failed; due is when the next one is without any reason.
	attempted attempt
	failed    bool
	due       time.Time
	pending   *trial
	judgedBy  string // see healthSpec
	watched   *trial // what was found healthy, while on probation
	// stuck is why its deletion fails.
	stuck    string
	left     string    // what its deletion leaves behind, as it was told
	restored bool      // pending was, after the start
	thaw     time.Time // end of the freeze that the newest commit waits for
	// answered is the attempt whose failed verdict was answered; reason is why
	// the verdict was failed.
	answered attempt
	reason   string
	tries    revertTries
	frozen   bool // a freeze was told of that is not over

	drifts    int
	lastDrift time.Time

	mu      sync.Mutex
	touched map[object.Key]bool
	deps    []object.Key
	elder   object.Key // whose application of the head it waits for, see follows
	// heirs are those for which something is kept that is no longer declared.
	heirs map[object.Key]bool
	// settled is the attempt that is done with: applied and judged, or failed.
	settled   attempt
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

// attempt identifies what is applied.
type attempt struct {
	revision   string
	generation int64
	request    string // value of the reconcile.fluxcd.io/requestedAt annotation
	settings   string // Headway's annotations, the source's spec.ignore, and the build's inputs
	hold       bool   // goes back to what was good while the newest commit is in quarantine
}

func newKustomization(s *Syncer, key object.Key) *kustomization {
	return &kustomization{s: s, key: key, holder: owners.NewHolder(key), wake: env.NewFlag(), turn: make(chan struct{}, 1), planner: plan.New(), touched: map[object.Key]bool{}, renderer: render.New(s.env, s.rights)}
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

// step does what there is to do now. It returns when there is something to do
// again without being woken (0: never), and false once the object is gone.
func (k *kustomization) step(ctx context.Context) (time.Duration, bool) {
	k.mu.Lock()
	k.regained = false
	k.mu.Unlock()
	ks := k.get()
	switch {
	case ks == nil:
		return 0, false
	case ks.DeletionTimestamp != nil:
		return k.finalize(ctx, ks)
	}
	k.s.tellSuspended(ctx, k.key, ks)
	if ks.Spec.Suspend {
		k.settle(attempt{}, true, nil)
		return 0, true
	}
	now := k.s.env.Now()
	head, err := k.s.sources.HeadOf(ks)
	if errors.Is(err, source.ErrNotYet) {
		return 0, true
	}
	if err != nil {
		k.refuse(ctx, ks, "", fault.New(fault.ReasonOf(err, meta.ArtifactFailedReason), err), nil)
		return k.until(ks, now, false), true
	}
	if src := k.s.sources.Get(flux.SourceKey(ks)); src != nil && !src.Gathered(head) {
		return 0, true // the group wakes it
	}
	err = k.follows(ctx, ks, head)
	if errors.Is(err, errParent) {
		return 0, true
	}
	// The parent may have changed it since it was read.
	cur := k.get()
	if cur == nil || cur.Generation != ks.Generation || cur.DeletionTimestamp != nil {
		return time.Millisecond, true
	}
	ks = cur
	if err == nil {
		err = k.dependencies(ks, head)
	}
	if err != nil {
		k.refuse(ctx, ks, head.Revision(), err, nil)
		return k.until(ks, now, false), true
	}
	want := k.wants(ks, head)
	k.restore(ks, head)
	drift, wait := k.drift(now)
	switch {
	case want != k.attempted || k.takeRetry() || !now.Before(k.due):
		k.attempt(ctx, ks, head, want)
	case drift && k.failed:
		// The newest commit is bad: what is put back is the last good one.
		k.heal(ctx, ks, head)
	case drift:
		k.converge(ctx, ks, head, want)
	}
	k.judge(ctx)
	k.answer(ctx, head, want)
	k.retryRevert(ctx, head)
	delay := k.due.Sub(k.s.env.Now())
	if next := k.watchFreeze(ks); !next.IsZero() {
		delay = min(delay, next.Sub(k.s.env.Now()))
	}
	if wait > 0 {
		delay = min(delay, wait)
	}
	if !k.tries.due.IsZero() {
		delay = min(delay, k.tries.due.Sub(k.s.env.Now()))
	}
	if next, ok := k.nextLook(k.s.env.Now()); ok {
		delay = min(delay, next.Sub(k.s.env.Now()))
	}
	return max(delay, time.Millisecond), true
}

// wants is the attempt to apply the head.
func (k *kustomization) wants(ks *kustomizev1.Kustomization, h source.Head) attempt {
	return attempt{
		revision: h.Revision(), generation: ks.Generation, request: ks.Annotations[meta.ReconcileRequestAnnotation],
		settings: k.settings(ks) + "\n" + h.Form.Mark() + "\n" + k.renderer.InputsID(ks),
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
// if it is too early to put it back, for how long yet.
func (k *kustomization) drift(now time.Time) (bool, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.attempted == (attempt{}) {
		clear(k.touched)
		return false, 0
	}
	for key := range k.touched {
		if !k.planner.Drifted(key, k.s.env.Store.Get(key)) {
			delete(k.touched, key)
		}
	}
	if len(k.touched) == 0 {
		return false, 0
	}
	pause := driftPause
	if k.drifts >= driftBurst {
		pause = driftSlow
	}
	if wait := pause - now.Sub(k.lastDrift); wait > 0 {
		return false, wait
	}
	if now.Sub(k.lastDrift) > 6*driftSlow {
		k.drifts = 0
	}
	k.drifts++
	k.lastDrift = now
	clear(k.touched)
	return true, 0
}

// settle records that an attempt is done with. What comes of a commit that is
// held while another is the newest says nothing about that one.
func (k *kustomization) settle(a attempt, ok bool, faults []wire.Fault) {
	if k.attempted.revision != "" && a.revision != "" && a.revision != k.attempted.revision {
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
	k.retry, k.settled, k.regained = true, attempt{}, false
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
func (k *kustomization) attempt(ctx context.Context, ks *kustomizev1.Kustomization, head source.Head, want attempt) {
	before, failed := k.attempted, k.failed
	first := before == (attempt{})
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
	want.revision, want.hold = h.Revision(), hold
	k.converge(ctx, ks, h, want)
}

// finalize deletes what the Kustomization applied, if it prunes, and lets the
// object go.
func (k *kustomization) finalize(ctx context.Context, ks *kustomizev1.Kustomization) (time.Duration, bool) {
	k.pending, k.watched = nil, nil
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

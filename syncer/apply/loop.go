package apply

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/step"
	"headway.dev/syncer/wire"
)

// run takes a step whenever it is woken or due, until the object is gone.
func (k *kustomization) run(ctx context.Context) {
	defer k.s.claim(k, nil)
	// Here, while the source is being fetched.
	plan.ReadSchemas()
	if !k.turn.take(ctx) {
		return
	}
	if ks := k.get(); ks != nil {
		k.s.claim(k, k.inventory.Of(ks))
	}
	k.turn.giveBack()
	loop.Follow(ctx, "step a Kustomization", k.board.Wake, env.Retry, k.safeStep)
}

// safeStep is step for a Kustomization that may make it panic. Such a one is
// tried again as one that fails is, and its status tells why. It returns
// [loop.ErrGone] once the object is gone.
func (k *kustomization) safeStep(ctx context.Context) (delay time.Duration, err error) {
	if !k.turn.take(ctx) {
		return 0, ctx.Err()
	}
	defer k.turn.giveBack()
	more := false
	failed := fault.Catch(func() error {
		delay, more = k.step(ctx)
		return nil
	})
	ks := k.get()
	switch {
	case failed == nil && more:
		return delay, nil
	case failed == nil, ks == nil:
		return 0, loop.ErrGone
	}
	_ = fault.Catch(func() error {
		k.refuse(ctx, ks, "", fault.New(meta.ReconciliationFailedReason, failed), nil)
		return nil
	})
	return k.until(ks, k.s.Env.Now(), false), nil
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
	k.board.Begin()
	ks := k.get()
	o.ks, o.Now = ks, k.s.Env.Now()
	switch {
	case ks == nil:
		o.Gone = true
		return o
	case ks.DeletionTimestamp != nil:
		o.Deleting = true
		return o
	}
	k.s.Editors.UpdateSuspended(ctx, k.key, ks)
	if o.Suspended = ks.Spec.Suspend; o.Suspended {
		return o
	}
	head, err := k.s.Sources.HeadOf(ks)
	if errors.Is(err, source.ErrNotYet) {
		o.Waiting = true
		return o
	}
	if err != nil {
		o.Blocked = fault.New(fault.ReasonOf(err, meta.ArtifactFailedReason), err)
		return o
	}
	if src := k.s.Sources.Get(flux.SourceKey(ks)); src != nil && src.RequestGroup(head) {
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
		err = k.dependencies(ctx, ks, head)
	}
	if o.Blocked = err; err != nil {
		return o
	}
	k.judge.Restore(ks, head, k.inventory.Of(ks))
	o.Want, o.Attempted, o.Failed, o.Due = k.wants(ctx, ks, head), k.attempted, k.failed, k.due
	o.Quarantined = quarantined(ks, head)
	o.Drift, o.again = k.drift(o.Now)
	// One that is asked for while there is another reason stays for the next step.
	o.Retry = o.Want == o.Attempted && k.board.TakeRetry()
	return o
}

// step does what there is to do now. It returns when there is something to do
// again without being woken (0: never), and false once the object is gone.
func (k *kustomization) step(ctx context.Context) (time.Duration, bool) {
	ctx = rights.WithTurn(ctx)
	o := k.observe(ctx)
	next := step.Next(o.Observed)
	switch next {
	case step.End:
		return 0, false
	case step.Release:
		return k.finalize(ctx, o.ks)
	case step.Rest:
		k.finish(step.Attempt{}, true, nil)
		return 0, true
	case step.Await:
		return 0, true
	case step.LookAgain:
		return time.Millisecond, true
	case step.Refuse:
		k.refuse(ctx, o.ks, o.revision, o.Blocked, nil)
		return k.until(o.ks, o.Now, false), true
	case step.Apply, step.Hold:
		k.attempt(ctx, o, next == step.Hold)
	case step.Heal:
		clear(k.drifted)
		k.heal(ctx, o.ks, o.head)
	case step.Converge:
		clear(k.drifted)
		k.converge(ctx, o.ks, o.head, o.Want)
	case step.Watch, step.Forget, step.Urgent:
	}
	k.judge.Judge(ctx)
	k.respond.Respond(ctx, o.head, o.Want)
	k.respond.RetryRevert(ctx, o.head)
	now := k.s.Env.Now()
	return step.Wait(now, k.due, k.watchFreeze(o.ks), o.again, k.respond.Due(), k.judge.NextLook(now)), true
}

// wants is the attempt to apply the head.
func (k *kustomization) wants(ctx context.Context, ks *kustomizev1.Kustomization, h source.Head) step.Attempt {
	return step.Attempt{
		Revision: h.Revision(), Generation: ks.Generation, Request: flux.Of(ks).Request.Value,
		Settings: settings(k.s.Env.Store, ks) + "\n" + h.Mark() + "\n" + k.renderer.InputsID(ctx, ks),
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
	k.board.Plan(k.due)
	return d
}

// settings are the annotations, and what of the source, that change what an
// attempt may do.
func settings(stored object.Reader, ks *kustomizev1.Kustomization) string {
	list := append([]string{flux.Ignore(stored, flux.SourceKey(ks))}, flux.Attempt(ks)...)
	if src := stored.Get(flux.SourceKey(ks)); src != nil {
		list = append(list, flux.Attempt(src)...)
	}
	return strings.Join(list, "\n")
}

// drift reports whether something that was applied was changed by another, and
// if it is too early to put it back, when it is time.
func (k *kustomization) drift(now time.Time) (bool, time.Time) {
	touched := k.board.TakeTouched()
	if k.attempted.None() {
		return false, time.Time{} // it is applied anyway
	}
	for _, key := range touched {
		k.drifted[key] = true
	}
	maps.DeleteFunc(k.drifted, func(key object.Key, _ bool) bool { return !k.planner.Drifted(key, k.s.Env.Store.Get(key)) })
	if len(k.drifted) == 0 {
		return false, time.Time{}
	}
	return k.drifts.Correct(now)
}

// attempt applies the head, or another commit while that is not to be applied,
// and plans the next attempt.
func (k *kustomization) attempt(ctx context.Context, o observation, hold bool) {
	ks, head := o.ks, o.head
	before, failed := k.attempted, k.failed
	k.attempted, k.thaw = o.Want, time.Time{}
	if hold {
		k.failed = true
		k.hold(ctx, ks, head)
		c := apimeta.FindStatusCondition(ks.Status.Conditions, flux.QuarantinedCondition)
		k.finish(o.Want, false, []wire.Fault{{Reason: c.Message, Message: c.Message}})
	} else {
		k.failed = !k.converge(ctx, ks, head, o.Want)
	}
	out := step.Outcome{First: before.None(), Failed: k.failed, Changed: k.failed && !k.same(ks), Drift: o.Drift, Frozen: !k.thaw.IsZero()}
	for next := out.Next(); next != step.Watch; next = out.Next() {
		switch next {
		case step.Forget:
			k.attempted, k.failed = before, failed
			return // what has drifted stays to be put back
		case step.Heal:
			k.heal(ctx, k.get(), head)
			out.First, out.Drift, out.Frozen = false, false, !k.thaw.IsZero()
		case step.Urgent:
			out.Frozen = false
			// Of the commits that wait, one may be urgent.
			if urgent, ok := k.s.Gates.Thawed(ks, head); ok {
				k.apply(ctx, ks, urgent, false)
			}
		default:
			return
		}
	}
	if o.Drift {
		clear(k.drifted)
	}
	k.until(ks, k.s.Env.Now(), !k.failed)
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
		k.apply(ctx, ks, h, quarantined(ks, h))
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
			k.s.Env.Log.Error("delete what the Kustomization applied", "kustomization", k.name(), "err", err)
			k.s.Env.Record(ks, corev1.EventTypeWarning, meta.PruneFailedReason, flux.Bounded(msg))
		}
		return time.Second, true
	}
	return 0, k.get() != nil
}

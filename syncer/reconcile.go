package syncer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/change"
	"headway.dev/manifests/load"
	"headway.dev/manifests/object"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// round is one attempt to apply a revision.
type round struct {
	head   head
	want   attempt
	commit *wire.Commit
	items  []load.Item
	made   int // how many of the items had to be decoded or rendered
	plan   plan.Result
	before string // what was known of the cluster before
	digest string
	// resources identifies what was rendered.
	resources string
	millis    map[string]float64
	drift     bool
	hold      bool // it is the last good commit, while the newest is in quarantine
	began     time.Time
	// culprits says who changed what is put back, if that is known.
	culprits string
}

func (r *round) took(phase string, since time.Time) {
	r.millis[phase] += float64(time.Since(since).Microseconds()) / 1000
}

// converge makes the stored objects what the head declares, whole or not at
// all, and reports whether it could.
func (k *kustomization) converge(ctx context.Context, ks *kustomizev1.Kustomization, head head, want attempt) bool {
	r := &round{head: head, want: want, hold: want.hold, millis: map[string]float64{}, began: k.s.now()}
	r.drift = ks.Status.LastAppliedRevision == head.revision() && ks.Status.ObservedGeneration == ks.Generation
	if c, err := head.repo.Commit(head.Commit); err == nil {
		r.commit = wireCommit(c)
		if src := k.s.source(sourceKey(ks)); src != nil {
			r.commit.Signer, _ = src.trusted(head.Commit)
		}
	}
	err := k.s.safely(func() (err error) {
		ks, err = k.build(ctx, ks, r)
		return err
	})
	for try := 0; err == nil && try < 10; try++ {
		if err = k.s.safely(func() error { return k.plan(ctx, ks, r) }); err != nil {
			break
		}
		if err = k.store(ctx, ks, r); err == nil || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			break
		}
		// Someone changed an object between the plan and the commit: again.
		if try < 9 {
			err = nil
		}
	}
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil:
	case !thaw(err).IsZero():
		k.freeze(ctx, ks, r, err)
	case head.revision() != k.attempted.revision:
		// The conditions are about the newest commit.
		k.s.log.Warn("not applied again", "kustomization", k.name(), "revision", head.revision(), "err", err)
		k.s.record(ks, corev1.EventTypeWarning, reasonOf(err, meta.ReconciliationFailedReason), bounded(err.Error()))
	default:
		k.refuse(ctx, ks, head.revision(), err, r)
	}
	return false
}

// build is the phase that renders the tree. It returns the Kustomization with
// the spec that counts at the head.
func (k *kustomization) build(ctx context.Context, ks *kustomizev1.Kustomization, r *round) (*kustomizev1.Kustomization, error) {
	start := time.Now()
	defer func() { r.took("build", start) }()
	t, err := r.head.tree(k.ignore(ks))
	if err != nil {
		return ks, fail(meta.ArtifactFailedReason, err)
	}
	if err := k.lockBuild(ctx); err != nil {
		return ks, err
	}
	defer k.unlockBuild()
	building, done := k.interruptible(ctx)
	defer done()
	r.items, err = k.sparing(ks, r.head, func() (items []load.Item, err error) {
		ks, items, err = k.renderSettled(building, ks, t, r.head.revision())
		return items, err
	})
	k.note(ks, r.head, err)
	r.made = k.builder.made
	if err == nil {
		r.resources = k.prints.digest(r.items)
	}
	return ks, err
}

// errInvalid holds all faults of a plan.
type errInvalid struct{ errs []*plan.Error }

func (e *errInvalid) Error() string {
	lines := make([]string, len(e.errs))
	for i, f := range e.errs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// input is what a plan for the Kustomization depends on.
func (k *kustomization) input(ks *kustomizev1.Kustomization, items []load.Item) (plan.Input, error) {
	in := plan.Input{
		Items: items, Inventory: k.inventory.of(ks), Owner: k.owner(), Claimed: k.s.claimed(k.key),
		Prune: ks.Spec.Prune, Force: ks.Spec.Force, Ignore: ks.Spec.Ignore,
	}
	for _, a := range []struct {
		name  string
		known []string
	}{{OnFailure, []string{"", "none", onFailureRevert, onFailureHold}}, {GitWrites, []string{"", healMode, rejectMode, commitMode}}} {
		if v := ks.Annotations[a.name]; !slices.Contains(a.known, v) {
			return in, fmt.Errorf("annotation %s: %q is not supported: use one of %s", a.name, v, strings.Join(a.known[1:], ", "))
		}
	}
	if _, err := k.s.patienceOf(ks); err != nil {
		return in, err
	}
	if _, err := k.exprs.healthOf(ks); err != nil {
		return in, badExpression(err)
	}
	return in, nil
}

// claimed looks up which other Kustomization has applied an object.
func (s *Syncer) claimed(self object.Key) func(object.Key) (plan.Owner, bool) {
	return func(key object.Key) (plan.Owner, bool) {
		s.mu.Lock()
		k := s.applied[key]
		s.mu.Unlock()
		if k == nil || k.key == self {
			return plan.Owner{}, false
		}
		return k.owner(), true
	}
}

// plan is the phase that decides, and checks every object.
func (k *kustomization) plan(ctx context.Context, ks *kustomizev1.Kustomization, r *round) error {
	start := time.Now()
	in, err := k.input(ks, r.items)
	k.s.neighbours(k.key, sourceKey(ks), r.head).tell(ctx, &in)
	if err != nil {
		return fail(reasonOf(err, meta.BuildFailedReason), err)
	}
	r.plan = k.planner.Plan(in, k.s.cfg.Store)
	r.took("plan", start)
	if err := k.s.rights().authorize(ks, r.plan); err != nil {
		return err
	}
	if len(r.plan.Errors) > 0 {
		return fail(meta.ReconciliationFailedReason, &errInvalid{errs: r.plan.Errors})
	}
	if err := k.s.pass(ks, r); err != nil {
		return err
	}
	r.digest = digest(r.plan)
	return nil
}

// digest identifies what a plan does.
func digest(p plan.Result) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, a := range p.Actions {
		if !a.Writes() {
			continue
		}
		version := ""
		if a.Live != nil {
			version = a.Live.GetResourceVersion()
		}
		// Errors cannot occur: these are strings.
		_ = enc.Encode([]any{a.Type, a.Key.String(), version, fieldPaths(a), a.Recreate})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func fieldPaths(a plan.Action) []string {
	var paths []string
	if a.Type != plan.Update {
		return nil
	}
	for _, f := range a.Fields {
		paths = append(paths, f.Path)
	}
	return paths
}

// store is the phase that writes: all actions, the status and the journal in
// one transaction. It writes nothing if there is nothing to write.
func (k *kustomization) store(ctx context.Context, ks *kustomizev1.Kustomization, r *round) error {
	start := time.Now()
	now := k.s.now()
	var changes []change.Change
	var actions []plan.Action
	for _, a := range r.plan.Actions {
		if a.Writes() {
			changes = append(changes, writes(a, now)...)
			actions = append(actions, a)
		}
	}
	visible := r.plan.Changes()
	advanced := ks.Status.LastAppliedRevision != r.head.revision()
	waits := ks.Spec.Wait || len(ks.Spec.HealthChecks) > 0
	// The last good commit, put back while the newest is refused, is judged
	// already; not so one that is gone back to.
	heals := k.failed && k.attempted.revision != r.head.revision()
	health := healthSpec(ks)
	rejudge := ks.Status.ObservedGeneration != ks.Generation && k.judgedBy != health
	judge := advanced || !heals && (rejudge || visible && !r.drift || k.pending != nil && !k.pending.failed || k.pending == nil && waits && !isReady(ks) ||
		k.pending == nil && stateOf(ks).revision != r.head.revision())
	r.before = k.before(ks, r.plan)
	if !slices.Contains(ks.Finalizers, kustomizev1.KustomizationFinalizer) {
		changes = append(changes, change.Patch(k.key, func(o object.Object) bool {
			if slices.Contains(o.GetFinalizers(), kustomizev1.KustomizationFinalizer) {
				return false
			}
			o.SetFinalizers(append(slices.Clone(o.GetFinalizers()), kustomizev1.KustomizationFinalizer))
			return true
		}))
	}
	edit := func(o object.Object) bool {
		cur, ok := o.(*kustomizev1.Kustomization)
		if !ok {
			return false
		}
		return k.appliedStatus(cur, r, now, heals, judge, waits)
	}
	probe := ks.DeepCopy()
	statusChanges := edit(probe)
	var entry *wire.Entry
	if visible || advanced {
		entry = &wire.Entry{
			Type: wire.EntryApplied, Time: now, Source: sourceName(ks), Kustomization: k.name(), Revision: r.head.revision(),
			Commit: r.commit, PlanDigest: r.digest, Objects: results(r.plan), Millis: r.millis,
		}
		if advanced && !r.hold {
			k.with(entry, ks.Status.LastAppliedRevision, r)
		}
		if r.drift {
			entry.Type = wire.EntryDrift
			entry.Reason = k.s.blameDrift(r.plan, entry.Objects)
			r.culprits = entry.Reason
		}
		if r.hold {
			entry.Reason = k.attempted.revision + " has failed: back to the last good commit"
		}
	}
	changes = append(changes, k.forget(ks, r)...)
	if len(changes) > 0 || statusChanges {
		changes = append(changes, change.PatchStatus(k.key, edit))
		if advanced {
			k.supersede(ctx, ks, r.head.revision())
		}
		states, err := k.s.journal.commit(ctx, change.Tx{Changes: changes}, entry)
		if err != nil {
			return fail(meta.ReconciliationFailedReason, err)
		}
		k.learn(actions, changes, states)
		r.took("store", start)
	}
	if visible || advanced {
		k.announce(ks, r, actions)
		k.tellIgnored(actions)
	}
	k.keep(ks, r)
	k.takeOver(r.plan.Inventory)
	k.remember(ks, r)
	if judge {
		k.judgedBy = health
		k.watch(ks, r)
	} else {
		k.settle(r.want, k.pending == nil, nil)
	}
	return nil
}

// healthSpec is what of the spec decides how a commit is judged: when that
// changes it is judged anew.
func healthSpec(ks *kustomizev1.Kustomization) string {
	// It cannot fail: these came as JSON.
	data, _ := json.Marshal([]any{ks.Spec.Wait, ks.Spec.HealthChecks, ks.Spec.HealthCheckExprs, ks.GetTimeout()})
	return string(data)
}

// with names the other commits that are applied together with the head. It is
// for readers: what cannot be listed is left out.
func (k *kustomization) with(entry *wire.Entry, applied string, r *round) {
	from, ok := git.ParseRevision(applied)
	if !ok {
		return
	}
	list, err := r.head.repo.Between(from.Commit, r.head.Commit, wire.MaxWith+2)
	if err != nil {
		k.s.log.Warn("list the commits that are applied together", "kustomization", k.name(), "revision", r.head.revision(), "err", err)
		return
	}
	for _, c := range list {
		switch {
		case c.SHA == r.head.Commit:
		case len(entry.With) == wire.MaxWith:
			entry.MoreWith = true
		default:
			entry.With = append(entry.With, *wireCommit(c))
		}
	}
}

// learn tells the planner what was stored, so that it knows its own writes.
func (k *kustomization) learn(actions []plan.Action, changes []change.Change, states []object.Object) {
	stored := map[object.Key]object.Object{}
	for i, c := range changes {
		if i < len(states) {
			stored[c.Key] = states[i]
		}
	}
	for _, a := range actions {
		k.planner.Applied(a, stored[a.Key])
	}
}

// writes are the changes of one action. They fail with a Conflict if the
// object is no longer what the plan saw.
func writes(a plan.Action, now time.Time) []change.Change {
	guard := func(c change.Change) change.Change {
		inner := c.Mutate
		c.Mutate = func(current object.Object) (object.Object, error) {
			if !plan.SameButStatus(a.Live, current) {
				return nil, apierrors.NewConflict(plan.Resource(a.Key), a.Key.Name, errors.New("the object changed since it was planned"))
			}
			return inner(current)
		}
		return c
	}
	background := metav1.DeletePropagationBackground
	remove := change.Delete(a.Key, metav1.DeleteOptions{PropagationPolicy: &background}, now)
	switch {
	case a.Type == plan.Delete:
		return []change.Change{guard(remove)}
	case a.Recreate:
		return []change.Change{guard(remove), change.Create(a.Object, now)}
	case a.Live == nil:
		return []change.Change{change.Create(a.Object, now)}
	default:
		a.Object.SetResourceVersion("")
		return []change.Change{guard(change.Update(a.Object))}
	}
}

// appliedStatus edits the status for what was applied: heals says that it is
// not the newest commit, judge that it is judged, waits that Ready waits for
// the verdict.
func (k *kustomization) appliedStatus(ks *kustomizev1.Kustomization, r *round, now time.Time, heals, judge, waits bool) bool {
	before := ks.Status.DeepCopy()
	st := &ks.Status
	set := conditions{list: &st.Conditions, generation: ks.Generation, now: metav1.NewTime(now)}
	revision := r.head.revision()
	st.ObservedGeneration = ks.Generation
	st.LastAppliedRevision = revision
	st.LastHandledReconcileAt = r.want.request
	if !r.drift || st.LastAttemptedRevision == "" {
		st.LastAttemptedRevision = k.attempted.revision
	}
	st.Inventory = k.inventory.form(r.plan.Inventory)
	msg := "Applied revision: " + revision
	switch {
	case r.hold, heals && before.LastAppliedRevision == revision, r.drift && k.pending != nil:
		// What the conditions say holds on.
	case judge && waits:
		msg = fmt.Sprintf("Running health checks for revision %s with a timeout of %s", revision, ks.GetTimeout())
		set.put(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingReason, msg)
		set.put(meta.ReadyCondition, metav1.ConditionUnknown, meta.ProgressingReason, msg)
		set.put(meta.HealthyCondition, metav1.ConditionUnknown, meta.ProgressingReason, msg)
	case r.drift && (ks.Spec.Wait || len(ks.Spec.HealthChecks) > 0):
		// Ready already: the verdict stands.
	default:
		set.put(meta.ReadyCondition, metav1.ConditionTrue, meta.ReconciliationSucceededReason, msg)
		set.drop(meta.ReconcilingCondition, meta.StalledCondition, meta.HealthyCondition)
	}
	if judge {
		set.judging(revision, r.before)
	}
	if !heals {
		set.drop(frozenCondition, overrunCondition)
	}
	if msg := unpruned(r); msg != "" {
		set.put(unprunedCondition, metav1.ConditionTrue, pruneSkippedReason, msg)
	} else {
		set.drop(unprunedCondition)
	}
	if !r.hold && (!heals || before.LastAppliedRevision != revision) {
		set.drop(quarantinedCondition)
	}
	if before.LastAppliedRevision != revision && (!judge || !waits) {
		r.snapshot(st, now, meta.ReconciliationSucceededReason)
	}
	return !sameStatus(before, st)
}

func sourceName(ks *kustomizev1.Kustomization) string {
	key := sourceKey(ks)
	return key.Namespace + "/" + key.Name
}

// ignore is the source's spec.ignore, or Flux's default.
func (k *kustomization) ignore(ks *kustomizev1.Kustomization) string {
	return k.s.ignoreOf(sourceKey(ks))
}

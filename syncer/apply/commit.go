package apply

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	githistory "headway.dev/syncer/git/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

var (
	quotaKind = schema.GroupKind{Kind: "ResourceQuota"}
	rangeKind = schema.GroupKind{Kind: "LimitRange"}
	classKind = schema.GroupKind{Group: schedulingv1.GroupName, Kind: "PriorityClass"}
)

// part is what one Kustomization's round adds to a transaction: its actions, its
// status and entries for the journal.
type part struct {
	k  *kustomization
	ks *kustomizev1.Kustomization
	r  *round
	// first are changes that come before those of all parts.
	first, changes []change.Change
	records        []change.Record
	actions        []plan.Action
	entries        []*wire.Entry
	// announces says that there is something to report, advanced that another revision
	// is applied than before, judge that it is waited for until it is healthy.
	announces, advanced, judge bool
}

// part is the phase that puts together what a round writes. It has no changes if
// there is nothing to write.
func (r *round) part(ks *kustomizev1.Kustomization) *part {
	k := r.k
	p := &part{k: k, ks: ks, r: r, records: r.record(ks)}
	now, by := k.s.Env.Now(), k.s.Rights.Writer(ks)
	for _, a := range r.plan.Actions {
		if !a.Writes() {
			continue
		}
		if p.actions = append(p.actions, a); makesRoom(a) {
			p.first = append(p.first, writes(a, now, by)...)
		} else {
			p.changes = append(p.changes, writes(a, now, by)...)
		}
	}
	p.changes = append(definitionsStand(r.plan.Actions), p.changes...)
	visible := r.plan.Changes()
	p.advanced = ks.Status.LastAppliedRevision != r.head.Revision()
	p.announces = visible || p.advanced
	waits := ks.Spec.Wait || len(ks.Spec.HealthChecks) > 0
	// The last good commit, put back while the newest is refused, is judged
	// already; not so one that is gone back to.
	heals := k.failed && k.attempted.Revision != r.head.Revision()
	rejudge := ks.Status.ObservedGeneration != ks.Generation && k.judge.OtherSpec(ks)
	p.judge = p.advanced || !heals && (rejudge || visible && !r.drift || k.judge.Open() || !k.judge.Waits() && waits && !flux.IsReady(ks) ||
		!k.judge.Waits() && verdict.Of(ks).Revision != r.head.Revision())
	r.before = k.judge.Before(ks, k.inventory.Of(ks), r.plan)
	if !slices.Contains(ks.Finalizers, kustomizev1.KustomizationFinalizer) {
		p.changes = append(p.changes, change.Patch(k.key, func(o object.Object) bool {
			if slices.Contains(o.GetFinalizers(), kustomizev1.KustomizationFinalizer) {
				return false
			}
			o.SetFinalizers(append(slices.Clone(o.GetFinalizers()), kustomizev1.KustomizationFinalizer))
			return true
		}))
	}
	edit := status.Applied{
		Snapshot: r.snapshot(), Request: r.want.Request, Newest: k.attempted.Revision, Inventory: k.inventory.Form(r.plan.Inventory, r.plan.Kinds), Before: r.before,
		Unpruned: unpruned(r).String(), Drift: r.drift, Hold: r.hold, Heals: heals, Judge: p.judge, Judging: k.judge.Waits(), Waits: waits,
	}.Edit(now)
	p.changes = append(p.changes, r.forget(ks)...)
	if len(p.first)+len(p.changes) == 0 && !edit.Changes(ks) {
		return p
	}
	p.changes = append(p.changes, edit.Change(k.key))
	if p.advanced {
		p.entries = append(p.entries, k.judge.Superseded(ks, r.head.Revision()))
	}
	if p.announces {
		p.entries = append(p.entries, r.journalled(ks, now, p.advanced)...)
	}
	return p
}

// makesRoom reports whether an action changes what is said of other objects so that it
// has to come before them, whatever the order of kinds and Kustomizations: a commit is
// judged as a whole, and what it takes away keeps nothing of it out.
func makesRoom(a plan.Action) bool {
	switch a.Key.GroupKind {
	case quotaKind, rangeKind:
		return a.Live != nil
	case classKind:
		was, _ := a.Live.(*schedulingv1.PriorityClass)
		is, _ := a.Object.(*schedulingv1.PriorityClass)
		return was != nil && (is == nil || was.GlobalDefault && !is.GlobalDefault)
	}
	return false
}

// journalled are the journal's entries about what a round applies.
func (r *round) journalled(ks *kustomizev1.Kustomization, now time.Time, advanced bool) []*wire.Entry {
	objects := results(r.plan)
	late, rest := r.late(objects)
	if len(late) == 0 {
		return []*wire.Entry{r.entry(ks, now, advanced, objects)}
	}
	entries := []*wire.Entry{{
		Type: wire.EntryApplied, Time: now, Source: flux.SourceName(ks), Kustomization: r.k.name(), Revision: r.head.Revision(), Commit: r.commit,
		PlanDigest: r.digest, Objects: late, Millis: r.millis, Reason: lateReason,
	}}
	if slices.ContainsFunc(rest, func(o wire.ObjectResult) bool { return o.Action != string(plan.Skip) }) {
		return append(entries, r.entry(ks, now, advanced, rest))
	}
	r.changedBy = lateReason
	return entries
}

// lateReason is what is said of deletions that come after their commit.
const lateReason = "no longer declared"

// late are, of what a round does to objects, the deletions that a round before held back.
// Of those whose revision was applied before there are no others: nobody's change by hand
// is undone by a deletion.
func (r *round) late(objects []wire.ObjectResult) (late, rest []wire.ObjectResult) {
	if !r.drift {
		return nil, objects
	}
	for _, o := range objects {
		if o.Action == string(plan.Delete) {
			late = append(late, o)
		} else {
			rest = append(rest, o)
		}
	}
	return late, rest
}

// entry is the journal's entry about what a round does to objects.
func (r *round) entry(ks *kustomizev1.Kustomization, now time.Time, advanced bool, objects []wire.ObjectResult) *wire.Entry {
	k := r.k
	entry := &wire.Entry{
		Type: wire.EntryApplied, Time: now, Source: flux.SourceName(ks), Kustomization: k.name(), Revision: r.head.Revision(),
		Commit: r.commit, PlanDigest: r.digest, Objects: objects, Millis: r.millis,
	}
	if advanced && !r.hold {
		r.with(entry, ks.Status.LastAppliedRevision)
	}
	if r.drift {
		entry.Type = wire.EntryDrift
		entry.Reason = k.s.Editors.NameIn(r.plan, entry.Objects)
		r.changedBy = entry.Reason
	}
	if r.hold {
		entry.Reason = k.attempted.Revision + " has failed: back to the last good commit"
	}
	return entry
}

// commit is the phase that writes: all parts in one transaction, or nothing.
// If it fails it returns the part with the change that the store refused, if it
// was one.
func (s *Set) commit(ctx context.Context, parts ...*part) (refused *part, err error) {
	start := time.Now()
	var at atomic.Pointer[part]
	var tx change.Tx
	var entries []*wire.Entry
	add := func(p *part, changes []change.Change) {
		for _, c := range changes {
			mutate := c.Mutate
			// The store makes the changes one after the other and stops at the first
			// that it refuses.
			c.Mutate = func(current object.Object) (object.Object, error) {
				at.Store(p)
				return mutate(current)
			}
			tx.Changes = append(tx.Changes, c)
		}
	}
	for _, p := range parts {
		add(p, p.first)
	}
	for _, p := range parts {
		add(p, p.changes)
		tx.Append = append(tx.Append, p.records...)
		entries = append(entries, p.entries...)
	}
	if len(tx.Changes)+len(tx.Append) == 0 {
		return nil, nil
	}
	states, err := s.Journal.Commit(ctx, tx, entries...)
	if err != nil {
		return at.Load(), fault.New(meta.ReconciliationFailedReason, err)
	}
	stored := make(map[object.Key]object.Object, len(states))
	for i, c := range tx.Changes {
		stored[c.Key] = states[i]
	}
	for _, p := range parts {
		p.learn(stored)
		if len(p.changes) > 0 {
			p.r.took("store", start)
		}
	}
	return nil, nil
}

// learn takes up what was stored: the planner knows its own writes, and the
// Kustomization may have come, or changed, with the transaction.
func (p *part) learn(stored map[object.Key]object.Object) {
	for _, a := range p.actions {
		p.k.planner.Learn(a, stored[a.Key])
	}
	if ks, ok := stored[p.k.key].(*kustomizev1.Kustomization); ok {
		p.ks = ks
	}
}

// done does what follows once a part is stored: it is announced, and judged.
func (p *part) done() {
	k, r := p.k, p.r
	if p.advanced {
		k.judge.Advance(r.head.Revision())
	}
	if p.announces {
		r.announce(p.ks, p.actions)
		r.warnIgnored(p.actions)
		r.foreseen.Record(k.s.Env, p.actions)
	}
	r.keep(p.ks)
	k.s.takeOver(k, r.plan.Inventory)
	k.board.Remember(r.rendered)
	for _, rec := range p.records {
		k.recorded = rec.Data
	}
	if !r.older(p.ks) {
		k.s.Owners.Settle(k.holder)
	}
	if p.judge {
		k.judge.Watch(p.ks, r.subject())
	} else {
		k.finish(r.want, !k.judge.Waits(), nil)
	}
}

// with names the other commits that are applied together with the head. It is
// for readers: what cannot be listed is left out.
func (r *round) with(entry *wire.Entry, applied string) {
	k := r.k
	from, ok := git.ParseRevision(applied)
	if !ok {
		return
	}
	repo, err := r.head.Repository()
	var list []git.Commit
	if err == nil {
		list, err = githistory.Between(repo, from.Commit, r.head.Commit, wire.MaxWith+2)
	}
	if err != nil {
		k.s.Env.Log.Warn("list the commits that are applied together", "kustomization", k.name(), "revision", r.head.Revision(), "err", err)
		return
	}
	for _, c := range list {
		switch {
		case c.SHA == r.head.Commit:
		case len(entry.With) == wire.MaxWith:
			entry.MoreWith = true
		default:
			entry.With = append(entry.With, *source.Commit(c))
		}
	}
}

// definitionsStand fail with a Conflict if a definition is no longer the one that custom
// resources were planned by. One that the plan itself writes is held as an object.
func definitionsStand(actions []plan.Action) []change.Change {
	written, creates, seen := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, a := range actions {
		if a.Key.GroupKind == scheme.Definition && a.Writes() {
			written[a.Key.Name] = true
		}
		if a.Kind != nil && a.Kind.Custom != nil && a.Type == plan.Create {
			creates[a.Kind.Custom.Name()] = true
		}
	}
	var changes []change.Change
	for _, a := range actions {
		if a.Object == nil || a.Kind == nil || a.Kind.Custom == nil || seen[a.Kind.Custom.Name()] || written[a.Kind.Custom.Name()] {
			continue
		}
		of := a.Kind.Custom
		seen[of.Name()] = true
		key := object.Key{GroupKind: scheme.Definition, Name: of.Name()}
		changes = append(changes, change.Change{Key: key, Mutate: func(cur object.Object) (object.Object, error) {
			crd, ok := cur.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || creates[of.Name()] && crd.DeletionTimestamp != nil || !of.Same(crd) {
				return nil, apierrors.NewConflict(plan.Resource(key), key.Name, errors.New("the CustomResourceDefinition changed since its objects were planned"))
			}
			return cur, nil
		}})
	}
	return changes
}

// writes are the changes of one action, made by a user, or by Headway if it has
// no name. They fail with a Conflict if the object is no longer what the plan saw.
func writes(a plan.Action, now time.Time, by change.User) []change.Change {
	changes := guarded(a, now)
	if by.Name != "" {
		for i := range changes {
			changes[i].By = &by
		}
	}
	return changes
}

func guarded(a plan.Action, now time.Time) []change.Change {
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
		return []change.Change{guard(remove), change.CreateOf(a.Kind, a.Object, now)}
	case a.Live == nil:
		return []change.Change{change.CreateOf(a.Kind, a.Object, now)}
	case a.Part != "":
		part, _ := a.Kind.Part(a.Part)
		return []change.Change{guard(change.UpdateOf(a.Kind, a.Rest())), change.UpdatePart(part, a.Object)}
	default:
		a.Object.SetResourceVersion("")
		return []change.Change{guard(change.UpdateOf(a.Kind, a.Object))}
	}
}

// Between a plan and its transaction time passes, in which rights are taken
// away, and Kustomizations are edited, suspended, frozen or deleted. What was
// planned before that must not be applied after it, alone as in a group.

// stands fails if a plan is not allowed any more.
func (s *Set) stands(ctx context.Context, ks *kustomizev1.Kustomization, r *round) error {
	return fault.Catch(func() error {
		if err := s.Rights.Authorize(ctx, ks, r.plan); err != nil {
			return err
		}
		return s.pass(ks, r)
	})
}

// requireUnchanged makes the part fail with a Conflict if the Kustomization is no longer the
// one that was planned.
func (p *part) requireUnchanged() {
	if len(p.changes) == 0 {
		return
	}
	key, planned := p.k.key, p.ks
	same := change.Change{Key: key, Mutate: func(cur object.Object) (object.Object, error) {
		if !asPlanned(cur, planned) {
			return nil, apierrors.NewConflict(plan.Resource(key), key.Name, errors.New("the Kustomization changed since it was planned"))
		}
		return cur, nil
	}}
	p.changes = append([]change.Change{same}, p.changes...)
}

// same reports whether the Kustomization is stored as it was planned.
func (k *kustomization) same(planned *kustomizev1.Kustomization) bool {
	cur := k.get()
	return cur != nil && asPlanned(cur, planned)
}

// asPlanned reports whether a Kustomization is the one that was planned, and
// nobody has changed, suspended, frozen or deleted it since.
func asPlanned(cur object.Object, planned *kustomizev1.Kustomization) bool {
	ks, ok := cur.(*kustomizev1.Kustomization)
	return ok && ks.UID == planned.UID && ks.Generation == planned.Generation && ks.DeletionTimestamp == nil && slices.Equal(flux.Attempt(ks), flux.Attempt(planned))
}

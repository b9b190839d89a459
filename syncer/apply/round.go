package apply

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/support"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/gate"
	"headway.dev/syncer/history"
	"headway.dev/syncer/judge"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

// basis is what a plan is made upon: what is stored, and who has applied it.
type basis struct {
	object.Reader
	claimed func(self object.Key) func(object.Key) (plan.Owner, bool)
}

// Heads is as of [object.Heads].
func (b basis) Heads(kind schema.GroupKind) ([]object.Object, uint64) {
	return object.Heads(b.Reader, kind)
}

// basis is that of now.
func (s *Set) basis() basis { return basis{s.Env.Store, s.Owners.ByOther} }

// round is one attempt to apply a revision.
type round struct {
	k      *kustomization
	head   source.Head
	want   step.Attempt
	commit *wire.Commit
	items  []load.Item
	made   int // how many of the items had to be decoded or rendered
	plan   plan.Result
	// foreseen is what admission says of the plan.
	foreseen foresee.Said
	before   string // what was known of the cluster before
	digest   string
	// resources identifies what was rendered.
	resources string
	rendered  history.Rendered
	millis    map[string]float64
	drift     bool
	hold      bool // it is the last good commit, while the newest is in quarantine
	began     time.Time
	// changedBy says who changed what is put back, if that is known.
	changedBy string
	upon      basis
	// definitions are those of custom resources that others bring in the same commit.
	definitions []*apiextensionsv1.CustomResourceDefinition
	group       *group // with whose other rounds it is made, or nil
}

func (r *round) took(phase string, since time.Time) {
	r.millis[phase] += float64(time.Since(since).Microseconds()) / 1000
}

// newRound begins an attempt to apply the head.
func (k *kustomization) newRound(ks *kustomizev1.Kustomization, head source.Head, want step.Attempt) *round {
	r := &round{k: k, head: head, want: want, hold: want.Hold, millis: map[string]float64{}, began: k.s.Env.Now(), upon: k.s.basis()}
	r.drift = ks.Status.LastAppliedRevision == head.Revision() && ks.Status.ObservedGeneration == ks.Generation
	if c, err := head.About(); err == nil {
		r.commit = c
		if src := k.s.Sources.Get(flux.SourceKey(ks)); src != nil {
			r.commit.Signer, _ = src.Trusted(head.Commit)
		}
	}
	return r
}

// converge makes the stored objects what the head declares, whole or not at
// all, and reports whether it could.
func (k *kustomization) converge(ctx context.Context, ks *kustomizev1.Kustomization, head source.Head, want step.Attempt) bool {
	r := k.newRound(ks, head, want)
	err := fault.Catch(func() (err error) {
		ks, err = r.build(ctx, ks)
		return err
	})
	foreseeing, storing := k.patience(ks)
	for try := 0; err == nil; try++ {
		if err = fault.Catch(func() error { return r.makePlan(foreseeing.In(ctx), ks) }); err != nil {
			break
		}
		p := r.part(ks)
		p.requireUnchanged()
		if err = k.s.stands(ctx, ks, r); err != nil {
			break
		}
		if _, err = k.s.commit(storing.In(ctx), p); err == nil {
			p.done()
			return true
		}
		if outdated(err) && try < 9 && k.same(ks) {
			err = nil // again
		}
	}
	switch {
	case ctx.Err() != nil:
	case !k.same(ks):
		k.board.Wake.Set() // it is looked at as it is now
	case !gate.Thaw(err).IsZero():
		k.freeze(ctx, ks, r, err)
	case head.Revision() != k.attempted.Revision:
		// The conditions are about the newest commit.
		k.s.Env.Log.Warn("not applied again", "kustomization", k.name(), "revision", head.Revision(), "err", err)
		k.s.Env.Record(ks, corev1.EventTypeWarning, fault.ReasonOf(err, meta.ReconciliationFailedReason), flux.Bounded(err.Error()))
	default:
		k.refuse(ctx, ks, head.Revision(), err, r)
	}
	return false
}

// outdated reports whether someone changed an object between the plan and the commit.
func outdated(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// older reports whether the round is about another commit than the newest.
func (r *round) older(ks *kustomizev1.Kustomization) bool {
	newest, err := r.k.s.Sources.HeadOf(ks)
	return err == nil && newest.Revision() != r.head.Revision()
}

// inputFor is what a plan for a Kustomization depends on.
func inputFor(ctx context.Context, s *Set, ks *kustomizev1.Kustomization, items []load.Item, inventory []object.Key, exprs *verdict.Expressions) (plan.Input, error) {
	in := plan.Input{
		Items: items, Inventory: inventory, Owner: plan.Owner{Namespace: ks.Namespace, Name: ks.Name}, Claimed: s.Owners.ByOther(flux.KeyOf(ks)),
		Prune: ks.Spec.Prune, Force: ks.Spec.Force, Ignore: ks.Spec.Ignore,
		Admit: s.Foresee.Admit(ctx, s.Env.Store, s.Rights.Writer(ks)),
	}
	set := flux.Of(ks)
	if err := cmp.Or(set.OnFailure.Err(), set.GitWrites.Err()); err != nil {
		return in, err
	}
	if _, err := verdict.PatienceOf(ks, s.Settle); err != nil {
		return in, err
	}
	if _, err := exprs.HealthOf(ks); err != nil {
		return in, verdict.BadExpression(err)
	}
	return in, nil
}

// makePlan is the phase that decides, and checks every object.
func (r *round) makePlan(ctx context.Context, ks *kustomizev1.Kustomization) error {
	k := r.k
	start := time.Now()
	in, err := inputFor(ctx, k.s, ks, r.items, k.inventory.Of(ks), &k.exprs)
	in.Claimed, in.Definitions = r.upon.claimed(k.key), r.definitions
	if r.older(ks) {
		in.Taken = k.taken
		if ks.Status.LastAppliedRevision == r.head.Revision() {
			// Before a restart it left the inventory when another took it over.
			had := map[object.Key]bool{}
			for _, key := range k.inventory.Of(ks) {
				had[key] = true
			}
			in.Lost = func(key object.Key) bool { return !had[key] || k.s.Owners.Lost(k.holder, key) }
		}
	}
	n := k.s.Neighbours.Of(k.key, flux.SourceKey(ks), r.head)
	if r.group != nil {
		n.Render = r.group.rendered(n.Render)
	}
	n.Complete(ctx, &in)
	if err != nil {
		return fault.New(fault.ReasonOf(err, meta.BuildFailedReason), err)
	}
	r.plan = k.planner.Plan(ctx, in, r.upon)
	view := object.Reader(r.upon)
	if r.group != nil {
		view = r.group.foreseeable(k.key)
	}
	r.foreseen = k.s.Foresee.Plan(ctx, &r.plan, view, k.s.Rights.Writer(ks), nil)
	r.took("plan", start)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.group != nil && r.foreseen.Impatient != nil {
		return r.foreseen.Impatient // it goes alone; one that is alone learns the rest when it is stored
	}
	if err := k.s.Rights.Authorize(ctx, ks, r.plan); err != nil {
		return err
	}
	if len(r.plan.Errors) > 0 {
		return fault.New(meta.ReconciliationFailedReason, &fault.Invalid{Errs: r.plan.Errors})
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
		_ = enc.Encode([]any{a.Type, a.Key.String(), version, a.FieldPaths(), a.Recreate})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// results are a plan's actions for the journal.
func results(res plan.Result) []wire.ObjectResult {
	var list []wire.ObjectResult
	for _, a := range res.Actions {
		if a.Type == plan.Unchanged {
			continue
		}
		list = append(list, wire.ObjectResult{
			Action: string(a.Type), Group: a.Key.Group, Kind: a.Key.Kind, Namespace: a.Key.Namespace, Name: a.Key.Name, Fields: a.FieldPaths(),
		})
	}
	return list
}

// pass fails for a plan that one of the gates stops.
func (s *Set) pass(ks *kustomizev1.Kustomization, r *round) error {
	if r.hold {
		return nil // what was applied before
	}
	return s.Gates.Pass(ks, r.plan, r.head, r.drift)
}

// snapshot is what the status's history says of the round.
func (r *round) snapshot() status.Snapshot {
	return status.Snapshot{Resources: r.resources, Revision: r.head.Revision(), Began: r.began}
}

// subject is what of the round is judged.
func (r *round) subject() judge.Subject {
	return judge.Subject{Head: r.head, Commit: r.commit, Want: r.want, Resources: r.resources, Began: r.began, Inventory: r.plan.Inventory, Kept: r.plan.Kept, Drift: r.drift}
}

// announce reports what was applied: events, log, progress.
func (r *round) announce(ks *kustomizev1.Kustomization, actions []plan.Action) {
	k := r.k
	words := map[plan.Type]string{plan.Create: "created", plan.Update: "configured", plan.Delete: "deleted"}
	var lines []string
	for _, a := range actions {
		if w := words[a.Type]; w != "" {
			lines = append(lines, flux.Describe(a.Key)+" "+w)
		}
	}
	const most = 50
	if n := len(lines); n > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(lines) > 0 && r.changedBy != "" {
		lines = append(lines, r.changedBy)
	}
	if len(lines) > 0 {
		k.s.Env.Record(ks, corev1.EventTypeNormal, meta.ProgressingReason, strings.Join(lines, "\n"))
	}
	k.s.Env.Log.Info("applied", "kustomization", k.name(), "revision", r.head.Revision(), "objects", len(r.items), "rendered", r.made, "compared", r.plan.Compared, "changes", len(actions), "drift", r.drift, "millis", r.millis)
	message := ""
	if r.drift {
		message = cmp.Or(r.changedBy, "it was not as Git has it")
	}
	k.s.Env.Emit(wire.Event{
		Source: flux.SourceName(ks), Kustomization: k.name(), Phase: wire.PhaseCommit, Revision: r.head.Revision(), Commit: r.commit, Actions: r.plan.WireActions(false), Message: message,
	})
}

// warnIgnored records an event with each object that was just stored and sets
// fields that have no effect.
func (r *round) warnIgnored(actions []plan.Action) {
	k := r.k
	for _, a := range actions {
		if a.Type != plan.Create && a.Type != plan.Update {
			continue
		}
		for _, w := range support.Warnings(a.Object) {
			k.s.Env.Record(a.Object, corev1.EventTypeWarning, "FieldWithoutEffect", fmt.Sprint(w))
		}
	}
}

package preview

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/preview/budget"
	"headway.dev/syncer/preview/rollout"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// sourceObject is the object of the source, or nil, and what it says.
func (p *planning) sourceObject() (object.Object, source.Spec) {
	src, obj := p.v.Sources.Get(p.source), p.v.Env.Store.Get(p.source)
	if src == nil || obj == nil {
		return nil, source.Spec{}
	}
	spec, _ := src.Spec()
	return obj, spec
}

// answer puts the plans together: those that others wait for first.
func (p *planning) answer() wire.Plans {
	p.sort()
	w := &waits{planning: p, stalled: map[*planned]string{}}
	var moves []rollout.Effect
	var claims []*corev1.PersistentVolumeClaim
	pods, gone := rollout.Index(p.v.Env.Store), map[types.UID]bool{}
	for _, one := range p.order {
		moves = append(moves, rollout.Effects(one.plan.Kustomization, one.res.Actions, pods, gone)...)
		claims = append(claims, rollout.Claims(one.res.Actions)...)
	}
	var simulate func([]rollout.Rollout) []rollout.Placement
	if p.v.Simulate != nil {
		simulate = func(list []rollout.Rollout) []rollout.Placement { return p.v.Simulate(p.ctx, p.afterwards(), list) }
	}
	rollout.Admit(moves, p.admit)
	rollout.Simulate(moves, claims, simulate, p.sees)
	all := wire.Plans{Plan: wire.Plan{Target: p.target, Actions: []wire.Action{}}, Source: p.source.Namespace + "/" + p.source.Name}
	if obj, spec := p.sourceObject(); obj != nil {
		all.Forge = flux.Of(obj).CommitStatus.Text
		if u, err := url.Parse(spec.URL); err == nil {
			u.User = nil
			all.Repository = u.String()
		}
	}
	size := budget.NewSize(p.v.Bytes)
	for _, one := range p.order {
		for _, m := range moves {
			if m.Owner == one.plan.Kustomization {
				one.plan.Rollouts = append(one.plan.Rollouts, m.Report)
			}
		}
		one.plan.Checks = p.checks(one, w)
		size.Fit(&one.plan)
		all.Plans = append(all.Plans, one.plan)
		all.Base, all.Kustomization = cmp.Or(all.Base, one.plan.Base), cmp.Or(all.Kustomization, one.plan.Kustomization)
		all.Actions = append(all.Actions, one.plan.Actions...)
		all.Errors = append(all.Errors, one.plan.Errors...)
		all.Rollouts = append(all.Rollouts, one.plan.Rollouts...)
		all.Checks = append(all.Checks, one.plan.Checks...)
		all.Summary.Create += one.plan.Summary.Create
		all.Summary.Update += one.plan.Summary.Update
		all.Summary.Delete += one.plan.Summary.Delete
		all.Summary.Replace += one.plan.Summary.Replace
		all.Summary.Unchanged += one.plan.Summary.Unchanged
		all.Summary.Restart += one.plan.Summary.Restart
	}
	if len(all.Plans) == 1 {
		all.Plan, all.Plans = all.Plans[0], nil
	}
	return all
}

// A commit decides how many Kustomizations it declares and what each takes to
// render, so that a plan has bounds of its own, for all of them together. What is
// beyond them is left out, and that is a fault of the plan.
const (
	// defaultTimeout bounds the time for one plan.
	defaultTimeout = 2 * time.Minute
	// maxPlanned bounds the Kustomizations of one plan, maxPlannedObjects what
	// they declare.
	maxPlanned        = 1000
	maxPlannedObjects = 200_000
)

// errTooLarge says that a plan was cut short.
var errTooLarge = errors.New("the plan is too large")

// spent is why nothing more is planned, or nil.
func (p *planning) spent() error {
	objects := 0
	for _, one := range p.order {
		objects += len(one.items)
	}
	switch {
	case p.ctx.Err() != nil:
		return fmt.Errorf("%w: it takes longer than %s", errTooLarge, p.v.timeout())
	case len(p.order) > maxPlanned:
		return fmt.Errorf("%w: it has more than %d Kustomizations", errTooLarge, maxPlanned)
	case objects > maxPlannedObjects:
		return fmt.Errorf("%w: it has more than %d objects", errTooLarge, maxPlannedObjects)
	}
	return nil
}

// cut ends the plan: what was not planned is left out, and said with the first
// of it.
func (p *planning) cut(next planned, err error) {
	next.plan.Kustomization = next.ks.Namespace + "/" + next.ks.Name
	next.plan.Parent, next.plan.Target = next.parent, p.target
	next.plan.Base, next.plan.Actions = next.ks.Status.LastAppliedRevision, []wire.Action{}
	next.plan.Errors = fault.Faults(fmt.Errorf("%w: %s and %s that are still to be planned are left out", err, next.plan.Kustomization, wire.Plural(len(p.queue), "Kustomization")))
	if p.done[flux.KeyOf(next.ks)] == nil {
		p.done[flux.KeyOf(next.ks)] = &next
		p.order = append(p.order, &next)
	} else {
		p.order[0].plan.Errors = append(p.order[0].plan.Errors, next.plan.Errors...)
	}
	p.queue = nil
}

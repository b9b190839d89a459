package syncer

import (
	"errors"
	"fmt"
	"time"

	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// A commit decides how many Kustomizations it declares and what each takes to
// render, so that a plan has bounds of its own, for all of them together. What is
// beyond them is left out, and that is a fault of the plan.
const (
	// defaultPlanTimeout bounds the time for one plan.
	defaultPlanTimeout = 2 * time.Minute
	// maxPlanned bounds the Kustomizations of one plan, maxPlannedObjects what
	// they declare.
	maxPlanned        = 1000
	maxPlannedObjects = 200_000
)

// errPlanBudget says that a plan was cut short.
var errPlanBudget = errors.New("the plan is too large")

// spent is why nothing more is planned, or nil.
func (p *planning) spent() error {
	objects := 0
	for _, one := range p.order {
		objects += len(one.items)
	}
	switch {
	case p.ctx.Err() != nil:
		return fmt.Errorf("%w: it takes longer than %s", errPlanBudget, p.s.planTimeout())
	case len(p.order) > maxPlanned:
		return fmt.Errorf("%w: it has more than %d Kustomizations", errPlanBudget, maxPlanned)
	case objects > maxPlannedObjects:
		return fmt.Errorf("%w: it has more than %d objects", errPlanBudget, maxPlannedObjects)
	}
	return nil
}

func (s *Syncer) planTimeout() time.Duration {
	if s.cfg.PlanTimeout > 0 {
		return s.cfg.PlanTimeout
	}
	return defaultPlanTimeout
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

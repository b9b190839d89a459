package preview

import (
	"context"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// A plan that takes too long is not held against what accounts may do at its
// end, and so shows nothing that one perhaps may not read.
func TestUnprovenPlanIsNotShown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &planning{ctx: ctx, v: &Previewer{}, plans: plans{done: map[object.Key]*planned{}}}
	for range 3 {
		p.order = append(p.order, &planned{
			ks: &kustomizev1.Kustomization{}, grants: map[object.Key]object.Object{{Name: "role"}: nil},
			res: plan.Result{Actions: []plan.Action{{Type: plan.Create}}}, plan: wire.Plan{Actions: []wire.Action{{Action: "create"}}},
		})
	}
	p.run(ctx)
	for _, one := range p.order {
		if len(one.res.Actions) > 0 || len(one.plan.Actions) > 0 {
			t.Errorf("actions are shown: %+v", one.plan.Actions)
		}
		if len(one.plan.Errors) != 1 || !strings.Contains(one.plan.Errors[0].Message, "the plan is too large: it takes longer than") {
			t.Errorf("the errors are %+v", one.plan.Errors)
		}
	}
}

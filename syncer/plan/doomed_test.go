package plan_test

import (
	"testing"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

// What is wanted in a Namespace that the plan deletes is a fault; not if the
// Namespace stays.
func TestWantedInPrunedNamespace(t *testing.T) {
	const fault = "the Namespace web is no longer declared, and would be deleted with all that is in it: declare it, or move the object"
	keeps := "apiVersion: v1\nkind: Namespace\nmetadata: {name: web, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}\n"
	for name, c := range map[string]struct {
		declared string
		edit     func(*plan.Input)
		want     []string
	}{
		"pruned":   {namespace, nil, []string{"Unchanged ConfigMap/web", "Create Service/web", "Delete Namespace/web", "error 0.yaml:1: ConfigMap web/web: " + fault, "error 1.yaml:1: Service web/web: " + fault}},
		"kept":     {keeps, nil, []string{"Unchanged ConfigMap/web", "Create Service/web", "Skip Namespace/web"}},
		"no prune": {namespace, func(in *plan.Input) { in.Prune = false }, []string{"Unchanged ConfigMap/web", "Create Service/web"}},
		"taken over": {namespace, func(in *plan.Input) {
			in.Successor = func(object.Key) (plan.Successor, bool) { return plan.Successor{Owner: plan.Owner{Name: "other"}}, true }
		}, []string{"Unchanged ConfigMap/web", "Create Service/web", "Skip Namespace/web"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := memstore.New(), plan.New(nil)
			res := p.Plan(t.Context(), input(items(t, c.declared, config)), s)
			carryOut(t, s, res)
			in := input(items(t, config, service))
			in.Inventory = res.Inventory
			if c.edit != nil {
				c.edit(&in)
			}
			want(t, p.Plan(t.Context(), in, s), c.want...)
		})
	}
}

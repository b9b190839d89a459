package syncer_test

import (
	"fmt"
	"testing"

	"headway.dev/syncer/wire"
)

// BenchmarkPlan measures the plan of a branch over 1,000 objects, of which it
// changes one line, or each.
func BenchmarkPlan(b *testing.B) {
	const n = 1000
	w := newWorld(b, manifests(n), nil)
	w.applied(git(b, w.work, "rev-parse", "HEAD"))
	all := map[string]string{}
	for i := range n {
		all[fmt.Sprintf("c%04d.yaml", i)] = configMap(fmt.Sprintf("c%04d", i), "two")
	}
	w.branch("one", map[string]string{"c0001.yaml": configMap("c0001", "two")})
	w.branch("all", all)
	for branch, want := range map[string]int{"one": 1, "all": n} {
		b.Run(branch, func(b *testing.B) {
			for b.Loop() {
				p, err := w.sync.Plan(b.Context(), wire.PlanRequest{Rev: branch})
				if err != nil || p.Summary.Update != want {
					b.Fatalf("%+v, %v", p.Summary, err)
				}
			}
		})
	}
}

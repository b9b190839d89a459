package syncer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// What a commit may ask of one plan is bounded, for all Kustomizations together
// that it declares; what is left out is said, and makes the plan fail.
func TestPlanIsBounded(t *testing.T) {
	w := newWorldWith(t, map[string]string{"cluster/a.yaml": configMap("a", "one")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./cluster" },
		func(c *syncer.Config) { c.PlanTimeout = 5 * time.Second })
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })

	// Each takes a minute of CPU time by itself.
	files := costly(t, "slow")
	for i := range 20 {
		files[fmt.Sprintf("cluster/slow-%d.yaml", i)] = nested(fmt.Sprintf("slow-%d", i), "./slow", fmt.Sprintf("  namePrefix: n%d-\n", i))
	}
	w.branch("slow", files)
	refused := func(rev, want string) {
		t.Helper()
		p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: rev})
		if said := strings.Join(messages(p.Errors), "\n"); !strings.Contains(said, want) || !strings.Contains(said, "still to be planned are left out") {
			t.Errorf("the plan of %s does not say %q:\n%.2000s", rev, want, said)
		}
	}
	refused("slow", "the plan is too large: it takes longer than 5s")
}

// The number of Kustomizations is bounded, however little each is.
func TestPlanOfCountlessKustomizations(t *testing.T) {
	w := mono(t, map[string]string{"cluster/a.yaml": configMap("a", "one")})
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	var many strings.Builder
	for i := range 1100 {
		many.WriteString("---\n" + nested(fmt.Sprintf("child-%d", i), "./leaf", ""))
	}
	w.branch("many", map[string]string{"cluster/many.yaml": many.String(), "leaf/README": "nothing\n"})
	p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "many"})
	if len(p.Plans) > 1010 || len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Message, "the plan is too large: it has more than 1000 Kustomizations") {
		t.Errorf("%d plans, with the errors %.1000q", len(p.Plans), messages(p.Errors))
	}
}

// So is the number of expressions that are compiled.
func TestCountlessExpressions(t *testing.T) {
	w := mono(t, map[string]string{"cluster/a.yaml": configMap("a", "one")})
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	for n, want := range map[int]string{100: "", 101: "spec.healthCheckExprs: has 101 entries, more than 100"} {
		exprs := "  healthCheckExprs:\n" + strings.Repeat("  - {apiVersion: v1, kind: ConfigMap, current: 'true'}\n", n)
		rev := fmt.Sprint("exprs-", n)
		w.branch(rev, map[string]string{"cluster/child.yaml": nested("child", "./leaf", exprs), "leaf/a.yaml": configMap("leaf", "x")})
		p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: rev})
		if got := strings.Join(messages(p.Errors), "; "); got != want {
			t.Errorf("%d expressions: %q, want %q", n, got, want)
		}
	}
}

// It is found out once for each Kustomization whether it would wait, however many
// ways lead to it by what it depends on.
func TestPlanOfManyWaysToWait(t *testing.T) {
	w := mono(t, map[string]string{"cluster/a.yaml": configMap("a", "one")})
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	const n = 50
	files := map[string]string{"leaf/a.yaml": configMap("leaf", "x")}
	for i := range n {
		extra := fmt.Sprintf("  namePrefix: n%d-\n", i)
		if i >= 2 {
			extra += fmt.Sprintf("  dependsOn: [{name: c%d}, {name: c%d}]\n", i-1, i-2)
		}
		files[fmt.Sprintf("cluster/c%d.yaml", i)] = nested(fmt.Sprintf("c%d", i), "./leaf", extra)
	}
	w.branch("ways", files)
	p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "ways"})
	if len(p.Plans) != n+1 || len(p.Errors) > 0 {
		t.Errorf("%d plans, want %d: %q", len(p.Plans), n+1, messages(p.Errors))
	}
	for _, c := range p.Checks {
		if c.Name == "spec.dependsOn" {
			t.Errorf("%s: %s", c.Kustomization, c.Message)
		}
	}
}

package plan_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

const autoscaler = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 9}
`

// A HorizontalPodAutoscaler in the same commit, in the older version or stored by others
// has the number of replicas; the manifest's counts for the first creation, and again
// once the autoscaler is gone.
func TestReplicasAreTheAutoscalers(t *testing.T) {
	deploy := strings.Replace(deploy, "spec:\n", "spec:\n  replicas: 2\n", 1)
	replicas := func(d *appsv1.Deployment) int32 { return *d.Spec.Replicas }
	scale := func(tb testing.TB, s *memstore.Store, n int32) {
		tb.Helper()
		edit(tb, s, "Deployment", "web", func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	}
	v1 := strings.Replace(autoscaler, "autoscaling/v2", "autoscaling/v1", 1)
	for name, doc := range map[string]string{"v2": autoscaler, "v1": v1} {
		t.Run(name, func(t *testing.T) {
			s, p, first := setUp(t, namespace, deploy, doc)
			manifest := replicas(first.Actions[1].Object.(*appsv1.Deployment))
			scale(t, s, 7)
			in := input(items(t, namespace, deploy, doc))
			in.Inventory = first.Inventory
			for name, planner := range map[string]*plan.Planner{"the one that remembers": p, "another": plan.New(nil)} {
				for range 2 { // the second answer is remembered
					res := planner.Plan(t.Context(), in, s)
					want(t, res, "Unchanged Namespace/web", "Unchanged Deployment/web", "Unchanged HorizontalPodAutoscaler/web")
					if got := res.Actions[1].Reason; got != "spec.replicas is left to HorizontalPodAutoscaler web" {
						t.Errorf("the plan says %q", got)
					}
				}
				if t.Failed() {
					t.Fatal(name)
				}
			}
			// Another change says what it leaves alone.
			in.Items = items(t, namespace, strings.Replace(deploy, "web:1", "web:2", 1), doc)
			res := p.Plan(t.Context(), in, s)
			want(t, res, "Unchanged Namespace/web", "Update Deployment/web spec.template.spec.containers[name=web].image:web:1>web:2 restart", "Unchanged HorizontalPodAutoscaler/web")
			if got := res.Actions[1].Reason; got != "spec.replicas is left to HorizontalPodAutoscaler web" {
				t.Errorf("the plan says %q", got)
			}
			carryOut(t, s, res)
			// Another target.
			in.Items = items(t, namespace, strings.Replace(deploy, "web:1", "web:2", 1), strings.Replace(doc, "Deployment, name: web", "Deployment, name: other", 1))
			if got := lines(p.Plan(t.Context(), in, s)); !strings.HasPrefix(got[1], "Update Deployment/web spec.replicas:7>") {
				t.Errorf("another target: %v", got)
			}
			// Without the autoscaler, which is pruned, the manifest counts again.
			in.Items = items(t, namespace, strings.Replace(deploy, "web:1", "web:2", 1))
			carryOut(t, s, p.Plan(t.Context(), in, s))
			want(t, p.Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged Deployment/web")
			res = plan.New(nil).Plan(t.Context(), in, s)
			if d := res.Actions[1].Live.(*appsv1.Deployment); replicas(d) != manifest {
				t.Errorf("without an autoscaler: %d replicas, want %d", replicas(d), manifest)
			}
		})
	}
	t.Run("somebody's own", func(t *testing.T) {
		s, p, _ := setUp(t, namespace, deploy)
		scale(t, s, 7)
		other := plan.Input{Items: items(t, autoscaler), Owner: plan.Owner{Namespace: "a", Name: "b"}}
		carryOut(t, s, plan.New(nil).Plan(t.Context(), other, s))
		in := input(items(t, namespace, deploy))
		want(t, p.Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged Deployment/web")
		edit(t, s, "HorizontalPodAutoscaler", "web", func(a *autoscalingv2.HorizontalPodAutoscaler) { a.Spec.ScaleTargetRef.Name = "other" })
		if got := lines(p.Plan(t.Context(), in, s)); !strings.HasPrefix(got[1], "Update Deployment/web spec.replicas:7>") {
			t.Errorf("an autoscaler of something else: %v", got)
		}
	})
}

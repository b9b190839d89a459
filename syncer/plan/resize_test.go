package plan_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

const sized = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: web}
spec:
  containers:
  - {name: app, image: "app:1", resources: {requests: {cpu: 100m}, limits: {cpu: 200m}}}
`

// Other amounts of CPU and memory of a pod are a resize; whatever else a pod cannot
// change is refused as ever.
func TestPodsAreResized(t *testing.T) {
	s := memstore.New()
	carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, sized)), s))
	planned := func(manifest string) plan.Result {
		t.Helper()
		return plan.New(nil).Plan(t.Context(), input(items(t, namespace, manifest)), s)
	}
	res := planned(strings.Replace(sized, "cpu: 200m", "cpu: 300m", 1))
	want(t, res, "Unchanged Namespace/web", "Update Pod/web spec.containers[name=app].resources.limits.cpu:200m>300m")
	if res.Actions[1].Part != "resize" {
		t.Errorf("the part is %q", res.Actions[1].Part)
	}
	res = planned(strings.NewReplacer("cpu: 200m", "cpu: 300m", "app:1", "app:2").Replace(sized))
	want(t, res, "Unchanged Namespace/web", "Update Pod/web spec.containers[name=app].image:app:1>app:2 spec.containers[name=app].resources.limits.cpu:200m>300m")
	if res.Actions[1].Part != "resize" {
		t.Errorf("the part is %q", res.Actions[1].Part)
	}
	if res = planned(strings.Replace(sized, "app:1", "app:2", 1)); res.Actions[1].Part != "" {
		t.Errorf("the part of another image is %q", res.Actions[1].Part)
	}
	// Force changes nothing where a resize does; it makes anew what cannot be resized.
	forced := strings.Replace(sized, "namespace: web}", "namespace: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}", 1)
	if res = planned(strings.Replace(forced, "cpu: 200m", "cpu: 300m", 1)); res.Actions[1].Part != "resize" || res.Actions[1].Recreate {
		t.Errorf("with force: %+v", res.Actions[1])
	}
	for _, other := range []string{strings.Replace(forced, "name: app,", "name: other,", 1), strings.Replace(forced, "cpu: 200m", "ephemeral-storage: 1Gi", 1)} {
		if res = planned(other); len(res.Errors) > 0 || !res.Actions[1].Recreate || res.Actions[1].Reason != "immutable: spec" {
			t.Errorf("with force, %s: %v, %+v", other, res.Errors, res.Actions)
		}
	}
	for _, wrong := range []struct{ old, next, want string }{
		{"cpu: 200m", "ephemeral-storage: 1Gi", "only cpu and memory resources are mutable"},
		{"cpu: 100m", "cpu: 300m", "must be less than or equal to cpu limit of 200m"},
		{"name: app,", "name: other,", "pod updates may not change fields other than"},
	} {
		if res := planned(strings.Replace(sized, wrong.old, wrong.next, 1)); !strings.Contains(strings.Join(lines(res), "\n"), wrong.want) {
			t.Errorf("%s: %q", wrong.next, lines(res))
		}
	}
}

// A pod that has ended is not run again for other amounts, which its plan says; with
// force it is made anew, by what the manifest says now.
func TestResizeOfFinishedPods(t *testing.T) {
	forced := strings.Replace(sized, "namespace: web}", "namespace: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}", 1)
	for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
		for _, manifest := range []string{sized, forced} {
			s, p, _ := setUp(t, namespace, manifest)
			end := change.PatchStatus(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "web", Name: "web"}, func(o object.Object) bool {
				o.(*corev1.Pod).Status.Phase = phase
				return true
			})
			if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{end}}); err != nil {
				t.Fatal(err)
			}
			ended := "the pod has " + strings.ToLower(string(phase)) + " and does not run again"
			in := input(items(t, namespace, strings.Replace(manifest, "cpu: 200m", "cpu: 300m", 1)))
			res := p.Plan(t.Context(), in, s)
			update := "Update Pod/web spec.containers[name=app].resources.limits.cpu:200m>300m"
			if manifest == forced {
				update += " restart"
			}
			want(t, res, "Unchanged Namespace/web", update)
			switch a := res.Actions[1]; {
			case manifest == forced && (!a.Recreate || a.Part != "" || a.Reason != ended || a.Object.(*corev1.Pod).Status.Phase == phase):
				t.Errorf("with force: recreate %v, part %q, %q", a.Recreate, a.Part, a.Reason)
			case manifest == sized && (a.Recreate || a.Part != "resize" || !strings.HasPrefix(a.Reason, ended+" (set spec.force on the Kustomization, or kustomize.toolkit.fluxcd.io/force: enabled")):
				t.Errorf("without: recreate %v, part %q, %q", a.Recreate, a.Part, a.Reason)
			}
			if in.Force = true; manifest == sized && !p.Plan(t.Context(), in, s).Actions[1].Recreate {
				t.Error("the Kustomization's force does not count")
			}
			if shown := res.WireActions(false)[0]; shown.Reason != res.Actions[1].Reason {
				t.Errorf("the plan says %q", shown.Reason)
			}
		}
	}
}

// What was written into the selectors of a pod when it was created is no difference from
// its manifest, which does not have it; another selector is.
func TestLabelKeysOfPods(t *testing.T) {
	keyed := strings.Replace(sized, "namespace: web}", "namespace: web, labels: {app: web, hash: a}}", 1) + `  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {topologyKey: zone, labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [hash]}
  topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [hash]}
`
	s := memstore.New()
	carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, keyed)), s))
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "web", Name: "web"}
	stored := s.Get(key).(*corev1.Pod).Spec
	for _, selector := range []int{
		len(stored.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector.MatchExpressions),
		len(stored.TopologySpreadConstraints[0].LabelSelector.MatchExpressions),
	} {
		if selector != 1 {
			t.Fatalf("the pod's selectors are not narrowed: %+v", stored)
		}
	}
	want(t, plan.New(nil).Plan(t.Context(), input(items(t, namespace, keyed)), s), "Unchanged Namespace/web", "Unchanged Pod/web")
	relabelled := strings.Replace(keyed, "hash: a", "hash: b", 1)
	want(t, plan.New(nil).Plan(t.Context(), input(items(t, namespace, relabelled)), s), "Unchanged Namespace/web", "Update Pod/web metadata.labels.hash:a>b")
	other := plan.New(nil).Plan(t.Context(), input(items(t, namespace, strings.ReplaceAll(keyed, "{matchLabels: {app: web}}", "{matchLabels: {app: db}}"))), s)
	if len(other.Errors) == 0 || !strings.Contains(other.Errors[0].Reason, "pod updates may not change fields other than") {
		t.Errorf("another selector: %v, %v", other.Errors, lines(other))
	}
}

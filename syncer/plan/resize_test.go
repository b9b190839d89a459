package plan_test

import (
	"strings"
	"testing"

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
	carryOut(t, s, plan.New(nil).Plan(input(items(t, namespace, sized)), s))
	planned := func(manifest string) plan.Result {
		t.Helper()
		return plan.New(nil).Plan(input(items(t, namespace, manifest)), s)
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

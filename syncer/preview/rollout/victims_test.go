package rollout_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/rollout"
	"headway.dev/syncer/wire"
)

// Pods that would be preempted are named as far as the caller may see them, and no more
// than a hundred.
func TestVictims(t *testing.T) {
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}}
	key := object.Key{GroupKind: appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind(), Namespace: "shop", Name: "web"}
	simulated := func(pending int, victims ...rollout.Victim) wire.Rollout {
		effects := rollout.Effects("default/web", []plan.Action{{Type: plan.Create, Key: key, Object: web}}, &rollout.Pods{}, nil)
		if len(effects) != 1 {
			t.Fatalf("effects = %+v", effects)
		}
		rollout.Simulate(effects, nil, func(list []rollout.Rollout) []rollout.Placement {
			return []rollout.Placement{{Placed: list[0].Count - pending, Victims: victims}}
		}, func(key object.Key) bool { return key.Namespace == "shop" })
		return effects[0].Report
	}
	victim := func(namespace, name string) rollout.Victim {
		return rollout.Victim{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, Then: wire.VictimMoves}
	}
	base := wire.Rollout{Kind: "Deployment", Namespace: "shop", Name: "web", New: 2, Schedule: wire.SchedulePreempts}
	for name, test := range map[string]struct {
		got   wire.Rollout
		edit  func(*wire.Rollout)
		words string
	}{
		"seen": {simulated(0, victim("shop", "a")), func(r *wire.Rollout) {
			r.Preempts = []wire.Victim{{Namespace: "shop", Name: "a", Then: "Moves"}}
		}, "would preempt pod shop/a (priority 0), which gets another node"},
		"hidden": {simulated(0, victim("secret", "a")), func(r *wire.Rollout) { r.PreemptsMore = 1 }, "would preempt 1 pod"},
		"both, and not enough": {simulated(1, victim("shop", "a"), victim("secret", "b")), func(r *wire.Rollout) {
			r.Preempts, r.PreemptsMore = []wire.Victim{{Namespace: "shop", Name: "a", Then: "Moves"}}, 1
			r.Schedule, r.Pending = wire.ScheduleUnschedulable, 1
		}, "would preempt pod shop/a (priority 0), which gets another node; and 1 more"},
		"none": {simulated(0), func(r *wire.Rollout) { r.Schedule = wire.ScheduleFits }, ""},
	} {
		want := base
		test.edit(&want)
		if d := cmp.Diff(want, test.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if got := test.got.Preemption(5); got != test.words {
			t.Errorf("%s: %q, want %q", name, got, test.words)
		}
	}
	var many []rollout.Victim
	for i := range 150 {
		many = append(many, victim("shop", fmt.Sprint(i)))
	}
	if got := simulated(0, many...); len(got.Preempts) != 100 || got.PreemptsMore != 50 {
		t.Errorf("of 150 victims %d are named, and %d more counted", len(got.Preempts), got.PreemptsMore)
	}
}

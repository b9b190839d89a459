package replicaset_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/replicaset"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func pod(name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "a"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func ready(ago time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-ago))}}
	}
}

func set(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "rs", Generation: 7},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	}
}

// Of two pods, the one that is less of a loss goes.
func TestWhichGoes(t *testing.T) {
	unassigned := func(p *corev1.Pod) { p.Spec.NodeName = "" }
	pending := func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
	cost := func(n string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: n} }
	}
	on := func(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
	created := func(ago time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-ago)) }
	}
	restarts := func(n int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
	}
	for _, tc := range []struct {
		name       string
		stay, goes []func(*corev1.Pod)
		minReady   int32
		neighbours map[string]int
	}{
		{"unassigned", []func(*corev1.Pod){pending}, []func(*corev1.Pod){pending, unassigned}, 0, nil},
		{"pending", nil, []func(*corev1.Pod){pending}, 0, nil},
		{"not ready", []func(*corev1.Pod){ready(time.Second), cost("-5")}, nil, 0, nil},
		{"not yet available", []func(*corev1.Pod){ready(11 * time.Second)}, []func(*corev1.Pod){ready(9 * time.Second)}, 10, nil},
		{"cheaper", []func(*corev1.Pod){ready(time.Minute)}, []func(*corev1.Pod){ready(time.Hour), cost("-1")}, 0, nil},
		{"more neighbours", []func(*corev1.Pod){ready(time.Hour)}, []func(*corev1.Pod){ready(time.Hour), on("b")}, 0, map[string]int{"a": 1, "b": 2}},
		{"ready later", []func(*corev1.Pod){ready(time.Hour)}, []func(*corev1.Pod){ready(time.Minute)}, 0, nil},
		{"more restarts", []func(*corev1.Pod){ready(time.Hour)}, []func(*corev1.Pod){ready(time.Hour), restarts(3)}, 0, nil},
		{"younger", []func(*corev1.Pod){ready(time.Minute), created(10 * time.Hour)}, []func(*corev1.Pod){ready(time.Minute), created(2 * time.Minute)}, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stay, goes := pod("stay", tc.stay...), pod("goes", tc.goes...)
			rs := set(1)
			rs.Spec.MinReadySeconds = tc.minReady
			for _, pods := range [][]*corev1.Pod{{stay, goes}, {goes, stay}} {
				plan := replicaset.Decide(rs, pods, tc.neighbours, now)
				if len(plan.Delete) != 1 || plan.Delete[0] != goes {
					t.Errorf("Decide deletes %v, want the pod %q", plan.Delete, "goes")
				}
			}
		})
	}
}

// Pods that have ended or are being deleted are replaced; none is made for a
// set that is being deleted.
func TestHowMany(t *testing.T) {
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(now)) }
	failed := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	pods := []*corev1.Pod{pod("a"), pod("b", deleted), pod("c", failed)}
	if plan := replicaset.Decide(set(3), pods, nil, now); plan.Create != 2 || len(plan.Delete) != 0 {
		t.Errorf("plan = %+v, want two new pods", plan)
	}
	if plan := replicaset.Decide(set(0), pods, nil, now); plan.Create != 0 || len(plan.Delete) != 1 {
		t.Errorf("plan = %+v, want one deletion", plan)
	}
	if plan := replicaset.Decide(set(5000), nil, nil, now); plan.Create != 500 {
		t.Errorf("plan creates %d pods, want 500 at a time", plan.Create)
	}
	rs := set(3)
	rs.DeletionTimestamp = new(metav1.NewTime(now))
	if plan := replicaset.Decide(rs, nil, nil, now); plan.Create != 0 {
		t.Errorf("plan = %+v, want nothing for a set that goes", plan)
	}
}

func TestStatus(t *testing.T) {
	rs := set(3)
	rs.Spec.MinReadySeconds = 10
	pods := []*corev1.Pod{
		pod("a", ready(time.Minute)), pod("b", ready(4*time.Second)), pod("c", func(p *corev1.Pod) { p.Labels = nil }),
		pod("d", func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(now)) }),
	}
	got := replicaset.StatusOf(rs, pods, nil, now)
	want := appsv1.ReplicaSetStatus{Replicas: 3, FullyLabeledReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 1, TerminatingReplicas: ptr.To[int32](1), ObservedGeneration: 7}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if plan := replicaset.Decide(rs, pods, nil, now); plan.After != 6*time.Second {
		t.Errorf("looks again after %v, want 6s, when b becomes available", plan.After)
	}
}

func BenchmarkDecide(b *testing.B) {
	var pods []*corev1.Pod
	for i := range 100 {
		pods = append(pods, pod(fmt.Sprint(i), ready(time.Duration(i)*time.Second)))
	}
	rs := set(50)
	for b.Loop() {
		replicaset.Decide(rs, pods, nil, now)
		replicaset.StatusOf(rs, pods, nil, now)
	}
}

package disruption_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/controllers/disruption"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// pod is one of a controller, ready unless it is edited.
func pod(name, owner string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		}},
	}
	if owner != "" {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner, UID: types.UID(owner), Controller: new(true)}}
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func dying(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(now)) }

// some are n ready pods of a controller.
func some(n int, owner string) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range n {
		pods = append(pods, pod(fmt.Sprintf("%s-%d", owner, i), owner))
	}
	return pods
}

func budget(edit func(*policyv1.PodDisruptionBudgetSpec)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 3}}
	edit(&b.Spec)
	return b
}

func least(v intstr.IntOrString) *policyv1.PodDisruptionBudget {
	return budget(func(s *policyv1.PodDisruptionBudgetSpec) { s.MinAvailable = &v })
}

func most(v intstr.IntOrString) *policyv1.PodDisruptionBudget {
	return budget(func(s *policyv1.PodDisruptionBudgetSpec) { s.MaxUnavailable = &v })
}

// scales has controllers, by their UIDs, of which some are one.
func scales(replicas map[string]int32, same map[string]string) disruption.Find {
	return func(ref *metav1.OwnerReference) (*disruption.Scale, error) {
		uid := string(ref.UID)
		if above, ok := same[uid]; ok {
			uid = above
		}
		n, ok := replicas[uid]
		if !ok {
			return nil, nil
		}
		return &disruption.Scale{UID: types.UID(uid), Replicas: n}, nil
	}
}

func TestDecide(t *testing.T) {
	number, percent := intstr.FromInt32, intstr.FromString
	for name, tc := range map[string]struct {
		budget *policyv1.PodDisruptionBudget
		pods   []*corev1.Pod
		find   disruption.Find
		// allowed, healthy, desired, expected
		want [4]int32
	}{
		"least, all there":            {least(number(2)), some(3, "a"), nil, [4]int32{1, 3, 2, 3}},
		"least, too few":              {least(number(2)), some(1, "a"), nil, [4]int32{0, 1, 2, 1}},
		"least, no pods":              {least(number(0)), nil, nil, [4]int32{0, 0, 0, 0}},
		"least, unmanaged":            {least(number(1)), []*corev1.Pod{pod("x", ""), pod("y", "")}, nil, [4]int32{1, 2, 1, 2}},
		"unready is not healthy":      {least(number(1)), append(some(1, "a"), pod("b", "a", unready)), nil, [4]int32{0, 1, 1, 2}},
		"dying is not healthy":        {least(number(1)), append(some(1, "a"), pod("b", "a", dying)), nil, [4]int32{0, 1, 1, 2}},
		"least percent is rounded up": {least(percent("50%")), some(3, "a"), scales(map[string]int32{"a": 3}, nil), [4]int32{1, 3, 2, 3}},
		"least percent of the scale":  {least(percent("50%")), some(3, "a"), scales(map[string]int32{"a": 10}, nil), [4]int32{0, 3, 5, 10}},
		"least 100%":                  {least(percent("100%")), some(3, "a"), scales(map[string]int32{"a": 3}, nil), [4]int32{0, 3, 3, 3}},
		"most":                        {most(number(1)), some(3, "a"), scales(map[string]int32{"a": 3}, nil), [4]int32{1, 3, 2, 3}},
		"most, one is missing":        {most(number(1)), some(2, "a"), scales(map[string]int32{"a": 3}, nil), [4]int32{0, 2, 2, 3}},
		"most 0":                      {most(number(0)), some(3, "a"), scales(map[string]int32{"a": 3}, nil), [4]int32{0, 3, 3, 3}},
		"most is more than all":       {most(number(9)), some(3, "a"), scales(map[string]int32{"a": 3}, nil), [4]int32{3, 3, 0, 3}},
		"most percent is rounded up":  {most(percent("30%")), some(5, "a"), scales(map[string]int32{"a": 5}, nil), [4]int32{2, 5, 3, 5}},
		"two controllers":             {most(number(1)), append(some(3, "a"), some(2, "b")...), scales(map[string]int32{"a": 3, "b": 2}, nil), [4]int32{1, 5, 4, 5}},
		"two sets of one Deployment":  {most(number(1)), append(some(2, "a"), some(2, "b")...), scales(map[string]int32{"d": 4}, map[string]string{"a": "d", "b": "d"}), [4]int32{1, 4, 3, 4}},
		"more than a number holds":    {most(number(1)), append(some(1, "a"), some(1, "b")...), scales(map[string]int32{"a": math.MaxInt32, "b": math.MaxInt32}, nil), [4]int32{0, 2, math.MaxInt32 - 1, math.MaxInt32}},
		"scaled to nothing":           {most(number(1)), some(1, "a"), scales(map[string]int32{"a": 0}, nil), [4]int32{0, 1, 0, 0}},
		"neither":                     {budget(func(*policyv1.PodDisruptionBudgetSpec) {}), some(2, "a"), nil, [4]int32{0, 2, 0, 0}},
	} {
		o := disruption.Decide(tc.budget, tc.pods, tc.find, now)
		s := o.Status
		if got := [4]int32{s.DisruptionsAllowed, s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods}; o.Err != nil || got != tc.want {
			t.Errorf("%s: %v, %v; want %v", name, got, o.Err, tc.want)
		}
		want := []metav1.Condition{{Type: "DisruptionAllowed", Status: "False", Reason: "InsufficientPods", ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(now)}}
		if tc.want[0] > 0 {
			want[0].Status, want[0].Reason = "True", "SufficientPods"
		}
		if diff := cmp.Diff(want, s.Conditions); diff != "" || s.ObservedGeneration != 3 {
			t.Errorf("%s: observed %d, conditions (-want +got):\n%s", name, s.ObservedGeneration, diff)
		}
	}
}

// Pods without a controller count for nothing where controllers are asked, and are
// told of.
func TestUnmanaged(t *testing.T) {
	o := disruption.Decide(most(intstr.FromInt32(1)), append(some(2, "a"), pod("x", "")), scales(map[string]int32{"a": 2}, nil), now)
	if diff := cmp.Diff([]string{"x"}, o.Unmanaged); diff != "" || o.Status.ExpectedPods != 2 {
		t.Errorf("expected %d; unmanaged (-want +got):\n%s", o.Status.ExpectedPods, diff)
	}
}

// What cannot be told allows nothing. What was known stays, and the reason is said.
func TestFailed(t *testing.T) {
	for want, find := range map[string]disruption.Find{
		`found no controllers for pod "a-0"`: scales(nil, nil),
		"jobs.batch does not implement the scale subresource": func(*metav1.OwnerReference) (*disruption.Scale, error) {
			return nil, errors.New("jobs.batch does not implement the scale subresource")
		},
	} {
		b := most(intstr.FromInt32(1))
		b.Status = disruption.Decide(b, some(2, "a"), scales(map[string]int32{"a": 2}, nil), now).Status
		later := now.Add(time.Minute)
		o := disruption.Decide(b, some(2, "a"), find, later)
		wanted := b.Status.DeepCopy()
		wanted.DisruptionsAllowed = 0
		wanted.Conditions = []metav1.Condition{{Type: "DisruptionAllowed", Status: "False", Reason: "SyncFailed", Message: want, ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(later)}}
		if diff := cmp.Diff(*wanted, o.Status); diff != "" || o.Err == nil || o.Err.Error() != want {
			t.Errorf("failed with %v; status (-want +got):\n%s", o.Err, diff)
		}
		// It is well again, and says so without the old message.
		b.Status = o.Status
		again := disruption.Decide(b, some(2, "a"), scales(map[string]int32{"a": 2}, nil), later)
		if c := again.Status.Conditions[0]; again.Status.DisruptionsAllowed != 1 || c.Reason != "SufficientPods" || c.Message != "" {
			t.Errorf("afterwards: %+v", again.Status)
		}
	}
}

// A pod that was evicted is not healthy until it is deleted, for two minutes at most.
func TestEvicted(t *testing.T) {
	b := least(intstr.FromInt32(1))
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	b.Status.DisruptedPods = map[string]metav1.Time{
		"a-0": ago(time.Minute), "a-1": ago(30 * time.Second), "a-2": ago(3 * time.Minute), "gone": ago(time.Second), "dying": ago(time.Second),
	}
	pods := append(some(4, "a"), pod("dying", "a", dying))
	o := disruption.Decide(b, pods, nil, now)
	want := map[string]metav1.Time{"a-0": ago(time.Minute), "a-1": ago(30 * time.Second)}
	if diff := cmp.Diff(want, o.Status.DisruptedPods); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
	if o.Status.CurrentHealthy != 2 || o.Status.DisruptionsAllowed != 1 {
		t.Errorf("%d healthy, %d allowed; want 2, 1", o.Status.CurrentHealthy, o.Status.DisruptionsAllowed)
	}
	if len(o.Overdue) != 1 || o.Overdue[0].Name != "a-2" {
		t.Errorf("overdue: %v, want a-2", o.Overdue)
	}
	if o.After <= time.Minute || o.After > time.Minute+time.Second {
		t.Errorf("looks again after %v, want when a-0 is overdue", o.After)
	}
	b.Status = o.Status
	if o := disruption.Decide(b, pods, nil, now.Add(o.After)); len(o.Overdue) != 1 || o.Overdue[0].Name != "a-0" || len(o.Status.DisruptedPods) != 1 {
		t.Errorf("then: %+v", o)
	}
}

func TestStale(t *testing.T) {
	target := func(reason string, status corev1.ConditionStatus, ago time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(now.Add(-ago)),
			})
		}
	}
	for name, tc := range map[string]struct {
		edit  []func(*corev1.Pod)
		after time.Duration
		says  bool
	}{
		"without":       {nil, 0, false},
		"fresh":         {[]func(*corev1.Pod){target("EvictionByEvictionAPI", "True", time.Minute)}, time.Minute, true},
		"old":           {[]func(*corev1.Pod){target("EvictionByEvictionAPI", "True", time.Hour)}, 0, true},
		"taken back":    {[]func(*corev1.Pod){target("", "False", time.Hour)}, 0, false},
		"by its node":   {[]func(*corev1.Pod){target("TerminationByKubelet", "True", time.Hour)}, 0, false},
		"being deleted": {[]func(*corev1.Pod){target("EvictionByEvictionAPI", "True", time.Hour), dying}, 0, false},
		"has ended": {[]func(*corev1.Pod){target("EvictionByEvictionAPI", "True", time.Hour), func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodFailed
		}}, 0, false},
	} {
		if after, says := disruption.Stale(pod("a", "", tc.edit...), now); after != tc.after || says != tc.says {
			t.Errorf("%s: after %v, %v; want %v, %v", name, after, says, tc.after, tc.says)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	pods, pdb, find := some(1000, "a"), most(intstr.FromString("10%")), scales(map[string]int32{"a": 1000}, nil)
	for b.Loop() {
		disruption.Decide(pdb, pods, find, now)
	}
}

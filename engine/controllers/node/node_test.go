package node_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/node"
	"headway.dev/manifests/loop"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func conditions(ready corev1.ConditionStatus) []corev1.NodeCondition {
	return []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}, {Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse}}
}

func TestHealth(t *testing.T) {
	n := &corev1.Node{Status: corev1.NodeStatus{Conditions: conditions(corev1.ConditionTrue)}}
	got, after := node.Health(n, now.Add(-40*time.Second), node.DefaultGrace, now)
	if diff := cmp.Diff(n.Status.Conditions, got); diff != "" || after != 10*time.Second {
		t.Errorf("a node heard 40s ago: looks again after %v, want 10s; conditions (-want +got):\n%s", after, diff)
	}
	got, _ = node.Health(n, now.Add(-50*time.Second), node.DefaultGrace, now)
	stamp := metav1.NewTime(now)
	want := []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.", LastTransitionTime: stamp},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.", LastTransitionTime: stamp},
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.", LastTransitionTime: stamp},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.", LastTransitionTime: stamp},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("conditions of a silent node (-want +got):\n%s", diff)
	}
	if n.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Error("Health changed the node that it was given")
	}
	if got, after := node.Health(&corev1.Node{}, now.Add(-50*time.Second), node.DefaultGrace, now); len(got) != 0 || after != 10*time.Second {
		t.Errorf("a node that never reported, 50s after it came, has the conditions %v and is looked at after %v, want 10s", got, after)
	}
	if got, _ := node.Health(&corev1.Node{}, now.Add(-time.Minute), node.DefaultGrace, now); len(got) != 4 || got[0].Reason != "NodeStatusNeverUpdated" {
		t.Errorf("a node that does not report for a minute has the conditions %v", got)
	}
}

func TestTaints(t *testing.T) {
	user := corev1.Taint{Key: "team", Value: "x", Effect: corev1.TaintEffectNoExecute}
	old := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: new(metav1.NewTime(now.Add(-time.Hour)))}
	for _, tc := range []struct {
		name       string
		taints     []corev1.Taint
		cordoned   bool
		pods       node.Eviction
		conditions []corev1.NodeCondition
		want       []string
	}{
		{"ready", []corev1.Taint{old, user}, false, node.Begin, conditions(corev1.ConditionTrue), []string{"team=x:NoExecute"}},
		{"never told", nil, false, node.Begin, nil, []string{"node.kubernetes.io/not-ready:NoSchedule 0s"}},
		{"not ready", []corev1.Taint{user}, false, node.Begin, conditions(corev1.ConditionFalse), []string{"team=x:NoExecute", "node.kubernetes.io/not-ready:NoSchedule 0s", "node.kubernetes.io/not-ready:NoExecute 0s"}},
		{"not ready, its turn has not come", []corev1.Taint{user}, false, node.Hold, conditions(corev1.ConditionFalse), []string{"team=x:NoExecute", "node.kubernetes.io/not-ready:NoSchedule 0s"}},
		{"not ready after unknown", []corev1.Taint{old}, false, node.Hold, conditions(corev1.ConditionFalse), []string{"node.kubernetes.io/not-ready:NoSchedule 0s", "node.kubernetes.io/not-ready:NoExecute 0s"}},
		{"unknown as all are", []corev1.Taint{old, user}, false, node.Stop, conditions(corev1.ConditionUnknown), []string{"team=x:NoExecute", "node.kubernetes.io/unreachable:NoSchedule 0s"}},
		{"unknown for an hour", []corev1.Taint{old}, false, node.Begin, conditions(corev1.ConditionUnknown), []string{"node.kubernetes.io/unreachable:NoExecute 1h0m0s", "node.kubernetes.io/unreachable:NoSchedule 0s"}},
		{"cordoned", nil, true, node.Begin, conditions(corev1.ConditionTrue), []string{"node.kubernetes.io/unschedulable:NoSchedule 0s"}},
		{"out of disk", nil, false, node.Begin, []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}}, []string{"node.kubernetes.io/disk-pressure:NoSchedule 0s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &corev1.Node{Spec: corev1.NodeSpec{Taints: tc.taints, Unschedulable: tc.cordoned}}
			var got []string
			for _, taint := range node.Taints(n, tc.conditions, tc.pods, now) {
				s := taint.ToString()
				if taint.TimeAdded != nil {
					s += fmt.Sprintf(" %v", now.Sub(taint.TimeAdded.Time))
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("taints (-want +got):\n%s", diff)
			}
		})
	}
}

// Of a zone's nodes one after the other loses its pods; none if the zone seems to have
// failed and not they.
func TestZones(t *testing.T) {
	var z node.Zones
	named := func(zone string, i int) *corev1.Node {
		n := &corev1.Node{}
		n.Name, n.Labels = fmt.Sprintf("%s-%d", zone, i), map[string]string{corev1.LabelTopologyZone: zone}
		return n
	}
	// set makes the first of n nodes fail.
	set := func(zone string, n, failed int) {
		for i := range n {
			z.Set(named(zone, i), i >= failed)
		}
	}
	check := func(what, zone string, at time.Duration, want node.Eviction, turn time.Duration) {
		t.Helper()
		if got, left := z.Judge(named(zone, 0), false, now.Add(at)); got != want || left != turn {
			t.Errorf("%s: %v, again after %v, want %v, %v", what, got, left, want, turn)
		}
	}
	set("a", 3, 1)
	check("one of three", "a", 0, node.Begin, 0)
	if !z.Changed() || z.Changed() {
		t.Error("the first node that is ready has to be noticed, once")
	}
	z.Began(named("a", 0), now)
	check("the next one", "a", 3*time.Second, node.Hold, 7*time.Second)
	check("ten seconds later", "a", 10*time.Second, node.Begin, 0)
	set("b", 1, 1)
	check("another zone", "b", 0, node.Begin, 0)
	set("a", 3, 3)
	if !z.Changed() {
		t.Error("the end of the last node was not noticed")
	}
	check("none is left", "a", time.Hour, node.Stop, 0)
	check("none is left, in another zone", "b", time.Hour, node.Stop, 0)
	set("c", 1, 0)
	check("a zone without a node that is ready", "a", time.Hour, node.Begin, 0)
	set("d", 6, 3)
	check("half of a zone", "d", time.Hour, node.Begin, 0)
	z.Changed()
	set("d", 6, 4)
	if !z.Changed() {
		t.Error("that most of a zone have failed was not noticed")
	}
	check("most of a zone", "d", time.Hour, node.Hold, 0)
	set("d", 51, 40)
	z.Began(named("d", 0), now)
	check("most of a large zone", "d", time.Minute, node.Hold, 40*time.Second)
	for i := range 39 {
		z.Remove(named("d", i+1).Name)
	}
	check("those that failed are gone", "d", time.Minute, node.Begin, 0)
	apart := named("d", 40)
	apart.Labels["node.kubernetes.io/exclude-disruption"] = ""
	z.Changed()
	z.Set(apart, false)
	if z.Changed() {
		t.Error("a node counts that is excluded from that")
	}
}

func TestEvict(t *testing.T) {
	added := metav1.NewTime(now.Add(-time.Minute))
	unreachable := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	user := corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	tolerate := func(key string, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, TolerationSeconds: seconds}
	}
	for _, tc := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		after       time.Duration
		stays       bool
	}{
		{"no taint", nil, nil, 0, true},
		{"only NoSchedule", []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}, nil, 0, true},
		{"not tolerated", []corev1.Taint{user}, nil, 0, false},
		{"tolerated for ever", []corev1.Taint{user}, []corev1.Toleration{tolerate("k", nil)}, 0, true},
		{"tolerated for 90s, one minute ago", []corev1.Taint{user}, []corev1.Toleration{tolerate("k", ptr.To[int64](90))}, 30 * time.Second, false},
		{"tolerated for longer than time can tell", []corev1.Taint{user}, []corev1.Toleration{tolerate("k", ptr.To[int64](math.MaxInt64))}, loop.Seconds(math.MaxInt64) - time.Minute, false},
		{"tolerated for 30s, one minute ago", []corev1.Taint{user}, []corev1.Toleration{tolerate("k", ptr.To[int64](30))}, 0, false},
		{"the first toleration for it counts", []corev1.Taint{user}, []corev1.Toleration{tolerate("other", ptr.To[int64](60)), tolerate("", ptr.To[int64](90)), tolerate("k", ptr.To[int64](60)), tolerate("k", nil)}, 30 * time.Second, false},
		{"the first one is for ever", []corev1.Taint{user}, []corev1.Toleration{tolerate("", nil), tolerate("k", ptr.To[int64](60))}, 0, true},
		{"every taint counts", []corev1.Taint{unreachable, user}, []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, nil)}, 0, false},
		{"unreachable, not tolerated", []corev1.Taint{unreachable}, nil, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after, stays := node.Evict(&corev1.Pod{Spec: corev1.PodSpec{Tolerations: tc.tolerations}}, tc.taints, now)
			if after != tc.after || stays != tc.stays {
				t.Errorf("Evict = %v, %v, want %v, %v", after, stays, tc.after, tc.stays)
			}
		})
	}
}

// A gap between two beats is a pause of the process if it is long; sleeping
// machines stop the monotonic clock alone.
func TestPulse(t *testing.T) {
	p := node.NewPulse(node.DefaultGrace)
	at := time.Now()
	for range 30 {
		if resumed := p.Beat(at); !resumed.IsZero() {
			t.Fatalf("a pause until %v, want none", resumed)
		}
		at = at.Add(2 * time.Second)
	}
	at = at.Add(55 * time.Second)
	for i := range 3 {
		if resumed := p.Beat(at.Add(time.Duration(i) * time.Second)); !resumed.Equal(at) {
			t.Errorf("resumed at %v, want %v", resumed, at)
		}
	}
	// The wall clock alone goes on.
	slept := at.Add(3 * time.Second).Round(0).Add(time.Hour)
	if resumed := p.Beat(slept); !resumed.Equal(slept) {
		t.Errorf("resumed at %v, want %v", resumed, slept)
	}
}

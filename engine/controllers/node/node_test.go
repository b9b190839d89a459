package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/node"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func conditions(ready corev1.ConditionStatus) []corev1.NodeCondition {
	return []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}, {Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse}}
}

func TestHealth(t *testing.T) {
	n := &corev1.Node{Status: corev1.NodeStatus{Conditions: conditions(corev1.ConditionTrue)}}
	got, after := node.Health(n, now.Add(-30*time.Second), node.DefaultGrace, now)
	if diff := cmp.Diff(n.Status.Conditions, got); diff != "" || after != 10*time.Second {
		t.Errorf("a node heard 30s ago: looks again after %v, want 10s; conditions (-want +got):\n%s", after, diff)
	}
	got, _ = node.Health(n, now.Add(-40*time.Second), node.DefaultGrace, now)
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
}

func TestTaints(t *testing.T) {
	user := corev1.Taint{Key: "team", Value: "x", Effect: corev1.TaintEffectNoExecute}
	old := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: new(metav1.NewTime(now.Add(-time.Hour)))}
	for _, tc := range []struct {
		name       string
		taints     []corev1.Taint
		cordoned   bool
		conditions []corev1.NodeCondition
		want       []string
	}{
		{"ready", []corev1.Taint{old, user}, false, conditions(corev1.ConditionTrue), []string{"team=x:NoExecute"}},
		{"never told", nil, false, nil, []string{"node.kubernetes.io/not-ready:NoSchedule 0s"}},
		{"not ready", []corev1.Taint{user}, false, conditions(corev1.ConditionFalse), []string{"team=x:NoExecute", "node.kubernetes.io/not-ready:NoSchedule 0s", "node.kubernetes.io/not-ready:NoExecute 0s"}},
		{"unknown for an hour", []corev1.Taint{old}, false, conditions(corev1.ConditionUnknown), []string{"node.kubernetes.io/unreachable:NoExecute 1h0m0s", "node.kubernetes.io/unreachable:NoSchedule 0s"}},
		{"cordoned", nil, true, conditions(corev1.ConditionTrue), []string{"node.kubernetes.io/unschedulable:NoSchedule 0s"}},
		{"out of disk", nil, false, []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}}, []string{"node.kubernetes.io/disk-pressure:NoSchedule 0s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &corev1.Node{Spec: corev1.NodeSpec{Taints: tc.taints, Unschedulable: tc.cordoned}}
			var got []string
			for _, taint := range node.Taints(n, tc.conditions, now) {
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
		{"tolerated for 30s, one minute ago", []corev1.Taint{user}, []corev1.Toleration{tolerate("k", ptr.To[int64](30))}, 0, false},
		{"the shortest toleration counts", []corev1.Taint{user}, []corev1.Toleration{tolerate("k", nil), tolerate("k", ptr.To[int64](90)), tolerate("", ptr.To[int64](120))}, 30 * time.Second, false},
		{"every taint counts", []corev1.Taint{unreachable, user}, []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, nil)}, 0, false},
		{"unreachable, nothing said", []corev1.Taint{unreachable}, nil, 4 * time.Minute, false},
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
